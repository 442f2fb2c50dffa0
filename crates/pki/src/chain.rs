//! Whether a device's certificate chains to a registered authority (`device-protocol.md` §2.2).
//!
//! Path building and signatures are webpki's: intermediates in any order, six of them at most, a
//! bound on the work, validity, basic constraints, path lengths, name constraints and extended key
//! usage (client authentication, where a certificate says anything about it). What webpki leaves
//! out is checked here: the key usage of whoever signed, the validity and the path length of the
//! registered authority itself, and the subject's name, of which there must be one. Nothing is
//! revoked by lists: an identity is disabled, or its authority removed.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::X509Certificate;

use crate::certificate::{Certificate, CertificateError, common_names, parse};

/// A chain does not prove what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No certificate at all.
    #[error("the chain is empty")]
    Empty,
    /// A certificate cannot be read.
    #[error("a certificate of the chain cannot be read; version 3 is needed")]
    Malformed,
    /// No path leads to a registered authority.
    #[error("no path leads from the certificate to a registered authority: {0}")]
    Path(String),
    /// An authority on the path may not sign certificates.
    #[error("a certificate on the path may not sign others: its key usage lacks keyCertSign")]
    KeyUsage,
    /// The registered authority is not valid now.
    #[error("the registered authority is not valid now")]
    AuthorityValidity,
    /// More intermediates than the registered authority allows.
    #[error("the path is longer than the registered authority allows")]
    PathLength,
    /// The subject's common name is another, missing, or there are several.
    #[error("the subject's common name is not {expected:?}")]
    Name {
        /// Which it should be.
        expected: String,
    },
}

/// A certificate may not be registered as an authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitAuthority {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] CertificateError),
    /// It is a leaf.
    #[error("it is not a certificate authority's: basicConstraints lacks CA:TRUE")]
    NotAnAuthority,
    /// It may not sign certificates.
    #[error("it may not sign certificates: keyUsage lacks keyCertSign")]
    KeyUsage,
    /// webpki cannot use it.
    #[error("it cannot be used as a trust anchor")]
    Unusable,
}

/// A certificate that others may chain to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainAnchor {
    certificate: Certificate,
    path_length: Option<u32>,
}

/// What a chain proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenChain<'a> {
    /// The authority at the end of the path.
    pub anchor: &'a ChainAnchor,
    /// Until when every certificate on the path is valid.
    pub not_after: Timestamp,
}

impl ChainAnchor {
    /// Takes an authority's certificate, root or intermediate.
    pub fn new(certificate: Certificate) -> Result<Self, UnfitAuthority> {
        let parsed = parse(certificate.der())?;
        let constraints = parsed.basic_constraints().map_err(CertificateError::from)?;
        let constraints = constraints.filter(|constraints| constraints.value.ca);
        let constraints = constraints.ok_or(UnfitAuthority::NotAnAuthority)?;
        let path_length = constraints.value.path_len_constraint;
        if !may_sign(&parsed) {
            return Err(UnfitAuthority::KeyUsage);
        }
        anchor_from_trusted_cert(certificate.der()).map_err(|_| UnfitAuthority::Unusable)?;
        Ok(Self { certificate, path_length })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn admits(&self, signers_below: u32, now: Timestamp) -> Result<(), ChainError> {
        if !self.certificate.is_valid_at(now) {
            return Err(ChainError::AuthorityValidity);
        }
        match self.path_length {
            Some(length) if signers_below > length => Err(ChainError::PathLength),
            _ => Ok(()),
        }
    }
}

/// Checks a chain (DER, leaf first, the rest in any order) against the registered authorities, and
/// that its leaf is `common_name`'s.
pub fn verify<'a>(
    chain: &[Vec<u8>],
    anchors: &'a [ChainAnchor],
    common_name: &str,
    now: Timestamp,
) -> Result<ProvenChain<'a>, ChainError> {
    let (leaf, rest) = chain.split_first().ok_or(ChainError::Empty)?;
    let leaf = CertificateDer::from(leaf.as_slice());
    let intermediates: Vec<_> =
        rest.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    // What was registered could be read, so nothing is lost here.
    let trusted: Vec<TrustAnchor<'_>> = anchors
        .iter()
        .filter_map(|anchor| anchor_from_trusted_cert(anchor.certificate.der()).ok())
        .collect();
    let end_entity = EndEntityCert::try_from(&leaf).map_err(|_| ChainError::Malformed)?;
    let path = end_entity
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &trusted,
            &intermediates,
            unix_time(now),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(|error| ChainError::Path(error.to_string()))?;

    let mut not_after = Timestamp::MAX;
    let mut signers_below = 0;
    for intermediate in path.intermediate_certificates() {
        let der = intermediate.der();
        let parsed = parse(&der).map_err(|_| ChainError::Malformed)?;
        if !may_sign(&parsed) {
            return Err(ChainError::KeyUsage);
        }
        // Self-issued ones do not count (RFC 5280 §6.1.4 l).
        signers_below += u32::from(parsed.subject() != parsed.issuer());
        not_after = not_after.min(end(&parsed)?);
    }
    let same = anchors.iter().zip(&trusted).filter(|(_, trusted)| *trusted == path.anchor());
    let anchor = lasting(same.map(|(anchor, _)| anchor), signers_below, now)?;
    not_after = not_after.min(anchor.certificate.not_after);
    let parsed = parse(&leaf).map_err(|_| ChainError::Malformed)?;
    check_name(&parsed, common_name)?;
    not_after = not_after.min(end(&parsed)?);
    Ok(ProvenChain { anchor, not_after })
}

