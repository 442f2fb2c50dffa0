//! `cargo xtask package`: the Debian package, from `packaging/` and the program.
//!
//! The same sources and the same program give the same bytes: times are those of the last commit
//! (or `SOURCE_DATE_EPOCH`), owners are root, and `dpkg-deb` sorts. It makes no repository and
//! signs nothing.

pub(crate) mod root;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{cargo, output, run, target_dir};
use crate::{Outcome, root};

/// Arguments of `cargo xtask package`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The program to put in; without it, it is built for release
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The package's version; without it, the workspace's
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Where the package goes
    #[arg(long, value_name = "DIR", default_value = "target/package")]
    out: PathBuf,
    /// Do not compress: for tests, which install it once
    #[arg(long)]
    uncompressed: bool,
}

/// Builds the package, and prints where it is.
pub(crate) fn run_package(arguments: &Arguments) -> Outcome {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => built_for_release()?,
    };
    let version = match &arguments.version {
        Some(version) => version.clone(),
        None => workspace_version()?,
    };
    let out = root().join(&arguments.out);
    std::fs::create_dir_all(&out)?;
    let stage = out.join(format!("stage-{version}"));
    if stage.exists() {
        std::fs::remove_dir_all(&stage)?;
    }
    fill(&stage, &binary)?;
    describe(&stage, &version)?;
    let package = out.join(format!("farshore_{version}_{ARCHITECTURE}.deb"));
    let compression = if arguments.uncompressed { "none" } else { "xz" };
    run(Command::new("dpkg-deb")
        .env("SOURCE_DATE_EPOCH", source_date_epoch()?)
        .args(["--root-owner-group", &format!("-Z{compression}"), "--build"])
        .args([&stage, &package]))?;
    std::fs::remove_dir_all(&stage)?;
    println!("{}", package.display());
    Ok(())
}

fn built_for_release() -> Result<PathBuf, Box<dyn std::error::Error>> {
    run(cargo().args(["build", "--release", "--package", "farshore"]))?;
    Ok(target_dir()?.join("release/farshore"))
}

fn workspace_version() -> Result<String, Box<dyn std::error::Error>> {
    let manifest: toml::Table =
        std::fs::read_to_string(root().join("Cargo.toml"))?.parse::<toml::Table>()?;
    let version = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
    let version = version.and_then(|package| package.get("version")).and_then(toml::Value::as_str);
    Ok(version.ok_or("Cargo.toml names no version")?.to_owned())
}

/// The time that every file in the package gets at most.
fn source_date_epoch() -> Result<String, Box<dyn std::error::Error>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => Ok(epoch),
        Err(_) => {
            Ok(output(Command::new("git").args(["log", "-1", "--format=%ct"]))?.trim().to_owned())
        }
    }
}

/// Puts every file where the package has it.
fn fill(stage: &Path, binary: &Path) -> Outcome {
    put(binary, &stage.join("usr/bin/farshore"), 0o755)?;
    // By this name it is the device's own tool.
    symlink("farshore", stage.join("usr/bin/iotedge"))?;
    for File { from, to, mode } in FILES {
        put(&root().join(from), &stage.join(to), *mode)?;
    }
    Ok(())
}

/// The package's control files.
fn describe(stage: &Path, version: &str) -> Outcome {
    let debian = stage.join("DEBIAN");
    let installed_kib = size_kib(stage)?;
    let sums = sums(stage)?;
    for name in ["postinst", "prerm", "postrm"] {
        put(&root().join("packaging/debian").join(name), &debian.join(name), 0o755)?;
    }
    let control = std::fs::read_to_string(root().join("packaging/debian/control"))?
        .replace("{version}", version)
        .replace("{installed_kib}", &installed_kib.to_string());
    write(&debian.join("control"), &control)?;
    let conffiles = FILES.iter().filter(|file| CONFFILES.contains(&file.to));
    let conffiles: String = conffiles.map(|file| format!("/{}\n", file.to)).collect();
    write(&debian.join("conffiles"), &conffiles)?;
    write(&debian.join("md5sums"), &sums)
}

/// What `md5sum` says of every file, in order.
fn sums(stage: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut files = vec!["usr/bin/farshore"];
    files.extend(FILES.iter().map(|file| file.to).filter(|to| !CONFFILES.contains(to)));
    files.sort_unstable();
    let mut sums = String::new();
    for file in files {
        let sum = output(Command::new("md5sum").arg(stage.join(file)))?;
        let sum = sum.split_whitespace().next().ok_or("md5sum says nothing")?;
        sums.push_str(&format!("{sum}  {file}\n"));
    }
    Ok(sums)
}

fn size_kib(dir: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    let mut kib = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        kib += match entry.file_type()? {
            kind if kind.is_dir() => size_kib(&entry.path())?,
            _ => std::fs::symlink_metadata(entry.path())?.len().div_ceil(1024),
        };
    }
    Ok(kib)
}

fn put(from: &Path, to: &Path, mode: u32) -> Outcome {
    make_dir(to)?;
    std::fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    Ok(std::fs::set_permissions(to, PermissionsExt::from_mode(mode))?)
}

fn write(to: &Path, text: &str) -> Outcome {
    make_dir(to)?;
    std::fs::write(to, text)?;
    Ok(std::fs::set_permissions(to, PermissionsExt::from_mode(0o644))?)
}

/// The directories above a file, whatever umask whoever builds has.
fn make_dir(file: &Path) -> Outcome {
    let Some(dir) = file.parent().filter(|dir| !dir.exists()) else { return Ok(()) };
    make_dir(dir)?;
    std::fs::create_dir(dir)?;
    Ok(std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?)
}

/// A file of the repository and its place in the package.
struct File {
    from: &'static str,
    to: &'static str,
    mode: u32,
}

const fn file(from: &'static str, to: &'static str, mode: u32) -> File {
    File { from, to, mode }
}

const FILES: &[File] = &[
    // Only its owner: it is copied to where keys are written.
    file("packaging/config.toml.edge.template", "etc/aziot/config.toml.edge.template", 0o600),
    file("crates/farshore/src/settings/hub.toml", "etc/farshore/hub.toml", 0o644),
    file("packaging/systemd/aziot-edged.service", "lib/systemd/system/aziot-edged.service", 0o644),
    file(
        "packaging/systemd/farshore-hub.service",
        "lib/systemd/system/farshore-hub.service",
        0o644,
    ),
    file("packaging/sysusers.conf", "usr/lib/sysusers.d/farshore.conf", 0o644),
    file("packaging/tmpfiles.conf", "usr/lib/tmpfiles.d/farshore.conf", 0o644),
    file("packaging/debian/copyright", "usr/share/doc/farshore/copyright", 0o644),
    file("docs/guide.md", "usr/share/doc/farshore/guide.md", 0o644),
];

/// Files that an operator changes, and upgrades ask about. The template is no such: it goes with the
/// program, and nothing reads it.
const CONFFILES: [&str; 1] = ["etc/farshore/hub.toml"];

const ARCHITECTURE: &str = "amd64";
