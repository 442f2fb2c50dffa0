//! The connection of one identity to a hub or edge hub, which comes back for ever: by MQTT or AMQP,
//! over TLS or a WebSocket in it.
//!
//! One task per client owns the connection. Messages are sent in the order in which [`DeviceClient::send`]
//! took them; those without an acknowledgement are sent again after a reconnect, in the same order
//! (at least once). Subscriptions are renewed when the hub has lost the session. A token is
//! renewed at [`TOKEN_RENEWAL_PERCENT`] of its life: over AMQP by another one on the same
//! connection, over MQTT by a reconnect, which is all that it has for it. Nothing is kept on disk:
//! what must survive the process is kept by the caller until acknowledged.
//!
//! An AMQP connection could carry many identities, and the original edge hub puts all of its
//! clients on one. Here each has its own, as over MQTT: one device that is refused, throttled or slow
//! then holds up nobody else, one task drives all four transports, and what sharing would save
//! (a TLS connection, about 10 KiB) is little beside the queues that an identity has anyway.
//!
//! Spec: `device-protocol.md` §2, §3, §4, §7.4, §17. Packets and frames are `mqtt::client`'s and
//! `amqp::connection`'s, topics and addresses `iot_proto`'s.
//!
//! Cost sketch: an idle client is one task of some KiB, a TLS connection (about 10 KiB) and empty
//! queues. A message costs one topic text, one oneshot and its place in two queues.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::mqtt::Topic;
use bytes::Bytes;
use host::clock::Clock;
use host::tls::ClientTls;
use iot_proto::connect::AuthChain;
use iot_proto::sas::identity_resource;
use iot_proto::topic::TopicSet;
use model::message::Message;
use model::twin::Object;
use model::{DeviceId, IdentityId, ModuleId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::dial::Dial;
use crate::signer::{Proof, Signer, TokenRecipe};

mod actor;
mod amqp;
mod backoff;
mod error;
mod events;
pub(crate) mod link;
mod mqtt;
mod report;
pub(crate) mod session;
pub(crate) mod transport;

pub use error::{ConnectError, Refusal, SendError, TwinError};
pub use events::{ClientEvent, Delivery, Events, MethodCall, MethodReply, Settle};
pub use iot_proto::payload::twin::DeviceTwin;
pub use iot_proto::topic::Subscription;
pub use report::{Outcome, Outcomes, TrySendError};
pub use transport::{Transport, UPSTREAM_DEFAULT, UnknownTransport};

use actor::{Actor, Control, TwinRequest};
use report::Report;

/// Who connects where, and within which bounds.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hub's name: it stands in user names and tokens, whatever is dialled.
    pub host_name: String,
    /// What is dialled: the hub, or a gateway, at the port of the transport.
    pub dial: Dial,
    /// What the connection runs over.
    pub transport: Transport,
    /// Whom to trust, and the certificate to show.
    pub tls: ClientTls,
    /// Who connects.
    pub identity: IdentityId,
    /// How it proves itself.
    pub proof: Proof,
    /// The edge devices that speak for the identity.
    pub auth_chain: Option<AuthChain>,
    /// The DTDL model that the identity announces.
    pub model_id: Option<String>,
    /// Name and version of the program.
    pub client_type: String,
    /// Whether the hub forgets subscriptions with the connection. A line on behalf of somebody is
    /// clean: the hub must not deliver to it what only the identity itself can take.
    pub clean_session: bool,
    /// What to subscribe to with the first connection.
    pub subscriptions: Vec<Subscription>,
    /// Longest silence on the connection.
    pub keep_alive: Duration,
    /// Bounds of the queues.
    pub queues: Queues,
    /// How long a twin request may take, waiting for a connection included.
    pub twin_timeout: Duration,
}

/// Bounds of a client's queues. `send` waits while one is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Messages sent and not yet acknowledged.
    pub in_flight_max: usize,
    /// Messages that wait to be sent.
    pub messages_max: usize,
    /// Bodies and topics of both together; one message may be larger.
    pub bytes_max: usize,
    /// Events that wait to be read.
    pub events_max: usize,
}

