//! From a module spec to what a process gets: a pure function.
//!
//! A process has no file system of its own, so a bind becomes a translation: the
//! variables of the environment that name an inside path get the host's path.
//! That is enough for workload sockets and storage folders, which programs find
//! by variables. What has no meaning for a process is told, not dropped silently.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::mounts::{self, MountSource};
use crate::options::{self, Options};
use crate::{ModuleSpec, Notice, RuntimeError};

/// What is kept of a spec.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// `createOptions.Cmd`, in place of the catalogue's arguments.
    pub(super) cmd: Option<Vec<String>>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Host directories that createOptions bind, to be made if missing.
    pub(super) directories: Vec<PathBuf>,
    pub(super) notices: Vec<Notice>,
}

/// Plans a module; `volumes` is where named volumes lie.
pub(super) fn plan(spec: &ModuleSpec, volumes: &Path) -> Result<Plan, RuntimeError> {
    let wrong = |what| RuntimeError::CreateOptions { name: spec.name.to_string(), what };
    let mut map = match &spec.create_options {
        Value::Null => Map::new(),
        Value::Object(map) => map.clone(),
        _ => return Err(wrong("not a JSON object".to_owned())),
    };
    let mut root = Options::root(&mut map).map_err(wrong)?;

    let has_cmd = root.find("Cmd").is_some();
    let cmd = root.take_strings("Cmd").map_err(wrong)?;
    let env = root.take_strings("Env").map_err(wrong)?;
    let mut labels = labels(root.take("Labels")).map_err(wrong)?;
    labels.extend(spec.labels.clone());
    root.take("Image");

    let mut binds: Vec<(PathBuf, PathBuf)> =
        spec.binds.iter().map(|bind| (bind.inside.clone(), bind.host.clone())).collect();
    let mut host = root.object("HostConfig").map_err(wrong)?;
    let mut directories = Vec::new();
    for bind in host.take_strings("Binds").map_err(wrong)? {
        let (inside, outside) = bind_paths(&bind, volumes).map_err(wrong)?;
        directories.push(outside.clone());
        binds.push((inside, outside));
    }
    for mount in mounts::of_mounts(&host).map_err(wrong)? {
        let outside = match mount.source {
            MountSource::Host(path) => path,
            MountSource::Volume(name) => volume_dir(&name, volumes)?,
            MountSource::Passing => continue,
        };
        directories.push(outside.clone());
        binds.push((mount.inside, outside));
    }
    host.take("Mounts");
    // Nothing to be kept apart here, and restarts are the agent's.
    host.take("RestartPolicy");
    let entries = options::environment(env, &spec.env);
    if entries.iter().any(|entry| entry.starts_with(LISTEN)) {
        // The agent has told the edge hub by its variables where to listen.
        host.take("PortBindings");
        root.take("ExposedPorts");
    }
    let host = root.object("HostConfig").map_err(wrong)?;
    let mut ignored: Vec<String> = host.keys().map(|key| host.named(key)).collect();
    ignored.extend(root.keys().filter(|key| *key != "HostConfig").map(str::to_owned));

    let env = entries
        .iter()
        // A name without value unsets what an image sets, and there is none.
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), translate(value, &binds)))
        .collect();
    let notices = match ignored.is_empty() {
        true => Vec::new(),
        false => vec![Notice::OptionsIgnored { keys: ignored }],
    };
    Ok(Plan { cmd: has_cmd.then_some(cmd), env, labels, directories, notices })
}

fn labels(value: Option<Value>) -> Result<BTreeMap<String, String>, String> {
    match value {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name, text)),
                _ => Err(format!("Labels.{name} is not a string")),
            })
            .collect(),
        Some(_) => Err("Labels is not an object".to_owned()),
    }
}

/// `source:inside[:mode]`, the source being a path or a volume's name.
fn bind_paths(bind: &str, volumes: &Path) -> Result<(PathBuf, PathBuf), String> {
    let mut parts = bind.split(':');
    let (Some(source), Some(inside)) = (parts.next(), parts.next()) else {
        return Err(format!("HostConfig.Binds: {bind:?} is not source:path"));
    };
    if !inside.starts_with('/') {
        return Err(format!("HostConfig.Binds: {inside:?} is not an absolute path"));
    }
    if source.starts_with('/') {
        return Ok((inside.into(), source.into()));
    }
    match is_volume(source) {
        true => Ok((inside.into(), volumes.join(source))),
        false => Err(format!("HostConfig.Binds: {source:?} is neither a path nor a volume's name")),
    }
}

/// Where a named volume lies; the same names as engines take.
pub(super) fn volume_dir(name: &str, volumes: &Path) -> Result<PathBuf, RuntimeError> {
    match is_volume(name) {
        true => Ok(volumes.join(name)),
        false => {
            let message = format!("{name:?} is no volume's name");
            Err(RuntimeError::Engine { status: BAD_REQUEST, message })
        }
    }
}

