//! What the edge hub is told: the environment that the agent gives its module, and where to listen.
//!
//! Spec: `edge-runtime.md` (er) §2.4, §5.12. Names are read in any case, as the original reads
//! them. Bounds that have no variable are constants where they are used.

mod variables;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use client::device::{Transport, UPSTREAM_DEFAULT};
use client::environment::{EnvironmentError, ModuleEnvironment};
use host::net::TcpListener;
use model::ModuleId;

/// Everything the edge hub is told. Made by [`Settings::from_env`]; the entrance may change
/// [`Settings::listen`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Who it is, its daemon and its upstream.
    pub module: ModuleEnvironment,
    /// The name under which modules and leaf devices dial it; its certificate carries it.
    pub gateway_host_name: String,
    /// `StorageFolder`: the store lies in `edgeHub` below it.
    pub storage_folder: PathBuf,
    /// `UpstreamProtocol`.
    pub upstream_protocol: UpstreamProtocol,
    /// `RuntimeLogLevel`, as the operator wrote it.
    pub log_level: String,
    /// `mqttSettings__enabled`.
    pub mqtt_enabled: bool,
    /// `amqpSettings__enabled`.
    pub amqp_enabled: bool,
    /// `httpSettings__enabled`: methods by HTTPS, and both WebSockets.
    pub http_enabled: bool,
    /// `MaxConnectedClients`: identities that may be connected at once.
    pub clients_max: usize,
    /// `FARSHORE_EDGE_STORE_BYTES`: what waiting messages may take on the disk.
    pub store_bytes_max: u64,
    /// `FARSHORE_EDGE_STORE_FULL`: what happens when they take all of it.
    pub when_full: WhenFull,
    /// `ClientCertAuthEnabled`: whether clients may prove themselves by certificates.
    pub client_certificates: bool,
    /// `MessageAckTimeoutSecs`: after it a module gets a message again that it has not acknowledged.
    pub acknowledge_limit: Duration,
    /// `ConfigRefreshFrequencySecs`: how often the twin is read though nothing tells of a change.
    pub routes_refresh: Duration,
    /// `DeviceScopeCacheRefreshRateSecs`: how often it is asked who may connect.
    pub scope_refresh: Duration,
    /// `Metrics__Listener__MetricsEnabled`.
    pub metrics_enabled: bool,
    /// `Metrics__Listener__Suffix`: the path of the metrics.
    pub metrics_path: String,
    /// Variables of the original that are set and have no effect, and why.
    pub unheard: Vec<(&'static str, &'static str)>,
    /// Where it listens.
    pub listen: Listen,
}

/// Where the edge hub listens, for each protocol.
#[derive(Debug)]
pub struct Listen {
    /// MQTT over TLS.
    pub mqtt: Sockets,
    /// AMQP over TLS.
    pub amqp: Sockets,
    /// HTTPS, and WebSockets over it.
    pub https: Sockets,
    /// Metrics, over plain HTTP.
    pub metrics: Sockets,
}

/// What happens to a message that the store has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Its sender keeps it: nothing that was acknowledged makes room.
    Refuse,
    /// The oldest messages of the queues with the last priority make room.
    DropLowestPriority,
    /// The oldest messages make room.
    DropOldest,
}

/// Listening sockets.
#[derive(Debug)]
pub enum Sockets {
    /// At these addresses. One whose kind of address this machine lacks is left out, unless it is
    /// the first.
    At(Vec<SocketAddr>),
    /// Those that somebody else has opened.
    Open(Vec<TcpListener>),
}

impl Listen {
    /// Every network of the container, at these ports.
    fn everywhere(amqp: u16, https: u16, metrics: Vec<SocketAddr>) -> Self {
        let at = |port| Sockets::At(any(port));
        let metrics = Sockets::At(metrics);
        Self { mqtt: at(MQTT_PORT), amqp: at(amqp), https: at(https), metrics }
    }
}

