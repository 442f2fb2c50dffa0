//! The lines to the hub, by the protocol that `UpstreamProtocol` says: one connection per identity, made when its client is here or messages for
//! it wait, and closed when neither is so.
//!
//! `$edgeHub`'s own line tells whether the hub is there: while it is not, no other line is begun,
//! and when it comes back all are made anew at once, without waiting for their own back-off. All
//! of them prove themselves with `$edgeHub`'s key; the chain says for whom (er §5.5, §5.6).

mod events;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use client::device::{ConnectionState, DeviceClient, Options, Queues, Subscription, Transport};
use client::{Dial, Events, Signer};
use gateway::backend::Subscriptions;
use host::clock::{Clock, Mono};
use host::tls::ClientTls;
use iot_proto::connect::AuthChain;
use model::{DeviceId, IdentityId, ModuleId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::core::Core;
use crate::device::sessions::ClientInfo;

/// Where and how lines are made.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) host_name: String,
    pub(crate) dial: Dial,
    pub(crate) transport: Transport,
    pub(crate) tls: ClientTls,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) edge: DeviceId,
    pub(crate) clock: Clock,
}

/// All lines.
pub(crate) struct Upstream {
    site: Site,
    own: DeviceClient,
    /// Since when the own line stands.
    connected_since: Mutex<Option<Mono>>,
    /// Since when it does not, after it did.
    away_since: Mutex<Option<Mono>>,
    lines: Mutex<HashMap<IdentityId, Entry>>,
    lines_max: usize,
    /// Moves when some line comes or goes.
    changed: watch::Sender<u64>,
    /// Some line has no local client any more.
    idle: Notify,
}

struct Entry {
    client: DeviceClient,
    state: watch::Receiver<ConnectionState>,
    local: bool,
    work: Work,
    used: Mono,
}

/// A line as a pump uses it.
#[derive(Clone)]
pub(crate) struct LineHandle {
    pub(crate) client: DeviceClient,
    pub(crate) state: ConnectionState,
    pub(crate) work: Work,
}

/// What is under way on a line: it is not ended meanwhile, nor soon after. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    outstanding: Arc<AtomicUsize>,
}