fn is_volume(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// The host's path for a value that names an inside path, plain or as
/// `unix://` URI; the longest inside path counts.
fn translate(value: &str, binds: &[(PathBuf, PathBuf)]) -> String {
    let (scheme, path) = match value.strip_prefix("unix://") {
        Some(path) => ("unix://", path),
        None => ("", value),
    };
    if !path.starts_with('/') {
        return value.to_owned();
    }
    let best = binds
        .iter()
        .filter_map(|(inside, outside)| {
            Some((inside, outside, Path::new(path).strip_prefix(inside).ok()?))
        })
        .max_by_key(|(inside, ..)| inside.as_os_str().len());
    match best {
        Some((_, outside, rest)) if rest.as_os_str().is_empty() => {
            format!("{scheme}{}", outside.display())
        }
        Some((_, outside, rest)) => format!("{scheme}{}", outside.join(rest).display()),
        None => value.to_owned(),
    }
}

/// How the variables begin that tell the edge hub where to listen.
const LISTEN: &str = "FARSHORE_EDGE_LISTEN";
const BAD_REQUEST: u16 = 400;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Bind;

    fn planned(options: Value) -> Result<Plan, RuntimeError> {
        let spec = ModuleSpec {
            create_options: options,
            env: [
                (
                    "IOTEDGE_WORKLOADURI".to_owned(),
                    "unix:///var/run/iotedge/workload.sock".to_owned(),
                ),
                ("storageFolder".to_owned(), "/iotedge/storage/x".to_owned()),
                ("A".to_owned(), "ours".to_owned()),
            ]
            .into(),
            binds: vec![Bind::new("/h/edgeHub.sock", "/var/run/iotedge/workload.sock")],
            ..ModuleSpec::new("edgeHub".parse().unwrap(), "hub:1".parse().unwrap())
        };
        plan(&spec, Path::new("/v"))
    }

    #[test]
    fn binds_become_host_paths_in_the_environment() {
        let plan = planned(json!({
            "Env": ["A=theirs", "B=/other", "C=/iotedge/storage", "D"],
            "HostConfig": {
                "Binds": ["/srv/hub:/iotedge/storage"],
                "Mounts": [{ "Type": "volume", "Source": "vol", "Target": "/other" }],
            },
        }))
        .unwrap();
        let expected: BTreeMap<String, String> = [
            ("A", "theirs"),
            ("B", "/v/vol"),
            ("C", "/srv/hub"),
            ("IOTEDGE_WORKLOADURI", "unix:///h/edgeHub.sock"),
            ("storageFolder", "/srv/hub/x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(plan.env, expected);
        assert_eq!(plan.directories, [PathBuf::from("/srv/hub"), "/v/vol".into()]);
        assert_eq!((plan.cmd, plan.notices), (None, vec![]));
    }

    #[test]
    fn what_has_no_meaning_is_told() {
        let plan = planned(json!({
            "Cmd": ["x"], "Entrypoint": ["/bin/sh"], "Tty": false, "Labels": { "a": "b" },
            "HostConfig": { "Memory": 5, "Devices": [], "RestartPolicy": {} },
        }))
        .unwrap();
        assert_eq!(plan.cmd, Some(vec!["x".to_owned()]));
        assert_eq!(plan.labels["a"], "b");
        let keys = vec!["HostConfig.Memory".to_owned(), "Entrypoint".to_owned()];
        assert_eq!(plan.notices, [Notice::OptionsIgnored { keys }]);
    }

    #[test]
    fn ports_are_no_notice_where_the_edge_hub_was_told_them() {
        let options = |env: &[&str]| {
            json!({
                "Env": env, "ExposedPorts": { "8883/tcp": {} },
                "HostConfig": { "PortBindings": { "8883/tcp": [{ "HostPort": "8884" }] } },
            })
        };
        assert_eq!(planned(options(&["FARSHORE_EDGE_LISTEN=[::]:8884"])).unwrap().notices, []);
        let keys = vec!["HostConfig.PortBindings".to_owned(), "ExposedPorts".to_owned()];
        assert_eq!(planned(options(&[])).unwrap().notices, [Notice::OptionsIgnored { keys }]);
    }

    #[test]
    fn malformed_options_are_refused() {
        for options in [
            json!(1),
            json!({ "Env": 1 }),
            json!({ "Cmd": "sh" }),
            json!({ "Labels": { "a": 1 } }),
            json!({ "HostConfig": { "Binds": ["x"] } }),
            json!({ "HostConfig": { "Binds": ["../x:/y"] } }),
            json!({ "HostConfig": { "Binds": ["x:y"] } }),
            json!({ "HostConfig": { "Mounts": [{ "Type": "volume", "Source": "../x" }] } }),
        ] {
            assert!(planned(options.clone()).is_err(), "{options}");
        }
    }
}
