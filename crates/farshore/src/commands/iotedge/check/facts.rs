//! Everything that the checks judge, looked at once: files, the daemon, the engine, the hub; what
//! only the production checklist asks is in [`production`].

pub(super) mod files;
pub(super) mod hub;
pub(super) mod production;

use std::collections::BTreeMap;
use std::path::Path;

use client::edge::ManagementClient;
use edge_daemon::Config;
use edge_daemon::config::{ConfigError, DeviceCredential, EdgeCaConfig};
use host::clock::Clock;
use iot_proto::management::{ModuleDetails, SystemInfo};
use jiff::{SignedDuration, Timestamp};
use pki::certificate::Certificate;
use serde_json::{Value, json};

use super::Arguments;
use super::docker::{Container, Docker, Engine};
use super::platform::Platform;
use super::probe::{self, FromContainers};
use crate::commands::iotedge::failure::words;
use crate::commands::iotedge::place::Place;
pub(super) use files::{Life, Pair, Strength};
pub(super) use hub::Hub;
use production::Production;

/// What was seen. An error is a message and its causes.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    /// The machine's name.
    pub(super) machine: String,
    pub(super) config: Result<Config, ConfigProblem>,
    pub(super) daemon: Seen<Daemon>,
    /// None without a configuration to say where it is.
    pub(super) engine: Option<Seen<Engine>>,
    /// The modules' containers, by name; the agent has none.
    pub(super) containers: BTreeMap<String, Container>,
    /// The engine's own settings file; none when there is none.
    pub(super) engine_settings: Seen<Option<Value>>,
    /// When the Edge CA ends; none when that cannot be seen from here.
    pub(super) edge_ca_end: Option<Seen<Timestamp>>,
    /// None without a hub to connect to.
    pub(super) hub: Option<Hub>,
    /// None when nobody asked, or nobody could from within a container.
    pub(super) from_containers: Option<FromContainers>,
    /// The device's certificate and key; none when it proves itself by a symmetric key.
    pub(super) identity: Option<Pair>,
    /// The operator's Edge CA and its key; none when the daemon makes its own.
    pub(super) edge_ca: Option<Pair>,
    /// `trust_bundle_cert`, when there is one.
    pub(super) trust_bundle: Option<Seen<Life>>,
    /// None without a configuration, or without a daemon that could have it in effect.
    pub(super) applied: Option<Applied>,
    /// What versions somebody expects.
    pub(super) expected: Expected,
    /// What only the production checklist asks.
    pub(super) production: Option<Production>,
}

/// Whether the daemon can have the configuration in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    /// When the file changed last.
    pub(super) changed: Timestamp,
    /// When the daemon began.
    pub(super) began: Timestamp,
}

/// Versions that somebody expects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// `--expected-aziot-edged-version`.
    pub(super) daemon: Option<String>,
    /// `--expected-aziot-version`.
    pub(super) services: Option<String>,
}

/// What was looked at, or why it cannot be.
pub(super) type Seen<T> = Result<T, Vec<String>>;

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConfigProblem {
    /// This user may not read it.
    Denied(Vec<String>),
    /// It is missing or wrong.
    Wrong(Vec<String>),
}

/// What the daemon tells.
#[derive(Debug, Clone, Default)]
pub(super) struct Daemon {
    pub(super) info: SystemInfo,
    pub(super) modules: Vec<ModuleDetails>,
}

impl Facts {
    /// What helps whoever reads a report sent by somebody else.
    pub(super) fn additional_info(&self) -> Value {
        let engine = self.engine.as_ref().and_then(|engine| engine.as_ref().ok());
        let daemon = self.daemon.as_ref().ok();
        json!({
            "now": self.now.to_string(),
            "iotedge_version": env!("CARGO_PKG_VERSION"),
            "aziot_edged_version": daemon.map(|daemon| daemon.info.version.as_str()),
            "docker_version": engine.map(|engine| engine.version.as_str()),
            "machine": self.machine,
            "platform": Platform::of(self).to_json(),
            "os": daemon.map(|daemon| json!({
                "id": daemon.info.operating_system,
                "version_id": daemon.info.operating_system_version,
                "arch": daemon.info.architecture,
            })),
        })
    }

    /// Whether modules run as processes rather than in containers: those have no image. None when
    /// nothing tells.
    pub(super) fn modules_are_processes(&self) -> Option<bool> {
        let modules = &self.daemon.as_ref().ok()?.modules;
        // The agent is part of the daemon, whatever the others are.
        let mut others = modules.iter().filter(|module| module.name != "edgeAgent").peekable();
        others.peek()?;
        Some(others.all(|module| !module.config.settings.contains_key("imageHash")))
    }

    /// A module as the daemon shows it.
    pub(super) fn module(&self, name: &str) -> Option<&ModuleDetails> {
        self.daemon.as_ref().ok()?.modules.iter().find(|module| module.name == name)
    }
}

