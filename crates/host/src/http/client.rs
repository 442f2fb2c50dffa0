//! The HTTP client: requests with a deadline and a body limit, and a few idle
//! connections kept for the next one.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BodyError, read_body};
use crate::net::{self, NetError, TcpStream};
use crate::tls::{ClientTls, TlsError};

/// Connections kept for later requests, per client.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// Unless the request says otherwise.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Unless the request says otherwise; listings of the registry are the largest.
const DEFAULT_RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The buffer for a response's head, and the unit of reading its body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A request got no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The server cannot be reached.
    #[error(transparent)]
    Connect(#[from] NetError),
    /// The server is not trusted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The way of somebody else's making ([`Client::https_over`]) does not lead there.
    #[error(transparent)]
    Connector(Box<dyn StdError + Send + Sync>),
    /// Path or headers are not valid.
    #[error("malformed request to {peer}")]
    Malformed {
        /// The server.
        peer: String,
        /// What is wrong.
        source: http::Error,
    },
    /// The connection broke.
    #[error("request to {peer} failed")]
    Broken {
        /// The server.
        peer: String,
        /// How.
        source: hyper::Error,
    },
    /// No complete answer in time.
    #[error("no answer from {peer} within {limit:?}")]
    Deadline {
        /// The server.
        peer: String,
        /// The time allowed.
        limit: Duration,
    },
    /// The answer's body could not be read.
    #[error("unusable answer from {peer}")]
    Body {
        /// The server.
        peer: String,
        /// Why.
        source: BodyError,
    },
}

/// A request to be sent: method, path with query, headers, body, and its limits.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    deadline: Duration,
    response_bytes_max: usize,
}

impl Request {
    /// A request without a body; `path` starts with `/` and is encoded already.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            deadline: DEFAULT_DEADLINE,
            response_bytes_max: DEFAULT_RESPONSE_BYTES_MAX,
        }
    }

    /// `GET`.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// `POST`.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// `PUT`.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// `DELETE`.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body and its `Content-Type`.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// Sets a body of JSON text.
    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.body("application/json; charset=utf-8", body)
    }

    /// The time for everything, from connecting to the body's last byte; for a
    /// streaming response, to the end of its head. 30 s unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The largest body taken; does not count for a streaming response. 16 MiB
    /// unless set.
    pub fn response_bytes_max(mut self, bytes_max: usize) -> Self {
        self.response_bytes_max = bytes_max;
        self
    }
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// An answer whose body arrives bit by bit. Dropping it ends the connection.
#[derive(Debug)]
pub struct StreamingResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    peer: String,
    /// Held because the connection ends when it is dropped.
    _sender: SendRequest<Full<Bytes>>,
}

impl StreamingResponse {
    /// The next piece of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|source| HttpError::Broken { peer: self.peer.clone(), source })?;
            // Trailers say nothing to us.
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The rest of the body, bounded.
    pub async fn rest(self, bytes_max: usize, limit: Duration) -> Result<Bytes, HttpError> {
        let peer = self.peer;
        read_body(self.body, bytes_max, limit)
            .await
            .map_err(|source| HttpError::Body { peer, source })
    }
}

/// How a client gets its connections when it does not dial itself: through a proxy.
pub trait Connector: Send + Sync {
    /// A connection to the server, before TLS, within `limit`.
    fn connect(&self, limit: Duration) -> Connecting<'_>;
}

/// A connection that is being made.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<TcpStream, Box<dyn StdError + Send + Sync>>> + Send + 'a>>;

/// A client of one server. Clones share the idle connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    host_header: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

enum Target {
    Tcp { dial: String, port: u16, tls: Option<(ClientTls, String)> },
    Over { connector: Arc<dyn Connector>, tls: ClientTls, name: String },
    Unix(PathBuf),
}

impl Client {
    /// A client of `https://host:port`.
    pub fn https(host: &str, port: u16, tls: ClientTls) -> Self {
        Self::https_at(host, host, port, tls)
    }

    /// Like [`Client::https`], but dials `dial` (a name or an address); TLS still
    /// verifies `host`.
    pub fn https_at(host: &str, dial: &str, port: u16, tls: ClientTls) -> Self {
        let target = Target::Tcp { dial: dial.to_owned(), port, tls: Some((tls, host.to_owned())) };
        Self::new(target, https_header(host, port))
    }

    /// Like [`Client::https`], over connections that somebody else makes.
    pub fn https_over(
        host: &str,
        port: u16,
        tls: ClientTls,
        connector: Arc<dyn Connector>,
    ) -> Self {
        let target = Target::Over { connector, tls, name: host.to_owned() };
        Self::new(target, https_header(host, port))
    }

