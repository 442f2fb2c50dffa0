//! Who is it? Pure decisions over what is registered, for every protocol alike.
//!
//! What is registered comes from [`Identities`], which the hub and the edge hub's scope implement.
//! Rules: `device-protocol.md` §2, `edge-runtime.md` §5.5 (auth chain). Every refusal is the same
//! to the client, and an unknown identity costs as much as a wrong key: the signature is computed
//! either way (`security.md` B16). The reason is for the log.

use std::future::Future;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::connect::AuthChain;
use iot_proto::sas::{IdMatch, SasToken};
use jiff::{SignedDuration, Timestamp};
use model::identity::{Authentication, Status, SymmetricKeys};
use model::{DeviceId, Fault, FaultKind, GenerationId, IdentityId, ModuleId};

#[cfg(test)]
mod tests;

/// What is registered.
pub trait Identities: Send + Sync + 'static {
    /// How an identity proves itself; none when it is unknown.
    fn credential(
        &self,
        id: &IdentityId,
    ) -> impl Future<Output = Result<Option<Credential>, Fault>> + Send;

    /// A shared access policy; none when there is none of this name.
    fn policy(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<PolicyCredential>, Fault>> + Send;

    /// The host names under which tokens may name this hub.
    fn host_names(&self) -> &[String];
}

/// How an identity proves itself.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its generation.
    pub generation: GenerationId,
    /// Whether it may connect; a module has its device's status.
    pub status: Status,
    /// Its keys or certificates.
    pub authentication: Authentication,
    /// The edge device that may act for it: its device for a module of an edge device, the parent
    /// for a leaf.
    pub parent: Option<DeviceId>,
}

/// A shared access policy as far as authentication goes.
#[derive(Debug, Clone)]
pub struct PolicyCredential {
    /// Its keys.
    pub keys: SymmetricKeys,
    /// What it may do.
    pub rights: Rights,
}

/// What a shared access policy may do (`service-api.md` §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// Read identities.
    pub registry_read: bool,
    /// Write identities.
    pub registry_write: bool,
    /// Twins, methods, cloud-to-device messages, reading events.
    pub service_connect: bool,
    /// Act as any device.
    pub device_connect: bool,
}

/// Somebody who has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The identity that speaks.
    pub identity: IdentityId,
    /// Its generation.
    pub generation: GenerationId,
    /// How it proved itself.
    pub method: AuthMethod,
    /// When the proof runs out, skew included.
    pub expires: Timestamp,
}

/// How an identity proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// By the key of the device.
    DeviceSas,
    /// By the key of the module.
    ModuleSas,
    /// By the key of a shared access policy.
    PolicySas,
    /// By the key of the edge hub that acts for it.
    OnBehalf,
}

/// Why a proof does not hold. For the log; clients hear one and the same answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// No token.
    #[error("no token was sent")]
    Missing,
    /// The token is malformed.
    #[error("the token is malformed: {0}")]
    Malformed(iot_proto::sas::SasError),
    /// The identity is not registered.
    #[error("{0} is not registered")]
    Unknown(IdentityId),
    /// No such policy.
    #[error("there is no shared access policy of the token's name")]
    UnknownPolicy,
    /// The identity is disabled.
    #[error("{0} is disabled")]
    Disabled(IdentityId),
    /// It proves itself another way.
    #[error("{0} does not authenticate by token")]
    OtherMethod(IdentityId),
    /// The signature fits neither key.
    #[error("the token's signature fits neither key")]
    Signature,
    /// The token has run out.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// The token is for another resource.
    #[error("the token is for another resource")]
    Resource,
    /// The policy lacks a right.
    #[error("the shared access policy lacks the right {0}")]
    Right(&'static str),
    /// The actor of the auth chain may not act for this identity.
    #[error("{actor} may not act for {target}")]
    NotParent {
        /// Who wants to act.
        actor: DeviceId,
        /// For whom.
        target: IdentityId,
    },
    /// The auth chain is longer than is served.
    #[error("the auth chain has more than one level")]
    ChainTooLong,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The proof does not hold.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// It cannot be told now.
    #[error("{0}")]
    Unavailable(Fault),
}

impl AuthError {
    /// What the client is told.
    pub fn to_fault(&self) -> Fault {
        match self {
            Self::Unavailable(fault) => fault.clone(),
            Self::Denied(Denied::Right(_)) => Fault::new(
                FaultKind::IotHubUnauthorizedAccess,
                "authorization rule does not allow access",
            ),
            Self::Denied(Denied::Missing) => {
                Fault::new(FaultKind::IotHubUnauthorized, "authorization header missing")
            }
            Self::Denied(_) => Fault::new(
                FaultKind::IotHubUnauthorized,
                "unauthorized: the token is not valid for this resource, or has expired",
            ),
        }
    }
}

