//! What is under way on one connection: messages without an outcome, tokens, twin requests.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use amqp::connection::{
    BeginError, Cause, DeliveryId, Event as MachineEvent, LinkId, Outgoing as AmqpOutgoing,
    SendError as MachineError, SessionId,
};
use amqp::performative::DeliveryState;
use amqp::{Connection, MessageId};
use bytes::Bytes;
use host::clock::Mono;
use iot_proto::amqp::address::DeviceNode;
use iot_proto::amqp::methods;
use iot_proto::topic::Subscription;
use model::method::MethodResponse;
use uuid::Uuid;

use super::cbs::{Step, Tokens};
use super::links::{Attacher, Pair};
use super::twin::Twin;
use super::{Ticket as AmqpTicket, closed, condition};
use crate::device::actor::TwinRequest;
use crate::device::error::{ConnectError, Refusal, SendError};
use crate::device::events::Outcome;
use crate::device::link::Link;
use crate::device::session::{Event, Handles, Moved, Session, Ticket};
use crate::device::{Options, Outgoing, Packet};

/// One connection that the hub has accepted, with what is under way on it.
pub(super) struct AmqpSession {
    pub(super) link: Link<Connection>,
    pub(super) options: Arc<Options>,
    session: SessionId,
    telemetry: LinkId,
    pub(super) tokens: Option<Tokens>,
    pub(super) cloud_to_device: Option<LinkId>,
    pub(super) inputs: Option<LinkId>,
    pub(super) methods: Option<Pair>,
    pub(super) twin: Option<Twin>,
    /// Links that the hub has not answered yet, with what they are for. It may refuse them and
    /// let the rest stand.
    asked_for: Vec<(LinkId, Subscription)>,
    in_flight: VecDeque<(DeliveryId, Outgoing)>,
    next_tag: u64,
    lost: Option<ConnectError>,
}

impl AmqpSession {
    pub(super) fn new(
        link: Link<Connection>,
        options: Arc<Options>,
        session: SessionId,
        telemetry: LinkId,
        tokens: Option<Tokens>,
    ) -> Self {
        Self {
            link,
            options,
            session,
            telemetry,
            tokens,
            cloud_to_device: None,
            inputs: None,
            methods: None,
            twin: None,
            asked_for: Vec::new(),
            in_flight: VecDeque::new(),
            next_tag: 0,
            lost: None,
        }
    }
}

impl Session for AmqpSession {
    /// Links are never resumed.
    fn is_resumed(&self) -> bool {
        false
    }

    fn has_room(&mut self) -> bool {
        self.in_flight.len() < self.options.queues.in_flight_max
            && self.link.machine.can_send(self.telemetry).is_ok()
    }

    fn publish(&mut self, outgoing: Outgoing) -> Result<(), Outgoing> {
        let Packet::Amqp(message) = &outgoing.packet else {
            // A client speaks one protocol for all its life.
            outgoing.done.tell(Err(SendError::Closed));
            return Ok(());
        };
        let tag = Bytes::copy_from_slice(&self.next_tag.to_be_bytes());
        let message = message.clone();
        let sent = AmqpOutgoing { tag, message, format: 0, settled: false };
        match self.link.machine.send(self.telemetry, sent) {
            Ok(delivery) => {
                self.next_tag += 1;
                self.in_flight.push_back((delivery, outgoing));
                Ok(())
            }
            Err(MachineError::MessageTooLarge { size_bytes, size_bytes_max }) => {
                let max = usize::try_from(size_bytes_max).unwrap_or(usize::MAX);
                // Nobody waits for an answer if the handle is gone.
                outgoing.done.tell(Err(SendError::TooLarge { bytes: size_bytes, max }));
                Ok(())
            }
            Err(_) => Err(outgoing),
        }
    }

    fn subscribe(&mut self, kinds: &[Subscription]) {
        for kind in kinds {
            if let Err(error) = self.attach(*kind) {
                tracing::warn!(%error, ?kind, "cannot subscribe; it is tried again with the next connection");
            }
        }
    }

    fn takes_requests(&self) -> bool {
        true
    }

    fn ask_twin(&mut self, request: TwinRequest) -> Result<(), TwinRequest> {
        match &mut self.twin {
            Some(twin) => {
                twin.ask(request);
                twin.send(&mut self.link.machine);
                Ok(())
            }
            None => Err(request),
        }
    }

