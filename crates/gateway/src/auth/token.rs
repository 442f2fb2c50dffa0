//! Tokens: the signature, the time, and which key it was.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::sas::SasToken;
use jiff::{SignedDuration, Timestamp};
use model::identity::SymmetricKeys;

use super::Denied;
use super::evidence::Fingerprint;

pub(super) fn parse(token: Option<&str>) -> Result<SasToken, Denied> {
    let token = token.filter(|token| !token.is_empty()).ok_or(Denied::Missing)?;
    SasToken::parse(token).map_err(Denied::Malformed)
}

/// Which key signed it. Computes the signature even when there is no key, so that the time tells
/// nothing.
pub(super) fn check_signature(
    token: &SasToken,
    keys: Option<&SymmetricKeys>,
    now: Timestamp,
) -> Result<Fingerprint, Denied> {
    check(token, keys, now, |key| STANDARD.decode(key).unwrap_or_default())
}

/// The same for a policy's token. Clients of the event endpoint, whose resources begin with
/// `sb://`, sign with the bytes of the key's text (sa §1.2).
pub(super) fn check_policy_signature(
    token: &SasToken,
    keys: Option<&SymmetricKeys>,
    now: Timestamp,
) -> Result<Fingerprint, Denied> {
    match token.is_for_events() {
        true => check(token, keys, now, |key| key.as_bytes().to_vec()),
        false => check_signature(token, keys, now),
    }
}

fn check(
    token: &SasToken,
    keys: Option<&SymmetricKeys>,
    now: Timestamp,
    hmac_key: fn(&str) -> Vec<u8>,
) -> Result<Fingerprint, Denied> {
    let text = token.string_to_sign();
    let fits = |key: &str| {
        let bytes = hmac_key(key);
        let usable = !bytes.is_empty();
        let key = hmac::Key::new(hmac::HMAC_SHA256, if usable { &bytes } else { &NO_KEY });
        let signature = hmac::sign(&key, text.as_bytes());
        let equal =
            constant_time::verify_slices_are_equal(signature.as_ref(), token.signature()).is_ok();
        equal & usable
    };
    let (primary, secondary) = match keys {
        Some(keys) => (fits(&keys.primary), fits(&keys.secondary)),
        None => (fits(NO_KEY_TEXT), fits(NO_KEY_TEXT)),
    };
    let key = match keys {
        Some(keys) if primary => &keys.primary,
        Some(keys) if secondary => &keys.secondary,
        _ => return Err(Denied::Signature),
    };
    if ends(token) <= now {
        return Err(Denied::Expired(token.expires_at()));
    }
    Ok(Fingerprint::of_key(key))
}

/// The token's end with the skew that its clock is allowed.
pub(super) fn ends(token: &SasToken) -> Timestamp {
    let skew = SignedDuration::from_secs(model::limits::TOKEN_SKEW_S as i64);
    token.expires_at().checked_add(skew).unwrap_or(Timestamp::MAX)
}

/// Stands in for a key that is none.
const NO_KEY: [u8; 32] = [0; 32];
/// Stands in for the keys of an unknown identity, as long as theirs. Nothing is accepted by it.
const NO_KEY_TEXT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[cfg(test)]
mod timing;
