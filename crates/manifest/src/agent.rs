//! The desired properties of `$edgeAgent` (er §4.1): which modules a device runs, and how.
//!
//! [`AgentConfig::parse`] takes the section as the twin has it. An error knows its
//! `lastDesiredStatus` code (er §4.3), the path and the fix. Whether a module's wishes are allowed
//! on this device is the daemon's policy, not decided here.

mod create_options;
mod module;
mod runtime;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::ModuleId;
use model::limits::MODULES_PER_DEVICE_MAX;
use model::twin::Object;
use serde_json::Value;

use crate::fields::{FieldError, Fields, kind_of, shortened};
use crate::version::SchemaVersion;

pub use create_options::{chunked, without_nulls};
pub use module::{
    Env, ModuleConfig, ModuleKind, ModuleStatus, PullPolicy, RestartPolicy, SystemModule,
    container_name,
};
pub use runtime::{RegistryCredential, RuntimeConfig};

/// What the agent has to make of its device.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// Version of the schema.
    pub schema_version: SchemaVersion,
    /// Settings of the container runtime.
    pub runtime: RuntimeConfig,
    /// The agent itself.
    pub edge_agent: Option<SystemModule>,
    /// The edge hub, module `$edgeHub`.
    pub edge_hub: Option<ModuleConfig>,
    /// The user's modules.
    pub modules: BTreeMap<ModuleId, ModuleConfig>,
}

/// Why desired properties are not an agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentConfigError {
    /// There is nothing in it.
    #[error("the desired properties of $edgeAgent are empty; set a deployment manifest")]
    Empty,
    /// The schema is one that we don't know.
    #[error("schemaVersion {found:?} is not supported; use 1.0 or 1.1")]
    SchemaVersion {
        /// The text.
        found: String,
    },
    /// A property is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl AgentConfigError {
    /// The code that the agent reports in `lastDesiredStatus` (er §4.3).
    pub fn code(&self) -> u16 {
        match self {
            Self::Empty => 417,
            Self::SchemaVersion { .. } => 412,
            Self::Field(_) => 400,
        }
    }
}

impl AgentConfig {
    /// Reads the desired section of the agent's twin; `$version` and `$metadata` may be in it.
    pub fn parse(desired: &Object) -> Result<Self, AgentConfigError> {
        let root = Fields::root(desired);
        if root.entries().all(|(name, _)| name.starts_with('$')) {
            return Err(AgentConfigError::Empty);
        }
        let schema_version = schema_version(&root)?;
        let runtime = RuntimeConfig::parse(&root.required_object("runtime")?)?;
        let system = root.required_object("systemModules")?;
        let edge_agent =
            system.object("edgeAgent")?.map(|fields| SystemModule::parse(&fields)).transpose()?;
        let edge_hub = system
            .object("edgeHub")?
            .map(|fields| ModuleConfig::parse(&fields, RestartPolicy::Always))
            .transpose()?;
        for (name, env) in [
            ("edgeAgent", edge_agent.as_ref().map(|module| &module.env)),
            ("edgeHub", edge_hub.as_ref().map(|module| &module.env)),
        ] {
            check_upstream_protocol(name, env)?;
        }
        let modules = parse_modules(&root)?;

        let count =
            modules.len() + usize::from(edge_agent.is_some()) + usize::from(edge_hub.is_some());
        if count > MODULES_PER_DEVICE_MAX {
            let problem = format!(
                "has too many entries: {count} with the system modules; a device has at most \
                 {MODULES_PER_DEVICE_MAX}"
            );
            return Err(root.error("modules", problem).into());
        }
        Ok(Self { schema_version, runtime, edge_agent, edge_hub, modules })
    }

    /// All modules that the agent has to run, the edge hub among them.
    pub fn all_modules(&self) -> impl Iterator<Item = (ModuleId, &ModuleConfig)> {
        let edge_hub = self.edge_hub.iter().map(|config| (ModuleId::edge_hub(), config));
        edge_hub.chain(self.modules.iter().map(|(id, config)| (id.clone(), config)))
    }
}

fn schema_version(root: &Fields<'_>) -> Result<SchemaVersion, AgentConfigError> {
    let text = root.required_text("schemaVersion")?;
    let unsupported = || AgentConfigError::SchemaVersion { found: shortened(&text) };
    let version: SchemaVersion = text.parse().map_err(|_| unsupported())?;
    if version.major == 1 && version <= SCHEMA_VERSION_MAX {
        Ok(version)
    } else {
        Err(unsupported())
    }
}

/// A protocol that there is not is refused, rather than replaced by another.
fn check_upstream_protocol(module: &str, env: Option<&Env>) -> Result<(), FieldError> {
    let is_setting = |name: &str| name.eq_ignore_ascii_case(UPSTREAM_PROTOCOL);
    for (name, value) in env.into_iter().flatten().filter(|(name, _)| is_setting(name)) {
        let value = value.trim();
        let is_known = UPSTREAM_PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(value));
        if !value.is_empty() && !is_known {
            let problem = format!(
                "is {:?}; set Amqp, AmqpWs, Mqtt or MqttWs, or remove it",
                shortened(value)
            );
            return Err(FieldError::new(format!("systemModules.{module}.env.{name}"), problem));
        }
    }
    Ok(())
}

fn parse_modules(root: &Fields<'_>) -> Result<BTreeMap<ModuleId, ModuleConfig>, FieldError> {
    let mut modules = BTreeMap::new();
    let Some(fields) = root.object("modules")? else { return Ok(modules) };
    for (name, value) in fields.entries() {
        let id = module_id(&fields, name)?;
        let config = match value {
            Value::Object(_) => fields.child(&shortened(name), value)?,
            other => {
                let problem = format!("is {}; it has to be an object", kind_of(other));
                return Err(fields.error(&shortened(name), problem));
            }
        };
        modules.insert(id, ModuleConfig::parse(&config, RestartPolicy::OnUnhealthy)?);
    }
    Ok(modules)
}

/// A user module's id: legal at the hub, and its container name legal in an engine.
fn module_id(fields: &Fields<'_>, name: &str) -> Result<ModuleId, FieldError> {
    let refuse = |problem: String| Err(fields.error(&format!("{:?}", shortened(name)), problem));
    if name.starts_with('$') || RESERVED_NAMES.contains(&name) {
        return refuse(
            "is a name of the system; put edgeAgent and edgeHub into systemModules".into(),
        );
    }
    if let Err(problem) = container_name(name) {
        return refuse(problem.into());
    }
    name.parse().or_else(|error: model::id::IdError| refuse(format!("is not a module id: {error}")))
}

/// The newest schema of an agent (er §4.1).
const SCHEMA_VERSION_MAX: SchemaVersion = SchemaVersion { major: 1, minor: 1, patch: 0 };
/// The variable that says how the edge hub reaches its upstream (er §2.4, 5.12).
pub const UPSTREAM_PROTOCOL: &str = "UpstreamProtocol";
/// What it may say, in any case.
const UPSTREAM_PROTOCOLS: [&str; 4] = ["Amqp", "AmqpWs", "Mqtt", "MqttWs"];
/// Their containers have these names, so no other may.
const RESERVED_NAMES: [&str; 2] = ["edgeAgent", "edgeHub"];
