//! The nine performatives, their termini, delivery states and errors.
//!
//! Fields stand in the standard's order with the standard's defaults, so that
//! `Open { container_id, ..Open::default() }` is a legal open. A field without a
//! default that may be absent is an `Option`; a list of symbols or a map that may be
//! absent is empty.
//!
//! Encoding always writes all fields, with the defaults spelled out: pyamqp indexes
//! the lists without looking at their length. Decoding takes lists cut short, as the
//! standard allows.
//!
//! Specification: OASIS AMQP 1.0 part 2 (transport) §2.7 and §2.8, part 3 (messaging)
//! §3.4 and §3.5; service-api.md §9.7.

mod decode;
mod encode;
mod error;
mod state;
mod terminus;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use crate::types::{Map, Symbol};

pub(crate) use encode::encode_transfer_list;
pub use error::{Error, condition};
pub use state::DeliveryState;
pub use terminus::{Durability, Source, Target};

/// What the body of a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the struct of its name")]
pub enum Performative {
    Open(Open),
    Begin(Begin),
    Attach(Box<Attach>),
    Flow(Flow),
    Transfer(Transfer),
    Disposition(Disposition),
    Detach(Detach),
    End(End),
    Close(Close),
}

/// Opens a connection. §2.7.1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Name of the sender's container.
    pub container_id: String,
    /// The host the client means.
    pub hostname: Option<String>,
    /// Largest frame that the sender of this takes, in bytes.
    pub max_frame_size: u32,
    /// Highest channel that the sender of this takes.
    pub channel_max: u16,
    /// Silence after which the sender of this gives up. Milliseconds on the wire.
    pub idle_time_out: Option<Duration>,
    /// Languages for texts that are sent.
    pub outgoing_locales: Vec<Symbol>,
    /// Languages wished for.
    pub incoming_locales: Vec<Symbol>,
    /// Extensions that the sender of this supports.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions that the sender of this would like to use.
    pub desired_capabilities: Vec<Symbol>,
    /// Anything else.
    pub properties: Map,
}

/// Begins a session. §2.7.2
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Absent when the sender starts the session, the peer's channel in an answer.
    pub remote_channel: Option<u16>,
    /// Transfer id of the first transfer that will be sent.
    pub next_outgoing_id: u32,
    /// How many transfers the sender of this can take.
    pub incoming_window: u32,
    /// How many transfers the sender of this may have under way.
    pub outgoing_window: u32,
    /// Highest handle that the sender of this takes.
    pub handle_max: u32,
    /// Extensions that the sender of this supports.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions that the sender of this would like to use.
    pub desired_capabilities: Vec<Symbol>,
    /// Anything else.
    pub properties: Map,
}

/// Attaches a link to a session. §2.7.3
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Name of the link.
    pub name: String,
    /// The number that stands for the link on this session, in this direction.
    pub handle: u32,
    /// Whether the sender of this is the link's sender or receiver.
    pub role: Role,
    /// How the link's sender settles.
    pub snd_settle_mode: SenderSettleMode,
    /// How the link's receiver settles.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Where messages come from. None refuses the link.
    pub source: Option<Box<Source>>,
    /// Where messages go to. None refuses the link, unless `coordinator` is set.
    pub target: Option<Box<Target>>,
    /// The target is a transaction coordinator (part 4 §4.5.1), which Farshore does
    /// not have: whoever reads this refuses the link with `amqp:not-implemented`.
    pub coordinator: bool,
    /// States of deliveries when a link is resumed. Farshore does not resume links.
    pub unsettled: Map,
    /// `unsettled` was too large to be sent whole.
    pub incomplete_unsettled: bool,
    /// The sender's delivery count; set by senders only.
    pub initial_delivery_count: Option<u32>,
    /// Largest message that the sender of this takes, in bytes; absent and 0 mean no limit.
    pub max_message_size: Option<u64>,
    /// Extensions that the sender of this supports.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions that the sender of this would like to use.
    pub desired_capabilities: Vec<Symbol>,
    /// Anything else.
    pub properties: Map,
}

/// Moves the windows of a session, or the credit of a link. §2.7.4
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The transfer id expected next; absent before the peer's begin was seen.
    pub next_incoming_id: Option<u32>,
    /// How many transfers the sender of this can take.
    pub incoming_window: u32,
    /// Transfer id of the next transfer that will be sent.
    pub next_outgoing_id: u32,
    /// How many transfers the sender of this may have under way.
    pub outgoing_window: u32,
    /// The link meant; absent when only the session is meant.
    pub handle: Option<u32>,
    /// The link's delivery count.
    pub delivery_count: Option<u32>,
    /// How many deliveries the link's sender may send from `delivery_count` on.
    pub link_credit: Option<u32>,
    /// How many deliveries the link's sender would have.
    pub available: Option<u32>,
    /// The sender is to use up the credit, or to give it back.
    pub drain: bool,
    /// The peer is to answer with a flow.
    pub echo: bool,
    /// Anything else.
    pub properties: Map,
}

