//! TLS 1.2 and 1.3 for servers and clients, by rustls with aws-lc.
//!
//! The crypto provider is passed explicitly; no process-wide default is needed
//! or set. A client always verifies: there is no way to turn that off. A server
//! asks for a certificate and takes any (`client_certificates`). The handshake's
//! deadline is the caller's (see `clock::Clock::timeout`), who knows
//! what else the peer may still owe.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::client_certificates::Possession;

mod client_certificates;

pub use self::client_certificates::{CHAIN_BYTES_MAX, CHAIN_MAX, presented_chain, requested_name};

/// A server's end of a TLS connection.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;
/// A client's end of a TLS connection.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// What rustls may hold back per connection for a peer that does not read; the
/// same again for what is not yet decrypted is its own fixed limit. One TLS
/// record is 16 KiB.
const BUFFER_LIMIT_BYTES: usize = 32 * 1024;

/// Sessions that a client remembers for resumption; it talks to few servers.
const CLIENT_SESSIONS: usize = 8;

/// Where Debian, Alpine and their relatives keep the machine's roots.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Keys or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate text is not PEM or has no certificate in it.
    #[error("no certificate in the PEM text of {what}; expected BEGIN CERTIFICATE")]
    NoCertificate {
        /// Which text.
        what: &'static str,
    },
    /// The PEM text is damaged.
    #[error("damaged PEM text of {what}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The key and certificate do not fit or are not supported.
    #[error("unusable certificate or key")]
    Unusable(#[from] rustls::Error),
    /// A root certificate is not one.
    #[error("unusable root certificate")]
    Root(#[source] rustls::Error),
    /// The machine's roots cannot be read.
    #[error("cannot read the system's root certificates")]
    SystemRoots(#[from] crate::fs::FsError),
    /// Not a DNS name or IP address.
    #[error("server name {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The handshake failed; the source says why, for example an unknown issuer.
    #[error("TLS handshake with {name} failed")]
    Handshake {
        /// The server's name.
        name: String,
        /// rustls' error inside an I/O error.
        source: io::Error,
    },
}

/// A server's certificate and key, replaceable while connections go on. Clones
/// share them.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificate: Arc<Replaceable>,
}

impl ServerTls {
    /// Serves with the chain (leaf first) and its key (PKCS#8, SEC1 or PKCS#1).
    /// Clients may present a certificate of their own; see [`presented_chain`].
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let provider = provider();
        let certificate = Arc::new(Replaceable {
            current: RwLock::new(certified_key(&provider, SERVER, chain_pem, key_pem)?),
        });
        let possession = Possession::new(provider.signature_verification_algorithms);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(possession))
            .with_cert_resolver(certificate.clone());
        // Tickets keep a resumable session at the client, at no cost here.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// Replaces the certificate and key for handshakes from now on; connections
    /// that exist go on. On an error the old ones stay in use.
    pub fn reload(&self, chain_pem: &str, key_pem: &str) -> Result<(), TlsError> {
        let provider = self.config.crypto_provider();
        let replacement = certified_key(provider, SERVER, chain_pem, key_pem)?;
        *self.certificate.current.write() = replacement;
        Ok(())
    }

    /// tokio-rustls' acceptor over this.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// Makes the server's side of the handshake.
    pub async fn accept<S>(&self, stream: S) -> io::Result<ServerStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = |connection: &mut rustls::ServerConnection| {
            connection.set_buffer_limit(Some(BUFFER_LIMIT_BYTES));
        };
        self.acceptor().accept_with(stream, limit).await
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// What a client trusts, and what it presents of itself. Clones share it.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
    own: Option<Arc<CertifiedKey>>,
}

impl ClientTls {
    /// Trusts the given roots (each text may hold several certificates) and
    /// nothing else.
    pub fn new(roots_pem: &[&str]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for pem in roots_pem {
            for certificate in certificates(pem, "the trusted roots")? {
                roots.add(certificate).map_err(TlsError::Root)?;
            }
        }
        Self::build(roots, None)
    }

    /// Presents this chain (leaf first) to servers that ask, and signs with its
    /// key (PKCS#8, SEC1 or PKCS#1).
    pub fn with_certificate(self, chain_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let provider = self.config.crypto_provider();
        let own = certified_key(provider, CLIENT, chain_pem, key_pem)?;
        Self::build((*self.roots).clone(), Some(own))
    }

    /// Trusts the machine's roots too. Single ones that cannot be used are
    /// skipped, as every program does: old bundles contain some.
    pub fn with_system_roots(self) -> Result<Self, TlsError> {
        let bundle = crate::fs::read(Path::new(SYSTEM_ROOTS))?;
        let mut roots = (*self.roots).clone();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
        Self::build(roots, self.own)
    }

    fn build(roots: RootCertStore, own: Option<Arc<CertifiedKey>>) -> Result<Self, TlsError> {
        let roots = Arc::new(roots);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone());
        let mut config = match &own {
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))))
            }
            None => builder.with_no_client_auth(),
        };
        // Sessions are this configuration's own: one that was begun with another certificate is
        // never resumed.
        config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
        Ok(Self { config: Arc::new(config), roots, own })
    }

    /// Makes the client's side of the handshake; the server must prove to be
    /// `server_name` (a DNS name or an IP address).
    pub async fn connect<S>(
        &self,
        stream: S,
        server_name: &str,
    ) -> Result<ClientStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TlsError::ServerName { name: server_name.to_owned() })?;
        let limit = |connection: &mut rustls::ClientConnection| {
            connection.set_buffer_limit(Some(BUFFER_LIMIT_BYTES));
        };
        TlsConnector::from(self.config.clone())
            .connect_with(name, stream, limit)
            .await
            .map_err(|source| TlsError::Handshake { name: server_name.to_owned(), source })
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({} roots)", self.roots.len())
    }
}

/// The server's current certificate, read at every handshake.
struct Replaceable {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Replaceable {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl fmt::Debug for Replaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replaceable")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// How errors name a certificate and its key.
struct Whose {
    certificate: &'static str,
    key: &'static str,
}

const SERVER: Whose = Whose { certificate: "the server's certificate", key: "the server's key" };
const CLIENT: Whose = Whose { certificate: "the client's certificate", key: "the client's key" };

fn certified_key(
    provider: &CryptoProvider,
    whose: Whose,
    chain_pem: &str,
    key_pem: &str,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(chain_pem, whose.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|source| TlsError::Pem { what: whose.key, source })?;
    // Also checks that the key belongs to the first certificate.
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    match certificates.is_empty() {
        true => Err(TlsError::NoCertificate { what }),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests;
