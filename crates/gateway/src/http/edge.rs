//! The HTTP head of an edge hub: direct methods that a module calls on another client of the same
//! edge hub, and WebSockets.
//!
//! Spec: `device-protocol.md` §5.7, `edge-runtime.md` §5.8. The registry and scope calls that an edge
//! hub serves to edge devices below it are not here: nested edge devices are not served.

use std::convert::Infallible;
use std::sync::Arc;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, Response, StatusCode};
use host::clock::Clock;
use host::http::{Incoming, Limits, service_fn};
use host::signals::Shutdown;
use hyper::Request;
use iot_proto::payload;
use iot_proto::payload::method;
use iot_proto::rest::{self, Route};
use model::{DeviceId, Fault, FaultKind, IdentityId};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BODY_BYTES_MAX, BODY_DEADLINE, Body, Upgrades, WebSockets, answer, body_fault};
use crate::auth::{self, Identities, Proof};
use crate::backend::DeviceBackend;
use crate::backend::methods::MethodBackend;
use crate::listener;
use crate::peer::Peer;

/// The HTTP head of an edge hub.
pub struct EdgeHead<B> {
    backend: Arc<B>,
    /// The device that it runs on: only its modules may call.
    edge: DeviceId,
    web_sockets: WebSockets<B>,
    clock: Clock,
}

impl<B: DeviceBackend + MethodBackend + Identities> listener::Head for EdgeHead<B> {
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

impl<B: DeviceBackend + MethodBackend + Identities> EdgeHead<B> {
    /// A head for this backend, on this edge device.
    pub fn new(backend: Arc<B>, edge: DeviceId, web_sockets: WebSockets<B>, clock: Clock) -> Self {
        Self { backend, edge, web_sockets, clock }
    }

    async fn handle(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        shutdown: Shutdown,
    ) -> Response<Body> {
        let path = request.uri().path();
        if request.headers().contains_key(::http::header::UPGRADE) && rest::is_websocket_path(path)
        {
            return self.web_sockets.upgrade(&mut request, peer, shutdown);
        }
        let (method, path) = (request.method().clone(), path.to_owned());
        let work = self.answer(request, &peer);
        let outcome = tokio::select! {
            outcome = work => outcome,
            // A method may take minutes; an edge hub that ends does not wait for it.
            () = shutdown.wait() => {
                Err(Refused::plain(StatusCode::SERVICE_UNAVAILABLE, "the edge hub stops"))
            }
        };
        outcome.unwrap_or_else(|refused| {
            let reason = &refused.message;
            tracing::debug!(%peer, %method, path = ?path, reason, "request refused");
            refused.response()
        })
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Body>, Refused> {
        let (parts, body) = request.into_parts();
        // The API version is not looked at, as in the original (`edge-runtime.md` §5.8).
        let route = Route::parse(&parts.method, parts.uri.path()).map_err(Fault::from)?;
        let Route::InvokeMethod(target) = route else {
            let fault =
                Fault::new(FaultKind::GenericNotFound, "an edge hub serves direct methods only");
            return Err(fault.into());
        };
        self.authorize(&parts.headers, peer).await?;
        let body = host::http::read_request_body(body, BODY_BYTES_MAX, BODY_DEADLINE)
            .await
            .map_err(body_fault)?;
        let request = method::read_request(&body)?;
        let response = self.backend.invoke(&target, request).await?;
        Ok(answer::json_bytes(method::response_body(&response)))
    }

    /// The caller is the module that `x-ms-edge-moduleId` names, and proves it.
    async fn authorize(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Refused> {
        let caller = headers.get(CALLER).and_then(|value| value.to_str().ok());
        let caller: IdentityId = caller.and_then(|text| text.parse().ok()).ok_or_else(|| {
            Refused::plain(
                StatusCode::BAD_REQUEST,
                "the header x-ms-edge-moduleId must name the calling module: device/module",
            )
        })?;
        if caller.device != self.edge || caller.module.is_none() {
            return Err(Refused::plain(
                StatusCode::UNAUTHORIZED,
                "only modules on the same device may call methods here",
            ));
        }
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let proof = Proof::of(token, peer);
        let proven = auth::identity(&*self.backend, &caller, None, proof, self.clock.wall()).await;
        proven.map(drop).map_err(|error| {
            tracing::warn!(%caller, reason = %error, "call of a method refused");
            error.to_fault().into()
        })
    }
}

/// A refusal in an edge hub's form: a status and `{"message":…}`.
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn plain(status: StatusCode, message: &str) -> Self {
        Self { status, message: message.to_owned() }
    }

    fn response(self) -> Response<Body> {
        let body = payload::write(&serde_json::json!({ "message": self.message }));
        answer::bytes(self.status, body, payload::JSON)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let status = iot_proto::status::http_status(fault.kind);
        Self { status, message: fault.to_string() }
    }
}

/// Names the calling module (`device-protocol.md` §5.7).
const CALLER: &str = "x-ms-edge-moduleid";
