//! Certificates: the handshake proved that the peer holds the leaf's key; here it is compared with
//! what is registered (`device-protocol.md` §2.2).

use jiff::Timestamp;
use model::IdentityId;
use model::identity::Authentication;
use pki::certificate::{thumbprint_sha1, thumbprint_sha256};

use super::evidence::{Fingerprint, ProvenBy};
use super::{AuthError, Credential, Denied, Identities};

/// What a chain proved, and until when.
pub(super) struct Proven {
    pub(super) by: ProvenBy,
    pub(super) expires: Timestamp,
}

/// Whether the chain (DER, leaf first) proves the identity.
pub(super) async fn check(
    _identities: &impl Identities,
    id: &IdentityId,
    credential: Option<&Credential>,
    chain: &[Vec<u8>],
    _now: Timestamp,
) -> Result<Proven, AuthError> {
    let leaf = chain.first().ok_or(Denied::Missing)?;
    let credential = credential.ok_or_else(|| Denied::Unknown(id.clone()))?;
    match &credential.authentication {
        Authentication::SelfSigned { primary, secondary } => {
            let registered = [primary, secondary].into_iter().flatten();
            let thumbprint = fitting(leaf, registered).ok_or(Denied::Certificate)?;
            // Its dates do not count: what is registered is this very certificate.
            Ok(Proven { by: ProvenBy::Thumbprint(thumbprint), expires: Timestamp::MAX })
        }
        _ => Err(Denied::OtherMethod(id.clone()).into()),
    }
}

fn fitting<'a>(
    leaf: &[u8],
    mut registered: impl Iterator<Item = &'a String>,
) -> Option<Fingerprint> {
    let thumbprints = [thumbprint_sha1(leaf), thumbprint_sha256(leaf)];
    registered
        .find(|text| thumbprints.iter().any(|thumbprint| thumbprint.eq_ignore_ascii_case(text)))
        .map(|text| Fingerprint::of_thumbprint(text))
}
