//! Who may connect: the identities of the edge device's scope, with their keys.
//!
//! Spec: `edge-runtime.md` (er) §5.5. All of them are asked for at the start, each hour and when
//! the hub comes back; a single one when it is unknown, and when a client connects whose entry is
//! not fresh, because its key may be new (a module that was made anew). They lie sealed in the
//! database, so that clients get in while the hub is away.

mod judge;
mod known;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::scope::ScopeClient;
use gateway::auth::Credential;
use host::clock::Mono;
use iot_proto::connect::AuthChain;
use iot_proto::payload::scope::{ScopeDevice, ScopeModule};
use model::identity::Status;
use model::{DeviceId, IdentityId};
use parking_lot::{Mutex, RwLock};
use pki::ChainAnchor;
use tokio::sync::{Notify, Semaphore};

use crate::core::Core;
use known::Known;

pub(crate) use judge::judge;

/// The scope.
pub(crate) struct Scope {
    client: ScopeClient,
    edge: DeviceId,
    host_names: Vec<String>,
    /// Those of the daemon's trust bundle: leaf devices with a certificate by one of them are known
    /// by name.
    authorities: Arc<[ChainAnchor]>,
    known: RwLock<HashMap<IdentityId, Known>>,
    /// When single identities were asked for.
    asked: Mutex<HashMap<IdentityId, Mono>>,
    /// Questions about single identities at once.
    asking: Semaphore,
    due: Notify,
    refresh_every: Duration,
}

impl Scope {
    /// An empty scope; [`Scope::restore`] and [`Scope::keep`] fill it.
    pub(crate) fn new(
        client: ScopeClient,
        edge: DeviceId,
        host_names: Vec<String>,
        authorities: Arc<[ChainAnchor]>,
        refresh_every: Duration,
    ) -> Self {
        Self {
            refresh_every,
            client,
            edge,
            host_names,
            authorities,
            known: RwLock::default(),
            asked: Mutex::default(),
            asking: Semaphore::new(ASKING_MAX),
            due: Notify::new(),
        }
    }

    pub(crate) fn authorities(&self) -> Arc<[ChainAnchor]> {
        Arc::clone(&self.authorities)
    }

    pub(crate) fn host_names(&self) -> &[String] {
        &self.host_names
    }

    /// Reads what was stored.
    pub(crate) async fn restore(&self, core: &Core) -> Result<(), crate::state::StateError> {
        let known = known::load(&core.state, &core.seal).await?;
        tracing::debug!(identities = known.len(), "scope restored");
        *self.known.write() = known;
        Ok(())
    }

    /// The whole scope is to be asked for again.
    pub(crate) fn request_refresh(&self) {
        self.due.notify_one();
    }

    /// Keeps the scope fresh; runs for ever.
    pub(crate) async fn keep(&self, core: &Arc<Core>) {
        loop {
            let pause = match self.refresh(core).await {
                Ok(()) => self.refresh_every,
                Err(reason) => {
                    tracing::debug!(reason, "cannot refresh the scope");
                    RETRY
                }
            };
            tokio::select! {
                () = core.clock.sleep(pause) => {}
                () = self.due.notified() => {}
            }
        }
    }

    /// Asks for the whole scope now.
    pub(crate) async fn refresh(&self, core: &Arc<Core>) -> Result<(), String> {
        let chain = AuthChain::new(vec![IdentityId::device(self.edge.clone())]);
        let chain = chain.map_err(|error| error.to_string())?;
        let scope = self.client.scope(&chain).await.map_err(|error| host::logs::chain(&error))?;
        let fresh = read(&scope.devices, &scope.modules);
        let changed = {
            let mut known = self.known.write();
            let changed = known::changed(&known, &fresh);
            *known = fresh.clone();
            changed
        };
        self.asked.lock().clear();
        tracing::info!(identities = fresh.len(), "scope refreshed");
        for (id, gone) in changed {
            judge(core, &id).await;
            if gone {
                let _ = crate::device::stored::forget(&core.state, &id).await;
            }
        }
        let stored = known::store_all(&core.state, &core.seal, fresh).await;
        stored.map_err(|error| host::logs::chain(&error))
    }

