//! Sealing of secrets at rest: AES-256-GCM under a master key.
//!
//! A sealed secret says which version and which master key it is of, so that a
//! wrong key is told apart from damage. What it belongs to (`bound_to`: a table
//! and row, or module, generation and initialization vector for the workload
//! API's `encrypt`) is authenticated, so that it cannot be moved elsewhere.
//!
//! Layout: version (1 byte, 1), key id (4), nonce (12), ciphertext, tag (16).
//! Nonces are random; NIST SP 800-38D §8.3 allows 2^32 seals per key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

/// The size of a nonce in bytes; every seal needs a fresh random one.
pub const NONCE_BYTES: usize = NONCE_LEN;

/// The size of a master key in bytes.
pub const MASTER_KEY_BYTES: usize = 32;

/// A sealed secret cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Cut off, not base64, or not a sealed secret at all.
    #[error("not a sealed secret")]
    Malformed,
    /// Sealed by a newer version of this program.
    #[error("secret is sealed in format {version}, which is newer than this program")]
    Version {
        /// Its format.
        version: u8,
    },
    /// Sealed under another master key.
    #[error("secret is sealed under another master key; restore the key file it was made with")]
    OtherKey,
    /// Changed, or moved from where it belongs.
    #[error("sealed secret is damaged or was moved from where it belongs")]
    Damaged,
    /// A master key that is not 32 bytes.
    #[error("master key must be {MASTER_KEY_BYTES} bytes")]
    KeySize,
}

/// The key that all secrets are sealed under. Wiped when dropped.
pub struct MasterKey {
    key: LessSafeKey,
    id: [u8; KEY_ID_BYTES],
}

impl MasterKey {
    /// The key of these bytes, which are wiped.
    pub fn new(mut bytes: [u8; MASTER_KEY_BYTES]) -> Self {
        let id = key_id(&bytes);
        // The length is right by its type, and that is the only condition.
        let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("32 bytes are an AES-256 key");
        bytes.zeroize();
        Self { key: LessSafeKey::new(key), id }
    }
}

impl TryFrom<&[u8]> for MasterKey {
    type Error = SealError;

    fn try_from(bytes: &[u8]) -> Result<Self, SealError> {
        bytes.try_into().map(Self::new).map_err(|_| SealError::KeySize)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// Seals `secret`. `nonce` must be fresh and random: the same one twice under
/// one key gives both secrets away.
pub fn seal(
    master: &MasterKey,
    nonce: [u8; NONCE_BYTES],
    bound_to: &[u8],
    secret: &[u8],
) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + secret.len() + TAG_BYTES);
    sealed.push(VERSION);
    sealed.extend_from_slice(&master.id);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(secret);
    let authenticated = authenticated(&sealed[..HEADER_BYTES], bound_to);
    let tag = master
        .key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&authenticated),
            &mut sealed[HEADER_BYTES..],
        )
        // Fails only beyond 64 GiB (SP 800-38D §5.2.1.1).
        .expect("a secret is shorter than 64 GiB");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// Opens what [`seal`] made, for the same `bound_to`.
pub fn open(
    master: &MasterKey,
    bound_to: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    match sealed.first() {
        Some(&VERSION) => {}
        Some(&version) if version > VERSION => return Err(SealError::Version { version }),
        _ => return Err(SealError::Malformed),
    }
    if sealed.len() < HEADER_BYTES + TAG_BYTES {
        return Err(SealError::Malformed);
    }
    let (header, ciphertext) = sealed.split_at(HEADER_BYTES);
    let (id, nonce) = header[1..].split_at(KEY_ID_BYTES);
    if id != master.id {
        return Err(SealError::OtherKey);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
    let mut secret = Zeroizing::new(ciphertext.to_vec());
    let length = master
        .key
        .open_in_place(nonce, Aad::from(&authenticated(header, bound_to)), &mut secret)
        .map_err(|_| SealError::Damaged)?
        .len();
    secret.truncate(length);
    Ok(secret)
}

/// A sealed secret as text, for JSON and databases. It may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedText(String);

impl SealedText {
    /// Seals `secret`; see [`seal`].
    pub fn seal(
        master: &MasterKey,
        nonce: [u8; NONCE_BYTES],
        bound_to: &[u8],
        secret: &[u8],
    ) -> Self {
        Self(STANDARD.encode(seal(master, nonce, bound_to, secret)))
    }

    /// Opens it; see [`open`].
    pub fn open(
        &self,
        master: &MasterKey,
        bound_to: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let sealed = STANDARD.decode(&self.0).map_err(|_| SealError::Malformed)?;
        open(master, bound_to, &sealed)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SealedText {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        match STANDARD.decode(text) {
            Ok(sealed) if sealed.first() == Some(&VERSION) => Ok(Self(text.to_owned())),
            _ => Err(SealError::Malformed),
        }
    }
}

impl fmt::Display for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn authenticated(header: &[u8], bound_to: &[u8]) -> Vec<u8> {
    // The header's length is fixed, so the two cannot be mistaken for each other.
    [header, bound_to].concat()
}

fn key_id(key: &[u8; MASTER_KEY_BYTES]) -> [u8; KEY_ID_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"farshore master key id");
    context.update(key);
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&context.finish().as_ref()[..KEY_ID_BYTES]);
    id
}

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;
const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

    fn key(byte: u8) -> MasterKey {
        MasterKey::new([byte; MASTER_KEY_BYTES])
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_only() {
        let sealed = seal(&key(1), NONCE, b"identity/d1", b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&key(1), b"identity/d1", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(open(&key(1), b"identity/d2", &sealed), Err(SealError::Damaged));
        assert_eq!(open(&key(2), b"identity/d1", &sealed), Err(SealError::OtherKey));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sealed = seal(&key(1), NONCE, b"", b"secret");
        for index in 0..sealed.len() * 8 {
            let mut tampered = sealed.clone();
            tampered[index / 8] ^= 1 << (index % 8);
            assert!(open(&key(1), b"", &tampered).is_err(), "bit {index}");
        }
        for length in 0..sealed.len() {
            assert!(open(&key(1), b"", &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_format_is_told() {
        let mut sealed = seal(&key(1), NONCE, b"", b"secret");
        sealed[0] = 2;
        assert_eq!(open(&key(1), b"", &sealed), Err(SealError::Version { version: 2 }));
    }

    /// Sealed by the first version; must open for ever.
    #[test]
    fn the_first_format_still_opens() {
        let sealed = seal(&key(7), NONCE, b"table/row", b"kept");
        let text = STANDARD.encode(sealed);
        assert_eq!(text, FIRST_FORMAT);
        let kept: SealedText = FIRST_FORMAT.parse().unwrap();
        assert_eq!(kept.open(&key(7), b"table/row").unwrap().as_slice(), b"kept");
    }

    const FIRST_FORMAT: &str = "ARWuIgMJCQkJCQkJCQkJCQlM4PTg8B6UFQSXHTYh2rw4bBrbGw==";

    #[test]
    fn sealed_text_goes_through_a_file_and_keys_have_one_size() {
        let sealed = SealedText::seal(&key(1), NONCE, b"x", b"");
        let read: SealedText = sealed.to_string().parse().unwrap();
        assert_eq!(read.open(&key(1), b"x").unwrap().as_slice(), b"");
        assert_eq!("hello".parse::<SealedText>(), Err(SealError::Malformed));
        assert_eq!(MasterKey::try_from(&[0; 31][..]).unwrap_err(), SealError::KeySize);
    }
}
