//! TCP and unix sockets: listening, connecting with a deadline, and who the peer is.
//!
//! Streams are tokio's own types. No TLS ([`crate::tls`]) and no limit on the
//! number of connections: that is the caller's, who knows what they are for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpSocket;
pub use tokio::net::{TcpStream, UnixStream};

mod passed;
mod unix;

pub(crate) use self::passed::pack;
pub use self::passed::{PASSED_LISTENERS_MAX, passed_listeners};
pub use self::unix::{
    PeerCredentials, UnixListener, connect_unix, listen_unix, peer_credentials, peer_process,
};

/// Connections that may wait to be accepted; the kernel cuts it to its own
/// `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process or the machine is out of
/// descriptors or memory, so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Listening failed, for example because the port is taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address or path asked for.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The name has no address.
    #[error("cannot find an address for host {host}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No address of the peer could be connected.
    #[error("cannot connect to {peer}")]
    Connect {
        /// Host and port, or path.
        peer: String,
        /// The last address' answer.
        source: io::Error,
    },
    /// The deadline passed first.
    #[error("cannot connect to {peer} within {limit:?}")]
    Deadline {
        /// Host and port, or path.
        peer: String,
        /// The time that was allowed.
        limit: Duration,
    },
}

impl NetError {
    /// Whether listening failed because the address is in use.
    pub fn is_in_use(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::AddrInUse)
    }

    /// Whether listening failed for lack of rights (ports below 1024).
    pub fn is_denied(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::PermissionDenied)
    }

    /// Whether this machine has no such address, or no such family of addresses.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.io_kind(), Some(io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported))
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Listen { source, .. }
            | Self::Resolve { source, .. }
            | Self::Connect { source, .. } => Some(source.kind()),
            Self::Deadline { .. } => None,
        }
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListener {
    inner: tokio::net::TcpListener,
}

/// Listens on one address. An IPv6 address takes IPv6 connections only, so that
/// `[::]` and `0.0.0.0` can both be listened on, each by its own socket.
pub fn listen(address: SocketAddr) -> Result<TcpListener, NetError> {
    listen_with(address, true)
}

/// Listens on `[::]:port` for IPv6 and IPv4 connections together.
pub fn listen_dual_stack(port: u16) -> Result<TcpListener, NetError> {
    listen_with(SocketAddr::from(([0u16; 8], port)), false)
}

/// The address from which this machine would speak to others, IPv4; none without a route. Nothing is
/// sent: the kernel only chooses.
pub fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation (RFC 5737); any that is not on this machine's own networks.
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn listen_with(address: SocketAddr, v6_only: bool) -> Result<TcpListener, NetError> {
    let open = || -> io::Result<TcpListener> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, v6_only)?;
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let inner = tokio::net::TcpListener::from_std(socket.into())?;
        Ok(TcpListener { inner })
    };
    open().map_err(|source| NetError::Listen { address: address.to_string(), source })
}

impl TcpListener {
    /// The next connection, with TCP_NODELAY set. Errors of a single connection
    /// are skipped, and a lack of descriptors or memory is waited out (and
    /// logged): there is nothing a caller could do but come again.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((stream, peer)) => {
                    // Fails only on a connection that is gone already.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) => rest_after(&error).await,
            }
        }
    }

    /// The address listened on; tells the port when 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Waits after a failed accept if it would fail again at once.
async fn rest_after(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    if !of_one_connection {
        tracing::warn!(%error, "cannot accept connections, trying again");
        tokio::time::sleep(ACCEPT_REST).await;
    }
}

/// Connects to `host` (a name or an address), trying all its addresses, within
/// `limit` altogether. TCP_NODELAY is set.
pub async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, NetError> {
    let peer = format!("{host}:{port}");
    let attempt = async {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| NetError::Resolve { host: host.to_owned(), source })?
            .collect();
        connect_any(&addresses, limit)
            .await
            .map_err(|source| NetError::Connect { peer: peer.clone(), source })
    };
    match tokio::time::timeout(limit, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(NetError::Deadline { peer, limit }),
    }
}

/// Tries the addresses in turn. Each gets its share of the time that is left, so
/// that one that swallows packets does not use up all of it.
async fn connect_any(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let end = tokio::time::Instant::now() + limit;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, &address) in addresses.iter().enumerate() {
        let left = end.duration_since(tokio::time::Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, connect_one(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests;
