//! What the daemon does by itself: getting the agent's identity, keeping the Edge CA, ending.

use std::sync::Arc;
use std::time::Duration;

use client::registry::DeviceRegistryClient;
use containers::ModuleRuntime;
use host::clock::Clock;
use host::signals::Shutdown;
use model::{GenerationId, ModuleId};

use crate::certs::{self, EdgeCa, Renewal};
use crate::daemon::PROVISION_PAUSE;
use crate::identity::{Identities, IdentityError};
use crate::modules::{Modules, STOP_GRACE};
use crate::provision::{DeviceCertificate, DeviceFacts, ProvisionError};
use crate::workload::HUB_NAME;

/// Asks for `$edgeAgent`'s identity until there is one.
pub(crate) async fn provision(
    identities: &Identities,
    facts: &DeviceFacts,
    clock: &Clock,
) -> GenerationId {
    let agent = ModuleId::edge_agent();
    let mut told = String::new();
    loop {
        let outcome =
            identities.update(&agent, None).await.and_then(|_| identities.generation(&agent));
        let error = match outcome {
            Ok(generation) => return generation,
            Err(error) => error,
        };
        let hint = hint(&error, facts);
        let text = client::dial::chain(&error);
        // The same reason every few seconds would hide everything else.
        if text != told {
            tracing::error!(device = %facts.device, hub = facts.hub_host_name, error = text, "cannot provision: {hint}");
            told = text;
        }
        clock.sleep(PROVISION_PAUSE).await;
    }
}

/// The next step for whoever reads the log.
fn hint(error: &IdentityError, facts: &DeviceFacts) -> String {
    let code = match error {
        IdentityError::Hub(error) => (error.status(), error.code_name()),
        _ => (None, None),
    };
    match code {
        (_, Some("DeviceNotFound")) => {
            format!("the hub has no device {}; register it there, as an edge device", facts.device)
        }
        (_, Some("ModuleNotFound")) => {
            format!("device {} is no edge device at the hub; make it one there", facts.device)
        }
        (Some(401 | 403), _) => {
            "the hub does not take the key; copy the device's connection string to config.toml again".to_owned()
        }
        _ if error.is_transient() => "the hub cannot be asked, and this device has never synced with it: let it reach the hub once; trying again".to_owned(),
        _ => "trying again".to_owned(),
    }
}

/// Renews the Edge CA when it is time. Under the same root nobody notices; where the root is
/// another one, modules trust the old one until they ask again, so they are restarted, the edge hub
/// first (`edge-runtime.md` §1.5).
pub(crate) async fn keep_edge_ca(
    edge_ca: Arc<EdgeCa>,
    modules: Arc<Modules>,
    clock: Clock,
    stop: Shutdown,
) {
    let (mut pause, mut wall) = (certs::LOOK_EVERY, clock.wall_at_origin());
    let mut told = String::new();
    loop {
        tokio::select! {
            _ = clock.sleep_unless_set(pause, wall) => {}
            () = stop.wait() => return,
        }
        (pause, wall) = (certs::LOOK_EVERY, clock.wall_at_origin());
        match edge_ca.renew_if_due() {
            Ok(Renewal::NotDue | Renewal::SameTrust) => told.clear(),
            Ok(Renewal::OtherTrust) => restart_running(&modules).await,
            Err(error) => {
                pause = edge_ca.retry_after();
                let (text, retry_seconds) = (client::dial::chain(&error), pause.as_secs());
                // The same reason every few seconds would hide everything else.
                if text != told {
                    tracing::error!(
                        error = text,
                        retry_seconds,
                        "cannot renew the Edge CA, the last one is used until its end"
                    );
                    told = text;
                }
            }
        }
    }
}

/// Uses a new certificate of the device when its files change. Only calls to the hub's registry
/// show it; modules have keys of their own.
pub(crate) async fn keep_certificate(
    mut certificate: DeviceCertificate,
    registry: impl Fn() -> Result<DeviceRegistryClient, ProvisionError>,
    identities: Arc<Identities>,
    clock: Clock,
    stop: Shutdown,
) {
    let mut told = String::new();
    loop {
        certificate.warn_of_end(&clock);
        tokio::select! {
            () = clock.sleep(certs::LOOK_EVERY) => {}
            () = stop.wait() => return,
        }
        let Some(text) = certificate.has_changed() else { continue };
        match registry() {
            Ok(registry) => {
                identities.ask_by(registry);
                certificate.taken_over(text);
                tracing::info!("read the new certificate of the device");
            }
            // The files may be written one after the other.
            Err(error) => {
                let error = client::dial::chain(&error);
                if error != told {
                    tracing::warn!(
                        error,
                        "cannot use the device's new certificate, the last one is used until its end"
                    );
                    told = error;
                }
            }
        }
    }
}

/// Restarts the modules that run, the edge hub first.
pub(crate) async fn restart_running(modules: &Arc<Modules>) {
    let mut states = match modules.runtime.list().await {
        Ok(states) => states,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "cannot restart the modules: restart them by hand");
            return;
        }
    };
    states.retain(|state| state.status.is_running());
    states.sort_by_key(|state| state.name.as_str() != HUB_NAME);
    for state in states {
        if Arc::clone(modules).restart(state.name.as_str()).await.is_err() {
            tracing::error!(module = %state.name, "cannot restart a module: restart it by hand");
        }
    }
}

/// Stops all modules, the edge hub last, so that it takes what others send at their end.
pub(crate) async fn stop_all(runtime: &dyn ModuleRuntime) {
    let states = match runtime.list().await {
        Ok(states) => states,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot stop the modules");
            return;
        }
    };
    let running = states.into_iter().filter(|state| state.status.is_running());
    let (hub, others): (Vec<_>, Vec<_>) =
        running.partition(|state| state.name.as_str() == HUB_NAME);
    for group in [others, hub] {
        let stops = group.iter().map(|state| async {
            if let Err(error) = runtime.stop(&state.name, END_GRACE).await {
                tracing::error!(module = %state.name, error = &error as &dyn std::error::Error, "cannot stop a module");
            }
        });
        futures_util::future::join_all(stops).await;
    }
}

/// At the end of the daemon each module has the usual time; longer, and systemd would lose patience.
const END_GRACE: Duration = STOP_GRACE;
