//! Twins of local clients: passed through while the hub is there, served from a copy while it is
//! not. Each identity has its own; nobody ever sees another's.
//!
//! Spec: `edge-runtime.md` (er) §5.7. Differences, on purpose:
//! - Online, a reported patch is answered when the hub has it, with its new `$version`. Offline (or
//!   while older patches wait) it is merged into the copy, kept in the database, answered 204
//!   without a version, and sent when the hub is back, in order.
//! - A patch that the hub refuses after that is given up, counted and told in the log; the original
//!   sends it for ever (er §10, 38).

pub(crate) mod documents;
mod stored;

use std::collections::HashSet;
use std::sync::Arc;

use client::device::{DeviceTwin, TwinError};
use gateway::session::Downlink;
use model::twin::Object;
use model::{Fault, FaultKind, IdentityId};
use parking_lot::Mutex;
use serde_json::Value;

use crate::core::Core;
use crate::device::stored::unavailable;
use stored::Copy;

/// Twins in the database, and who is being caught up.
#[derive(Default)]
pub(crate) struct Twins {
    /// Identities whose waiting patches are being sent.
    sending: Mutex<HashSet<IdentityId>>,
}

impl Twins {
    /// The twin as the identity reads it.
    pub(crate) async fn read(&self, core: &Arc<Core>, id: &IdentityId) -> Result<Value, Fault> {
        if let Some(line) = core.upstream.reachable(core, id) {
            match line.twin_get().await {
                Ok(twin) => return self.keep(core, id, twin).await.map(|copy| copy.view()),
                Err(error) if is_refusal(&error) => return Err(fault(&error)),
                Err(error) => tracing::debug!(%id, %error, "twin is served from the copy"),
            }
        }
        let copy = self.copy(core, id).await?;
        Ok(copy.unwrap_or_else(|| {
            // As the original (T-TWIN-EMPTY): a module must be able to start offline.
            tracing::warn!(%id, "the hub is away and this twin was never read; it is served empty");
            Copy::default()
        })
        .view())
    }

    /// Keeps what the hub said, with the patches that it has not seen on top.
    async fn keep(&self, core: &Core, id: &IdentityId, twin: DeviceTwin) -> Result<Copy, Fault> {
        let waiting = stored::reports(&core.state, &core.seal, id).await;
        let waiting = waiting.map_err(|error| unavailable(&error))?;
        let mut copy = Copy::from(twin);
        for (_, patch) in &waiting {
            // It was valid when it was taken; what the hub has now may leave no room for it, and
            // then the hub will refuse it too.
            let _ = documents::merge_reported(&mut copy.reported, patch, core.clock.wall());
        }
        let kept = stored::put(&core.state, &core.seal, id, copy.clone()).await;
        kept.map_err(|error| unavailable(&error))?;
        Ok(copy)
    }

    async fn copy(&self, core: &Core, id: &IdentityId) -> Result<Option<Copy>, Fault> {
        stored::get(&core.state, &core.seal, id).await.map_err(|error| unavailable(&error))
    }

    /// Takes a patch of reported properties; gives the new version when the hub has it.
    pub(crate) async fn report(
        &self,
        core: &Arc<Core>,
        id: &IdentityId,
        patch: Object,
        expected: Option<u64>,
    ) -> Result<Option<u64>, Fault> {
        let mut copy = self.copy(core, id).await?.unwrap_or_default();
        if let Some(expected) = expected
            && expected != copy.reported_version
        {
            let detail =
                format!("the reported properties are at version {}", copy.reported_version);
            return Err(Fault::new(FaultKind::PreconditionFailed, detail));
        }
        documents::merge_reported(&mut copy.reported, &patch, core.clock.wall())
            .map_err(|error| Fault::argument(error.to_string()))?;
        let waiting = stored::reports_waiting(&core.state, id).await;
        let waiting = waiting.map_err(|error| unavailable(&error))?;
        if waiting == 0
            && let Some(line) = core.upstream.reachable(core, id)
        {
            match line.report(&patch).await {
                Ok(version) => {
                    if let Some(version) = version {
                        copy.reported_version = version;
                    }
                    let kept = stored::put(&core.state, &core.seal, id, copy).await;
                    kept.map_err(|error| unavailable(&error))?;
                    return Ok(version);
                }
                Err(error) if is_refusal(&error) => return Err(fault(&error)),
                Err(error) => tracing::debug!(%id, %error, "reported patch waits for the hub"),
            }
        }
        if waiting >= REPORTS_WAITING_MAX {
            let detail = "too many reported patches wait for the hub; try again when it is back";
            return Err(Fault::new(FaultKind::ThrottlingException, detail));
        }
        self.take(core, id, copy, patch, waiting).await?;
        // The hub may have come back meanwhile.
        if core.upstream.connected_since().is_some() {
            let (core, id) = (Arc::clone(core), id.clone());
            tokio::spawn(async move { core.twins.catch_up(&core, &id).await });
        }
        Ok(None)
    }

