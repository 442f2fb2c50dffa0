//! Everything that the checks judge, looked at once: files, the daemon, the engine, the hub.

use std::path::Path;
use std::time::Duration;

use client::Dial;
use client::dial::{AMQP_PORT, DialError, HTTPS_PORT, MQTT_PORT};
use client::edge::ManagementClient;
use client::environment::{
    UPSTREAM_ADDRESS, UPSTREAM_AMQP_PORT, UPSTREAM_HTTPS_PORT, UPSTREAM_MQTT_PORT,
};
use edge_daemon::Config;
use edge_daemon::config::{ConfigError, EdgeCaConfig};
use host::clock::Clock;
use host::http::Request;
use host::tls::{ClientTls, TlsError};
use iot_proto::management::{ModuleDetails, SystemInfo};
use jiff::Timestamp;
use pki::certificate::Certificate;
use serde_json::{Value, json};

use super::Arguments;
use super::docker::{Container, Docker, Engine};
use crate::commands::iotedge::failure::words;
use crate::commands::iotedge::place::Place;

/// What was seen. An error is a message and its causes.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    /// The machine's name.
    pub(super) machine: String,
    pub(super) config: Result<Config, ConfigProblem>,
    pub(super) daemon: Seen<Daemon>,
    /// None without a configuration to say where it is.
    pub(super) engine: Option<Seen<Engine>>,
    /// The edge hub's container, if it has one.
    pub(super) edge_hub: Option<Container>,
    /// The engine's own settings file; none when there is none.
    pub(super) engine_settings: Seen<Option<Value>>,
    /// When the Edge CA ends; none when that cannot be seen from here.
    pub(super) edge_ca_end: Option<Seen<Timestamp>>,
    /// None without a hub to connect to.
    pub(super) hub: Option<Hub>,
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

/// How the hub is reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hub {
    /// A TLS handshake at the port of MQTT.
    pub(super) mqtt: Seen<()>,
    /// A TLS handshake at the port of AMQP.
    pub(super) amqp: Seen<()>,
    /// A request at the port of HTTPS, and the hub's time if it told it.
    pub(super) https: Seen<Option<Timestamp>>,
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

