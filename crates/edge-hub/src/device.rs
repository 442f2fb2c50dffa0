//! The devices' side: what a local connection can do.

pub(crate) mod calls;
pub(crate) mod link;
mod methods;
pub(crate) mod sessions;
pub(crate) mod stored;

use std::sync::Arc;

use gateway::auth::{Credential, Identities, PolicyCredential};
use gateway::backend::{DeviceBackend, Open, OpenError, Opened, StoredSession};
use gateway::live::Crowded;
use gateway::session::DeviceSession;
use model::identity::Authentication;
use model::{Fault, IdentityId, ModuleId};
use pki::ChainAnchor;

use crate::core::Core;
use crate::scope::judge;
use link::Link;
use sessions::ClientInfo;

/// The gateway's backend.
pub(crate) struct Backend(pub(crate) Arc<Core>);

impl DeviceBackend for Backend {
    type Link = Link;

    async fn open(
        &self,
        open: Open,
        session: DeviceSession,
    ) -> Result<(Arc<Link>, Opened), OpenError> {
        let core = &self.0;
        let id = open.principal.identity.clone();
        if id == IdentityId::module(core.edge.clone(), ModuleId::edge_hub()) {
            return Err(OpenError::Refused("$edgeHub is the edge hub itself".into()));
        }
        let later = |fault: Fault| OpenError::Later(fault.to_string());
        let subscriptions = match open.stored_session {
            StoredSession::Forget => {
                stored::forget(&core.state, &id).await.map_err(later)?;
                None
            }
            StoredSession::Resume => {
                stored::load_or_begin(&core.state, &id).await.map_err(later)?
            }
            StoredSession::Ignore => None,
        };
        let link = Arc::new(Link::new(Arc::clone(core), &open, session.clone()));
        let client = ClientInfo::from(&open);
        let inserted = core.sessions.insert(&id, &session, &link, client, core.clock.now());
        inserted.map_err(|crowded| {
            let (word, reason) = put_off(crowded);
            core.counters.client_refused(&id, word);
            tracing::warn!(%id, reason, "client is put off");
            OpenError::Later(reason)
        })?;
        core.counters.client_connected(&id);
        // The scope may have changed between the proof and now.
        judge(core, &id).await;
        core.report.connected(&id, core.clock.wall());
        core.upstream.local_opened(core, &id);
        Ok((link, Opened { subscriptions }))
    }
}

/// Why a client cannot come in now: a word for the numbers, and the reason with its fix.
fn put_off(crowded: Crowded) -> (&'static str, String) {
    match crowded {
        Crowded::Fight => ("taken_over_too_often", crowded.to_string()),
        Crowded::Full(maximum) => {
            let reason = format!(
                "the edge hub has its maximum of {maximum} connected clients; raise MaxConnectedClients"
            );
            ("max_connected_clients", reason)
        }
    }
}

impl Identities for Backend {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        let found = self.0.scope.credential(&self.0, id).await;
        let is_by_key = |found: &Credential| matches!(found.authentication, Authentication::Sas(_));
        let found = found.filter(|found| self.0.client_certificates || is_by_key(found));
        match found {
            // Not even this device's own modules are known: nobody can be judged yet, and a refusal
            // would be final for SDKs (`device-protocol.md` §17, 9).
            None if self.0.scope.is_empty() => {
                Err(Fault::unavailable("the hub was not reached yet to learn who may connect"))
            }
            found => Ok(found),
        }
    }

    /// Policies are the hub's; nobody comes in here by one.
    async fn policy(&self, _name: &str) -> Result<Option<PolicyCredential>, Fault> {
        Ok(None)
    }

    async fn authorities(&self) -> Result<Arc<[ChainAnchor]>, Fault> {
        Ok(self.0.scope.authorities())
    }

    fn host_names(&self) -> &[String] {
        self.0.scope.host_names()
    }
}
