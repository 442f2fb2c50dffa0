//! A connection that any bytes are played to, with an owner that answers soon, late or
//! never: by the test here, and for longer by the fuzz target `amqp_connection`.

use std::sync::Arc;
use std::time::Duration;

use amqp::DeliveryState;
use amqp::connection::{
    Accept, Closed, Connection, Credentials, DeliveryId, Event, LinkId, NewLink, Outgoing,
    SessionId, Settings,
};
use amqp::frame::{self, ProtocolHeader};
use amqp::performative::{Begin, Error, Open, Performative, condition};
use amqp::sasl::Outcome;
use bytes::{BufMut, Bytes, BytesMut};

/// Plays bytes to either end. The first byte chooses how they are cut, the second how
/// the owner behaves, the third which end it is and whether the rest is taken as it is
/// or as the bodies of frames, behind an open and a begin. Returns how far they came.
pub(crate) fn connection(bytes: &[u8]) -> Reached {
    let [cut, mood, kind, rest @ ..] = bytes else { return Reached::default() };
    let settings = Arc::new(settings());
    let (machine, from_client) = match kind & 0x0f {
        0 => (Connection::client(Duration::ZERO, settings, Credentials::Anonymous), false),
        1 => (Connection::client(Duration::ZERO, settings, Credentials::None), false),
        _ => (Connection::server(Duration::ZERO, settings), true),
    };
    let wire = match kind & 0x10 {
        0 => BytesMut::from(rest),
        _ => frames(rest, from_client),
    };
    let mut owner = Owner {
        machine,
        mood: *mood,
        now: Duration::ZERO,
        deliveries: Vec::new(),
        links: Vec::new(),
        sessions: Vec::new(),
        is_over: false,
        reached: Reached::default(),
        output_bytes_max: OUTPUT_BYTES_MAX + 4 * wire.len() + OWN_BYTES_MAX,
    };
    let mut input = BytesMut::new();
    for piece in wire.chunks(usize::from(*cut) * 4 + 1) {
        input.put_slice(piece);
        owner.turn(&mut input);
        if owner.machine.is_closed() {
            owner.machine.handle_input(owner.now, &mut input);
            assert!(input.is_empty(), "whatever else comes is thrown away");
            return owner.reached;
        }
    }
    owner.wait_for_the_end(&mut input);
    owner.reached
}

/// What the bytes brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Messages that the owner was given.
    pub(crate) deliveries: usize,
    /// Messages of the owner that were settled.
    pub(crate) settled: usize,
}

/// Bounds that a few bytes can reach.
fn settings() -> Settings {
    Settings {
        max_frame_size: 4096,
        channel_max: 7,
        idle_time_out: Duration::from_secs(10),
        sessions_max: 4,
        links_max: 6,
        incoming_window: 4,
        unsettled_max: 8,
        unsettled_bytes_max: 2000,
        message_bytes_max: 1000,
        unfinished_bytes_max: 1500,
        output_bytes_max: OUTPUT_BYTES_MAX,
        ..Settings::default()
    }
}

/// Makes frames of bodies, each behind a byte for its size and one for its channel.
fn frames(mut bodies: &[u8], from_client: bool) -> BytesMut {
    let mut wire = BytesMut::new();
    wire.put_slice(&ProtocolHeader::Amqp.bytes());
    let open = Open { container_id: "stranger".to_owned(), ..Open::default() };
    frame::encode(0, &Performative::Open(open), &mut wire);
    let begin = Begin {
        remote_channel: if from_client { None } else { Some(0) },
        incoming_window: 3,
        outgoing_window: 3,
        ..Begin::default()
    };
    frame::encode(0, &Performative::Begin(begin), &mut wire);
    while let [size, channel, rest @ ..] = bodies {
        let (body, behind) = rest.split_at(rest.len().min(usize::from(*size)));
        wire.put_u32(body.len() as u32 + 8);
        wire.put_slice(&[2, 0, 0, *channel]);
        wire.put_slice(body);
        bodies = behind;
    }
    wire
}

struct Owner {
    machine: Connection,
    mood: u8,
    now: Duration,
    deliveries: Vec<DeliveryId>,
    links: Vec<LinkId>,
    sessions: Vec<SessionId>,
    is_over: bool,
    reached: Reached,
    output_bytes_max: usize,
}

