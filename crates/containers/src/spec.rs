//! What a module should be: the runtime's side of the management API's
//! ModuleSpec (`edge-runtime.md` §2.1), already checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::{ImageReference, ModuleName};

/// All that a runtime needs to create a module.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleSpec {
    /// Name in the runtime: the module id without `$`.
    pub name: ModuleName,
    /// Image to run, `$upstream` already replaced.
    pub image: ImageReference,
    /// Digest (`sha256:…`) that the image must have; checked after the pull.
    pub digest: Option<String>,
    /// The engine's container-create JSON as the manifest gives it. Unknown
    /// keys go to the engine as they are. `Null` is the same as `{}`.
    pub create_options: serde_json::Value,
    /// Environment; `create_options.Env` wins over it (T-ENV-WINS).
    pub env: BTreeMap<String, String>,
    /// When the image is pulled.
    pub pull_policy: PullPolicy,
    /// Credentials for the image's registry.
    pub auth: Option<RegistryAuth>,
    /// Labels of ours; they win over those in `create_options`.
    pub labels: BTreeMap<String, String>,
    /// Names under which other modules reach it on the module network.
    /// Ignored when `create_options` brings its own endpoints (T-NETWORK).
    pub network_aliases: Vec<String>,
    /// Host paths made visible to the module: its workload socket, and
    /// whatever else the daemon has to hand in.
    pub binds: Vec<Bind>,
}

impl ModuleSpec {
    /// A spec with the image only; the other fields are to be filled in.
    #[must_use]
    pub fn new(name: ModuleName, image: ImageReference) -> Self {
        Self {
            name,
            image,
            digest: None,
            create_options: serde_json::Value::Null,
            env: BTreeMap::new(),
            pull_policy: PullPolicy::OnCreate,
            auth: None,
            labels: BTreeMap::new(),
            network_aliases: Vec::new(),
            binds: Vec::new(),
        }
    }
}

/// A host path made visible inside a module.
///
/// A process has no "inside": there the variables of the environment that name
/// the inside path (plain or as `unix://` URI) get the host path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Path on the host.
    pub host: PathBuf,
    /// Path that the module sees.
    pub inside: PathBuf,
    /// Whether the module may only read it.
    pub read_only: bool,
}

impl Bind {
    /// A writable bind.
    #[must_use]
    pub fn new(host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        Self { host: host.into(), inside: inside.into(), read_only: false }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before the module is created (`on-create`).
    #[default]
    OnCreate,
    /// Never; the image must be there (`never`).
    Never,
}

/// Credentials for a registry. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryAuth {
    /// The registry's address, as in `registryCredentials.*.address`.
    pub server_address: String,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("server_address", &self.server_address)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Something that a runtime did otherwise than asked, to be told to the user
/// (in the log, in `check`, in the agent's reported properties).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// `allow_elevated_docker_permissions = false` took these away.
    ElevatedRemoved {
        /// Paths in createOptions, such as `HostConfig.Privileged`.
        keys: Vec<String>,
    },
    /// The runtime has no such thing, so these createOptions do nothing.
    OptionsIgnored {
        /// Paths in createOptions, such as `HostConfig.PortBindings`.
        keys: Vec<String>,
    },
    /// The engine created the module and warned.
    EngineWarning {
        /// The engine's words.
        text: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ElevatedRemoved { keys } => write!(
                f,
                "{} taken away from createOptions because allow_elevated_docker_permissions is false",
                keys.join(", ")
            ),
            Self::OptionsIgnored { keys } => {
                write!(
                    f,
                    "createOptions without effect for a module that runs as a process: {}",
                    keys.join(", ")
                )
            }
            Self::EngineWarning { text } => write!(f, "container engine: {text}"),
        }
    }
}