    /// A client of `http://host:port`; for loopback and tests.
    pub fn plain(host: &str, port: u16) -> Self {
        let target = Target::Tcp { dial: host.to_owned(), port, tls: None };
        Self::new(target, format!("{host}:{port}"))
    }

    /// A client of the server at a unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Target::Unix(path.into()), "localhost".to_owned())
    }

    fn new(target: Target, host_header: String) -> Self {
        Self { inner: Arc::new(Inner { target, host_header, idle: Mutex::new(Vec::new()) }) }
    }

    /// Sends the request and reads the whole answer.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let limit = request.deadline;
        let bytes_max = request.response_bytes_max;
        let exchange = async {
            let (response, sender) = self.exchange(request).await?;
            let (head, body) = response.into_parts();
            let body = read_body(body, bytes_max, limit)
                .await
                .map_err(|source| HttpError::Body { peer: self.peer(), source })?;
            self.keep(sender);
            Ok(Response { status: head.status, headers: head.headers, body })
        };
        self.within(limit, exchange).await
    }

    /// Sends the request and returns with the answer's head; the body follows
    /// in pieces, for as long as it takes.
    pub async fn stream(&self, request: Request) -> Result<StreamingResponse, HttpError> {
        let limit = request.deadline;
        let (response, sender) = self.within(limit, self.exchange(request)).await?;
        let (head, body) = response.into_parts();
        Ok(StreamingResponse {
            status: head.status,
            headers: head.headers,
            body,
            peer: self.peer(),
            _sender: sender,
        })
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::Deadline { peer: self.peer(), limit }),
        }
    }

    async fn exchange(
        &self,
        request: Request,
    ) -> Result<(hyper::Response<Incoming>, SendRequest<Full<Bytes>>), HttpError> {
        let limit = request.deadline;
        let mut message = self.form(request)?;
        // The server may close an idle connection at any moment, so the request
        // goes to the next one as long as hyper says that it was not sent.
        while let Some(mut sender) = self.idle() {
            match sender.try_send_request(message).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => message = unsent,
                    None => return Err(self.broken(error.into_error())),
                },
            }
        }
        // On the heap: a handshake is large, rare, and would make every request's future as large.
        let mut sender = Box::pin(self.connect(limit)).await?;
        match sender.send_request(message).await {
            Ok(response) => Ok((response, sender)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn form(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
        let formed = hyper::Request::builder()
            .method(request.method)
            .uri(request.path)
            .body(Full::new(request.body))
            .and_then(|mut message| {
                let headers = message.headers_mut();
                headers.insert(HOST, HeaderValue::from_str(&self.inner.host_header)?);
                for (name, value) in &request.headers {
                    headers.append(
                        HeaderName::from_bytes(name.as_bytes())?,
                        HeaderValue::from_str(value)?,
                    );
                }
                Ok(message)
            });
        formed.map_err(|source| HttpError::Malformed { peer: self.peer(), source })
    }

    fn idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.inner.idle.lock();
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.inner.idle.lock();
        if idle.len() < IDLE_CONNECTIONS_MAX && !sender.is_closed() {
            idle.push(sender);
        }
    }

    async fn connect(&self, limit: Duration) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        match &self.inner.target {
            Target::Unix(path) => self.start(net::connect_unix(path, limit).await?).await,
            Target::Over { connector, tls, name } => {
                let stream = connector.connect(limit).await.map_err(HttpError::Connector)?;
                self.start(tls.connect(stream, name).await?).await
            }
            Target::Tcp { dial, port, tls } => {
                let stream = net::connect(dial, *port, limit).await?;
                match tls {
                    Some((tls, name)) => self.start(tls.connect(stream, name).await?).await,
                    None => self.start(stream).await,
                }
            }
        }
    }

    async fn start<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // Ends with its sender, or with the server.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn StdError, "http connection ended");
            }
        });
        Ok(sender)
    }

    fn broken(&self, source: hyper::Error) -> HttpError {
        HttpError::Broken { peer: self.peer(), source }
    }

    fn peer(&self) -> String {
        match &self.inner.target {
            Target::Tcp { .. } | Target::Over { .. } => self.inner.host_header.clone(),
            Target::Unix(path) => path.display().to_string(),
        }
    }
}

/// What `Host` says: without the port where it is that of HTTPS.
fn https_header(host: &str, port: u16) -> String {
    match port {
        443 => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.peer())
    }
}
