//! What is under way on one connection: messages without an acknowledgement, twin requests
//! without an answer, and what the hub sent.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use host::clock::Mono;
use iot_proto::bag::{Bag, Sender};
use iot_proto::payload::twin::DesiredPatch;
use iot_proto::topic::{HubTopic, Subscription, TopicSet};
use model::message::Message;
use mqtt::client::{ClientConnection, Event as MachineEvent};
use mqtt::packet::{Publish, Suback, SubackCode};
use mqtt::{Filter, PacketId, QoS, SendError as PacketError, Topic};
use tokio::sync::oneshot;

use crate::device::actor::{TwinAnswer, TwinRequest};
use crate::device::error::{ConnectError, SendError, TwinError};
use crate::device::events::{ClientEvent, Delivery, MethodCall, Outcome};
use crate::device::link::Link;
use crate::device::session::{Event, Handles, Moved, Session, Ticket, owned, twin_refused};
use crate::device::{Options, Outgoing, Packet};

/// One connection that the hub has accepted, with what is under way on it.
pub(super) struct MqttSession {
    link: Link<ClientConnection>,
    options: Arc<Options>,
    topics: TopicSet,
    session_present: bool,
    /// When the token has to be replaced; never, where there is none.
    renew_at: Option<Mono>,
    /// Set while the session winds down for a renewal: when to stop waiting for answers.
    draining_until: Option<Mono>,
    in_flight: VecDeque<(PacketId, Outgoing)>,
    twins: HashMap<u64, oneshot::Sender<Result<TwinAnswer, TwinError>>>,
    next_rid: u64,
    asked_for: Vec<(PacketId, Vec<Subscription>)>,
}

impl MqttSession {
    pub(super) fn new(
        link: Link<ClientConnection>,
        options: Arc<Options>,
        session_present: bool,
        renew_at: Option<Mono>,
    ) -> Self {
        Self {
            link,
            topics: TopicSet::new(options.identity.clone()),
            options,
            session_present,
            renew_at,
            draining_until: None,
            in_flight: VecDeque::new(),
            twins: HashMap::new(),
            next_rid: 1,
            asked_for: Vec::new(),
        }
    }
}

impl Session for MqttSession {
    fn is_resumed(&self) -> bool {
        self.session_present
    }

    fn has_room(&mut self) -> bool {
        self.draining_until.is_none()
            && self.in_flight.len() < self.options.queues.in_flight_max
            && self.link.machine.can_publish()
    }

    fn publish(&mut self, outgoing: Outgoing) -> Result<(), Outgoing> {
        let Packet::Mqtt { topic, payload } = &outgoing.packet else {
            // A client speaks one protocol for all its life.
            outgoing.done.tell(Err(SendError::Closed));
            return Ok(());
        };
        match self.link.machine.publish(topic, payload, QoS::AtLeastOnce) {
            Ok(Some(packet_id)) => {
                self.in_flight.push_back((packet_id, outgoing));
                Ok(())
            }
            Err(PacketError::Encode(error)) => {
                // It will never fit; nobody waits for an answer if the handle is gone.
                outgoing.done.tell(Err(SendError::Encode(error)));
                Ok(())
            }
            Ok(None) | Err(_) => Err(outgoing),
        }
    }

    /// All in one packet.
    fn subscribe(&mut self, kinds: &[Subscription]) {
        let filters: Vec<(Filter, QoS)> = kinds
            .iter()
            .filter_map(|kind| Some((self.topics.filter(*kind).parse().ok()?, quality(*kind))))
            .collect();
        if filters.is_empty() {
            return;
        }
        match self.link.machine.subscribe(filters) {
            Ok(packet_id) => self.asked_for.push((packet_id, kinds.to_vec())),
            Err(error) => {
                tracing::warn!(%error, "cannot subscribe; it is tried again with the next connection");
            }
        }
    }

    fn takes_requests(&self) -> bool {
        self.draining_until.is_none()
    }

    fn ask_twin(&mut self, request: TwinRequest) -> Result<(), TwinRequest> {
        // Those whose time is up left their place.
        self.twins.retain(|_, reply| !reply.is_closed());
        let rid = self.next_rid;
        let (topic, body) = match &request.patch {
            None => (TopicSet::twin_get(&format!("{rid:x}")), Bytes::new()),
            Some(patch) => {
                (TopicSet::twin_patch_reported(&format!("{rid:x}"), None), patch.clone())
            }
        };
        match self.publish_once(topic, &body) {
            Ok(()) => {
                self.next_rid += 1;
                self.twins.insert(rid, request.reply);
                Ok(())
            }
            Err(()) => Err(request),
        }
    }

