//! Certificates: the handshake proved that the peer holds the leaf's key; here it is compared with
//! what is registered (`device-protocol.md` §2.2).

use host::clock::is_plausible;
use jiff::Timestamp;
use model::IdentityId;
use model::identity::Authentication;
use pki::certificate::{thumbprint_sha1, thumbprint_sha256};
use pki::{AltName, Certificate, chain};

use super::evidence::{Fingerprint, ProvenBy};
use super::{AuthError, Credential, Denied, Identities};

/// What a chain proved, and until when.
pub(super) struct Proven {
    pub(super) by: ProvenBy,
    pub(super) expires: Timestamp,
}

/// Whether the chain (DER, leaf first) proves the identity.
pub(super) async fn check(
    identities: &impl Identities,
    id: &IdentityId,
    credential: Option<&Credential>,
    presented: &[Vec<u8>],
    now: Timestamp,
) -> Result<Proven, AuthError> {
    let leaf = presented.first().ok_or(Denied::Missing)?;
    let credential = credential.ok_or_else(|| Denied::Unknown(id.clone()))?;
    match &credential.authentication {
        Authentication::SelfSigned { primary, secondary } => {
            let registered = [primary, secondary].into_iter().flatten();
            let thumbprint = fitting(leaf, registered).ok_or(Denied::Certificate)?;
            // Its dates do not count: what is registered is this very certificate.
            Ok(Proven { by: ProvenBy::Thumbprint(thumbprint), expires: Timestamp::MAX })
        }
        Authentication::CertificateAuthority => {
            refuse_module_certificate(leaf)?;
            let authorities = identities.authorities().await.map_err(AuthError::Unavailable)?;
            let name = id.to_string();
            let at = judged_at(presented, now);
            let proven =
                chain::verify(presented, &authorities, &name, at).map_err(Denied::Chain)?;
            let authority = Fingerprint::of_certificate(proven.anchor.certificate().der());
            Ok(Proven { by: ProvenBy::Authority(authority), expires: proven.not_after })
        }
        _ => Err(Denied::OtherMethod(id.clone()).into()),
    }
}

/// A clock that is not set yet cannot tell whether a certificate holds: it is judged as when it
/// began, and again when the time is known ([`crate::proof_end`]).
fn judged_at(presented: &[Vec<u8>], now: Timestamp) -> Timestamp {
    if is_plausible(now) {
        return now;
    }
    let begin =
        |der: &Vec<u8>| Certificate::from_der(&der.as_slice().into()).ok()?.not_before.into();
    presented.iter().take(CHAIN_LENGTH_MAX).filter_map(begin).max().unwrap_or(now)
}

/// Longer chains are refused anyway.
const CHAIN_LENGTH_MAX: usize = 16;

/// Edge devices give their modules certificates for their own ids, by an authority that may chain to
/// one that is known here: a module must not become a device by its name.
fn refuse_module_certificate(leaf: &[u8]) -> Result<(), Denied> {
    // One that cannot be read proves nothing anyway.
    let Ok(leaf) = Certificate::from_der(&leaf.into()) else { return Ok(()) };
    let is_modules =
        |name: &AltName| matches!(name, AltName::Uri(uri) if uri.starts_with(MODULE_URI));
    if leaf.alt_names.iter().any(is_modules) { Err(Denied::ModuleCertificate) } else { Ok(()) }
}

/// How such a certificate names its module (`edge-runtime.md` §2.2).
const MODULE_URI: &str = "azureiot:";

fn fitting<'a>(
    leaf: &[u8],
    mut registered: impl Iterator<Item = &'a String>,
) -> Option<Fingerprint> {
    let thumbprints = [thumbprint_sha1(leaf), thumbprint_sha256(leaf)];
    registered
        .find(|text| thumbprints.iter().any(|thumbprint| thumbprint.eq_ignore_ascii_case(text)))
        .map(|text| Fingerprint::of_thumbprint(text))
}
