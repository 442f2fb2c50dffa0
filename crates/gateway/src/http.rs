//! HTTPS on port 443: the service REST interface, what edge components call, our events route, and
//! the WebSocket under which MQTT is spoken.
//!
//! Routes, bodies and status codes are `iot-proto`'s; what they do is the backend's. Here a request
//! is authenticated, bounded and translated.

mod answer;
mod authorize;
mod certificates;
mod edge;
mod events;
mod feedback;
mod resources;
mod websocket;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::http::Response;
use bytes::Bytes;
use host::clock::Clock;
use host::http::{Incoming, Limits, service_fn};
use host::signals::Shutdown;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use iot_proto::rest::{self, Query, Route};
use model::{Fault, FaultKind};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::Identities;
use crate::backend::DeviceBackend;
use crate::backend::authorities::AuthorityBackend;
use crate::backend::cloud_to_device::CloudToDeviceBackend;
use crate::backend::configurations::ConfigurationBackend;
use crate::backend::events::EventsBackend;
use crate::backend::feedback::FeedbackBackend;
use crate::backend::methods::MethodBackend;
use crate::backend::registry::RegistryBackend;
use crate::backend::twins::TwinBackend;
use crate::listener;
use crate::peer::Peer;

pub use edge::EdgeHead;
pub use websocket::{Upgrades, WebSockets};

/// A whole hub.
pub trait ServiceBackend:
    DeviceBackend
    + Identities
    + RegistryBackend
    + AuthorityBackend
    + TwinBackend
    + MethodBackend
    + ConfigurationBackend
    + CloudToDeviceBackend
    + FeedbackBackend
    + EventsBackend
{
}

impl<B> ServiceBackend for B where
    B: DeviceBackend
        + Identities
        + RegistryBackend
        + AuthorityBackend
        + TwinBackend
        + MethodBackend
        + ConfigurationBackend
        + CloudToDeviceBackend
        + FeedbackBackend
        + EventsBackend
{
}

/// An answer's body: whole, or a stream of events.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The HTTP head of a hub. One for all its listeners.
pub struct Head<B> {
    backend: Arc<B>,
    web_sockets: Arc<dyn Upgrades>,
    clock: Clock,
}

/// The largest body: a whole deployment manifest, or a twin with all its sections.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

impl<B: ServiceBackend> listener::Head for Head<B> {
    async fn serve<S>(self: &Arc<Self>, io: S, peer: Peer, shutdown: &Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let head = Arc::clone(self);
            let shutdown = shutdown.clone();
            let peer = peer.clone();
            async move { Ok::<_, Infallible>(head.handle(request, peer, shutdown).await) }
        });
        if let Err(error) =
            host::http::serve_connection(io, service, Limits::default(), shutdown).await
        {
            tracing::debug!(%peer, error = %host::logs::chain(&error), "http connection ended");
        }
    }
}

impl<B: ServiceBackend> Head<B> {
    /// A head for this backend; WebSockets go on to the other heads.
    pub fn new(backend: Arc<B>, web_sockets: impl Upgrades, clock: Clock) -> Self {
        Self { backend, web_sockets: Arc::new(web_sockets), clock }
    }

    async fn handle(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: Peer,
        shutdown: Shutdown,
    ) -> Response<Body> {
        let path = request.uri().path();
        let asks_to_upgrade = request.headers().contains_key(::http::header::UPGRADE);
        if asks_to_upgrade && rest::is_websocket_path(path) {
            return self.web_sockets.upgrade(&mut request, peer, shutdown);
        }
        let (method, path) = (request.method().clone(), path.to_owned());
        match self.answer(request, &peer, shutdown).await {
            Ok(response) => response,
            Err(fault) => {
                tracing::debug!(%peer, %method, path = ?path, %fault, "request refused");
                answer::fault(&fault, self.clock.wall())
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        shutdown: Shutdown,
    ) -> Result<Response<Body>, Fault> {
        let (parts, body) = request.into_parts();
        let route = Route::parse(&parts.method, parts.uri.path())?;
        let query = Query::parse(parts.uri.query());
        query.api_version()?;
        self.authorize(&route, &parts.headers, peer).await?;
        let body = host::http::read_request_body(body, BODY_BYTES_MAX, BODY_DEADLINE)
            .await
            .map_err(body_fault)?;
        self.resource(route, &query, &parts.headers, body, shutdown).await
    }
}

fn body_fault(error: host::http::BodyError) -> Fault {
    match error {
        host::http::BodyError::TooLarge { bytes_max } => Fault::new(
            FaultKind::MessageTooLarge,
            format!("the body is longer than {bytes_max} bytes"),
        ),
        error => Fault::new(FaultKind::IotHubFormatError, error.to_string()),
    }
}