fn any(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

/// How the edge hub speaks to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamProtocol {
    /// As asked for; [`UPSTREAM_DEFAULT`] when nothing was.
    Known(Transport),
    /// Something that nobody speaks. It is refused, never replaced.
    Unknown(String),
}

/// Why the environment is not that of an edge hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// What every module needs is missing or wrong.
    #[error(transparent)]
    Module(#[from] EnvironmentError),
    /// It is another module's environment.
    #[error("IOTEDGE_MODULEID is {0:?}; the edge hub runs as $edgeHub only")]
    NotEdgeHub(String),
    /// The name for clients is missing.
    #[error(
        "environment variable EdgeDeviceHostName is not set; the edge agent sets it to the device's `hostname`"
    )]
    NoHostName,
    /// A value cannot be read.
    #[error("environment variable {name} is {value:?}; expected {expected}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: &'static str,
    },
}

impl Settings {
    /// Reads the variables.
    pub fn from_env(env: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let module = ModuleEnvironment::from_env(env)?;
        if module.identity.module != Some(ModuleId::edge_hub()) {
            let name = module.identity.module.as_ref().map(ToString::to_string);
            return Err(SettingsError::NotEdgeHub(name.unwrap_or_default()));
        }
        let unheard = variables::answers(env);
        let env = Env(env);
        let host_name = env.get("EdgeDeviceHostName").ok_or(SettingsError::NoHostName)?;
        let upstream_protocol = match env.get("UpstreamProtocol") {
            None => UpstreamProtocol::Known(UPSTREAM_DEFAULT),
            Some(text) => match text.parse() {
                Ok(transport) => UpstreamProtocol::Known(transport),
                Err(_) => UpstreamProtocol::Unknown(text.to_owned()),
            },
        };
        Ok(Self {
            module,
            gateway_host_name: host_name.to_ascii_lowercase(),
            storage_folder: env.get("StorageFolder").unwrap_or(STORAGE_FOLDER_DEFAULT).into(),
            upstream_protocol,
            log_level: env.get("RuntimeLogLevel").unwrap_or("info").to_owned(),
            mqtt_enabled: env.flag("mqttSettings__enabled")?.unwrap_or(true),
            amqp_enabled: env.flag("amqpSettings__enabled")?.unwrap_or(true),
            http_enabled: env.flag("httpSettings__enabled")?.unwrap_or(true),
            clients_max: env.clients_max()?,
            store_bytes_max: env.store_bytes()?,
            when_full: env.when_full()?,
            client_certificates: env.flag("ClientCertAuthEnabled")?.unwrap_or(true),
            acknowledge_limit: env.seconds("MessageAckTimeoutSecs", ACKNOWLEDGE_LIMIT_DEFAULT)?,
            routes_refresh: env.seconds("ConfigRefreshFrequencySecs", REFRESH_DEFAULT)?,
            scope_refresh: env.seconds("DeviceScopeCacheRefreshRateSecs", REFRESH_DEFAULT)?,
            metrics_enabled: env.flag("Metrics__Listener__MetricsEnabled")?.unwrap_or(true),
            metrics_path: {
                let suffix = env.get("Metrics__Listener__Suffix").unwrap_or("metrics");
                format!("/{}", suffix.trim_matches('/'))
            },
            unheard,
            listen: Listen::everywhere(
                env.port("amqpSettings__port")?.unwrap_or(AMQP_PORT),
                env.port("httpSettings__port")?.unwrap_or(HTTPS_PORT),
                env.metrics_addresses()?,
            ),
        })
    }

    /// The directory of the store.
    pub fn store_dir(&self) -> PathBuf {
        self.storage_folder.join("edgeHub")
    }
}

struct Env<'a>(&'a BTreeMap<String, String>);

