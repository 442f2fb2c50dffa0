//! How a module finds its name, its daemon and its hub: the environment that the edge runtime
//! gives it.
//!
//! Spec: `edge-runtime.md` §2.4. The map is read by the entrance; nothing here looks at the
//! process. Two settings are ours, for machines on which a name does not lead to its server:
//! `FARSHORE_GATEWAY_*` for the edge hub that modules dial, `FARSHORE_UPSTREAM_*` for the hub that
//! the edge hub and agent dial. `https_proxy` and `no_proxy` count for the hub alone, and there for
//! HTTPS and WebSockets: the edge hub is reached directly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use host::tls::{ClientTls, TlsError};
use model::IdentityId;
use model::id::IdError;

use crate::device::{Options, Transport};
use crate::dial::proxy::{ProxyAddressError, VARIABLE as PROXY_VARIABLE};
use crate::dial::{AMQP_PORT, Dial, HTTPS_PORT, MQTT_PORT, Proxy};
use crate::edge::{EdgeError, WorkloadClient, socket_path};
use crate::signer::WorkloadSigner;

/// What a module knows of itself and its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleEnvironment {
    /// Who it is.
    pub identity: IdentityId,
    /// Its generation.
    pub generation: String,
    /// The hub's name.
    pub hub_host_name: String,
    /// Where it connects for MQTT: the edge hub, or the hub when there is no gateway.
    pub mqtt: Dial,
    /// Likewise for AMQP.
    pub amqp: Dial,
    /// Likewise for HTTPS and WebSockets.
    pub https: Dial,
    /// The socket of its workload API.
    pub workload_socket: PathBuf,
}

