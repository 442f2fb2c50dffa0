//! What is under way on one connection: messages without an acknowledgement, twin requests
//! without an answer, and what the hub sent.
//!
//! Nothing here waits. A session ends with its connection; messages move on to the next one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use host::clock::Mono;
use host::http::StatusCode;
use iot_proto::bag::{Bag, Sender};
use iot_proto::payload::twin::DesiredPatch;
use iot_proto::status::ErrorAnswer;
use iot_proto::topic::{HubTopic, Subscription, TopicSet};
use model::message::Message;
use mqtt::packet::{Publish, Suback, SubackCode};
use mqtt::{Filter, PacketId, QoS, SendError as PacketError, Topic};
use tokio::sync::{mpsc, oneshot};

use super::actor::{Control, TwinAnswer, TwinRequest};
use super::error::{SendError, TwinError};
use super::events::{ClientEvent, Delivery, MethodCall, MethodReply, Settle};
use super::link::Link;
use super::{Options, Outgoing};

/// One connection that the hub has accepted, with what is under way on it.
pub(super) struct Session {
    pub(super) link: Link,
    /// Tells handles of this connection from those of earlier ones.
    pub(super) epoch: u64,
    pub(super) since: Mono,
    pub(super) renew_at: Mono,
    /// Set while the session winds down for a renewal: when to stop waiting for answers.
    pub(super) draining_until: Option<Mono>,
    in_flight: VecDeque<(PacketId, Outgoing)>,
    twins: HashMap<u64, oneshot::Sender<Result<TwinAnswer, TwinError>>>,
    next_rid: u64,
    asked_for: Vec<(PacketId, Vec<Subscription>)>,
}

impl Session {
    pub(super) fn new(link: Link, epoch: u64, since: Mono, renew_at: Mono) -> Self {
        Self {
            link,
            epoch,
            since,
            renew_at,
            draining_until: None,
            in_flight: VecDeque::new(),
            twins: HashMap::new(),
            next_rid: 1,
            asked_for: Vec::new(),
        }
    }

    /// Whether one more message may be sent now.
    pub(super) fn has_room(&self, options: &Options) -> bool {
        self.draining_until.is_none()
            && self.in_flight.len() < options.queues.in_flight_max
            && self.link.machine.can_publish()
    }

