//! What the edge hub is told: the environment that the agent gives its module, and where to listen.
//!
//! Spec: `edge-runtime.md` (er) §2.4, §5.12. Names are read in any case, as the original reads
//! them. Bounds that have no variable are constants where they are used.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

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
    /// `MaxConnectedClients`: identities that may be connected at once.
    pub clients_max: usize,
    /// `FARSHORE_EDGE_STORE_BYTES`: what waiting messages may take on the disk.
    pub store_bytes_max: u64,
    /// Where it listens for MQTT.
    pub listen: Listen,
}

/// Where the edge hub listens for MQTT over TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listen {
    /// At these addresses. One whose kind of address this machine lacks is left out, unless it is
    /// the first.
    Addresses(Vec<SocketAddr>),
    /// On sockets that somebody else has opened.
    Sockets(Vec<TcpListener>),
}

impl Default for Listen {
    /// Every network of the container.
    fn default() -> Self {
        Self::Addresses(vec![
            (Ipv4Addr::UNSPECIFIED, MQTT_PORT).into(),
            (Ipv6Addr::UNSPECIFIED, MQTT_PORT).into(),
        ])
    }
}

/// How the edge hub speaks to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamProtocol {
    /// MQTT over TLS: asked for, or nothing was.
    Mqtt,
    /// Something that this version does not speak. It is refused, never replaced.
    Unsupported(String),
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
        let env = Env(env);
        let host_name = env.get("EdgeDeviceHostName").ok_or(SettingsError::NoHostName)?;
        let upstream_protocol = match env.get("UpstreamProtocol") {
            None => UpstreamProtocol::Mqtt,
            Some(text) if text.eq_ignore_ascii_case("Mqtt") => UpstreamProtocol::Mqtt,
            Some(text) => UpstreamProtocol::Unsupported(text.to_owned()),
        };
        Ok(Self {
            module,
            gateway_host_name: host_name.to_ascii_lowercase(),
            storage_folder: env.get("StorageFolder").unwrap_or(STORAGE_FOLDER_DEFAULT).into(),
            upstream_protocol,
            log_level: env.get("RuntimeLogLevel").unwrap_or("info").to_owned(),
            mqtt_enabled: env.flag("mqttSettings__enabled")?.unwrap_or(true),
            clients_max: env.clients_max()?,
            store_bytes_max: env.store_bytes()?,
            listen: Listen::default(),
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
/// MQTT over TLS, the only port that SDKs know.
pub const MQTT_PORT: u16 = 8883;
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
mod tests {
    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let mut env: BTreeMap<String, String> = [
            ("IOTEDGE_DEVICEID", "edge1"),
            ("IOTEDGE_MODULEID", "$edgeHub"),
            ("IOTEDGE_MODULEGENERATIONID", "638"),
            ("IOTEDGE_IOTHUBHOSTNAME", "hub.local"),
            ("IOTEDGE_WORKLOADURI", "unix:///run/w.sock"),
            ("IOTEDGE_AUTHSCHEME", "sasToken"),
            ("EdgeDeviceHostName", "Gateway"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, value) in changes {
            env.insert((*name).to_owned(), (*value).to_owned());
        }
        Settings::from_env(&env)
    }

    #[test]
    fn defaults_are_the_originals_and_names_have_any_case() {
        let plain = read(&[]).unwrap();
        assert_eq!(plain.gateway_host_name, "gateway");
        assert_eq!(plain.store_dir(), PathBuf::from("/tmp/edgeHub"));
        assert_eq!(plain.upstream_protocol, UpstreamProtocol::Mqtt);
        assert_eq!((plain.clients_max, plain.store_bytes_max), (100, 1 << 30));
        assert!(plain.mqtt_enabled);
        let told = read(&[
            ("storagefolder", "/iotedge/storage"),
            ("MQTTSETTINGS__ENABLED", "False"),
            ("maxConnectedClients", "7"),
            ("RuntimeLogLevel", "debug"),
            ("FARSHORE_EDGE_STORE_BYTES", "67108864"),
            ("upstreamprotocol", "MQTT"),
        ])
        .unwrap();
        assert_eq!(told.store_dir(), PathBuf::from("/iotedge/storage/edgeHub"));
        assert!(!told.mqtt_enabled);
        assert_eq!((told.clients_max, told.store_bytes_max), (7, 64 << 20));
        assert_eq!(told.log_level, "debug");
        assert_eq!(told.upstream_protocol, UpstreamProtocol::Mqtt);
    }

    #[test]
    fn another_protocol_is_kept_to_be_refused() {
        for text in ["Amqp", "AmqpWs", "MqttWs", "carrier pigeon"] {
            let settings = read(&[("UpstreamProtocol", text)]).unwrap();
            assert_eq!(settings.upstream_protocol, UpstreamProtocol::Unsupported(text.into()));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_fix() {
        for (name, value, message) in [
            (
                "IOTEDGE_MODULEID",
                "sensor",
                "IOTEDGE_MODULEID is \"sensor\"; the edge hub runs as $edgeHub only",
            ),
            (
                "EdgeDeviceHostName",
                " ",
                "environment variable EdgeDeviceHostName is not set; the edge agent sets it to the device's `hostname`",
            ),
            (
                "mqttSettings__enabled",
                "yes",
                "environment variable mqttSettings__enabled is \"yes\"; expected true or false",
            ),
            (
                "MaxConnectedClients",
                "0",
                "environment variable MaxConnectedClients is \"0\"; expected 1 to 10000",
            ),
            (
                "FARSHORE_EDGE_STORE_BYTES",
                "1000",
                "environment variable FARSHORE_EDGE_STORE_BYTES is \"1000\"; expected a number of bytes, at least 67108864",
            ),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), message);
        }
    }
}
