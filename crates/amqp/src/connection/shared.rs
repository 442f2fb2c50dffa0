//! What the parts of one connection share: output, events, the peer's limits and the
//! counts behind our own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, HandshakeError};
use super::outbox::Outbox;
use super::settings::Settings;
use crate::frame::MAX_FRAME_SIZE_MIN;
use crate::performative::{Error, Open};
use crate::types::Symbol;

/// Handed to sessions with every call.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) peer: Peer,
    pub(super) out: Outbox,
    pub(super) events: VecDeque<Event>,
    pub(super) usage: Usage,
}

/// What the peer's open said.
#[derive(Debug)]
pub(super) struct Peer {
    /// Largest frame that it takes, and that we want to make.
    pub(super) max_frame_size: u32,
    pub(super) channel_max: u16,
    /// How often it wants to hear from us.
    pub(super) heartbeat: Option<Duration>,
}

/// What all sessions use together.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Links that are there.
    pub(super) links: usize,
    /// Handles of the peer that are taken, also by links that only it has to detach.
    pub(super) handles: usize,
    /// Received and not settled by the owner.
    pub(super) unsettled_bytes: usize,
    /// Received in part.
    pub(super) unfinished_bytes: usize,
    /// Deliveries sent and not settled.
    pub(super) sent_unsettled: usize,
    /// Taken from the owner, waiting for the peer's window.
    pub(super) waiting_bytes: usize,
}

/// What the peer did wrong, and what is lost by it.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection, before it was open.
    Handshake(HandshakeError),
    /// The connection; nothing that comes can be understood any more.
    Framing(Error),
    /// The connection.
    Connection(Error),
    /// The session.
    Session(Error),
    /// The link of this number.
    Link(u32, Error),
}

impl Shared {
    pub(super) fn new(settings: Arc<Settings>) -> Shared {
        Shared {
            peer: Peer { max_frame_size: MAX_FRAME_SIZE_MIN, channel_max: 0, heartbeat: None },
            out: Outbox::default(),
            events: VecDeque::new(),
            usage: Usage::default(),
            settings,
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Whether as much waits to be written as may.
    pub(super) fn is_output_full(&self) -> bool {
        self.out.len() >= self.settings.output_bytes_max
    }

    /// The same, with what waits for the peer's windows. That must not stop reading:
    /// only what we read can open a window.
    pub(super) fn is_sending_full(&self) -> bool {
        self.out.len() + self.usage.waiting_bytes >= self.settings.output_bytes_max
    }
}

impl Peer {
    /// Of the peer's open; frames larger than our own maximum serve nobody.
    pub(super) fn new(open: &Open, settings: &Settings) -> Peer {
        Peer {
            max_frame_size: open
                .max_frame_size
                .clamp(MAX_FRAME_SIZE_MIN, settings.max_frame_size.max(MAX_FRAME_SIZE_MIN)),
            channel_max: open.channel_max,
            heartbeat: open
                .idle_time_out
                .filter(|time_out| !time_out.is_zero())
                .map(|time_out| (time_out / 2).max(HEARTBEAT_MIN)),
        }
    }
}

impl Fault {
    pub(super) fn connection(condition: Symbol, text: impl Into<String>) -> Fault {
        Fault::Connection(Error::new(condition, text))
    }

    pub(super) fn framing(condition: Symbol, text: impl Into<String>) -> Fault {
        Fault::Framing(Error::new(condition, text))
    }

    pub(super) fn session(condition: Symbol, text: impl Into<String>) -> Fault {
        Fault::Session(Error::new(condition, text))
    }

    pub(super) fn link(link: u32, condition: Symbol, text: impl Into<String>) -> Fault {
        Fault::Link(link, Error::new(condition, text))
    }
}

/// However short the peer's patience: more would be a way to make us busy.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
