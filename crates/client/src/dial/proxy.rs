//! The way to a server through an HTTP proxy: `CONNECT`, with basic credentials where the proxy
//! wants them. TLS is made with the server itself, inside of what the proxy passes on.
//!
//! Spec: RFC 9110 §9.3.6 (`CONNECT`), §11.7 (proxy authentication), RFC 7617 (`Basic`);
//! `edge-runtime.md` §3.1, §5.12. Only proxies that are spoken to in plain HTTP, and no NTLM, as in
//! the original. Credentials are in no `Debug`, `Display`, error or log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::clock::Clock;
use host::net::{self, NetError, TcpStream};
use iot_proto::percent;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// A proxy, and the hosts that are reached without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
    spared: Vec<Spared>,
}

/// An entry of `no_proxy`.
#[derive(PartialEq, Eq)]
enum Spared {
    All,
    /// A name with everything below it, or an address; in lower case.
    Host {
        name: String,
        port: Option<u16>,
    },
}

/// Why an address is not that of a proxy. The address itself may hold a password and is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyAddressError {
    /// Another scheme than `http`.
    #[error("proxy's address has another scheme than http; write http://host:port")]
    Scheme,
    /// No host, or more than one.
    #[error("proxy's address names no host; write http://host:port")]
    Host,
    /// The port is none.
    #[error("proxy's address has no valid port; write http://host:port")]
    Port,
    /// The credentials cannot be sent.
    #[error(
        "proxy's credentials cannot be used; write http://user:password@host:port, with %40 for @ and %3A for : in the user's name"
    )]
    Credentials,
}

impl Proxy {
    /// Reads `http://user:password@host:port`; all but the host may be left out.
    pub fn parse(text: &str) -> Result<Self, ProxyAddressError> {
        let text = text.trim();
        let address = match text.split_once("://") {
            Some((scheme, address)) if scheme.eq_ignore_ascii_case("http") => address,
            Some(_) => return Err(ProxyAddressError::Scheme),
            None => text,
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let (credentials, address) = match address.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, address),
        };
        let (host, port) = host_and_port(address).ok_or(ProxyAddressError::Port)?;
        if !is_host(host) {
            return Err(ProxyAddressError::Host);
        }
        let authorization = credentials.map(basic).transpose()?;
        let port = port.unwrap_or(PORT_DEFAULT);
        let inner = Inner { host: host.to_owned(), port, authorization, spared: Vec::new() };
        Ok(Self(Arc::new(inner)))
    }

    /// The proxy that an environment names in `https_proxy`, sparing what it names in `no_proxy`.
    /// Names are read in any case; the one in lower case counts first.
    pub fn from_env(env: &BTreeMap<String, String>) -> Result<Option<Self>, ProxyAddressError> {
        let read = |name: &str| {
            let any_case = || env.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            let found = env.get_key_value(name).or_else(any_case);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let Some(address) = read(VARIABLE) else { return Ok(None) };
        let proxy = Self::parse(address)?;
        Ok(Some(proxy.sparing(read(NO_PROXY_VARIABLE).unwrap_or_default())))
    }

    /// The same proxy, not used for the hosts of this list: names with all that is below them, or
    /// addresses, with a port or without, between commas; `*` for all.
    #[must_use]
    pub fn sparing(self, list: &str) -> Self {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let spared = entries.map(|entry| match entry {
            "*" => Spared::All,
            _ => {
                // What is no name with a port is a name that nobody has.
                let (name, port) = host_and_port(entry).unwrap_or((entry, None));
                let name = name.trim_start_matches('.').to_ascii_lowercase();
                Spared::Host { name, port }
            }
        });
        let Inner { host, port, authorization, .. } = &*self.0;
        Self(Arc::new(Inner {
            host: host.clone(),
            port: *port,
            authorization: authorization.clone(),
            spared: spared.collect(),
        }))
    }

    /// Whether a server is to be reached without the proxy.
    pub fn spares(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        self.0.spared.iter().any(|spared| match spared {
            Spared::All => true,
            Spared::Host { name, port: only } => {
                let is_below =
                    || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                only.is_none_or(|only| only == port) && (host == *name || is_below())
            }
        })
    }

    /// Connects to `host` through the proxy; what comes back carries the server's own bytes. All of
    /// it within `limit`.
    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<TcpStream, ProxyError> {
        let attempt = async {
            let stream = net::connect(&self.0.host, self.0.port, limit).await;
            let mut stream = stream
                .map_err(|source| ProxyError::Unreachable { proxy: self.to_string(), source })?;
            self.open(&mut stream, host, port).await?;
            Ok(stream)
        };
        // Sockets live in the machine's time, as in `net::connect`.
        match Clock::system().timeout(limit, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ProxyError::Deadline { proxy: self.to_string(), limit }),
        }
    }

    /// Asks the proxy to connect.
    async fn open<S>(&self, stream: &mut S, host: &str, port: u16) -> Result<(), ProxyError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = host.trim_matches(['[', ']']);
        if !is_host(name) {
            return Err(ProxyError::Target { host: host.to_owned() });
        }
        let target = match name.contains(':') {
            true => format!("[{name}]:{port}"),
            false => format!("{name}:{port}"),
        };
        let broken = |source| ProxyError::Broken { proxy: self.to_string(), source };
        stream.write_all(self.question(&target).as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let head = self.head(stream).await?;
        match status(&head) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(ProxyError::Credentials { proxy: self.to_string() }),
            Some(status) => Err(ProxyError::Refused { proxy: self.to_string(), target, status }),
            None => Err(ProxyError::NotHttp { proxy: self.to_string() }),
        }
    }

    fn question(&self, target: &str) -> Zeroizing<String> {
        let mut text = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &self.0.authorization {
            text.push_str("Proxy-Authorization: ");
            text.push_str(authorization);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        Zeroizing::new(text)
    }

    /// The head of the proxy's answer.
    async fn head<S: AsyncRead + Unpin>(&self, stream: &mut S) -> Result<Vec<u8>, ProxyError> {
        let mut head = Vec::new();
        let mut piece = [0; PIECE_BYTES];
        loop {
            let read = stream.read(&mut piece).await;
            let read =
                read.map_err(|source| ProxyError::Broken { proxy: self.to_string(), source })?;
            if read == 0 {
                return Err(ProxyError::Closed { proxy: self.to_string() });
            }
            head.extend_from_slice(piece.get(..read).unwrap_or_default());
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                // In TLS the client speaks first, so nothing of the server's can follow already;
                // a refusal's body is nobody's here.
                let is_followed = end + 4 < head.len();
                head.truncate(end);
                return match is_followed && matches!(status(&head), Some(200..=299)) {
                    true => Err(ProxyError::NotHttp { proxy: self.to_string() }),
                    false => Ok(head),
                };
            }
            if head.len() >= HEAD_BYTES_MAX {
                return Err(ProxyError::LongHead { proxy: self.to_string() });
            }
        }
    }
}

