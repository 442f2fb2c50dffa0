//! A WebSocket (RFC 6455) as a byte stream, for protocols that run over one.
//!
//! Bytes go in binary messages, whose borders mean nothing: MQTT 3.1.1 §6 and
//! AMQP's WebSocket binding both say so. A text message ends the connection with
//! 1003 (unsupported data). No extensions are negotiated, so nothing is ever
//! compressed. Pings are answered while the stream is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

mod upgrade;

pub use self::upgrade::{Refusal, Upgrade};

/// The largest frame or reassembled message taken from a peer unless the caller
/// says otherwise: the hub's 256 KiB message and an MQTT header around it.
pub const DEFAULT_MESSAGE_BYTES_MAX: usize = 288 * 1024;

/// What is read from the socket at once; kept small because every connection
/// has this buffer.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes are sent in messages of at most this size.
const SENT_MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// A peer's message, unread, and what is being written: the bound on a
/// connection's memory for sending is two messages with their headers.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * SENT_MESSAGE_BYTES_MAX + 1024;

/// The WebSocket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WsError {
    /// The address is not one.
    #[error("cannot form a websocket request for {url}")]
    Url {
        /// What was asked for.
        url: String,
        /// Why not.
        source: Box<Error>,
    },
    /// The server did not agree.
    #[error("websocket handshake failed")]
    Handshake(#[source] Box<Error>),
    /// The server chose another subprotocol, or none.
    #[error("server did not accept websocket subprotocol {wanted}")]
    Subprotocol {
        /// What was offered.
        wanted: String,
    },
}

/// A WebSocket that reads and writes like a socket.
#[derive(Debug)]
pub struct WsStream<S> {
    inner: WebSocketStream<S>,
    /// What is left of the last message.
    unread: Bytes,
    reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer broke the rules: the closing frame has to go out, then the
    /// reader gets an error.
    Refusing,
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// The server's end, on a stream whose upgrade has been answered.
    pub async fn server(stream: S, message_bytes_max: usize) -> Self {
        Self::new(stream, Role::Server, message_bytes_max).await
    }

    async fn new(stream: S, role: Role, message_bytes_max: usize) -> Self {
        let config = config(message_bytes_max);
        Self::wrap(WebSocketStream::from_raw_socket(stream, role, Some(config)).await)
    }

    fn wrap(inner: WebSocketStream<S>) -> Self {
        Self { inner, unread: Bytes::new(), reading: Reading::Open }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }
}

/// Opens a WebSocket on `stream` as a client. `host` and `path` name the
/// resource, `protocol` is the subprotocol, which the server must accept.
pub async fn connect<S>(
    stream: S,
    host: &str,
    path: &str,
    protocol: &str,
) -> Result<WsStream<S>, WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let url = format!("wss://{host}{path}");
    let formed = url.as_str().into_client_request().and_then(|mut request| {
        let value = http::HeaderValue::from_str(protocol)?;
        request.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, value);
        Ok(request)
    });
    let request = formed.map_err(|source| WsError::Url { url, source: Box::new(source) })?;
    let config = config(DEFAULT_MESSAGE_BYTES_MAX);
    let (inner, response) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await.map_err(
            |error| match error {
                Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
                    WsError::Subprotocol { wanted: protocol.to_owned() }
                }
                error => WsError::Handshake(Box::new(error)),
            },
        )?;
    let accepted = response
        .headers()
        .get(http::header::SEC_WEBSOCKET_PROTOCOL)
        .is_some_and(|chosen| chosen.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    match accepted {
        true => Ok(WsStream::wrap(inner)),
        false => Err(WsError::Subprotocol { wanted: protocol.to_owned() }),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.unread.is_empty() {
                let count = this.unread.len().min(buf.remaining());
                buf.put_slice(&this.unread[..count]);
                this.unread.advance(count);
                return Poll::Ready(Ok(()));
            }
            match this.reading {
                Reading::Open => {}
                Reading::Ended => return Poll::Ready(Ok(())),
                Reading::Refusing => {
                    // Whether it reaches the peer or not, the connection is over.
                    let _ = ready!(Pin::new(&mut this.inner).poll_flush(cx));
                    this.reading = Reading::Ended;
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "peer sent a text message on a binary websocket",
                    )));
                }
            }
            match ready!(Pin::new(&mut this.inner).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                Some(Ok(Message::Text(_))) => this.refuse_text(),
                // Pongs for pings are queued by tungstenite itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => this.reading = Reading::Ended,
                Some(Err(error)) => {
                    this.reading = Reading::Ended;
                    return Poll::Ready(into_io(error).map_or(Ok(()), Err));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    fn refuse_text(&mut self) {
        self.reading = Reading::Refusing;
        let close = CloseFrame { code: CloseCode::Unsupported, reason: "binary only".into() };
        // Sits in the sink's buffer until flushed; fails only if closed already.
        let _ = Pin::new(&mut self.inner).start_send(Message::Close(Some(close)));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Err(error) = ready!(Pin::new(&mut this.inner).poll_ready(cx)) {
            return Poll::Ready(Err(broken(error)));
        }
        let count = bytes.len().min(SENT_MESSAGE_BYTES_MAX);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        let sent = Pin::new(&mut this.inner).start_send(message);
        Poll::Ready(sent.map(|()| count).map_err(broken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.get_mut().inner).poll_close(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(into_io(error).map_or(Ok(()), Err)),
        }
    }
}

fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// The I/O error for a reader; `None` when the connection ended as it should.
fn into_io(error: Error) -> Option<io::Error> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => None,
        Error::Io(error) => Some(error),
        // A peer that just drops the connection is an ordinary end.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Some(io::ErrorKind::UnexpectedEof.into())
        }
        Error::Capacity(error @ CapacityError::MessageTooLong { .. }) => {
            Some(io::Error::new(io::ErrorKind::InvalidData, error))
        }
        error => Some(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// The I/O error for a writer.
fn broken(error: Error) -> io::Error {
    into_io(error).unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests;