/// Of the certificates of one authority (same name, same key) the one that lasts longest: a renewed
/// one may be registered beside the one that has run out.
fn lasting<'a>(
    same: impl Iterator<Item = &'a ChainAnchor>,
    signers_below: u32,
    now: Timestamp,
) -> Result<&'a ChainAnchor, ChainError> {
    let mut found: Option<&ChainAnchor> = None;
    let mut refusal = ChainError::Path("unknown anchor".into());
    for anchor in same {
        match anchor.admits(signers_below, now) {
            Ok(()) => {
                let ends = anchor.certificate.not_after;
                found = found.filter(|found| found.certificate.not_after >= ends).or(Some(anchor));
            }
            Err(error) => refusal = error,
        }
    }
    found.ok_or(refusal)
}

/// Whether `proof` shows that somebody holds the authority's key: signed by it, valid now, and its
/// common name is the code that was asked for. Version 1 will do: `openssl x509 -req` makes it.
pub fn verify_possession(
    proof: &Certificate,
    authority: &Certificate,
    code: &str,
    now: Timestamp,
) -> Result<(), ChainError> {
    let proof_parsed = parse(proof.der()).map_err(|_| ChainError::Malformed)?;
    let authority = parse(authority.der()).map_err(|_| ChainError::Malformed)?;
    check_name(&proof_parsed, code)?;
    if !proof.is_valid_at(now) {
        return Err(ChainError::Path("certificate is not valid now".into()));
    }
    if proof_parsed.issuer() != authority.subject() {
        return Err(ChainError::Path("its issuer is another".into()));
    }
    proof_parsed
        .verify_signature(Some(authority.public_key()))
        .map_err(|_| ChainError::Path("its signature is another's".into()))
}

fn check_name(parsed: &X509Certificate<'_>, expected: &str) -> Result<(), ChainError> {
    match common_names(parsed).as_slice() {
        [Some(name)] if *name == expected => Ok(()),
        _ => Err(ChainError::Name { expected: expected.to_owned() }),
    }
}

/// Without the extension everything is allowed (RFC 5280 §4.2.1.3).
fn may_sign(parsed: &X509Certificate<'_>) -> bool {
    match parsed.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn end(parsed: &X509Certificate<'_>) -> Result<Timestamp, ChainError> {
    let seconds = parsed.validity().not_after.timestamp();
    Timestamp::from_second(seconds).map_err(|_| ChainError::Malformed)
}

fn unix_time(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
