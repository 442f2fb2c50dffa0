//! Checks of where the system modules keep what must survive.

use std::path::Path;

use serde_json::Value;

use super::configuration::MANAGEMENT;
use super::docker::{Container, Mount};
use super::engine::URI;
use super::facts::Facts;
use super::report::Outcome;

/// `edge-agent-storage-mounted-from-host`. The agent is part of the daemon, whose directory is on
/// the machine; the guide's walk wants the place to be chosen all the same, so that it is known and
/// backed up.
pub(super) fn edge_agent(facts: &Facts) -> Outcome {
    if facts.daemon.is_err() {
        return Outcome::Skipped(MANAGEMENT);
    }
    if facts.modules_are_processes() == Some(true) {
        return Outcome::ignored(ON_HOST);
    }
    let Some(agent) = facts.module("edgeAgent") else {
        return Outcome::error("the daemon does not show the module edgeAgent; restart it");
    };
    let env =
        agent.config.env.iter().map(|variable| (variable.key.as_str(), variable.value.as_str()));
    let folder = storage_folder(env);
    let options = agent.config.settings.get("createOptions");
    let host = options.and_then(|options| child(options, "HostConfig"));
    if !host.is_some_and(|host| mounts(host).any(|mount| covers(&mount.destination, &folder))) {
        return Outcome::warning(format!(
            "The edgeAgent module is not configured to persist its {folder} directory on the host filesystem.\n\
             Its state is in the daemon's own directory instead. Choose a folder for it: see \
             https://aka.ms/iotedge-prod-checklist-storage-host for best practices."
        ));
    }
    // The daemon says here why it is not so.
    match agent.status.runtime_status.description.as_deref().and_then(|text| text.split_once("; "))
    {
        Some((_, problem)) => Outcome::warning(problem.to_owned()),
        None => Outcome::Ok,
    }
}

/// `edge-hub-storage-mounted-from-host`: messages wait there.
pub(super) fn edge_hub(facts: &Facts) -> Outcome {
    if facts.daemon.is_err() {
        return Outcome::Skipped(MANAGEMENT);
    }
    if facts.module("edgeHub").is_none() {
        return Outcome::ignored("no edge hub is deployed yet");
    }
    if facts.modules_are_processes() == Some(true) {
        return Outcome::ignored(ON_HOST);
    }
    match (&facts.engine, facts.containers.get("edgeHub")) {
        (Some(Ok(_)), Some(container)) => judge(container, is_usual(facts)),
        (Some(Ok(_)), None) => {
            Outcome::error("the container edgeHub is not there; look at: iotedge list")
        }
        _ => Outcome::Skipped(URI),
    }
}

/// What is mounted over the folder of the edge hub's messages.
pub(super) fn mount_of_store(container: &Container) -> Option<&Mount> {
    let folder = folder_of(container);
    container.mounts.iter().find(|mount| covers(&mount.destination, &folder))
}

fn folder_of(container: &Container) -> String {
    let env = container.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    storage_folder(env)
}

/// Whether the daemon chose the folder, because the manifest names none.
fn is_usual(facts: &Facts) -> bool {
    let options = facts.module("edgeHub").and_then(|hub| hub.config.settings.get("createOptions"));
    options.and_then(|options| options.pointer("/Labels/farshore.storage")).is_some()
}

fn judge(container: &Container, is_usual: bool) -> Outcome {
    let folder = folder_of(container);
    let Some(mount) = mount_of_store(container) else {
        return Outcome::warning(format!(
            "The edgeHub module is not configured to persist its {folder} directory on the host filesystem.\n\
             Data might be lost if the module is deleted or updated.\n\
             Please see https://aka.ms/iotedge-prod-checklist-storage-host for best practices."
        ));
    };
    if is_usual {
        return Outcome::warning(format!(
            "The edgeHub module is not configured to persist its {folder} directory on the host filesystem.\n\
             Its messages are in the daemon's own directory {} instead. Choose a folder for them: see \
             https://aka.ms/iotedge-prod-checklist-storage-host for best practices.",
            mount.source
        ));
    }
    if mount.r#type == "tmpfs" {
        return Outcome::warning(format!(
            "The edgeHub module keeps its {folder} directory in memory; data is lost when it stops.\n\
             Bind a folder of the host there instead."
        ));
    }
    Outcome::Ok
}

/// `storageFolder`, in any case, or where it is by default.
fn storage_folder<'a>(mut env: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let set =
        env.find(|(name, value)| name.eq_ignore_ascii_case("storageFolder") && !value.is_empty());
    set.map_or(STORAGE_FOLDER_DEFAULT, |(_, folder)| folder).to_owned()
}

/// Whether what is mounted at `destination` holds the storage: the folder itself, one above it, or
/// the one that the module makes in it.
fn covers(destination: &str, folder: &str) -> bool {
    let (destination, folder) = (Path::new(destination), Path::new(folder));
    folder.starts_with(destination)
        || destination == folder.join("edgeHub")
        || destination == folder.join("edgeAgent")
}

/// What `HostConfig` mounts from the host.
fn mounts(host: &Value) -> impl Iterator<Item = Mount> {
    let list = |name| child(host, name).and_then(Value::as_array).into_iter().flatten();
    let text = |mount: &Value, name| {
        child(mount, name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let binds = list("Binds").filter_map(Value::as_str).filter_map(bind);
    binds.chain(list("Mounts").map(move |mount| Mount {
        r#type: text(mount, "Type"),
        source: text(mount, "Source"),
        destination: text(mount, "Target"),
    }))
}

/// A member, its name in any case, as the engine reads it.
fn child<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let found = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(found.1)
}

/// `host:container[:options]`.
fn bind(text: &str) -> Option<Mount> {
    let mut parts = text.split(':');
    let (source, destination) = (parts.next()?, parts.next()?);
    Some(Mount { r#type: "bind".into(), source: source.into(), destination: destination.into() })
}

/// As the original (`edge-runtime.md` §5.12).
const STORAGE_FOLDER_DEFAULT: &str = "/tmp";
const ON_HOST: &str = "modules run as processes: their storage is on the host";
