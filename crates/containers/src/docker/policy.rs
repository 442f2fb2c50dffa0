//! What `allow_elevated_docker_permissions = false` means for createOptions.
//!
//! `Privileged` and `CapAdd` are taken away and CHOWN and SETUID dropped, as the
//! original does it (T-ELEVATED) — but told. The original stops there, which
//! leaves a dozen other ways to the same power; those are refused
//! (`security.md` B33), so that the old module keeps running.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::options::{Options, is_empty};

/// Why createOptions are not accepted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Not what the engine takes.
    Malformed(String),
    /// These keys would give power over the machine.
    Elevated(Vec<String>),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Malformed(what)
    }
}

/// Applies the policy to `HostConfig`; gives the keys that were taken away.
pub(super) fn enforce(
    host: &mut Options<'_>,
    protected: &[PathBuf],
) -> Result<Vec<String>, Refusal> {
    let refused = refused_keys(host, protected)?;
    if !refused.is_empty() {
        return Err(Refusal::Elevated(refused));
    }

    let mut removed = Vec::new();
    if host.take("Privileged").is_some_and(|value| value != Value::Bool(false)) {
        removed.push(host.named("Privileged"));
    }
    // Old engines also take a single string here, so anything counts.
    if host.take("CapAdd").is_some_and(|value| value != json!([])) {
        removed.push(host.named("CapAdd"));
    }
    let mut dropped = host.take_strings("CapDrop")?;
    for capability in ["CHOWN", "SETUID"] {
        if !dropped.iter().any(|other| other == capability) {
            dropped.push(capability.to_owned());
        }
    }
    host.set("CapDrop", json!(dropped));
    Ok(removed)
}

fn refused_keys(host: &mut Options<'_>, protected: &[PathBuf]) -> Result<Vec<String>, String> {
    let mut refused = Vec::new();
    for key in REFUSED_UNLESS_EMPTY {
        if host.find(key).is_some_and(|value| !is_empty(value)) {
            refused.push(host.named(key));
        }
    }
    for key in REFUSED_IF_SHARED {
        if host.find(key).and_then(Value::as_str).is_some_and(is_shared) {
            refused.push(host.named(key));
        }
    }
    if host.find("SecurityOpt").is_some_and(|value| !only_tightens(value)) {
        refused.push(host.named("SecurityOpt"));
    }
    // An empty list unmasks; its mere presence is meant.
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        if host.find(key).is_some() {
            refused.push(host.named(key));
        }
    }
    let sources = bind_sources(host)?.into_iter().map(|source| ("Binds", source));
    let sources = sources.chain(mount_sources(host)?.into_iter().map(|source| ("Mounts", source)));
    for (key, source) in sources {
        if source.as_deref().is_none_or(|source| gives_machine(source, protected)) {
            refused.push(host.named(key));
        }
    }
    refused.dedup();
    Ok(refused)
}

/// Host sides of the binds that are paths (names are volumes).
fn bind_sources(host: &mut Options<'_>) -> Result<Vec<Option<String>>, String> {
    let binds = host.take_strings("Binds")?;
    let sources = binds
        .iter()
        .filter_map(|bind| bind.split_once(':'))
        .filter(|(source, _)| source.starts_with('/'))
        .map(|(source, _)| Some(source.to_owned()))
        .collect();
    if !binds.is_empty() {
        host.set("Binds", json!(binds));
    }
    Ok(sources)
}

/// Sources of the mounts; `None` for one that cannot be judged.
fn mount_sources(host: &Options<'_>) -> Result<Vec<Option<String>>, String> {
    let Some(mounts) = host.find("Mounts") else {
        return Ok(Vec::new());
    };
    let mounts = mounts.as_array().ok_or("HostConfig.Mounts is not an array")?;
    mounts
        .iter()
        .map(|mount| {
            let mut mount = mount
                .as_object()
                .cloned()
                .ok_or("HostConfig.Mounts holds something that is no object")?;
            let mount = Options::root(&mut mount)?;
            let kind = mount.find("Type").and_then(Value::as_str).unwrap_or_default();
            let source = mount.find("Source").and_then(Value::as_str).unwrap_or_default();
            Ok(match kind {
                "bind" => Some(source.to_owned()),
                // A driver option can make any path a "volume".
                "volume" | "tmpfs" if mount.find("VolumeOptions").is_none() => Some(String::new()),
                _ => None,
            })
        })
        .collect()
}

/// Whether a path holds the keys to the machine: what configures or controls the
/// system, one of the protected paths, or a directory with those in it.
fn gives_machine(source: &str, protected: &[PathBuf]) -> bool {
    if source.is_empty() {
        return false;
    }
    let source = plain(Path::new(source));
    if HARMLESS_FILES.iter().any(|file| source == Path::new(file)) {
        return false;
    }
    let protected = protected.iter().map(|path| plain(path));
    SYSTEM_PATHS
        .iter()
        .map(PathBuf::from)
        .chain(protected)
        .any(|path| source.starts_with(&path) || path.starts_with(&source))
}

/// The path without `.` and `..`, as the engine cleans it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn is_shared(mode: &str) -> bool {
    mode == "host" || mode.starts_with("container:")
}

fn only_tightens(options: &Value) -> bool {
    let is_tight = |option: &Value| {
        matches!(
            option.as_str(),
            Some("no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true")
        )
    };
    options.as_array().is_some_and(|options| options.iter().all(is_tight))
}

/// Raw access to devices, other containers' files, another runtime, the kernel.
const REFUSED_UNLESS_EMPTY: [&str; 8] = [
    "Devices",
    "DeviceRequests",
    "DeviceCgroupRules",
    "VolumesFrom",
    "Runtime",
    "CgroupParent",
    "Sysctls",
    "VolumeDriver",
];

/// Namespaces of the machine or of another module. `NetworkMode` is not here:
/// modules on the host's network are usual, and it gives no files or processes.
const REFUSED_IF_SHARED: [&str; 5] =
    ["PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"];

const SYSTEM_PATHS: [&str; 15] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run/docker.sock",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/aziot",
    "/var/lib/docker",
    "/var/run/docker.sock",
];

/// Bound by many manifests, for the time zone.
const HARMLESS_FILES: [&str; 2] = ["/etc/localtime", "/etc/timezone"];
