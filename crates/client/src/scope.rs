//! The identities that an edge hub may let in: scope calls with the token of `$edgeHub`.
//!
//! Spec: `edge-runtime.md` §5.5. Plain keys travel in the answers.

use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::http::Request;
use host::tls::ClientTls;
use iot_proto::connect::AuthChain;
use iot_proto::payload;
use iot_proto::payload::scope::{
    ScopeDevice, ScopeIdentityRequest, ScopeModule, ScopeRequest, ScopeResult,
};
use iot_proto::rest::{API_VERSION_SCOPE, Route};
use model::{DeviceId, IdentityId};

use crate::device::edge_hub_resource;
use crate::dial::Dial;
use crate::rest::Rest;
use crate::signer::{Proof, Signer, TokenRecipe};

pub use crate::rest::RestError;

/// Scope calls of one edge device.
#[derive(Debug, Clone)]
pub struct ScopeClient {
    rest: Rest,
    edge: DeviceId,
}

/// Every identity in a scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Devices, the edge device itself among them.
    pub devices: Vec<ScopeDevice>,
    /// Their modules.
    pub modules: Vec<ScopeModule>,
}

impl ScopeClient {
    /// A client for the edge device `edge` at the hub named `host_name`; `signer` has the key of
    /// its `$edgeHub`.
    pub fn new(
        host_name: &str,
        dial: Dial,
        tls: ClientTls,
        edge: DeviceId,
        signer: Arc<dyn Signer>,
        clock: Clock,
    ) -> Self {
        let token = TokenRecipe {
            resource: edge_hub_resource(host_name, &edge),
            key_name: None,
            lifetime: TOKEN_LIFETIME,
        };
        let client = dial.https(tls);
        let proof = Proof::Token { signer, recipe: token };
        Self { rest: Rest::new(dial, client, proof, clock), edge }
    }

    /// All identities in the scope that the chain's target names; the edge device's own chain is
    /// itself alone.
    pub async fn scope(&self, chain: &AuthChain) -> Result<Scope, RestError> {
        let mut scope = Scope::default();
        let mut continuation_link = None;
        for _ in 0..PAGES_MAX {
            let request = ScopeRequest {
                page_size: payload::scope::PAGE_SIZE_MAX,
                continuation_link,
                auth_chain: chain.to_string(),
            };
            let page = self.ask(&Route::Scope(self.edge.clone()), payload::write(&request)).await?;
            scope.devices.extend(page.devices);
            scope.modules.extend(page.modules);
            continuation_link = page.continuation_link.filter(|link| !link.is_empty());
            if continuation_link.is_none() {
                return Ok(scope);
            }
        }
        Err(self.rest.malformed("the scope has no end"))
    }

    /// One identity, with its device when it is a module. The chain leads from it to the edge
    /// device. None when it is not in the scope or does not exist.
    pub async fn identity(
        &self,
        target: &IdentityId,
        chain: &AuthChain,
    ) -> Result<Option<ScopeResult>, RestError> {
        let request = ScopeIdentityRequest {
            target_device_id: target.device.to_string(),
            target_module_id: target.module.as_ref().map(ToString::to_string),
            auth_chain: chain.to_string(),
        };
        let route = Route::ScopeIdentity(self.edge.clone());
        match self.ask(&route, payload::write(&request)).await {
            Ok(result) => Ok(Some(result)),
            // Out of scope, and not found, as edge hub reads them.
            Err(error) if matches!(error.status(), Some(400 | 401 | 403 | 404)) => {
                tracing::debug!(%target, error = %error, "not in scope");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, route: &Route, body: Vec<u8>) -> Result<ScopeResult, RestError> {
        let path = route.path_and_query(API_VERSION_SCOPE, &[]);
        let request = Request::new(route.method(), path).json(body).deadline(DEADLINE);
        self.rest.call_for(request).await
    }
}

/// Edge hub's own tokens hold an hour (`edge-runtime.md` §5.5); one per call needs less.
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);
/// Edge hub's (`edge-runtime.md` §5.5).
const DEADLINE: Duration = Duration::from_secs(120);
/// More identities than a hub can have, in the largest pages.
const PAGES_MAX: usize = 10_000;