/// Looks at everything. Nothing of it is changed; containers that look at the hub are removed.
pub(super) async fn gather(place: Place, arguments: &Arguments) -> Facts {
    let clock = Clock::system();
    let path = arguments.config.as_deref().unwrap_or(&place.config);
    let config = config(path);
    let daemon = daemon(&place.management_socket).await;
    let mut facts = Facts {
        now: clock.wall(),
        machine: machine_name(),
        applied: applied(path, &place, clock.wall()).await,
        config,
        daemon,
        engine: None,
        containers: BTreeMap::new(),
        engine_settings: engine_settings(&arguments.container_engine_config_file),
        edge_ca_end: None,
        hub: None,
        from_containers: None,
        identity: None,
        edge_ca: None,
        trust_bundle: None,
        expected: Expected {
            daemon: arguments.expected_aziot_edged_version.clone(),
            services: arguments.expected_aziot_version.clone(),
        },
        production: None,
    };
    let Ok(config) = facts.config.clone() else { return facts };
    look_at_engine(&config.engine.uri, &mut facts).await;
    facts.edge_ca_end = look_at_edge_ca(&config, &place.homedir);
    if let DeviceCredential::Certificate { certificate, key } = &config.provisioning.credential {
        facts.identity = Some(files::pair(certificate, key));
    }
    if let EdgeCaConfig::Files { certificate, key } = &config.edge_ca {
        facts.edge_ca = Some(files::pair(certificate, key));
    }
    facts.trust_bundle = config.trust_bundle_cert.as_deref().map(files::life);
    facts.hub = Some(Box::pin(hub::look(&config, &place, arguments, &clock)).await);
    if arguments.looks_from_containers() && facts.modules_are_processes() != Some(true) {
        facts.from_containers =
            Box::pin(look_from_containers(&config, &place, arguments, &facts)).await;
    }
    if arguments.production.production {
        let look = production::look(&facts, &config, &place, arguments, &clock);
        facts.production = Some(Box::pin(look).await);
    }
    facts
}

async fn look_from_containers(
    config: &Config,
    place: &Place,
    arguments: &Arguments,
    facts: &Facts,
) -> Option<FromContainers> {
    facts.engine.as_ref()?.as_ref().ok()?;
    // A file that cannot be read is told by the connections from the machine.
    let trusted = hub::trusted(config, place, arguments).ok()?;
    let dials = hub::dials(config, place, arguments);
    probe::from_containers(config, &dials, trusted, facts.containers.get("edgeHub")).await
}

/// When the file changed and when the daemon began.
async fn applied(path: &Path, place: &Place, now: Timestamp) -> Option<Applied> {
    let changed = host::fs::facts(path).ok()?.modified_seconds;
    let resources =
        ManagementClient::new(&place.management_socket).system_resources().await.ok()?;
    let up = SignedDuration::from_secs(i64::try_from(resources.process_uptime).ok()?);
    let began = now.checked_sub(up).ok()?;
    Some(Applied { changed: Timestamp::from_second(changed).ok()?, began })
}

fn config(path: &Path) -> Result<Config, ConfigProblem> {
    Config::read(path).map_err(|error| match error {
        ConfigError::Read(source)
            if source.source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let mut texts =
                vec!["cannot read the configuration; run as root, or as its owner".to_owned()];
            texts.extend(words(source));
            ConfigProblem::Denied(texts)
        }
        error => ConfigProblem::Wrong(words(error)),
    })
}

async fn daemon(socket: &Path) -> Seen<Daemon> {
    let management = ManagementClient::new(socket);
    let info = management.system_info().await.map_err(words)?;
    let modules = management.modules().await.map_err(words)?;
    Ok(Daemon { info, modules })
}

async fn look_at_engine(uri: &str, facts: &mut Facts) {
    let look = async {
        let docker = Docker::new(uri)?;
        let engine = docker.engine().await?;
        let modules = facts.daemon.iter().flat_map(|daemon| &daemon.modules);
        let names = modules.map(|module| module.name.as_str());
        let mut containers = BTreeMap::new();
        for name in names.take(MODULES_MAX) {
            if let Some(container) = docker.container(name).await? {
                containers.insert(name.to_owned(), container);
            }
        }
        Ok((engine, containers))
    };
    let seen: Seen<(Engine, BTreeMap<String, Container>)> = look.await;
    facts.engine = Some(match seen {
        Ok((engine, containers)) => {
            facts.containers = containers;
            Ok(engine)
        }
        Err(texts) => Err(texts),
    });
}

fn engine_settings(path: &Path) -> Seen<Option<Value>> {
    let text = host::fs::read_optional(path).map_err(words)?;
    let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map_err(|error| vec![format!("{} is not JSON", path.display()), error.to_string()])
}

/// The operator's CA from its file; the daemon's own from where it keeps it, if this user may look.
fn look_at_edge_ca(config: &Config, homedir: &Path) -> Option<Seen<Timestamp>> {
    let pem = match &config.edge_ca {
        EdgeCaConfig::Files { certificate, .. } => match host::fs::read_to_string(certificate) {
            Ok(pem) => pem,
            Err(error) => return Some(Err(words(error))),
        },
        EdgeCaConfig::Own { .. } => {
            let kept = host::fs::read_to_string(&homedir.join("certs/edge-ca.json")).ok()?;
            let kept: Value = serde_json::from_str(&kept).ok()?;
            kept.get("certificate")?.as_str()?.to_owned()
        }
    };
    Some(Certificate::from_pem(&pem).map(|certificate| certificate.not_after).map_err(words))
}

fn machine_name() -> String {
    let name = host::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"));
    name.unwrap_or_default().trim().to_owned()
}

/// A deployment has no more (`edge-runtime.md` §7.2), and the system's two.
const MODULES_MAX: usize = 52;
