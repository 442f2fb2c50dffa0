//! A client and a server in memory, with simulated time.

use std::sync::Arc;
use std::time::Duration;

use amqp::DeliveryState;
use amqp::connection::{
    Accept, Connection, Credentials, Delivery, DeliveryId, Event, LinkId, NewLink, Outgoing,
    SendError, SessionId, Settings,
};
use amqp::sasl::Outcome;
use bytes::{Bytes, BytesMut};

/// Both ends, and the bytes between them.
pub(crate) struct Pair {
    pub(crate) now: Duration,
    pub(crate) client: End,
    pub(crate) server: End,
    /// How many bytes cross at a time.
    pub(crate) chunk: usize,
}

/// One end with an owner that is helpful: it lets in, accepts links, and collects events.
pub(crate) struct End {
    pub(crate) machine: Connection,
    input: BytesMut,
    events: Vec<Event>,
    /// Answers attaches with this window; leaves them to the test without.
    pub(crate) window: Option<u32>,
    /// Accepts deliveries at once.
    pub(crate) accepts: bool,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        Pair::with(Settings::default(), Settings::default(), Credentials::Anonymous)
    }

    pub(crate) fn with(client: Settings, server: Settings, credentials: Credentials) -> Pair {
        let now = Duration::from_secs(1000);
        Pair {
            now,
            client: End::new(Connection::client(now, Arc::new(client), credentials)),
            server: End::new(Connection::server(now, Arc::new(server))),
            chunk: usize::MAX,
        }
    }

    /// Both have opened.
    pub(crate) fn open() -> Pair {
        let mut pair = Pair::new();
        pair.run();
        pair.take_opens();
        pair
    }

    pub(crate) fn take_opens(&mut self) {
        let client = self.client.take();
        assert!(matches!(client[..], [Event::Open(_)]), "{client:?}");
        let server = self.server.take();
        assert!(matches!(server.last(), Some(Event::Open(_))), "{server:?}");
    }

    /// A session that the client begins; its name at either end.
    pub(crate) fn session(&mut self) -> (SessionId, SessionId) {
        let session = self.client.machine.begin().expect("open");
        self.run();
        assert_eq!(self.client.take(), [Event::SessionBegun(session)]);
        let events = self.server.take();
        let [Event::SessionBegun(other)] = events[..] else { panic!("{events:?}") };
        (session, other)
    }

    /// A link that the client attaches and the server accepts; its name at either end.
    pub(crate) fn link(&mut self, session: SessionId, link: NewLink) -> (LinkId, LinkId) {
        let before = self.server.window;
        self.server.window = before.or(Some(10));
        let role = link.role;
        let link = self.client.machine.attach(session, link).expect("a session");
        self.run();
        self.server.window = before;
        let events = self.client.take();
        assert!(
            matches!(&events[..], [Event::Attached { .. }, ..]) && events.len() <= 2,
            "{events:?}"
        );
        let events = self.server.take();
        let Some(Event::Attach { link: other, attach }) = events.first() else {
            panic!("{events:?}")
        };
        assert_eq!(attach.role, role);
        (link, *other)
    }

    /// A link on which the client sends.
    pub(crate) fn uplink(&mut self) -> (LinkId, LinkId) {
        let (session, _) = self.session();
        self.link(session, NewLink::sender("up", "/devices/d/messages/events"))
    }

    /// A link on which the server sends.
    pub(crate) fn downlink(&mut self, window: u32) -> (LinkId, LinkId) {
        let (session, _) = self.session();
        let link = NewLink::receiver("down", "/devices/d/messages/devicebound", window);
        self.link(session, link)
    }

    /// Lets bytes cross until there are none.
    pub(crate) fn run(&mut self) {
        loop {
            let up = self.client.cross(&mut self.server, self.now, self.chunk);
            let down = self.server.cross(&mut self.client, self.now, self.chunk);
            if !up && !down {
                break;
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let client = self.client.machine.poll_timeout();
            let server = self.server.machine.poll_timeout();
            match [client, server].into_iter().flatten().min() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
            self.client.machine.handle_timeout(self.now);
            self.server.machine.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
    }
}

impl End {
    pub(crate) fn new(machine: Connection) -> End {
        End { machine, input: BytesMut::new(), events: Vec::new(), window: None, accepts: false }
    }

    /// Hands our output over, in pieces. Whether there was any.
    fn cross(&mut self, other: &mut End, now: Duration, chunk: usize) -> bool {
        let output = self.machine.output().to_vec();
        for piece in output.chunks(chunk) {
            self.machine.advance_output(piece.len());
            other.input(now, piece);
        }
        !output.is_empty()
    }

    pub(crate) fn input(&mut self, now: Duration, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            self.machine.handle_input(now, &mut self.input);
            self.collect();
            if !self.machine.wants_resume() {
                break;
            }
        }
    }

    pub(crate) fn collect(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match &event {
                Event::SaslInit { .. } => self.machine.sasl_outcome(Outcome::Ok),
                Event::Attach { link, attach } => {
                    if let Some(window) = self.window {
                        self.machine.accept_attach(*link, Accept::echo(attach, window));
                    }
                }
                Event::Delivery(delivery) if self.accepts => {
                    self.machine.settle(delivery.id, DeliveryState::Accepted);
                }
                _ => {}
            }
            self.events.push(event);
        }
    }

    /// What was told since the last call.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        self.collect();
        std::mem::take(&mut self.events)
    }

    pub(crate) fn deliveries(&mut self) -> Vec<Delivery> {
        let deliveries = self.take().into_iter().filter_map(|event| match event {
            Event::Delivery(delivery) => Some(delivery),
            _ => None,
        });
        deliveries.collect()
    }

    pub(crate) fn send(&mut self, link: LinkId, message: &[u8]) -> Result<DeliveryId, SendError> {
        self.machine.send(link, outgoing(message, false))
    }

    pub(crate) fn input_left(&self) -> usize {
        self.input.len()
    }
}

pub(crate) fn outgoing(message: &[u8], settled: bool) -> Outgoing {
    Outgoing {
        tag: Bytes::from_static(b"tag"),
        message: Bytes::copy_from_slice(message),
        format: 0,
        settled,
    }
}
