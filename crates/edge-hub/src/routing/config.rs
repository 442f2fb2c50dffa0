//! From the desired properties of `$edgeHub` to the routes in force.
//!
//! Spec: `edge-runtime.md` (er) §5.1. The twin is read whenever the hub comes back and each hour;
//! changes come as patches in between. A bad configuration leaves the old routes in force and is
//! reported with what is wrong; 200 is reported when the routes are in force, not before (er §10,
//! 14). The last good one is stored and serves while the hub is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Events;
use client::device::ClientEvent;
use journal::StreamId;
use manifest::HubConfig;
use model::twin::{self, Object};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::{Queue, Table};
use crate::core::Core;
use crate::state::StateError;
use crate::twins::documents;

/// The routes in force, and the configuration that they are of.
pub(crate) struct Routes {
    active: RwLock<Arc<Active>>,
    ready: watch::Sender<bool>,
    desired: Mutex<Option<Desired>>,
    /// The twin is to be read, or a patch has come.
    due: Notify,
    patches: Mutex<Vec<Desired>>,
    /// How often the twin is read though nothing tells of a change.
    refresh_every: Duration,
}

/// A table with the streams of its queues.
#[derive(Default)]
pub(crate) struct Active {
    pub(crate) table: Table,
    pub(crate) streams: HashMap<Queue, StreamId>,
    /// `storeLimits.maxSizeBytes`.
    pub(crate) bytes_max: Option<u64>,
}

/// Desired properties, or a patch of them.
#[derive(Clone)]
struct Desired {
    properties: Object,
    version: u64,
}

/// Why a configuration is not in force.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("Error while parsing desired properties - {0}")]
    Config(#[from] manifest::HubConfigError),
    #[error("Error while parsing desired properties - {0}")]
    Table(#[from] super::TableError),
    #[error("cannot make the queue of an endpoint: {0}")]
    Stream(#[from] journal::JournalError),
    #[error("the edge hub is ending")]
    Ending,
}

impl ApplyError {
    /// The manifest's fault, or ours.
    fn code(&self) -> u16 {
        match self {
            Self::Config(error) => error.code(),
            Self::Table(_) => 400,
            Self::Stream(_) | Self::Ending => 500,
        }
    }
}

impl Routes {
    pub(crate) fn new(refresh_every: Duration) -> Self {
        let (ready, _) = watch::channel(false);
        Self {
            active: RwLock::default(),
            ready,
            desired: Mutex::default(),
            due: Notify::new(),
            patches: Mutex::default(),
            refresh_every,
        }
    }

    /// The routes in force.
    pub(crate) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.active.read())
    }

    /// Resolves when some routes are in force.
    pub(crate) async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as `self`.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Puts the stored configuration in force, if there is one.
    pub(crate) async fn restore(&self, core: &Arc<Core>) -> Result<(), StateError> {
        let Some(text) = core.state.meta(STORED).await? else { return Ok(()) };
        let stored = twin::parse_object(text.as_bytes()).ok();
        let Some((properties, version)) = stored.and_then(|mut stored| {
            let version = stored.get("version")?.as_u64()?;
            match stored.shift_remove("desired")? {
                Value::Object(properties) => Some((properties, version)),
                _ => None,
            }
        }) else {
            tracing::error!("stored routes are damaged; they are read from the hub");
            return Ok(());
        };
        tracing::info!(version, "routes restored");
        self.apply(core, Desired { properties, version }).await;
        Ok(())
    }

    /// Keeps the routes up to date; runs for ever.
    pub(crate) async fn keep(&self, core: &Arc<Core>) {
        loop {
            tokio::select! {
                () = self.due.notified() => {}
                () = core.clock.sleep(self.refresh_every) => {}
            }
            if core.upstream.connected_since().is_none() {
                continue;
            }
            if !self.take_patches(core).await {
                self.read(core).await;
            }
        }
    }

    /// Puts the patches that came in force. False when the twin is to be read: there were none, or
    /// some are missing.
    async fn take_patches(&self, core: &Arc<Core>) -> bool {
        let patches = std::mem::take(&mut *self.patches.lock());
        let Some(mut desired) = self.desired.lock().clone() else { return false };
        let mut moved = false;
        for patch in patches {
            if patch.version > desired.version + 1 {
                return false;
            }
            if patch.version == desired.version + 1 {
                documents::merge(&mut desired.properties, &patch.properties);
                desired.version = patch.version;
                moved = true;
            }
        }
        if moved {
            self.apply(core, desired).await;
        }
        moved
    }

    async fn read(&self, core: &Arc<Core>) {
        match core.upstream.own().twin_get().await {
            Ok(twin) => {
                let desired = Desired { properties: twin.desired, version: twin.desired_version };
                self.apply(core, desired).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the twin of $edgeHub; it is tried again");
                core.clock.sleep(READ_AGAIN).await;
                self.due.notify_one();
            }
        }
    }

    /// Puts a configuration in force, and reports how that went.
    async fn apply(&self, core: &Arc<Core>, desired: Desired) {
        let version = desired.version;
        *self.desired.lock() = Some(desired.clone());
        match self.put_in_force(core, &desired).await {
            Ok(changed) => {
                core.report.status(version, 200, "");
                self.ready.send_replace(true);
                if changed {
                    tracing::info!(version, "routes are in force");
                }
                let text = json!({ "version": version, "desired": desired.properties }).to_string();
                if let Err(error) = core.state.set_meta(STORED, text).await {
                    tracing::error!(error = %host::logs::chain(&error), "cannot store the routes");
                }
            }
            Err(error) => {
                tracing::error!(version, %error, "routes are refused; the ones before stay in force");
                core.report.status(version, error.code(), error.to_string());
            }
        }
    }

    /// Whether anything is different now.
    async fn put_in_force(&self, core: &Arc<Core>, desired: &Desired) -> Result<bool, ApplyError> {
        let config = HubConfig::parse(&desired.properties)?;
        let table = Table::new(&config)?;
        let before = self.active();
        let bytes_max = config.store_size_bytes_max;
        if *self.ready.borrow() && before.table == table && before.bytes_max == bytes_max {
            return Ok(false);
        }
        let streams = {
            let (journal, queues) = (core.journal.clone(), table.queues());
            let make = move || -> Result<HashMap<Queue, StreamId>, journal::JournalError> {
                queues
                    .into_iter()
                    .map(|q| Ok((q.clone(), journal.stream(&q.to_string())?)))
                    .collect()
            };
            tokio::task::spawn_blocking(make).await.map_err(|_| ApplyError::Ending)??
        };
        for (queue, stream) in &streams {
            core.forward.pump(core, queue, *stream);
        }
        *self.active.write() = Arc::new(Active { table, streams, bytes_max });
        Ok(true)
    }
}

