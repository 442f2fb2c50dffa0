//! The connection to the engine: bollard over a unix socket, and the three
//! places where its typed requests would lose something.
//!
//! bollard's create body drops keys that it doesn't know, its registry
//! credentials are not URL-safe base64 and its log times are 32-bit seconds. So
//! those requests are changed on their way out, by its request modifier.
//! It also sends paths without an API version, which means the engine's newest;
//! we name the version that both sides know.
//!
//! And podman, through the same API, says some things that Docker never says, at
//! which bollard's typed answers give up: containers are asked for as JSON and
//! put into Docker's words before they are read.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker, body_full};
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderValue;
use http::uri::PathAndQuery;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{BoxError, RuntimeError};

/// A connected engine.
#[derive(Clone)]
pub(crate) struct Engine {
    docker: Docker,
    uri: Arc<str>,
    is_podman: bool,
}

impl Engine {
    /// Connects and agrees on an API version.
    pub(crate) async fn connect(uri: &str) -> Result<Self, RuntimeError> {
        let Some(path) = uri.strip_prefix("unix://").filter(|path| path.starts_with('/')) else {
            return Err(RuntimeError::EngineUri { uri: uri.to_owned() });
        };
        let docker =
            Docker::connect_with_unix(path, REQUEST_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
                .map_err(|source| error(uri, source))?
                .negotiate_version()
                .await
                .map_err(|source| error(uri, source))?;
        let version = docker.client_version();
        if version < OLDEST_VERSION {
            return Err(RuntimeError::EngineProtocol {
                what: format!(
                    "container engine at {uri} speaks API {version}, but 1.41 is the oldest that works: update it"
                ),
                source: None,
            });
        }
        let docker = docker.with_request_modifier(move |request| with_version(request, version));
        let about = docker.version().await.map_err(|source| error(uri, source))?;
        let components = about.components.unwrap_or_default();
        let is_podman = components.iter().any(|component| component.name.starts_with("Podman"));
        Ok(Self { docker, uri: uri.into(), is_podman })
    }

    /// Whether it is podman, which differs from Docker here and there.
    pub(crate) fn is_podman(&self) -> bool {
        self.is_podman
    }

    /// A container, by name or id.
    pub(crate) async fn inspect_container(
        &self,
        name: &str,
    ) -> Result<ContainerInspectResponse, RuntimeError> {
        let mut found: Value = self.get(&format!("/containers/{name}/json")).await?;
        if let Some(status) = found.pointer_mut("/State/Status") {
            in_dockers_words(status);
        }
        self.read(found)
    }

    /// All containers, running or not, whoever's they are.
    pub(crate) async fn all_containers(&self) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let mut found: Vec<Value> = self.get("/containers/json?all=true").await?;
        for state in found.iter_mut().filter_map(|container| container.get_mut("State")) {
            in_dockers_words(state);
        }
        self.read(Value::Array(found))
    }

    /// What the engine answers to a GET, as JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, RuntimeError> {
        let target = target.to_owned();
        let version = self.docker.client_version();
        let docker = self.docker.clone().with_request_modifier(move |request| {
            with_version(with_target(request, &target), version)
        });
        // The one request of bollard's that gives an answer's bytes untouched.
        let mut pieces = docker.export_container("any");
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece.map_err(|source| self.error(source))?);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.unexpected(format!("more than {ANSWER_BYTES_MAX} bytes").into()));
            }
        }
        serde_json::from_slice(&body).map_err(|source| self.unexpected(source.into()))
    }

    fn read<T: DeserializeOwned>(&self, found: Value) -> Result<T, RuntimeError> {
        serde_json::from_value(found).map_err(|source| self.unexpected(source.into()))
    }

    fn unexpected(&self, source: BoxError) -> RuntimeError {
        unexpected(&self.uri, source)
    }

    /// The agreed API version.
    pub(crate) fn api_version(&self) -> String {
        self.docker.client_version().to_string()
    }

    /// For all requests that bollard makes well.
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// For a request that takes longer than usual to answer.
    pub(crate) fn patient(&self, extra: Duration) -> Docker {
        self.docker.clone().with_timeout(REQUEST_TIMEOUT.saturating_add(extra))
    }

    /// For one request with this body instead of bollard's.
    pub(crate) fn with_body(&self, body: Bytes) -> Docker {
        self.modified(move |request| {
            let (parts, _) = request.into_parts();
            BollardRequest::from_parts(parts, body_full(body.clone()))
        })
    }

    /// For one request with this query instead of bollard's.
    pub(crate) fn with_query(&self, query: String) -> Docker {
        self.modified(move |request| {
            let target = format!("{}?{query}", request.uri().path());
            with_target(request, &target)
        })
    }

    /// For one request with this header.
    pub(crate) fn with_header(&self, name: &'static str, value: HeaderValue) -> Docker {
        self.modified(move |mut request| {
            request.headers_mut().insert(name, value.clone());
            request
        })
    }

    /// Says what a failed request means.
    pub(crate) fn error(&self, source: bollard::errors::Error) -> RuntimeError {
        error(&self.uri, source)
    }

    fn modified(
        &self,
        change: impl Fn(BollardRequest) -> BollardRequest + Send + Sync + 'static,
    ) -> Docker {
        let version = self.docker.client_version();
        self.docker
            .clone()
            .with_request_modifier(move |request| change(with_version(request, version)))
    }
}

fn with_version(request: BollardRequest, version: ClientVersion) -> BollardRequest {
    let Some(target) = request.uri().path_and_query().map(PathAndQuery::as_str) else {
        return request;
    };
    let target = format!("/v{version}{target}");
    with_target(request, &target)
}

/// The request with another path and query. The parts come from a valid URI, so
/// putting them together cannot fail; if it did, the request goes as it was.
fn with_target(mut request: BollardRequest, target: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    if let Ok(target) = target.parse() {
        parts.path_and_query = Some(target);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn error(uri: &str, source: bollard::errors::Error) -> RuntimeError {
    use bollard::errors::Error as E;
    match source {
        E::DockerResponseServerError { status_code, message } => {
            RuntimeError::Engine { status: status_code, message: message.trim().to_owned() }
        }
        // Failed in the middle of an answer that had begun with 200.
        E::DockerStreamError { error } => RuntimeError::Engine { status: 500, message: error },
        E::SocketNotFoundError(_) | E::HyperLegacyError { .. } | E::IOError { .. } => {
            RuntimeError::EngineUnreachable { uri: uri.to_owned(), source: Box::new(source) }
        }
        E::RequestTimeoutError => RuntimeError::EngineProtocol {
            what: format!("container engine at {uri} does not answer in time"),
            source: None,
        },
        other => unexpected(uri, Box::new(other)),
    }
}

fn unexpected(uri: &str, source: BoxError) -> RuntimeError {
    RuntimeError::EngineProtocol {
        what: format!("container engine at {uri} answered something unexpected"),
        source: Some(source),
    }
}

/// podman's states that Docker does not have: the moments before a container was ever started, and
/// between the end of its process and podman's look at it (which a killed podman leaves for long).
fn in_dockers_words(state: &mut Value) {
    let word = match state.as_str() {
        Some("configured" | "initialized") => "created",
        Some("stopped") => "exited",
        Some("unknown") => "",
        _ => return,
    };
    *state = Value::from(word);
}

/// How long the engine may take to begin an answer. Docker's own client waits
/// for ever; creating and removing on a slow SD card takes tens of seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Far above what a machine full of containers gives; an inspection has some 10 KB.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What the original runtime asks for (`edge-runtime.md` §1.6).
const OLDEST_VERSION: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };
