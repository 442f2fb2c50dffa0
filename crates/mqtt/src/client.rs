//! The client's end of one MQTT connection.
//!
//! Used by device and module clients, by the edge hub's upstream and by the
//! simulator. The machine keeps packet ids, windows, pings and deadlines.
//! Reconnecting, and sending again what wasn't acknowledged, is its owner's
//! business: nothing of this machine survives its connection. The owner's loop is
//! that of [`crate::server`].

mod event;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

use crate::codec;
use crate::filter::Filter;
use crate::output::Output;
use crate::packet::{
    Connack, ConnackCode, Connect, Packet, PacketId, PacketKind, QoS, Suback, Subscribe,
    Unsubscribe,
};
use crate::timers::{Timer, Timers};
use crate::topic::Topic;
use crate::windows::{AckError, ReceiveWindow, SendError, SendWindow};

pub use event::{Event, Timeout, Violation};
pub use settings::Settings;

/// The client's end of one connection.
#[derive(Debug)]
pub struct ClientConnection {
    settings: Settings,
    state: State,
    events: VecDeque<Event>,
    output: Output,
    timers: Timers,
    received: ReceiveWindow,
    sent: SendWindow<Asked>,
    /// Half the keep-alive: how often we look whether to ping. None: never.
    ping_interval: Option<Duration>,
    sent_since_look: bool,
    received_since_look: bool,
    left_input: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    AwaitingConnack,
    Connected,
    Closed,
}

/// What a packet id in flight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Publish,
    Subscribe { filters: usize },
    Unsubscribe,
}

impl ClientConnection {
    /// A connection that is open but silent.
    #[must_use]
    pub fn new(settings: Settings) -> ClientConnection {
        ClientConnection {
            state: State::Idle,
            events: VecDeque::new(),
            output: Output::new(settings.output_bytes_max),
            timers: Timers::default(),
            received: ReceiveWindow::default(),
            sent: SendWindow::new(settings.first_packet_id, settings.send_window),
            ping_interval: None,
            sent_since_look: false,
            received_since_look: false,
            left_input: false,
            settings,
        }
    }

    /// Sends CONNECT. Everything else waits for [`Event::Connack`].
    pub fn connect(&mut self, now: Duration, connect: Connect) -> Result<(), SendError> {
        if self.state != State::Idle {
            return Err(SendError::AlreadyConnecting);
        }
        self.ping_interval = match connect.keep_alive_s {
            0 => None,
            seconds => Some(Duration::from_secs(u64::from(seconds)) / 2),
        };
        self.put(&Packet::Connect(Box::new(connect)))?;
        self.state = State::AwaitingConnack;
        self.timers.set(Timer::Handshake, now.saturating_add(self.settings.connack_deadline));
        Ok(())
    }

