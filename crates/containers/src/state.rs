//! What a runtime knows about its modules and about itself.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::ModuleName;

/// A module as the runtime finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleState {
    /// Name in the runtime: the module id without `$`.
    pub name: ModuleName,
    /// Image as it was asked for at creation.
    pub image: String,
    /// The engine's id of the image that the module was created from.
    pub image_id: Option<String>,
    /// Status, as the management API names it.
    pub status: RuntimeStatus,
    /// Exit code of the last run, absent while running or never started.
    pub exit_code: Option<i64>,
    /// Start of the last run.
    pub started_at: Option<Timestamp>,
    /// End of the last run.
    pub finished_at: Option<Timestamp>,
    /// A sentence for people: why it failed, since when it runs.
    pub description: Option<String>,
    /// Pid of the module's first process, in the engine's pid namespace.
    pub pid: Option<u32>,
    /// Labels given at creation, and the image's.
    pub labels: BTreeMap<String, String>,
    /// Environment in effect.
    pub env: BTreeMap<String, String>,
}

/// Status of a module (`edge-runtime.md` §1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RuntimeStatus {
    /// It runs.
    Running,
    /// It runs, but its HEALTHCHECK says that it does not work.
    Unhealthy,
    /// It does not run and did not fail: created, paused, or ended with code 0.
    Stopped,
    /// It ended with another code.
    Failed,
    /// The engine could not remove it and it cannot be started again.
    Dead,
    /// The engine says something that we don't know.
    Unknown,
}

impl RuntimeStatus {
    /// Whether its processes are there, well or not.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Unhealthy)
    }

    /// The word in the management API and in reported properties.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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

impl fmt::Display for RuntimeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the engine says about itself and its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// `docker`, `podman` or `process`.
    pub name: String,
    /// The engine's version.
    pub version: String,
    /// API version that we speak with it.
    pub api_version: Option<String>,
    /// `linux`.
    pub os_type: String,
    /// Architecture in the engine's words (`x86_64`).
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
    /// Operating system in words (`Debian GNU/Linux 12 (bookworm)`).
    pub operating_system: String,
    /// Processors that the engine may use.
    pub cpus: u64,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// The engine's default log driver (`json-file`), for `check`.
    pub log_driver: Option<String>,
    /// Where the engine keeps its data, for `check`.
    pub data_root: Option<String>,
}

/// Something that happened to a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleEvent {
    /// The module.
    pub name: ModuleName,
    /// What happened.
    pub kind: ModuleEventKind,
}

/// Kinds of [`ModuleEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleEventKind {
    /// It began to run.
    Started,
    /// It ended, by itself or stopped.
    Ended,
    /// It was removed.
    Removed,
}
