//! The bodies of both APIs. Byte texts are Base64 and stay text here; who uses them decodes them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A module as it shall be: image, create options, environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSpec {
    /// Its name.
    pub name: String,
    /// `docker`.
    pub r#type: String,
    /// When its image is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// What it runs.
    pub config: ModuleConfig,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImagePullPolicy {
    /// Whenever the module is created.
    #[default]
    OnCreate,
    /// Never: it must be there.
    Never,
}

/// What a module runs. `settings` is the engine's own document: `image`, `createOptions`, `auth`
/// and whatever else was written; unknown keys are kept.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ModuleConfig {
    /// The engine's settings.
    pub settings: Map<String, Value>,
    /// Environment variables.
    #[serde(default)]
    pub env: Vec<EnvVar>,
}

impl fmt::Debug for ModuleConfig {
    /// Registry passwords and variables' values never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.settings.get("image").and_then(Value::as_str);
        f.debug_struct("ModuleConfig").field("image", &image).finish_non_exhaustive()
    }
}

/// An environment variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Why a module specification is refused (400).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A field is empty.
    #[error("{0} of the module is empty")]
    Empty(&'static str),
    /// A variable stands twice.
    #[error("environment variable {0} stands twice")]
    DuplicateEnv(String),
    /// The name in the body is not the path's.
    #[error("module name {body:?} in the body is not {path:?} of the path")]
    Name {
        /// In the body.
        body: String,
        /// In the path.
        path: String,
    },
}

impl ModuleSpec {
    /// Whether name and type are there and no variable stands twice.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.name.trim().is_empty() {
            return Err(SpecError::Empty("name"));
        }
        if self.r#type.trim().is_empty() {
            return Err(SpecError::Empty("type"));
        }
        let mut seen = BTreeSet::new();
        match self.config.env.iter().find(|variable| !seen.insert(variable.key.as_str())) {
            Some(variable) => Err(SpecError::DuplicateEnv(variable.key.clone())),
            None => Ok(()),
        }
    }

    /// The same, for a request whose path names the module.
    pub fn check_for(&self, path: &str) -> Result<(), SpecError> {
        self.check()?;
        if self.name == path {
            return Ok(());
        }
        Err(SpecError::Name { body: self.name.clone(), path: path.to_owned() })
    }
}

/// A module as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleDetails {
    /// The literal `id`.
    #[serde(default = "constant_id")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// `docker`.
    pub r#type: String,
    /// What it runs; the environment is never told.
    pub config: ModuleConfig,
    /// How it is.
    pub status: ModuleStatus,
}

fn constant_id() -> String {
    ModuleDetails::ID.to_owned()
}

impl ModuleDetails {
    /// What stands in `id` of every module.
    pub const ID: &'static str = "id";
}

/// How a module is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleStatus {
    /// When it was started last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<ExitStatus>,
    /// What it does now.
    pub runtime_status: RuntimeStatus,
}

/// How a module ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitStatus {
    /// When, RFC 3339.
    pub exit_time: String,
    /// The exit code, as text.
    pub status_code: String,
}

/// What a module does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeStatus {
    /// `running`, `stopped`, `failed`, `unknown`…
    pub status: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The answer of `GET /modules`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ModuleList {
    /// Every module.
    pub modules: Vec<ModuleDetails>,
}

/// A module's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The module's id.
    pub module_id: String,
    /// Who manages it.
    #[serde(default)]
    pub managed_by: String,
    /// Its generation.
    pub generation_id: String,
    /// `sas`.
    #[serde(default = "sas")]
    pub auth_type: String,
}

fn sas() -> String {
    "sas".to_owned()
}

impl Identity {
    /// Who manages an identity when nobody is named.
    pub const MANAGED_BY_DEFAULT: &'static str = "iotedge";
}

/// The answer of `GET /identities`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identities {
    /// Every identity.
    pub identities: Vec<Identity>,
}

/// The body of `POST /identities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityCreate {
    /// The module's id.
    pub module_id: String,
    /// Who manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
}

/// The body of `PUT /identities/{id}`; it must be there, but what it says is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityUpdate {
    /// The generation that the caller knows.
    pub generation_id: String,
    /// Who manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
}

