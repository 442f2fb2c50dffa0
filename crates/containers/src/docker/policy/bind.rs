//! Paths of the machine in `Binds` and `Mounts`.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::{HostPolicy, Judge, Refused};
use crate::options::{Options, is_empty};

/// One bind or mount.
enum Source {
    /// A path of the machine.
    Path(String),
    /// A path of the machine whose mounts would be seen outside of the module.
    Shared(String),
    /// A volume of the engine's own, or memory.
    Volume,
    /// Something that cannot be judged.
    Unclear(String),
}

/// Looks at every path that a module would see.
pub(super) fn judge(
    host: &mut Options<'_>,
    judge: &Judge<'_>,
    refused: &mut Refused,
) -> Result<(), String> {
    let binds = binds(host)?.into_iter().map(|source| ("Binds", source));
    let mounts = mounts(host)?.into_iter().map(|source| ("Mounts", source));
    for (key, source) in binds.chain(mounts) {
        match source {
            Source::Volume => {}
            Source::Path(path) => match judge.path(&path) {
                Verdict::Harmless => {}
                Verdict::Nameable => {
                    refused.add(key, Some(&path), Some(&format!("allow_bind = [{path:?}]")));
                }
                Verdict::Never => refused.add(key, Some(&path), None),
            },
            Source::Shared(path) => {
                refused.add(key, Some(&format!("{path}, with shared propagation")), None);
            }
            Source::Unclear(what) => refused.add(key, Some(&what), None),
        }
    }
    Ok(())
}

enum Verdict {
    Harmless,
    /// Allowed if the policy names it.
    Nameable,
    /// It would give the engine's socket or the daemon's keys along with it.
    Never,
}

impl Judge<'_> {
    fn path(&self, path: &str) -> Verdict {
        let written = plain(Path::new(path));
        let resolved = plain(&(self.resolve)(&written));
        let holds_ours = |source: &Path| {
            self.protected.iter().any(|ours| ours.starts_with(source) && ours != source)
        };
        let allows = |source: &Path| self.policy.allows_bind(source, self.protected);
        let is_harmless = |source: &Path| !gives_machine(source, self.protected);
        match [&*written, &*resolved] {
            sources if sources.iter().all(|source| is_harmless(source) || allows(source)) => {
                Verdict::Harmless
            }
            sources if sources.iter().any(|source| holds_ours(source)) => Verdict::Never,
            _ => Verdict::Nameable,
        }
    }
}

impl HostPolicy {
    /// Whether a path is named, itself or what it is in. What is protected must be named itself.
    fn allows_bind(&self, source: &Path, protected: &[PathBuf]) -> bool {
        let concerns = |ours: &Path| source.starts_with(ours) || ours.starts_with(source);
        let named = self.bind.iter().map(|path| plain(path));
        named.filter(|named| source.starts_with(named)).any(|named| {
            protected.iter().filter(|ours| concerns(ours)).all(|ours| named.starts_with(ours))
        })
    }
}

fn binds(host: &mut Options<'_>) -> Result<Vec<Source>, String> {
    let binds = host.take_strings("Binds")?;
    let sources = binds.iter().filter_map(|bind| bind.split_once(':')).map(|(source, rest)| {
        let mut options = rest.split(':').nth(1).unwrap_or_default().split(',');
        match source {
            // To podman the latter is a path, too.
            _ if !source.starts_with(['/', '.']) => Source::Volume,
            _ if options.any(|option| SHARED.contains(&option)) => {
                Source::Shared(source.to_owned())
            }
            _ if source.starts_with('/') => Source::Path(source.to_owned()),
            _ => Source::Unclear(source.to_owned()),
        }
    });
    let sources = sources.collect();
    if !binds.is_empty() {
        host.set("Binds", json!(binds));
    }
    Ok(sources)
}

fn mounts(host: &Options<'_>) -> Result<Vec<Source>, String> {
    let Some(mounts) = host.find("Mounts") else {
        return Ok(Vec::new());
    };
    let mounts = mounts.as_array().ok_or("HostConfig.Mounts is not an array")?;
    mounts.iter().map(mount).collect()
}