/// Looks at everything. Nothing of it is changed.
pub(super) async fn gather(place: Place, arguments: &Arguments) -> Facts {
    let clock = Clock::system();
    let config = config(arguments.config.as_deref().unwrap_or(&place.config));
    let daemon = daemon(&place.management_socket).await;
    let (mut engine, mut edge_hub, mut edge_ca_end, mut hub) = (None, None, None, None);
    if let Ok(config) = &config {
        (engine, edge_hub) = look_at_engine(&config.engine.uri).await;
        edge_ca_end = look_at_edge_ca(config, &place.homedir);
        hub = Some(Box::pin(look_at_hub(config, &place, arguments, &clock)).await);
    }
    Facts {
        now: clock.wall(),
        machine: machine_name(),
        config,
        daemon,
        engine,
        edge_hub,
        engine_settings: engine_settings(&arguments.container_engine_config_file),
        edge_ca_end,
        hub,
    }
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

async fn look_at_engine(uri: &str) -> (Option<Seen<Engine>>, Option<Container>) {
    let docker = match Docker::new(uri) {
        Ok(docker) => docker,
        Err(texts) => return (Some(Err(texts)), None),
    };
    match docker.engine().await {
        Ok(engine) => match docker.container("edgeHub").await {
            Ok(container) => (Some(Ok(engine)), container),
            Err(texts) => (Some(Err(texts)), None),
        },
        Err(texts) => (Some(Err(texts)), None),
    }
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

async fn look_at_hub(config: &Config, place: &Place, arguments: &Arguments, clock: &Clock) -> Hub {
    let Dials { mqtt, amqp, https } = dials(config, place, arguments);
    let tls = match trust(config, place, arguments) {
        Ok(tls) => tls,
        Err(texts) => {
            return Hub { mqtt: Err(texts.clone()), amqp: Err(texts.clone()), https: Err(texts) };
        }
    };
    let (mqtt, amqp, https) = tokio::join!(
        handshake(&mqtt, &tls, clock),
        handshake(&amqp, &tls, clock),
        ask(&https, &tls)
    );
    Hub { mqtt, amqp, https }
}

/// Where the hub is asked for.
struct Dials {
    mqtt: Dial,
    amqp: Dial,
    https: Dial,
}

/// Where to dial: options, else what `farshore up` says, else what modules are told, else the
/// usual ports.
fn dials(config: &Config, place: &Place, arguments: &Arguments) -> Dials {
    let manual = &config.provisioning;
    let name = arguments.iothub_hostname.as_ref().unwrap_or(&manual.hub_host_name);
    let told = |variable: &str| config.agent.env.get(variable).cloned();
    let port = |variable: &str| told(variable).and_then(|text| text.parse::<u16>().ok());
    let up = place.up.as_ref();
    let address = arguments.hub_address.clone().or_else(|| told(UPSTREAM_ADDRESS));
    let mqtt_port =
        manual.mqtt_port.or(up.and_then(|up| up.mqtt_port)).or(port(UPSTREAM_MQTT_PORT));
    let amqp_port = up.and_then(|up| up.amqp_port).or(port(UPSTREAM_AMQP_PORT));
    let https_port = arguments.hub_https_port.or(up.and_then(|up| up.https_port));
    let https_port = https_port.or(port(UPSTREAM_HTTPS_PORT));
    let dial = |port| Dial::new(name.as_str(), port).at(address.clone());
    Dials {
        mqtt: dial(mqtt_port.unwrap_or(MQTT_PORT)),
        amqp: dial(amqp_port.unwrap_or(AMQP_PORT)),
        https: dial(https_port.unwrap_or(HTTPS_PORT)),
    }
}

/// Whom the daemon trusts as the hub: the operator's bundle, what is named here, the machine's own.
fn trust(config: &Config, place: &Place, arguments: &Arguments) -> Seen<ClientTls> {
    let up_ca = place.up.as_ref().and_then(|up| up.ca.as_ref());
    let files = [config.trust_bundle_cert.as_ref(), arguments.hub_ca.as_ref(), up_ca];
    let mut texts = Vec::new();
    for path in files.into_iter().flatten() {
        texts.push(host::fs::read_to_string(path).map_err(words)?);
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let given = ClientTls::new(&texts).map_err(words)?;
    // A machine without roots of its own still trusts what it was given.
    Ok(given.clone().with_system_roots().unwrap_or(given))
}

async fn handshake(dial: &Dial, tls: &ClientTls, clock: &Clock) -> Seen<()> {
    let target = dial.address.as_deref().unwrap_or(&dial.host);
    let stream = host::net::connect(target, dial.port, CONNECT_LIMIT).await;
    let stream =
        stream.map_err(|source| words(DialError::Network { dial: dial.clone(), source }))?;
    match clock.timeout(CONNECT_LIMIT, tls.connect(stream, &dial.host)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(words(DialError::Tls { dial: dial.clone(), source })),
        Err(_) => {
            Err(vec![format!("{dial} took the connection but does not answer TLS; check the port")])
        }
    }
}

/// Asks for nothing in particular: any answer shows that HTTPS works, and most tell the time.
async fn ask(dial: &Dial, tls: &ClientTls) -> Seen<Option<Timestamp>> {
    let client = dial.https(tls.clone());
    let request = Request::get("/").deadline(CONNECT_LIMIT).response_bytes_max(ANSWER_BYTES_MAX);
    let answer = client.send(request).await.map_err(|error| match error {
        host::http::HttpError::Connect(source) => {
            words(DialError::Network { dial: dial.clone(), source })
        }
        host::http::HttpError::Tls(source @ TlsError::Handshake { .. }) => {
            words(DialError::Tls { dial: dial.clone(), source })
        }
        other => words(other),
    })?;
    let date = answer.headers.get("date").and_then(|value| value.to_str().ok());
    Ok(date.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()))
}

fn machine_name() -> String {
    let name = host::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"));
    name.unwrap_or_default().trim().to_owned()
}

/// Long enough for a slow line, short enough to wait for.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