/// Authenticates an identity by its token; `chain` is present when somebody acts for it.
pub async fn identity(
    identities: &impl Identities,
    id: &IdentityId,
    chain: Option<&AuthChain>,
    token: Option<&str>,
    now: Timestamp,
) -> Result<Principal, AuthError> {
    let token = parse(token)?;
    if let Some(chain) = chain {
        return on_behalf(identities, id, chain, &token, now).await;
    }
    let credential = identities.credential(id).await.map_err(AuthError::Unavailable)?;
    let hosts = identities.host_names();
    let (keys, method, ids) = match token.key_name() {
        Some(name) => {
            let policy = identities.policy(name).await.map_err(AuthError::Unavailable)?;
            if policy.as_ref().is_some_and(|policy| !policy.rights.device_connect) {
                return Err(Denied::Right("DeviceConnect").into());
            }
            (policy.map(|policy| policy.keys), AuthMethod::PolicySas, IdMatch::Exact)
        }
        None => {
            let keys = credential.as_ref().and_then(|c| c.authentication.keys().cloned());
            let method =
                if id.module.is_some() { AuthMethod::ModuleSas } else { AuthMethod::DeviceSas };
            (keys, method, IdMatch::IgnoreCase)
        }
    };
    check_signature(&token, keys.as_ref(), now)?;
    if !token.covers_identity(hosts, id, ids) {
        return Err(Denied::Resource.into());
    }
    let credential = admitted(id, credential)?;
    Ok(Principal {
        identity: id.clone(),
        generation: credential.generation,
        method,
        expires: ends(&token),
    })
}

/// The actor, the last of the chain, authenticates with the key of its `$edgeHub` and must be the
/// parent of the target. One level is served.
async fn on_behalf(
    identities: &impl Identities,
    id: &IdentityId,
    chain: &AuthChain,
    token: &SasToken,
    now: Timestamp,
) -> Result<Principal, AuthError> {
    let actor = IdentityId::module(chain.actor().clone(), ModuleId::edge_hub());
    let actor_credential = identities.credential(&actor).await.map_err(AuthError::Unavailable)?;
    let keys = actor_credential.as_ref().and_then(|c| c.authentication.keys().cloned());
    check_signature(token, keys.as_ref(), now)?;
    if !token.covers_identity(identities.host_names(), &actor, IdMatch::IgnoreCase) {
        return Err(Denied::Resource.into());
    }
    admitted(&actor, actor_credential)?;
    if chain.target() != id {
        return Err(Denied::Resource.into());
    }
    let credential = identities.credential(id).await.map_err(AuthError::Unavailable)?;
    let credential = admitted_target(id, credential)?;
    if credential.parent.as_ref() != Some(&actor.device) {
        return Err(Denied::NotParent { actor: actor.device, target: id.clone() }.into());
    }
    if chain.ids().len() > 2 {
        return Err(Denied::ChainTooLong.into());
    }
    Ok(Principal {
        identity: id.clone(),
        generation: credential.generation,
        method: AuthMethod::OnBehalf,
        expires: ends(token),
    })
}

/// Authenticates a back end by a token of a shared access policy; gives the policy's rights.
pub async fn policy(
    identities: &impl Identities,
    token: Option<&str>,
    now: Timestamp,
) -> Result<Rights, AuthError> {
    let token = parse(token)?;
    let name = token.key_name().ok_or(Denied::UnknownPolicy)?;
    let policy = identities.policy(name).await.map_err(AuthError::Unavailable)?;
    check_signature(&token, policy.as_ref().map(|policy| &policy.keys), now)?;
    let policy = policy.ok_or(Denied::UnknownPolicy)?;
    if !token.covers(identities.host_names(), &[], IdMatch::Exact) {
        return Err(Denied::Resource.into());
    }
    Ok(policy.rights)
}

fn parse(token: Option<&str>) -> Result<SasToken, Denied> {
    let token = token.filter(|token| !token.is_empty()).ok_or(Denied::Missing)?;
    SasToken::parse(token).map_err(Denied::Malformed)
}

/// Computes the signature even when there is no key, so that the time tells nothing.
fn check_signature(
    token: &SasToken,
    keys: Option<&SymmetricKeys>,
    now: Timestamp,
) -> Result<(), Denied> {
    let text = token.string_to_sign();
    let fits = |key: &str| {
        let bytes = STANDARD.decode(key).unwrap_or_default();
        let usable = !bytes.is_empty();
        let key = hmac::Key::new(hmac::HMAC_SHA256, if usable { &bytes } else { &NO_KEY });
        let signature = hmac::sign(&key, text.as_bytes());
        let equal =
            constant_time::verify_slices_are_equal(signature.as_ref(), token.signature()).is_ok();
        equal & usable
    };
    let (primary, secondary) = match keys {
        Some(keys) => (fits(&keys.primary), fits(&keys.secondary)),
        None => (fits(""), fits("")),
    };
    if !(primary | secondary) {
        return Err(Denied::Signature);
    }
    if ends(token) <= now {
        return Err(Denied::Expired(token.expires_at()));
    }
    Ok(())
}

/// Only after the signature held: who cannot sign does not learn what is registered.
fn admitted(id: &IdentityId, credential: Option<Credential>) -> Result<Credential, Denied> {
    let credential = admitted_target(id, credential)?;
    if credential.authentication.keys().is_none() {
        return Err(Denied::OtherMethod(id.clone()));
    }
    Ok(credential)
}

fn admitted_target(id: &IdentityId, credential: Option<Credential>) -> Result<Credential, Denied> {
    let credential = credential.ok_or_else(|| Denied::Unknown(id.clone()))?;
    if credential.status == Status::Disabled {
        return Err(Denied::Disabled(id.clone()));
    }
    Ok(credential)
}

/// The token's end with the skew that its clock is allowed.
fn ends(token: &SasToken) -> Timestamp {
    let skew = SignedDuration::from_secs(model::limits::TOKEN_SKEW_S as i64);
    token.expires_at().checked_add(skew).unwrap_or(Timestamp::MAX)
}

/// Stands in for the key of an unknown identity.
const NO_KEY: [u8; 32] = [0; 32];