    fn answer_method(&mut self, call: &str, status: i32, payload: Bytes) {
        let Some(links) = self.methods else { return };
        let id = match call.parse::<Uuid>() {
            Ok(uuid) => MessageId::Uuid(uuid.into_bytes()),
            Err(_) => MessageId::String(call.to_owned()),
        };
        let message = methods::response(id, &MethodResponse { status, payload });
        let tag = Bytes::copy_from_slice(&self.next_tag.to_be_bytes());
        self.next_tag += 1;
        let outgoing = AmqpOutgoing { tag, message: message.to_bytes(), format: 0, settled: true };
        if let Err(error) = self.link.machine.send(links.sender, outgoing) {
            tracing::warn!(call, %error, "method answer cannot be sent now and is dropped");
        }
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        let Ticket::Amqp(AmqpTicket(delivery)) = ticket else { return };
        let state = match outcome {
            Outcome::Complete => DeliveryState::Accepted,
            Outcome::Abandon => DeliveryState::Released,
            Outcome::Reject => DeliveryState::Rejected(None),
        };
        self.link.machine.settle(delivery, state);
    }

    fn poll_event(&mut self, handles: &Handles) -> Option<Event> {
        loop {
            if let Some(error) = self.lost.take() {
                return Some(Event::Lost(error));
            }
            let event = self.link.poll_event()?;
            if let Some(event) = self.handle(event, handles) {
                return Some(event);
            }
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        if let Some(tokens) = &mut self.tokens
            && tokens.poll_signed(cx)
        {
            tokens.send(&mut self.link.machine);
        }
        self.link.poll_exchange(cx)
    }

    fn deadline(&self) -> Option<Mono> {
        let token = self.tokens.as_ref().and_then(Tokens::deadline);
        self.link.deadline().into_iter().chain(token).min()
    }

    fn handle_timeout(&mut self) {
        if let Some(tokens) = &mut self.tokens {
            let step = tokens.handle_timeout();
            self.follow(step);
        }
        self.link.handle_timeout();
    }

    fn finish(&mut self) -> Vec<Outgoing> {
        if let Some(twin) = &mut self.twin {
            twin.finish();
        }
        self.in_flight.drain(..).map(|(_, outgoing)| outgoing).collect()
    }

    fn goodbye(self: Box<Self>, limit: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.link.goodbye(limit))
    }
}

