//! The hub's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::SettingsError;
use super::cloud_to_device::CloudToDevice;

/// The commented template; a test holds it and the defaults together.
pub(crate) const TEMPLATE: &str = include_str!("hub.toml");

/// Everything `farshore hub` can be told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HubSettings {
    pub(crate) host_names: Vec<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) events: Events,
    pub(crate) cloud_to_device: CloudToDevice,
    pub(crate) log: Log,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) mqtt_port: u16,
    pub(crate) amqp_port: u16,
    pub(crate) https_port: u16,
    pub(crate) operations: String,
    pub(crate) mqtt_unencrypted: String,
    pub(crate) amqp_unencrypted: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Events {
    pub(crate) host_names: Vec<String>,
    pub(crate) partitions: u32,
    pub(crate) retention_bytes: u64,
    pub(crate) retention_hours: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: String,
}

impl HubSettings {
    /// Checks what the types cannot say.
    pub(crate) fn checked(self) -> Result<Self, SettingsError> {
        let wrong =
            |name, problem: &str| Err(SettingsError::Value { name, problem: problem.to_owned() });
        if self.host_names.is_empty() || self.host_names.iter().any(|name| !is_host_name(name)) {
            return wrong(
                "host_names",
                "give at least one host name or IP address, without a port",
            );
        }
        if self.events.host_names.iter().any(|name| !is_host_name(name)) {
            return wrong("events.host_names", "give host names or IP addresses, without a port");
        }
        if self.listen.addresses.is_empty() {
            return wrong(
                "listen.addresses",
                "give at least one address, for example \"127.0.0.1\"",
            );
        }
        if !(2..=32).contains(&self.events.partitions) {
            return wrong("events.partitions", "give a number from 2 to 32");
        }
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return wrong("tls", "give both certificate and key, or neither");
        }
        log_format(&self.log.format)?;
        self.cloud_to_device.checked()?;
        self.operations()?;
        self.mqtt_unencrypted()?;
        self.amqp_unencrypted()?;
        Ok(self)
    }

    /// Every name under which something answers, each once: what the certificate has to name.
    pub(crate) fn all_names(&self) -> Vec<String> {
        let mut names = self.host_names.clone();
        for name in &self.events.host_names {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.clone());
            }
        }
        names
    }

    pub(crate) fn operations(&self) -> Result<Option<SocketAddr>, SettingsError> {
        optional_address("listen.operations", &self.listen.operations)
    }

    pub(crate) fn mqtt_unencrypted(&self) -> Result<Option<SocketAddr>, SettingsError> {
        optional_address("listen.mqtt_unencrypted", &self.listen.mqtt_unencrypted)
    }

    pub(crate) fn amqp_unencrypted(&self) -> Result<Option<SocketAddr>, SettingsError> {
        optional_address("listen.amqp_unencrypted", &self.listen.amqp_unencrypted)
    }

    pub(crate) fn retention_age(&self) -> Duration {
        Duration::from_secs(self.events.retention_hours.saturating_mul(3600))
    }
}

impl Log {
    pub(crate) fn format(&self) -> Result<host::logs::Format, SettingsError> {
        log_format(&self.format)
    }
}

fn log_format(text: &str) -> Result<host::logs::Format, SettingsError> {
    match text {
        "logfmt" => Ok(host::logs::Format::Logfmt),
        "json" => Ok(host::logs::Format::Json),
        _ => Err(SettingsError::Value {
            name: "log.format",
            problem: "give \"logfmt\" or \"json\"".into(),
        }),
    }
}

fn optional_address(name: &'static str, text: &str) -> Result<Option<SocketAddr>, SettingsError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| SettingsError::Value {
            name,
            problem: format!(
                "{text:?} is not an address with a port; write \"127.0.0.1:1883\", or \"\" for none"
            ),
        }),
    }
}

fn is_host_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.parse::<IpAddr>().is_ok() || (!name.is_empty() && name.chars().all(plain))
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            host_names: vec!["localhost".into()],
            data_dir: "/var/lib/farshore/hub".into(),
            listen: Listen::default(),
            tls: Tls::default(),
            events: Events::default(),
            cloud_to_device: CloudToDevice::default(),
            log: Log::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            mqtt_port: 8883,
            amqp_port: 5671,
            https_port: 443,
            operations: "127.0.0.1:9640".into(),
            mqtt_unencrypted: String::new(),
            amqp_unencrypted: String::new(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: PathBuf::new(), key: PathBuf::new() }
    }
}

impl Default for Events {
    fn default() -> Self {
        let (partitions, retention_bytes, retention_hours) = (4, 8 << 30, 7 * 24);
        Self { host_names: Vec::new(), partitions, retention_bytes, retention_hours }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "logfmt".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(prefix: &str, value: &toml::Value, into: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    keys(&format!("{prefix}.{key}"), value, into);
                }
            }
            _ => into.push(prefix.to_owned()),
        }
    }

    /// The template says every key, and says the truth about its default.
    #[test]
    fn the_template_is_the_default() {
        let read: HubSettings = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(read, HubSettings::default());
        assert!(read.checked().is_ok());
        let mut in_template = Vec::new();
        keys("", &toml::Value::Table(TEMPLATE.parse().unwrap()), &mut in_template);
        assert_eq!(in_template.len(), 22, "a key is missing in hub.toml or here: {in_template:?}");
    }

    #[test]
    fn wrong_settings_are_named_with_their_fix() {
        for (text, says) in [
            ("data_dri = 'x'", "data_dri"),
            ("[listen]\nmqtt_port = 70000", "mqtt_port"),
            ("host_names = []", "host_names"),
            ("host_names = ['a:1']", "without a port"),
            ("[listen]\noperations = 'x'", "listen.operations"),
            ("[events]\npartitions = 1", "2 to 32"),
            ("[events]\nhost_names = ['a:1']", "events.host_names"),
            ("[tls]\ncertificate = 'x'", "both"),
            ("[cloud_to_device]\ndefault_ttl = 'P3D'", "P2D"),
            ("[log]\nformat = 'xml'", "logfmt"),
        ] {
            let result = toml::from_str::<HubSettings>(text).map_err(|e| e.to_string());
            let error = result.and_then(|s| s.checked().map_err(|e| e.to_string())).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
