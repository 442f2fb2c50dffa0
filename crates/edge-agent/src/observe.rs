//! What is: the modules and identities of this device, as the management API shows them
//! (er §2.1). Nothing is decided here.

use std::collections::BTreeMap;

use client::edge::{EdgeError, ManagementClient};
use iot_proto::management::{Identity, ModuleDetails};
use model::ModuleId;
use serde_json::Value;

use crate::error::chain;

/// One look at the device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// Modules that exist in the runtime.
    pub(crate) modules: BTreeMap<ModuleId, ObservedModule>,
    /// Identities that exist at the hub; otherwise why they are not known.
    pub(crate) identities: Identities,
}

/// The module identities of this device.
#[derive(Debug, Clone)]
pub(crate) enum Identities {
    /// They are known.
    Known(BTreeMap<ModuleId, ObservedIdentity>),
    /// They are not; says why.
    Unknown(String),
}

/// A module as the runtime shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ObservedModule {
    /// How it is.
    pub(crate) status: Status,
    /// Its image as it was asked for.
    pub(crate) image: String,
    /// That image's hash.
    pub(crate) image_hash: Option<String>,
    /// A sentence for people.
    pub(crate) description: Option<String>,
    /// Begin of the last run.
    pub(crate) started_at: Option<String>,
    /// End of the last run.
    pub(crate) exited_at: Option<String>,
    /// How the last run ended.
    pub(crate) exit_code: Option<i64>,
}

/// An identity as the daemon lists it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObservedIdentity {
    /// Its generation.
    pub(crate) generation: String,
    /// Who manages it.
    pub(crate) managed_by: String,
}

/// The machine, for the report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Platform {
    /// `linux`.
    pub(crate) os: String,
    /// Such as `x86_64`.
    pub(crate) architecture: String,
    /// The daemon's version.
    pub(crate) version: String,
}

/// Status of a module (er §1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Status {
    /// It runs.
    Running,
    /// It runs, but its health check says that it does not work.
    Unhealthy,
    /// It does not run and did not fail.
    Stopped,
    /// It ended with an error.
    Failed,
    /// The engine cannot use it any more.
    Dead,
    /// The engine says something else.
    #[default]
    Unknown,
}

impl Default for Identities {
    fn default() -> Self {
        Self::Unknown("the daemon was not asked yet".into())
    }
}

impl Identities {
    /// The module's identity; `None` when it does not exist or nothing is known.
    pub(crate) fn get(&self, module: &ModuleId) -> Option<&ObservedIdentity> {
        match self {
            Self::Known(identities) => identities.get(module),
            Self::Unknown(_) => None,
        }
    }
}

impl Status {
    /// The word of the management API; an unknown one is no error.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "unhealthy" => Self::Unhealthy,
            "stopped" => Self::Stopped,
            "failed" => Self::Failed,
            "dead" => Self::Dead,
            _ => Self::Unknown,
        }
    }

    /// The word in reported properties.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// What one look at the daemon brought.
#[derive(Debug)]
pub(crate) struct Look {
    /// Looks are numbered, so that one taken too early is known as such.
    pub(crate) number: u64,
    /// The modules.
    pub(crate) modules: Result<Vec<ModuleDetails>, EdgeError>,
    /// The identities, if they were asked for.
    pub(crate) identities: Option<Result<Vec<Identity>, EdgeError>>,
}

/// Asks the daemon. Identities may cost the daemon a call to the hub, so not every look needs them.
pub(crate) async fn look(management: ManagementClient, number: u64, with_identities: bool) -> Look {
    let identities = async {
        match with_identities {
            true => Some(management.identities().await),
            false => None,
        }
    };
    let (modules, identities) = tokio::join!(management.modules(), identities);
    Look { number, modules, identities }
}

impl Observation {
    /// Replaces the modules by what was seen.
    pub(crate) fn set_modules(&mut self, modules: Vec<ModuleDetails>) {
        self.modules = modules
            .into_iter()
            .filter_map(|details| Some((module_id(&details.name)?, details.into())))
            .collect();
    }

    /// Replaces the identities by what was seen, or by why nothing was.
    pub(crate) fn set_identities(&mut self, identities: Result<Vec<Identity>, EdgeError>) {
        self.identities = match identities {
            Ok(list) => Identities::Known(
                list.into_iter()
                    .filter_map(|identity| {
                        let seen = ObservedIdentity {
                            generation: identity.generation_id,
                            managed_by: identity.managed_by,
                        };
                        Some((identity.module_id.parse().ok()?, seen))
                    })
                    .collect(),
            ),
            Err(error) => Identities::Unknown(format!("cannot list identities: {}", chain(&error))),
        };
    }
}

impl From<ModuleDetails> for ObservedModule {
    fn from(details: ModuleDetails) -> Self {
        let setting = |name: &str| {
            details.config.settings.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let exit = details.status.exit_status.as_ref();
        Self {
            status: Status::from_word(&details.status.runtime_status.status),
            image: setting("image").unwrap_or_default(),
            image_hash: setting("imageHash"),
            exited_at: exit.map(|exit| exit.exit_time.clone()),
            exit_code: exit.and_then(|exit| exit.status_code.parse().ok()),
            started_at: details.status.start_time,
            description: details.status.runtime_status.description,
        }
    }
}

/// The name of a module in the runtime: its id without the `$`.
pub(crate) fn runtime_name(module: &ModuleId) -> &str {
    let id = module.as_str();
    id.strip_prefix('$').unwrap_or(id)
}

/// The module id behind a name in the runtime.
pub(crate) fn module_id(name: &str) -> Option<ModuleId> {
    match name {
        "edgeAgent" => Some(ModuleId::edge_agent()),
        "edgeHub" => Some(ModuleId::edge_hub()),
        other => other.parse().ok(),
    }
}
