//! The device's own keys: the one that module keys are derived from, the one for the workload
//! API's `encrypt`, and the master key that seals secrets at rest.
//!
//! Module keys are derived and never stored (`edge-runtime.md` §2.5):
//! HMAC-SHA256(identity key, `<module>:<generation>:primary|secondary`). Ids may hold a `:`, but a
//! generation never does, so two modules never share a text. The device's key at the hub is not
//! kept here: it stays where the operator wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::fs::{self, FsError};
use model::identity::SymmetricKeys;
use model::{GenerationId, ModuleId};
use pki::seal::{MASTER_KEY_BYTES, MasterKey, SealError};
use zeroize::Zeroizing;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("cannot use the daemon's keys")]
    File(#[from] FsError),
    /// Others than its owner may read a key.
    #[error("others than its owner may read {} (mode {mode:o}): run chmod 600 on it", path.display())]
    Readable {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The master key is gone, and what it sealed is there.
    #[error(
        "{} is missing, but keys sealed with it are there: restore it from a backup, or remove {} \
         to begin anew with other module keys",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    MasterMissing {
        /// Its file.
        path: PathBuf,
    },
    /// A key's file does not hold a key.
    #[error("{} is damaged: restore it from a backup", path.display())]
    Damaged {
        /// The key's file.
        path: PathBuf,
        /// What is wrong.
        source: SealError,
    },
}

/// The keys of one daemon.
pub(crate) struct Keys {
    master: MasterKey,
    identity: hmac::Key,
    encryption: MasterKey,
}

impl Keys {
    /// Reads them from a directory; made there the first time.
    pub(crate) fn open(dir: &Path) -> Result<Self, KeysError> {
        fs::create_private_dir(dir)?;
        let master = master(dir)?;
        let identity = sealed(&master, dir, "identity")?;
        let encryption = sealed(&master, dir, "encryption")?;
        let encryption = MasterKey::try_from(encryption.as_slice())
            .map_err(|source| KeysError::Damaged { path: file(dir, "encryption"), source })?;
        Ok(Self { master, identity: hmac::Key::new(hmac::HMAC_SHA256, &identity), encryption })
    }

    /// Both keys of a module, as the hub gets them.
    pub(crate) fn symmetric(&self, module: &ModuleId, generation: &GenerationId) -> SymmetricKeys {
        let text = |which| STANDARD.encode(self.derive(module, generation, which));
        SymmetricKeys { primary: text("primary"), secondary: text("secondary") }
    }

    /// HMAC-SHA256 of `data` with a module's primary key.
    pub(crate) fn sign(
        &self,
        module: &ModuleId,
        generation: &GenerationId,
        data: &[u8],
    ) -> [u8; DIGEST_BYTES] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.derive(module, generation, "primary"));
        digest(&key, data)
    }

    /// Encrypts for a module and generation; opens with the same vector only.
    pub(crate) fn encrypt(&self, bound: Bound<'_>, plaintext: &[u8]) -> Vec<u8> {
        pki::seal(&self.encryption, host::entropy::bytes(), &bound.to_bytes(), plaintext)
    }

    /// Decrypts what [`Self::encrypt`] gave.
    pub(crate) fn decrypt(
        &self,
        bound: Bound<'_>,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        pki::open(&self.encryption, &bound.to_bytes(), ciphertext)
    }

    /// Seals a secret of the daemon for a file.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        pki::seal(&self.master, host::entropy::bytes(), &place(name), secret)
    }

    /// Opens what [`Self::seal`] gave, for the same name.
    pub(crate) fn open_sealed(
        &self,
        name: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        pki::open(&self.master, &place(name), sealed)
    }

    fn derive(
        &self,
        module: &ModuleId,
        generation: &GenerationId,
        which: &str,
    ) -> Zeroizing<[u8; DIGEST_BYTES]> {
        let text = format!("{module}:{generation}:{which}");
        Zeroizing::new(digest(&self.identity, text.as_bytes()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// Whom a ciphertext of the workload API belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) module: &'a str,
    pub(crate) generation: &'a str,
    pub(crate) vector: &'a [u8],
}

impl Bound<'_> {
    /// Each part with its length before it, so that no two are the same bytes.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [self.module.as_bytes(), self.generation.as_bytes(), self.vector] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

fn digest(key: &hmac::Key, data: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(hmac::sign(key, data).as_ref());
    digest
}

fn master(dir: &Path) -> Result<MasterKey, KeysError> {
    let path = dir.join("master.key");
    if !fs::exists(&path)? {
        let has_sealed =
            fs::list(dir)?.iter().any(|path| path.extension().is_some_and(|end| end == "sealed"));
        if has_sealed {
            return Err(KeysError::MasterMissing { path });
        }
        let key = Zeroizing::new(host::entropy::bytes::<MASTER_KEY_BYTES>());
        fs::create_new(&path, &*key, 0o600)?;
    }
    check_private(&path)?;
    let bytes = Zeroizing::new(fs::read(&path)?);
    MasterKey::try_from(bytes.as_slice()).map_err(|source| KeysError::Damaged { path, source })
}

fn sealed(master: &MasterKey, dir: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let path = file(dir, name);
    if !fs::exists(&path)? {
        let key = Zeroizing::new(host::entropy::bytes::<MASTER_KEY_BYTES>());
        let sealed = pki::seal(master, host::entropy::bytes(), &place(name), &*key);
        fs::create_new(&path, &sealed, 0o600)?;
    }
    let key = pki::open(master, &place(name), &fs::read(&path)?);
    let key = key.map_err(|source| KeysError::Damaged { path: path.clone(), source })?;
    match key.len() {
        MASTER_KEY_BYTES => Ok(key),
        _ => Err(KeysError::Damaged { path, source: SealError::KeySize }),
    }
}

/// Refuses a secret that others than its owner may read.
pub(crate) fn check_private(path: &Path) -> Result<(), KeysError> {
    let mode = fs::facts(path)?.mode;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(KeysError::Readable { path: path.to_owned(), mode }),
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sealed"))
}

fn place(name: &str) -> Vec<u8> {
    format!("edge-daemon/{name}").into_bytes()
}

/// Of SHA-256.
const DIGEST_BYTES: usize = 32;

#[cfg(test)]
mod tests;
