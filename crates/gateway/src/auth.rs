//! Who is it? Pure decisions over what is registered, for every protocol alike.
//!
//! What is registered comes from [`Identities`], which the hub and the edge hub's scope implement.
//! Rules: `device-protocol.md` §2, `edge-runtime.md` §5.5 (auth chain). Every refusal is the same
//! to the client, and an unknown identity costs as much as a wrong key: the signature is computed
//! either way (`security.md` B16). The reason is for the log.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use iot_proto::connect::AuthChain;
use iot_proto::sas::{IdMatch, SasToken};
use jiff::Timestamp;
use model::identity::{Authentication, Status, SymmetricKeys};
use model::{DeviceId, Fault, FaultKind, GenerationId, IdentityId, ModuleId};
use pki::{ChainAnchor, ChainError};

use crate::peer::Peer;

mod certificate;
mod evidence;
#[cfg(test)]
mod tests;
mod token;

pub use self::evidence::{Actor, Evidence, Fingerprint, ProvenBy, still_holds};

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

    /// The authorities to which certificates of identities may chain that are registered by name
    /// only ([`Authentication::CertificateAuthority`]); none unless the backend keeps some.
    fn authorities(&self) -> impl Future<Output = Result<Arc<[ChainAnchor]>, Fault>> + Send {
        async { Ok(Arc::from([])) }
    }

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

/// What a peer offers as proof.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The text of a token.
    Token(&'a str),
    /// The chain of its TLS handshake, DER, leaf first, possession of the leaf's key proven.
    Certificate(&'a [Vec<u8>]),
    /// Nothing.
    None,
}

impl<'a> Proof<'a> {
    /// What a connection offers: its token, or else its certificates. A token that is there counts
    /// alone: an identity proves itself one way.
    pub fn of(token: Option<&'a str>, peer: &'a Peer) -> Self {
        match (token, &peer.certificates) {
            (Some(token), _) if !token.is_empty() => Self::Token(token),
            (_, Some(chain)) => Self::Certificate(chain),
            (_, None) => Self::None,
        }
    }
}

impl fmt::Debug for Proof<'_> {
    /// Tokens never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Certificate(chain) => write!(f, "Certificate(chain of {})", chain.len()),
            Self::None => f.write_str("None"),
        }
    }
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
    /// Which key or certificate proved it.
    pub evidence: Evidence,
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
    /// By the certificate of the device.
    DeviceX509,
    /// By the certificate of the module.
    ModuleX509,
    /// By the key or certificate of the edge hub that acts for it.
    OnBehalf,
}

/// Why a proof does not hold. For the log; clients hear one and the same answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// No token and no certificate.
    #[error("neither token nor certificate was sent")]
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
    #[error("{0} is registered to authenticate another way")]
    OtherMethod(IdentityId),
    /// The certificate fits neither thumbprint.
    #[error("the certificate fits neither thumbprint")]
    Certificate,
    /// The certificate does not chain to an authority that is known here.
    #[error("the certificate does not prove it: {0}")]
    Chain(ChainError),
    /// The certificate is one that an edge device issues to its modules.
    #[error("the certificate is a module's of an edge device, which proves nothing here")]
    ModuleCertificate,
    /// What proved it is not registered any more.
    #[error("the key or certificate that proved it was replaced or removed")]
    Replaced,
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

/// Authenticates an identity; `chain` is present when somebody acts for it.
pub async fn identity(
    identities: &impl Identities,
    id: &IdentityId,
    chain: Option<&AuthChain>,
    proof: Proof<'_>,
    now: Timestamp,
) -> Result<Principal, AuthError> {
    match chain {
        Some(chain) => on_behalf(identities, id, chain, proof, now).await,
        None => itself(identities, id, proof, now).await,
    }
}

async fn itself(
    identities: &impl Identities,
    id: &IdentityId,
    proof: Proof<'_>,
    now: Timestamp,
) -> Result<Principal, AuthError> {
    let is_module = id.module.is_some();
    let (method, by, expires, credential) = match proof {
        Proof::None => return Err(Denied::Missing.into()),
        Proof::Token(text) => {
            let token = token::parse(Some(text))?;
            let credential = credential(identities, id).await?;
            let (by, credential) = by_token(identities, id, &token, credential, now).await?;
            let method = match &by {
                ProvenBy::Policy { .. } => AuthMethod::PolicySas,
                _ if is_module => AuthMethod::ModuleSas,
                _ => AuthMethod::DeviceSas,
            };
            (method, by, token::ends(&token), credential)
        }
        Proof::Certificate(chain) => {
            let credential = credential(identities, id).await?;
            let proven =
                certificate::check(identities, id, credential.as_ref(), chain, now).await?;
            let method = if is_module { AuthMethod::ModuleX509 } else { AuthMethod::DeviceX509 };
            (method, proven.by, proven.expires, admitted(id, credential)?)
        }
    };
    Ok(Principal {
        identity: id.clone(),
        generation: credential.generation,
        method,
        evidence: Evidence { actor: None, by },
        expires,
    })
}

async fn credential(
    identities: &impl Identities,
    id: &IdentityId,
) -> Result<Option<Credential>, AuthError> {
    identities.credential(id).await.map_err(AuthError::Unavailable)
}