    fn answer_method(&mut self, call: &str, status: i32, payload: Bytes) {
        if self.publish_once(TopicSet::method_response(status, call), &payload).is_err() {
            tracing::warn!(call, "method answer does not fit in the output queue and is dropped");
        }
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        let Ticket::Mqtt(packet_id) = ticket else { return };
        match outcome {
            Outcome::Complete | Outcome::Reject => self.acknowledge(packet_id),
            Outcome::Abandon => {}
        }
    }

    fn poll_event(&mut self, handles: &Handles) -> Option<Event> {
        if self.is_drained() {
            return Some(Event::Renewal);
        }
        loop {
            let dial = || self.options.dial.clone();
            match self.link.poll_event()? {
                MachineEvent::Publish(publish) => {
                    if let Some(event) = self.received(&publish, handles) {
                        return Some(Event::Tell(event));
                    }
                }
                MachineEvent::Puback(packet_id) => self.acknowledged(packet_id),
                MachineEvent::Suback(suback) => {
                    return Some(Event::Granted(self.subscribed(&suback)));
                }
                MachineEvent::Unsuback(_) | MachineEvent::Connack(_) => {}
                MachineEvent::Violation(source) => {
                    return Some(Event::Lost(ConnectError::Violation { dial: dial(), source }));
                }
                MachineEvent::TimedOut(source) => {
                    return Some(Event::Lost(ConnectError::Silent { dial: dial(), source }));
                }
            }
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        self.link.poll_exchange(cx)
    }

    fn deadline(&self) -> Option<Mono> {
        let renewal = self.draining_until.or(self.renew_at);
        self.link.deadline().into_iter().chain(renewal).min()
    }

    fn handle_timeout(&mut self) {
        let now = Mono::ZERO + self.link.now();
        if self.renew_at.is_some_and(|at| at <= now) && self.draining_until.is_none() {
            self.draining_until = Some(now + RENEWAL_DRAIN);
        }
        self.link.handle_timeout();
    }

    fn finish(&mut self) -> Vec<Outgoing> {
        for (_, reply) in self.twins.drain() {
            // The asker may be gone.
            let _ = reply.send(Err(TwinError::Disconnected));
        }
        self.in_flight.drain(..).map(|(_, outgoing)| outgoing).collect()
    }

    fn goodbye(self: Box<Self>, limit: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.link.goodbye(limit))
    }
}

impl MqttSession {
    /// Whether the session wound down as far as it will.
    fn is_drained(&self) -> bool {
        let is_quiet = self.in_flight.is_empty() && self.twins.is_empty();
        let now = Mono::ZERO + self.link.now();
        self.draining_until.is_some_and(|until| is_quiet || until <= now)
    }

    /// The hub has a message.
    fn acknowledged(&mut self, packet_id: PacketId) {
        // Hubs acknowledge in order, so the search is short.
        let index = self.in_flight.iter().position(|(id, _)| *id == packet_id);
        if let Some((_, outgoing)) = index.and_then(|index| self.in_flight.remove(index)) {
            // The sender may not care.
            outgoing.done.tell(Ok(()));
        }
    }

    /// The hub's answer to [`Self::subscribe`]: what it granted.
    fn subscribed(&mut self, suback: &Suback) -> Vec<Subscription> {
        let index = self.asked_for.iter().position(|(id, _)| *id == suback.packet_id);
        let Some((_, kinds)) = index.map(|index| self.asked_for.swap_remove(index)) else {
            return Vec::new();
        };
        let granted = |(kind, code): (Subscription, &SubackCode)| match code {
            SubackCode::Granted(_) => Some(kind),
            SubackCode::Failure => {
                tracing::warn!(?kind, "hub does not grant the subscription");
                None
            }
        };
        kinds.into_iter().zip(&suback.codes).filter_map(granted).collect()
    }

    fn publish_once(&mut self, topic: String, body: &[u8]) -> Result<(), ()> {
        let topic = Topic::new(topic).map_err(|_| ())?;
        self.link.machine.publish(&topic, body, QoS::AtMostOnce).map(|_| ()).map_err(|_| ())
    }

