//! The HTTP manners that both APIs share (`edge-runtime.md` §1.3): versions, error bodies, body
//! limits, and a socket that serves a bounded number of connections.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::registry::RestError;
use containers::{BoxError, RuntimeError};
use host::clock::Clock;
use host::http::{
    BodyError, Incoming, Limits, Method, StatusCode, header, read_body, serve_connection,
    service_fn,
};
use host::net::{UnixListener, UnixStream};
use host::signals::Shutdown;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use iot_proto::management::{
    ErrorBody, LogsQueryError, RouteError, SpecError, VersionError, check_version,
};
use iot_proto::payload;
use iot_proto::rest::Query;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::identity::IdentityError;
use crate::peer::{Caller, Permit, Throttle};

/// A body of an answer, whole or streamed.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// An answer.
pub(crate) type Answer = hyper::Response<Body>;

/// One of the daemon's APIs.
pub(crate) trait Api: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        &self,
        caller: &Caller,
        asked: Asked,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send;
}

/// A request whose version was looked at.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    is_json: bool,
    body: Incoming,
    clock: Clock,
}

impl Asked {
    fn read(request: hyper::Request<Incoming>, clock: &Clock) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query());
        check_version(&query)?;
        let content_type =
            head.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        Ok(Self {
            method: head.method,
            path: head.uri.path().to_owned(),
            query,
            is_json: content_type.is_none_or(is_json),
            body,
            clock: clock.clone(),
        })
    }

    /// The body, which must be there.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        self.optional_json()
            .await?
            .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "missing request body"))
    }

    /// The body, if there is one.
    pub(crate) async fn optional_json<T: DeserializeOwned>(self) -> Result<Option<T>, Refusal> {
        if !self.is_json {
            return match self.method {
                Method::PUT => Err(Refusal::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "content type must be application/json",
                )),
                // The original takes it for no body.
                _ => Ok(None),
            };
        }
        // The inner deadline is on the machine's clock; this one is on ours.
        let read = read_body(self.body, BODY_BYTES_MAX, BODY_DEADLINE);
        let bytes = match self.clock.timeout(BODY_DEADLINE, read).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(BodyError::Deadline { limit: BODY_DEADLINE }.into()),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed
            .map(Some)
            .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Why a request is not served, as the caller hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What a module hears that asks for another, whatever the reason.
    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden")
    }

    pub(crate) fn bad(error: &dyn std::error::Error) -> Self {
        Self::of(StatusCode::BAD_REQUEST, error)
    }

    pub(crate) fn of(status: StatusCode, error: &dyn std::error::Error) -> Self {
        Self::new(status, ErrorBody::new(error).message)
    }

    /// Its words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same with other words.
    pub(crate) fn map_message(self, change: impl FnOnce(String) -> String) -> Self {
        Self { message: change(self.message), ..self }
    }

    fn to_answer(&self) -> Answer {
        let body = ErrorBody { message: self.message.clone() };
        respond(self.status, JSON, Full::from(body.to_body()))
    }
}

impl From<VersionError> for Refusal {
    fn from(error: VersionError) -> Self {
        Self::of(error.status(), &error)
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        Self::of(error.status(), &error)
    }
}

impl From<SpecError> for Refusal {
    fn from(error: SpecError) -> Self {
        Self::bad(&error)
    }
}

impl From<LogsQueryError> for Refusal {
    fn from(error: LogsQueryError) -> Self {
        Self::bad(&error)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Deadline { .. } => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::of(status, &error)
    }
}

