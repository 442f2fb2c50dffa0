//! What an owner says of a link: in its answer to an attach, and in an attach of its own.

use bytes::Bytes;

use crate::performative::{Attach, ReceiverSettleMode, Role, SenderSettleMode, Source, Target};
use crate::types::{Map, Symbol};

/// How a link on which we receive gives credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreditPolicy {
    /// The credit is topped up so that it and the deliveries which the owner has not
    /// settled are this many together. The first credit goes out with the attach.
    Window(u32),
    /// [`super::Connection::grant`] says how much; none before.
    Manual,
}

/// An answer to an attach. The name, the role and the settle modes are the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Where messages come from.
    pub source: Option<Box<Source>>,
    /// Where messages go to.
    pub target: Option<Box<Target>>,
    /// Extensions that we support.
    pub offered_capabilities: Vec<Symbol>,
    /// Anything else.
    pub properties: Map,
    /// How we give credit, if the peer sends.
    pub credit: CreditPolicy,
    /// Largest message we take, or say we would send; absent is
    /// [`super::Settings::message_bytes_max`].
    pub max_message_size: Option<u64>,
    /// If we send: when the peer tells an outcome and waits for us to settle
    /// (`rcv-settle-mode` second), settle at once. Without, the owner does.
    pub settles_back: bool,
    /// If we receive: settle with the outcome also when the peer would settle after us
    /// (`rcv-settle-mode` second), and say so in the answer. uamqp asks for the second mode and then
    /// waits for ever for an outcome that is settled.
    pub settles_first: bool,
}

impl Accept {
    /// Says back what the peer said, and keeps `window` messages under way.
    #[must_use]
    pub fn echo(attach: &Attach, window: u32) -> Accept {
        Accept {
            source: attach.source.clone(),
            target: attach.target.clone(),
            offered_capabilities: Vec::new(),
            properties: Map::new(),
            credit: CreditPolicy::Window(window),
            max_message_size: None,
            settles_back: true,
            settles_first: false,
        }
    }
}

/// An attach of our own. `role` is ours: [`Role::Sender`] is a link on which we send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLink {
    /// Its name, unique in its session.
    pub name: String,
    /// Ours.
    pub role: Role,
    /// Where messages come from.
    pub source: Source,
    /// Where messages go to.
    pub target: Target,
    /// How the sender settles.
    pub snd_settle_mode: SenderSettleMode,
    /// How the receiver settles.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Extensions that we would like to use.
    pub desired_capabilities: Vec<Symbol>,
    /// Anything else.
    pub properties: Map,
    /// How we give credit, if we receive.
    pub credit: CreditPolicy,
    /// Largest message we take; absent is [`super::Settings::message_bytes_max`].
    pub max_message_size: Option<u64>,
    /// As in [`Accept::settles_back`].
    pub settles_back: bool,
}

impl NewLink {
    /// A link on which we send to `address`.
    #[must_use]
    pub fn sender(name: impl Into<String>, address: impl Into<String>) -> NewLink {
        let target = Target::at(address);
        NewLink { target, ..NewLink::new(name.into(), Role::Sender) }
    }

    /// A link on which we receive from `address`, with up to `window` messages under way.
    #[must_use]
    pub fn receiver(name: impl Into<String>, address: impl Into<String>, window: u32) -> NewLink {
        let source = Source::at(address);
        let credit = CreditPolicy::Window(window);
        NewLink { source, credit, ..NewLink::new(name.into(), Role::Receiver) }
    }

    fn new(name: String, role: Role) -> NewLink {
        NewLink {
            name,
            role,
            source: Source::default(),
            target: Target::default(),
            snd_settle_mode: SenderSettleMode::default(),
            rcv_settle_mode: ReceiverSettleMode::default(),
            desired_capabilities: Vec::new(),
            properties: Map::new(),
            credit: CreditPolicy::Manual,
            max_message_size: None,
            settles_back: true,
        }
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Our name for it, of up to 32 bytes, different from those unsettled on the link.
    pub tag: Bytes,
    /// The encoded message.
    pub message: Bytes,
    /// 0, or that of a batch.
    pub format: u32,
    /// Expect no answer. A link whose sender settle mode is not mixed decides otherwise.
    pub settled: bool,
}
