//! What the tests need besides Rust, in groups that can be left out by name.
//!
//! A machine that has only the toolchain gets everything from its registries (Debian's packages,
//! PyPI and npm). Where that is not allowed, the message says what is missing, and the run fails.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::run::{is_there, run};
use crate::{Outcome, root};

/// A group of tests with needs of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The real Docker engine (Debian's docker.io, started here), and podman
    Docker,
    /// The real Azure SDKs from PyPI and npm, and mosquitto's clients
    Sdk,
    /// Power cuts on a loop-mounted file system; needs root
    PowerCut,
    /// The Debian package in a Debian system of its own; needs root, Docker and the SDKs
    Packages,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Docker, Self::Sdk, Self::PowerCut, Self::Packages];

    /// As it is named on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Sdk => "sdk",
            Self::PowerCut => "power-cut",
            Self::Packages => "packages",
        }
    }

    /// Installs and starts what the group needs.
    pub(crate) fn prepare(self) -> Outcome {
        let prepared = match self {
            Self::Docker => docker(),
            Self::Sdk => sdk(),
            Self::PowerCut => power_cut(),
            Self::Packages => packages(),
        };
        prepared.map_err(|error| {
            let name = self.name();
            format!("the test group `{name}` cannot be prepared: {error}\n(run with `--without {name}` to leave it out)").into()
        })
    }
}

/// The Python environment of the SDK tests.
pub(crate) fn python() -> std::path::PathBuf {
    root().join("target/venv/bin/python")
}

fn docker() -> Outcome {
    let mut packages = podman();
    if !is_there("dockerd") && !engine_answers() {
        packages.push("docker.io");
    }
    if !Path::new("/bin/busybox").exists() {
        packages.push("busybox-static");
    }
    install(&packages)?;
    if engine_answers() {
        return Ok(());
    }
    println!("starting dockerd");
    forget_killed_engine();
    let log = std::fs::File::create(root().join("target/dockerd.log"))?;
    Command::new("dockerd").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    for _ in 0..120 {
        if engine_answers() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    Err("dockerd did not answer within a minute; see target/dockerd.log".into())
}

/// What is missing for podman, which tests start by themselves, as root and as a user of its own: its
/// networks and names, and a user's ranges of ids and way out.
fn podman() -> Vec<&'static str> {
    let needs = [
        ("podman", "podman"),
        ("/usr/lib/podman/netavark", "netavark"),
        ("/usr/lib/podman/aardvark-dns", "aardvark-dns"),
        ("slirp4netns", "slirp4netns"),
        ("newuidmap", "uidmap"),
        ("runc", "runc"),
        ("iptables", "iptables"),
        ("curl", "curl"),
    ];
    let is_missing = |what: &str| match what.starts_with('/') {
        true => !Path::new(what).exists(),
        false => !is_there(what) && !Path::new("/usr/sbin").join(what).exists(),
    };
    needs.into_iter().filter(|(what, _)| is_missing(what)).map(|(_, package)| package).collect()
}

/// An engine that was killed leaves files with the numbers of its processes. Once a number belongs to
/// somebody else, a new engine believes that the old one runs, and does not start.
fn forget_killed_engine() {
    let runs = |name: &str| Command::new("pgrep").args(["-x", name]).stdout(Stdio::null()).status();
    for (name, file) in [
        ("dockerd", "/var/run/docker.pid"),
        ("containerd", "/var/run/docker/containerd/containerd.pid"),
    ] {
        // Without pgrep nothing is known, and nothing is removed.
        if runs(name).is_ok_and(|status| !status.success()) && std::fs::remove_file(file).is_ok() {
            println!("removed {file}, left behind by an engine that was killed");
        }
    }
}

fn engine_answers() -> bool {
    let probe =
        Command::new("docker").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

fn sdk() -> Outcome {
    let mut packages = Vec::new();
    if !is_there("mosquitto_pub") {
        packages.push("mosquitto-clients");
    }
    // Network namespaces, for cut links.
    if !is_there("ip") {
        packages.push("iproute2");
    }
    // Lost packets.
    if !is_there("nft") {
        packages.push("nftables");
    }
    // A private registry, for tests with containers.
    if engine_answers() && !is_there("docker-registry") {
        packages.push("docker-registry");
    }
    if !is_there("python3") {
        packages.extend(["python3", "python3-dev", "python3-venv", "python3-pip"]);
    }
    if !is_there("node") {
        packages.push("nodejs");
    }
    if !is_there("npm") {
        packages.push("npm");
    }
    // What python-qpid-proton is built with.
    if !Path::new("/usr/include/openssl/ssl.h").exists() {
        packages.push("libssl-dev");
    }
    if !is_there("pkg-config") {
        packages.push("pkg-config");
    }
    if !is_there("gcc") {
        packages.push("gcc");
    }
    install(&packages)?;
    node_packages()?;
    python_packages()
}

/// `tests/node/package-lock.json`, installed in `target/node`; nothing is run but the installation.
fn node_packages() -> Outcome {
    let (source, folder) = (root().join("tests/node"), root().join("target/node"));
    std::fs::create_dir_all(&folder)?;
    let wanted = std::fs::read(source.join("package-lock.json"))?;
    let stamp = folder.join("installed-lock.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name))?;
    }
    run(Command::new("npm").arg("--prefix").arg(&folder).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
        "--loglevel=error",
    ]))?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// `tests/requirements.txt`, installed in `target/venv`.
fn python_packages() -> Outcome {
    std::fs::create_dir_all(root().join("target"))?;
    if !python().exists() {
        run(Command::new("python3").args(["-m", "venv", "target/venv"]))?;
    }
    let requirements = root().join("tests/requirements.txt");
    let stamp = root().join("target/venv/requirements.txt");
    let wanted = std::fs::read(&requirements)?;
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(Command::new(python())
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&requirements))?;
    Ok(std::fs::write(stamp, wanted)?)
}

fn power_cut() -> Outcome {
    if !is_root()? {
        return Err("mounting a file system needs root".into());
    }
    let mut packages = Vec::new();
    if !is_there("mkfs.ext4") && !Path::new("/sbin/mkfs.ext4").exists() {
        packages.push("e2fsprogs");
    }
    if !is_there("mount") {
        packages.push("mount");
    }
    install(&packages)
}

/// What the Debian system is made with; it is made while everything else goes on (`test.rs`).
fn packages() -> Outcome {
    let mut packages = Vec::new();
    if !is_there("mmdebstrap") && !crate::package::root::path().exists() {
        packages.push("mmdebstrap");
    }
    if !is_there("strip") {
        packages.push("binutils");
    }
    install(&packages)
}

fn install(packages: &[&str]) -> Outcome {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !is_root()? || !is_there("apt-get") {
        return Err(
            format!("missing: {list}; install them (on Debian: apt-get install {list})").into()
        );
    }
    println!("installing {list}");
    let mut update = Command::new("apt-get");
    run(update.args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    run(install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .stdout(Stdio::null()))
}

fn is_root() -> Result<bool, Box<dyn std::error::Error>> {
    Ok(crate::run::output(Command::new("id").arg("-u"))?.trim() == "0")
}
