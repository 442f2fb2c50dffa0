//! Shared access signatures: the token's text, the string to sign and what a token covers.
//!
//! Spec: dp §2.1, sa §1.2. The string to sign holds `sr` **exactly as it stands in the token**:
//! clients differ in hex case and in whether they encode at all, so it is never decoded and
//! re-encoded. Nothing is signed or verified here: `client` has signers, `gateway::auth` verifies.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use jiff::Timestamp;
use model::IdentityId;

use crate::percent;

/// A token as a client presents it. It is well formed, which says nothing about its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SasToken {
    resource_raw: String,
    expiry_raw: String,
    expiry_s: u64,
    signature: [u8; SIGNATURE_BYTES],
    key_name: Option<String>,
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SasError {
    /// It is longer than [`TOKEN_BYTES_MAX`].
    #[error("token has {0} bytes; at most {TOKEN_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// It does not begin with the scheme word and one space.
    #[error("token does not begin with `SharedAccessSignature `")]
    Scheme,
    /// A field stands twice, so that two readers could read two tokens.
    #[error("token has two fields `{0}`")]
    Duplicate(&'static str),
    /// A field is missing or empty.
    #[error("token lacks the field `{0}`")]
    Missing(&'static str),
    /// The expiry is no number of seconds.
    #[error("token field `se` is not a number of seconds since 1970")]
    Expiry,
    /// The signature is not 32 bytes in Base64.
    #[error("token field `sig` is not a percent-encoded Base64 text of 32 bytes")]
    Signature,
}

/// A token: host and two ids three times encoded, signature and policy name stay well below.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// HMAC-SHA256.
pub const SIGNATURE_BYTES: usize = 32;

impl SasToken {
    /// Reads a token. Fields come in any order and unknown ones are ignored; known ones stand once.
    pub fn parse(text: &str) -> Result<Self, SasError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(SasError::TooLong(text.len()));
        }
        let fields = strip_scheme(text).ok_or(SasError::Scheme)?;
        let (mut sr, mut se, mut sig, mut skn) = (None, None, None, None);
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (slot, name) = match name {
                "sr" => (&mut sr, "sr"),
                "se" => (&mut se, "se"),
                "sig" => (&mut sig, "sig"),
                "skn" => (&mut skn, "skn"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(SasError::Duplicate(name));
            }
        }
        let present = |value: Option<&str>, name| match value {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(SasError::Missing(name)),
        };
        let resource_raw = present(sr, "sr")?;
        let signature = decode_signature(&present(sig, "sig")?)?;
        let expiry_raw = present(se, "se")?;
        if !expiry_raw.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SasError::Expiry);
        }
        let expiry_s = expiry_raw.parse().map_err(|_| SasError::Expiry)?;
        let key_name =
            skn.filter(|name| !name.is_empty()).map(|name| percent::decode(name).into_owned());
        Ok(Self { resource_raw, expiry_raw, expiry_s, signature, key_name })
    }

    /// What the signature must be the HMAC-SHA256 of.
    pub fn string_to_sign(&self) -> String {
        string_to_sign(&self.resource_raw, &self.expiry_raw)
    }

    /// The signature to compare with, in constant time.
    pub fn signature(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.signature
    }

    /// The resource as it stands in the token.
    pub fn resource_raw(&self) -> &str {
        &self.resource_raw
    }

    /// Whether it is for the event endpoint, `sb://…`: those are signed with the key's text
    /// (sa §1.2).
    pub fn is_for_events(&self) -> bool {
        let decoded = percent::decode(&self.resource_raw);
        decoded.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sb://"))
    }

    /// The identity that its resource names, when that is what it names. Only a signature proves
    /// that it is this one.
    pub fn identity(&self) -> Option<IdentityId> {
        Self::identity_in(&self.resource_raw)
    }

    /// The identity that a resource names, encoded or not; the audience of a token exchange, too.
    pub fn identity_in(resource: &str) -> Option<IdentityId> {
        let decoded = percent::decode_exact(resource)?;
        let (_, path) = split_resource(&decoded);
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            [devices, device] if devices.eq_ignore_ascii_case("devices") => {
                Some(IdentityId::device(device.parse().ok()?))
            }
            [devices, device, modules, module]
                if devices.eq_ignore_ascii_case("devices")
                    && modules.eq_ignore_ascii_case("modules") =>
            {
                Some(IdentityId::module(device.parse().ok()?, module.parse().ok()?))
            }
            _ => None,
        }
    }

    /// The policy whose key signed it; none when an identity's own key did.
    pub fn key_name(&self) -> Option<&str> {
        self.key_name.as_deref()
    }

    /// When it ends. A time beyond the calendar's end is the calendar's end.
    pub fn expires_at(&self) -> Timestamp {
        i64::try_from(self.expiry_s)
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// Whether the token's resource is this one or lies above it (whole segments).
    ///
    /// Host names are compared without case against every name in `hosts`; a scheme and a port in
    /// the token are ignored, and so is a tail `/api-version=…` (a documented sample has it).
    /// `segments` is the decoded path of the resource, e.g. `["devices", "d1", "modules", "m1"]`;
    /// fixed words are compared without case, ids as `ids` says.
    pub fn covers(&self, hosts: &[impl AsRef<str>], segments: &[&str], ids: IdMatch) -> bool {
        let Some(decoded) = percent::decode_exact(&self.resource_raw) else {
            return false;
        };
        let (host, path) = split_resource(&decoded);
        if !hosts.iter().any(|own| strip_port(own.as_ref()).eq_ignore_ascii_case(host)) {
            return false;
        }
        let mut granted = path.split('/').filter(|segment| !segment.is_empty());
        let mut asked = segments.iter().enumerate();
        granted.all(|segment| match asked.next() {
            Some((index, asked)) => segment_matches(segment, asked, index, ids),
            None => false,
        })
    }

    /// The same for an identity.
    pub fn covers_identity(
        &self,
        hosts: &[impl AsRef<str>],
        identity: &IdentityId,
        ids: IdMatch,
    ) -> bool {
        let device = identity.device.as_str();
        match &identity.module {
            None => self.covers(hosts, &["devices", device], ids),
            Some(module) => {
                self.covers(hosts, &["devices", device, "modules", module.as_str()], ids)
            }
        }
    }
}

