//! The server's end of one MQTT connection.
//!
//! The machine keeps the order of packets, packet ids, windows and timers. Who
//! the client is, what a topic means and what is stored is its owner's business,
//! reported as [`Event`]s. Sessions that outlive a connection are not here either:
//! nothing of this machine survives its connection.
//!
//! The owner's loop:
//!
//! ```text
//! read into `input` while wants_input()
//! loop { handle_input(now, &mut input); act on every poll_event(); until !wants_resume() }
//! write output(), advance_output(n)
//! sleep until poll_timeout(), then handle_timeout(now)
//! ```
//!
//! Answers of the owner (`accept`, `puback`, `suback`, ...) may come at any later
//! time; after them `wants_resume()` says whether bytes left in `input` can go on.
//!
//! What the hub demands of clients: device-protocol.md §3.3, §3.13; what attackers
//! send: security.md §2, B1–B11.

mod event;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

use crate::codec::{self, DecodeError};
use crate::output::Output;
use crate::packet::{Connack, ConnackCode, Packet, PacketId, PacketKind, QoS, Suback, SubackCode};
use crate::timers::{Timer, Timers};
use crate::topic::Topic;
use crate::windows::{AckError, ReceiveWindow, SendError, SendWindow};

pub use event::{Event, Timeout, Violation};
pub use settings::Settings;

/// The server's end of one connection.
#[derive(Debug)]
pub struct ServerConnection {
    settings: Settings,
    state: State,
    events: VecDeque<Event>,
    output: Output,
    timers: Timers,
    received: ReceiveWindow,
    sent: SendWindow<()>,
    requests: Vec<Request>,
    /// When the last packet came.
    last_packet: Duration,
    /// Silence that is allowed.
    silence_max: Duration,
    /// We stopped reading since the last packet, so silence proves nothing yet.
    has_grace: bool,
    /// The last input ended at a bound, not at the end of the bytes.
    left_input: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitingConnect,
    AwaitingDecision,
    Connected,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Subscribe { packet_id: PacketId, filters: usize },
    Unsubscribe { packet_id: PacketId },
}

impl ServerConnection {
    /// A connection that was opened at `now`; its CONNECT has to come.
    #[must_use]
    pub fn new(now: Duration, settings: Settings) -> ServerConnection {
        let mut timers = Timers::default();
        timers.set(Timer::Handshake, now.saturating_add(settings.connect_deadline));
        ServerConnection {
            state: State::AwaitingConnect,
            events: VecDeque::new(),
            output: Output::new(settings.output_bytes_max),
            timers,
            received: ReceiveWindow::default(),
            sent: SendWindow::new(settings.first_packet_id, settings.send_window),
            requests: Vec::new(),
            last_packet: now,
            silence_max: settings.keep_alive_max,
            has_grace: false,
            left_input: false,
            settings,
        }
    }