    /// The hub is told that a delivery was taken.
    fn acknowledge(&mut self, packet_id: PacketId) {
        if let Err(error) = self.link.machine.puback(packet_id) {
            tracing::debug!(%error, "cannot settle a delivery");
        }
    }

    /// Reads what the hub published. What cannot be understood is logged, and acknowledged so
    /// that it does not come for ever.
    fn received(&mut self, publish: &Publish, handles: &Handles) -> Option<ClientEvent> {
        let event = self.read(publish, handles);
        if let (Err(reason), Some(packet_id)) = (&event, publish.packet_id) {
            tracing::warn!(
                topic = publish.topic.as_str(),
                reason,
                "cannot understand what the hub sent"
            );
            self.acknowledge(packet_id);
        } else if let Err(reason) = &event {
            tracing::debug!(
                topic = publish.topic.as_str(),
                reason,
                "cannot understand what the hub sent"
            );
        }
        event.ok().flatten()
    }

    fn read(
        &mut self,
        publish: &Publish,
        handles: &Handles,
    ) -> Result<Option<ClientEvent>, String> {
        let topic = publish.topic.as_str();
        let settle = || handles.settle(publish.packet_id.map(Ticket::Mqtt));
        match self.topics.parse_from_hub(topic).map_err(|e| e.to_string())? {
            HubTopic::TwinResponse { status, rid, version } => {
                self.twin_answered(status, rid, version, &publish.payload);
                self.settle_unhandled(publish);
                Ok(None)
            }
            HubTopic::DesiredPatch { .. } => {
                let event = desired(&publish.payload)?;
                self.settle_unhandled(publish);
                Ok(Some(event))
            }
            HubTopic::MethodRequest { name, rid } => {
                let reply = handles.reply(rid.to_owned());
                let call =
                    MethodCall { name: name.into_owned(), payload: owned(&publish.payload), reply };
                self.settle_unhandled(publish);
                Ok(Some(ClientEvent::Method(call)))
            }
            HubTopic::CloudToDevice { bag } => {
                let message = message(bag, &publish.payload)?;
                Ok(Some(ClientEvent::CloudToDevice(Delivery {
                    message,
                    facts: Default::default(),
                    settle: settle(),
                })))
            }
            HubTopic::ModuleInput { input, bag } => {
                let message = message(bag, &publish.payload)?;
                let delivery = Delivery { message, facts: Default::default(), settle: settle() };
                Ok(Some(ClientEvent::Input { input: input.into_owned(), delivery }))
            }
        }
    }

    /// What has no settle handle is settled at receipt.
    fn settle_unhandled(&mut self, publish: &Publish) {
        if let Some(packet_id) = publish.packet_id {
            self.acknowledge(packet_id);
        }
    }

    fn twin_answered(&mut self, status: u16, rid: &str, version: Option<u64>, body: &Bytes) {
        let rid = u64::from_str_radix(rid, 16).ok();
        // Late answers, and those to requests of an earlier connection, have nobody waiting.
        let Some(reply) = rid.and_then(|rid| self.twins.remove(&rid)) else { return };
        let answer = match status {
            200..=299 => Ok(TwinAnswer { body: owned(body), version }),
            _ => Err(twin_refused(status, body)),
        };
        let _ = reply.send(answer);
    }
}

/// Telemetry-like deliveries at least once, requests and answers at most once, as Node asks
/// (`device-protocol.md` §3.1).
fn quality(kind: Subscription) -> QoS {
    match kind {
        Subscription::CloudToDevice | Subscription::ModuleInputs => QoS::AtLeastOnce,
        _ => QoS::AtMostOnce,
    }
}

fn message(bag: &str, body: &Bytes) -> Result<Message, String> {
    let bag = Bag::parse(bag, Sender::Hub).map_err(|e| e.to_string())?;
    Ok(Message { system: bag.system, properties: bag.properties, body: owned(body) })
}

/// The version stands in the body and, on most hubs, in the topic.
fn desired(body: &[u8]) -> Result<ClientEvent, String> {
    let DesiredPatch { patch, version } = DesiredPatch::read(body).map_err(|e| e.to_string())?;
    Ok(ClientEvent::Desired { patch, version })
}

/// How long a renewal waits for acknowledgements; what is late is sent again.
const RENEWAL_DRAIN: Duration = Duration::from_secs(10);