    /// Whether nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.twins.is_empty()
    }

    /// Fails what waits for an answer; gives the connection and the messages without an
    /// acknowledgement, in order.
    pub(super) fn finish(mut self) -> (Link, impl DoubleEndedIterator<Item = Outgoing>) {
        for (_, reply) in self.twins.drain() {
            // The asker may be gone.
            let _ = reply.send(Err(TwinError::Disconnected));
        }
        (self.link, self.in_flight.into_iter().map(|(_, outgoing)| outgoing))
    }

    /// Sends a message; gives it back when the machine cannot take it now.
    pub(super) fn publish(&mut self, outgoing: Outgoing) -> Result<(), Outgoing> {
        let sent = self.link.machine.publish(&outgoing.topic, &outgoing.payload, QoS::AtLeastOnce);
        match sent {
            Ok(Some(packet_id)) => {
                self.in_flight.push_back((packet_id, outgoing));
                Ok(())
            }
            Err(PacketError::Encode(error)) => {
                // It will never fit; nobody waits for an answer if the handle is gone.
                let _ = outgoing.done.send(Err(SendError::Encode(error)));
                Ok(())
            }
            Ok(None) | Err(_) => Err(outgoing),
        }
    }

    /// The hub has a message.
    pub(super) fn acknowledged(&mut self, packet_id: PacketId) {
        // Hubs acknowledge in order, so the search is short.
        let index = self.in_flight.iter().position(|(id, _)| *id == packet_id);
        if let Some((_, outgoing)) = index.and_then(|index| self.in_flight.remove(index)) {
            // The sender may not care.
            let _ = outgoing.done.send(Ok(()));
        }
    }

    /// Asks for subscriptions, all in one packet.
    pub(super) fn subscribe(&mut self, kinds: &[Subscription], topics: &TopicSet) {
        let filters: Vec<(Filter, QoS)> = kinds
            .iter()
            .filter_map(|kind| Some((topics.filter(*kind).parse().ok()?, quality(*kind))))
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

    /// The hub's answer to [`Self::subscribe`]: what it granted.
    pub(super) fn subscribed(&mut self, suback: &Suback) -> Vec<Subscription> {
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

    /// Asks for the twin, or patches it.
    pub(super) fn ask_twin(&mut self, request: TwinRequest) -> Result<(), TwinRequest> {
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

    /// Answers a method; an answer that cannot be written now is lost like any QoS 0 message, and
    /// the caller's time runs out.
    pub(super) fn answer_method(&mut self, rid: &str, status: i32, payload: &[u8]) {
        if self.publish_once(TopicSet::method_response(status, rid), payload).is_err() {
            tracing::warn!(rid, "method answer does not fit in the output queue and is dropped");
        }
    }

    fn publish_once(&mut self, topic: String, body: &[u8]) -> Result<(), ()> {
        let topic = Topic::new(topic).map_err(|_| ())?;
        self.link.machine.publish(&topic, body, QoS::AtMostOnce).map(|_| ()).map_err(|_| ())
    }

    /// The hub is told that a delivery was taken.
    pub(super) fn settle(&mut self, packet_id: PacketId) {
        if let Err(error) = self.link.machine.puback(packet_id) {
            tracing::debug!(%error, "cannot settle a delivery");
        }
    }

    /// Reads what the hub published. What cannot be understood is logged, and acknowledged so
    /// that it does not come for ever.
    pub(super) fn received(
        &mut self,
        publish: &Publish,
        topics: &TopicSet,
        control: &mpsc::UnboundedSender<Control>,
    ) -> Option<ClientEvent> {
        let event = self.read(publish, topics, control);
        if let (Err(reason), Some(packet_id)) = (&event, publish.packet_id) {
            tracing::warn!(
                topic = publish.topic.as_str(),
                reason,
                "cannot understand what the hub sent"
            );
            self.settle(packet_id);
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
        topics: &TopicSet,
        control: &mpsc::UnboundedSender<Control>,
    ) -> Result<Option<ClientEvent>, String> {
        let topic = publish.topic.as_str();
        let settle =
            || Settle { control: control.clone(), epoch: self.epoch, packet_id: publish.packet_id };
        match topics.parse_from_hub(topic).map_err(|e| e.to_string())? {
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
                let reply = MethodReply {
                    control: control.clone(),
                    epoch: self.epoch,
                    rid: Some(rid.to_owned()),
                };
                let call =
                    MethodCall { name: name.into_owned(), payload: owned(&publish.payload), reply };
                self.settle_unhandled(publish);
                Ok(Some(ClientEvent::Method(call)))
            }
            HubTopic::CloudToDevice { bag } => {
                let message = message(bag, &publish.payload)?;
                Ok(Some(ClientEvent::CloudToDevice(Delivery { message, settle: settle() })))
            }
            HubTopic::ModuleInput { input, bag } => {
                let message = message(bag, &publish.payload)?;
                let delivery = Delivery { message, settle: settle() };
                Ok(Some(ClientEvent::Input { input: input.into_owned(), delivery }))
            }
        }
    }

    /// What has no settle handle is settled at receipt.
    fn settle_unhandled(&mut self, publish: &Publish) {
        if let Some(packet_id) = publish.packet_id {
            self.settle(packet_id);
        }
    }

    fn twin_answered(&mut self, status: u16, rid: &str, version: Option<u64>, body: &Bytes) {
        let rid = u64::from_str_radix(rid, 16).ok();
        // Late answers, and those to requests of an earlier connection, have nobody waiting.
        let Some(reply) = rid.and_then(|rid| self.twins.remove(&rid)) else { return };
        let answer = match status {
            200..=299 => Ok(TwinAnswer { body: owned(body), version }),
            _ => Err(refused(status, body)),
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

/// A copy, so that a small body does not keep the whole read buffer.
fn owned(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(body)
}

/// Reads the hub's refusal (`device-protocol.md` §3.10).
fn refused(status: u16, body: &[u8]) -> TwinError {
    let http_status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = ErrorAnswer::read(http_status, None, body);
    let code = answer.code.map(|code| code.number);
    TwinError::Refused { status, code, message: answer.message }
}

/// Why there is no connection, for whoever asks.
pub(super) fn reason(error: &super::ConnectError) -> Arc<str> {
    crate::dial::chain(error).into()
}