    /// Takes complete packets off the front of `input`, until there is none or a
    /// bound is reached; see [`Self::wants_resume`]. A closed connection discards all.
    pub fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
        while self.may_process() {
            match self.next_packet(input) {
                Ok(None) => break,
                Ok(Some(packet)) => {
                    self.last_packet = now;
                    self.has_grace = false;
                    self.handle_packet(packet);
                }
                Err(Violation::Decode(DecodeError::UnsupportedProtocol { level })) => {
                    self.put(&Packet::Connack(Connack {
                        session_present: false,
                        code: ConnackCode::UnacceptableProtocol,
                    }));
                    self.close(Event::UnsupportedProtocol { level });
                }
                Err(violation) => self.close(Event::Violation(violation)),
            }
        }
        if self.is_closed() {
            input.clear();
        }
        self.left_input = !input.is_empty() && !self.may_process();
        self.has_grace |= !self.may_process();
    }

    /// The next thing for the owner.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due. Moves rarely: not with every packet.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Acts on the timers that have fired at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Handshake => self.close(Event::TimedOut(Timeout::Connect)),
                Timer::KeepAlive => self.check_silence(now),
                // A server doesn't ping.
                Timer::PingResponse => {}
            }
        }
    }

    /// Whether the owner should read from the client. If not, something waits for
    /// the owner's answer, or the client doesn't read its own input.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.may_process()
    }

    /// Whether bytes that the last [`Self::handle_input`] left can go on now: call
    /// it again, else they would wait for the next byte from the client.
    #[must_use]
    pub fn wants_resume(&self) -> bool {
        self.left_input && self.may_process()
    }

    /// Whether the connection has ended: write what is in the output, then close.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Bytes to write.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.as_slice()
    }

    /// Forgets the first `count` bytes of the output: they were written.
    pub fn advance_output(&mut self, count: usize) {
        self.output.advance(count);
    }

    /// Moves the output to the end of `into` and returns how many bytes that were.
    pub fn poll_transmit(&mut self, into: &mut BytesMut) -> usize {
        self.output.drain_into(into)
    }

    /// Lets the client in: CONNACK 0. Does nothing unless [`Event::Connect`] waits.
    pub fn accept(&mut self, now: Duration, session_present: bool) {
        if self.state != State::AwaitingDecision {
            return;
        }
        self.put(&Packet::Connack(Connack { session_present, code: ConnackCode::Accepted }));
        self.state = State::Connected;
        self.last_packet = now;
        self.has_grace = false;
        self.timers.set(Timer::KeepAlive, now.saturating_add(self.silence_max));
    }

    /// Turns the client away with `code`. Does nothing unless [`Event::Connect`] waits.
    pub fn refuse(&mut self, code: ConnackCode) {
        debug_assert_ne!(code, ConnackCode::Accepted, "a refusal needs a reason");
        if self.state != State::AwaitingDecision {
            return;
        }
        self.put(&Packet::Connack(Connack { session_present: false, code }));
        self.end();
    }

    /// Acknowledges a publish of QoS 1. The PUBACKs leave in the order in which the
    /// publishes came, whatever the order of these calls.
    pub fn puback(&mut self, packet_id: PacketId) -> Result<(), AckError> {
        if self.is_closed() {
            return Ok(());
        }
        let output = &mut self.output;
        self.received.answered(packet_id, |id| codec::encode_puback(id, output.buffer()))
    }

    /// Answers a SUBSCRIBE: one code per filter, in order.
    pub fn suback(&mut self, packet_id: PacketId, codes: Vec<SubackCode>) -> Result<(), AckError> {
        if self.is_closed() {
            return Ok(());
        }
        let given = codes.len();
        let index = self.requests.iter().position(|request| {
            matches!(request, Request::Subscribe { packet_id: id, .. } if *id == packet_id)
        });
        match index.map(|index| (index, self.requests.get(index))) {
            Some((_, Some(&Request::Subscribe { filters, .. }))) if filters != given => {
                Err(AckError::WrongCodeCount { given, filters })
            }
            Some((index, _)) => {
                self.requests.remove(index);
                self.put(&Packet::Suback(Suback { packet_id, codes }));
                Ok(())
            }
            None => Err(AckError::UnknownPacketId(packet_id)),
        }
    }

    /// Answers an UNSUBSCRIBE.
    pub fn unsuback(&mut self, packet_id: PacketId) -> Result<(), AckError> {
        if self.is_closed() {
            return Ok(());
        }
        let request = Request::Unsubscribe { packet_id };
        match self.requests.iter().position(|waiting| *waiting == request) {
            None => Err(AckError::UnknownPacketId(packet_id)),
            Some(index) => {
                self.requests.remove(index);
                self.put(&Packet::Unsuback(packet_id));
                Ok(())
            }
        }
    }

    /// Sends a message to the client. With QoS 1 returns the packet id that
    /// [`Event::Acknowledged`] will name.
    pub fn publish(
        &mut self,
        topic: &Topic,
        payload: &[u8],
        qos: QoS,
    ) -> Result<Option<PacketId>, SendError> {
        if self.state != State::Connected {
            return Err(SendError::NotConnected);
        }
        if self.output.is_full() {
            return Err(SendError::OutputFull);
        }
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(self.sent.open(())?),
            QoS::ExactlyOnce => return Err(SendError::QosUnsupported),
        };
        let encoded = codec::encode_delivery(topic, packet_id, payload, self.output.buffer());
        if let (Err(_), Some(id)) = (encoded, packet_id) {
            self.sent.close(id, |()| true);
        }
        self.has_grace |= self.output.is_full();
        Ok(encoded.map(|()| packet_id)?)
    }

    /// Whether [`Self::publish`] with QoS 1 has room.
    #[must_use]
    pub fn can_publish(&self) -> bool {
        self.state == State::Connected && !self.output.is_full() && !self.sent.is_full()
    }

    /// Deliveries of QoS 1 that the client hasn't acknowledged.
    #[must_use]
    pub fn deliveries_in_flight(&self) -> usize {
        self.sent.len()
    }

    /// Publishes of QoS 1 that the owner hasn't acknowledged.
    #[must_use]
    pub fn publishes_unanswered(&self) -> usize {
        self.received.len()
    }

    /// The next packet, refused by its first byte if it may not come now: nobody
    /// waits for the 256 MiB that it announces.
    fn next_packet(&self, input: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        let Some(&first) = input.first() else { return Ok(None) };
        if let Some(kind) = PacketKind::from_first_byte(first) {
            self.check_order(kind)?;
        }
        if first & PUBLISH_QOS_MASK == PUBLISH_QOS_2 {
            return Err(Violation::QosUnsupported);
        }
        Ok(codec::decode(input, &self.settings.limits)?)
    }

    fn check_order(&self, kind: PacketKind) -> Result<(), Violation> {
        match (self.state, kind) {
            (State::AwaitingConnect, PacketKind::Connect) => Ok(()),
            (State::AwaitingConnect, _) => Err(Violation::FirstPacketNotConnect(kind)),
            (_, PacketKind::Connect) => Err(Violation::SecondConnect),
            (
                _,
                PacketKind::Publish
                | PacketKind::Puback
                | PacketKind::Subscribe
                | PacketKind::Unsubscribe
                | PacketKind::Pingreq
                | PacketKind::Disconnect,
            ) => Ok(()),
            _ => Err(Violation::UnexpectedPacket(kind)),
        }
    }

    fn handle_packet(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    self.received.received(id, publish.payload.len());
                }
                self.events.push_back(Event::Publish(publish));
            }
            // An id that isn't in flight: clients answer deliveries of their last
            // connection late. Nothing to learn from it.
            Packet::Puback(id) => {
                if self.sent.close(id, |()| true).is_some() {
                    self.events.push_back(Event::Acknowledged(id));
                }
            }
            Packet::Pingreq => {
                self.put(&Packet::Pingresp);
                self.events.push_back(Event::Pinged);
            }
            Packet::Subscribe(subscribe) => {
                let filters = subscribe.filters.len();
                self.requests.push(Request::Subscribe { packet_id: subscribe.packet_id, filters });
                self.events.push_back(Event::Subscribe(subscribe));
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.requests.push(Request::Unsubscribe { packet_id: unsubscribe.packet_id });
                self.events.push_back(Event::Unsubscribe(unsubscribe));
            }
            Packet::Connect(connect) => {
                self.timers.stop(Timer::Handshake);
                self.silence_max = silence_max(connect.keep_alive_s, self.settings.keep_alive_max);
                self.state = State::AwaitingDecision;
                self.events.push_back(Event::Connect(connect));
            }
            Packet::Disconnect => self.close(Event::Disconnected),
            other => self.close(Event::Violation(Violation::UnexpectedPacket(other.kind()))),
        }
    }

    /// The keep-alive timer fired: the packets since it was set move it.
    fn check_silence(&mut self, now: Duration) {
        let due = self.last_packet.saturating_add(self.silence_max);
        if due > now {
            self.timers.set(Timer::KeepAlive, due);
        } else if self.owes_answers() || !self.events.is_empty() || self.has_grace {
            // We didn't read, so we cannot know. While the owner is late, the client
            // is not to blame; one that doesn't read its input gets one more interval.
            self.has_grace = false;
            self.timers.set(Timer::KeepAlive, now.saturating_add(self.silence_max));
        } else {
            self.close(Event::TimedOut(Timeout::KeepAlive));
        }
    }

    /// Whether one more packet may be taken. Every queue of this machine is behind
    /// one of these bounds.
    fn may_process(&self) -> bool {
        matches!(self.state, State::AwaitingConnect | State::Connected)
            && self.events.len() < EVENTS_MAX
            && !self.owes_answers()
            && !self.output.is_full()
    }

    fn owes_answers(&self) -> bool {
        self.received.len() >= self.settings.receive_window
            || self.received.payload_bytes() >= self.settings.receive_bytes_max
            || self.requests.len() >= self.settings.requests_max
    }

    /// Appends a packet that cannot fail to encode: all its fields were checked.
    fn put(&mut self, packet: &Packet) {
        let encoded = codec::encode(packet, self.output.buffer());
        debug_assert!(encoded.is_ok(), "{encoded:?}");
    }

    fn close(&mut self, event: Event) {
        self.events.push_back(event);
        self.end();
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.timers.stop_all();
        self.received = ReceiveWindow::default();
        self.requests.clear();
    }
}

/// One and a half times the client's keep-alive, at most `max`; 0 promises nothing.
fn silence_max(keep_alive_s: u16, max: Duration) -> Duration {
    match keep_alive_s {
        0 => max,
        seconds => (Duration::from_secs(u64::from(seconds)) * 3 / 2).min(max),
    }
}

/// Events that wait for the owner: with it full, handling stops and can be resumed.
const EVENTS_MAX: usize = 64;

/// First byte of a PUBLISH: its kind and quality of service.
const PUBLISH_QOS_MASK: u8 = 0b1111_0110;
/// First byte of a PUBLISH of QoS 2.
const PUBLISH_QOS_2: u8 = 0b0011_0100;
