//! The keys and certificates that a hub makes for itself, in its data directory:
//!
//! - `master.key`: seals every secret in the store (32 bytes, mode 0600).
//! - `ca.pem`, `ca.key`: the hub's own CA; `ca.pem` is what clients are told to trust.
//! - `server.pem`, `server.key`: made anew when the names change or two thirds of the life are over.

use std::path::Path;
use std::time::Duration;

use host::clock::Clock;
use host::fs::{self, FsError};
use jiff::Timestamp;
use pki::authority::{Authority, AuthorityError, ServerName, Validity};
use pki::certificate::{AltName, Certificate};
use pki::seal::MasterKey;

/// Why the hub's own certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificatesError {
    #[error("cannot use a file of the data directory")]
    File(#[from] FsError),
    #[error("cannot make or read a certificate")]
    Authority(#[from] AuthorityError),
    #[error("{0} is damaged; restore it from a backup")]
    Damaged(String),
}

/// What a hub serves with.
pub(crate) struct Certificates {
    /// The CA that clients are to trust.
    pub(crate) ca_pem: String,
    pub(crate) server_chain_pem: String,
    pub(crate) server_key_pem: String,
}

const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// As long as a public server certificate may live.
const SERVER_LIFE: Duration = Duration::from_secs(397 * 24 * 3600);

/// The key that seals the store's secrets; made once.
pub(crate) fn master_key(dir: &Path) -> Result<MasterKey, CertificatesError> {
    let path = dir.join("master.key");
    if !fs::exists(&path)? {
        fs::create_new(&path, &host::entropy::bytes::<32>(), 0o600)?;
    }
    let bytes = fs::read(&path)?;
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| CertificatesError::Damaged(path.display().to_string()))?;
    Ok(MasterKey::new(bytes))
}

/// The hub's own certificates; made once, the server's renewed.
pub(crate) fn own(
    dir: &Path,
    names: &[String],
    clock: &Clock,
) -> Result<Certificates, CertificatesError> {
    let authority = authority(dir, clock.wall())?;
    let ca_pem = authority.root_pem();
    let (chain, key) = (dir.join("server.pem"), dir.join("server.key"));
    if !still_good(&chain, names, clock.wall())? {
        let names = server_names(names)?;
        let issued =
            authority.issue_server(&names, Validity::starting(clock.wall(), SERVER_LIFE))?;
        fs::write_atomic(&key, issued.key_pem.as_bytes(), 0o600)?;
        fs::write_atomic(&chain, issued.chain_pem.as_bytes(), 0o644)?;
    }
    Ok(Certificates {
        ca_pem,
        server_chain_pem: fs::read_to_string(&chain)?,
        server_key_pem: fs::read_to_string(&key)?,
    })
}

fn authority(dir: &Path, now: Timestamp) -> Result<Authority, CertificatesError> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !fs::exists(&certificate)? {
        // What an earlier CA signed is worth nothing now.
        fs::remove(&dir.join("server.pem"))?;
        let authority =
            Authority::create_root("Farshore hub CA", Validity::starting(now, CA_LIFE))?;
        fs::write_atomic(&key, authority.key_pem().as_bytes(), 0o600)?;
        fs::write_atomic(&certificate, authority.root_pem().as_bytes(), 0o644)?;
    }
    Ok(Authority::from_pem(&fs::read_to_string(&certificate)?, &fs::read_to_string(&key)?)?)
}

fn still_good(path: &Path, names: &[String], now: Timestamp) -> Result<bool, CertificatesError> {
    if !fs::exists(path)? {
        return Ok(false);
    }
    let text = fs::read_to_string(path)?;
    let Ok(certificate) = Certificate::from_pem(&text) else {
        tracing::warn!(path = %path.display(), "server certificate is damaged; a new one is made");
        return Ok(false);
    };
    let life = certificate.not_after.duration_since(certificate.not_before);
    let renew_at = certificate.not_before + life * 2 / 3;
    let has_name = |name: &String| {
        certificate.alt_names.iter().any(|alt| match alt {
            AltName::Dns(dns) => dns.eq_ignore_ascii_case(name),
            AltName::Ip(ip) => name.parse() == Ok(*ip),
            _ => false,
        })
    };
    Ok(now < renew_at && all_names(names).iter().all(has_name))
}

/// The hub's names, and those of this machine's loopback, so that local tools reach it too.
fn all_names(names: &[String]) -> Vec<String> {
    let mut all = names.to_vec();
    for name in ["localhost", "127.0.0.1", "::1"] {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    all
}

fn server_names(names: &[String]) -> Result<Vec<ServerName>, AuthorityError> {
    all_names(names).iter().map(|name| name.parse()).collect()
}
