//! Registered certificate authorities, in the shape of the service's management interface
//! (sa §8.1: `certificates`).
//!
//! `certificate` is Base64 of what the operator's file holds, PEM or DER, as the service's own
//! tools send it; PEM as it is will do, too. What it means is for the caller.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::{AuthorityName, Etag, Fault, FaultKind};
use serde::{Deserialize, Serialize};

use super::read;
use crate::{etag, time};

/// What is shown of an authority.
#[derive(Debug, Clone, Copy)]
pub struct CertificateParts<'a> {
    /// Its name.
    pub name: &'a AuthorityName,
    /// Its version.
    pub etag: Etag,
    /// Its certificate's subject: the common name.
    pub subject: &'a str,
    /// Until when its certificate is valid.
    pub expiry: Timestamp,
    /// Its certificate's SHA-1 thumbprint, hex.
    pub thumbprint: &'a str,
    /// Whether devices may chain to it.
    pub is_verified: bool,
    /// When it was registered.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Its certificate, DER.
    pub certificate: &'a [u8],
    /// What a certificate of its must have as common name, when somebody has asked for that.
    pub verification_code: Option<&'a str>,
}

/// An authority as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateJson {
    /// Its name.
    pub name: String,
    /// Its version, for `If-Match`.
    pub etag: String,
    /// Everything else.
    pub properties: CertificateProperties,
}

/// What an authority is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateProperties {
    /// The common name of its subject.
    pub subject: String,
    /// Until when its certificate is valid.
    pub expiry: String,
    /// Its certificate's SHA-1 thumbprint, hex.
    pub thumbprint: String,
    /// Whether devices may chain to it.
    pub is_verified: bool,
    /// When it was registered.
    pub created: String,
    /// When it was last changed.
    pub updated: String,
    /// Its certificate, Base64 of DER.
    pub certificate: String,
    /// What a certificate of its must have as common name, when somebody has asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_code: Option<String>,
}

/// A list of authorities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatesJson {
    /// All of them.
    pub value: Vec<CertificateJson>,
}

impl CertificateJson {
    /// The answer for an authority.
    pub fn new(parts: &CertificateParts<'_>) -> Self {
        Self {
            name: parts.name.to_string(),
            etag: etag::identity(parts.etag),
            properties: CertificateProperties {
                subject: parts.subject.to_owned(),
                expiry: time::round_trip(parts.expiry),
                thumbprint: parts.thumbprint.to_owned(),
                is_verified: parts.is_verified,
                created: time::round_trip(parts.created),
                updated: time::round_trip(parts.updated),
                certificate: STANDARD.encode(parts.certificate),
                verification_code: parts.verification_code.map(str::to_owned),
            },
        }
    }
}

/// What a client writes of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWrite {
    /// PEM text or DER.
    pub certificate: Vec<u8>,
    /// Whether the client answers for it that whoever registers it holds its key.
    pub is_verified: bool,
}

impl CertificateWrite {
    /// Reads a body. Members that only answers have are noise.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Body {
            properties: Option<Properties>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Properties {
            certificate: Option<String>,
            is_verified: Option<bool>,
        }
        let body: Body = read(body)?;
        let properties = body.properties.ok_or_else(|| missing("properties"))?;
        Ok(Self {
            certificate: file("properties.certificate", properties.certificate)?,
            is_verified: properties.is_verified.unwrap_or(false),
        })
    }

    /// The body, as a client writes it.
    pub fn body(&self) -> Vec<u8> {
        let certificate = STANDARD.encode(&self.certificate);
        super::write(&serde_json::json!({
            "properties": { "certificate": certificate, "isVerified": self.is_verified }
        }))
    }
}

/// Reads the body of a verification: the certificate that an authority has signed, PEM text or DER.
pub fn read_proof(body: &[u8]) -> Result<Vec<u8>, Fault> {
    #[derive(Deserialize)]
    struct Body {
        certificate: Option<String>,
    }
    let body: Body = read(body)?;
    file("certificate", body.certificate)
}

/// The body of a verification, as a client writes it.
pub fn proof_body(certificate: &[u8]) -> Vec<u8> {
    super::write(&serde_json::json!({ "certificate": STANDARD.encode(certificate) }))
}

fn file(name: &'static str, text: Option<String>) -> Result<Vec<u8>, Fault> {
    let text = text.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))?;
    if text.contains("-----BEGIN") {
        return Ok(text.into_bytes());
    }
    let packed: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(packed).map_err(|_| {
        Fault::argument(format!("{name} is neither PEM nor Base64 of a certificate's file"))
    })
}

fn missing(name: &'static str) -> Fault {
    Fault::new(FaultKind::ArgumentNull, format!("{name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_is_read_in_every_packing() {
        for (text, certificate) in [
            (STANDARD.encode([0, 1, 2]), vec![0, 1, 2]),
            (STANDARD.encode(PEM), PEM.as_bytes().to_vec()),
            ("AA\r\nEC\n".to_owned(), vec![0, 1, 2]),
            (PEM.to_owned(), PEM.as_bytes().to_vec()),
        ] {
            let body = serde_json::json!({ "properties": { "certificate": text } }).to_string();
            let write = CertificateWrite::read(body.as_bytes()).unwrap();
            assert_eq!(write, CertificateWrite { certificate, is_verified: false });
        }
        let write = CertificateWrite { certificate: PEM.into(), is_verified: true };
        assert_eq!(CertificateWrite::read(&write.body()), Ok(write));
        assert_eq!(read_proof(&proof_body(PEM.as_bytes())), Ok(PEM.into()));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_named() {
        for (body, part) in [
            ("{}", "properties is missing"),
            (r#"{"properties":{}}"#, "properties.certificate is missing"),
            (r#"{"properties":{"certificate":""}}"#, "properties.certificate is missing"),
            (r#"{"properties":{"certificate":"?"}}"#, "neither PEM nor Base64"),
            (r#"{"properties":{"certificate":7}}"#, "not as expected"),
            ("[]", "not as expected"),
        ] {
            let fault = CertificateWrite::read(body.as_bytes()).unwrap_err();
            assert!(fault.detail.contains(part), "{body}: {fault}");
        }
        let fault = read_proof(b"{}").unwrap_err();
        assert_eq!(fault.detail, "certificate is missing");
    }

    #[test]
    fn an_answer_has_every_member_and_the_code_when_there_is_one() {
        let name = "plant".parse().unwrap();
        let parts = CertificateParts {
            name: &name,
            etag: Etag(7),
            subject: "Plant CA",
            expiry: Timestamp::UNIX_EPOCH,
            thumbprint: "AB",
            is_verified: false,
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
            certificate: &[0, 1, 2],
            verification_code: None,
        };
        let json = serde_json::to_value(CertificateJson::new(&parts)).unwrap();
        let epoch = "1970-01-01T00:00:00.0000000Z";
        assert_eq!(
            json,
            serde_json::json!({ "name": "plant", "etag": "Nw==", "properties": {
                "subject": "Plant CA", "expiry": epoch, "thumbprint": "AB", "isVerified": false,
                "created": epoch, "updated": epoch, "certificate": "AAEC",
            }})
        );
        let coded = CertificateParts { verification_code: Some("c0de"), ..parts };
        assert_eq!(
            CertificateJson::new(&coded).properties.verification_code.as_deref(),
            Some("c0de")
        );
    }
}
