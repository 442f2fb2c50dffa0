//! A server whose client is a test that writes its frames itself.

use std::sync::Arc;
use std::time::Duration;

use amqp::connection::{Connection, Settings};
use amqp::frame::{self, Frame, ProtocolHeader};
use amqp::performative::{Attach, Begin, Open, Performative, Role, Source, Target, Transfer};
use amqp::{Error, Limits, Symbol};
use bytes::{Bytes, BytesMut};

use crate::pair::End;

/// A server and what a client makes of its output.
pub(crate) struct Raw {
    pub(crate) now: Duration,
    pub(crate) server: End,
    pub(crate) received: BytesMut,
}

impl Raw {
    pub(crate) fn new(settings: Settings) -> Raw {
        let now = Duration::from_secs(1000);
        Raw {
            now,
            server: End::new(Connection::server(now, Arc::new(settings))),
            received: BytesMut::new(),
        }
    }

    /// A server that has opened, without SASL.
    pub(crate) fn open(settings: Settings) -> Raw {
        let mut raw = Raw::new(settings);
        raw.bytes(&ProtocolHeader::Amqp.bytes());
        raw.frame(0, open());
        raw.take_header();
        assert!(matches!(raw.answers()[..], [(0, Performative::Open(_))]));
        raw.server.take();
        raw
    }

    /// A server with a session on channel 0.
    pub(crate) fn session(settings: Settings) -> Raw {
        let mut raw = Raw::open(settings);
        raw.frame(0, begin(1000));
        assert!(matches!(raw.answers()[..], [(0, Performative::Begin(_))]));
        raw.server.take();
        raw
    }

    /// A server to which the client sends, on handle 0 of channel 0.
    pub(crate) fn uplink(settings: Settings, window: u32) -> Raw {
        let mut raw = Raw::session(settings);
        raw.server.window = Some(window);
        raw.frame(0, attach("up", 0, Role::Sender));
        let answers = raw.answers();
        assert!(
            matches!(answers[..], [(0, Performative::Attach(_)), (0, Performative::Flow(_))]),
            "{answers:?}"
        );
        raw.server.take();
        raw
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.server.input(self.now, bytes);
    }

    pub(crate) fn frame(&mut self, channel: u16, performative: Performative) {
        let mut bytes = BytesMut::new();
        frame::encode(channel, &performative, &mut bytes);
        self.bytes(&bytes);
    }

    pub(crate) fn transfer(&mut self, transfer: &Transfer, payload: &[u8]) {
        let mut bytes = BytesMut::new();
        frame::encode_transfer(0, transfer, payload, u32::MAX, &mut bytes);
        self.bytes(&bytes);
    }

    /// What the server wrote since the last call. Frames that show life are left out.
    pub(crate) fn answers(&mut self) -> Vec<(u16, Performative)> {
        self.server.machine.poll_transmit(&mut self.received);
        let mut answers = Vec::new();
        while let Some(frame) = Frame::take(&mut self.received, u32::MAX).expect("a frame") {
            if !frame.is_empty() {
                let (performative, _) = frame.performative(&Limits::default()).expect("legal");
                answers.push((frame.channel, performative));
            }
        }
        answers
    }

    pub(crate) fn take_header(&mut self) -> ProtocolHeader {
        self.server.machine.poll_transmit(&mut self.received);
        ProtocolHeader::take(&mut self.received).expect("a header").expect("whole")
    }

    /// The server closed the connection for this.
    pub(crate) fn close_condition(&mut self) -> Symbol {
        match self.answers().pop() {
            Some((0, Performative::Close(close))) => condition(close.error),
            other => panic!("{other:?}"),
        }
    }

    /// The server ended the session on channel 0 for this.
    pub(crate) fn end_condition(&mut self) -> Symbol {
        match self.answers().pop() {
            Some((0, Performative::End(end))) => condition(end.error),
            other => panic!("{other:?}"),
        }
    }

    /// The server detached handle 0 for this.
    pub(crate) fn detach_condition(&mut self) -> Symbol {
        match self.answers().pop() {
            Some((0, Performative::Detach(detach))) if detach.handle == 0 && detach.closed => {
                condition(detach.error)
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn condition(error: Option<Error>) -> Symbol {
    error.expect("an error").condition
}

pub(crate) fn open() -> Performative {
    Performative::Open(Open { container_id: "raw".to_owned(), ..Open::default() })
}

pub(crate) fn begin(incoming_window: u32) -> Performative {
    Performative::Begin(Begin { incoming_window, outgoing_window: 1000, ..Begin::default() })
}

pub(crate) fn attach(name: &str, handle: u32, role: Role) -> Performative {
    Performative::Attach(Box::new(Attach {
        source: Some(Box::new(Source::at("from"))),
        target: Some(Box::new(Target::at("to"))),
        initial_delivery_count: (role == Role::Sender).then_some(0),
        ..Attach::new(name, handle, role)
    }))
}

/// A transfer that is a whole delivery.
pub(crate) fn transfer(delivery_id: u32) -> Transfer {
    Transfer {
        handle: 0,
        delivery_id: Some(delivery_id),
        delivery_tag: Some(Bytes::copy_from_slice(&delivery_id.to_be_bytes())),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    }
}
