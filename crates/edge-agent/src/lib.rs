//! The edge agent: makes the modules of this device what the deployment says.
//!
//! It runs as `$edgeAgent` in the edge daemon's process, but knows the daemon only by its sockets:
//! the management API for everything about modules and identities, the workload API for its own
//! tokens and the seal of its backup. It never talks to a container engine.
//!
//! [`run`] composes three tasks: the line to the hub (`line.rs`), the loop (`reconcile.rs`: desired,
//! observe, plan, execute, report) and the keeper of what survives (`backup.rs`). Decisions are pure
//! functions in `plan.rs` and `report.rs`.
//!
//! Specification: `edge-runtime.md` (er) §2.4, 4, 9, 10. Not here: support bundles,
//! `ConfigSource=local`, manifest signatures, replacing the agent itself.

mod backup;
mod desired;
mod environment;
mod error;
mod execute;
#[cfg(test)]
mod fake_daemon;
mod itself;
mod line;
mod logs;
mod methods;
mod metrics;
mod observe;
mod plan;
mod ports;
mod reconcile;
mod record;
mod report;
mod rollout;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod upload;
mod variables;

use std::sync::Arc;

use client::device::{DeviceClient, Options, Subscription};
use client::edge::{ManagementClient, WorkloadClient};
use client::signer::WorkloadSigner;
use host::clock::Clock;
use host::signals::Shutdown;
use model::{IdentityId, ModuleId};
use tokio::sync::{mpsc, watch};

pub use error::AgentError;
pub use settings::{About, AgentSettings, Surroundings, Timing};

use backup::{Backup, State};
use line::Line;
use metrics::Counters;
use reconcile::{Outlets, Reconciler};

/// Runs the agent until `shutdown`. Whatever is missing meanwhile (the hub, the daemon, an image)
/// is tried again for ever; modules keep running when this ends.
pub async fn run(
    settings: AgentSettings,
    clock: Clock,
    shutdown: Shutdown,
) -> Result<(), AgentError> {
    let workload = WorkloadClient::new(
        &settings.workload_socket,
        ModuleId::edge_agent().as_str(),
        settings.generation.clone(),
    );
    let management = ManagementClient::new(&settings.management_socket);
    let backup = Backup::new(&settings.data_dir, workload.clone())?;
    let records = backup.read_records()?;
    let stages = backup.read_stages().await;

    let kept = records.iter().map(|(module, record)| (module.to_string(), record.kept.clone()));
    let state = State { stages: stages.clone(), records: kept.collect() };
    let (keep, kept) = watch::channel(state.clone());
    let (report, reports) = watch::channel(model::twin::Object::new());
    let (news, news_receiver) = mpsc::channel(NEWS_MAX);

    // The line and the keeper end after the loop, to pass on its last words.
    let after = Shutdown::new();
    let connection = DeviceClient::start(connection(&settings, workload), clock.clone());
    let counters = Counters::new(&settings.surroundings, &settings.about.version);
    let (place, places) = watch::channel(None);
    let serving = metrics::serve(counters.clone(), management.clone(), places, after.clone());
    let serving = tokio::spawn(serving);
    let line = Line::new(connection, news, reports, clock.clone(), settings.timing);
    let line = line.counting(counters.clone());
    let line = tokio::spawn(line.run(after.clone()));
    let keeper = tokio::spawn(backup.keep(state, kept, after.clone()));

    let outlets = Outlets { report, keep, metrics: place, counters };
    let mut reconciler = Reconciler::new(settings, clock, management, outlets, records);
    reconciler.resume(&stages);
    reconciler.run(news_receiver, shutdown).await;
    after.trigger();
    // They end by themselves, and have nothing more to say.
    let _ = tokio::join!(line, keeper, serving);
    Ok(())
}

fn connection(settings: &AgentSettings, workload: WorkloadClient) -> Options {
    let device = settings.surroundings.device.clone();
    let mut options = Options::new(
        settings.surroundings.hub_host_name.clone(),
        settings.dial.clone(),
        settings.tls.clone(),
        IdentityId::module(device, ModuleId::edge_agent()),
        Arc::new(WorkloadSigner::new(workload)),
    );
    options.transport = settings.transport;
    options.subscriptions =
        vec![Subscription::TwinResponses, Subscription::DesiredPatches, Subscription::Methods];
    options
}

/// News that may wait for the loop, which never waits itself.
const NEWS_MAX: usize = 16;

/// Surroundings for tests.
#[cfg(test)]
fn test_surroundings() -> Surroundings {
    Surroundings {
        hub_host_name: "hub.test".into(),
        device: "edge1".parse().unwrap(),
        edge_host_name: "edge1.local".into(),
        parent_host_name: None,
        module_workload_uri: "unix:///var/run/iotedge/workload.sock".into(),
        inherited_env: Default::default(),
        module_env: Default::default(),
        edge_hub_env: Default::default(),
        agent_env: Default::default(),
    }
}
