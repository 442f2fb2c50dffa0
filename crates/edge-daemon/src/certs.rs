//! The Edge CA, what it issues, and whom modules trust.
//!
//! Without a CA of the operator's the daemon makes its own (`edge-runtime.md` §2.3): a root that
//! never ends and that clients trust, and below it the Edge CA with a key of its own, which is
//! renewed when most of its life is over. Whoever trusts the root never notices. An Edge CA of the
//! operator's is read again when its files change, never renewed here, and its end is told before.
//! For operators: `docs/operating/clock.md`.

mod own;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host::clock::{Clock, Mono};
use host::fs::{self, FsError};
use iot_proto::management::{CertificateResponse, PrivateKey};
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use pki::authority::{MODULE_CERTIFICATE_LIFETIME, ModuleIdentityNames};
use pki::pem::PemError;
use pki::seal::SealError;
use pki::{Authority, AuthorityError, Issued, Validity};

use crate::config::{EdgeCaConfig, Period};
use crate::keys::{self, Keys, KeysError};
use own::{Made, Own};

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

/// What became of a look at the Edge CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Nothing was to be done.
    NotDue,
    /// There is a new one, which whoever trusts the old one's root trusts too.
    SameTrust,
    /// There is a new one under another root: modules must ask whom to trust.
    OtherTrust,
}

