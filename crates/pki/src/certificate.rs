//! What a certificate says: names, validity, thumbprints.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::pem::{self, PemError};

/// A certificate cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The PEM text has none or is damaged.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate")]
    Malformed(#[from] x509_parser::error::X509Error),
    /// A date outside of what can be represented.
    #[error("certificate's validity is out of range")]
    Validity,
}

/// One entry of the subject alternative names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AltName {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
}

/// A certificate's facts. Its signature has not been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The issuer's common name.
    pub issuer_common_name: Option<String>,
    /// Valid from this second on.
    pub not_before: Timestamp,
    /// Valid up to this second.
    pub not_after: Timestamp,
    /// The names it is for; kinds that we have no use for are left out.
    pub alt_names: Vec<AltName>,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
    /// Whether subject and issuer are the same.
    pub is_self_issued: bool,
}

impl Certificate {
    /// Reads one from DER.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let parsed = parse(der)?;
        let validity = parsed.validity();
        Ok(Self {
            der: der.clone().into_owned(),
            common_name: common_name(parsed.subject()),
            issuer_common_name: common_name(parsed.issuer()),
            not_before: timestamp(validity.not_before.timestamp())?,
            not_after: timestamp(validity.not_after.timestamp())?,
            alt_names: alt_names(&parsed)?,
            is_ca: parsed.is_ca(),
            is_self_issued: parsed.subject() == parsed.issuer(),
        })
    }

    /// Reads the first one of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::chain_from_pem(text)?
            .into_iter()
            .next()
            .ok_or(CertificateError::Pem(PemError::NoCertificate))
    }

    /// Reads all of a PEM text, at least one.
    pub fn chain_from_pem(text: &str) -> Result<Vec<Self>, CertificateError> {
        pem::certificates(text)?.iter().map(Self::from_der).collect()
    }

    /// The certificate itself.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as PEM text.
    pub fn to_pem(&self) -> String {
        pem::encode_certificate(&self.der)
    }

    /// Whether `moment` is within its validity.
    pub fn is_valid_at(&self, moment: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&moment)
    }

    /// Whether this is the public key it certifies; `key` is the content of the
    /// SubjectPublicKeyInfo's bit string.
    pub(crate) fn has_public_key(&self, key: &[u8]) -> bool {
        X509Certificate::from_der(&self.der)
            .is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *key)
    }

    /// The SHA-1 thumbprint in upper-case hex, as IoT Hub registers it.
    pub fn thumbprint_sha1(&self) -> String {
        thumbprint_sha1(&self.der)
    }

    /// The SHA-256 thumbprint in upper-case hex.
    pub fn thumbprint_sha256(&self) -> String {
        thumbprint_sha256(&self.der)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("common_name", &self.common_name)
            .field("issuer_common_name", &self.issuer_common_name)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The SubjectPublicKeyInfo of a certificate in DER, of any version.
pub fn public_key_info<'a>(
    der: &'a CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'a>, CertificateError> {
    let parsed = parse(der)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw))
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(x509_parser::error::X509Error::InvalidCertificate.into()),
        Err(x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error)) => {
            Err(error.into())
        }
        Err(x509_parser::nom::Err::Incomplete(_)) => {
            Err(x509_parser::error::X509Error::InvalidCertificate.into())
        }
    }
}

/// The SHA-1 thumbprint of a certificate in DER, in upper-case hex, as IoT Hub registers it.
pub fn thumbprint_sha1(der: &[u8]) -> String {
    thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY, der)
}

/// The SHA-256 thumbprint of a certificate in DER, in upper-case hex.
pub fn thumbprint_sha256(der: &[u8]) -> String {
    thumbprint(&digest::SHA256, der)
}

/// Every common name of the subject; none where one is no text.
pub(crate) fn common_names<'a>(parsed: &'a X509Certificate<'_>) -> Vec<Option<&'a str>> {
    parsed.subject().iter_common_name().map(|attribute| attribute.as_str().ok()).collect()
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let attribute = name.iter_common_name().next()?;
    attribute.as_str().ok().map(str::to_owned)
}

fn alt_names(parsed: &X509Certificate<'_>) -> Result<Vec<AltName>, CertificateError> {
    let Some(extension) = parsed.subject_alternative_name()? else {
        return Ok(Vec::new());
    };
    Ok(extension.value.general_names.iter().filter_map(alt_name).collect())
}

fn alt_name(name: &GeneralName<'_>) -> Option<AltName> {
    match name {
        GeneralName::DNSName(name) => Some(AltName::Dns((*name).to_owned())),
        GeneralName::URI(uri) => Some(AltName::Uri((*uri).to_owned())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(AltName::Ip(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?))),
            16 => Some(AltName::Ip(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?))),
            _ => None,
        },
        _ => None,
    }
}

/// Certificates without an end say 9999-12-31T23:59:59Z (RFC 5280 §4.1.2.5), some hours after the
/// last moment that `jiff` has.
fn timestamp(seconds: i64) -> Result<Timestamp, CertificateError> {
    match seconds {
        NO_END.. => Ok(Timestamp::MAX),
        _ => Timestamp::from_second(seconds).map_err(|_| CertificateError::Validity),
    }
}

/// 9999-12-30T22:00:00Z.
const NO_END: i64 = 253_402_207_200;

fn thumbprint(algorithm: &'static digest::Algorithm, der: &[u8]) -> String {
    let digest = digest::digest(algorithm, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}