/// Carries a message, or a part of one; the payload follows in the frame. §2.7.5
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// Number of the delivery in the session; set in the first transfer of a delivery.
    pub delivery_id: Option<u32>,
    /// Name of the delivery on the link, up to 32 bytes; set in the first transfer.
    pub delivery_tag: Option<Bytes>,
    /// Format of the message, 0 or [`crate::batch::MESSAGE_FORMAT`]; set in the first transfer.
    pub message_format: Option<u32>,
    /// The sender has settled and expects no disposition.
    pub settled: Option<bool>,
    /// More transfers of this delivery follow.
    pub more: bool,
    /// How the receiver is to settle this one.
    pub rcv_settle_mode: Option<ReceiverSettleMode>,
    /// The delivery's state at the sender.
    pub state: Option<DeliveryState>,
    /// The delivery is resumed.
    pub resume: bool,
    /// The delivery is given up, and what came of it is void.
    pub aborted: bool,
    /// The receiver need not hurry with its disposition.
    pub batchable: bool,
}

/// Tells the state of deliveries. §2.7.6
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// Whether the sender of this is the deliveries' sender or receiver.
    pub role: Role,
    /// First delivery meant.
    pub first: u32,
    /// Last delivery meant; absent when there is only one.
    pub last: Option<u32>,
    /// The sender of this has settled.
    pub settled: bool,
    /// The state of all these deliveries.
    pub state: Option<DeliveryState>,
    /// The peer need not hurry with its answer.
    pub batchable: bool,
}

/// Detaches a link. §2.7.7
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detach {
    /// The link.
    pub handle: u32,
    /// The link is gone for good, not only suspended.
    pub closed: bool,
    /// Why.
    pub error: Option<Error>,
}

/// Ends a session. §2.7.8
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub error: Option<Error>,
}

/// Closes a connection. §2.7.9
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub error: Option<Error>,
}

/// Which end of a link. §2.8.1
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that sends messages.
    Sender,
    /// The end that receives messages.
    Receiver,
}

/// How a sender settles. §2.8.2
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SenderSettleMode {
    /// All deliveries are sent unsettled.
    Unsettled,
    /// All deliveries are sent settled.
    Settled,
    /// Both happen.
    #[default]
    Mixed,
}

/// How a receiver settles. §2.8.3
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReceiverSettleMode {
    /// The receiver settles at once.
    #[default]
    First,
    /// The receiver settles after the sender has.
    Second,
}

impl Default for Open {
    fn default() -> Open {
        Open {
            container_id: String::new(),
            hostname: None,
            max_frame_size: u32::MAX,
            channel_max: u16::MAX,
            idle_time_out: None,
            outgoing_locales: Vec::new(),
            incoming_locales: Vec::new(),
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: Map::new(),
        }
    }
}

impl Default for Begin {
    fn default() -> Begin {
        Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: 0,
            outgoing_window: 0,
            handle_max: u32::MAX,
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: Map::new(),
        }
    }
}

impl Attach {
    /// An attach with this name, handle and role, and defaults else: no source, no
    /// target.
    pub fn new(name: impl Into<String>, handle: u32, role: Role) -> Attach {
        Attach {
            name: name.into(),
            handle,
            role,
            snd_settle_mode: SenderSettleMode::default(),
            rcv_settle_mode: ReceiverSettleMode::default(),
            source: None,
            target: None,
            coordinator: false,
            unsettled: Map::new(),
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: Map::new(),
        }
    }
}

impl Role {
    /// The other end.
    pub fn opposite(self) -> Role {
        match self {
            Role::Sender => Role::Receiver,
            Role::Receiver => Role::Sender,
        }
    }
}

impl Performative {
    /// The standard's name of this performative.
    pub fn name(&self) -> &'static str {
        match self {
            Performative::Open(_) => "open",
            Performative::Begin(_) => "begin",
            Performative::Attach(_) => "attach",
            Performative::Flow(_) => "flow",
            Performative::Transfer(_) => "transfer",
            Performative::Disposition(_) => "disposition",
            Performative::Detach(_) => "detach",
            Performative::End(_) => "end",
            Performative::Close(_) => "close",
        }
    }
}
