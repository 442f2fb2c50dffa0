//! From a module spec to the engine's create request: a pure function.
//!
//! The user's createOptions stay as they are, also keys that we don't know;
//! only what the runtime answers for is merged in (`edge-runtime.md` §1.6:
//! environment, labels, network, binds, elevated permissions).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::policy;
use crate::options::{self, Options};
use crate::{Bind, ModuleSpec, Notice, RuntimeError};

/// What the request depends on besides the spec.
pub(super) struct Settings<'a> {
    /// Image under the engine's name.
    pub(super) image: &'a str,
    /// Arguments of a built-in image, when createOptions give none.
    pub(super) default_args: &'a [String],
    /// Network of the modules.
    pub(super) network: &'a str,
    /// `allow_elevated_docker_permissions`.
    pub(super) allow_elevated: bool,
    /// What may be asked of the machine without.
    pub(super) judge: policy::Judge<'a>,
}

/// The body of the create request and what has to be told about it.
pub(super) fn request(
    spec: &ModuleSpec,
    settings: &Settings<'_>,
) -> Result<(Value, Vec<Notice>), RuntimeError> {
    let mut map = match &spec.create_options {
        Value::Null => Map::new(),
        Value::Object(map) => map.clone(),
        _ => return Err(wrong(spec, "not a JSON object".to_owned())),
    };
    let notices = merge(&mut map, spec, settings)?;
    let body = Value::Object(map);
    if body.to_string().len() > REQUEST_BYTES_MAX {
        return Err(wrong(spec, format!("larger than {REQUEST_BYTES_MAX} bytes")));
    }
    Ok((body, notices))
}

fn merge(
    map: &mut Map<String, Value>,
    spec: &ModuleSpec,
    settings: &Settings<'_>,
) -> Result<Vec<Notice>, RuntimeError> {
    let wrong = |what| wrong(spec, what);
    let mut root = Options::root(map).map_err(wrong)?;

    let env = options::environment(root.take_strings("Env").map_err(wrong)?, &spec.env);
    root.set("Env", json!(env));
    root.set("Image", json!(settings.image));
    if root.find("Cmd").is_none() && !settings.default_args.is_empty() {
        root.set("Cmd", json!(settings.default_args));
    }
    labels(&mut root, spec).map_err(wrong)?;

    let mut notices = Vec::new();
    if !settings.allow_elevated {
        let removed =
            policy::enforce(&mut root, &settings.judge).map_err(|refusal| match refusal {
                policy::Refusal::Malformed(what) => wrong(what),
                policy::Refusal::Elevated(keys) => {
                    RuntimeError::Elevated { name: spec.name.to_string(), keys: keys.join(", ") }
                }
            })?;
        if !removed.is_empty() {
            notices.push(Notice::ElevatedRemoved { keys: removed });
        }
    }
    // Always present: without it, old engines read these keys from the root,
    // past the policy.
    let mut host = root.object("HostConfig").map_err(wrong)?;
    let mut binds = host.take_strings("Binds").map_err(wrong)?;
    for bind in &spec.binds {
        binds.push(bind_text(bind).map_err(wrong)?);
    }
    if !binds.is_empty() {
        host.set("Binds", json!(binds));
    }
    network(&mut root, spec, settings.network).map_err(wrong)?;
    Ok(notices)
}

fn labels(root: &mut Options<'_>, spec: &ModuleSpec) -> Result<(), String> {
    let mut labels = match root.take("Labels") {
        None => Map::new(),
        Some(Value::Object(labels)) => labels,
        Some(_) => return Err("Labels is not an object".to_owned()),
    };
    labels.insert(LABEL_ORIGINAL_IMAGE.to_owned(), json!(spec.image.to_string()));
    labels.extend(spec.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
    labels.insert(LABEL_OWNER.to_owned(), json!(OWNER));
    root.set("Labels", Value::Object(labels));
    Ok(())
}

fn bind_text(bind: &Bind) -> Result<String, String> {
    let text = |path: &Path| match path.to_str() {
        Some(text) if path.is_absolute() && !text.contains(':') => Ok(text.to_owned()),
        _ => Err(format!(
            "the path {} cannot be bound: it must be absolute and without ':'",
            path.display()
        )),
    };
    let mode = if bind.read_only { ":ro" } else { "" };
    Ok(format!("{}:{}{mode}", text(&bind.host)?, text(&bind.inside)?))
}

/// Joins the module network, unless the user chose networks (T-NETWORK).
fn network(root: &mut Options<'_>, spec: &ModuleSpec, network: &str) -> Result<(), String> {
    let chosen_mode = match root.object("HostConfig")?.find("NetworkMode") {
        None => None,
        Some(Value::String(mode)) => Some(mode.clone()),
        Some(_) => return Err("HostConfig.NetworkMode is not a string".to_owned()),
    };
    let has_other_mode =
        chosen_mode.is_some_and(|mode| !["", "default", network].contains(&mode.as_str()));
    let has_endpoints = root.find("NetworkingConfig").is_some()
        && root.object("NetworkingConfig")?.find("EndpointsConfig").is_some();
    if has_other_mode || has_endpoints {
        return Ok(());
    }
    root.object("HostConfig")?.set("NetworkMode", json!(network));
    let endpoint = json!({ "Aliases": spec.network_aliases });
    root.object("NetworkingConfig")?.set("EndpointsConfig", json!({ network: endpoint }));
    Ok(())
}

fn wrong(spec: &ModuleSpec, what: String) -> RuntimeError {
    RuntimeError::CreateOptions { name: spec.name.to_string(), what }
}

/// Label by which the original runtime knows its containers (§1.6).
pub(super) const LABEL_OWNER: &str = "net.azure-devices.edge.owner";
/// Its value.
pub(super) const OWNER: &str = "Microsoft.Azure.Devices.Edge.Agent";
/// Label with the image as the manifest names it.
pub(super) const LABEL_ORIGINAL_IMAGE: &str = "net.azure-devices.edge.original-image";

/// createOptions come in at most 100 parts of 512 characters (§4.1); the rest is
/// for environment and labels.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests;