/// The answer of `GET /systeminfo`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemInfo {
    /// `linux`.
    #[serde(rename = "osType")]
    pub os_type: String,
    /// As Rust or the engine names it.
    pub architecture: String,
    /// Of this program.
    pub version: String,
    /// Constants; no caller reads more.
    pub provisioning: Provisioning,
    /// Processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub total_memory: u64,
    /// Of the container engine.
    pub server_version: String,
    /// Of the kernel.
    pub kernel_release: String,
    /// Of the kernel.
    pub kernel_version: String,
    /// `ID` of os-release.
    pub operating_system: Option<String>,
    /// `VERSION_ID` of os-release.
    pub operating_system_version: Option<String>,
    /// `VARIANT_ID` of os-release.
    pub operating_system_variant: Option<String>,
    /// `BUILD_ID` of os-release.
    pub operating_system_build: Option<String>,
    /// `yes`, `no` or `unknown`.
    pub virtualized: String,
    /// Of the board's firmware.
    pub product_name: Option<String>,
    /// Of the board's firmware.
    pub system_vendor: Option<String>,
    /// Whatever the owner adds in the settings.
    #[serde(flatten)]
    pub additional: Map<String, Value>,
}

/// How the device was provisioned: constants that the API has to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioning {
    /// The literal `ProvisioningType`.
    pub r#type: String,
    /// False.
    pub dynamic_reprovisioning: bool,
    /// False.
    pub always_reprovision_on_startup: bool,
}

impl Default for Provisioning {
    fn default() -> Self {
        Self {
            r#type: "ProvisioningType".to_owned(),
            dynamic_reprovisioning: false,
            always_reprovision_on_startup: false,
        }
    }
}

/// The answer of `GET /systeminfo/resources`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SystemResources {
    /// Seconds since the machine started.
    pub host_uptime: u64,
    /// Seconds since this program started.
    pub process_uptime: u64,
    /// Per cent.
    pub used_cpu: f64,
    /// Bytes.
    pub used_ram: u64,
    /// Bytes.
    pub total_ram: u64,
    /// Every disk.
    pub disks: Vec<DiskInfo>,
    /// The engine's statistics: a JSON document as text.
    pub docker_stats: String,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskInfo {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub available_space: u64,
    /// Bytes.
    pub total_space: u64,
    /// `ext4` and the like.
    pub file_system: String,
    /// `SSD`, `HDD` or `Unknown`.
    pub file_type: String,
}

/// The body of `sign`. Only `data` counts; SDKs send `primary` and `HMACSHA256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignRequest {
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algo: Option<String>,
    /// What to sign, Base64.
    pub data: String,
}

/// The answer of `sign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignResponse {
    /// HMAC-SHA256 with the module's key, Base64.
    pub digest: String,
}

/// The body of `encrypt`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptRequest {
    /// Base64.
    pub plaintext: String,
    /// Base64.
    pub initialization_vector: String,
}

/// The answer of `encrypt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptResponse {
    /// Base64.
    pub ciphertext: String,
}

/// The body of `decrypt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecryptRequest {
    /// Base64.
    pub ciphertext: String,
    /// Base64.
    pub initialization_vector: String,
}

/// The answer of `decrypt`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecryptResponse {
    /// Base64.
    pub plaintext: String,
}

/// The body of `certificate/server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCertificateRequest {
    /// The name that clients dial.
    pub common_name: String,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
}

/// The body of `certificate/identity`, which may be missing altogether.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdentityCertificateRequest {
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
}

/// The answer of both certificate calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateResponse {
    /// The private key.
    pub private_key: PrivateKey,
    /// The leaf and its chain, PEM.
    pub certificate: String,
    /// When it ends, RFC 3339 with `+00:00`.
    pub expiration: String,
}

/// A private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateKey {
    /// The literal `key`.
    pub r#type: String,
    /// PKCS #8 in PEM.
    pub bytes: String,
}

impl PrivateKey {
    /// A key given as PEM.
    pub fn from_pem(pem: impl Into<String>) -> Self {
        Self { r#type: "key".to_owned(), bytes: pem.into() }
    }
}

/// The answer of both trust bundle calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// Certificates, PEM.
    pub certificate: String,
}

macro_rules! hidden_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            /// Secrets never reach a log.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

hidden_debug!(EnvVar, PrivateKey, EncryptRequest, DecryptResponse);

/// `PUT /device/loglevel`: what the runtime writes to its log from now on; Farshore's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace`, or the names of `RuntimeLogLevel`.
    pub level: String,
}
