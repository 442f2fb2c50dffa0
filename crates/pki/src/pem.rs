//! PEM bundles: taking certificates out of text and putting them into it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{Error, PemObject};

/// The text is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// A block is damaged.
    #[error("damaged PEM block")]
    Damaged(#[source] Error),
    /// There is no certificate in the text.
    #[error("no certificate in PEM text; expected BEGIN CERTIFICATE")]
    NoCertificate,
}

/// The certificates in a bundle, in order, at least one. Other blocks (keys) and
/// text between blocks are skipped.
pub fn certificates(bundle: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(PemError::Damaged)?;
    match certificates.is_empty() {
        true => Err(PemError::NoCertificate),
        false => Ok(certificates),
    }
}

/// A bundle as one text per certificate.
pub fn split(bundle: &str) -> Result<Vec<String>, PemError> {
    Ok(certificates(bundle)?.iter().map(|der| encode_certificate(der)).collect())
}

/// One bundle of several; a certificate that is in more than one comes once.
pub fn join(bundles: &[&str]) -> Result<String, PemError> {
    let mut all: Vec<String> = Vec::new();
    for bundle in bundles {
        for certificate in split(bundle)? {
            if !all.contains(&certificate) {
                all.push(certificate);
            }
        }
    }
    Ok(all.concat())
}

/// One certificate as PEM text.
pub fn encode_certificate(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / LINE + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so any index is a border between characters.
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// RFC 7468 §2: lines of exactly 64 characters but the last.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_come_apart_and_together_without_doubles() {
        let first = encode_certificate(&[1; 100]);
        let second = encode_certificate(&[2; 48]);
        let bundle = format!("# roots\n{first}some words\n{second}");
        assert_eq!(split(&bundle).unwrap(), [first.clone(), second.clone()]);
        assert_eq!(join(&[&first, &bundle]).unwrap(), format!("{first}{second}"));
        assert!(first.lines().all(|line| line.len() <= LINE));
    }

    #[test]
    fn text_without_a_certificate_or_with_a_broken_one_is_refused() {
        assert!(matches!(split("hello"), Err(PemError::NoCertificate)));
        let broken = encode_certificate(&[1; 100]).replace("-----END", "-----END OF");
        assert!(matches!(split(&broken), Err(PemError::Damaged(_))));
    }
}
