//! The live sessions: who is connected, what they listen to, and word of every change.

use std::sync::{Arc, Weak};

use gateway::backend::{Open, Subscriptions};
use gateway::live::{Crowded, LiveSessions};
use gateway::session::{CloseReason, DeviceSession, Downlink};
use host::clock::Mono;
use model::IdentityId;
use tokio::sync::watch;

use super::link::Link;

/// Sessions by identity.
pub(crate) struct Sessions {
    live: LiveSessions<Extra>,
    /// Moves when somebody comes, goes or listens to something else.
    changed: watch::Sender<u64>,
}

struct Extra {
    link: Weak<Link>,
    client: ClientInfo,
}

/// What a client says about itself, to be said upstream too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientInfo {
    pub(crate) client_type: Option<String>,
    pub(crate) model_id: Option<String>,
}

impl From<&Open> for ClientInfo {
    fn from(open: &Open) -> Self {
        Self { client_type: open.client_type.clone(), model_id: open.model_id.clone() }
    }
}

impl Sessions {
    pub(crate) fn new(clients_max: usize) -> Self {
        let (changed, _) = watch::channel(0);
        Self { live: LiveSessions::new(clients_max), changed }
    }

    /// Tells when somebody comes, goes or listens to something else.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The new session wins; the old one, if any, is closed.
    pub(crate) fn insert(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        link: &Arc<Link>,
        client: ClientInfo,
        now: Mono,
    ) -> Result<(), Crowded> {
        self.live.insert(id, session, Extra { link: Arc::downgrade(link), client }, now)?;
        self.tell();
        Ok(())
    }

    /// Forgets a session; false when a newer one has its place.
    pub(crate) fn remove(&self, id: &IdentityId, session: &DeviceSession) -> bool {
        let removed = self.live.remove(id, session);
        self.tell();
        removed
    }

    pub(crate) fn set_subscriptions(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        subscriptions: Subscriptions,
    ) {
        self.live.set_subscriptions(id, session, subscriptions);
        self.tell();
    }

    /// What an identity listens to, and what its client says about itself; none when it is away.
    pub(crate) fn info(&self, id: &IdentityId) -> Option<(Subscriptions, ClientInfo)> {
        self.live.look(id, |subscriptions, extra| (subscriptions.clone(), extra.client.clone()))
    }

    /// Everybody who is connected.
    pub(crate) fn ids(&self) -> Vec<IdentityId> {
        self.live.collect(|id, _| Some(id.clone()))
    }

    pub(crate) fn count(&self) -> usize {
        self.live.count()
    }

    pub(crate) fn close(&self, id: &IdentityId, reason: CloseReason) {
        self.live.close(id, reason);
    }

    pub(crate) fn close_all(&self, reason: CloseReason) {
        self.live.close_all(reason);
    }

    /// Hands something to a session that listens for it; whether it was taken.
    pub(crate) fn send(
        &self,
        id: &IdentityId,
        listens: fn(&Subscriptions) -> bool,
        downlink: Downlink,
    ) -> bool {
        self.live.send(id, listens, downlink)
    }

    /// The link of a session that listens for something.
    pub(crate) fn link(
        &self,
        id: &IdentityId,
        listens: fn(&Subscriptions) -> bool,
    ) -> Option<Arc<Link>> {
        let look = |subscriptions: &Subscriptions, extra: &Extra| {
            listens(subscriptions).then(|| extra.link.upgrade()).flatten()
        };
        self.live.look(id, look).flatten()
    }
}
