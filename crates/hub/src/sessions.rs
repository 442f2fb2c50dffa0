//! The live sessions of this node, and the signals that reach them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gateway::auth::{ProvenBy, still_holds};
use gateway::backend::Subscriptions;
use gateway::session::{CloseReason, DeviceSession, Downlink};
use host::clock::Mono;
use model::{DeviceId, Fault, FaultKind, IdentityId, ModuleId};
use parking_lot::Mutex;
use store::signals::Signal;
use tokio::sync::Notify;

use crate::Hub;
use crate::device::link::Link;

/// Sessions by identity.
#[derive(Default)]
pub(crate) struct Sessions {
    live: Mutex<HashMap<IdentityId, Live>>,
    /// Somebody began to listen for methods.
    method_listener: Notify,
}

struct Live {
    session: DeviceSession,
    link: Weak<Link>,
    /// The edge device whose edge hub vouched for it.
    actor: Option<DeviceId>,
    subscriptions: Subscriptions,
    takeovers: Takeovers,
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

/// Two connections fight for one identity.
pub(crate) struct TooManyTakeovers;

impl Sessions {
    /// The new session wins; the old one, if any, is closed.
    pub(crate) fn insert(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        link: &Arc<Link>,
        now: Mono,
    ) -> Result<(), TooManyTakeovers> {
        let mut live = self.live.lock();
        let mut takeovers = Takeovers { since: now, count: 0 };
        if let Some(old) = live.get(id) {
            takeovers = old.takeovers.next(now).ok_or(TooManyTakeovers)?;
            old.session.close(CloseReason::TakenOver);
        }
        let entry = Live {
            session: session.clone(),
            link: Arc::downgrade(link),
            actor: link.actor().cloned(),
            subscriptions: Subscriptions::default(),
            takeovers,
        };
        live.insert(id.clone(), entry);
        Ok(())
    }

    /// Forgets a session, unless a newer one has its place.
    pub(crate) fn remove(&self, id: &IdentityId, session: &DeviceSession) {
        let mut live = self.live.lock();
        if live.get(id).is_some_and(|entry| entry.session.is_same(session)) {
            live.remove(id);
        }
    }

    pub(crate) fn set_subscriptions(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        subscriptions: Subscriptions,
    ) {
        let listens = subscriptions.methods;
        if let Some(entry) = self.live.lock().get_mut(id)
            && entry.session.is_same(session)
        {
            entry.subscriptions = subscriptions;
        }
        if listens {
            self.method_listener.notify_waiters();
        }
    }

    /// Resolves when somebody begins to listen for methods after the call of this function.
    pub(crate) fn next_method_listener(&self) -> impl Future<Output = ()> + '_ {
        self.method_listener.notified()
    }

    /// Whom a change of an identity may concern: its own session, those of a device's modules, and
    /// of everybody whom its edge hub has vouched for.
    fn family(&self, id: &IdentityId) -> Vec<Arc<Link>> {
        let vouches = id.module.as_ref().is_none_or(ModuleId::is_edge_hub);
        if !vouches {
            return self.link(id).into_iter().collect();
        }
        let live = self.live.lock();
        let concerned = live.iter().filter(|(other, entry)| {
            let is_own = *other == id || (id.module.is_none() && other.device == id.device);
            is_own || entry.actor.as_ref() == Some(&id.device)
        });
        concerned.filter_map(|(_, entry)| entry.link.upgrade()).collect()
    }

    /// Whom a change of the certificate authorities may concern.
    fn by_certificate_authority(&self) -> Vec<Arc<Link>> {
        let links: Vec<_> =
            self.live.lock().values().filter_map(|entry| entry.link.upgrade()).collect();
        let is_chained =
            |link: &Arc<Link>| matches!(link.principal().evidence.by, ProvenBy::Authority(_));
        links.into_iter().filter(is_chained).collect()
    }

    pub(crate) fn close_all(&self, reason: CloseReason) {
        for entry in self.live.lock().values() {
            entry.session.close(reason);
        }
    }

    /// Hands something to a session that listens for it; whether it was taken.
    fn send(
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

    fn link(&self, id: &IdentityId) -> Option<Arc<Link>> {
        self.live.lock().get(id).and_then(|entry| entry.link.upgrade())
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

impl Hub {
    /// Takes the signals for this node to its sessions. Never waits for a device.
    pub(crate) async fn deliver_signals(&self) {
        let mut signals = self.stores().signals.subscribe();
        while let Some(signal) = signals.recv().await {
            self.deliver(signal);
        }
    }

    fn deliver(&self, signal: Signal) {
        let sessions = &self.inner.sessions;
        match signal {
            Signal::Desired { id, patch, version } => {
                sessions.send(&id, |s| s.desired, Downlink::Desired { patch, version });
            }
            Signal::CloudToDevice(id) => {
                if let Some(link) = sessions.link(&id) {
                    link.wake_cloud_to_device();
                }
            }
            Signal::MethodRequest { id, call, request } => {
                if !sessions.send(&id, |s| s.methods, Downlink::Method { call, request }) {
                    let fault = Fault::new(
                        FaultKind::DeviceNotOnline,
                        "The operation failed because the requested device isn't online.",
                    );
                    self.stores().signals.send(Signal::MethodReply { call, outcome: Err(fault) });
                }
            }
            Signal::MethodReply { call, outcome } => self.inner.calls.answer(call, outcome),
            Signal::IdentityChanged(id) => {
                let (hub, family) = (self.clone(), sessions.family(&id));
                tokio::spawn(async move { hub.judge(family).await });
            }
            Signal::AuthoritiesChanged => {
                let (hub, chained) = (self.clone(), sessions.by_certificate_authority());
                tokio::spawn(async move { hub.judge(chained).await });
            }
        }
    }

    /// Ends the sessions that would not be let in any more with what proved them: a key that was
    /// rolled ends those that used it, and nobody who used the other.
    pub(crate) async fn judge(&self, family: Vec<Arc<Link>>) {
        for link in family {
            if let Err(reason) = still_holds(self, link.principal()).await {
                tracing::info!(id = %link.principal().identity, %reason, "session ends");
                link.close_session(CloseReason::IdentityChanged);
            }
        }
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
