//! A certificate authority: made, loaded, and issuing what the corridor needs.
//!
//! All keys are EC P-256 with SHA-256. Every certificate carries the extensions
//! that OpenSSL's strict mode asks for (Python 3.13 verifies so by default):
//! subject and authority key identifiers, critical basic constraints, and
//! critical key usage on authorities.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use zeroize::Zeroizing;

use crate::certificate::{Certificate, CertificateError};

mod module;

pub use self::module::{MODULE_CERTIFICATE_LIFETIME, ModuleIdentityNames};

/// A certificate could not be made or an authority not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The authority's certificate cannot be read.
    #[error("unusable authority certificate")]
    Certificate(#[from] CertificateError),
    /// The certificate may not sign others.
    #[error("certificate of {common_name} is not a certificate authority's")]
    NotAnAuthority {
        /// Whose certificate it is.
        common_name: String,
    },
    /// The key cannot be read, or is not of the certificate.
    #[error("key does not belong to the authority's certificate")]
    KeyMismatch,
    /// A name cannot be put into a certificate.
    #[error("name {name:?} cannot be put into a certificate")]
    Name {
        /// The name.
        name: String,
    },
    /// The authority's own validity is over at the time asked for.
    #[error("authority's certificate has expired at {not_after}; renew it")]
    Expired {
        /// When it did.
        not_after: Timestamp,
    },
    /// A date outside of what certificates can hold (1970 to 9999).
    #[error("validity is out of range")]
    Validity,
    /// Making or signing failed.
    #[error("cannot make certificate or key")]
    Signing(#[from] rcgen::Error),
}

/// From when to when a certificate is to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

impl Validity {
    /// For ever, as X.509 says it (RFC 5280 §4.1.2.5).
    pub fn unlimited() -> Self {
        Self { not_before: Timestamp::UNIX_EPOCH, not_after: Timestamp::MAX }
    }

    /// `lifetime` from `now` on. It starts five minutes earlier, for peers whose
    /// clock is behind, but not before 1970, in which machines without a clock begin.
    pub fn starting(now: Timestamp, lifetime: Duration) -> Self {
        let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
        Self {
            not_before: now
                .checked_sub(CLOCK_SKEW)
                .unwrap_or(Timestamp::MIN)
                .max(Timestamp::UNIX_EPOCH),
            not_after: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
        }
    }
}

/// What a server is reached by: a DNS name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name, possibly with a `*` as its first label.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl FromStr for ServerName {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(address));
        }
        match is_dns_name(text) {
            true => Ok(Self::Dns(text.to_owned())),
            false => Err(AuthorityError::Name { name: text.to_owned() }),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// A certificate that was just issued, with its key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate alone, as PEM.
    pub certificate_pem: String,
    /// The certificate and all of its issuers up to the root, as PEM.
    pub chain_pem: String,
    /// The key: PKCS#8 as PEM. Wiped when dropped.
    pub key_pem: Zeroizing<String>,
    /// When it ends.
    pub not_after: Timestamp,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A certificate authority with its key.
pub struct Authority {
    /// Its own certificate, then its issuers.
    chain: Vec<Certificate>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a self-signed root.
    pub fn create_root(common_name: &str, validity: Validity) -> Result<Self, AuthorityError> {
        let key = new_key()?;
        let params = authority_params(common_name, validity, BasicConstraints::Unconstrained)?;
        let certificate = Certificate::from_der(params.self_signed(&key)?.der())?;
        Ok(Self { chain: vec![certificate], issuer: Issuer::new(params, key) })
    }

    /// Loads one: its certificate first in `chain_pem`, then its issuers.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let chain = Certificate::chain_from_pem(chain_pem)?;
        let own = &chain[0];
        if !own.is_ca {
            return Err(AuthorityError::NotAnAuthority {
                common_name: own.common_name.clone().unwrap_or_default(),
            });
        }
        let key = KeyPair::from_pem(key_pem).map_err(|_| AuthorityError::KeyMismatch)?;
        if !own.has_public_key(key.public_key_raw()) {
            return Err(AuthorityError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(own.der(), key)?;
        Ok(Self { chain, issuer })
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// Its own certificate and its issuers, as PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// The last certificate of its chain: what a client has to trust, as PEM.
    pub fn root_pem(&self) -> String {
        self.chain.last().map(Certificate::to_pem).unwrap_or_default()
    }

    /// Its key: PKCS#8 as PEM. Wiped when dropped.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Issues an authority below this one, which may issue `authorities_below`
    /// further levels (0: only end certificates).
    pub fn issue_authority(
        &self,
        common_name: &str,
        authorities_below: u8,
        validity: Validity,
    ) -> Result<Self, AuthorityError> {
        let key = new_key()?;
        let validity = self.cut(validity)?;
        let constraints = BasicConstraints::Constrained(authorities_below);
        let params = authority_params(common_name, validity, constraints)?;
        let certificate = Certificate::from_der(params.signed_by(&key, &self.issuer)?.der())?;
        let mut chain = vec![certificate];
        chain.extend(self.chain.iter().cloned());
        Ok(Self { chain, issuer: Issuer::new(params, key) })
    }

    /// Issues a TLS server's certificate for all of `names`; the first is its
    /// common name too.
    pub fn issue_server(
        &self,
        names: &[ServerName],
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        let first = names.first().map(ServerName::to_string).unwrap_or_default();
        let alt_names = names.iter().map(server_alt_name).collect::<Result<_, _>>()?;
        self.issue(End {
            common_name: &first,
            alt_names,
            purpose: ExtendedKeyUsagePurpose::ServerAuth,
            validity,
        })
    }

    /// Issues a TLS client's certificate.
    pub fn issue_client(
        &self,
        common_name: &str,
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        self.issue(End {
            common_name,
            alt_names: Vec::new(),
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            validity,
        })
    }

    fn issue(&self, end: End<'_>) -> Result<Issued, AuthorityError> {
        let key = new_key()?;
        let mut params = params(end.common_name, self.cut(end.validity)?)?;
        params.subject_alt_names = end.alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![end.purpose];
        let signed = params.signed_by(&key, &self.issuer)?;
        let certificate = Certificate::from_der(signed.der())?;
        let certificate_pem = certificate.to_pem();
        Ok(Issued {
            chain_pem: certificate_pem.clone() + &self.chain_pem(),
            certificate_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
            not_after: certificate.not_after,
        })
    }

    /// Nothing outlives its issuer.
    fn cut(&self, validity: Validity) -> Result<Validity, AuthorityError> {
        let not_after = validity.not_after.min(self.certificate().not_after);
        match not_after <= validity.not_before {
            true => Err(AuthorityError::Expired { not_after: self.certificate().not_after }),
            false => Ok(Validity { not_after, ..validity }),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// An end certificate to be issued.
struct End<'a> {
    common_name: &'a str,
    alt_names: Vec<SanType>,
    purpose: ExtendedKeyUsagePurpose,
    validity: Validity,
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn authority_params(
    common_name: &str,
    validity: Validity,
    constraints: BasicConstraints,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(common_name, validity)?;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(params)
}

fn params(common_name: &str, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    // RFC 5280 A.1 (ub-common-name): 64 characters at most. The full name of a
    // server is among its alternative names, which is what clients look at.
    let common_name: String = common_name.chars().take(COMMON_NAME_CHARS_MAX).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.not_before)?;
    params.not_after = epoch + since_epoch(validity.not_after)?;
    Ok(params)
}

fn since_epoch(moment: Timestamp) -> Result<Duration, AuthorityError> {
    if moment == Timestamp::MAX {
        return Ok(Duration::from_secs(LAST_SECOND));
    }
    match u64::try_from(moment.as_second()) {
        Ok(seconds) if seconds <= LAST_SECOND => Ok(Duration::from_secs(seconds)),
        _ => Err(AuthorityError::Validity),
    }
}

fn server_alt_name(name: &ServerName) -> Result<SanType, AuthorityError> {
    match name {
        ServerName::Ip(address) => Ok(SanType::IpAddress(*address)),
        ServerName::Dns(name) => Ok(SanType::DnsName(ia5(name)?)),
    }
}

fn ia5(text: &str) -> Result<Ia5String, AuthorityError> {
    Ia5String::try_from(text).map_err(|_| AuthorityError::Name { name: text.to_owned() })
}

/// Labels of letters, digits, `-` and (not in the standard, but in use) `_`.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(is_label)
}

const COMMON_NAME_CHARS_MAX: usize = 64;
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// 9999-12-31T23:59:59Z, the last that X.509 knows (RFC 5280 §4.1.2.5).
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