impl Default for Queues {
    /// Enough to fill a connection; ours, no documented number exists.
    fn default() -> Self {
        Self { in_flight_max: 100, messages_max: 256, bytes_max: 4 * 1024 * 1024, events_max: 64 }
    }
}

/// A token is renewed when this much of its life is over, as Java's SDK does
/// (`device-protocol.md` §2.1).
pub const TOKEN_RENEWAL_PERCENT: u32 = 85;
/// What SDKs ask for.
pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

impl Options {
    /// An identity with a key of its own, by MQTT.
    pub fn new(
        host_name: impl Into<String>,
        dial: Dial,
        tls: ClientTls,
        identity: IdentityId,
        signer: Arc<dyn Signer>,
    ) -> Self {
        let host_name = host_name.into();
        let recipe = TokenRecipe {
            resource: identity_resource(&host_name, &identity),
            key_name: None,
            lifetime: TOKEN_LIFETIME_DEFAULT,
        };
        let proof = Proof::Token { signer, recipe };
        Self::proven(host_name, dial, tls, identity, proof)
    }

    /// An identity whose proof is the certificate that `tls` carries, by MQTT.
    pub fn with_certificate(
        host_name: impl Into<String>,
        dial: Dial,
        tls: ClientTls,
        identity: IdentityId,
    ) -> Self {
        Self::proven(host_name.into(), dial, tls, identity, Proof::Certificate)
    }

    fn proven(
        host_name: String,
        dial: Dial,
        tls: ClientTls,
        identity: IdentityId,
        proof: Proof,
    ) -> Self {
        Self {
            host_name,
            dial,
            transport: Transport::Mqtt,
            tls,
            identity,
            proof,
            auth_chain: None,
            model_id: None,
            client_type: CLIENT_TYPE.to_owned(),
            clean_session: false,
            subscriptions: Vec::new(),
            keep_alive: Duration::from_secs(60),
            queues: Queues::default(),
            twin_timeout: Duration::from_secs(20),
        }
    }

    /// Lets an edge hub speak for the identity: the chain leads from the identity to the edge
    /// device, whose `$edgeHub` signs (`edge-runtime.md` §5.5).
    #[must_use]
    pub fn on_behalf(mut self, chain: AuthChain) -> Self {
        if let Proof::Token { recipe, .. } = &mut self.proof {
            recipe.resource = edge_hub_resource(&self.host_name, chain.actor());
        }
        self.auth_chain = Some(chain);
        self.clean_session = true;
        self
    }
}

/// The resource that an edge device's `$edgeHub` signs for.
pub fn edge_hub_resource(host_name: &str, edge: &DeviceId) -> String {
    identity_resource(host_name, &IdentityId::module(edge.clone(), ModuleId::edge_hub()))
}

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// There is none yet or any more; attempts go on.
    Connecting {
        /// Why the last one failed.
        reason: Option<Arc<str>>,
    },
    /// There is one.
    Connected,
    /// The hub refuses the identity; attempts go on, but an operator must act.
    Refused {
        /// The hub's own words.
        refusal: Refusal,
        /// In words, with the next step.
        reason: Arc<str>,
    },
    /// The client was closed.
    Closed,
}

/// The connection of one identity. Clones share it; when the last one is dropped it closes.
#[derive(Debug, Clone)]
pub struct DeviceClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    topics: TopicSet,
    transport: Transport,
    clock: Clock,
    twin_timeout: Duration,
    outgoing: mpsc::Sender<Outgoing>,
    /// Unbounded, and yet bounded: twin requests hold one of [`Inner::twin_requests`], each
    /// delivery and call is answered once, subscriptions are few.
    control: mpsc::UnboundedSender<Control>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    twin_requests: Semaphore,
    state: watch::Receiver<ConnectionState>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Fails when the task has ended already.
        let _ = self.control.send(Control::Close);
    }
}

/// A message on its way.
#[derive(Debug)]
struct Outgoing {
    packet: Packet,
    done: Report,
    /// Its share of [`Queues::bytes_max`].
    _share: OwnedSemaphorePermit,
}

