//! What a deployment says of the agent itself is passed on to the daemon, which this agent is part
//! of: it shows it, and keeps the agent's record where it says (T-UPDATE-SELF).
//!
//! It is told once in a life and with every change, when no module is being changed: the daemon may
//! end this agent for it, and begin it anew. What the daemon refuses is tried again, and is in the
//! description of `edgeAgent` that the daemon gives.

use std::collections::BTreeMap;
use std::time::Duration;

use client::edge::ManagementClient;
use host::clock::Clock;
use iot_proto::management::{EnvVar, ModuleConfig, ModuleSpec};
use manifest::AgentConfig;
use serde_json::Map;
use tokio::task::JoinSet;

use crate::error::chain;

/// Tells the daemon.
pub(crate) struct Itself {
    management: ManagementClient,
    clock: Clock,
    told: Option<ModuleSpec>,
    telling: JoinSet<()>,
}

impl Itself {
    pub(crate) fn new(management: ManagementClient, clock: Clock) -> Self {
        Self { management, clock, told: None, telling: JoinSet::new() }
    }

    /// Tells what the deployment says, unless that was told; `settings` are the device's own
    /// variables of the agent.
    pub(crate) fn tell(&mut self, config: &AgentConfig, settings: &BTreeMap<String, String>) {
        let Some(spec) = spec(config, settings) else { return };
        if self.told.as_ref() == Some(&spec) {
            return;
        }
        self.told = Some(spec.clone());
        self.telling.abort_all();
        while self.telling.try_join_next().is_some() {}
        let (management, clock) = (self.management.clone(), self.clock.clone());
        self.telling.spawn(async move {
            while let Err(error) = management.update_module(&spec, false).await {
                tracing::warn!(
                    error = chain(&error),
                    "what the deployment says of edgeAgent is not in force"
                );
                clock.sleep(AGAIN_AFTER).await;
            }
        });
    }
}

/// The agent as the management API takes modules. Of its environment only what the daemon needs:
/// the rest is the agent's own, and may be secret.
fn spec(config: &AgentConfig, settings: &BTreeMap<String, String>) -> Option<ModuleSpec> {
    let agent = config.edge_agent.as_ref()?;
    let is_folder = |name: &str| name.eq_ignore_ascii_case(STORAGE_FOLDER);
    let folder = agent.env.iter().chain(settings).find(|(name, _)| is_folder(name));
    let env = folder.map(|(_, value)| EnvVar { key: STORAGE_FOLDER.into(), value: value.clone() });
    let mut create_options = agent.create_options.clone();
    if let Some(options) = create_options.as_object_mut() {
        let others = options.iter().filter(|(key, _)| !key.eq_ignore_ascii_case("Env"));
        *options = others.map(|(key, value)| (key.clone(), value.clone())).collect();
    }
    let mut settings = Map::new();
    settings.insert("image".into(), agent.image.as_str().into());
    settings.insert("createOptions".into(), create_options);
    Some(ModuleSpec {
        name: "edgeAgent".into(),
        r#type: "docker".into(),
        image_pull_policy: None,
        config: ModuleConfig { settings, env: env.into_iter().collect() },
    })
}

const STORAGE_FOLDER: &str = "storageFolder";
/// Somebody has to make room, or to give a right.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_daemon::FakeDaemon;

    fn config(options: &str) -> AgentConfig {
        let properties = json!({
            "schemaVersion": "1.1", "runtime": {"type": "docker"},
            "systemModules": {"edgeAgent": {
                "type": "docker",
                "env": {"STORAGEFOLDER": {"value": "/tmp/storage"}, "Secret": {"value": "geheim"}},
                "settings": {"image": "agent:1", "createOptions": options},
            }},
        });
        AgentConfig::parse(properties.as_object().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_daemon_hears_where_the_record_is_to_lie_and_no_secrets() {
        let daemon = FakeDaemon::start();
        let management = ManagementClient::new(&daemon.management_socket());
        let mut itself = Itself::new(management, Clock::system());
        let settings = [("storageFolder".to_owned(), "/other".to_owned())].into();
        let options = r#"{"Env":["A=geheim"],"HostConfig":{"Binds":["/srv/a:/tmp/storage"]}}"#;
        itself.tell(&config(options), &settings);
        while itself.telling.join_next().await.is_some() {}
        let told = daemon.state.lock().agent.take().unwrap();
        assert_eq!(told.config.env[0].value, "/tmp/storage");
        let binds = &told.config.settings["createOptions"]["HostConfig"]["Binds"];
        assert_eq!(binds, &json!(["/srv/a:/tmp/storage"]));
        assert!(!serde_json::to_string(&told).unwrap().contains("geheim"));
        // The same again is not said again, another is.
        itself.tell(&config(options), &settings);
        assert!(itself.telling.is_empty());
        itself.tell(&config("{}"), &settings);
        while itself.telling.join_next().await.is_some() {}
        assert_eq!(
            daemon.state.lock().agent.take().unwrap().config.settings["createOptions"],
            json!({})
        );
    }
}