impl From<RuntimeError> for Refusal {
    fn from(error: RuntimeError) -> Self {
        let status = match &error {
            RuntimeError::NotFound { .. } | RuntimeError::ImageUnavailable { .. } => {
                StatusCode::NOT_FOUND
            }
            RuntimeError::Conflict { .. } => StatusCode::CONFLICT,
            RuntimeError::Name(_)
            | RuntimeError::Image(_)
            | RuntimeError::CreateOptions { .. }
            | RuntimeError::Elevated { .. } => StatusCode::BAD_REQUEST,
            other => other
                .engine_status()
                .and_then(|status| StatusCode::from_u16(status).ok())
                .filter(|status| status.is_client_error() || status.is_server_error())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        Self::of(status, &error)
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        let status = match &error {
            error if error.is_not_found() => StatusCode::NOT_FOUND,
            IdentityError::System(_) => StatusCode::BAD_REQUEST,
            IdentityError::Hub(RestError::Answer { answer, .. })
                if answer.status == StatusCode::TOO_MANY_REQUESTS =>
            {
                StatusCode::TOO_MANY_REQUESTS
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    respond(status, JSON, Full::from(payload::write(body)))
}

/// An answer that says only that it is done.
pub(crate) fn no_content() -> Answer {
    let mut answer =
        hyper::Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// An answer of whatever type.
pub(crate) fn respond<B>(status: StatusCode, content_type: &'static str, body: B) -> Answer
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut answer = hyper::Response::new(body.map_err(Into::into).boxed_unsync());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}

/// A socket with the bounds of its use.
pub(crate) struct Door {
    pub(crate) listener: UnixListener,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) clock: Clock,
    /// Ends it.
    pub(crate) stop: Shutdown,
    /// Triggered when the listener and its path are gone.
    pub(crate) closed: Shutdown,
}

impl Door {
    /// Serves an API until told to stop; requests in progress may end.
    pub(crate) async fn serve<A: Api>(self, api: Arc<A>) {
        let Self { listener, throttle, clock, stop, closed } = self;
        let mut connections = JoinSet::new();
        {
            let mut stopped = pin!(stop.wait());
            loop {
                let stream = tokio::select! {
                    () = &mut stopped => break,
                    Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                    stream = listener.accept() => stream,
                };
                let Ok(caller) = Caller::of(&stream) else { continue };
                // Beyond the bound a connection is closed without a word (T-EOF).
                let Some(permit) = throttle.admit(caller.uid) else { continue };
                let connection =
                    Connection { caller, clock: clock.clone(), stop: stop.clone(), permit };
                connections.spawn(connection.serve(stream, Arc::clone(&api)));
            }
        }
        drop(listener);
        closed.trigger();
        let rest = async { while connections.join_next().await.is_some() {} };
        // Whoever follows a log or waits for a pull is cut off after that.
        let _ = clock.timeout(FAREWELL, rest).await;
    }
}

/// One caller's connection.
struct Connection {
    caller: Caller,
    clock: Clock,
    stop: Shutdown,
    permit: Permit,
}

impl Connection {
    async fn serve<A: Api>(self, stream: UnixStream, api: Arc<A>) {
        let Self { caller, clock, stop, permit } = self;
        let caller = Arc::new(caller);
        let service = service_fn(|request| {
            let (api, clock, caller) = (Arc::clone(&api), clock.clone(), Arc::clone(&caller));
            async move { Ok::<_, host::http::Never>(answer(&*api, &clock, &caller, request).await) }
        });
        // How a peer ends its connection is its own affair.
        if let Err(error) = serve_connection(stream, service, Limits::default(), &stop).await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "connection of a local caller ended");
        }
        drop(permit);
    }
}

async fn answer<A: Api>(
    api: &A,
    clock: &Clock,
    caller: &Caller,
    request: hyper::Request<Incoming>,
) -> Answer {
    let outcome = match Asked::read(request, clock) {
        Ok(asked) => api.answer(caller, asked).await,
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| refusal.to_answer())
}

const JSON: &str = "application/json";
/// createOptions and environment of a module, or what a module lets encrypt.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// `edge-runtime.md` §1.3.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// `edge-runtime.md` §1.5.
const FAREWELL: Duration = Duration::from_secs(10);
