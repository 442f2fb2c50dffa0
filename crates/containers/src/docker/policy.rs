//! What a deployment may ask of the machine, when `allow_elevated_docker_permissions = false`.
//!
//! `Privileged` and `CapAdd` are taken away and CHOWN and SETUID dropped, as the
//! original does it (T-ELEVATED) — but told. The original stops there, which
//! leaves a dozen other ways to the same power; those are refused
//! (`security.md` B33), so that the old module keeps running. What is in
//! [`HostPolicy`] is let through: the device's owner decides, not the deployment.
//!
//! Keys of `HostConfig` that are not known to be harmless are refused too, for an
//! engine may know them. A path is judged as it is written and as it is with its
//! symbolic links followed. That is no wall against a module that exchanges
//! directories for links, in a directory that it may write, between this look and
//! the engine's.

mod bind;
mod keys;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::options::{Options, is_empty};
use keys::Rule;

pub(super) use bind::plain;
pub use keys::REFUSABLE;

/// What a deployment may ask of this machine although elevated permissions are not
/// allowed: `[farshore.policy]` of `config.toml`. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPolicy {
    /// Paths that may be bound, with all that is below them, though they are the system's.
    pub bind: Vec<PathBuf>,
    /// Devices that may be passed, or directories of such.
    pub devices: Vec<PathBuf>,
    /// Capabilities that may be added or kept, in capital letters and without `CAP_`.
    pub capabilities: BTreeSet<String>,
    /// Whether `Privileged` holds.
    pub privileged: bool,
    /// Whether a module may be in the machine's network, or in that of another container.
    pub host_network: bool,
    /// Whether a module may see the machine's processes, or those of another container.
    pub host_pid: bool,
    /// Whether a module may share the machine's memory segments, or those of another container.
    pub host_ipc: bool,
    /// Whether a module may run without the engine's seccomp, AppArmor and masked paths.
    pub unconfined: bool,
    /// Further keys of `HostConfig` that may be used, from [`REFUSABLE`].
    pub options: BTreeSet<String>,
}

/// What a machine allows, and which paths are its own.
pub(super) struct Judge<'a> {
    /// What is let through.
    pub(super) policy: &'a HostPolicy,
    /// Paths that are bound only when they are named themselves.
    pub(super) protected: &'a [PathBuf],
    /// Follows the symbolic links of a path, as far as it exists.
    pub(super) resolve: &'a dyn Fn(&Path) -> PathBuf,
}

/// Why createOptions are not accepted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Not what the engine takes.
    Malformed(String),
    /// These would give power over the machine; each with the line that would allow it.
    Elevated(Vec<String>),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Malformed(what)
    }
}

/// Applies the policy to createOptions; gives the keys that were taken away.
pub(super) fn enforce(root: &mut Options<'_>, judge: &Judge<'_>) -> Result<Vec<String>, Refusal> {
    let mut refused = Refused::default();
    networks(root, judge, &mut refused)?;
    let mut host = root.object("HostConfig")?;
    judge_keys(&host, judge, &mut refused);
    bind::judge(&mut host, judge, &mut refused)?;
    if !refused.0.is_empty() {
        return Err(Refusal::Elevated(refused.0));
    }
    take_away(&mut host, judge.policy)
}

/// What was refused so far.
#[derive(Default)]
struct Refused(Vec<String>);

impl Refused {
    /// An option, what it asks for, and the line that would allow it; none if only
    /// `allow_elevated_docker_permissions` would.
    fn add(&mut self, key: &str, asked: Option<&str>, line: Option<&str>) {
        let asked = asked.map(|text| format!(" {:?}", shortened(text))).unwrap_or_default();
        let line = line.unwrap_or(ONLY_ELEVATED);
        let text = format!("HostConfig.{key}{asked} ({line})");
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }
}

fn judge_keys(host: &Options<'_>, judge: &Judge<'_>, refused: &mut Refused) {
    let policy = judge.policy;
    for key in host.keys() {
        let Some(value) = host.find(key) else { continue };
        let text = value.as_str();
        match keys::rule(key) {
            (_, Rule::Harmless | Rule::Elsewhere) => {}
            (name, Rule::Mode { private, allowed_by }) => {
                let is_private = text.is_some_and(|mode| private.contains(&mode));
                if !is_private && !is_allowed(policy, name, allowed_by) {
                    refused.add(name, text, Some(&line(name, allowed_by)));
                }
            }
            (name, Rule::Network) => {
                if text.is_none_or(is_shared_network) && !policy.host_network {
                    refused.add(name, text, Some(HOST_NETWORK));
                }
            }
            (name, Rule::Security) => {
                if !only_tightens(value) && !policy.unconfined {
                    refused.add(name, None, Some(UNCONFINED));
                }
            }
            (name, Rule::Devices) => {
                for device in devices(value) {
                    let path = device.as_deref().map(|path| bind::plain(Path::new(path)));
                    let may = path.is_some_and(|path| {
                        policy.devices.iter().any(|allowed| path.starts_with(allowed))
                    });
                    if !may {
                        let line =
                            device.as_deref().map(|path| format!("allow_devices = [{path:?}]"));
                        refused.add(name, device.as_deref(), line.as_deref());
                    }
                }
            }
            (name, Rule::Judged(asks)) => {
                if asks(value) && !policy.options.contains(name) {
                    refused.add(name, None, Some(&line(name, None)));
                }
            }
            // Not known, so not known to be harmless.
            (name, Rule::Unknown) => {
                if !asks_nothing(value) {
                    refused.add(name, None, None);
                }
            }
        }
    }
    // An empty list unmasks; its mere presence is meant.
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        if host.find(key).is_some() && !policy.unconfined {
            refused.add(key, None, Some(UNCONFINED));
        }
    }
}