/// A message as it goes over the wire.
#[derive(Debug)]
enum Packet {
    Mqtt {
        topic: Topic,
        payload: Bytes,
    },
    /// The encoded message.
    Amqp(Bytes),
}

impl Packet {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Mqtt { topic, payload } => topic.as_bytes().len() + payload.len(),
            Self::Amqp(bytes) => bytes.len(),
        }
    }
}

/// Resolves when the hub has acknowledged the message. Dropping it changes nothing about the
/// message.
#[derive(Debug)]
#[must_use = "the message is only safe when this resolves"]
pub struct SendHandle {
    done: oneshot::Receiver<Result<(), SendError>>,
}

impl Future for SendHandle {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.done).poll(cx).map(|done| done.unwrap_or(Err(SendError::Closed)))
    }
}

impl DeviceClient {
    /// Begins to connect, in a task on the current runtime, and returns at once.
    pub fn start(options: Options, clock: Clock) -> (Self, Events) {
        let queues = options.queues;
        let (outgoing, outgoing_receiver) = mpsc::channel(queues.messages_max.max(1));
        #[expect(clippy::disallowed_methods, reason = "its bounds are told at `Inner::control`")]
        let (control, control_receiver) = mpsc::unbounded_channel();
        let (events, events_receiver) = mpsc::channel(queues.events_max.max(1));
        let (state_sender, state) = watch::channel(ConnectionState::Connecting { reason: None });
        let bytes_max = queues.bytes_max.clamp(1, BYTES_MAX_LIMIT);
        let inner = Inner {
            topics: TopicSet::new(options.identity.clone()),
            transport: options.transport,
            clock: clock.clone(),
            twin_timeout: options.twin_timeout,
            outgoing,
            control: control.clone(),
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max: bytes_max as u32,
            twin_requests: Semaphore::new(TWIN_REQUESTS_MAX),
            state,
        };
        let actor = Actor::new(actor::Ends {
            options: Arc::new(options),
            clock,
            outgoing: outgoing_receiver,
            control: control_receiver,
            control_sender: control.downgrade(),
            events,
            state: state_sender,
        });
        tokio::spawn(actor.run());
        (Self { inner: Arc::new(inner) }, Events { receiver: events_receiver })
    }

    /// Who connects.
    pub fn identity(&self) -> &IdentityId {
        self.inner.topics.identity()
    }

    /// Takes a message to be sent; waits while the queue is full. The message leaves after all
    /// those taken before it.
    pub async fn send(&self, message: Message) -> Result<SendHandle, SendError> {
        let packet = self.packet(&message)?;
        let share = self.inner.bytes.clone().acquire_many_owned(self.share(&packet)).await;
        let share = share.map_err(|_| SendError::Closed)?;
        let (done, handle) = oneshot::channel();
        let outgoing = Outgoing { packet, done: Report::to_handle(done), _share: share };
        self.inner.outgoing.send(outgoing).await.map_err(|_| SendError::Closed)?;
        Ok(SendHandle { done: handle })
    }

    /// [`DeviceClient::send`] for whoever sends much: it does not wait for room, and what becomes of
    /// the message is told at `outcomes` under this number. Nothing is told of a message that is
    /// not taken.
    pub fn try_send(
        &self,
        message: &Message,
        number: u64,
        outcomes: &Outcomes,
    ) -> Result<(), TrySendError> {
        // Asked first, because making a packet is most of the work.
        let place = self.inner.outgoing.try_reserve().map_err(TrySendError::of_queue)?;
        let packet = self.packet(message)?;
        let share = self.inner.bytes.clone().try_acquire_many_owned(self.share(&packet));
        let share = share.map_err(TrySendError::of_bytes)?;
        place.send(Outgoing { packet, done: outcomes.report(number), _share: share });
        Ok(())
    }

    /// What a packet takes of [`Queues::bytes_max`].
    fn share(&self, packet: &Packet) -> u32 {
        let cost = u32::try_from(packet.size_bytes()).unwrap_or(u32::MAX);
        cost.min(self.inner.bytes_max)
    }

