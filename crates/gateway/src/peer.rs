//! Who is at the other end of a connection, as far as the transport knows.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection. Cheap to clone; shown as its address.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The chain that it presented in the TLS handshake, DER, leaf first, its possession of the
    /// leaf's key proven; none when it presented nothing. Nothing else about it is verified: that
    /// is `auth`'s business.
    pub certificates: Option<Arc<[Vec<u8>]>>,
    /// The host name that it asked for in the TLS handshake.
    pub server_name: Option<Arc<str>>,
}

impl Peer {
    /// A peer of which only the address is known.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, certificates: None, server_name: None }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
