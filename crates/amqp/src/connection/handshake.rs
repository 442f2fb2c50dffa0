//! How a connection begins: protocol headers, SASL, open.
//!
//! Server: `SASL header, mechanisms, outcome` or nothing, then `AMQP header, open`, each
//! after what the client says. Client: the same with less waiting: its open follows its
//! AMQP header at once. Before the opens, frames are small and there is a deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::event::{Closed, Event, HandshakeError};
use super::settings::{Credentials, Settings};
use super::shared::{Fault, Peer};
use super::timers::Timer;
use super::{Connection, Stage};
use crate::frame::{Frame, FrameKind, MAX_FRAME_SIZE_MIN, ProtocolHeader};
use crate::performative::{Open, Performative, condition};
use crate::sasl::{Init, Outcome, SaslFrame};
use crate::types::Symbol;

/// What is waited for before a connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Server: the first header, of either layer.
    FirstHeader,
    /// Server: the client's choice.
    SaslInit,
    /// Server: the owner's answer.
    Decision,
    /// Client: the header that answers ours.
    SaslHeader,
    /// Client: the server's mechanisms.
    Mechanisms,
    /// Client: how it went.
    SaslOutcome,
    /// The header of the AMQP layer, with or without SASL before it.
    AmqpHeader,
    /// The peer's open.
    Open,
}

/// Which end this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client(Credentials),
}

impl Connection {
    /// The client speaks first.
    pub(super) fn start_client(&mut self) {
        match &self.side {
            Side::Server => {}
            Side::Client(Credentials::None) => self.start_amqp(),
            Side::Client(_) => {
                self.shared.out.header(ProtocolHeader::Sasl);
                self.stage = Stage::Opening(Opening::SaslHeader);
            }
        }
    }

    /// Answers [`Event::SaslInit`]. Anything but [`Outcome::Ok`] ends the connection.
    pub fn sasl_outcome(&mut self, outcome: Outcome) {
        if self.stage != Stage::Opening(Opening::Decision) {
            return;
        }
        self.shared.out.sasl(&SaslFrame::Outcome { code: outcome, additional_data: None });
        match outcome {
            Outcome::Ok => self.stage = Stage::Opening(Opening::AmqpHeader),
            _ => self.finish(),
        }
    }

    /// Takes one step of the beginning; false if the input is not enough for it.
    pub(super) fn take_opening(
        &mut self,
        now: Duration,
        step: Opening,
        input: &mut BytesMut,
    ) -> Result<bool, Fault> {
        match step {
            Opening::FirstHeader | Opening::SaslHeader | Opening::AmqpHeader => {
                self.take_header(step, input)
            }
            Opening::SaslInit | Opening::Mechanisms | Opening::SaslOutcome => {
                self.take_sasl(step, input)
            }
            Opening::Open => self.take_frame(now, HANDSHAKE_FRAME_BYTES_MAX, input),
            Opening::Decision => Ok(false),
        }
    }

    /// The peer has opened.
    pub(super) fn opened(&mut self, now: Duration, open: Open) -> Result<(), Fault> {
        if open.max_frame_size < MAX_FRAME_SIZE_MIN {
            let text = format!("max-frame-size {}, need {MAX_FRAME_SIZE_MIN}", open.max_frame_size);
            return Err(Fault::connection(condition::INVALID_FIELD, text));
        }
        self.shared.peer = Peer::new(&open, &self.shared.settings);
        let settings = &self.shared.settings;
        match self.side {
            Side::Server => {
                self.timers.set(Timer::Attach, now.saturating_add(settings.attach_deadline));
            }
            Side::Client(_) => self.timers.stop_deadline(),
        }
        self.timers.set(Timer::Idle, now.saturating_add(self.silence_max()));
        if let Some(interval) = self.shared.peer.heartbeat {
            self.timers.set(Timer::Heartbeat, now.saturating_add(interval));
        }
        self.put_open();
        self.stage = Stage::Open;
        self.shared.event(Event::Open(Box::new(open)));
        Ok(())
    }

    /// Our open, unless it is out: a client's goes with its header.
    pub(super) fn put_open(&mut self) {
        if self.side == Side::Server {
            let open = open(&self.shared.settings);
            self.shared.out.frame(0, &Performative::Open(open));
        }
    }

    fn take_header(&mut self, step: Opening, input: &mut BytesMut) -> Result<bool, Fault> {
        let header = match ProtocolHeader::take(input) {
            Ok(None) => return Ok(false),
            Ok(Some(header)) => header,
            Err(error) => {
                self.put_expected_header(step);
                return Err(Fault::Handshake(error.into()));
            }
        };
        match (&self.side, step, header) {
            (Side::Server, Opening::FirstHeader, ProtocolHeader::Sasl) => {
                let mechanisms = self.shared.settings.mechanisms.clone();
                self.shared.out.header(ProtocolHeader::Sasl);
                self.shared.out.sasl(&SaslFrame::Mechanisms(mechanisms));
                self.stage = Stage::Opening(Opening::SaslInit);
            }
            (Side::Server, Opening::FirstHeader | Opening::AmqpHeader, ProtocolHeader::Amqp) => {
                self.shared.out.header(ProtocolHeader::Amqp);
                self.stage = Stage::Opening(Opening::Open);
            }
            (Side::Client(_), Opening::SaslHeader, ProtocolHeader::Sasl) => {
                self.stage = Stage::Opening(Opening::Mechanisms);
            }
            (Side::Client(_), Opening::AmqpHeader, ProtocolHeader::Amqp) => {
                self.stage = Stage::Opening(Opening::Open);
            }
            (_, _, header) => {
                self.put_expected_header(step);
                return Err(Fault::Handshake(HandshakeError::UnexpectedHeader(header)));
            }
        }
        Ok(true)
    }