fn mount(mount: &Value) -> Result<Source, String> {
    const NO_OBJECT: &str = "HostConfig.Mounts holds something that is no object";
    let mut mount = mount.as_object().cloned().ok_or(NO_OBJECT)?;
    let mount = Options::root(&mut mount)?;
    let text = |key| mount.find(key).and_then(Value::as_str).unwrap_or_default();
    let source = text("Source").to_owned();
    let nested = |key: &str| -> Result<_, String> {
        match mount.find(key) {
            None => Ok(serde_json::Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(format!("{key} in HostConfig.Mounts is not an object")),
        }
    };
    match text("Type") {
        "bind" if source.starts_with('/') => {
            let mut options = nested("BindOptions")?;
            let options = Options::root(&mut options)?;
            let propagation = options.find("Propagation").and_then(Value::as_str);
            Ok(match propagation.is_some_and(|mode| SHARED.contains(&mode)) {
                true => Source::Shared(source),
                false => Source::Path(source),
            })
        }
        "volume" => {
            let mut options = nested("VolumeOptions")?;
            let options = Options::root(&mut options)?;
            // A driver's option can make any path a "volume"; what is not known could as well.
            let unclear = options.keys().find(|key| {
                !["NoCopy", "Labels", "Subpath"].iter().any(|known| known.eq_ignore_ascii_case(key))
            });
            let is_path = source.starts_with(['/', '.']);
            Ok(match unclear {
                Some(key) => Source::Unclear(format!("volume with VolumeOptions.{key}")),
                None if is_path => Source::Unclear(source),
                None => Source::Volume,
            })
        }
        "tmpfs" => Ok(match mount.find("VolumeOptions").is_none_or(is_empty) {
            true => Source::Volume,
            false => Source::Unclear("tmpfs with VolumeOptions".to_owned()),
        }),
        other => Ok(Source::Unclear(format!("{other} {source}"))),
    }
}

/// Whether a path holds the keys to the machine: what configures or controls the
/// system, one of the protected paths, or a directory with those in it.
fn gives_machine(source: &Path, protected: &[PathBuf]) -> bool {
    if HARMLESS_FILES.iter().any(|file| source == Path::new(file)) {
        return false;
    }
    let protected = protected.iter().map(PathBuf::as_path);
    is_home(source)
        || SYSTEM_PATHS
            .iter()
            .map(Path::new)
            .chain(protected)
            .any(|path| source.starts_with(path) || path.starts_with(source))
}

/// A user's home as a whole, or what begins with a dot in it: keys and profiles are there.
fn is_home(source: &Path) -> bool {
    let Ok(below) = source.strip_prefix("/home") else { return false };
    match below.components().nth(1) {
        None => true,
        Some(name) => name.as_os_str().to_string_lossy().starts_with('.'),
    }
}

/// The path without `.` and `..`, as the engine cleans it, and with the usual name of `/run`.
pub(in crate::docker) fn plain(path: &Path) -> PathBuf {
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
    match plain.strip_prefix("/var/run") {
        Ok(below) => Path::new("/run").join(below),
        Err(_) => plain,
    }
}

/// Propagation by which a mount made inside is seen outside.
const SHARED: [&str; 2] = ["shared", "rshared"];

const SYSTEM_PATHS: [&str; 40] = [
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    // Sockets of what controls the machine.
    "/run/aziot",
    "/run/containerd",
    "/run/containers",
    "/run/dbus",
    "/run/docker",
    "/run/docker.sock",
    "/run/iotedge",
    "/run/podman",
    "/run/systemd",
    "/run/udev",
    "/run/user",
    "/sbin",
    "/snap",
    "/sys",
    "/usr",
    "/var/lib/aziot",
    "/var/lib/cloud",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/dpkg",
    "/var/lib/iotedge",
    "/var/lib/rpm",
    "/var/lib/snapd",
    "/var/lib/systemd",
    "/var/lib/farshore",
    "/var/secrets",
    "/var/spool/at",
    "/var/spool/cron",
];

/// Bound by many manifests, for the time zone.
const HARMLESS_FILES: [&str; 2] = ["/etc/localtime", "/etc/timezone"];