/// Why the environment is not that of a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is missing.
    #[error(
        "environment variable {0} is not set; modules get it from the edge runtime that starts them"
    )]
    Missing(&'static str),
    /// An id is none.
    #[error("environment variable {name} holds no id")]
    Id {
        /// The variable.
        name: &'static str,
        /// Why not.
        source: IdError,
    },
    /// The module shall prove itself in a way that we do not know.
    #[error("IOTEDGE_AUTHSCHEME is {0:?}; only sasToken is supported")]
    AuthScheme(String),
    /// A port is none.
    #[error("environment variable {name} is {value:?}; expected a port number")]
    Port {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// The proxy's address is none.
    #[error("environment variable {PROXY_VARIABLE} cannot be used")]
    Proxy(#[source] ProxyAddressError),
    /// The daemon cannot be asked.
    #[error("cannot get the trust bundle from the workload API")]
    Workload(#[source] EdgeError),
    /// The daemon's socket is none.
    #[error("environment variable IOTEDGE_WORKLOADURI cannot be used")]
    WorkloadUri(#[source] EdgeError),
    /// The trust bundle cannot be used.
    #[error("trust bundle of the workload API cannot be used")]
    TrustBundle(#[source] TlsError),
}

impl ModuleEnvironment {
    /// Reads the variables.
    pub fn from_env(env: &BTreeMap<String, String>) -> Result<Self, EnvironmentError> {
        let env = Env(env);
        if let Some(scheme) = env.get("IOTEDGE_AUTHSCHEME")
            && !scheme.eq_ignore_ascii_case("sasToken")
        {
            return Err(EnvironmentError::AuthScheme(scheme.to_owned()));
        }
        let hub_host_name = env.required("IOTEDGE_IOTHUBHOSTNAME")?.to_owned();
        let workload_socket = socket_path(env.required("IOTEDGE_WORKLOADURI")?)
            .map_err(EnvironmentError::WorkloadUri)?;
        let (host, names, proxy) = match env.get("IOTEDGE_GATEWAYHOSTNAME") {
            Some(gateway) => (gateway, GATEWAY, None),
            None => {
                let proxy = Proxy::from_env(env.0).map_err(EnvironmentError::Proxy)?;
                (&*hub_host_name, UPSTREAM, proxy)
            }
        };
        let address = env.get(names.address).map(str::to_owned);
        // A port in the name is MQTT's, as in connection strings.
        let mut mqtt = Dial::parse(host, MQTT_PORT).at(address.clone());
        let mut amqp = Dial::new(mqtt.host.clone(), AMQP_PORT).at(address.clone());
        let mut https = Dial::new(mqtt.host.clone(), HTTPS_PORT).at(address);
        mqtt.port = env.port(names.mqtt_port)?.unwrap_or(mqtt.port);
        amqp.port = env.port(names.amqp_port)?.unwrap_or(amqp.port);
        https.port = env.port(names.https_port)?.unwrap_or(https.port);
        let https = https.through(proxy.as_ref());
        Ok(Self {
            identity: IdentityId::module(env.id("IOTEDGE_DEVICEID")?, env.id("IOTEDGE_MODULEID")?),
            generation: env.required("IOTEDGE_MODULEGENERATIONID")?.to_owned(),
            hub_host_name,
            mqtt,
            amqp,
            https,
            workload_socket,
        })
    }

    /// What it dials for a transport.
    pub fn dial(&self, transport: Transport) -> &Dial {
        match transport {
            Transport::Amqp => &self.amqp,
            Transport::Mqtt => &self.mqtt,
            Transport::AmqpWs | Transport::MqttWs => &self.https,
        }
    }

    /// The module's workload API.
    pub fn workload(&self) -> WorkloadClient {
        let module = self.identity.module.as_ref().map(ToString::to_string).unwrap_or_default();
        WorkloadClient::new(&self.workload_socket, module, self.generation.clone())
    }

    /// Whom the module trusts, as the daemon says.
    pub async fn tls(&self) -> Result<ClientTls, EnvironmentError> {
        let bundle = self.workload().trust_bundle().await.map_err(EnvironmentError::Workload)?;
        ClientTls::new(&[&bundle]).map_err(EnvironmentError::TrustBundle)
    }

    /// How the module connects: signed for by the daemon, trusting what the daemon trusts.
    pub async fn options(&self) -> Result<Options, EnvironmentError> {
        Ok(Options::new(
            self.hub_host_name.clone(),
            self.mqtt.clone(),
            self.tls().await?,
            self.identity.clone(),
            Arc::new(WorkloadSigner::new(self.workload())),
        ))
    }
}

struct Env<'a>(&'a BTreeMap<String, String>);

impl<'a> Env<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&'a str, EnvironmentError> {
        self.get(name).ok_or(EnvironmentError::Missing(name))
    }

    fn id<T: std::str::FromStr<Err = IdError>>(
        &self,
        name: &'static str,
    ) -> Result<T, EnvironmentError> {
        self.required(name)?.parse().map_err(|source| EnvironmentError::Id { name, source })
    }

    fn port(&self, name: &'static str) -> Result<Option<u16>, EnvironmentError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let port = value.parse().ok().filter(|port| *port != 0);
        port.map(Some).ok_or_else(|| EnvironmentError::Port { name, value: value.to_owned() })
    }
}

/// The variables that say where a server is.
struct Names {
    address: &'static str,
    mqtt_port: &'static str,
    amqp_port: &'static str,
    https_port: &'static str,
}

const GATEWAY: Names = Names {
    address: GATEWAY_ADDRESS,
    mqtt_port: GATEWAY_MQTT_PORT,
    amqp_port: GATEWAY_AMQP_PORT,
    https_port: GATEWAY_HTTPS_PORT,
};
const UPSTREAM: Names = Names {
    address: UPSTREAM_ADDRESS,
    mqtt_port: UPSTREAM_MQTT_PORT,
    amqp_port: UPSTREAM_AMQP_PORT,
    https_port: UPSTREAM_HTTPS_PORT,
};

/// Address at which the edge hub listens, when its name does not lead there.
pub const GATEWAY_ADDRESS: &str = "FARSHORE_GATEWAY_ADDRESS";
/// The edge hub's MQTT port, when it is not 8883.
pub const GATEWAY_MQTT_PORT: &str = "FARSHORE_GATEWAY_MQTT_PORT";
/// The edge hub's AMQP port, when it is not 5671.
pub const GATEWAY_AMQP_PORT: &str = "FARSHORE_GATEWAY_AMQP_PORT";
/// The edge hub's HTTPS port, when it is not 443.
pub const GATEWAY_HTTPS_PORT: &str = "FARSHORE_GATEWAY_HTTPS_PORT";
/// Address at which the hub listens, when its name does not lead there.
pub const UPSTREAM_ADDRESS: &str = "FARSHORE_UPSTREAM_ADDRESS";
/// The hub's MQTT port, when it is not 8883.
pub const UPSTREAM_MQTT_PORT: &str = "FARSHORE_UPSTREAM_MQTT_PORT";
/// The hub's AMQP port, when it is not 5671.
pub const UPSTREAM_AMQP_PORT: &str = "FARSHORE_UPSTREAM_AMQP_PORT";
/// The hub's HTTPS port, when it is not 443.
pub const UPSTREAM_HTTPS_PORT: &str = "FARSHORE_UPSTREAM_HTTPS_PORT";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<ModuleEnvironment, EnvironmentError> {
        let mut env: BTreeMap<String, String> = [
            ("IOTEDGE_DEVICEID", "edge1"),
            ("IOTEDGE_MODULEID", "sensor"),
            ("IOTEDGE_MODULEGENERATIONID", "638"),
            ("IOTEDGE_IOTHUBHOSTNAME", "hub.local"),
            ("IOTEDGE_WORKLOADURI", "unix:///run/w.sock"),
            ("IOTEDGE_AUTHSCHEME", "SasToken"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, value) in changes {
            env.insert((*name).to_owned(), (*value).to_owned());
        }
        ModuleEnvironment::from_env(&env)
    }

    #[test]
    fn modules_dial_the_gateway_and_the_runtime_its_hub() {
        let module = read(&[
            ("IOTEDGE_GATEWAYHOSTNAME", "edge-host"),
            ("FARSHORE_GATEWAY_ADDRESS", "127.0.0.2"),
            ("FARSHORE_GATEWAY_MQTT_PORT", "18883"),
            ("FARSHORE_UPSTREAM_ADDRESS", "10.0.0.1"),
        ])
        .unwrap();
        assert_eq!(module.mqtt, Dial::new("edge-host", 18883).at(Some("127.0.0.2".into())));
        assert_eq!(module.https, Dial::new("edge-host", 443).at(Some("127.0.0.2".into())));
        assert_eq!(module.identity.to_string(), "edge1/sensor");
        assert_eq!(module.workload_socket, PathBuf::from("/run/w.sock"));
        let runtime = read(&[
            ("FARSHORE_UPSTREAM_ADDRESS", "10.0.0.1"),
            ("FARSHORE_UPSTREAM_HTTPS_PORT", "8443"),
            ("FARSHORE_UPSTREAM_AMQP_PORT", "15671"),
        ])
        .unwrap();
        assert_eq!(runtime.mqtt, Dial::new("hub.local", 8883).at(Some("10.0.0.1".into())));
        assert_eq!(runtime.https.port, 8443);
        assert_eq!(runtime.dial(Transport::MqttWs), &runtime.https);
        let amqp = Dial::new("hub.local", 15671).at(Some("10.0.0.1".into()));
        assert_eq!(runtime.dial(Transport::Amqp), &amqp);
    }

    #[test]
    fn a_proxy_is_for_the_hub_and_for_https() {
        let proxy = ("HTTPS_PROXY", "http://proxy:3128");
        let runtime = read(&[proxy]).unwrap();
        let expected = Proxy::parse(proxy.1).ok();
        assert_eq!(runtime.dial(Transport::AmqpWs).proxy, expected);
        assert_eq!(runtime.dial(Transport::MqttWs).proxy, expected);
        assert_eq!(runtime.dial(Transport::Amqp).proxy, None);
        assert_eq!(runtime.dial(Transport::Mqtt).proxy, None);
        assert_eq!(read(&[proxy, ("no_proxy", "hub.local")]).unwrap().https.proxy, None);
        let module = read(&[proxy, ("IOTEDGE_GATEWAYHOSTNAME", "edge-host")]).unwrap();
        assert_eq!(module.https.proxy, None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (name, value, message) in [
            (
                "IOTEDGE_DEVICEID",
                "",
                "environment variable IOTEDGE_DEVICEID is not set; modules get it from the edge runtime that starts them",
            ),
            ("IOTEDGE_MODULEID", "a b", "environment variable IOTEDGE_MODULEID holds no id"),
            (
                "IOTEDGE_AUTHSCHEME",
                "x509",
                "IOTEDGE_AUTHSCHEME is \"x509\"; only sasToken is supported",
            ),
            (
                "IOTEDGE_WORKLOADURI",
                "http://h:1",
                "environment variable IOTEDGE_WORKLOADURI cannot be used",
            ),
            (
                "FARSHORE_UPSTREAM_MQTT_PORT",
                "0",
                "environment variable FARSHORE_UPSTREAM_MQTT_PORT is \"0\"; expected a port number",
            ),
            (
                "https_proxy",
                "https://me:geheim@proxy",
                "environment variable https_proxy cannot be used",
            ),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), message);
        }
    }
}
