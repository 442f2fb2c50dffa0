//! What the edge hub is told: the environment that the agent gives its module, and where to listen.
//!
//! Spec: `edge-runtime.md` (er) §2.4, §5.12. Names are read in any case, as the original reads
//! them. Bounds that have no variable are constants where they are used.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

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
    fn everywhere(amqp: u16, https: u16) -> Self {
        let at = |port| {
            let any = [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
            Sockets::At(any.into())
        };
        Self { mqtt: at(MQTT_PORT), amqp: at(amqp), https: at(https) }
    }
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
            listen: Listen::everywhere(
                env.port("amqpSettings__port")?.unwrap_or(AMQP_PORT),
                env.port("httpSettings__port")?.unwrap_or(HTTPS_PORT),
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
/// AMQP over TLS.
pub const AMQP_PORT: u16 = 5671;
/// HTTPS and WebSockets.
pub const HTTPS_PORT: u16 = 443;
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
        assert_eq!(plain.upstream_protocol, UpstreamProtocol::Known(UPSTREAM_DEFAULT));
        assert_eq!((plain.clients_max, plain.store_bytes_max), (100, 1 << 30));
        assert!(plain.mqtt_enabled && plain.amqp_enabled && plain.http_enabled);
        let Sockets::At(https) = &plain.listen.https else { panic!("sockets") };
        assert_eq!(https[0], "0.0.0.0:443".parse().unwrap());
        let told = read(&[
            ("storagefolder", "/iotedge/storage"),
            ("MQTTSETTINGS__ENABLED", "False"),
            ("amqpsettings__enabled", "false"),
            ("HttpSettings__Enabled", "false"),
            ("amqpSettings__port", "15671"),
            ("maxConnectedClients", "7"),
            ("RuntimeLogLevel", "debug"),
            ("FARSHORE_EDGE_STORE_BYTES", "67108864"),
            ("upstreamprotocol", "MQTT"),
        ])
        .unwrap();
        assert_eq!(told.store_dir(), PathBuf::from("/iotedge/storage/edgeHub"));
        assert!(!told.mqtt_enabled && !told.amqp_enabled && !told.http_enabled);
        let Sockets::At(amqp) = &told.listen.amqp else { panic!("sockets") };
        assert_eq!(amqp[1], "[::]:15671".parse().unwrap());
        assert_eq!((told.clients_max, told.store_bytes_max), (7, 64 << 20));
        assert_eq!(told.log_level, "debug");
        assert_eq!(told.upstream_protocol, UpstreamProtocol::Known(Transport::Mqtt));
    }

    #[test]
    fn another_protocol_is_kept_to_be_refused() {
        for transport in Transport::ALL {
            let text = transport.to_string().to_lowercase();
            let settings = read(&[("UpstreamProtocol", &text)]).unwrap();
            assert_eq!(settings.upstream_protocol, UpstreamProtocol::Known(transport));
        }
        let settings = read(&[("UpstreamProtocol", "carrier pigeon")]).unwrap();
        let unknown = UpstreamProtocol::Unknown("carrier pigeon".into());
        assert_eq!(settings.upstream_protocol, unknown);
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
                "httpSettings__port",
                "no",
                "environment variable httpSettings__port is \"no\"; expected a port number",
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
