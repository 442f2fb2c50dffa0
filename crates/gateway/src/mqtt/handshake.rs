//! From CONNECT to a session: who is it, may it come in, what did it subscribe to before?

use std::sync::Arc;

use iot_proto::connect::ConnectName;
use iot_proto::topic::{DeviceTopic, TopicSet};
use mqtt::packet::{ConnackCode, Connect, Will};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Head;
use super::connection::Connection;
use super::io::Wire;
use super::uplink;
use crate::auth::{self, AuthError, Identities, Proof};
use crate::backend::{DeviceBackend, Open, OpenError, StoredSession};
use crate::peer::Peer;
use crate::session::DeviceSession;

impl<B: DeviceBackend + Identities> Head<B> {
    /// Authenticates and opens the session; none when the client was turned away.
    pub(super) async fn let_in<S>(
        &self,
        mut wire: Wire<S>,
        connect: Connect,
        peer: &Peer,
    ) -> Option<Box<Connection<S, B::Link>>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let code = match self.decide(&connect, peer).await {
            Ok(open) => match self.open(open, &connect).await {
                Ok(opened) => {
                    let session_present = opened.session_present;
                    wire.machine.accept(wire.now(), session_present);
                    let connection = Connection::begin(wire, opened, self.settings.clone()).await;
                    tracing::debug!(id = %connection.id(), %peer, session_present, "connected");
                    return Some(connection);
                }
                Err(OpenError::Refused(reason)) => {
                    tracing::warn!(%peer, client_id = ?connect.client_id, %reason, "connection refused");
                    ConnackCode::NotAuthorized
                }
                Err(OpenError::Later(reason)) => {
                    tracing::warn!(%peer, client_id = ?connect.client_id, %reason, "connection put off");
                    ConnackCode::ServerUnavailable
                }
            },
            Err(code) => code,
        };
        wire.machine.refuse(code);
        wire.finish().await;
        None
    }

    /// The session to open, or the CONNACK code of the refusal. One code for every kind of bad
    /// credentials; the reason is in the log.
    async fn decide(&self, connect: &Connect, peer: &Peer) -> Result<Open, ConnackCode> {
        let client_id = &connect.client_id;
        let user_name = connect.user_name.as_deref().unwrap_or_default();
        let name = ConnectName::parse(client_id, user_name).map_err(|reason| {
            tracing::warn!(%peer, ?client_id, %reason, "connection refused");
            ConnackCode::IdentifierRejected
        })?;
        // A password that is no text is no token either, and the certificate must not stand in for it.
        let token = connect.password.as_deref();
        let token = token.map(|password| std::str::from_utf8(password).unwrap_or(NO_TEXT));
        let proof = Proof::of(token, peer);
        let chain = name.auth_chain.as_ref();
        let now = self.clock.wall();
        let principal = auth::identity(&*self.backend, &name.identity, chain, proof, now).await;
        let principal = principal.map_err(|error| {
            tracing::warn!(%peer, ?client_id, reason = %error, "connection refused");
            match error {
                AuthError::Denied(_) => ConnackCode::NotAuthorized,
                AuthError::Unavailable(_) => ConnackCode::ServerUnavailable,
            }
        })?;
        Ok(Open {
            principal,
            model_id: name.model_id,
            client_type: name.client_type,
            stored_session: if connect.clean_session {
                StoredSession::Forget
            } else {
                StoredSession::Resume
            },
        })
    }

    async fn open(
        &self,
        open: Open,
        connect: &Connect,
    ) -> Result<super::connection::Opening<B::Link>, OpenError> {
        let principal = open.principal.clone();
        let topics = TopicSet::new(principal.identity.clone());
        let will = connect.will.as_ref().map(|will| will_message(&topics, will)).transpose()?;
        let (session, end) = DeviceSession::new(self.settings.downlink_max);
        let (link, opened) = self.backend.open(open, session).await?;
        Ok(super::connection::Opening {
            link: Arc::clone(&link),
            principal,
            topics,
            end,
            session_present: opened.subscriptions.is_some(),
            subscriptions: opened.subscriptions.unwrap_or_default(),
            will,
        })
    }
}

/// Stands for a password that is not UTF-8; no token parses from it.
const NO_TEXT: &str = "\u{fffd}";

/// A will must be telemetry of the identity's own (`device-protocol.md` §3.13).
fn will_message(topics: &TopicSet, will: &Will) -> Result<model::message::Message, OpenError> {
    match topics.parse_from_device(will.topic.as_str()) {
        Ok(DeviceTopic::Telemetry { bag }) => {
            let message = uplink::message(bag, will.payload.clone(), will.retain);
            let mut message = message.map_err(|reason| OpenError::Refused(reason.to_string()))?;
            message.set_property("iothub-MessageType", "Will");
            Ok(message)
        }
        _ => {
            Err(OpenError::Refused("the will's topic is not the identity's telemetry topic".into()))
        }
    }
}