/// Serves the events of `$edgeHub`'s own line until it ends.
pub(crate) async fn serve_own(core: Arc<Core>, mut events: Events) {
    while let Some(event) = events.next().await {
        match event {
            ClientEvent::Connected { .. } => {
                tracing::info!("connected to the hub");
                core.upstream.own_changed(&core, true);
                core.routes.due.notify_one();
                core.scope.request_refresh();
            }
            ClientEvent::Disconnected { reason, permanent } => {
                if permanent {
                    tracing::error!(%reason, "the hub refuses this edge hub");
                } else {
                    tracing::warn!(%reason, "the hub is away; messages wait here");
                }
                core.upstream.own_changed(&core, false);
            }
            ClientEvent::Desired { patch, version } => {
                let mut patches = core.routes.patches.lock();
                // One that is missing is noticed, and the twin read.
                if patches.len() < PATCHES_MAX {
                    patches.push(Desired { properties: patch, version });
                }
                drop(patches);
                core.routes.due.notify_one();
            }
            ClientEvent::Method(call) => method(&core, call),
            other => tracing::debug!(event = ?other, "nothing to do for this event"),
        }
    }
}

/// The edge hub's own method (er §5.8): asks for the scope again.
fn method(core: &Arc<Core>, call: client::device::MethodCall) {
    if !call.name.eq_ignore_ascii_case("RefreshDeviceScopeIdentityCache") {
        let message = format!("$edgeHub has no method {:?}", call.name);
        return call.reply(404, json!({ "message": message }).to_string());
    }
    let core = Arc::clone(core);
    tokio::spawn(async move {
        match core.scope.refresh(&core).await {
            Ok(()) => call.reply(200, ""),
            Err(reason) => call.reply(500, json!({ "message": reason }).to_string()),
        }
    });
}

/// The name under which the last good configuration is stored.
const STORED: &str = "desired";
const READ_AGAIN: Duration = Duration::from_secs(5);
const PATCHES_MAX: usize = 16;
