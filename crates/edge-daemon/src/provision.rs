//! Provisioning: which device of which hub this is, its key, and what follows from a change.
//!
//! Manual provisioning only: hub, device and its key or certificate stand in `config.toml`. They are
//! read from there at every start and kept nowhere else.
//!
//! The device itself only asks the hub's registry for its modules, by HTTPS. Its modules, the agent
//! and the edge hub among them, have keys of their own, whatever the device has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::dial::{Dial, HTTPS_PORT, Proxy};
use client::registry::DeviceRegistryClient;
use client::signer::{KeySigner, Signer};
use containers::{ModuleRuntime, RuntimeError};
use host::clock::{Clock, Mono};
use host::fs::{self, FsError};
use host::tls::{ClientTls, TlsError};
use model::DeviceId;
use serde_json::json;
use zeroize::Zeroizing;

use crate::certs;
use crate::config::{Config, DeviceCredential};
use crate::keys::{self, KeysError};

/// Where to dial for the hub, when its name does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubDial {
    /// The address; the hub's name when absent.
    pub address: Option<String>,
    /// The port of HTTPS; 443 when absent.
    pub https_port: Option<u16>,
    /// The hub's CA and others that it is trusted by, PEM, beside the machine's and the operator's.
    pub trust: Option<String>,
    /// The proxy on the way there.
    pub proxy: Option<Proxy>,
}

/// Which device this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The hub's name: it stands in tokens and is verified by TLS.
    pub hub_host_name: String,
    /// The port of MQTT that the connection string gives, if any.
    pub mqtt_port: Option<u16>,
    /// The device.
    pub device: DeviceId,
    /// The name under which modules and leaf devices reach this device.
    pub host_name: String,
}

/// Why a device cannot be provisioned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The key's file cannot be used.
    #[error("cannot use the device's key")]
    Key(#[from] KeysError),
    /// A file cannot be read or written.
    #[error("cannot read or write a file of the daemon")]
    File(#[from] FsError),
    /// The key's file holds no key.
    #[error("{} holds no key: it must be 16 to 64 bytes, or their Base64", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The certificate and its key are of no use.
    #[error(
        "cannot use the device's certificate {} with the key {}: both must be PEM, and the key the certificate's",
        certificate.display(),
        key.display()
    )]
    Certificate {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why not.
        source: TlsError,
    },
    /// The key is not Base64.
    #[error("device's key is not Base64: copy the whole key, with the `=` at its end")]
    Base64,
    /// Whom to trust cannot be told.
    #[error("cannot set up whom to trust as the hub")]
    Tls(#[from] TlsError),
    /// The machine has no name.
    #[error("machine's name {0:?} cannot be used by others: set hostname in config.toml")]
    HostName(String),
    /// Modules of another device cannot be removed.
    #[error("cannot remove the modules of the device that this was before")]
    Wipe(#[source] RuntimeError),
}

/// Which device the settings name.
pub(crate) fn facts(config: &Config) -> Result<DeviceFacts, ProvisionError> {
    let host_name = match &config.hostname {
        Some(name) => name.clone(),
        None => {
            let name =
                fs::read_to_string(Path::new("/proc/sys/kernel/hostname"))?.trim().to_owned();
            match name.parse::<pki::ServerName>() {
                Ok(_) => name,
                Err(_) => return Err(ProvisionError::HostName(name)),
            }
        }
    };
    let manual = &config.provisioning;
    Ok(DeviceFacts {
        hub_host_name: manual.hub_host_name.clone(),
        mqtt_port: manual.mqtt_port,
        device: manual.device.clone(),
        host_name,
    })
}

/// A client of the hub's registry with the device's key or certificate. `trusted` is PEM or empty.
pub(crate) fn registry(
    config: &Config,
    facts: &DeviceFacts,
    hub: &HubDial,
    trusted: &str,
    clock: &Clock,
) -> Result<DeviceRegistryClient, ProvisionError> {
    let (tls, signer) = proof(&config.provisioning.credential, hub_tls(trusted)?)?;
    let port = hub.https_port.unwrap_or(HTTPS_PORT);
    let dial = Dial::new(facts.hub_host_name.clone(), port)
        .at(hub.address.clone())
        .through(hub.proxy.as_ref());
    Ok(DeviceRegistryClient::new(
        &facts.hub_host_name,
        dial,
        tls,
        facts.device.clone(),
        signer,
        clock.clone(),
    ))
}

/// The device's certificate as the operator's files have it: it is looked at for as long as the
/// daemon runs, so that a new one is used without a restart, and its end is told before.
pub(crate) struct DeviceCertificate {
    path: PathBuf,
    seen: String,
    warned_at: Option<Mono>,
}

impl DeviceCertificate {
    /// None when the device has a key.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let DeviceCredential::Certificate { certificate, .. } = &config.provisioning.credential
        else {
            return None;
        };
        // It was read a moment ago.
        let seen = fs::read_to_string(certificate).unwrap_or_default();
        Some(Self { path: certificate.clone(), seen, warned_at: None })
    }

    /// True when there is another one in the file since the last look that was taken over.
    pub(crate) fn has_changed(&self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        (text != self.seen).then_some(text)
    }

    /// This one is used now.
    pub(crate) fn taken_over(&mut self, text: String) {
        (self.seen, self.warned_at) = (text, None);
    }

    /// Tells that it ends, once a day from some time before.
    pub(crate) fn warn_of_end(&mut self, clock: &Clock) {
        let Ok(certificate) = pki::Certificate::from_pem(&self.seen) else { return };
        let (begin, end) = (certificate.not_before, certificate.not_after);
        let left = certs::left_to_tell(clock, begin, end);
        let now = clock.now();
        let is_told = self.warned_at.is_some_and(|before| now - before < certs::WARN_EVERY);
        let Some(left) = left.filter(|_| !is_told) else { return };
        self.warned_at = Some(now);
        let path = self.path.display();
        if left.is_positive() {
            tracing::warn!(not_after = %end, "device's certificate {path} ends soon: replace it and its key; they are read within a minute");
        } else {
            tracing::error!(not_after = %end, "device's certificate {path} has ended, so the hub refuses this device: replace it and its key; they are read within a minute");
        }
    }
}