/// Networks that are named beside `HostConfig`.
fn networks(root: &Options<'_>, judge: &Judge<'_>, refused: &mut Refused) -> Result<(), String> {
    let Some(networking) = root.find("NetworkingConfig") else { return Ok(()) };
    let mut networking =
        networking.as_object().cloned().ok_or("NetworkingConfig is not an object")?;
    let networking = Options::root(&mut networking)?;
    let endpoints = networking.find("EndpointsConfig").and_then(Value::as_object);
    for name in endpoints.into_iter().flat_map(|endpoints| endpoints.keys()) {
        if is_shared_network(name) && !judge.policy.host_network {
            refused.add("NetworkMode", Some(name), Some(HOST_NETWORK));
        }
    }
    Ok(())
}

/// What the original takes away, without what the device's owner lets through.
fn take_away(host: &mut Options<'_>, policy: &HostPolicy) -> Result<Vec<String>, Refusal> {
    let mut removed = Vec::new();
    if !policy.privileged
        && host.take("Privileged").is_some_and(|value| value != Value::Bool(false))
    {
        removed.push(host.named("Privileged"));
    }
    let is_allowed = |capability: &str| policy.capabilities.contains(&plain_name(capability));
    // Old engines also take a single string here, so anything counts.
    if let Some(added) = host.take("CapAdd").filter(|value| *value != json!([])) {
        let added = added.as_array().cloned().unwrap_or_default();
        let kept: Vec<&str> =
            added.iter().filter_map(Value::as_str).filter(|name| is_allowed(name)).collect();
        if kept.is_empty() || kept.len() < added.len() {
            removed.push(host.named("CapAdd"));
        }
        if !kept.is_empty() {
            host.set("CapAdd", json!(kept));
        }
    }
    let mut dropped = host.take_strings("CapDrop")?;
    for capability in ["CHOWN", "SETUID"] {
        let is_dropped = dropped.iter().any(|other| plain_name(other) == capability);
        if !is_dropped && !is_allowed(capability) && !policy.privileged {
            dropped.push(capability.to_owned());
        }
    }
    if !dropped.is_empty() {
        host.set("CapDrop", json!(dropped));
    }
    Ok(removed)
}

/// A capability as engines compare it.
fn plain_name(capability: &str) -> String {
    let name = capability.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

fn is_allowed(policy: &HostPolicy, name: &str, by: Option<keys::Switch>) -> bool {
    match by {
        Some(keys::Switch::Pid) => policy.host_pid,
        Some(keys::Switch::Ipc) => policy.host_ipc,
        None => policy.options.contains(name),
    }
}

fn line(name: &str, by: Option<keys::Switch>) -> String {
    match by {
        Some(keys::Switch::Pid) => "allow_host_pid = true".to_owned(),
        Some(keys::Switch::Ipc) => "allow_host_ipc = true".to_owned(),
        None => format!("allow_options = [{name:?}]"),
    }
}

/// The machine's network, another container's, and podman's ways to name either, all with a colon.
fn is_shared_network(mode: &str) -> bool {
    mode == "host" || mode.contains(':')
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

/// The machine's side of each device; `None` for one that cannot be judged.
fn devices(value: &Value) -> Vec<Option<String>> {
    let path_of = |device: &Value| {
        let mut device = device.as_object()?.clone();
        let device = Options::root(&mut device).ok()?;
        device.find("PathOnHost")?.as_str().map(str::to_owned)
    };
    match value.as_array() {
        Some(devices) => devices.iter().map(path_of).collect(),
        None => vec![None],
    }
}

fn asks_nothing(value: &Value) -> bool {
    is_empty(value) || value.as_f64() == Some(0.0)
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

const HOST_NETWORK: &str = "allow_host_network = true";
const UNCONFINED: &str = "allow_unconfined = true";
const ONLY_ELEVATED: &str = "only allow_elevated_docker_permissions = true";
/// Of a value, in a message.
const SHOWN_CHARS: usize = 100;
