//! What the agent is told when it starts. Declared and read from files by the entrance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use client::Dial;
use client::device::Transport;
use host::tls::ClientTls;
use model::DeviceId;
use tokio::sync::watch;

/// Everything that the agent has to know.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Where to dial for the hub, or for the parent.
    pub dial: Dial,
    /// What to speak there.
    pub transport: Transport,
    /// Whom to trust there.
    pub tls: ClientTls,
    /// Socket of the daemon's management API.
    pub management_socket: PathBuf,
    /// Socket of the daemon's workload API for `$edgeAgent`.
    pub workload_socket: PathBuf,
    /// Generation of the `$edgeAgent` identity.
    pub generation: String,
    /// Directory of the agent's own state; created 0700.
    pub data_dir: PathBuf,
    /// What modules are told.
    pub surroundings: Surroundings,
    /// What the agent says of itself in its report.
    pub about: About,
    /// Takes the images of the deployment in force and of the last good one, as the manifests name
    /// them, once there is one: they have to stay on the device.
    pub deployed_images: watch::Sender<Option<BTreeSet<String>>>,
    /// Takes the createOptions of the same deployments' modules, by their names in the runtime:
    /// the volumes that they name have to stay.
    pub deployed_options: watch::Sender<Option<Vec<(String, serde_json::Value)>>>,
    /// Numbers that tests shorten.
    pub timing: Timing,
}

/// What modules are told about the place where they run.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The hub's name: it stands in tokens and is verified by TLS.
    pub hub_host_name: String,
    /// This device.
    pub device: DeviceId,
    /// The name under which modules and leaf devices reach this device's edge hub.
    pub edge_host_name: String,
    /// The parent's name, when this device connects through another edge device.
    pub parent_host_name: Option<String>,
    /// `IOTEDGE_WORKLOADURI` as modules see it.
    pub module_workload_uri: String,
    /// Variables that every module inherits unless its manifest sets them, such as
    /// `RuntimeLogLevel` and `UpstreamProtocol`.
    pub inherited_env: BTreeMap<String, String>,
    /// Variables that all modules but the edge hub get whatever their manifest says, such as
    /// `FARSHORE_GATEWAY_ADDRESS`.
    pub module_env: BTreeMap<String, String>,
    /// Variables that the edge hub gets whatever its manifest says, such as
    /// `FARSHORE_UPSTREAM_ADDRESS`.
    pub edge_hub_env: BTreeMap<String, String>,
    /// The agent's own variables from the device's settings (`[agent.env]`).
    pub agent_env: BTreeMap<String, String>,
}

/// The agent in its own report.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Version of the program.
    pub version: String,
    /// Build number or revision.
    pub build: String,
    /// Commit.
    pub commit: String,
}

/// Periods of the agent; defaults with their source.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often the modules are looked at (er §4.4).
    pub observe_every: Duration,
    /// How often the whole twin is read again (er §4.2, `ConfigRefreshFrequencySecs`).
    pub refresh_every: Duration,
    /// The first wait before a restart or another attempt; it doubles (er §4.5).
    pub cool_off: Duration,
    /// The longest such wait (er §4.5).
    pub cool_off_max: Duration,
    /// A module that ran this long starts from the first wait again (er §4.5).
    pub intensive_care: Duration,
    /// A changed module that has run this long, and is well, proves its deployment
    /// (`FARSHORE_DEPLOYMENT_HEALTHY_AFTER_SECS`).
    pub healthy_after: Duration,
    /// A deployment that is not healthy in this time is given up for the last good one; zero: it
    /// never is (`FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS`).
    pub healthy_within: Duration,
    /// How long the last report may take at the end.
    pub farewell: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            observe_every: Duration::from_secs(5),
            refresh_every: Duration::from_secs(3600),
            cool_off: Duration::from_secs(10),
            cool_off_max: Duration::from_secs(300),
            intensive_care: Duration::from_secs(600),
            // Longer than an engine takes to call a module unhealthy (3 checks, 30 s apart).
            healthy_after: Duration::from_secs(120),
            healthy_within: Duration::from_secs(600),
            farewell: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// The wait before attempt `count` + 1.
    pub(crate) fn wait(&self, count: u32) -> Duration {
        let factor = 2_u32.saturating_pow(count);
        self.cool_off.saturating_mul(factor).min(self.cool_off_max)
    }
}