impl Owner {
    fn turn(&mut self, input: &mut BytesMut) {
        self.machine.handle_input(self.now, input);
        self.events();
        while self.machine.wants_resume() {
            self.machine.handle_input(self.now, input);
            self.events();
        }
        if self.is(0x01) {
            self.settle_all();
        }
        if self.is(0x02) {
            self.send_all();
        }
        if self.is(0x04) {
            self.machine.advance_output(200);
        }
        if self.is(0x08) {
            self.now += Duration::from_secs(3);
            self.machine.handle_timeout(self.now);
            self.events();
        }
        if self.is(0x10) {
            self.meddle();
        }
        assert!(self.machine.output().len() <= self.output_bytes_max);
        assert!(!(self.machine.is_closed() && self.machine.wants_input()));
        assert!(!(self.machine.is_closed() && self.machine.poll_timeout().is_some()));
    }

    fn events(&mut self) {
        let mut count = 0;
        while let Some(event) = self.machine.poll_event() {
            assert!(!self.is_over, "nothing follows the end: {event:?}");
            count += 1;
            assert!(count <= EVENTS_MAX, "more events than may wait");
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::SaslInit { .. } if self.is(0x20) => self.machine.sasl_outcome(Outcome::Auth),
            Event::SaslInit { .. } => self.machine.sasl_outcome(Outcome::Ok),
            Event::Open(_) if self.is(0x10) => {
                if let Ok(session) = self.machine.begin() {
                    self.sessions.push(session);
                    let sender = self.machine.attach(session, NewLink::sender("s", "a"));
                    let receiver = self.machine.attach(session, NewLink::receiver("r", "a", 3));
                    self.links.extend(sender.into_iter().chain(receiver));
                }
            }
            Event::Attach { link, .. } if self.is(0x40) => {
                self.machine.refuse_attach(link, Error::new(condition::NOT_FOUND, "no"));
            }
            Event::Attach { link, attach } => {
                self.machine.accept_attach(link, Accept::echo(&attach, 3));
                self.links.push(link);
            }
            Event::Delivery(delivery) => {
                assert!(delivery.message.len() <= 1000, "larger than allowed");
                assert!(delivery.tag.len() <= 32);
                self.deliveries.push(delivery.id);
                self.reached.deliveries += 1;
            }
            Event::Credit { link, drain: true, .. } => self.machine.drained(link),
            Event::Settled { settled: true, .. } => self.reached.settled += 1,
            Event::Settled { delivery, .. } => self.deliveries.push(delivery),
            Event::Closed(closed) => {
                self.is_over = true;
                if matches!(closed, Closed::Handshake(_)) {
                    assert!(self.machine.is_closed());
                }
            }
            _ => {}
        }
    }

    fn settle_all(&mut self) {
        for delivery in std::mem::take(&mut self.deliveries) {
            self.machine.settle(delivery, DeliveryState::Accepted);
        }
    }

    fn send_all(&mut self) {
        for link in self.links.clone() {
            let credit = self.machine.credit(link);
            let can_send = self.machine.can_send(link).is_ok();
            let sent = self.machine.send(
                link,
                Outgoing {
                    tag: Bytes::from_static(b"tag"),
                    message: Bytes::from_static(&[7; 900]),
                    format: 0,
                    settled: self.is(0x80),
                },
            );
            assert!(can_send || sent.is_err());
            assert!(credit > 0 || sent.is_err(), "beyond the credit");
            if sent.is_ok() {
                self.output_bytes_max += 1000;
            }
        }
    }

    /// Takes back what it agreed to.
    fn meddle(&mut self) {
        if self.links.len() > 3 {
            let link = self.links.remove(0);
            self.machine.grant(link, 9);
            self.machine.detach(link, None);
        }
        if self.sessions.len() > 1 {
            self.machine.end(self.sessions.remove(0), None);
        }
    }

    /// A peer that says nothing more is gone after a while.
    fn wait_for_the_end(&mut self, input: &mut BytesMut) {
        for _ in 0..TIMERS_MAX {
            let count = self.machine.output().len();
            self.machine.advance_output(count);
            self.settle_all();
            self.turn(input);
            let Some(due) = self.machine.poll_timeout() else { break };
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
            self.events();
        }
        assert!(self.machine.is_closed(), "it waits for ever");
    }

    fn is(&self, bit: u8) -> bool {
        self.mood & bit != 0
    }
}

const OUTPUT_BYTES_MAX: usize = 4000;

/// What the machine writes by itself: opens, closes, errors, heartbeats.
const OWN_BYTES_MAX: usize = 8 * 1024;

/// The machine's own bound, and deliveries that one disposition can end.
const EVENTS_MAX: usize = 64 + 8 + 8;

/// Heartbeats until a silent peer is given up.
const TIMERS_MAX: usize = 1000;