/// The Edge CA.
pub(crate) struct EdgeCa {
    config: EdgeCaConfig,
    /// The daemon's own root, when it has one.
    own: Option<Own>,
    /// Certificates that modules trust besides the CA's.
    more_trusted: String,
    clock: Clock,
    current: RwLock<Arc<Made>>,
    /// One renewal at a time.
    renewing: Mutex<()>,
    warned_at: Mutex<Option<Mono>>,
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
        let (own, current) = match &config {
            EdgeCaConfig::Files { certificate, key } => (None, given(certificate, key)?),
            EdgeCaConfig::Own { common_name, lifetime, .. } => {
                let common_name = match common_name {
                    Some(name) => name.clone(),
                    None => format!("aziot-edge CA {device}"),
                };
                let own = Own::open(&common_name, dir, keys)?;
                let made = match own.kept()? {
                    Some(kept) => kept,
                    None => own.make(clock.wall(), *lifetime)?,
                };
                (Some(own), made)
            }
        };
        let ca = Self {
            config,
            own,
            more_trusted,
            clock,
            current: RwLock::new(Arc::new(current)),
            renewing: Mutex::new(()),
            warned_at: Mutex::new(None),
        };
        // A disk that is full now must not keep a device down whose last one may still hold.
        if let Err(error) = ca.renew_if_due() {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "cannot renew the Edge CA, the last one is used");
        }
        Ok(ca)
    }

    /// A module's server certificate for a name that clients dial.
    pub(crate) fn server(
        &self,
        module: &str,
        common_name: &str,
    ) -> Result<CertificateResponse, AuthorityError> {
        let (authority, validity) = self.issuing();
        Ok(response(&authority.issue_module_server(common_name, module, validity)?))
    }

    /// A module's identity certificate.
    pub(crate) fn identity(
        &self,
        names: ModuleIdentityNames<'_>,
    ) -> Result<CertificateResponse, AuthorityError> {
        let (authority, validity) = self.issuing();
        Ok(response(&authority.issue_module_identity(names, validity)?))
    }

    /// Whom modules trust, PEM: the root of our own CA, or all of the operator's chain.
    pub(crate) fn trust_bundle(&self) -> String {
        let chain = self.current().authority.chain_pem();
        let bundles = match &self.own {
            Some(own) if self.current().is_below(own) => vec![own.root_pem()],
            // One of an earlier version is its own root.
            Some(own) => vec![own.root_pem(), chain],
            None => vec![chain],
        };
        let mut bundles: Vec<&str> = bundles.iter().map(String::as_str).collect();
        bundles.extend(Some(self.more_trusted.as_str()).filter(|more| !more.is_empty()));
        // All were read as PEM before.
        pki::pem::join(&bundles).unwrap_or_else(|_| bundles.concat())
    }

    pub(crate) fn facts(&self) -> EdgeCaFacts {
        let current = self.current();
        let certificate = current.authority.certificate();
        EdgeCaFacts {
            common_name: certificate.common_name.clone().unwrap_or_default(),
            not_after: certificate.not_after,
            is_own: self.own.is_some(),
        }
    }

    /// Makes our own CA anew when it is time, and reads the operator's when its files changed.
    pub(crate) fn renew_if_due(&self) -> Result<Renewal, CertsError> {
        let _one = self.renewing.lock();
        match (&self.config, &self.own) {
            (EdgeCaConfig::Own { lifetime, renew_at, .. }, Some(own)) => {
                let same = self.current().is_below(own);
                if !self.is_due(*renew_at) || !(same || self.clock.wall_is_plausible()) {
                    return Ok(Renewal::NotDue);
                }
                self.replace(own.make(self.clock.wall(), *lifetime)?, "renewed the Edge CA");
                Ok(if same { Renewal::SameTrust } else { Renewal::OtherTrust })
            }
            (EdgeCaConfig::Files { certificate, key }, _) => self.read_again(certificate, key),
            (EdgeCaConfig::Own { .. }, None) => Ok(Renewal::NotDue),
        }
    }

    /// A new key below the same root harms nobody, so a clock that may be wrong may decide, too:
    /// what it made is made anew when the clock has been set.
    fn is_due(&self, renew_at: Period) -> bool {
        let (current, now) = (self.current(), self.clock.wall());
        let due = renew_at.moment(current.made, current.authority.certificate().not_after);
        let made_after_now = current.made.duration_since(now) > AHEAD_MAX;
        now >= due || (made_after_now && self.clock.wall_is_plausible())
    }

    /// The files may be written one after the other; until they fit, the last ones are used.
    fn read_again(&self, certificate: &Path, key: &Path) -> Result<Renewal, CertsError> {
        self.warn_of_end();
        let text = fs::read_to_string(certificate)?;
        let current = self.current();
        if pki::Certificate::chain_from_pem(&text).is_ok_and(|chain| {
            chain.iter().map(pki::Certificate::to_pem).collect::<String>()
                == current.authority.chain_pem()
        }) {
            return Ok(Renewal::NotDue);
        }
        let read = given(certificate, key)?;
        let same = read.authority.root_pem() == current.authority.root_pem();
        self.replace(read, "read the new Edge CA");
        Ok(if same { Renewal::SameTrust } else { Renewal::OtherTrust })
    }

    fn replace(&self, made: Made, what: &str) {
        tracing::info!(not_after = %made.authority.certificate().not_after, "{what}");
        *self.current.write() = Arc::new(made);
        *self.warned_at.lock() = None;
    }

    /// After what a failed renewal is tried again: the configured time, but before the end.
    pub(crate) fn retry_after(&self) -> Duration {
        let EdgeCaConfig::Own { lifetime, retry, .. } = &self.config else { return LOOK_EVERY };
        let retry = match retry {
            Period::Percent(share) => *lifetime * u32::from(*share) / 100,
            Period::Time(time) => *time,
        };
        let end = self.facts().not_after;
        let left = Duration::try_from(end.duration_since(self.clock.wall())).unwrap_or_default();
        retry.min(left / 2).max(LOOK_EVERY)
    }

    /// The CA to issue with now, and for how long. What is due to be renewed is renewed first, so
    /// that whoever asks after the clock was set gets something that holds.
    fn issuing(&self) -> (Arc<Authority>, Validity) {
        let is_quiet = self.own.as_ref().is_some_and(|own| self.current().is_below(own));
        if is_quiet && let Err(error) = self.renew_if_due() {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "cannot renew the Edge CA");
        }
        let authority = Arc::clone(&self.current().authority);
        let certificate = authority.certificate();
        let now = self.clock.wall();
        let validity = if !self.clock.wall_is_plausible() || certificate.not_after <= now {
            // A clock that is not set yet, and one that will be; or nothing better to be had.
            Validity { not_before: certificate.not_before, not_after: certificate.not_after }
        } else {
            Validity::starting(now.max(certificate.not_before), MODULE_CERTIFICATE_LIFETIME)
        };
        (authority, validity)
    }

    /// Tells that the operator's CA ends, once a day from some time before.
    fn warn_of_end(&self) {
        let current = self.current();
        let certificate = current.authority.certificate();
        let (begin, end) = (certificate.not_before, certificate.not_after);
        let Some(left) = left_to_tell(&self.clock, begin, end) else { return };
        let now = self.clock.now();
        let mut warned_at = self.warned_at.lock();
        if warned_at.is_some_and(|before| now - before < WARN_EVERY) {
            return;
        }
        *warned_at = Some(now);
        if left.is_positive() {
            tracing::warn!(not_after = %end, "Edge CA ends soon, and is not ours to renew: replace the files that [edge_ca] cert and pk name; they are read within a minute");
        } else {
            tracing::error!(not_after = %end, "Edge CA has ended, so clients refuse the edge hub: replace the files that [edge_ca] cert and pk name; they are read within a minute");
        }
    }

    fn current(&self) -> Arc<Made> {
        self.current.read().clone()
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

/// What is left of a certificate's life, if that is to be told: the last fifth of it, 30 days at
/// most, and what is past its end. A clock that is not set yet tells nothing.
pub(crate) fn left_to_tell(
    clock: &Clock,
    begin: Timestamp,
    end: Timestamp,
) -> Option<SignedDuration> {
    let left = end.duration_since(clock.wall());
    let tell_before = (end.duration_since(begin) / 5).min(WARN_BEFORE_END);
    (left <= tell_before && clock.wall_is_plausible()).then_some(left)
}

fn given(certificate: &Path, key: &Path) -> Result<Made, CertsError> {
    keys::check_private(key)?;
    let key_pem = zeroize::Zeroizing::new(fs::read_to_string(key)?);
    let authority = Authority::from_pem(&fs::read_to_string(certificate)?, &key_pem)
        .map_err(|source| CertsError::Given { path: certificate.to_owned(), source })?;
    Ok(Made { made: authority.certificate().not_before, authority: Arc::new(authority) })
}

fn response(issued: &Issued) -> CertificateResponse {
    CertificateResponse {
        private_key: PrivateKey::from_pem(issued.key_pem.as_str()),
        certificate: issued.chain_pem.clone(),
        // The original's clients read an offset, not `Z`.
        expiration: issued.not_after.to_string().replace('Z', "+00:00"),
    }
}

/// How often the CA's age and its files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How often it is told that a certificate ends.
pub(crate) const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);
const WARN_BEFORE_END: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A CA made later than this after now was made by a wrong clock.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests;