    fn packet(&self, message: &Message) -> Result<Packet, SendError> {
        let bytes = message.size_bytes();
        if bytes > limits::TELEMETRY_BYTES_MAX {
            return Err(SendError::TooLarge { bytes, max: limits::TELEMETRY_BYTES_MAX });
        }
        if self.inner.transport.is_amqp() {
            return amqp::encode(message).map(Packet::Amqp);
        }
        let topic = Topic::new(self.inner.topics.telemetry(message)).map_err(SendError::Topic)?;
        Ok(Packet::Mqtt { topic, payload: message.body.clone() })
    }

    /// Reads the twin.
    pub async fn twin_get(&self) -> Result<DeviceTwin, TwinError> {
        let answer = self.twin_request(None).await?;
        DeviceTwin::read(&answer.body).map_err(|fault| TwinError::Malformed(fault.to_string()))
    }

    /// Patches the reported properties; gives their new version, or none where it is not known yet:
    /// an edge hub without its hub takes a patch and sends it later (`edge-runtime.md` §9,
    /// T-REPORTED-204).
    pub async fn report(&self, patch: &Object) -> Result<Option<u64>, TwinError> {
        let body = serde_json::to_vec(patch).map_err(|e| TwinError::Malformed(e.to_string()))?;
        let answer = self.twin_request(Some(body.into())).await?;
        Ok(answer.version)
    }

    async fn twin_request(&self, patch: Option<Bytes>) -> Result<actor::TwinAnswer, TwinError> {
        let limit = self.inner.twin_timeout;
        let exchange = async {
            let _slot = self.inner.twin_requests.acquire().await.map_err(|_| TwinError::Closed)?;
            let (reply, answer) = oneshot::channel();
            let request = Control::Twin(TwinRequest { patch, reply });
            self.inner.control.send(request).map_err(|_| TwinError::Closed)?;
            answer.await.unwrap_or(Err(TwinError::Closed))
        };
        match self.inner.clock.timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer(limit)),
        }
    }

    fn no_answer(&self, limit: Duration) -> TwinError {
        match &*self.inner.state.borrow() {
            ConnectionState::Connected => TwinError::Timeout { limit },
            ConnectionState::Closed => TwinError::Closed,
            ConnectionState::Connecting { reason: Some(reason) }
            | ConnectionState::Refused { reason, .. } => {
                TwinError::NotConnected { limit, reason: reason.clone() }
            }
            ConnectionState::Connecting { reason: None } => {
                TwinError::NotConnected { limit, reason: "not connected yet".into() }
            }
        }
    }

    /// Asks the hub for a kind of event, now and after every loss of the session.
    pub fn subscribe(&self, kind: Subscription) {
        // A closed client needs none.
        let _ = self.inner.control.send(Control::Subscribe(kind));
    }

    /// How the connection stands, to look at and to wait on.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.state.clone()
    }

    /// Waits until there is a connection. Gives the reason when the hub refuses the identity or
    /// the client was closed.
    pub async fn connected(&self) -> Result<(), Arc<str>> {
        let mut state = self.state();
        let settled = state
            .wait_for(|state| !matches!(state, ConnectionState::Connecting { .. }))
            .await
            .map(|state| state.clone());
        match settled {
            Ok(ConnectionState::Connected) => Ok(()),
            Ok(ConnectionState::Refused { reason, .. }) => Err(reason),
            _ => Err("connection is closed".into()),
        }
    }

    /// Says goodbye to the hub and ends. Messages without an acknowledgement fail with
    /// [`SendError::Closed`]: whoever needs them delivered waits for their handles first.
    pub async fn close(&self) {
        let _ = self.inner.control.send(Control::Close);
        let mut state = self.state();
        // An error means that the task is gone, which is what we wait for.
        let _ = state.wait_for(|state| *state == ConnectionState::Closed).await;
    }
}

/// Sent as DeviceClientType unless the program has a better name.
const CLIENT_TYPE: &str = concat!("farshore/", env!("CARGO_PKG_VERSION"));
/// Twin requests of one client that may be on their way.
const TWIN_REQUESTS_MAX: usize = 16;
/// What a semaphore's 32-bit share can express.
const BYTES_MAX_LIMIT: usize = 1 << 30;
