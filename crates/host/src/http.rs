//! HTTP/1.1: serving one connection, and a client over TCP, TLS or a unix socket.
//!
//! Whoever serves brings a hyper service (or a tower one, by [`TowerToHyperService`])
//! and the limits; routes and status codes are not this module's. Upgrades
//! (WebSocket) are passed through.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::time::Duration;

pub use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Body;
pub use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
pub use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
pub use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::signals::Shutdown;

mod client;

pub use self::client::{
    Client, Connecting, Connector, HttpError, Request, Response, StreamingResponse,
};

/// What a peer may take of us before and while it asks.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the moment the connection waits for a request until its head is
    /// complete; an idle connection ends after this too.
    pub header_deadline: Duration,
    /// The head of a request; larger ones get 431.
    pub header_bytes_max: usize,
    /// The number of header lines; more get 431.
    pub headers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_deadline: Duration::from_secs(10),
            header_bytes_max: 32 * 1024,
            headers_max: 100,
        }
    }
}

/// Serves the requests on one connection until it ends. When `shutdown` is
/// triggered, the request in progress is finished and the connection closed.
///
/// A body's size and deadline are the service's: see [`read_body`].
pub async fn serve_connection<I, S, B>(
    io: I,
    service: S,
    limits: Limits,
    shutdown: &Shutdown,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_deadline)
        .max_buf_size(limits.header_bytes_max.max(SMALLEST_BUFFER_BYTES))
        .max_headers(limits.headers_max)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// hyper panics below this.
const SMALLEST_BUFFER_BYTES: usize = 8 * 1024;

/// A request's body could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Longer than allowed; nothing beyond was read.
    #[error("body is longer than {bytes_max} bytes")]
    TooLarge {
        /// What was allowed.
        bytes_max: usize,
    },
    /// Not complete in time.
    #[error("body did not arrive within {limit:?}")]
    Deadline {
        /// What was allowed.
        limit: Duration,
    },
    /// The connection broke, or its framing is wrong.
    #[error("cannot read body")]
    Broken(#[source] Box<dyn StdError + Send + Sync>),
}

/// Reads a whole body of at most `bytes_max` within `limit`. What announces more is refused before
/// anything is read.
pub async fn read_body<B>(
    body: B,
    bytes_max: usize,
    limit: Duration,
) -> Result<bytes::Bytes, BodyError>
where
    B: Body<Data = bytes::Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    collect(pin!(body), bytes_max, limit).await
}

/// The same for a request. A bounded rest of a body that is refused is read and dropped beside the
/// answer: a client that is still sending would otherwise see a broken connection instead of it.
pub async fn read_request_body(
    mut body: Incoming,
    bytes_max: usize,
    limit: Duration,
) -> Result<bytes::Bytes, BodyError> {
    let outcome = collect(Pin::new(&mut body), bytes_max, limit).await;
    if matches!(outcome, Err(BodyError::TooLarge { .. })) {
        tokio::spawn(drop_rest(body));
    }
    outcome
}

async fn collect<B>(
    mut body: Pin<&mut B>,
    bytes_max: usize,
    limit: Duration,
) -> Result<bytes::Bytes, BodyError>
where
    B: Body<Data = bytes::Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let read = async {
        let mut read = bytes::BytesMut::new();
        while let Some(frame) = body.as_mut().frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > bytes_max {
                return Err(BodyError::TooLarge { bytes_max });
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    };
    match tokio::time::timeout(limit, read).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BodyError::Deadline { limit }),
    }
}

/// Whoever sends more, or slower, has to live with a broken connection.
async fn drop_rest(mut body: Incoming) {
    let rest = async {
        let mut dropped = 0;
        while dropped < DISCARD_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            dropped += frame.data_ref().map_or(0, bytes::Bytes::len);
        }
    };
    // Its end says nothing to anybody.
    let _ = tokio::time::timeout(DISCARD_DEADLINE, rest).await;
}

/// How much of a body that is refused is read and dropped.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// For how long.
const DISCARD_DEADLINE: Duration = Duration::from_secs(2);

/// A whole body, for small answers.
pub fn full(bytes: impl Into<bytes::Bytes>) -> Full<bytes::Bytes> {
    Full::new(bytes.into())
}

/// The error of a service that never fails.
pub type Never = Infallible;

#[cfg(test)]
mod tests;
