//! What is wanted: a deployment, its modules as they have to be created, and the digest by which
//! a change is noticed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use manifest::agent::{Env, ModuleConfig, ModuleStatus};
use manifest::{AgentConfig, agent::RegistryCredential};
use model::ModuleId;
use serde_json::Value;

use crate::environment::environment;
use crate::ports;
use crate::settings::Surroundings;
use crate::variables::Variables;

/// A deployment that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    /// `$version` of the desired properties.
    pub(crate) version: u64,
    /// The configuration.
    pub(crate) config: Arc<AgentConfig>,
    /// What the agent's variables say.
    pub(crate) variables: Variables,
    /// The modules, the edge hub among them.
    pub(crate) modules: BTreeMap<ModuleId, Arc<Target>>,
}

/// A module as it has to be.
#[derive(Debug)]
pub(crate) struct Target {
    /// The module.
    pub(crate) module: ModuleId,
    /// The manifest's words.
    pub(crate) config: ModuleConfig,
    /// The environment without the generation.
    pub(crate) env: Env,
    /// Credentials for the image's registry.
    pub(crate) auth: Option<RegistryCredential>,
    /// Changes when the module has to be created anew.
    pub(crate) digest: Digest,
}

impl Deployment {
    /// What the configuration means on this device.
    pub(crate) fn new(version: u64, config: AgentConfig, surroundings: &Surroundings) -> Self {
        let env = config.edge_agent.as_ref().map(|agent| &agent.env);
        let variables = Variables::read(&surroundings.agent_env, env);
        let surroundings = &ports::published(surroundings, &config);
        let modules = config
            .all_modules()
            .map(|(module, module_config)| {
                let env = environment(surroundings, &module, &module_config.env);
                let auth = config.runtime.credentials_for(&module_config.image).or_else(|| {
                    let registry = module_config.image.registry()?;
                    variables.credentials_for(registry)
                });
                let auth = auth.cloned();
                let digest = Digest::of(module_config, &env);
                let config = module_config.clone();
                (module.clone(), Arc::new(Target { module, config, env, auth, digest }))
            })
            .collect();
        Self { version, config: Arc::new(config), variables, modules }
    }
}

impl Target {
    /// Whether the module has to run.
    pub(crate) fn has_to_run(&self) -> bool {
        self.config.status == ModuleStatus::Running
    }
}

/// SHA-256 of everything that a container is created from. Status, restart policy, pull policy and
/// order are the agent's own business and not in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Digest(String);

impl Digest {
    fn of(config: &ModuleConfig, env: &Env) -> Self {
        let mut context = Context::new(&SHA256);
        let mut field = |text: &str| {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        field(config.kind.as_str());
        field(config.image.as_str());
        field(&canonical(&config.create_options).to_string());
        field(&config.version);
        for (name, value) in env {
            field(name);
            field(value);
        }
        let hex = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(hex)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..8).unwrap_or(&self.0))
    }
}

/// The same document with its keys sorted: their order means nothing.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, Value> =
                object.iter().map(|(key, value)| (key, canonical(value))).collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_changes_nothing_and_anything_else_does() {
        let digest = |options: Value, env: &[(&str, &str)]| {
            let config = ModuleConfig {
                kind: manifest::agent::ModuleKind::Docker,
                image: "x:1".parse().unwrap(),
                create_options: options,
                env: Env::new(),
                status: ModuleStatus::Running,
                restart_policy: manifest::agent::RestartPolicy::Always,
                pull_policy: manifest::agent::PullPolicy::OnCreate,
                startup_order: 0,
                version: String::new(),
            };
            let env = env.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
            Digest::of(&config, &env)
        };
        let one = digest(json!({"a": {"x": 1, "y": [{"p": 1, "q": 2}]}, "b": 2}), &[("A", "1")]);
        let same = digest(json!({"b": 2, "a": {"y": [{"q": 2, "p": 1}], "x": 1}}), &[("A", "1")]);
        assert_eq!(one, same);
        assert_ne!(one, digest(json!({"a": 1}), &[("A", "1")]));
        assert_ne!(digest(json!({}), &[("A", "BC")]), digest(json!({}), &[("AB", "C")]));
    }
}
