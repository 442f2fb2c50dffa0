//! The daemon's own CA in its files: a root that clients trust, and the Edge CA below it.
//!
//! The root never ends and is valid from 1970 on, so that neither a renewal nor a clock that is not
//! set yet takes away what clients rely on. Its key is as secret as the Edge CA's own, which it lies
//! beside: who has one has both, so a shorter life would protect nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::fs;
use jiff::{SignedDuration, Timestamp};
use pki::{Authority, Validity};
use serde::{Deserialize, Serialize};

use super::CertsError;
use crate::keys::Keys;

/// The root, and where the Edge CA is kept.
pub(super) struct Own {
    root: Authority,
    common_name: String,
    file: PathBuf,
    keys: Arc<Keys>,
}

/// An Edge CA.
pub(super) struct Made {
    pub(super) authority: Arc<Authority>,
    /// When it was made, by the clock of then.
    pub(super) made: Timestamp,
}

/// An authority in its file.
#[derive(Serialize, Deserialize)]
struct Kept {
    certificate: String,
    /// Base64.
    sealed_key: String,
    /// Seconds since 1970; absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<i64>,
}

impl Made {
    /// Whether it was issued by this root.
    pub(super) fn is_below(&self, own: &Own) -> bool {
        self.authority.root_pem() == own.root_pem()
    }
}

impl Own {
    /// Opens the root, or makes it: another name is another root.
    pub(super) fn open(common_name: &str, dir: &Path, keys: Arc<Keys>) -> Result<Self, CertsError> {
        let common_name = cut(common_name);
        let root_name = cut(&format!("root of {common_name}"));
        let file = dir.join("root-ca.json");
        let root = match read(&file, ROOT_KEY_NAME, &keys)? {
            Some((root, _)) if has_name(&root, &root_name) => root,
            _ => {
                let root = Authority::create_root(&root_name, Validity::unlimited())?;
                write(&file, ROOT_KEY_NAME, &keys, &root, None)?;
                root
            }
        };
        show(&dir.join(ROOT_FILE), &root.root_pem());
        Ok(Self { root, common_name, file: dir.join("edge-ca.json"), keys })
    }

    pub(super) fn root_pem(&self) -> String {
        self.root.root_pem()
    }

    /// The Edge CA of an earlier run: below this root, or self-signed by an earlier version.
    pub(super) fn kept(&self) -> Result<Option<Made>, CertsError> {
        let Some((authority, made)) = read(&self.file, KEY_NAME, &self.keys)? else {
            return Ok(None);
        };
        let is_self_signed = authority.root_pem() == authority.certificate().to_pem();
        let made = made.unwrap_or(authority.certificate().not_before);
        let kept = Made { authority: Arc::new(authority), made };
        let fits = has_name(&kept.authority, &self.common_name);
        Ok(Some(kept).filter(|kept| fits && (kept.is_below(self) || is_self_signed)))
    }

    /// Makes a new Edge CA with a new key.
    pub(super) fn make(&self, now: Timestamp, lifetime: Duration) -> Result<Made, CertsError> {
        let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
        // It holds for clients whose clock is not set yet, too.
        let validity = Validity {
            not_before: Timestamp::UNIX_EPOCH,
            not_after: now.saturating_add(lifetime).unwrap_or(Timestamp::MAX),
        };
        let authority = self.root.issue_authority(&self.common_name, 0, validity)?;
        write(&self.file, KEY_NAME, &self.keys, &authority, Some(now))?;
        Ok(Made { authority: Arc::new(authority), made: now })
    }
}

/// Puts the root where people find what to give to leaf devices; nothing here needs that file.
fn show(file: &Path, root_pem: &str) {
    if fs::read_optional(file).is_ok_and(|shown| shown.as_deref() == Some(root_pem)) {
        return;
    }
    if let Err(error) = fs::write_atomic(file, root_pem.as_bytes(), 0o644) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "cannot write the root's certificate for leaf devices");
    }
}

fn read(
    file: &Path,
    key_name: &str,
    keys: &Keys,
) -> Result<Option<(Authority, Option<Timestamp>)>, CertsError> {
    let Some(text) = fs::read_optional(file)? else { return Ok(None) };
    let damaged = || CertsError::Damaged { path: file.to_owned() };
    let kept: Kept = serde_json::from_str(&text).map_err(|_| damaged())?;
    let sealed = STANDARD.decode(&kept.sealed_key).map_err(|_| damaged())?;
    let key = keys
        .open_sealed(key_name, &sealed)
        .map_err(|source| CertsError::Sealed { path: file.to_owned(), source })?;
    let key = std::str::from_utf8(&key).map_err(|_| damaged())?;
    let authority = Authority::from_pem(&kept.certificate, key).map_err(|_| damaged())?;
    let made = kept.made.and_then(|seconds| Timestamp::from_second(seconds).ok());
    Ok(Some((authority, made)))
}

fn write(
    file: &Path,
    key_name: &str,
    keys: &Keys,
    authority: &Authority,
    made: Option<Timestamp>,
) -> Result<(), CertsError> {
    let kept = Kept {
        certificate: authority.chain_pem(),
        sealed_key: STANDARD.encode(keys.seal(key_name, authority.key_pem().as_bytes())),
        made: made.map(Timestamp::as_second),
    };
    // One file, so that certificate and key are never of two CAs.
    Ok(fs::write_atomic(file, &iot_proto::payload::write(&kept), 0o600)?)
}

fn has_name(authority: &Authority, name: &str) -> bool {
    authority.certificate().common_name.as_deref() == Some(name)
}

fn cut(common_name: &str) -> String {
    common_name.chars().take(COMMON_NAME_CHARS_MAX).collect()
}

/// The root's certificate alone, PEM.
const ROOT_FILE: &str = "trusted-root.pem";
const KEY_NAME: &str = "edge-ca";
const ROOT_KEY_NAME: &str = "root-ca";
/// As `pki` cuts common names (RFC 5280).
const COMMON_NAME_CHARS_MAX: usize = 64;