impl<'a> Env<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(wrong(name, text, "true or false")),
        }
    }

    fn port(&self, name: &'static str) -> Result<Option<u16>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let port = text.parse().ok().filter(|port| *port != 0);
        port.map(Some).ok_or_else(|| wrong(name, text, "a port number"))
    }

    fn metrics_addresses(&self) -> Result<Vec<SocketAddr>, SettingsError> {
        let port = match self.port("Metrics__Listener__Port")? {
            Some(port) => port,
            None => self.port("httpSettings__metrics_port")?.unwrap_or(METRICS_PORT),
        };
        let name = "Metrics__Listener__Host";
        match self.get(name) {
            None | Some("*" | "+") => Ok(any(port)),
            Some("localhost") => Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]),
            Some(text) => {
                let host: Result<IpAddr, _> = text.parse();
                let host = host.map_err(|_| wrong(name, text, "* or an address"))?;
                Ok(vec![(host, port).into()])
            }
        }
    }

    fn seconds(&self, name: &'static str, default: Duration) -> Result<Duration, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let seconds = text.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
        let seconds = seconds.ok_or_else(|| wrong(name, text, "1 to 2147483647 seconds"))?;
        Ok(Duration::from_secs(seconds))
    }

    fn when_full(&self) -> Result<WhenFull, SettingsError> {
        match self.get(STORE_FULL) {
            None | Some("refuse") => Ok(WhenFull::Refuse),
            Some("drop-lowest-priority") => Ok(WhenFull::DropLowestPriority),
            Some("drop-oldest") => Ok(WhenFull::DropOldest),
            Some(text) => {
                Err(wrong(STORE_FULL, text, "refuse, drop-lowest-priority or drop-oldest"))
            }
        }
    }

    fn clients_max(&self) -> Result<usize, SettingsError> {
        let name = "MaxConnectedClients";
        let Some(text) = self.get(name) else { return Ok(CLIENTS_MAX_DEFAULT) };
        let number = text.parse().ok().filter(|number| (1..=CLIENTS_MAX_CEILING).contains(number));
        number.ok_or_else(|| wrong(name, text, "1 to 10000"))
    }

    fn store_bytes(&self) -> Result<u64, SettingsError> {
        let Some(text) = self.get(STORE_BYTES) else { return Ok(STORE_BYTES_DEFAULT) };
        let number = text.parse().ok().filter(|number| *number >= STORE_BYTES_FLOOR);
        number.ok_or_else(|| wrong(STORE_BYTES, text, "a number of bytes, at least 67108864"))
    }
}

fn wrong(name: &'static str, value: &str, expected: &'static str) -> SettingsError {
    SettingsError::Value { name, value: value.to_owned(), expected }
}

/// Bounds what waiting messages may take on the disk, in bytes.
pub const STORE_BYTES: &str = "FARSHORE_EDGE_STORE_BYTES";
/// What happens when they take all of it.
pub const STORE_FULL: &str = "FARSHORE_EDGE_STORE_FULL";
/// MQTT over TLS, the only port that SDKs know.
pub const MQTT_PORT: u16 = 8883;
/// AMQP over TLS.
pub const AMQP_PORT: u16 = 5671;
/// HTTPS and WebSockets.
pub const HTTPS_PORT: u16 = 443;
/// Metrics, as the original.
pub const METRICS_PORT: u16 = 9600;
/// As the original (er §5.12).
const ACKNOWLEDGE_LIMIT_DEFAULT: Duration = Duration::from_secs(30);
/// As the original (er §5.12), for the twin and for the scope.
const REFRESH_DEFAULT: Duration = Duration::from_secs(3600);
/// The original's numbers have 32 bits.
const SECONDS_MAX: u64 = 2_147_483_647;
/// As the original; in a container it is lost with it (er §5.4).
const STORAGE_FOLDER_DEFAULT: &str = "/tmp";
/// As the original (er §5.12).
const CLIENTS_MAX_DEFAULT: usize = 100;
/// Ours: beyond it the memory for connections is no longer an edge device's.
const CLIENTS_MAX_CEILING: usize = 10_000;
/// Ours; the original has no bound (er §10, 9).
const STORE_BYTES_DEFAULT: u64 = 1 << 30;
/// The journal needs room for segments in several states.
const STORE_BYTES_FLOOR: u64 = 64 << 20;

#[cfg(test)]
mod tests;
