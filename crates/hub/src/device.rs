//! The device's side: who may connect, and what a connection can do.

mod cloud_to_device;
mod identities;
pub(crate) mod link;

use std::sync::Arc;

use gateway::backend::{DeviceBackend, Open, OpenError, Opened, StoredSession};
use gateway::session::DeviceSession;
use model::FaultKind;
use store::twins::{Mutation, TwinWrite};

use crate::{Hub, fault};
use link::Link;

pub(crate) use cloud_to_device::stored_settlement;

impl DeviceBackend for Hub {
    type Link = Link;

    async fn open(
        &self,
        open: Open,
        session: DeviceSession,
    ) -> Result<(Arc<Link>, Opened), OpenError> {
        let id = open.principal.identity.clone();
        let later =
            |error| OpenError::Later(fault(error, FaultKind::DeviceNotFound, &id).to_string());
        let sessions = &self.stores().sessions;
        let stored = match open.stored_session {
            StoredSession::Resume => sessions.load(&id).await.map_err(later)?,
            StoredSession::Forget => {
                sessions.clear(&id).await.map_err(later)?;
                None
            }
            StoredSession::Ignore => None,
        };
        let epoch = self.stores().presence.claim(&id, self.now()).await.map_err(later)?;
        let resumes = open.stored_session == StoredSession::Resume;
        let model_id = open.model_id.clone();
        let link = Arc::new(Link::new(self.clone(), open, session.clone(), epoch));
        let inserted = self.inner.sessions.insert(&id, &session, &link, self.inner.clock.now());
        if let Err(crowded) = inserted {
            let _ = self.stores().presence.release(&id, epoch, self.now()).await;
            return Err(OpenError::Later(crowded.to_string()));
        }
        // What changed between the proof and the line above found no session to end.
        self.judge(vec![Arc::clone(&link)]).await;
        if let Some(model_id) = model_id {
            self.announce_model(&id, model_id).await;
        }
        let subscriptions = match stored {
            Some(stored) => Some(stored.into_iter().collect()),
            None if !resumes => None,
            None => {
                sessions.save(&id, Default::default()).await.map_err(later)?;
                None
            }
        };
        Ok((link, Opened { subscriptions }))
    }
}

impl Hub {
    /// The model id of the newest connection stands in the twin; a failure costs nothing else.
    async fn announce_model(&self, id: &model::IdentityId, model_id: String) {
        let write =
            TwinWrite { id: id.clone(), mutation: Mutation::ModelId(model_id), now: self.now() };
        if let Some(Err(error)) = self.stores().twins.write(vec![write]).await.into_iter().next() {
            tracing::warn!(%id, error = %host::logs::chain(&error), "cannot store the announced model id");
        }
    }
}