/// Where it listens; without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.host.contains(':') {
            true => write!(f, "http://[{}]:{}", self.0.host, self.0.port),
            false => write!(f, "http://{}:{}", self.0.host, self.0.port),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Why there is no way through the proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It cannot be connected.
    #[error("proxy {proxy} is not reachable; check https_proxy and that the proxy runs")]
    Unreachable {
        /// Where it should be.
        proxy: String,
        /// Why not.
        source: NetError,
    },
    /// Status 407.
    #[error(
        "proxy {proxy} wants other credentials (407); set https_proxy to http://user:password@host:port (basic only, no NTLM)"
    )]
    Credentials {
        /// Which one.
        proxy: String,
    },
    /// Another status than 200.
    #[error(
        "proxy {proxy} answered {status} to CONNECT {target}; allow it there, or add the host to no_proxy"
    )]
    Refused {
        /// Which one.
        proxy: String,
        /// What it should connect to.
        target: String,
        /// What it answered.
        status: u16,
    },
    /// Something else than an answer.
    #[error("proxy {proxy} did not answer CONNECT in HTTP/1.1; check https_proxy")]
    NotHttp {
        /// Which one.
        proxy: String,
    },
    /// An answer without an end.
    #[error("proxy {proxy} answered CONNECT with more than {HEAD_BYTES_MAX} bytes of headers")]
    LongHead {
        /// Which one.
        proxy: String,
    },
    /// The end instead of an answer.
    #[error("proxy {proxy} closed the connection without an answer; its log says why")]
    Closed {
        /// Which one.
        proxy: String,
    },
    /// The connection broke.
    #[error("connection to proxy {proxy} broke")]
    Broken {
        /// Which one.
        proxy: String,
        /// How.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("proxy {proxy} did not connect within {limit:?}")]
    Deadline {
        /// Which one.
        proxy: String,
        /// What was allowed.
        limit: Duration,
    },
    /// The server has a name that cannot be asked for.
    #[error("{host:?} is no host that a proxy can be asked for")]
    Target {
        /// The name.
        host: String,
    },
}

/// Reads `host`, `host:port`, `[address]:port` or an address alone. None when the port is none.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(text) => Some((host, Some(port(text)?))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.split_once(':') {
        Some((host, rest)) if !rest.contains(':') => Some((host, Some(port(rest)?))),
        _ => Some((text, None)),
    }
}

/// Whether it can stand in a request's line.
fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !text.is_empty() && text.chars().all(fits)
}

/// `Basic` credentials of a URL's `user:password` (RFC 7617 §2).
fn basic(credentials: &str) -> Result<Zeroizing<String>, ProxyAddressError> {
    let decode = |text: &str| {
        let decoded = percent::decode_exact(text).ok_or(ProxyAddressError::Credentials)?;
        match decoded.chars().any(char::is_control) {
            true => Err(ProxyAddressError::Credentials),
            false => Ok(Zeroizing::new(decoded.into_owned())),
        }
    };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (user, password) = (decode(user)?, decode(password)?);
    if user.contains(':') {
        return Err(ProxyAddressError::Credentials);
    }
    let both = Zeroizing::new(format!("{}:{}", *user, *password));
    let encoded = Zeroizing::new(STANDARD.encode(both.as_bytes()));
    Ok(Zeroizing::new(format!("Basic {}", *encoded)))
}

/// The status of an answer's head.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let digits = rest.split(' ').next().filter(|digits| digits.len() == 3)?;
    digits.parse().ok()
}

/// The variable that names the proxy.
pub const VARIABLE: &str = "https_proxy";
/// The variable that names whom to reach without it.
pub const NO_PROXY_VARIABLE: &str = "no_proxy";
/// Of `http` URLs.
const PORT_DEFAULT: u16 = 80;
/// An answer to CONNECT is a line and a handful of headers; proxies themselves bound requests so.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const PIECE_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
