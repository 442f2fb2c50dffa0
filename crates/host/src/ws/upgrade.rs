//! The server's half of the opening handshake (RFC 6455 §4.2), on HTTP requests
//! that hyper has parsed.

use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::WsStream;

/// Why a request does not become a WebSocket; answer it with
/// [`Refusal::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not ask for a WebSocket.
    #[error("expected a websocket upgrade (GET with Connection: Upgrade and Upgrade: websocket)")]
    NotAnUpgrade,
    /// Another version than 13.
    #[error("unsupported websocket version; Sec-WebSocket-Version must be 13")]
    Version,
    /// The key is missing or not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is missing or malformed")]
    Key,
    /// None of the offered subprotocols is spoken here.
    #[error("no supported subprotocol in Sec-WebSocket-Protocol")]
    Subprotocol,
}

impl Refusal {
    /// The HTTP status for the refusal.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Subprotocol => StatusCode::BAD_REQUEST,
        }
    }
}

/// A request that may become a WebSocket.
#[derive(Debug)]
pub struct Upgrade {
    accept: String,
    protocol: HeaderValue,
    on_upgrade: hyper::upgrade::OnUpgrade,
}

impl Upgrade {
    /// Checks the request and chooses the first offered subprotocol that is in
    /// `supported`, compared ignoring case.
    pub fn from_request<B>(request: &mut Request<B>, supported: &[&str]) -> Result<Self, Refusal> {
        let headers = request.headers();
        let asks = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && has_token(headers, &CONNECTION, "upgrade")
            && has_token(headers, &UPGRADE, "websocket");
        if !asks {
            return Err(Refusal::NotAnUpgrade);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
            return Err(Refusal::Version);
        }
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .map(HeaderValue::as_bytes)
            .filter(|key| is_key(key))
            .ok_or(Refusal::Key)?;
        let protocol = choose_protocol(headers, supported).ok_or(Refusal::Subprotocol)?;
        let accept = derive_accept_key(key);
        Ok(Self { accept, protocol, on_upgrade: hyper::upgrade::on(request) })
    }

    /// The chosen subprotocol, as the client spells it.
    pub fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// The answer that turns the connection into a WebSocket: 101, the chosen
    /// subprotocol in the client's spelling (the Node SDK compares exactly), and
    /// no extensions.
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Base64 is always a valid header value.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        headers.insert(SEC_WEBSOCKET_PROTOCOL, self.protocol.clone());
        response
    }

    /// The stream, once the answer has been sent. Runs beside the service that
    /// returns the answer, never inside it.
    pub async fn stream(
        self,
        message_bytes_max: usize,
    ) -> Result<WsStream<TokioIo<hyper::upgrade::Upgraded>>, hyper::Error> {
        let upgraded = self.on_upgrade.await?;
        Ok(WsStream::server(TokioIo::new(upgraded), message_bytes_max).await)
    }
}

fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|candidate| candidate.eq_ignore_ascii_case(token))
}

fn choose_protocol(headers: &HeaderMap, supported: &[&str]) -> Option<HeaderValue> {
    let chosen = tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
        .find(|offered| supported.iter().any(|name| offered.eq_ignore_ascii_case(name)))?;
    HeaderValue::from_str(chosen).ok()
}

/// The comma-separated tokens of all headers of that name.
fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// 16 bytes in base64 are 22 characters and two of padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}
