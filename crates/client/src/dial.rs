//! Where to dial, which name the server must prove, and words for a failed attempt.
//!
//! A hub's name, the name that its certificate carries and the address that is dialled can be
//! three things: tokens and user names hold the hub's name even when a gateway is dialled
//! (`device-protocol.md` §14), and on one machine the name may not resolve to where it listens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use host::http::{Client, Connecting, Connector};
use host::net::{self, NetError, TcpStream};
use host::tls::{ClientStream, ClientTls, TlsError};

pub mod proxy;

pub use self::proxy::Proxy;
use self::proxy::ProxyError;

/// Port of MQTT over TLS (`device-protocol.md` §1).
pub const MQTT_PORT: u16 = 8883;
/// Port of AMQP over TLS.
pub const AMQP_PORT: u16 = 5671;
/// Port of HTTPS and WebSockets.
pub const HTTPS_PORT: u16 = 443;

/// A server to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The name that the server's certificate must carry.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The address to dial when the name does not lead there.
    pub address: Option<String>,
    /// The proxy on the way there.
    pub proxy: Option<Proxy>,
}

impl Dial {
    /// A server that its name leads to.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, address: None, proxy: None }
    }

    /// The same server at another address.
    #[must_use]
    pub fn at(mut self, address: Option<String>) -> Self {
        self.address = address;
        self
    }

    /// The same server through a proxy, unless that spares it.
    #[must_use]
    pub fn through(mut self, proxy: Option<&Proxy>) -> Self {
        let is_spared = |proxy: &Proxy| {
            proxy.spares(&self.host, self.port) || proxy.spares(self.target(), self.port)
        };
        self.proxy = proxy.filter(|proxy| !is_spared(proxy)).cloned();
        self
    }

    /// Reads `host` or `host:port`.
    pub fn parse(text: &str, default_port: u16) -> Self {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().ok())
            }
            _ => (text, None),
        };
        match port {
            Some(port) => Self::new(host, port),
            None => Self::new(text, default_port),
        }
    }

    /// An HTTPS client of this server.
    pub fn https(&self, tls: ClientTls) -> Client {
        match &self.proxy {
            None => Client::https_at(&self.host, self.target(), self.port, tls),
            Some(proxy) => {
                let way = Way { dial: self.clone(), proxy: proxy.clone() };
                Client::https_over(&self.host, self.port, tls, Arc::new(way))
            }
        }
    }

    /// Opens a TLS connection within `limit`. The handshake's own deadline is the caller's.
    pub(crate) async fn connect(
        &self,
        tls: &ClientTls,
        limit: Duration,
    ) -> Result<ClientStream<TcpStream>, DialError> {
        let stream = match &self.proxy {
            None => net::connect(self.target(), self.port, limit)
                .await
                .map_err(|source| DialError::Network { dial: self.clone(), source })?,
            Some(proxy) => proxy
                .connect(self.target(), self.port, limit)
                .await
                .map_err(|source| DialError::Proxy { dial: self.clone(), source })?,
        };
        tls.connect(stream, &self.host)
            .await
            .map_err(|source| DialError::Tls { dial: self.clone(), source })
    }

    /// Name and port as a URL holds them: without the port where it is that of HTTPS.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            HTTPS_PORT => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    fn target(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.host)
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        match &self.address {
            Some(address) => write!(f, " (at {address})"),
            None => Ok(()),
        }
    }
}

/// An HTTP client's way through a proxy.
struct Way {
    dial: Dial,
    proxy: Proxy,
}

impl Connector for Way {
    fn connect(&self, limit: Duration) -> Connecting<'_> {
        Box::pin(async move {
            let stream = self.proxy.connect(self.dial.target(), self.dial.port, limit).await;
            stream.map_err(|source| DialError::Proxy { dial: self.dial.clone(), source }.into())
        })
    }
}

/// Why a server cannot be reached or is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No connection.
    #[error("cannot reach {dial}; {}", network_hint(source))]
    Network {
        /// What was dialled.
        dial: Dial,
        /// Why not.
        source: NetError,
    },
    /// No connection through the proxy.
    #[error("cannot reach {dial} through the proxy")]
    Proxy {
        /// What was dialled.
        dial: Dial,
        /// Why not.
        source: ProxyError,
    },
    /// No trust.
    #[error("{}", tls_message(dial, source))]
    Tls {
        /// What was dialled.
        dial: Dial,
        /// Why not.
        source: TlsError,
    },
}

fn network_hint(error: &NetError) -> &'static str {
    match error {
        NetError::Resolve { .. } => {
            "its name has no address here; check the name, or set the address to dial"
        }
        NetError::Deadline { .. } => "nothing answers there; check address and firewall",
        _ => "check that the server runs and listens there",
    }
}

/// What a failed handshake means for whoever set the connection up.
fn tls_message(dial: &Dial, error: &TlsError) -> String {
    use rustls::{CertificateError as Certificate, Error};
    let TlsError::Handshake { source, .. } = error else {
        return format!("TLS with {dial} cannot be set up");
    };
    let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match cause {
        // A bad signature means another CA of the same name: a hub that was set up anew.
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature)) => {
            format!(
                "certificate of {dial} is not trusted; give the CA that issued it as trusted root"
            )
        }
        Some(Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => format!(
            "certificate of {dial} is for another name; dial a name that it carries, or issue it for {}",
            dial.host
        ),
        Some(Error::InvalidCertificate(
            Certificate::Expired | Certificate::ExpiredContext { .. },
        )) => {
            format!("certificate of {dial} has expired; renew it, and check this machine's clock")
        }
        Some(Error::InvalidCertificate(
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. },
        )) => format!("certificate of {dial} is not valid yet; check this machine's clock"),
        Some(Error::InvalidCertificate(_)) => format!("certificate of {dial} is not acceptable"),
        Some(Error::InvalidMessage(_)) => {
            format!("{dial} does not speak TLS; check the port")
        }
        _ => format!("TLS handshake with {dial} failed"),
    }
}

/// An error with everything behind it on one line, for a log or a person.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Wrappers often repeat what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_with_and_without_a_port() {
        for (text, host, port) in [
            ("localhost", "localhost", 8883),
            ("localhost:18883", "localhost", 18883),
            ("hub.example", "hub.example", 8883),
            ("::1", "::1", 8883),
            ("[::1]:1", "[::1]", 1),
            ("hub:x", "hub:x", 8883),
        ] {
            assert_eq!(Dial::parse(text, MQTT_PORT), Dial::new(host, port), "{text}");
        }
    }

    #[test]
    fn shows_what_is_dialled() {
        assert_eq!(Dial::new("hub", 8883).to_string(), "hub:8883");
        assert_eq!(
            Dial::new("hub", 8883).at(Some("10.0.0.1".into())).to_string(),
            "hub:8883 (at 10.0.0.1)"
        );
    }
}
