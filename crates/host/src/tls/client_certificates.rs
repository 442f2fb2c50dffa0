//! Client certificates as a server takes them: asked for, never demanded, and any chain will do.
//!
//! The handshake proves one thing: that the client holds the private key of the leaf that it
//! presents. Whether that certificate means anything is decided later, when the client has said
//! who it wants to be (`device-protocol.md` §1, §2.2). It must be so, because a resumed session
//! skips this verifier; and it can be so, because rustls keeps the chain in the ticket, so that
//! whoever decides sees it again.
//!
//! Not rustls' own checks of signatures: these read the certificate by webpki, which knows only
//! version 3, and `openssl x509 -req` makes version 1 for devices to this day. The public key is
//! all that is needed of it, and the signature over the handshake is verified by webpki.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use webpki::RawPublicKeyEntity;

use super::ServerStream;

/// Certificates in a client's chain, leaf included: webpki goes through six intermediates at most.
pub const CHAIN_MAX: usize = 8;

/// Bytes of a client's chain. An RSA-4096 certificate has less than 2 KiB.
pub const CHAIN_BYTES_MAX: usize = 24 * 1024;

/// The chain that the client presented, leaf first; none when it presented nothing. Kept over a
/// resumption.
pub fn presented_chain<S>(stream: &ServerStream<S>) -> Option<Arc<[Vec<u8>]>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let chain = stream.get_ref().1.peer_certificates()?;
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect::<Arc<[_]>>();
    (!chain.is_empty()).then_some(chain)
}

/// The host name that the client asked for; clients that dial an address send none.
pub fn requested_name<S>(stream: &ServerStream<S>) -> Option<Arc<str>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.get_ref().1.server_name().map(Arc::from)
}

/// Takes every chain within the bounds whose leaf's key the client holds.
#[derive(Debug)]
pub(super) struct Possession {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Possession {
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hint: the client shall present what it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = leaf.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        if intermediates.len() >= CHAIN_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(Error::General("client's certificate chain is too long".into()));
        }
        public_key(leaf)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(leaf)?;
        let key = RawPublicKeyEntity::try_from(&key)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        // TLS 1.2 does not bind an ECDSA scheme to a curve, so a scheme has several algorithms; the
        // one that fits the key decides.
        let mapping = self.algorithms.mapping.iter();
        let candidates = mapping
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| *algorithms);
        for algorithm in candidates {
            match key.verify_signature(*algorithm, message, signed.signature()) {
                Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
                Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
                Err(_) => return Err(Error::InvalidCertificate(CertificateError::BadSignature)),
            }
        }
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(leaf)?, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key<'a>(leaf: &'a CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    pki::certificate::public_key_info(leaf)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}
