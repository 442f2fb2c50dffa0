//! The live sessions: who is connected, and what they listen to.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gateway::backend::{Open, Subscriptions};
use gateway::session::{CloseReason, DeviceSession, Downlink};
use host::clock::Mono;
use model::IdentityId;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::link::Link;

/// Sessions by identity.
pub(crate) struct Sessions {
    live: Mutex<HashMap<IdentityId, Live>>,
    clients_max: usize,
    /// Moves when somebody comes, goes or listens to something else.
    changed: watch::Sender<u64>,
}

struct Live {
    session: DeviceSession,
    link: Weak<Link>,
    subscriptions: Subscriptions,
    client: ClientInfo,
    takeovers: Takeovers,
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

/// Why a session cannot begin now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Crowded {
    #[error("two connections fight for this identity; stop one of them")]
    Fight,
    #[error("the edge hub has its maximum of {0} connected clients; raise MaxConnectedClients")]
    Full(usize),
}

impl Crowded {
    /// One word for the numbers.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Fight => "taken_over_too_often",
            Self::Full(_) => "max_connected_clients",
        }
    }
}

/// How often one identity was taken over lately: two processes with one identity reconnect at once,
/// each time, for ever (`device-protocol.md` §17, 14).
#[derive(Debug, Clone, Copy)]
struct Takeovers {
    since: Mono,
    count: u32,
}

const TAKEOVERS_MAX: u32 = 10;
const TAKEOVERS_WINDOW: Duration = Duration::from_secs(10);

impl Sessions {
    pub(crate) fn new(clients_max: usize) -> Self {
        let (changed, _) = watch::channel(0);
        Self { live: Mutex::new(HashMap::new()), clients_max, changed }
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
        {
            let mut live = self.live.lock();
            let mut takeovers = Takeovers { since: now, count: 0 };
            match live.get(id) {
                Some(old) => {
                    takeovers = old.takeovers.next(now).ok_or(Crowded::Fight)?;
                    old.session.close(CloseReason::TakenOver);
                }
                None if live.len() >= self.clients_max => {
                    return Err(Crowded::Full(self.clients_max));
                }
                None => {}
            }
            let entry = Live {
                session: session.clone(),
                link: Arc::downgrade(link),
                subscriptions: Subscriptions::default(),
                client,
                takeovers,
            };
            live.insert(id.clone(), entry);
        }
        self.tell();
        Ok(())
    }

    /// Forgets a session; false when a newer one has its place.
    pub(crate) fn remove(&self, id: &IdentityId, session: &DeviceSession) -> bool {
        let removed = {
            let mut live = self.live.lock();
            let ours = live.get(id).is_some_and(|entry| entry.session.is_same(session));
            if ours {
                live.remove(id);
            }
            ours
        };
        self.tell();
        removed
    }

    pub(crate) fn set_subscriptions(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        subscriptions: Subscriptions,
    ) {
        if let Some(entry) = self.live.lock().get_mut(id)
            && entry.session.is_same(session)
        {
            entry.subscriptions = subscriptions;
        }
        self.tell();
    }

    /// What an identity listens to, and what its client says about itself; none when it is away.
    pub(crate) fn info(&self, id: &IdentityId) -> Option<(Subscriptions, ClientInfo)> {
        let live = self.live.lock();
        live.get(id).map(|entry| (entry.subscriptions.clone(), entry.client.clone()))
    }

    /// Everybody who is connected.
    pub(crate) fn ids(&self) -> Vec<IdentityId> {
        self.live.lock().keys().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.live.lock().len()
    }

    pub(crate) fn close(&self, id: &IdentityId, reason: CloseReason) {
        if let Some(entry) = self.live.lock().get(id) {
            entry.session.close(reason);
        }
    }

    pub(crate) fn close_all(&self, reason: CloseReason) {
        for entry in self.live.lock().values() {
            entry.session.close(reason);
        }
    }

    /// Hands something to a session that listens for it; whether it was taken.
    pub(crate) fn send(
        &self,
        id: &IdentityId,
        listens: fn(&Subscriptions) -> bool,
        downlink: Downlink,
    ) -> bool {
        match self.live.lock().get(id) {
            Some(entry) if listens(&entry.subscriptions) => entry.session.send(downlink).is_ok(),
            _ => false,
        }
    }

    /// The link of a session that listens for something.
    pub(crate) fn link(
        &self,
        id: &IdentityId,
        listens: fn(&Subscriptions) -> bool,
    ) -> Option<Arc<Link>> {
        let live = self.live.lock();
        let entry = live.get(id).filter(|entry| listens(&entry.subscriptions))?;
        entry.link.upgrade()
    }
}

impl Takeovers {
    fn next(self, now: Mono) -> Option<Self> {
        if now.duration_since(self.since) >= TAKEOVERS_WINDOW {
            return Some(Self { since: now, count: 1 });
        }
        (self.count < TAKEOVERS_MAX).then_some(Self { count: self.count + 1, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_over_an_identity_is_slowed_down() {
        let start = Mono::ZERO;
        let mut takeovers = Takeovers { since: start, count: 0 };
        for _ in 0..TAKEOVERS_MAX {
            takeovers = takeovers.next(start).unwrap();
        }
        assert!(takeovers.next(start + Duration::from_secs(9)).is_none());
        assert_eq!(takeovers.next(start + TAKEOVERS_WINDOW).unwrap().count, 1);
    }
}
