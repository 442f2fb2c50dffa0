//! Does what let a session in still hold? Asked when the scope tells of a change: a session ends when
//! its own key, thumbprint or authority is gone, its identity is disabled or another one; it stays when
//! something else of the identity changed, as its second key.

use std::sync::Arc;

use gateway::auth::{Credential, Identities, PolicyCredential, still_holds};
use gateway::session::CloseReason;
use model::{Fault, IdentityId};
use pki::ChainAnchor;

use super::Known;
use crate::core::Core;

/// Ends the session of an identity if what let it in does not hold any more.
pub(crate) async fn judge(core: &Arc<Core>, id: &IdentityId) {
    let Some(link) = core.sessions.link(id, |_| true) else { return };
    let known = AsKnown(Arc::clone(core));
    if let Err(reason) = still_holds(&known, link.principal()).await {
        tracing::info!(%id, %reason, "client is not let in any more");
        core.sessions.close(id, CloseReason::IdentityChanged);
    }
}

/// What is known here; the hub is not asked.
struct AsKnown(Arc<Core>);

impl Identities for AsKnown {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        Ok(self.0.scope.known.read().get(id).map(Known::credential))
    }

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
