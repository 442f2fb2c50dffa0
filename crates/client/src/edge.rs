//! The edge daemon's management and workload APIs, over unix sockets.
//!
//! Spec: `edge-runtime.md` §1.3, §2.1, §2.2; paths and bodies are `iot_proto::management`'s. The
//! daemon knows callers by their process, so there are no tokens here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::http::{Client, HttpError, Method, Request, Response};
use host::net::NetError;
use iot_proto::management::{API_VERSION, ErrorBody};
use iot_proto::percent;
use serde::de::DeserializeOwned;

mod logs;
mod management;
mod workload;

pub use logs::{LogChunk, LogDemultiplexer, LogFrameError, LogStream, Source};
pub use management::ManagementClient;
pub use workload::WorkloadClient;

/// Why the daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// There is no daemon behind the socket, or it does not let us in.
    #[error("cannot reach the edge daemon at {}; {}", socket.display(), connect_hint(source))]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: NetError,
    },
    /// The exchange broke.
    #[error("no answer from the edge daemon at {}", socket.display())]
    Http {
        /// The socket.
        socket: PathBuf,
        /// How.
        source: HttpError,
    },
    /// The daemon said no.
    #[error("edge daemon answered {status}: {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The daemon answered with something else.
    #[error("answer of the edge daemon is not what was asked for: {0}")]
    Malformed(String),
    /// The address of the socket is none.
    #[error("{0:?} is not a unix socket; write unix:///path/to/socket")]
    Uri(String),
}

impl EdgeError {
    /// The HTTP status of the daemon's refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn connect_hint(error: &NetError) -> &'static str {
    let NetError::Connect { source, .. } = error else {
        return "it does not answer; check its log";
    };
    match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            "it is not running: start it, or check the path"
        }
        std::io::ErrorKind::PermissionDenied => {
            "you may not open it: run as root or as a member of the socket's group"
        }
        _ => "check its log",
    }
}

/// The path in `unix:///path`; a plain path is taken as it is.
pub fn socket_path(uri: &str) -> Result<PathBuf, EdgeError> {
    let path = uri.strip_prefix("unix://").unwrap_or(uri);
    if path.starts_with('/') { Ok(path.into()) } else { Err(EdgeError::Uri(uri.to_owned())) }
}

/// One of the daemon's sockets.
#[derive(Debug, Clone)]
struct Socket {
    path: PathBuf,
    client: Client,
}

impl Socket {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), client: Client::unix(path) }
    }

    /// Sends a request that must succeed.
    async fn call(&self, request: Request) -> Result<Response, EdgeError> {
        let response = self.client.send(request).await.map_err(|error| self.broken(error))?;
        if response.status.is_success() {
            return Ok(response);
        }
        Err(refused(response.status.as_u16(), &response.body))
    }

    /// Sends a request and reads its answer as JSON.
    async fn call_for<T: DeserializeOwned>(&self, request: Request) -> Result<T, EdgeError> {
        let response = self.call(request).await?;
        serde_json::from_slice(&response.body)
            .map_err(|error| EdgeError::Malformed(error.to_string()))
    }

    fn broken(&self, error: HttpError) -> EdgeError {
        let socket = self.path.clone();
        match error {
            HttpError::Connect(source) => EdgeError::Connect { socket, source },
            source => EdgeError::Http { socket, source },
        }
    }
}

fn refused(status: u16, body: &[u8]) -> EdgeError {
    let message = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.message,
        Err(_) => String::from_utf8_lossy(body).chars().take(MESSAGE_LENGTH_MAX).collect(),
    };
    EdgeError::Answer { status, message }
}

/// A request with the API version and more parameters.
fn request(method: Method, path: &str, parameters: &[(&str, String)]) -> Request {
    let mut text = format!("{path}?api-version={API_VERSION}");
    for (name, value) in parameters {
        text.push('&');
        text.push_str(name);
        text.push('=');
        percent::encode_into(value, &mut text);
    }
    Request::new(method, text)
}

/// What is shown of an answer that is no error body.
const MESSAGE_LENGTH_MAX: usize = 200;
/// Pulling an image may take this long (an hour: slow lines, large images; ours).
const PULL_DEADLINE: Duration = Duration::from_secs(3600);
