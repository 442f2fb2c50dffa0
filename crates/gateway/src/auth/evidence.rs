//! What proved an identity: names a key or certificate without holding it.
//!
//! A live session keeps it, so that a change of *this* key, thumbprint, authority or policy (and of
//! no other) can end the session. [`still_holds`] asks what is registered now.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use model::identity::{Authentication, Status, SymmetricKeys};
use model::{DeviceId, GenerationId, IdentityId, ModuleId};

use super::{AuthError, Credential, Denied, Identities, Principal};

/// What proved an identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// Who proved it, when somebody acts for the identity: the edge hub of this device.
    pub actor: Option<Actor>,
    /// By what.
    pub by: ProvenBy,
}

/// An edge hub that acts for others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The device whose edge hub it is.
    pub device: DeviceId,
    /// The generation of its `$edgeHub`.
    pub generation: GenerationId,
}

/// A key or certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProvenBy {
    /// A key of the identity (of the actor, when there is one).
    Key(Fingerprint),
    /// A key of the shared access policy of this name.
    Policy {
        /// The policy's name.
        name: Arc<str>,
        /// Which of its keys.
        key: Fingerprint,
    },
    /// A certificate by its thumbprint.
    Thumbprint(Fingerprint),
    /// A certificate that chains to this registered authority.
    Authority(Fingerprint),
}

/// Tells one secret or certificate from another; the secret does not follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

/// Enough that no two things of one hub ever share one.
const FINGERPRINT_BYTES: usize = 16;

impl Fingerprint {
    /// Of a symmetric key, as its Base64 text.
    pub fn of_key(text: &str) -> Self {
        Self::of(b"key", text.as_bytes())
    }

    /// Of a thumbprint, as hex digits in any case.
    pub fn of_thumbprint(hex: &str) -> Self {
        Self::of(b"thumbprint", hex.to_ascii_uppercase().as_bytes())
    }

    /// Of an authority's certificate, DER.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self::of(b"certificate", der)
    }

    fn of(kind: &[u8], bytes: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // The kinds differ in their first bytes, and none is the beginning of another.
        context.update(kind);
        context.update(bytes);
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&context.finish().as_ref()[..FINGERPRINT_BYTES]);
        Self(fingerprint)
    }
}

impl fmt::Debug for Fingerprint {
    /// Eight digits are enough to follow one through a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether a session that was proven earlier would still be let in: the identity is registered,
/// the same one, enabled, and what proved it is registered still. Its token's end is not judged;
/// the connection keeps an eye on that itself.
pub async fn still_holds(
    identities: &impl Identities,
    principal: &Principal,
) -> Result<(), AuthError> {
    let id = &principal.identity;
    let credential = present(identities, id, &principal.generation).await?;
    let Some(actor) = &principal.evidence.actor else {
        return proves(identities, id, &credential.authentication, &principal.evidence.by).await;
    };
    if credential.parent.as_ref() != Some(&actor.device) {
        return Err(Denied::NotParent { actor: actor.device.clone(), target: id.clone() }.into());
    }
    let edge_hub = IdentityId::module(actor.device.clone(), ModuleId::edge_hub());
    let credential = present(identities, &edge_hub, &actor.generation).await?;
    proves(identities, &edge_hub, &credential.authentication, &principal.evidence.by).await
}

async fn present(
    identities: &impl Identities,
    id: &IdentityId,
    generation: &GenerationId,
) -> Result<Credential, AuthError> {
    let credential = identities.credential(id).await.map_err(AuthError::Unavailable)?;
    let credential = credential.filter(|credential| credential.generation == *generation);
    let credential = credential.ok_or_else(|| Denied::Unknown(id.clone()))?;
    match credential.status {
        Status::Enabled => Ok(credential),
        Status::Disabled => Err(Denied::Disabled(id.clone()).into()),
    }
}

async fn proves(
    identities: &impl Identities,
    id: &IdentityId,
    authentication: &Authentication,
    by: &ProvenBy,
) -> Result<(), AuthError> {
    let holds = match (by, authentication) {
        (ProvenBy::Key(key), Authentication::Sas(keys)) => is_one_of(*key, keys),
        (ProvenBy::Policy { name, key }, Authentication::Sas(_)) => {
            return policy_holds(identities, name, *key).await;
        }
        (ProvenBy::Thumbprint(seen), Authentication::SelfSigned { primary, secondary }) => {
            [primary, secondary]
                .into_iter()
                .flatten()
                .any(|registered| Fingerprint::of_thumbprint(registered) == *seen)
        }
        (ProvenBy::Authority(seen), Authentication::CertificateAuthority) => {
            let authorities = identities.authorities().await.map_err(AuthError::Unavailable)?;
            authorities
                .iter()
                .any(|anchor| Fingerprint::of_certificate(anchor.certificate().der()) == *seen)
        }
        _ => return Err(Denied::OtherMethod(id.clone()).into()),
    };
    if holds { Ok(()) } else { Err(Denied::Replaced.into()) }
}

async fn policy_holds(
    identities: &impl Identities,
    name: &str,
    key: Fingerprint,
) -> Result<(), AuthError> {
    let policy = identities.policy(name).await.map_err(AuthError::Unavailable)?;
    let policy = policy.ok_or(Denied::UnknownPolicy)?;
    if !policy.rights.device_connect {
        return Err(Denied::Right("DeviceConnect").into());
    }
    if is_one_of(key, &policy.keys) { Ok(()) } else { Err(Denied::Replaced.into()) }
}

fn is_one_of(key: Fingerprint, keys: &SymmetricKeys) -> bool {
    [&keys.primary, &keys.secondary].into_iter().any(|text| Fingerprint::of_key(text) == key)
}
