//! What createOptions mount into a module, and which variables it gets: for whoever has to know
//! where on the host something lies that a module keeps.
//!
//! Read as the engine reads it (`options.rs`); nothing is checked beyond that.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::options::{self, Options};
use crate::{ModuleSpec, RuntimeError};

/// Something that is mounted inside a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where the module sees it.
    pub inside: PathBuf,
    /// What it is.
    pub source: MountSource,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A path of the host.
    Host(PathBuf),
    /// A named volume.
    Volume(String),
    /// Something that goes with the module: memory, a volume without a name.
    Passing,
}

/// Where a path of a module lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// What is mounted there.
    pub source: MountSource,
    /// The rest of the way below it; empty when the path is the mount itself.
    pub below: PathBuf,
}

impl ModuleSpec {
    /// What createOptions mount; what the daemon adds is not in it.
    pub fn mounts(&self) -> Result<Vec<Mount>, RuntimeError> {
        self.read_options(|root| {
            let mut mounts = volumes(root)?;
            let mut host = root.object("HostConfig")?;
            for bind in host.take_strings("Binds")? {
                mounts.extend(of_bind(&bind));
            }
            mounts.extend(of_tmpfs(&host)?);
            mounts.extend(of_mounts(&host)?);
            Ok(mounts)
        })
    }

    /// The value of a variable as the module gets it, the name in any case; an empty one is none.
    pub fn variable(&self, name: &str) -> Result<Option<String>, RuntimeError> {
        self.read_options(|root| {
            let entries = options::environment(root.take_strings("Env")?, &self.env);
            let values = entries.iter().filter_map(|entry| entry.split_once('='));
            let mut found = values
                .filter(|(other, value)| {
                    other.eq_ignore_ascii_case(name) && !value.trim().is_empty()
                })
                .map(|(_, value)| value.trim().to_owned());
            Ok(found.next_back())
        })
    }

    /// User and group in numbers, when createOptions name them so.
    pub fn numeric_user(&self) -> Result<Option<(u32, u32)>, RuntimeError> {
        self.read_options(|root| {
            let user = root.find("User").and_then(Value::as_str).unwrap_or_default();
            let (uid, gid) = user.split_once(':').unwrap_or((user, user));
            Ok(uid.parse().ok().zip(gid.parse().ok()))
        })
    }

