//! Certificates and keys that the configuration names as files.

use std::path::{Path, PathBuf};

use host::tls::ClientTls;
use jiff::Timestamp;
use pki::certificate::{Certificate, public_key_info};

use super::Seen;
use crate::commands::iotedge::failure::words;

/// From when to when a certificate holds, and who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Life {
    pub(in super::super) from: Timestamp,
    pub(in super::super) end: Timestamp,
    pub(in super::super) is_self_issued: bool,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Pair {
    pub(in super::super) certificate: PathBuf,
    pub(in super::super) key: PathBuf,
    pub(in super::super) life: Seen<Life>,
    /// Whether the key can be read.
    pub(in super::super) key_is_read: Seen<()>,
    /// Whether it is the certificate's; none when one of them cannot be read.
    pub(in super::super) fit: Option<Seen<()>>,
    pub(in super::super) strength: Strength,
}

/// What kind of key a certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Strength {
    P256,
    OtherCurve,
    /// RSA of 2048 bits or more.
    Rsa,
    ShortRsa,
    Unknown,
}

/// Looks at both files.
pub(super) fn pair(certificate: &Path, key: &Path) -> Pair {
    let chain = host::fs::read_to_string(certificate).map_err(words);
    let key_pem = host::fs::read_to_string(key).map_err(words);
    let first = chain.clone().and_then(|pem| Certificate::from_pem(&pem).map_err(words));
    let fit = match (&first, &chain, &key_pem) {
        (Ok(_), Ok(chain), Ok(key)) => {
            let both = ClientTls::new(&[]).and_then(|tls| tls.with_certificate(chain, key));
            Some(both.map(drop).map_err(words))
        }
        _ => None,
    };
    Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        strength: first.as_ref().map_or(Strength::Unknown, strength),
        life: first.map(|certificate| life_of(&certificate)),
        key_is_read: key_pem.map(drop),
        fit,
    }
}

/// The certificate of a bundle that ends first.
pub(super) fn life(path: &Path) -> Seen<Life> {
    let pem = host::fs::read_to_string(path).map_err(words)?;
    let chain = Certificate::chain_from_pem(&pem).map_err(words)?;
    let first_to_end = chain.iter().min_by_key(|certificate| certificate.not_after);
    let none = || vec![format!("{} has no certificate", path.display())];
    first_to_end.map(life_of).ok_or_else(none)
}

fn life_of(certificate: &Certificate) -> Life {
    Life {
        from: certificate.not_before,
        end: certificate.not_after,
        is_self_issued: certificate.is_self_issued,
    }
}

fn strength(certificate: &Certificate) -> Strength {
    let Ok(info) = public_key_info(certificate.der()) else { return Strength::Unknown };
    let has = |id: &[u8]| info.windows(id.len()).any(|window| window == id);
    match () {
        () if has(P256) => Strength::P256,
        () if has(ELLIPTIC) => Strength::OtherCurve,
        () if has(RSA) && info.len() < RSA_2048_INFO_BYTES => Strength::ShortRsa,
        () if has(RSA) => Strength::Rsa,
        () => Strength::Unknown,
    }
}

/// 1.2.840.10045.3.1.7 in DER (RFC 5480).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.2.840.10045.2.1: any elliptic curve (RFC 5480).
const ELLIPTIC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.113549.1.1.1 (RFC 3279).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// A SubjectPublicKeyInfo with a modulus of 2048 bits and the exponent 3 has 292.
const RSA_2048_INFO_BYTES: usize = 292;
