//! The live sessions of this node, and the signals that reach them.

use std::sync::{Arc, Weak};

use gateway::auth::{ProvenBy, still_holds};
use gateway::backend::Subscriptions;
use gateway::live::{Crowded, LiveSessions};
use gateway::session::{CloseReason, DeviceSession, Downlink};
use host::clock::Mono;
use model::{DeviceId, Fault, FaultKind, IdentityId, ModuleId};
use store::signals::Signal;
use tokio::sync::Notify;

use crate::Hub;
use crate::device::link::Link;

/// Sessions by identity.
pub(crate) struct Sessions {
    live: LiveSessions<Extra>,
    /// Somebody began to listen for methods.
    method_listener: Notify,
}

struct Extra {
    link: Weak<Link>,
    /// The edge device whose edge hub vouched for it.
    actor: Option<DeviceId>,
}

impl Sessions {
    /// A hub has no bound on its clients but its file descriptors.
    pub(crate) fn new() -> Self {
        Self { live: LiveSessions::new(usize::MAX), method_listener: Notify::new() }
    }

    /// The new session wins; the old one, if any, is closed.
    pub(crate) fn insert(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        link: &Arc<Link>,
        now: Mono,
    ) -> Result<(), Crowded> {
        let extra = Extra { link: Arc::downgrade(link), actor: link.actor().cloned() };
        self.live.insert(id, session, extra, now)
    }

    /// Forgets a session, unless a newer one has its place.
    pub(crate) fn remove(&self, id: &IdentityId, session: &DeviceSession) {
        self.live.remove(id, session);
    }

    pub(crate) fn set_subscriptions(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        subscriptions: Subscriptions,
    ) {
        let listens = subscriptions.methods;
        self.live.set_subscriptions(id, session, subscriptions);
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
        self.live.collect(|other, extra| {
            let is_own = other == id || (id.module.is_none() && other.device == id.device);
            let is_concerned = is_own || extra.actor.as_ref() == Some(&id.device);
            is_concerned.then(|| extra.link.upgrade()).flatten()
        })
    }

    /// Whom a change of the certificate authorities may concern.
    fn by_certificate_authority(&self) -> Vec<Arc<Link>> {
        let mut links = self.live.collect(|_, extra| extra.link.upgrade());
        links.retain(|link| matches!(link.principal().evidence.by, ProvenBy::Authority(_)));
        links
    }

    pub(crate) fn close_all(&self, reason: CloseReason) {
        self.live.close_all(reason);
    }

    fn link(&self, id: &IdentityId) -> Option<Arc<Link>> {
        self.live.look(id, |_, extra| extra.link.upgrade()).flatten()
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
                sessions.live.send(&id, |s| s.desired, Downlink::Desired { patch, version });
            }
            Signal::CloudToDevice(id) => {
                if let Some(link) = sessions.link(&id) {
                    link.wake_cloud_to_device();
                }
            }
            Signal::MethodRequest { id, call, request } => {
                if !sessions.live.send(&id, |s| s.methods, Downlink::Method { call, request }) {
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
    /// rolled ends those that used it, and nobody who used the other. When it cannot be told, the
    /// session ends as well: whoever comes back is judged anew.
    pub(crate) async fn judge(&self, family: Vec<Arc<Link>>) {
        for link in family {
            if let Err(reason) = still_holds(self, link.principal()).await {
                tracing::info!(id = %link.principal().identity, %reason, "session ends");
                link.close_session(CloseReason::IdentityChanged);
            }
        }
    }
}