impl Work {
    /// A message was sent.
    pub(crate) fn sent(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// A message that was sent is done with.
    pub(crate) fn settled(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_none(&self) -> bool {
        self.outstanding.load(Ordering::Relaxed) == 0
    }
}

impl Site {
    /// `$edgeHub`'s own line.
    pub(crate) fn own_options(&self) -> Options {
        let own = IdentityId::module(self.edge.clone(), ModuleId::edge_hub());
        let mut options = self.options(own, None);
        options.subscriptions =
            vec![Subscription::DesiredPatches, Subscription::Methods, Subscription::TwinResponses];
        options
    }

    fn options(&self, id: IdentityId, client: Option<&ClientInfo>) -> Options {
        let host_name = self.host_name.clone();
        let signer = Arc::clone(&self.signer);
        let mut options = Options::new(host_name, self.dial.clone(), self.tls.clone(), id, signer);
        options.transport = self.transport;
        options.client_type = match client.and_then(|client| client.client_type.as_ref()) {
            Some(client) => format!("{client} {PRODUCT}"),
            None => PRODUCT.to_owned(),
        };
        options.model_id = client.and_then(|client| client.model_id.clone());
        options.queues = QUEUES;
        options.twin_timeout = TWIN_TIMEOUT;
        options
    }

    /// None for an identity that no chain can name (its id holds a `;`).
    fn on_behalf(&self, id: &IdentityId, client: Option<&ClientInfo>) -> Option<Options> {
        let chain = vec![id.clone(), IdentityId::device(self.edge.clone())];
        let chain = AuthChain::new(chain).ok()?;
        Some(self.options(id.clone(), client).on_behalf(chain))
    }
}

impl Upstream {
    /// Begins the own line.
    pub(crate) fn new(site: Site, lines_max: usize) -> (Self, Events) {
        let (own, events) = DeviceClient::start(site.own_options(), site.clock.clone());
        let (changed, _) = watch::channel(0);
        let upstream = Self {
            site,
            own,
            connected_since: Mutex::default(),
            away_since: Mutex::default(),
            lines: Mutex::default(),
            lines_max,
            changed,
            idle: Notify::new(),
        };
        (upstream, events)
    }

    /// `$edgeHub`'s own line.
    pub(crate) fn own(&self) -> &DeviceClient {
        &self.own
    }

    /// Since when the hub is there; none when it is not.
    pub(crate) fn connected_since(&self) -> Option<Mono> {
        *self.connected_since.lock()
    }

    /// Tells when some line comes or goes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The own line stands, or does not any more.
    pub(crate) fn own_changed(&self, core: &Arc<Core>, connected: bool) {
        let now = self.site.clock.now();
        let was_there = self.connected_since.lock().is_some();
        *self.connected_since.lock() = connected.then_some(now);
        let went = if connected { self.away_since.lock().take() } else { None };
        if let Some(went) = went {
            core.counters.came_online(&self.site.edge, now - went);
        }
        if was_there && !connected {
            *self.away_since.lock() = Some(now);
            core.counters.went_offline(&self.site.edge);
        }
        if connected {
            self.renew(core);
        }
        self.tell();
    }

    /// Makes lines that do not stand anew, and those of connected clients that have none.
    fn renew(&self, core: &Arc<Core>) {
        let (up, down): (Vec<_>, Vec<_>) = {
            let lines = self.lines.lock();
            let stands = |entry: &Entry| *entry.state.borrow() == ConnectionState::Connected;
            let all = lines.iter().map(|(id, entry)| (id.clone(), stands(entry)));
            all.partition(|(_, stands)| *stands)
        };
        for (id, _) in down {
            self.close(&id);
        }
        // A line that came back before the own one may have been taken for one that is away.
        for (id, _) in up {
            let core = Arc::clone(core);
            tokio::spawn(async move { core.twins.catch_up(&core, &id).await });
        }
        for id in core.sessions.ids() {
            self.local_opened(core, &id);
        }
    }

    /// A local client is there.
    pub(crate) fn local_opened(&self, core: &Arc<Core>, id: &IdentityId) {
        if let Some(entry) = self.lines.lock().get_mut(id) {
            entry.local = true;
            return;
        }
        if self.may_begin() {
            self.begin(core, id);
        }
    }

    /// The local client is gone; its line ends when nothing is under way on it.
    pub(crate) fn local_closed(&self, id: &IdentityId) {
        if let Some(entry) = self.lines.lock().get_mut(id) {
            entry.local = false;
            entry.used = self.site.clock.now();
        }
        self.idle.notify_one();
    }

    /// The local client listens to these.
    pub(crate) fn subscribe(&self, id: &IdentityId, subscriptions: &Subscriptions) {
        let lines = self.lines.lock();
        let Some(entry) = lines.get(id) else { return };
        for kind in kinds(id, subscriptions) {
            entry.client.subscribe(kind);
        }
    }

    /// The line of an identity, begun if need be; none while the hub is not there, or while there
    /// are as many lines as may be.
    pub(crate) fn line(&self, core: &Arc<Core>, id: &IdentityId) -> Option<LineHandle> {
        if let Some(handle) = self.standing(id) {
            return Some(handle);
        }
        // Without the hub no line is begun.
        self.connected_since()?;
        self.begin(core, id);
        self.standing(id)
    }

    fn standing(&self, id: &IdentityId) -> Option<LineHandle> {
        if id.device == self.site.edge && id.module.as_ref().is_some_and(ModuleId::is_edge_hub) {
            let state = self.own.state().borrow().clone();
            let work = Work::default();
            return Some(LineHandle { client: self.own.clone(), state, work });
        }
        let mut lines = self.lines.lock();
        let entry = lines.get_mut(id)?;
        entry.used = self.site.clock.now();
        let state = entry.state.borrow().clone();
        let work = entry.work.clone();
        Some(LineHandle { client: entry.client.clone(), state, work })
    }

    /// The line over which an identity's twin can be asked for now; none offline.
    pub(crate) fn reachable(&self, core: &Arc<Core>, id: &IdentityId) -> Option<DeviceClient> {
        if !self.may_begin() {
            return None;
        }
        if self.standing(id).is_none() {
            self.begin(core, id);
        }
        let handle = self.standing(id)?;
        match handle.state {
            ConnectionState::Connected | ConnectionState::Connecting { .. } => Some(handle.client),
            ConnectionState::Refused { .. } | ConnectionState::Closed => None,
        }
    }

    /// Whether the hub is there, or we do not know yet that it is not.
    fn may_begin(&self) -> bool {
        matches!(
            &*self.own.state().borrow(),
            ConnectionState::Connected | ConnectionState::Connecting { reason: None }
        )
    }

    fn begin(&self, core: &Arc<Core>, id: &IdentityId) {
        let info = core.sessions.info(id);
        let client = info.as_ref().map(|(_, client)| client);
        let Some(mut options) = self.site.on_behalf(id, client) else {
            tracing::error!(%id, "the id holds a `;`, with which nobody can be spoken for upstream");
            return;
        };
        if let Some((subscriptions, _)) = &info {
            options.subscriptions = kinds(id, subscriptions);
        }
        let mut lines = self.lines.lock();
        if lines.contains_key(id) || !self.make_room(&mut lines) {
            return;
        }
        let (client, events) = DeviceClient::start(options, self.site.clock.clone());
        let entry = Entry {
            state: client.state(),
            client,
            local: info.is_some(),
            work: Work::default(),
            used: self.site.clock.now(),
        };
        lines.insert(id.clone(), entry);
        drop(lines);
        tokio::spawn(events::serve(Arc::downgrade(core), id.clone(), events));
        self.idle.notify_one();
    }

    /// Ends the longest unused line when there are too many; false when all are in use.
    fn make_room(&self, lines: &mut HashMap<IdentityId, Entry>) -> bool {
        if lines.len() < self.lines_max {
            return true;
        }
        let unused = lines
            .iter()
            .filter(|(_, entry)| !entry.local && entry.work.is_none())
            .min_by_key(|(_, entry)| entry.used)
            .map(|(id, _)| id.clone());
        let Some(entry) = unused.and_then(|id| lines.remove(&id)) else { return false };
        end(entry.client);
        true
    }

    /// Ends a line; what was sent on it and has no acknowledgement fails.
    pub(crate) fn close(&self, id: &IdentityId) {
        if let Some(entry) = self.lines.lock().remove(id) {
            end(entry.client);
        }
    }

    /// Ends lines without a local client after a while of rest; runs for ever.
    pub(crate) async fn end_idle_lines(&self) {
        loop {
            self.idle.notified().await;
            while self.has_guests() {
                self.site.clock.sleep(REST).await;
                self.sweep();
            }
        }
    }

    fn has_guests(&self) -> bool {
        self.lines.lock().values().any(|entry| !entry.local)
    }

    fn sweep(&self) {
        let now = self.site.clock.now();
        let idle: Vec<Entry> = self
            .lines
            .lock()
            .extract_if(|_, entry| {
                if !entry.work.is_none() {
                    entry.used = now;
                }
                !entry.local && entry.work.is_none() && now.duration_since(entry.used) >= REST
            })
            .map(|(_, entry)| entry)
            .collect();
        for entry in idle {
            end(entry.client);
        }
    }

    /// Says goodbye on every line.
    pub(crate) async fn close_all(&self) {
        let entries: Vec<Entry> = self.lines.lock().drain().map(|(_, entry)| entry).collect();
        for entry in entries {
            end(entry.client);
        }
        self.own.close().await;
    }
}

/// A goodbye takes some time, for which nobody waits.
fn end(client: DeviceClient) {
    tokio::spawn(async move { client.close().await });
}

/// What is asked of the hub for a client that listens to these. Inputs are the edge hub's own.
fn kinds(id: &IdentityId, subscriptions: &Subscriptions) -> Vec<Subscription> {
    let mut kinds = Vec::new();
    if subscriptions.desired {
        kinds.push(Subscription::DesiredPatches);
    }
    if subscriptions.methods {
        kinds.push(Subscription::Methods);
    }
    if subscriptions.cloud_to_device && id.module.is_none() {
        kinds.push(Subscription::CloudToDevice);
    }
    kinds
}

/// For tasks that must not keep everything alive.
pub(crate) type WeakCore = Weak<Core>;

/// How the edge hub names itself upstream.
const PRODUCT: &str = concat!("FarshoreEdgeHub/", env!("CARGO_PKG_VERSION"));
/// A pump keeps what it sends; these only have to cover what is in flight.
const QUEUES: Queues =
    Queues { in_flight_max: 512, messages_max: 512, bytes_max: 1024 * 1024, events_max: 16 };
/// Half of what SDKs wait for their own answer.
const TWIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A line without work stays for this long: modules reconnect, messages come in bursts.
const REST: Duration = Duration::from_secs(10);
