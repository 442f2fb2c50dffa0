//! The `authentication` object of devices and modules.
//!
//! Spec: sa §2.3. On output both `symmetricKey` and `x509Thumbprint` are always there. On input
//! the type decides and what belongs to other types is ignored, since clients echo everything.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Fault;
use model::identity::{Authentication, SymmetricKeys};
use serde::{Deserialize, Serialize};

/// How an identity shall prove itself, as a client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationWrite {
    /// Nothing is said: what is stored stays; a new identity gets two new keys.
    Keep,
    /// Type `sas` without keys: stored keys stay, and where there are none two are made (Node
    /// sends empty keys on every update; to take them for new ones would rotate keys).
    SasKeep,
    /// These keys.
    Keys(SymmetricKeys),
    /// Another way, which has no keys.
    Other(Authentication),
}

/// The object as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthenticationJson {
    /// Both keys; null when there are none.
    pub symmetric_key: SymmetricKeyJson,
    /// Both thumbprints; null when there are none.
    pub x509_thumbprint: ThumbprintJson,
    /// `sas`, `selfSigned`, `certificateAuthority` or `none`.
    pub r#type: String,
}

/// A pair of keys.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SymmetricKeyJson {
    /// Base64.
    pub primary_key: Option<String>,
    /// Base64.
    pub secondary_key: Option<String>,
}

/// A pair of certificate thumbprints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ThumbprintJson {
    /// Hex digits.
    pub primary_thumbprint: Option<String>,
    /// Hex digits.
    pub secondary_thumbprint: Option<String>,
}

impl fmt::Debug for SymmetricKeyJson {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKeyJson(..)")
    }
}

impl From<&Authentication> for AuthenticationJson {
    fn from(authentication: &Authentication) -> Self {
        let mut json = Self { r#type: type_name(authentication).to_owned(), ..Self::default() };
        match authentication {
            Authentication::Sas(keys) => {
                json.symmetric_key = SymmetricKeyJson {
                    primary_key: Some(keys.primary.clone()),
                    secondary_key: Some(keys.secondary.clone()),
                };
            }
            Authentication::SelfSigned { primary, secondary } => {
                json.x509_thumbprint = ThumbprintJson {
                    primary_thumbprint: primary.clone(),
                    secondary_thumbprint: secondary.clone(),
                };
            }
            Authentication::CertificateAuthority | Authentication::None => {}
        }
        json
    }
}

impl AuthenticationJson {
    /// The stored form, from an answer of a hub.
    pub fn to_model(&self) -> Result<Authentication, Fault> {
        let input = AuthenticationInput {
            symmetric_key: Some(self.symmetric_key.clone()),
            x509_thumbprint: Some(self.x509_thumbprint.clone()),
            r#type: Some(self.r#type.clone()),
        };
        match input.check()? {
            AuthenticationWrite::Keys(keys) => Ok(Authentication::Sas(keys)),
            AuthenticationWrite::Other(other) => Ok(other),
            AuthenticationWrite::Keep | AuthenticationWrite::SasKeep => {
                Err(Fault::argument("authentication.symmetricKey has no keys"))
            }
        }
    }
}

/// The spelling of the types.
pub(super) fn type_name(authentication: &Authentication) -> &'static str {
    match authentication {
        Authentication::Sas(_) => SAS,
        Authentication::SelfSigned { .. } => SELF_SIGNED,
        Authentication::CertificateAuthority => CERTIFICATE_AUTHORITY,
        Authentication::None => NONE,
    }
}

/// The object as clients write it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthenticationInput {
    symmetric_key: Option<SymmetricKeyJson>,
    x509_thumbprint: Option<ThumbprintJson>,
    r#type: Option<String>,
}