    /// A server says what it would have liked. Part 2 §2.2
    fn put_expected_header(&mut self, step: Opening) {
        match (&self.side, step) {
            (Side::Server, Opening::FirstHeader) => self.shared.out.header(ProtocolHeader::Sasl),
            (Side::Server, _) => self.shared.out.header(ProtocolHeader::Amqp),
            (Side::Client(_), _) => {}
        }
    }

    fn take_sasl(&mut self, step: Opening, input: &mut BytesMut) -> Result<bool, Fault> {
        let malformed = || Fault::Handshake(HandshakeError::MalformedSasl);
        let frame = Frame::take(input, HANDSHAKE_FRAME_BYTES_MAX).map_err(|_| malformed())?;
        let Some(frame) = frame else { return Ok(false) };
        if frame.kind != FrameKind::Sasl {
            return Err(malformed());
        }
        let frame = frame.sasl(&self.shared.settings.limits).map_err(|_| malformed())?;
        match (step, frame) {
            (Opening::SaslInit, SaslFrame::Init(init)) => self.sasl_init(init)?,
            (Opening::Mechanisms, SaslFrame::Mechanisms(offered)) => self.choose(offered),
            (Opening::SaslOutcome, SaslFrame::Outcome { code: Outcome::Ok, .. }) => {
                self.start_amqp();
            }
            (Opening::SaslOutcome, SaslFrame::Outcome { code, .. }) => {
                self.closed(Closed::SaslRefused(code));
                self.finish();
            }
            _ => return Err(Fault::Handshake(HandshakeError::UnexpectedSasl)),
        }
        Ok(true)
    }

    fn sasl_init(&mut self, init: Init) -> Result<(), Fault> {
        if !self.shared.settings.mechanisms.contains(&init.mechanism) {
            self.shared
                .out
                .sasl(&SaslFrame::Outcome { code: Outcome::Auth, additional_data: None });
            return Err(Fault::Handshake(HandshakeError::UnknownMechanism));
        }
        self.stage = Stage::Opening(Opening::Decision);
        self.shared.event(Event::SaslInit {
            mechanism: init.mechanism,
            response: init.initial_response.unwrap_or_default(),
            hostname: init.hostname,
        });
        Ok(())
    }

    fn choose(&mut self, offered: Vec<Symbol>) {
        let Side::Client(credentials) = &self.side else { return };
        let Some((mechanism, initial_response)) = first_message(credentials) else { return };
        if !offered.contains(&mechanism) {
            self.closed(Closed::MechanismNotOffered(offered));
            self.finish();
            return;
        }
        let hostname = self.shared.settings.hostname.clone();
        self.shared.out.sasl(&SaslFrame::Init(Init { mechanism, initial_response, hostname }));
        self.stage = Stage::Opening(Opening::SaslOutcome);
    }

    /// Client: nothing of ours depends on what the server says next.
    fn start_amqp(&mut self) {
        self.shared.out.header(ProtocolHeader::Amqp);
        let open = open(&self.shared.settings);
        self.shared.out.frame(0, &Performative::Open(open));
        self.stage = Stage::Opening(Opening::AmqpHeader);
    }
}

/// The mechanism of these credentials, and what it says first.
fn first_message(credentials: &Credentials) -> Option<(Symbol, Option<Bytes>)> {
    match credentials {
        Credentials::None => None,
        Credentials::Anonymous => Some((Symbol::from_static("ANONYMOUS"), None)),
        Credentials::Cbs => Some((Symbol::from_static("MSSBCBS"), None)),
        Credentials::External => Some((Symbol::from_static("EXTERNAL"), Some(Bytes::new()))),
        Credentials::Plain(message) => Some((Symbol::from_static("PLAIN"), Some(message.clone()))),
    }
}

fn open(settings: &Settings) -> Open {
    Open {
        container_id: settings.container_id.clone(),
        hostname: settings.hostname.clone(),
        max_frame_size: settings.max_frame_size,
        channel_max: settings.channel_max,
        idle_time_out: Some(settings.idle_time_out),
        properties: settings.properties.clone(),
        ..Open::default()
    }
}

/// Largest frame before the connection is open. The standard says 512 (part 5 §5.3.1,
/// part 2 §2.4.1); a token in SASL PLAIN, or properties in an open, need more.
const HANDSHAKE_FRAME_BYTES_MAX: u32 = 8192;
