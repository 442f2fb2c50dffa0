//! The Debian system in which the package is tested: Debian's smallest, with systemd and a container
//! engine, as a tar file in `target/`. Made once.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Outcome, root};

/// Where it is, for the tests too.
pub(crate) fn path() -> PathBuf {
    root().join(format!("target/debian-{SUITE}-systemd-1.tar"))
}

/// Makes it if it isn't there. Needs root, `mmdebstrap` and a Debian mirror.
pub(crate) fn make() -> Outcome {
    let path = path();
    if path.exists() {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    if partial.exists() {
        std::fs::remove_file(&partial)?;
    }
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--format=tar"]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    // Smaller and faster: nobody reads in there, and a machine that dies begins anew.
    for option in [
        "force-unsafe-io",
        "path-exclude=/usr/share/doc/*",
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/locale/*",
    ] {
        command.arg(format!("--dpkgopt={option}"));
    }
    command.arg("--aptopt=Acquire::Languages \"none\"").arg(SUITE).arg(&partial);
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("cannot start mmdebstrap: {error}"))?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        return Err(format!("mmdebstrap ended with {}:\n{words}", done.status).into());
    }
    Ok(std::fs::rename(partial, path)?)
}

/// Debian 12.
const SUITE: &str = "bookworm";

const PACKAGES: [&str; 7] =
    ["systemd", "systemd-sysv", "dbus", "docker.io", "iptables", "procps", "sudo"];
