//! The Edge CA, what it issues, and whom modules trust.
//!
//! Without a CA of the operator's the daemon makes its own, self-signed, and renews it when most
//! of its life is over (`edge-runtime.md` §2.3). A renewed CA has a new key, so whoever trusts the
//! old one must ask again: restarting modules is the daemon's part, in `lifecycle`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::clock::{Clock, Mono};
use host::fs::{self, FsError};
use iot_proto::management::{CertificateResponse, PrivateKey};
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use pki::authority::ModuleIdentityNames;
use pki::pem::PemError;
use pki::seal::SealError;
use pki::{Authority, AuthorityError, Issued, Validity};
use serde::{Deserialize, Serialize};

use crate::config::{EdgeCaConfig, Period};
use crate::keys::{self, Keys, KeysError};

/// Why certificates are not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A file cannot be read or written.
    #[error("cannot use a certificate's file")]
    File(#[from] FsError),
    /// A key's file cannot be used.
    #[error("cannot use the Edge CA's key")]
    Key(#[from] KeysError),
    /// The CA that is given cannot be used.
    #[error("cannot use the Edge CA of {}", path.display())]
    Given {
        /// Its certificate's file.
        path: PathBuf,
        /// Why not.
        source: AuthorityError,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] AuthorityError),
    /// The file of our own CA is damaged.
    #[error("{} is damaged: remove it, and the Edge CA is made anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The CA's key cannot be opened.
    #[error("cannot open the Edge CA's key in {}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SealError,
    },
    /// A bundle of certificates is none.
    #[error("cannot use the certificates of {what}")]
    Bundle {
        /// Whose.
        what: String,
        /// Why not.
        source: PemError,
    },
}

/// What `check` and others want to know of the Edge CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeCaFacts {
    /// Its common name.
    pub common_name: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// Whether the daemon made it, as opposed to the operator.
    pub is_own: bool,
}

/// The Edge CA.
pub(crate) struct EdgeCa {
    config: EdgeCaConfig,
    common_name: String,
    file: PathBuf,
    keys: Arc<Keys>,
    /// Certificates that modules trust besides the CA's.
    more_trusted: String,
    clock: Clock,
    authority: RwLock<Arc<Authority>>,
    warned_at: Mutex<Option<Mono>>,
}

/// Our own CA in its file.
#[derive(Serialize, Deserialize)]
struct Kept {
    certificate: String,
    /// Base64.
    sealed_key: String,
}

impl EdgeCa {
    /// Opens or makes it; `more_trusted` is PEM or empty.
    pub(crate) fn open(
        config: EdgeCaConfig,
        device: &str,
        dir: &Path,
        keys: Arc<Keys>,
        more_trusted: String,
        clock: Clock,
    ) -> Result<Self, CertsError> {
        fs::create_private_dir(dir)?;
        let common_name = match &config {
            EdgeCaConfig::Own { common_name: Some(name), .. } => name.clone(),
            _ => format!("aziot-edge CA {device}"),
        };
        let file = dir.join("edge-ca.json");
        let authority = match &config {
            EdgeCaConfig::Files { certificate, key } => given(certificate, key)?,
            EdgeCaConfig::Own { lifetime, .. } => {
                let common_name: String = common_name.chars().take(COMMON_NAME_CHARS_MAX).collect();
                match kept(&file, &keys)? {
                    Some(kept)
                        if kept.certificate().common_name.as_deref() == Some(&common_name) =>
                    {
                        kept
                    }
                    _ => make(&common_name, *lifetime, &file, &keys, &clock)?,
                }
            }
        };
        let ca = Self {
            config,
            common_name,
            file,
            keys,
            more_trusted,
            clock,
            authority: RwLock::new(Arc::new(authority)),
            warned_at: Mutex::new(None),
        };
        ca.renew_if_due()?;
        Ok(ca)
    }

    /// A module's server certificate for a name that clients dial.
    pub(crate) fn server(
        &self,
        module: &str,
        common_name: &str,
    ) -> Result<CertificateResponse, AuthorityError> {
        let issued = self.current().issue_module_server(common_name, module, self.clock.wall())?;
        Ok(response(&issued))
    }

    /// A module's identity certificate.
    pub(crate) fn identity(
        &self,
        names: ModuleIdentityNames<'_>,
    ) -> Result<CertificateResponse, AuthorityError> {
        Ok(response(&self.current().issue_module_identity(names, self.clock.wall())?))
    }

    /// Whom modules trust, PEM.
    pub(crate) fn trust_bundle(&self) -> String {
        let own = self.current().chain_pem();
        let mut bundles = vec![own.as_str()];
        bundles.extend(Some(self.more_trusted.as_str()).filter(|more| !more.is_empty()));
        // Both were read as PEM before.
        pki::pem::join(&bundles).unwrap_or_else(|_| bundles.concat())
    }

    pub(crate) fn facts(&self) -> EdgeCaFacts {
        let authority = self.current();
        let certificate = authority.certificate();
        EdgeCaFacts {
            common_name: certificate.common_name.clone().unwrap_or_default(),
            not_after: certificate.not_after,
            is_own: matches!(self.config, EdgeCaConfig::Own { .. }),
        }
    }

