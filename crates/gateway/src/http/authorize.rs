//! May this caller make this call? By a shared access policy's right, or as a component of an edge
//! device by its own token or certificate.

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use iot_proto::rest::{EdgeCaller, Right, Route};
use iot_proto::sas::SasToken;
use model::{Fault, IdentityId, ModuleId};

use super::{Head, ServiceBackend};
use crate::auth::{self, AuthError, Denied, Proof, Rights};
use crate::peer::Peer;

impl<B: ServiceBackend> Head<B> {
    pub(super) async fn authorize(
        &self,
        route: &Route,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<(), Fault> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let allowed = match route.is_for_edge() {
            Some(caller) if !has_policy(token) => self.as_edge(caller, token, peer).await,
            _ => self.by_policy(route.right(), token).await,
        };
        allowed.map_err(|error| {
            tracing::warn!(path = %route.path(), reason = %error, "call refused");
            error.to_fault()
        })
    }

    async fn by_policy(&self, right: Right, token: Option<&str>) -> Result<(), AuthError> {
        let rights = auth::policy(&*self.backend, token, self.clock.wall()).await?;
        check(rights, right).map_err(AuthError::from)
    }

    /// The device for its modules, its edge hub for its scope.
    async fn as_edge(
        &self,
        caller: EdgeCaller<'_>,
        token: Option<&str>,
        peer: &Peer,
    ) -> Result<(), AuthError> {
        let id = match caller {
            EdgeCaller::Device(device) => IdentityId::device(device.clone()),
            EdgeCaller::EdgeHub(device) => IdentityId::module(device.clone(), ModuleId::edge_hub()),
        };
        let proof = Proof::of(token, peer);
        auth::identity(&*self.backend, &id, None, proof, self.clock.wall()).await.map(drop)
    }
}

/// Whether the token is a policy's; a malformed one is judged by whoever checks it.
fn has_policy(token: Option<&str>) -> bool {
    token
        .and_then(|token| SasToken::parse(token).ok())
        .is_some_and(|token| token.key_name().is_some())
}

fn check(rights: Rights, right: Right) -> Result<(), Denied> {
    let (has, name) = match right {
        Right::RegistryRead => (rights.registry_read, "RegistryRead"),
        Right::RegistryWrite => (rights.registry_write, "RegistryWrite"),
        Right::ServiceConnect => (rights.service_connect, "ServiceConnect"),
        Right::DeviceConnect => (rights.device_connect, "DeviceConnect"),
    };
    if has { Ok(()) } else { Err(Denied::Right(name)) }
}
