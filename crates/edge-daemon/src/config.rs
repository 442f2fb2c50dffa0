//! `config.toml` in Azure's form: one file that says everything about an edge device.
//!
//! Every key of the form is known (`edge-runtime.md` §3.2). What this daemon serves is honoured;
//! what it does not serve yet and what would change its behaviour is refused, naming line and key;
//! what does no harm is accepted with a [`Note`]; anything else is unknown and refused. Files that
//! it points to are read when the daemon starts, not here.

mod error;
mod minimal;
mod reader;
mod sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::device::{Transport, UPSTREAM_DEFAULT};
use client::dial::Proxy;
use containers::{HostPolicy, NetworkSettings};
use iot_proto::connection_string::SharedKey;
use model::DeviceId;
use toml::de::DeTable;

pub use error::{ConfigError, Note, Problem};
pub use minimal::Minimal;

use reader::{Findings, Section};

/// What a `config.toml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `hostname`: the name under which modules and leaf devices reach this device; the machine's
    /// own name when absent.
    pub hostname: Option<String>,
    /// `trust_bundle_cert`: a file with CAs that modules shall trust too.
    pub trust_bundle_cert: Option<PathBuf>,
    /// `allow_elevated_docker_permissions`.
    pub allow_elevated_docker_permissions: bool,
    /// `prefer_module_identity_cache`: ask the hub only for identities that are not known here.
    pub prefer_module_identity_cache: bool,
    /// `cloud_retries`: how often a call to the hub is tried again.
    pub cloud_retries: u32,
    /// `additional_info`: a TOML file whose keys are added to the system information.
    pub additional_info: Option<PathBuf>,
    /// `iotedge_max_requests.management`: connections at once, per user.
    pub management_requests_max: usize,
    /// `iotedge_max_requests.workload`: connections at once, per socket and user.
    pub workload_requests_max: usize,
    /// `[provisioning]`.
    pub provisioning: Manual,
    /// `[agent]`.
    pub agent: AgentConfig,
    /// `[connect] workload_uri`: the socket as modules see it.
    pub connect_workload: PathBuf,
    /// `[listen] management_uri`, when it names a path.
    pub listen_management: Option<PathBuf>,
    /// `[edge_ca]`.
    pub edge_ca: EdgeCaConfig,
    /// `[moby_runtime]`.
    pub engine: EngineConfig,
    /// `[farshore.policy]`: what a deployment may ask of this machine when
    /// `allow_elevated_docker_permissions` is false.
    pub policy: HostPolicy,
    /// `[image_garbage_collection]`.
    pub image_garbage_collection: GarbageCollection,
    /// What has no effect.
    pub notes: Vec<Note>,
}

/// Manual provisioning: the hub, the device, and its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Manual {
    /// The hub's name, without a port.
    pub hub_host_name: String,
    /// The port that the connection string gives with the name: that of MQTT.
    pub mqtt_port: Option<u16>,
    /// The device.
    pub device: DeviceId,
    /// How it proves itself.
    pub credential: DeviceCredential,
}

/// How the device proves itself.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceCredential {
    /// By a key in the file itself, Base64.
    Key(SharedKey),
    /// By a key in another file: its bytes, or Base64.
    KeyFile(PathBuf),
    /// By a certificate.
    Certificate {
        /// The certificate and its issuers, PEM, leaf first.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
}

/// `[agent]`: the agent is part of the daemon, so little of it has an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// `image`, as it is shown in lists.
    pub image: String,
    /// `[agent.env]`: `RuntimeLogLevel`, `UpstreamProtocol` and others are inherited by modules.
    pub env: BTreeMap<String, String>,
}

impl AgentConfig {
    /// A variable of `[agent.env]`, whose name may have any case.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// What the agent, and an edge hub that is not told otherwise, speaks to the hub.
    pub fn upstream_protocol(&self) -> Transport {
        let told = self.variable("UpstreamProtocol").and_then(|text| text.parse().ok());
        told.unwrap_or(UPSTREAM_DEFAULT)
    }

    /// The proxy through which the agent reaches the hub; an address that is none was refused.
    pub fn proxy(&self) -> Option<Proxy> {
        Proxy::from_env(&self.env).ok().flatten()
    }
}

/// `[edge_ca]`: whence the CA comes that issues modules' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeCaConfig {
    /// Made by the daemon, self-signed (quickstart, or `method = "self_signed"`).
    Own {
        /// Its common name; one with the device's id when absent.
        common_name: Option<String>,
        /// How long it lives.
        lifetime: Duration,
        /// At which part of its life it is renewed.
        renew_at: Period,
        /// After what a failed renewal is tried again.
        retry: Period,
    },
    /// Given as files.
    Files {
        /// The certificate and its issuers, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
}

/// A part of a certificate's life, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Of its whole life, 1 to 99.
    Percent(u8),
    /// A time; for a renewal: before its end.
    Time(Duration),
}

/// `[moby_runtime]`: the container engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Its address.
    pub uri: String,
    /// The modules' network.
    pub network: NetworkSettings,
    /// Whether the file has the section at all.
    pub is_explicit: bool,
}

/// `[image_garbage_collection]`: when images that nothing uses are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageCollection {
    /// Whether they are at all.
    pub enabled: bool,
    /// How often; whole days.
    pub recurrence: Duration,
    /// How long an image must have been unused; whole days.
    pub age: Duration,
    /// At which time of the day, since midnight, local time.
    pub at: Duration,
}

impl Config {
    /// Reads a file. One that holds the device's key must be its owner's only.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = host::fs::read_to_string(path).map_err(|error| match error.is_not_found() {
            true => ConfigError::Missing(path.to_owned()),
            false => ConfigError::Read(error),
        })?;
        let config = Self::parse(&text, path)?;
        let mode = host::fs::facts(path).map_err(ConfigError::Read)?.mode;
        if matches!(config.provisioning.credential, DeviceCredential::Key(_)) && mode & OTHERS != 0
        {
            return Err(ConfigError::Readable { path: path.to_owned(), mode });
        }
        Ok(config)
    }

    /// Reads a text; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let findings = Findings::new(text);
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: findings.line(error.span().map_or(0, |span| span.start)),
            what: error.message().to_owned(),
        })?;
        let config = sections::document(Section::root(document.get_ref(), &findings));
        let (problems, notes) = findings.into_parts();
        match config {
            Some(config) if problems.is_empty() => Ok(Self { notes, ..config }),
            _ => Err(ConfigError::Wrong { path: path.to_owned(), problems }),
        }
    }

    /// The text of the smallest `config.toml` that works, as `iotedge config mp` writes it; more
    /// by [`Minimal`].
    pub fn minimal(connection_string: &str, hostname: Option<&str>) -> String {
        Minimal { connection_string, hostname, ..Minimal::default() }.to_toml()
    }
}

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests;