impl AmqpSession {
    /// Attaches what a kind of events needs.
    fn attach(&mut self, kind: Subscription) -> Result<(), BeginError> {
        let mut attacher = Attacher {
            machine: &mut self.link.machine,
            session: self.session,
            options: &self.options,
        };
        match kind {
            Subscription::CloudToDevice if self.cloud_to_device.is_none() => {
                let link = attacher.deliveries(DeviceNode::DeviceBound)?;
                self.cloud_to_device = Some(link);
                self.asked_for.push((link, kind));
            }
            Subscription::ModuleInputs if self.inputs.is_none() => {
                let link = attacher.deliveries(DeviceNode::Events)?;
                self.inputs = Some(link);
                self.asked_for.push((link, kind));
            }
            Subscription::Methods if self.methods.is_none() => {
                let links = attacher.pair(DeviceNode::Methods, "methods")?;
                self.methods = Some(links);
                self.asked_for.push((links.receiver, kind));
            }
            Subscription::TwinResponses | Subscription::DesiredPatches => {
                if self.twin.is_none() {
                    let links = attacher.pair(DeviceNode::Twin, "twin")?;
                    self.twin = Some(Twin::new(links));
                    self.asked_for.push((links.receiver, Subscription::TwinResponses));
                }
                if let Some(twin) = &mut self.twin
                    && kind == Subscription::DesiredPatches
                {
                    twin.subscribe();
                    twin.send(&mut self.link.machine);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn handle(&mut self, event: MachineEvent, handles: &Handles) -> Option<Event> {
        match event {
            MachineEvent::Settled { delivery, state, .. } => self.settled(delivery, state),
            MachineEvent::Delivery(delivery) => return self.received(delivery, handles),
            MachineEvent::Credit { link, drain, .. } => {
                if drain {
                    self.link.machine.drained(link);
                }
                self.send_waiting();
            }
            MachineEvent::WindowOpened(_) => self.send_waiting(),
            MachineEvent::Attached { link, .. } => {
                let index = self.asked_for.iter().position(|(asked, _)| *asked == link)?;
                return Some(Event::Granted(vec![self.asked_for.swap_remove(index).1]));
            }
            MachineEvent::Detached { link, cause, .. } => self.detached(link, cause),
            MachineEvent::SessionEnded { cause, .. } => self.ended(cause),
            MachineEvent::Closed(how) => {
                let identity = self.options.identity.to_string();
                self.lost = Some(closed(&self.options.dial, &identity, how));
            }
            // A hub attaches nothing of its own.
            MachineEvent::Attach { link, .. } => {
                let error = amqp::Error::new(
                    amqp::Symbol::from_static("amqp:not-allowed"),
                    "only the client attaches links",
                );
                self.link.machine.refuse_attach(link, error);
            }
            _ => {}
        }
        None
    }

    /// There may be credit for what waits.
    fn send_waiting(&mut self) {
        if let Some(tokens) = &mut self.tokens {
            tokens.send(&mut self.link.machine);
        }
        if let Some(twin) = &mut self.twin {
            twin.send(&mut self.link.machine);
        }
    }

    /// The hub says what became of a message.
    fn settled(&mut self, delivery: DeliveryId, state: Option<DeliveryState>) {
        if let Some(DeliveryState::Received { .. }) = state {
            return;
        }
        // Hubs settle in order, so the search is short.
        let index = self.in_flight.iter().position(|(id, _)| *id == delivery);
        let Some(index) = index else { return };
        match state {
            Some(DeliveryState::Accepted) => self.done(index, Ok(())),
            Some(DeliveryState::Rejected(error)) if is_final(error.as_ref()) => {
                let refusal = condition(error).to_string();
                self.done(index, Err(SendError::Refused(refusal)));
            }
            other => {
                let error = match other {
                    Some(DeliveryState::Rejected(error)) => error,
                    _ => None,
                };
                self.lose(condition(error));
            }
        }
    }

    fn done(&mut self, index: usize, outcome: Result<(), SendError>) {
        if let Some((_, outgoing)) = self.in_flight.remove(index) {
            // The sender may not care.
            outgoing.done.tell(outcome);
        }
    }

    fn lose(&mut self, refusal: Refusal) {
        let dial = self.options.dial.clone();
        let identity = self.options.identity.to_string();
        self.lost.get_or_insert(ConnectError::Refused { dial, identity, refusal });
    }

    pub(super) fn follow(&mut self, step: Step) {
        match step {
            Step::Nothing | Step::Taken => {}
            Step::Refused(refusal) => self.lose(refusal),
            Step::Silent => {
                self.lost = Some(ConnectError::AmqpViolation {
                    dial: self.options.dial.clone(),
                    what: "it does not answer to a token".to_owned(),
                });
            }
        }
    }

    /// A link that the hub did not want in the first place is missed by nobody else; without one
    /// that stood the connection is worth nothing.
    fn detached(&mut self, link: LinkId, cause: Cause) {
        let asked = self.asked_for.iter().position(|(asked, _)| *asked == link);
        match (asked, cause) {
            (Some(index), Cause::Peer(error)) => {
                let (_, kind) = self.asked_for.swap_remove(index);
                let refusal = condition(error);
                tracing::warn!(?kind, %refusal, "hub does not grant the subscription");
            }
            (_, cause) => self.ended(cause),
        }
    }

    fn ended(&mut self, cause: Cause) {
        match cause {
            Cause::Peer(error) => self.lose(condition(error)),
            Cause::Violation(error) => {
                let what = error.to_string();
                let dial = self.options.dial.clone();
                self.lost.get_or_insert(ConnectError::AmqpViolation { dial, what });
            }
        }
    }
}

/// Whether another attempt with this message would be refused too (`device-protocol.md` §4.9).
fn is_final(error: Option<&amqp::Error>) -> bool {
    error.is_some_and(|error| FINAL.contains(&error.condition.as_str()))
}

const FINAL: [&str; 4] = [
    "amqp:link:message-size-exceeded",
    "amqp:decode-error",
    "com.microsoft:argument-error",
    "com.microsoft:argument-out-of-range",
];
