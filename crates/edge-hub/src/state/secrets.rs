//! The key that secrets in the database are sealed with: random, and itself encrypted by the
//! workload API, so that the database alone gives nothing away.
//!
//! The workload API binds what it encrypts to the module and its generation (er §2.2). When the
//! module was made anew the old key cannot be had any more: a new one is made, and what was sealed
//! with the old one is fetched from the hub again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::edge::{EdgeError, WorkloadClient};
use host::clock::Clock;
use pki::seal::{MASTER_KEY_BYTES, MasterKey, SealedText};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Seals and opens what lies in the database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seal {
    key: Arc<MasterKey>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key's file cannot be read or written.
    #[error(transparent)]
    File(#[from] host::fs::FsError),
    /// The daemon does not encrypt.
    #[error("workload API does not encrypt the edge hub's key")]
    Workload(#[source] EdgeError),
}

impl Seal {
    /// A seal with this key.
    pub(crate) fn new(key: [u8; MASTER_KEY_BYTES]) -> Self {
        Self { key: Arc::new(MasterKey::new(key)) }
    }

    /// The sealed JSON of `value`; `place` and `id` say where it belongs.
    pub(crate) fn seal(&self, place: &str, id: &str, value: &impl Serialize) -> String {
        // Serialising plain data to memory does not fail.
        let text = Zeroizing::new(serde_json::to_vec(value).unwrap_or_default());
        let nonce = host::entropy::bytes();
        let bound_to = bound_to(place, id);
        SealedText::seal(&self.key, nonce, &bound_to, &text).as_str().to_owned()
    }

    /// Opens what [`Seal::seal`] made for the same place; none when it cannot be opened.
    pub(crate) fn open<T: DeserializeOwned>(
        &self,
        place: &str,
        id: &str,
        sealed: &str,
    ) -> Option<T> {
        let sealed: SealedText = sealed.parse().ok()?;
        let opened = sealed.open(&self.key, &bound_to(place, id));
        match opened {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) => {
                tracing::warn!(place, id, %error, "stored secret cannot be opened; it is fetched again");
                None
            }
        }
    }
}

fn bound_to(place: &str, id: &str) -> Vec<u8> {
    format!("{place}/{id}").into_bytes()
}

/// The key's file.
#[derive(Serialize, Deserialize)]
struct Envelope {
    vector: String,
    ciphertext: String,
}

/// Reads the key, or makes one. Waits for the daemon for as long as it does not answer.
pub(crate) async fn open_seal(
    dir: &Path,
    workload: &WorkloadClient,
    clock: &Clock,
) -> Result<Seal, SealError> {
    let path = dir.join("key.json");
    let stored = host::fs::read_optional(&path)?;
    let envelope = stored.and_then(|text| serde_json::from_str::<Envelope>(&text).ok());
    if let Some(envelope) = envelope {
        match decrypt(&envelope, workload, clock).await {
            Some(key) => return Ok(Seal::new(key)),
            None => tracing::warn!(
                "the edge hub's key cannot be decrypted, as after its module was made anew; cached identities and twins are fetched again"
            ),
        }
    }
    let key = host::entropy::bytes::<MASTER_KEY_BYTES>();
    let vector = host::entropy::bytes::<VECTOR_BYTES>();
    let ciphertext = patiently(clock, || workload.encrypt(&key, &vector)).await;
    let ciphertext = ciphertext.map_err(SealError::Workload)?;
    let envelope =
        Envelope { vector: STANDARD.encode(vector), ciphertext: STANDARD.encode(ciphertext) };
    let text = serde_json::to_vec(&envelope).unwrap_or_default();
    host::fs::write_atomic(&path, &text, 0o600)?;
    Ok(Seal::new(key))
}

/// None when the daemon says that it cannot be decrypted.
async fn decrypt(
    envelope: &Envelope,
    workload: &WorkloadClient,
    clock: &Clock,
) -> Option<[u8; MASTER_KEY_BYTES]> {
    let vector = STANDARD.decode(&envelope.vector).ok()?;
    let ciphertext = STANDARD.decode(&envelope.ciphertext).ok()?;
    let key = patiently(clock, || workload.decrypt(&ciphertext, &vector)).await;
    let key =
        Zeroizing::new(key.inspect_err(|error| tracing::warn!(%error, "cannot decrypt")).ok()?);
    key.as_slice().try_into().ok()
}

/// Asks again while the daemon does not answer; its refusals count after some attempts, because it
/// may be starting itself.
pub(crate) async fn patiently<T, F>(
    clock: &Clock,
    mut ask: impl FnMut() -> F,
) -> Result<T, EdgeError>
where
    F: Future<Output = Result<T, EdgeError>>,
{
    let mut refusals = 0;
    loop {
        let error = match ask().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.status().is_some() {
            refusals += 1;
        }
        // A bad request does not get better by repeating it.
        if refusals == REFUSALS_MAX || error.status() == Some(400) {
            return Err(error);
        }
        tracing::warn!(error = %host::logs::chain(&error), "workload API does not help; it is asked again");
        clock.sleep(ASK_AGAIN).await;
    }
}

const VECTOR_BYTES: usize = 16;
const REFUSALS_MAX: u32 = 3;
const ASK_AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_only_where_it_belongs_and_with_its_key() {
        let seal = Seal::new([1; 32]);
        let sealed = seal.seal("twins", "edge1/a", &serde_json::json!({ "x": 1 }));
        let open = |seal: &Seal, id: &str| seal.open::<serde_json::Value>("twins", id, &sealed);
        assert_eq!(open(&seal, "edge1/a"), Some(serde_json::json!({ "x": 1 })));
        assert_eq!(open(&seal, "edge1/b"), None);
        assert_eq!(open(&Seal::new([2; 32]), "edge1/a"), None);
        assert_eq!(seal.open::<serde_json::Value>("twins", "edge1/a", "no"), None);
    }
}