impl fmt::Debug for SasToken {
    /// Signatures never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("sr", &self.resource_raw)
            .field("se", &self.expiry_raw)
            .field("skn", &self.key_name)
            .finish_non_exhaustive()
    }
}

/// How ids in a token's resource are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMatch {
    /// Without case, for keys of an identity: the key already picks it, and identityd lower-cases
    /// the whole resource before it signs.
    IgnoreCase,
    /// As they are, for policy keys: ids that differ only by case are different devices.
    Exact,
}

/// A token to be: sign [`TokenRequest::string_to_sign`], then call [`TokenRequest::finish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    resource_raw: String,
    expiry_raw: String,
}

impl TokenRequest {
    /// For an identity: `{host}/devices/{d}[/modules/{m}]`, encoded as one text. `host` is the
    /// hub's name even when a gateway is dialled.
    pub fn for_identity(host: &str, identity: &IdentityId, expires: Timestamp) -> Self {
        Self::new(&identity_resource(host, identity), expires)
    }

    /// For a shared access policy: the whole host.
    pub fn for_host(host: &str, expires: Timestamp) -> Self {
        Self::new(host, expires)
    }

    /// For any resource, given without encoding.
    pub fn new(resource: &str, expires: Timestamp) -> Self {
        Self {
            resource_raw: percent::encode(resource).into_owned(),
            expiry_raw: expires.as_second().max(0).to_string(),
        }
    }

    /// What to sign with HMAC-SHA256.
    pub fn string_to_sign(&self) -> String {
        string_to_sign(&self.resource_raw, &self.expiry_raw)
    }

    /// The token's text; `key_name` only for a policy's key.
    pub fn finish(&self, signature: &[u8], key_name: Option<&str>) -> String {
        let signature = STANDARD.encode(signature);
        let mut token = format!(
            "{SCHEME} sr={}&sig={}&se={}",
            self.resource_raw,
            percent::encode(&signature),
            self.expiry_raw
        );
        if let Some(name) = key_name {
            token.push_str("&skn=");
            percent::encode_into(name, &mut token);
        }
        token
    }
}

/// The string to sign of a raw resource and a raw expiry.
pub fn string_to_sign(resource_raw: &str, expiry_raw: &str) -> String {
    format!("{resource_raw}\n{expiry_raw}")
}

/// The resource of an identity, without encoding.
pub fn identity_resource(host: &str, identity: &IdentityId) -> String {
    match &identity.module {
        None => format!("{host}/devices/{}", identity.device),
        Some(module) => format!("{host}/devices/{}/modules/{module}", identity.device),
    }
}

fn strip_scheme(text: &str) -> Option<&str> {
    let word = text.get(..SCHEME.len())?;
    if !word.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    text[SCHEME.len()..].strip_prefix(' ')
}

fn decode_signature(raw: &str) -> Result<[u8; SIGNATURE_BYTES], SasError> {
    let text = percent::decode_exact(raw).ok_or(SasError::Signature)?;
    let bytes = BASE64_LENIENT.decode(text.as_bytes()).map_err(|_| SasError::Signature)?;
    bytes.try_into().map_err(|_| SasError::Signature)
}

/// Splits a decoded resource into host (without scheme and port) and path.
fn split_resource(resource: &str) -> (&str, &str) {
    let rest = SCHEMES
        .iter()
        .find_map(|scheme| {
            let head = resource.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then(|| &resource[scheme.len()..])
        })
        .unwrap_or(resource);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (strip_port(host), strip_version_tail(path))
}

/// The path without a tail `/api-version=…`. It counts only where a fixed word could stand: it is
/// a legal device id, too, and a token for that device must not become one for all.
fn strip_version_tail(path: &str) -> &str {
    let (head, tail) = path.rsplit_once('/').unwrap_or(("", path));
    let index = head.split('/').filter(|segment| !segment.is_empty()).count();
    if index.is_multiple_of(2) && is_version_tail(tail) { head } else { path }
}

fn is_version_tail(segment: &str) -> bool {
    const NAME: &str = "api-version=";
    segment.get(..NAME.len()).is_some_and(|head| head.eq_ignore_ascii_case(NAME))
}

/// The host without `:port`. An IPv6 address has its brackets when a port follows.
fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// Words stand at even places (`devices/{d}/modules/{m}`) and are compared without case.
fn segment_matches(granted: &str, asked: &str, index: usize, ids: IdMatch) -> bool {
    if index.is_multiple_of(2) || ids == IdMatch::IgnoreCase {
        granted.eq_ignore_ascii_case(asked)
    } else {
        granted == asked
    }
}

/// The scheme word, which is also the one of the `Authorization` header.
pub const SCHEME: &str = "SharedAccessSignature";

const SCHEMES: [&str; 3] = ["sb://", "amqps://", "https://"];

/// Some clients drop the padding.
const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