/// Whom to trust as the hub: what is given, and the machine's own roots.
pub(crate) fn hub_tls(trusted: &str) -> Result<ClientTls, TlsError> {
    if trusted.is_empty() {
        return ClientTls::new(&[])?.with_system_roots();
    }
    let given = ClientTls::new(&[trusted])?;
    match given.clone().with_system_roots() {
        Ok(all) => Ok(all),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::info!(error, "machine has no roots of its own, trusting the given ones only");
            Ok(given)
        }
    }
}

/// How the device proves itself: the certificate is shown in the handshake, a key signs tokens.
fn proof(
    credential: &DeviceCredential,
    tls: ClientTls,
) -> Result<(ClientTls, Option<Arc<dyn Signer>>), ProvisionError> {
    let signer = match credential {
        DeviceCredential::Key(key) => {
            KeySigner::from_base64(key.as_str()).map_err(|_| ProvisionError::Base64)?
        }
        DeviceCredential::KeyFile(path) => {
            keys::check_private(path)?;
            let bytes = Zeroizing::new(fs::read(path)?);
            let key = key_in(&bytes).ok_or_else(|| ProvisionError::NoKey { path: path.clone() })?;
            KeySigner::from_bytes(&key)
        }
        DeviceCredential::Certificate { certificate, key } => {
            keys::check_private(key)?;
            let chain_pem = fs::read_to_string(certificate)?;
            let key_pem = Zeroizing::new(fs::read_to_string(key)?);
            let tls = tls.with_certificate(&chain_pem, &key_pem).map_err(|source| {
                let (certificate, key) = (certificate.clone(), key.clone());
                ProvisionError::Certificate { certificate, key, source }
            })?;
            return Ok((tls, None));
        }
    };
    Ok((tls, Some(Arc::new(signer))))
}

/// A key's file holds its bytes; many write its Base64 there, which is never a key by itself.
fn key_in(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    let decoded = text.and_then(|text| STANDARD.decode(text).ok()).map(Zeroizing::new);
    let fits = |key: &Zeroizing<Vec<u8>>| KEY_BYTES.contains(&key.len());
    decoded.filter(fits).or_else(|| Some(Zeroizing::new(bytes.to_vec())).filter(fits))
}

/// Removes all modules when this was another device, or another hub's, before (T-WIPE): they have
/// its names in their environment. `true` when it did.
pub(crate) async fn wipe_if_changed(
    facts: &DeviceFacts,
    file: &Path,
    runtime: &dyn ModuleRuntime,
) -> Result<bool, ProvisionError> {
    let state = state_of(facts);
    if fs::read_optional(file)?.is_some_and(|kept| kept.trim() == state) {
        return Ok(false);
    }
    let modules = runtime.list().await.map_err(ProvisionError::Wipe)?;
    for module in &modules {
        tracing::info!(module = %module.name, "removing a module of the device that this was before");
        runtime.remove(&module.name).await.map_err(ProvisionError::Wipe)?;
    }
    // Last, so that a crash in between begins again.
    fs::write_atomic(file, state.as_bytes(), 0o600)?;
    Ok(true)
}

/// `edge-runtime.md` §1.5: Base64 of the SHA-256 of this JSON.
fn state_of(facts: &DeviceFacts) -> String {
    let state = json!({
        "device_id": facts.device.as_str(),
        "gateway_host_name": facts.hub_host_name,
        "hub_name": facts.hub_host_name,
    });
    STANDARD.encode(digest::digest(&digest::SHA256, state.to_string().as_bytes()))
}

/// As the hub takes them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_holds_bytes_or_their_base64() {
        let raw = [0xA5u8; 32];
        assert_eq!(key_in(&raw).unwrap().as_slice(), raw);
        let text = format!("{}\n", STANDARD.encode(raw));
        assert_eq!(key_in(text.as_bytes()).unwrap().as_slice(), raw);
        assert!(key_in(b"").is_none());
        assert!(key_in(b"short").is_none());
        assert!(key_in(&[1; 65]).is_none());
    }
}
