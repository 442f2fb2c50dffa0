//! Device protocols in a WebSocket: byte streams like any other, told apart by the subprotocol.

use std::sync::Arc;

use ::http::Response;
use host::http::Incoming;
use host::signals::Shutdown;
use host::ws;
use hyper::Request;

use super::{Body, answer};
use crate::amqp::nodes::{DevicesOnly, Nodes};
use crate::auth::Identities;
use crate::backend::DeviceBackend;
use crate::listener::Head as _;
use crate::peer::Peer;
use crate::{amqp, mqtt};

/// The heads that WebSockets go on to; one that is absent is not served.
pub struct WebSockets<B, N = DevicesOnly> {
    /// For the subprotocol `mqtt`.
    pub mqtt: Option<Arc<mqtt::Head<B>>>,
    /// For the subprotocol `AMQPWSB10`.
    pub amqp: Option<Arc<amqp::Head<B, N>>>,
}

impl<B, N> Clone for WebSockets<B, N> {
    fn clone(&self) -> Self {
        Self { mqtt: self.mqtt.clone(), amqp: self.amqp.clone() }
    }
}

/// Takes requests to upgrade, whatever heads stand behind it.
pub trait Upgrades: Send + Sync + 'static {
    /// Answers a request to upgrade. The WebSocket outlives the request, so it runs beside it.
    fn upgrade(
        &self,
        request: &mut Request<Incoming>,
        peer: Peer,
        shutdown: Shutdown,
    ) -> Response<Body>;
}

impl<B: DeviceBackend + Identities, N: Nodes> Upgrades for WebSockets<B, N> {
    fn upgrade(
        &self,
        request: &mut Request<Incoming>,
        peer: Peer,
        shutdown: Shutdown,
    ) -> Response<Body> {
        let offered = [self.mqtt.as_ref().map(|_| MQTT), self.amqp.as_ref().map(|_| AMQP)];
        let offered: Vec<&str> = offered.into_iter().flatten().collect();
        let upgrade = match ws::Upgrade::from_request(request, &offered) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return answer::plain(refusal.status(), &refusal.to_string()),
        };
        let response = upgrade.response::<Body>();
        let heads = self.clone();
        let is_amqp = upgrade.protocol().as_bytes().eq_ignore_ascii_case(AMQP.as_bytes());
        tokio::spawn(async move {
            let stream = match upgrade.stream(ws::DEFAULT_MESSAGE_BYTES_MAX).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%peer, %error, "websocket upgrade failed");
                    return;
                }
            };
            match heads {
                Self { amqp: Some(head), .. } if is_amqp => {
                    head.serve(stream, peer, &shutdown).await;
                }
                Self { mqtt: Some(head), .. } => head.serve(stream, peer, &shutdown).await,
                // Only what is there was offered.
                Self { mqtt: None, .. } => {}
            }
        });
        response
    }
}

/// `device-protocol.md` §1; compared without case.
const MQTT: &str = "mqtt";
const AMQP: &str = "AMQPWSB10";