    /// Takes complete packets off the front of `input`, until there is none or a
    /// bound is reached; see [`Self::wants_resume`]. A closed connection discards all.
    pub fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
        while self.may_process() {
            match self.next_packet(input) {
                Ok(None) => break,
                Ok(Some(packet)) => {
                    self.received_since_look = true;
                    self.timers.stop(Timer::PingResponse);
                    self.handle_packet(now, packet);
                }
                Err(violation) => self.close(Event::Violation(violation)),
            }
        }
        if self.is_closed() {
            input.clear();
        }
        self.left_input = !input.is_empty() && !self.may_process();
    }

    /// The next thing for the owner.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Acts on the timers that have fired at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Handshake => self.close(Event::TimedOut(Timeout::Connack)),
                // The owner is late and doesn't read, so the answer cannot arrive.
                Timer::PingResponse if self.owes_answers() => {
                    let at = now.saturating_add(self.settings.ping_deadline);
                    self.timers.set(Timer::PingResponse, at);
                }
                Timer::PingResponse => self.close(Event::TimedOut(Timeout::Ping)),
                Timer::KeepAlive => self.look_whether_to_ping(now),
            }
        }
    }

    /// Whether the owner should read from the server.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.may_process()
    }

    /// Whether bytes that the last [`Self::handle_input`] left can go on now: call
    /// it again, else they would wait for the next byte from the server.
    #[must_use]
    pub fn wants_resume(&self) -> bool {
        self.left_input && self.may_process()
    }

    /// Whether the server let us in and the connection lives.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
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

    /// Sends a message. With QoS 1 returns the packet id that [`Event::Puback`] will name.
    pub fn publish(
        &mut self,
        topic: &Topic,
        payload: &[u8],
        qos: QoS,
    ) -> Result<Option<PacketId>, SendError> {
        self.check_sendable()?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(self.sent.open(Asked::Publish)?),
            QoS::ExactlyOnce => return Err(SendError::QosUnsupported),
        };
        let encoded = codec::encode_delivery(topic, packet_id, payload, self.output.buffer());
        if let (Err(_), Some(id)) = (encoded, packet_id) {
            self.sent.close(id, |_| true);
        }
        self.sent_since_look = true;
        Ok(encoded.map(|()| packet_id)?)
    }

    /// Asks for subscriptions; [`Event::Suback`] will name the packet id returned.
    pub fn subscribe(&mut self, filters: Vec<(Filter, QoS)>) -> Result<PacketId, SendError> {
        self.check_sendable()?;
        if filters.iter().any(|(_, qos)| *qos == QoS::ExactlyOnce) {
            return Err(SendError::QosUnsupported);
        }
        let packet_id = self.sent.open(Asked::Subscribe { filters: filters.len() })?;
        self.request(packet_id, &Packet::Subscribe(Subscribe { packet_id, filters }))
    }

    /// Ends subscriptions; [`Event::Unsuback`] will name the packet id returned.
    pub fn unsubscribe(&mut self, filters: Vec<Filter>) -> Result<PacketId, SendError> {
        self.check_sendable()?;
        let packet_id = self.sent.open(Asked::Unsubscribe)?;
        self.request(packet_id, &Packet::Unsubscribe(Unsubscribe { packet_id, filters }))
    }

    /// Acknowledges a publish of QoS 1. The PUBACKs leave in the order in which the
    /// publishes came, whatever the order of these calls.
    pub fn puback(&mut self, packet_id: PacketId) -> Result<(), AckError> {
        if self.is_closed() {
            return Ok(());
        }
        let output = &mut self.output;
        self.sent_since_look = true;
        self.received.answered(packet_id, |id| codec::encode_puback(id, output.buffer()))
    }

    /// Says goodbye: write the output, then close.
    pub fn disconnect(&mut self) {
        if self.state == State::Connected {
            // An empty packet always fits.
            let _ = self.put(&Packet::Disconnect);
        }
        self.end();
    }

    /// Whether [`Self::publish`] with QoS 1 has room.
    #[must_use]
    pub fn can_publish(&self) -> bool {
        self.check_sendable().is_ok() && !self.sent.is_full()
    }

    /// Requests and publishes of QoS 1 that the server hasn't answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sent.len()
    }

    fn check_sendable(&self) -> Result<(), SendError> {
        match self.state {
            State::Connected if self.output.is_full() => Err(SendError::OutputFull),
            State::Connected => Ok(()),
            _ => Err(SendError::NotConnected),
        }
    }

    fn request(&mut self, packet_id: PacketId, packet: &Packet) -> Result<PacketId, SendError> {
        match self.put(packet) {
            Ok(()) => Ok(packet_id),
            Err(error) => {
                self.sent.close(packet_id, |_| true);
                Err(error)
            }
        }
    }

    fn next_packet(&self, input: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        let Some(&first) = input.first() else { return Ok(None) };
        if let Some(kind) = PacketKind::from_first_byte(first) {
            self.check_order(kind)?;
        }
        Ok(codec::decode(input, &self.settings.limits)?)
    }

    fn check_order(&self, kind: PacketKind) -> Result<(), Violation> {
        match (self.state, kind) {
            (State::AwaitingConnack, PacketKind::Connack) => Ok(()),
            (State::AwaitingConnack, _) => Err(Violation::FirstPacketNotConnack(kind)),
            (
                _,
                PacketKind::Publish
                | PacketKind::Puback
                | PacketKind::Suback
                | PacketKind::Unsuback
                | PacketKind::Pingresp,
            ) => Ok(()),
            _ => Err(Violation::UnexpectedPacket(kind)),
        }
    }

    fn handle_packet(&mut self, now: Duration, packet: Packet) {
        match packet {
            Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
                self.close(Event::Violation(Violation::QosUnsupported));
            }
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    self.received.received(id, publish.payload.len());
                }
                self.events.push_back(Event::Publish(publish));
            }
            // Answers to what isn't in flight tell nothing and are dropped.
            Packet::Puback(id) => {
                if self.sent.close(id, |asked| asked == Asked::Publish).is_some() {
                    self.events.push_back(Event::Puback(id));
                }
            }
            Packet::Suback(suback) => self.handle_suback(suback),
            Packet::Unsuback(id) => {
                if self.sent.close(id, |asked| asked == Asked::Unsubscribe).is_some() {
                    self.events.push_back(Event::Unsuback(id));
                }
            }
            Packet::Pingresp => {}
            Packet::Connack(connack) => self.handle_connack(now, connack),
            other => self.close(Event::Violation(Violation::UnexpectedPacket(other.kind()))),
        }
    }

    fn handle_connack(&mut self, now: Duration, connack: Connack) {
        self.timers.stop(Timer::Handshake);
        if connack.code != ConnackCode::Accepted {
            self.close(Event::Connack(connack));
            return;
        }
        self.state = State::Connected;
        if let Some(interval) = self.ping_interval {
            self.timers.set(Timer::KeepAlive, now.saturating_add(interval));
        }
        self.events.push_back(Event::Connack(connack));
    }

    fn handle_suback(&mut self, suback: Suback) {
        let asked =
            self.sent.close(suback.packet_id, |asked| matches!(asked, Asked::Subscribe { .. }));
        let codes = suback.codes.len();
        match asked {
            Some(Asked::Subscribe { filters }) if filters != codes => {
                self.close(Event::Violation(Violation::WrongSubackCount { codes, filters }));
            }
            Some(_) => self.events.push_back(Event::Suback(suback)),
            None => {}
        }
    }

    /// Twice per keep-alive: pings if either side was silent since the last look. So
    /// the server hears from us in time, and we notice that it is gone even while we
    /// send.
    fn look_whether_to_ping(&mut self, now: Duration) {
        let Some(interval) = self.ping_interval else { return };
        let was_silent = !self.sent_since_look || !self.received_since_look;
        self.sent_since_look = false;
        self.received_since_look = false;
        self.timers.set(Timer::KeepAlive, now.saturating_add(interval));
        if !was_silent || self.timers.is_set(Timer::PingResponse) {
            return;
        }
        if !self.output.is_full() {
            // An empty packet always fits.
            let _ = self.put(&Packet::Pingreq);
        }
        // Also with a full output: a dead server is one way for it to become full.
        self.timers.set(Timer::PingResponse, now.saturating_add(self.settings.ping_deadline));
    }

    /// Whether one more packet may be taken. Reading goes on with a full output, up
    /// to twice its bound: two ends that both stop reading would wait for ever.
    fn may_process(&self) -> bool {
        matches!(self.state, State::AwaitingConnack | State::Connected)
            && !self.owes_answers()
            && !self.output.is_twice_full()
    }

    fn owes_answers(&self) -> bool {
        self.events.len() >= EVENTS_MAX
            || self.received.len() >= self.settings.receive_window
            || self.received.payload_bytes() >= self.settings.receive_bytes_max
    }

    fn put(&mut self, packet: &Packet) -> Result<(), SendError> {
        self.sent_since_look = true;
        Ok(codec::encode(packet, self.output.buffer())?)
    }

    fn close(&mut self, event: Event) {
        self.events.push_back(event);
        self.end();
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.timers.stop_all();
        self.received = ReceiveWindow::default();
    }
}

/// Events that wait for the owner: with it full, handling stops and can be resumed.
const EVENTS_MAX: usize = 64;