    fn read_options<T>(
        &self,
        read: impl FnOnce(&mut Options<'_>) -> Result<T, String>,
    ) -> Result<T, RuntimeError> {
        let wrong = |what| RuntimeError::CreateOptions { name: self.name.to_string(), what };
        let mut map = match &self.create_options {
            Value::Null => Map::new(),
            Value::Object(map) => map.clone(),
            _ => return Err(wrong("not a JSON object".to_owned())),
        };
        let mut root = Options::root(&mut map).map_err(wrong)?;
        read(&mut root).map_err(wrong)
    }
}

/// Where `path` lies; the longest mount above it counts, as for the kernel. None: in the module's
/// own file system.
pub fn locate(mounts: &[Mount], path: &Path) -> Option<Location> {
    let above = mounts.iter().filter_map(|mount| {
        let below = path.strip_prefix(&mount.inside).ok()?;
        Some((mount, below))
    });
    let (mount, below) = above.max_by_key(|(mount, _)| mount.inside.components().count())?;
    Some(Location { source: mount.source.clone(), below: below.to_owned() })
}

/// `source:inside[:mode]`, or `inside` alone.
pub(crate) fn of_bind(bind: &str) -> Option<Mount> {
    let mut parts = bind.split(':');
    let (first, second) = (parts.next()?, parts.next());
    let (inside, source) = match second {
        None => (first, MountSource::Passing),
        Some(inside) if first.starts_with('/') => (inside, MountSource::Host(first.into())),
        Some(inside) => (inside, MountSource::Volume(first.to_owned())),
    };
    inside.starts_with('/').then(|| Mount { inside: inside.into(), source })
}

fn volumes(root: &Options<'_>) -> Result<Vec<Mount>, String> {
    keys_of(root, "Volumes")
}

fn of_tmpfs(host: &Options<'_>) -> Result<Vec<Mount>, String> {
    keys_of(host, "Tmpfs")
}

/// An object whose keys are paths inside.
fn keys_of(options: &Options<'_>, key: &str) -> Result<Vec<Mount>, String> {
    let Some(value) = options.find(key) else { return Ok(Vec::new()) };
    let map =
        value.as_object().ok_or_else(|| format!("{} is not an object", options.named(key)))?;
    let mounts = map.keys().map(|path| Mount { inside: path.into(), source: MountSource::Passing });
    Ok(mounts.collect())
}

/// `HostConfig.Mounts`.
pub(crate) fn of_mounts(host: &Options<'_>) -> Result<Vec<Mount>, String> {
    let Some(value) = host.find("Mounts") else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or("HostConfig.Mounts is not an array")?;
    let mount = |value: &Value| {
        let mut map = value
            .as_object()
            .cloned()
            .ok_or("HostConfig.Mounts holds something that is no object")?;
        let mount = Options::root(&mut map)?;
        let text = |key| mount.find(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let source = text("Source");
        let source = match text("Type").as_str() {
            "bind" => MountSource::Host(source.into()),
            "volume" if !source.is_empty() => MountSource::Volume(source),
            _ => MountSource::Passing,
        };
        Ok(Mount { inside: text("Target").into(), source })
    };
    list.iter().map(mount).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(options: Value) -> ModuleSpec {
        ModuleSpec {
            create_options: options,
            env: [("storageFolder".to_owned(), "/data".to_owned())].into(),
            ..ModuleSpec::new("edgeHub".parse().unwrap(), "hub:1".parse().unwrap())
        }
    }

    #[track_caller]
    fn check(options: Value, path: &str, expected: Option<(MountSource, &str)>) {
        let found = locate(&spec(options).mounts().unwrap(), Path::new(path));
        let expected =
            expected.map(|(source, below)| Location { source, below: PathBuf::from(below) });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_longest_mount_above_a_path_holds_it() {
        let host = |path: &str| MountSource::Host(path.into());
        let binds = json!({"hostconfig": {"BINDS": ["/srv/a:/data", "/srv/b:/data/x:ro,z"]}});
        check(binds.clone(), "/data/edgeHub", Some((host("/srv/a"), "edgeHub")));
        check(binds.clone(), "/data/x/edgeHub", Some((host("/srv/b"), "edgeHub")));
        check(binds.clone(), "/data", Some((host("/srv/a"), "")));
        check(binds, "/database", None);
        check(json!(null), "/tmp/edgeHub", None);
    }

    #[test]
    fn volumes_memory_and_mounts_are_told_apart() {
        let options = json!({
            "Volumes": {"/anonymous": {}},
            "HostConfig": {
                "Binds": ["vol:/named", "/alone"],
                "Tmpfs": {"/memory": "size=1m"},
                "Mounts": [
                    {"Type": "bind", "Source": "/srv", "Target": "/bound"},
                    {"type": "volume", "source": "v2", "target": "/v2"},
                    {"Type": "volume", "Target": "/v3"},
                    {"Type": "tmpfs", "Target": "/m2"},
                ],
            },
        });
        let at = |path: &str, source| check(options.clone(), path, Some((source, "")));
        at("/named", MountSource::Volume("vol".into()));
        at("/bound", MountSource::Host("/srv".into()));
        at("/v2", MountSource::Volume("v2".into()));
        for path in ["/anonymous", "/alone", "/memory", "/v3", "/m2"] {
            at(path, MountSource::Passing);
        }
    }

    #[test]
    fn variables_and_users_are_read_as_the_module_gets_them() {
        let plain = spec(json!({}));
        assert_eq!(plain.variable("STORAGEFOLDER").unwrap().as_deref(), Some("/data"));
        let own = spec(json!({"Env": ["storageFolder=/own"], "User": "1000"}));
        assert_eq!(own.variable("StorageFolder").unwrap().as_deref(), Some("/own"));
        assert_eq!(own.numeric_user().unwrap(), Some((1000, 1000)));
        assert_eq!(spec(json!({"User": "7:8"})).numeric_user().unwrap(), Some((7, 8)));
        assert_eq!(spec(json!({"User": "hub"})).numeric_user().unwrap(), None);
        assert!(spec(json!({"HostConfig": {"Mounts": 1}})).mounts().is_err());
    }
}
