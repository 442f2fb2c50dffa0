//! How a new identity proves itself: by keys that the hub makes, unless a certificate is named.

use std::str::FromStr;

use iot_proto::payload::AuthenticationWrite;
use model::identity::Authentication;

/// Arguments that name a certificate.
#[derive(Debug, clap::Args)]
pub(super) struct Proof {
    /// It proves itself by the certificate with this fingerprint, SHA-1 or SHA-256, instead of keys
    #[arg(long, value_name = "HEX")]
    thumbprint: Option<Thumbprint>,
    /// Or by this one: so that one of the two can be replaced
    #[arg(long, value_name = "HEX", requires = "thumbprint")]
    second_thumbprint: Option<Thumbprint>,
    /// It proves itself by a certificate for its id that a registered authority has signed
    #[arg(long, visible_alias = "x509-ca", conflicts_with = "thumbprint")]
    certificate_authority: bool,
}

impl From<Proof> for AuthenticationWrite {
    fn from(proof: Proof) -> Self {
        if proof.certificate_authority {
            return Self::Other(Authentication::CertificateAuthority);
        }
        match proof.thumbprint {
            Some(Thumbprint(primary)) => Self::Other(Authentication::SelfSigned {
                primary: Some(primary),
                secondary: proof.second_thumbprint.map(|Thumbprint(second)| second),
            }),
            None => Self::Keep,
        }
    }
}

/// As `openssl x509 -noout -fingerprint -sha256` prints it, or without colons.
#[derive(Debug, Clone)]
struct Thumbprint(String);

impl FromStr for Thumbprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        match digits.len() {
            40 | 64 if digits.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(Self(digits)),
            _ => Err("write 40 (SHA-1) or 64 (SHA-256) hex digits, as \
                      openssl x509 -in cert.pem -noout -fingerprint -sha256 does"
                .to_owned()),
        }
    }
}