impl AuthenticationInput {
    /// What it means.
    pub(super) fn check(self) -> Result<AuthenticationWrite, Fault> {
        let keys = self.symmetric_key.unwrap_or_default();
        let keys = [filled(keys.primary_key), filled(keys.secondary_key)];
        let thumbprints = self.x509_thumbprint.unwrap_or_default();
        let thumbprints =
            [filled(thumbprints.primary_thumbprint), filled(thumbprints.secondary_thumbprint)];
        let named = filled(self.r#type).map(|text| text.to_ascii_lowercase());
        match named.as_deref() {
            Some("sas") => check_keys(keys, AuthenticationWrite::SasKeep),
            Some("selfsigned") => check_thumbprints(thumbprints),
            Some("certificateauthority") => {
                Ok(AuthenticationWrite::Other(Authentication::CertificateAuthority))
            }
            Some("none") => Ok(AuthenticationWrite::Other(Authentication::None)),
            Some(_) => Err(Fault::argument(
                "authentication.type is not sas, selfSigned, certificateAuthority or none",
            )),
            None if thumbprints.iter().any(Option::is_some) => check_thumbprints(thumbprints),
            None => check_keys(keys, AuthenticationWrite::Keep),
        }
    }
}

/// The object as our own client writes it; none when nothing is said.
pub(super) fn to_body(write: &AuthenticationWrite) -> Option<AuthenticationJson> {
    match write {
        AuthenticationWrite::Keep => None,
        AuthenticationWrite::SasKeep => {
            Some(AuthenticationJson { r#type: SAS.to_owned(), ..AuthenticationJson::default() })
        }
        AuthenticationWrite::Keys(keys) => Some((&Authentication::Sas(keys.clone())).into()),
        AuthenticationWrite::Other(other) => Some(other.into()),
    }
}

fn check_keys(
    keys: [Option<String>; 2],
    without: AuthenticationWrite,
) -> Result<AuthenticationWrite, Fault> {
    match keys {
        [None, None] => Ok(without),
        [Some(primary), Some(secondary)] => {
            check_key("primaryKey", &primary)?;
            check_key("secondaryKey", &secondary)?;
            Ok(AuthenticationWrite::Keys(SymmetricKeys { primary, secondary }))
        }
        _ => Err(Fault::argument(
            "authentication.symmetricKey has one key; give both, or none to have them made",
        )),
    }
}

fn check_key(field: &str, key: &str) -> Result<(), Fault> {
    let bytes = STANDARD.decode(key).map_or(0, |bytes| bytes.len());
    if (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(Fault::argument(format!(
        "authentication.symmetricKey.{field} is not Base64 of 16 to 64 bytes"
    )))
}

fn check_thumbprints(thumbprints: [Option<String>; 2]) -> Result<AuthenticationWrite, Fault> {
    let [primary, secondary] = thumbprints;
    let lengths: Vec<usize> = [&primary, &secondary]
        .into_iter()
        .flatten()
        .map(|text| if text.bytes().all(|b| b.is_ascii_hexdigit()) { text.len() } else { 0 })
        .collect();
    let fits = match lengths.as_slice() {
        [length] => THUMBPRINT_LENGTHS.contains(length),
        [first, second] => first == second && THUMBPRINT_LENGTHS.contains(first),
        _ => false,
    };
    if fits {
        return Ok(AuthenticationWrite::Other(Authentication::SelfSigned { primary, secondary }));
    }
    Err(Fault::argument(
        "authentication.x509Thumbprint needs one or two thumbprints of 40 or 64 hex digits, both of one length",
    ))
}

/// Empty texts mean nothing (sa trap 4).
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

const SAS: &str = "sas";
const SELF_SIGNED: &str = "selfSigned";
const CERTIFICATE_AUTHORITY: &str = "certificateAuthority";
const NONE: &str = "none";

/// Sizes of a symmetric key (sa §2.3).
const KEY_BYTES_MIN: usize = 16;
const KEY_BYTES_MAX: usize = 64;

/// Hex digits of SHA-1 and SHA-256.
const THUMBPRINT_LENGTHS: [usize; 2] = [40, 64];