async fn by_token(
    identities: &impl Identities,
    id: &IdentityId,
    token: &SasToken,
    credential: Option<Credential>,
    now: Timestamp,
) -> Result<(ProvenBy, Credential), AuthError> {
    let hosts = identities.host_names();
    let by = match token.key_name() {
        Some(name) => {
            let policy = identities.policy(name).await.map_err(AuthError::Unavailable)?;
            if policy.as_ref().is_some_and(|policy| !policy.rights.device_connect) {
                return Err(Denied::Right("DeviceConnect").into());
            }
            let keys = policy.map(|policy| policy.keys);
            let key = token::check_signature(token, keys.as_ref(), now)?;
            if !token.covers_identity(hosts, id, IdMatch::Exact) {
                return Err(Denied::Resource.into());
            }
            ProvenBy::Policy { name: name.into(), key }
        }
        None => {
            let keys = credential.as_ref().and_then(|c| c.authentication.keys());
            let key = token::check_signature(token, keys, now)?;
            if !token.covers_identity(hosts, id, IdMatch::IgnoreCase) {
                return Err(Denied::Resource.into());
            }
            ProvenBy::Key(key)
        }
    };
    // Only after the signature held: who cannot sign does not learn what is registered.
    let credential = admitted(id, credential)?;
    if credential.authentication.keys().is_none() {
        return Err(Denied::OtherMethod(id.clone()).into());
    }
    Ok((by, credential))
}

/// The actor, the last of the chain, authenticates as its `$edgeHub` and must be the parent of the
/// target. One level is served.
async fn on_behalf(
    identities: &impl Identities,
    id: &IdentityId,
    chain: &AuthChain,
    proof: Proof<'_>,
    now: Timestamp,
) -> Result<Principal, AuthError> {
    let edge_hub = IdentityId::module(chain.actor().clone(), ModuleId::edge_hub());
    let actor = itself(identities, &edge_hub, proof, now).await?;
    if let ProvenBy::Policy { .. } = actor.evidence.by {
        // A policy that may act as any device needs no edge hub to act through.
        return Err(Denied::Signature.into());
    }
    if chain.target() != id {
        return Err(Denied::Resource.into());
    }
    let credential = admitted(id, credential(identities, id).await?)?;
    if credential.parent.as_ref() != Some(&edge_hub.device) {
        return Err(Denied::NotParent { actor: edge_hub.device, target: id.clone() }.into());
    }
    if chain.ids().len() > 2 {
        return Err(Denied::ChainTooLong.into());
    }
    let acting = Actor { device: edge_hub.device, generation: actor.generation };
    Ok(Principal {
        identity: id.clone(),
        generation: credential.generation,
        method: AuthMethod::OnBehalf,
        evidence: Evidence { actor: Some(acting), by: actor.evidence.by },
        expires: actor.expires,
    })
}

/// Authenticates a back end by a token of a shared access policy; gives the policy's rights.
pub async fn policy(
    identities: &impl Identities,
    token: Option<&str>,
    now: Timestamp,
) -> Result<Rights, AuthError> {
    let token = token::parse(token)?;
    let name = token.key_name().ok_or(Denied::UnknownPolicy)?;
    let policy = identities.policy(name).await.map_err(AuthError::Unavailable)?;
    token::check_signature(&token, policy.as_ref().map(|policy| &policy.keys), now)?;
    let policy = policy.ok_or(Denied::UnknownPolicy)?;
    if !token.covers(identities.host_names(), &[], IdMatch::Exact) {
        return Err(Denied::Resource.into());
    }
    Ok(policy.rights)
}

/// A policy's token whose signature and time hold; what it covers is asked when it is used.
#[derive(Debug, Clone)]
pub struct PolicyToken {
    /// The token.
    pub token: SasToken,
    /// The policy's name.
    pub name: String,
    /// What the policy may do.
    pub rights: Rights,
    /// Which of the policy's keys signed it.
    pub key: Fingerprint,
    /// When it runs out, skew included.
    pub expires: Timestamp,
}

/// Checks a token of a shared access policy as one is put onto an AMQP connection: for whatever it
/// covers, and also when its resource is `sb://…`.
pub async fn policy_token(
    identities: &impl Identities,
    text: &str,
    now: Timestamp,
) -> Result<PolicyToken, AuthError> {
    let token = token::parse(Some(text))?;
    let name = token.key_name().ok_or(Denied::UnknownPolicy)?.to_owned();
    let policy = identities.policy(&name).await.map_err(AuthError::Unavailable)?;
    let keys = policy.as_ref().map(|policy| &policy.keys);
    let key = token::check_policy_signature(&token, keys, now)?;
    let rights = policy.ok_or(Denied::UnknownPolicy)?.rights;
    let expires = token::ends(&token);
    Ok(PolicyToken { token, name, rights, key, expires })
}

fn admitted(id: &IdentityId, credential: Option<Credential>) -> Result<Credential, Denied> {
    let credential = credential.ok_or_else(|| Denied::Unknown(id.clone()))?;
    if credential.status == Status::Disabled {
        return Err(Denied::Disabled(id.clone()));
    }
    Ok(credential)
}
