//! Whoever holds a key, and the tokens made of what it signs.
//!
//! The key may lie here ([`KeySigner`]) or with the edge daemon ([`WorkloadSigner`]); a TPM or a
//! PKCS#11 token would be other signers. A token's text and its string to sign are
//! `iot_proto::sas`. Spec: `device-protocol.md` §2.1, `edge-runtime.md` §2.2.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::clock::Clock;
use iot_proto::sas::{SIGNATURE_BYTES, TokenRequest};
use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::edge::{EdgeError, WorkloadClient};

/// Signs with a key that it does not give away.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    /// The HMAC-SHA256 of `data`.
    async fn sign(&self, data: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError>;
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key is not Base64.
    #[error("shared access key is not Base64; copy the whole key, with the `=` at its end")]
    Key,
    /// The daemon did not sign.
    #[error("workload API did not sign")]
    Workload(#[source] Box<EdgeError>),
    /// The daemon signed with something else.
    #[error("workload API answered with a digest that is not 32 bytes of Base64")]
    Digest,
}

/// A key in memory, wiped when it is dropped.
pub struct KeySigner {
    key: hmac::Key,
}

impl KeySigner {
    /// The key as it stands in a connection string, Base64.
    pub fn from_base64(key: &str) -> Result<Self, SignError> {
        let bytes = Zeroizing::new(STANDARD.decode(key.trim()).map_err(|_| SignError::Key)?);
        Ok(Self::from_bytes(&bytes))
    }

    /// The key's bytes.
    pub fn from_bytes(key: &[u8]) -> Self {
        // aws-lc wipes its copy when the key is dropped.
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }
}

#[async_trait]
impl Signer for KeySigner {
    async fn sign(&self, data: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
        let tag = hmac::sign(&self.key, data);
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(tag.as_ref());
        Ok(signature)
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySigner(..)")
    }
}

/// A module's key with the edge daemon.
#[derive(Debug, Clone)]
pub struct WorkloadSigner {
    workload: WorkloadClient,
}

impl WorkloadSigner {
    /// Signs as the module that the client speaks for.
    pub fn new(workload: WorkloadClient) -> Self {
        Self { workload }
    }
}

#[async_trait]
impl Signer for WorkloadSigner {
    async fn sign(&self, data: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
        let digest = self.workload.sign(data).await;
        let digest = digest.map_err(|error| SignError::Workload(Box::new(error)))?;
        digest.try_into().map_err(|_| SignError::Digest)
    }
}

/// A token's parts that do not change from one to the next.
#[derive(Debug, Clone)]
pub struct TokenRecipe {
    /// The resource, not encoded: `{hub}/devices/{d}`, or a whole host.
    pub resource: String,
    /// The policy whose key signs; none for an identity's own key.
    pub key_name: Option<String>,
    /// How long a token holds.
    pub lifetime: Duration,
}

impl TokenRecipe {
    /// A token that holds from now on.
    pub async fn token(&self, signer: &dyn Signer, clock: &Clock) -> Result<String, SignError> {
        let lifetime = SignedDuration::try_from(self.lifetime).unwrap_or(SignedDuration::MAX);
        let expires = clock.wall().checked_add(lifetime).unwrap_or(jiff::Timestamp::MAX);
        let request = TokenRequest::new(&self.resource, expires);
        let signature = signer.sign(request.string_to_sign().as_bytes()).await?;
        Ok(request.finish(&signature, self.key_name.as_deref()))
    }
}

/// How an identity proves itself.
#[derive(Debug, Clone)]
pub enum Proof {
    /// By tokens.
    Token {
        /// Who signs them.
        signer: Arc<dyn Signer>,
        /// What they say.
        recipe: TokenRecipe,
    },
    /// By the certificate that the TLS settings carry; no token is sent.
    Certificate,
}

impl Proof {
    /// A token that holds from now on; none where the certificate is the proof.
    pub async fn token(&self, clock: &Clock) -> Result<Option<String>, SignError> {
        match self {
            Self::Token { signer, recipe } => recipe.token(&**signer, clock).await.map(Some),
            Self::Certificate => Ok(None),
        }
    }

    /// How long a token holds; none where there is none.
    pub fn lifetime(&self) -> Option<Duration> {
        match self {
            Self::Token { recipe, .. } => Some(recipe.lifetime),
            Self::Certificate => None,
        }
    }
}

/// A token for a resource, signed with an identity's own key.
pub async fn token(
    resource: &str,
    signer: &dyn Signer,
    lifetime: Duration,
    clock: &Clock,
) -> Result<String, SignError> {
    let recipe = TokenRecipe { resource: resource.to_owned(), key_name: None, lifetime };
    recipe.token(signer, clock).await
}

#[cfg(test)]
mod tests {
    use iot_proto::sas::SasToken;

    use super::*;

    #[tokio::test]
    async fn a_token_is_what_other_implementations_compute() {
        // Computed with Python's hmac over the same texts.
        let signer =
            KeySigner::from_base64("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=").unwrap();
        let clock = Clock::manual("2026-11-25T00:00:00Z".parse().unwrap());
        let text = token("localhost/devices/dev1", &signer, Duration::from_secs(3600), &clock)
            .await
            .unwrap();
        assert_eq!(text, EXPECTED);
        let parsed = SasToken::parse(&text).unwrap();
        assert_eq!(parsed.expires_at().to_string(), "2026-11-25T01:00:00Z");
        assert_eq!(parsed.string_to_sign(), "localhost%2Fdevices%2Fdev1\n1795568400");
    }

    #[test]
    fn a_key_that_is_no_base64_is_refused_and_never_shown() {
        let error = KeySigner::from_base64("secret key").unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert_eq!(format!("{:?}", KeySigner::from_bytes(b"secret")), "KeySigner(..)");
    }

    const EXPECTED: &str = "SharedAccessSignature sr=localhost%2Fdevices%2Fdev1&sig=PBTqUYuJQuJgiyimmiCvZ11qtgrMcjsYXNWaVQqCytk%3D&se=1795568400";
}