    /// Stores a patch that the hub has not seen, joined to the last one where that says the same.
    async fn take(
        &self,
        core: &Core,
        id: &IdentityId,
        copy: Copy,
        patch: Object,
        waiting: usize,
    ) -> Result<(), Fault> {
        // The first may be on its way; only a later one may still be changed.
        let join = waiting > 1 || (waiting == 1 && !self.sending.lock().contains(id));
        let taken = stored::take_report(&core.state, &core.seal, id, copy, patch, join).await;
        taken.map_err(|error| unavailable(&error))
    }

    /// The line stands: sends what waits, and tells the client what changed while it did not.
    pub(crate) async fn catch_up(&self, core: &Arc<Core>, id: &IdentityId) {
        if !self.sending.lock().insert(id.clone()) {
            return;
        }
        let sent = self.send_reports(core, id).await;
        self.sending.lock().remove(id);
        if sent {
            self.catch_up_desired(core, id).await;
        }
    }

    /// False when the line was lost, or the database refuses; the next connection tries again.
    async fn send_reports(&self, core: &Arc<Core>, id: &IdentityId) -> bool {
        loop {
            let first = match stored::first_report(&core.state, &core.seal, id).await {
                Ok(Some(first)) => first,
                Ok(None) => return true,
                Err(error) => {
                    tracing::error!(%id, error = %host::logs::chain(&error), "cannot read waiting patches");
                    return false;
                }
            };
            let (number, patch) = first;
            if let Some(patch) = patch {
                let Some(line) = core.upstream.reachable(core, id) else { return false };
                match line.report(&patch).await {
                    Ok(_) => {}
                    Err(error) if is_refusal(&error) => {
                        core.counters.reports_refused.inc();
                        tracing::error!(%id, %error, "the hub refuses reported properties that were taken offline; they are given up");
                    }
                    Err(_) => return false,
                }
            }
            if let Err(error) = stored::remove_report(&core.state, number).await {
                tracing::error!(%id, error = %host::logs::chain(&error), "cannot forget a sent patch");
                return false;
            }
        }
    }

    /// Reads the twin anew when the client listens for changes, and tells it the difference.
    async fn catch_up_desired(&self, core: &Arc<Core>, id: &IdentityId) {
        let listens =
            core.sessions.info(id).is_some_and(|(subscriptions, _)| subscriptions.desired);
        let Ok(Some(before)) = self.copy(core, id).await else { return };
        if !listens {
            return;
        }
        let Some(line) = core.upstream.reachable(core, id) else { return };
        let Ok(twin) = line.twin_get().await else { return };
        let Ok(now) = self.keep(core, id, twin).await else { return };
        if now.desired_version > before.desired_version {
            let patch = documents::difference(&before.desired, &now.desired);
            let downlink = Downlink::Desired { patch, version: now.desired_version };
            core.sessions.send(id, |subscriptions| subscriptions.desired, downlink);
        }
    }

    /// The hub tells a change of desired properties; the client hears it when it listens. A gap in
    /// the versions is closed by reading the twin.
    pub(crate) async fn desired_changed(
        &self,
        core: &Arc<Core>,
        id: &IdentityId,
        patch: Object,
        version: u64,
    ) {
        let Ok(copy) = self.copy(core, id).await else { return };
        match copy {
            Some(copy) if version <= copy.desired_version => {}
            Some(copy) if version > copy.desired_version + 1 => {
                let (core, id) = (Arc::clone(core), id.clone());
                tokio::spawn(async move { core.twins.catch_up_desired(&core, &id).await });
            }
            Some(mut copy) => {
                documents::merge(&mut copy.desired, &patch);
                copy.desired_version = version;
                if let Err(error) = stored::put(&core.state, &core.seal, id, copy).await {
                    unavailable(&error);
                }
                let downlink = Downlink::Desired { patch, version };
                core.sessions.send(id, |subscriptions| subscriptions.desired, downlink);
            }
            // It never read its twin; whoever wants the whole asks for it.
            None => {
                let downlink = Downlink::Desired { patch, version };
                core.sessions.send(id, |subscriptions| subscriptions.desired, downlink);
            }
        }
    }
}

/// Whether the hub itself said no; anything else is the line's fault.
fn is_refusal(error: &TwinError) -> bool {
    matches!(error, TwinError::Refused { status: 400..=499, .. } if !is_throttled(error))
}

fn is_throttled(error: &TwinError) -> bool {
    matches!(error, TwinError::Refused { status: 429, .. })
}

/// The hub's refusal, passed on.
fn fault(error: &TwinError) -> Fault {
    let (status, message) = match error {
        TwinError::Refused { status, message, .. } => (*status, message.clone()),
        other => (500, other.to_string()),
    };
    let kind = match status {
        404 => FaultKind::DeviceNotFound,
        412 => FaultKind::PreconditionFailed,
        413 => FaultKind::MessageTooLarge,
        400..=499 => FaultKind::ArgumentInvalid,
        _ => FaultKind::ServiceUnavailable,
    };
    Fault::new(kind, message)
}

/// Patches of one identity that may wait and could not be joined.
const REPORTS_WAITING_MAX: usize = 64;
