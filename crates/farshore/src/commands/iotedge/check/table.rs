//! Every check with its id, section and words (`edge-runtime.md` §6.3), in the order of the report.
//!
//! The original first runs the checks of `aziotctl`, whose services are part of the daemon here.

use super::certificates;
use super::configuration;
use super::connectivity;
use super::engine;
use super::facts::Facts;
use super::report::Outcome;
use super::storage;

/// Which part of the report a check is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    ServiceConfiguration,
    ServiceConnectivity,
    Configuration,
    Connectivity,
}

impl Section {
    pub(super) const ALL: [Self; 4] = [
        Self::ServiceConfiguration,
        Self::ServiceConnectivity,
        Self::Configuration,
        Self::Connectivity,
    ];

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::ServiceConfiguration => "Configuration checks (aziot-identity-service)",
            Self::ServiceConnectivity => "Connectivity checks (aziot-identity-service)",
            Self::Configuration => "Configuration checks",
            Self::Connectivity => "Connectivity checks",
        }
    }
}

/// A check: what it is called, and how it judges what was seen.
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) description: &'static str,
    pub(super) section: Section,
    pub(super) judge: Judge,
}

/// How a check judges.
#[derive(Clone, Copy)]
pub(super) enum Judge {
    By(fn(&Facts) -> Outcome),
    /// There is nothing here that it could ask, because.
    NoMeaning(&'static str),
}

impl Check {
    pub(super) fn outcome(&self, facts: &Facts) -> Outcome {
        match self.judge {
            Judge::By(judge) => judge(facts),
            Judge::NoMeaning(why) => Outcome::ignored(why),
        }
    }
}

const fn by(
    section: Section,
    id: &'static str,
    description: &'static str,
    judge: fn(&Facts) -> Outcome,
) -> Check {
    Check { id, description, section, judge: Judge::By(judge) }
}

const fn none(
    section: Section,
    id: &'static str,
    description: &'static str,
    why: &'static str,
) -> Check {
    Check { id, description, section, judge: Judge::NoMeaning(why) }
}

use Section::{Configuration, Connectivity, ServiceConfiguration, ServiceConnectivity};

/// Every check.
pub(super) const CHECKS: &[Check] = &[
    none(
        ServiceConfiguration,
        "keyd-config-well-formed",
        "keyd configuration is well-formed",
        ONE_FILE,
    ),
    none(
        ServiceConfiguration,
        "certd-config-well-formed",
        "certd configuration is well-formed",
        ONE_FILE,
    ),
    none(
        ServiceConfiguration,
        "tpmd-config-well-formed",
        "tpmd configuration is well-formed",
        ONE_FILE,
    ),
    none(
        ServiceConfiguration,
        "identityd-config-well-formed",
        "identityd configuration is well-formed",
        ONE_FILE,
    ),
    by(
        ServiceConfiguration,
        "configs-up-to-date",
        "daemon configurations up-to-date with config.toml",
        configuration::up_to_date,
    ),
    by(
        ServiceConfiguration,
        "hostname",
        "configuration has correct hostname",
        configuration::hostname,
    ),
    by(
        ServiceConfiguration,
        "aziot-version",
        "aziot-identity-service package is up-to-date",
        configuration::services_version,
    ),
    by(
        ServiceConfiguration,
        "host-local-time",
        "host time is close to reference time",
        connectivity::local_time,
    ),
    by(
        ServiceConfiguration,
        "identity-certificate-expiry",
        "production readiness: identity certificates expiry",
        certificates::identity_expiry,
    ),
    none(
        ServiceConfiguration,
        "est-identity-and-bootstrap-certificate-expiry",
        "production readiness: EST identity and bootstrap certificates expiry",
        NO_EST,
    ),
    none(
        ServiceConfiguration,
        "local-ca-certificate-expiry",
        "production readiness: local CA certificate expiry",
        "there is no local CA besides the Edge CA: see edge-ca-expiry",
    ),
    by(
        ServiceConfiguration,
        "certs-preloaded",
        "preloaded certificates are valid",
        certificates::preloaded,
    ),
    by(ServiceConfiguration, "keyd-running", "keyd is running", configuration::service),
    by(ServiceConfiguration, "certd-running", "certd is running", configuration::service),
    none(
        ServiceConfiguration,
        "tpmd-running",
        "tpmd is running",
        "no TPM is used with manual provisioning",
    ),
    by(ServiceConfiguration, "identityd-running", "identityd is running", configuration::service),
    by(
        ServiceConfiguration,
        "certs-read",
        "read all preloaded certificates from the Certificates Service",
        certificates::read,
    ),
    by(
        ServiceConfiguration,
        "key-pairs-read",
        "read all preloaded key pairs from the Keys Service",
        certificates::keys_read,
    ),
    none(
        ServiceConfiguration,
        "est-server-https",
        "check all EST server URLs utilize HTTPS",
        NO_EST,
    ),
    by(
        ServiceConfiguration,
        "certs-match-private-keys",
        "ensure all preloaded certificates match preloaded private keys with the same ID",
        certificates::match_keys,
    ),
    none(
        ServiceConnectivity,
        "host-connect-dps-endpoint",
        "host can connect to and perform TLS handshake with DPS endpoint",
        "the device is provisioned by its configuration, without DPS",
    ),
    by(
        ServiceConnectivity,
        "host-connect-iothub-amqp",
        "host can connect to and perform TLS handshake with iothub AMQP port",
        connectivity::amqp,
    ),
    by(
        ServiceConnectivity,
        "host-connect-iothub-https",
        "host can connect to and perform TLS handshake with iothub HTTPS / WebSockets port",
        connectivity::https,
    ),
    by(
        ServiceConnectivity,
        "host-connect-iothub-mqtt",
        "host can connect to and perform TLS handshake with iothub MQTT port",
        connectivity::mqtt,
    ),
    by(
        Configuration,
        "aziot-edged-config-well-formed",
        "aziot-edged configuration is well-formed",
        configuration::well_formed,
    ),
    by(
        Configuration,
        "config-up-to-date",
        "configuration up-to-date with config.toml",
        configuration::up_to_date,
    ),
    by(
        Configuration,
        "container-engine-uri",
        "container engine is installed and functional",
        engine::uri,
    ),
    none(Configuration, "parent_hostname", "configuration has correct parent_hostname", NOT_NESTED),
    none(
        Configuration,
        "container-resolve-parent-hostname",
        "parent hostname resolvable from inside container",
        NOT_NESTED,
    ),
    by(
        Configuration,
        "connect-management-uri",
        "configuration has correct URIs for daemon mgmt endpoint",
        configuration::management,
    ),
    by(
        Configuration,
        "aziot-edge-version",
        "aziot-edge package is up-to-date",
        configuration::edge_version,
    ),
    none(
        Configuration,
        "container-local-time",
        "container time is close to host time",
        "containers have this machine's clock, which host-local-time compares with the hub's",
    ),
    by(Configuration, "container-engine-dns", "DNS server", engine::dns),
    by(Configuration, "container-engine-ipv6", "IPv6 network configuration", engine::ipv6),
    by(
        Configuration,
        "edge-ca-expiry",
        "production readiness: certificates",
        configuration::edge_ca_expiry,
    ),
    by(
        Configuration,
        "container-engine-logrotate",
        "production readiness: logs policy",
        engine::log_rotation,
    ),
    by(
        Configuration,
        "edge-agent-storage-mounted-from-host",
        "production readiness: Edge Agent's storage directory is persisted on the host filesystem",
        storage::edge_agent,
    ),
    by(
        Configuration,
        "edge-hub-storage-mounted-from-host",
        "production readiness: Edge Hub's storage directory is persisted on the host filesystem",
        storage::edge_hub,
    ),
    by(
        Configuration,
        "check-agent-image",
        "Agent image is valid and can be pulled from upstream",
        configuration::agent_image,
    ),
    by(
        Configuration,
        "proxy-settings",
        "proxy settings are consistent in aziot-edged, moby daemon and config.toml",
        engine::proxy,
    ),
    by(
        Connectivity,
        "container-default-connect-upstream-amqp",
        "container on the default network can connect to upstream AMQP port",
        connectivity::default_amqp,
    ),
    by(
        Connectivity,
        "container-default-connect-upstream-https",
        "container on the default network can connect to upstream HTTPS / WebSockets port",
        connectivity::default_https,
    ),
    by(
        Connectivity,
        "container-default-connect-upstream-mqtt",
        "container on the default network can connect to upstream MQTT port",
        connectivity::default_mqtt,
    ),
    by(
        Connectivity,
        "container-connect-upstream-amqp",
        "container on the IoT Edge module network can connect to upstream AMQP port",
        connectivity::modules_amqp,
    ),
    by(
        Connectivity,
        "container-connect-upstream-https",
        "container on the IoT Edge module network can connect to upstream HTTPS / WebSockets port",
        connectivity::modules_https,
    ),
    by(
        Connectivity,
        "container-connect-upstream-mqtt",
        "container on the IoT Edge module network can connect to upstream MQTT port",
        connectivity::modules_mqtt,
    ),
];

/// Whether a check is made from within a container.
pub(super) fn is_from_container(id: &str) -> bool {
    id.starts_with("container-connect-upstream") || id.starts_with("container-default-connect")
}

/// Ids of older versions of the original, which scripts may still leave out.
pub(super) const RETIRED: [&str; 13] = [
    "aziot-edged-version",
    "certificates-quickstart",
    "config-yaml-well-formed",
    "connection-string",
    "container-connect-iothub-amqp",
    "container-connect-iothub-https",
    "container-connect-iothub-mqtt",
    "container-default-connect-iothub-amqp",
    "container-default-connect-iothub-https",
    "container-default-connect-iothub-mqtt",
    "container-engine-is-moby",
    "iotedged-version",
    "windows-host-version",
];

const ONE_FILE: &str =
    "one program plays all services, with one configuration: see aziot-edged-config-well-formed";
const NO_EST: &str = "no certificate comes from an EST server";
const NOT_NESTED: &str = "this device connects to its hub directly, without a parent";