    /// Whether nothing is known, as before the first answer of the hub.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.read().is_empty()
    }

    /// How an identity proves itself.
    pub(crate) async fn credential(&self, core: &Arc<Core>, id: &IdentityId) -> Option<Credential> {
        if self.may_ask(core, id)
            && let Ok(_permit) = self.asking.try_acquire()
        {
            let limit = if self.known.read().contains_key(id) { FRESHEN_LIMIT } else { FIND_LIMIT };
            // On the heap, so that every connection does not carry the room of an HTTP exchange.
            let ask = Box::pin(self.ask(core, id));
            if core.clock.timeout(limit, ask).await.is_err() {
                tracing::debug!(%id, "the hub does not say in time who this is");
            }
        }
        self.known.read().get(id).map(Known::credential)
    }

    /// Whether the hub may be asked about this identity: it is there, and the last question was
    /// some time ago. Strangers cannot make us ask more often than [`STRANGERS_PER_PAUSE`].
    fn may_ask(&self, core: &Core, id: &IdentityId) -> bool {
        if core.upstream.connected_since().is_none() {
            return false;
        }
        let now = core.clock.now();
        let is_known = self.known.read().contains_key(id);
        let mut asked = self.asked.lock();
        asked.retain(|_, at| now.duration_since(*at) < ASK_PAUSE);
        if asked.contains_key(id) || (!is_known && asked.len() >= STRANGERS_PER_PAUSE) {
            return false;
        }
        asked.insert(id.clone(), now);
        true
    }

    async fn ask(&self, core: &Arc<Core>, id: &IdentityId) {
        let chain = vec![id.clone(), IdentityId::device(self.edge.clone())];
        let Ok(chain) = AuthChain::new(chain) else { return };
        let found = match self.client.identity(id, &chain).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%id, error = %host::logs::chain(&error), "cannot ask who this is");
                return;
            }
        };
        let found = found.map(|found| read(&found.devices, &found.modules)).unwrap_or_default();
        let found = found.get(id).cloned();
        let changed = {
            let mut known = self.known.write();
            let before = match &found {
                Some(found) => known.insert(id.clone(), found.clone()),
                None => known.remove(id),
            };
            before.is_some() && before != found
        };
        if changed {
            judge(core, id).await;
        }
        if let Err(error) = known::store_one(&core.state, &core.seal, id, found).await {
            tracing::error!(%id, error = %host::logs::chain(&error), "cannot store an identity");
        }
    }
}

/// What the hub's answer says; an entry that cannot be read is left out and told. A module has its
/// device's status.
fn read(devices: &[ScopeDevice], modules: &[ScopeModule]) -> HashMap<IdentityId, Known> {
    let mut known = HashMap::new();
    for device in devices.iter().take(IDENTITIES_MAX) {
        match device.to_model() {
            Ok(device) => {
                let entry = Known::new(&device.generation, device.status, &device.authentication);
                known.insert(IdentityId::device(device.id), entry);
            }
            Err(fault) => {
                tracing::warn!(id = device.device_id, %fault, "device left out of the scope");
            }
        }
    }
    for module in modules {
        if known.len() >= IDENTITIES_MAX {
            tracing::error!(
                "the scope has more than {IDENTITIES_MAX} identities; the rest is left out"
            );
            break;
        }
        match module.to_model() {
            Ok(module) => {
                let device = IdentityId::device(module.device.clone());
                let status = known.get(&device).map_or(Status::Disabled, Known::status);
                let entry = Known::new(&module.generation, status, &module.authentication);
                known.insert(module.identity(), entry);
            }
            Err(fault) => {
                tracing::warn!(id = module.module_id, %fault, "module left out of the scope");
            }
        }
    }
    known
}

/// As the original.
const RETRY: Duration = Duration::from_secs(60);
/// One question about one identity in this time. The original waits 120 s; a module that was made
/// anew should not have to.
const ASK_PAUSE: Duration = Duration::from_secs(20);
/// Unknown names that are asked for in that time.
const STRANGERS_PER_PAUSE: usize = 40;
const ASKING_MAX: usize = 4;
/// A known client does not wait for a slow hub.
const FRESHEN_LIMIT: Duration = Duration::from_secs(3);
/// SDKs wait 30 s and more for their CONNACK (`device-protocol.md` §3.2).
const FIND_LIMIT: Duration = Duration::from_secs(15);
/// More than an edge device serves.
const IDENTITIES_MAX: usize = 10_000;