    /// Makes our own CA anew when it is time; `true` when it did. A clock that cannot be right
    /// decides nothing.
    pub(crate) fn renew_if_due(&self) -> Result<bool, CertsError> {
        let EdgeCaConfig::Own { lifetime, renew_at, .. } = &self.config else {
            self.warn_of_end();
            return Ok(false);
        };
        let current = self.current();
        let (begin, end) = (current.certificate().not_before, current.certificate().not_after);
        let due = renew_at.moment(begin, end);
        let now = self.clock.wall();
        if now < due || !self.clock.wall_is_trusted() {
            return Ok(false);
        }
        let common_name: String = self.common_name.chars().take(COMMON_NAME_CHARS_MAX).collect();
        let renewed = make(&common_name, *lifetime, &self.file, &self.keys, &self.clock)?;
        tracing::info!(not_after = %renewed.certificate().not_after, "renewed the Edge CA");
        *self.authority.write() = Arc::new(renewed);
        Ok(true)
    }

    /// After what a failed renewal is tried again.
    pub(crate) fn retry_after(&self) -> Duration {
        let EdgeCaConfig::Own { lifetime, retry, .. } = &self.config else { return LOOK_EVERY };
        match retry {
            Period::Percent(share) => *lifetime * u32::from(*share) / 100,
            Period::Time(time) => *time,
        }
    }

    fn warn_of_end(&self) {
        let end = self.current().certificate().not_after;
        let left = end.duration_since(self.clock.wall());
        if left > WARN_BEFORE_END || !self.clock.wall_is_trusted() {
            return;
        }
        let now = self.clock.now();
        let mut warned_at = self.warned_at.lock();
        if warned_at.is_none_or(|before| now - before >= WARN_EVERY) {
            *warned_at = Some(now);
            tracing::warn!(not_after = %end, "Edge CA ends soon or has ended: replace the file that [edge_ca] cert names, and restart");
        }
    }

    fn current(&self) -> Arc<Authority> {
        self.authority.read().clone()
    }
}

impl Period {
    /// When a certificate with this renewal is renewed.
    fn moment(self, begin: Timestamp, end: Timestamp) -> Timestamp {
        let life = end.duration_since(begin);
        match self {
            Self::Percent(share) => begin.checked_add(life * i32::from(share) / 100).unwrap_or(end),
            Self::Time(time) => {
                let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
                end.checked_sub(time).unwrap_or(begin)
            }
        }
    }
}

/// Certificates that modules trust besides the Edge CA: the operator's file and the hub's CA.
pub(crate) fn more_trusted(file: Option<&Path>, hub: Option<&str>) -> Result<String, CertsError> {
    let mut texts = Vec::new();
    if let Some(path) = file {
        texts.push((format!("trust_bundle_cert {}", path.display()), fs::read_to_string(path)?));
    }
    texts.extend(hub.map(|pem| ("the hub".to_owned(), pem.to_owned())));
    let mut all = String::new();
    for (what, text) in texts {
        let bundles: Vec<&str> =
            [all.as_str(), &text].into_iter().filter(|text| !text.is_empty()).collect();
        all = pki::pem::join(&bundles).map_err(|source| CertsError::Bundle { what, source })?;
    }
    Ok(all)
}

fn given(certificate: &Path, key: &Path) -> Result<Authority, CertsError> {
    keys::check_private(key)?;
    let key_pem = zeroize::Zeroizing::new(fs::read_to_string(key)?);
    Authority::from_pem(&fs::read_to_string(certificate)?, &key_pem)
        .map_err(|source| CertsError::Given { path: certificate.to_owned(), source })
}

fn kept(file: &Path, keys: &Keys) -> Result<Option<Authority>, CertsError> {
    let Some(text) = fs::read_optional(file)? else { return Ok(None) };
    let damaged = || CertsError::Damaged { path: file.to_owned() };
    let kept: Kept = serde_json::from_str(&text).map_err(|_| damaged())?;
    let sealed = STANDARD.decode(&kept.sealed_key).map_err(|_| damaged())?;
    let key = keys
        .open_sealed(KEY_NAME, &sealed)
        .map_err(|source| CertsError::Sealed { path: file.to_owned(), source })?;
    let key = std::str::from_utf8(&key).map_err(|_| damaged())?;
    Ok(Some(Authority::from_pem(&kept.certificate, key).map_err(|_| damaged())?))
}

fn make(
    common_name: &str,
    lifetime: Duration,
    file: &Path,
    keys: &Keys,
    clock: &Clock,
) -> Result<Authority, CertsError> {
    let authority =
        Authority::create_root(common_name, Validity::starting(clock.wall(), lifetime))?;
    let kept = Kept {
        certificate: authority.chain_pem(),
        sealed_key: STANDARD.encode(keys.seal(KEY_NAME, authority.key_pem().as_bytes())),
    };
    // One file, so that certificate and key are never of two CAs.
    fs::write_atomic(file, &iot_proto::payload::write(&kept), 0o600)?;
    Ok(authority)
}

fn response(issued: &Issued) -> CertificateResponse {
    CertificateResponse {
        private_key: PrivateKey::from_pem(issued.key_pem.as_str()),
        certificate: issued.chain_pem.clone(),
        // The original's clients read an offset, not `Z`.
        expiration: issued.not_after.to_string().replace('Z', "+00:00"),
    }
}

/// How often the CA's age is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);
const KEY_NAME: &str = "edge-ca";
/// As `pki` cuts common names (RFC 5280).
const COMMON_NAME_CHARS_MAX: usize = 64;
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);
const WARN_BEFORE_END: SignedDuration = SignedDuration::from_hours(7 * 24);

#[cfg(test)]
mod tests;
