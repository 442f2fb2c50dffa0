//! What one link knows; what happens to it is in [`super::session`].

use bytes::{Bytes, BytesMut};

use super::link_settings::CreditPolicy;
use crate::performative::{Attach, ReceiverSettleMode, Role, SenderSettleMode};

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    /// Our number for it on the wire.
    pub(super) handle: u32,
    /// Ours.
    pub(super) role: Role,
    pub(super) state: LinkState,
    pub(super) snd_settle_mode: SenderSettleMode,
    pub(super) rcv_settle_mode: ReceiverSettleMode,
    /// See [`super::Accept::settles_back`].
    pub(super) settles_back: bool,
    /// Largest message: of ours if we send, of the peer if we receive.
    pub(super) message_bytes_max: u64,
    /// Deliveries begun so far, as both ends count them.
    pub(super) delivery_count: u32,
    /// Deliveries that may be begun from there on.
    pub(super) credit: u32,
    /// The receiver wants the credit used up or given back.
    pub(super) is_draining: bool,
    /// Deliveries that we sent and that are not settled.
    pub(super) sent_unsettled: u32,
    pub(super) receiving: Receiving,
}

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The peer attached, the owner has to answer.
    Asked,
    /// We attached, the peer has to answer.
    Asking,
    /// The peer refused; its detach follows.
    Refused,
    /// We attached and detached again, the peer has answered neither.
    Abandoned,
    /// Both have attached.
    Attached,
}

/// What only a link on which we receive needs.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) policy: CreditPolicy,
    /// Credit that was taken back, but which the peer may have used meanwhile.
    pub(super) overdraft: u32,
    /// Deliveries that are not settled.
    pub(super) unsettled: u32,
    pub(super) unfinished: Option<Box<Unfinished>>,
}

/// A delivery whose last transfer has not come.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) number: u32,
    pub(super) tag: Bytes,
    pub(super) format: u32,
    pub(super) settled: bool,
    pub(super) message: BytesMut,
}

impl Link {
    /// A link that the peer attaches, under our `handle`.
    pub(super) fn asked(attach: &Attach, handle: u32) -> Link {
        Link {
            name: attach.name.clone(),
            handle,
            role: attach.role.opposite(),
            state: LinkState::Asked,
            snd_settle_mode: attach.snd_settle_mode,
            rcv_settle_mode: attach.rcv_settle_mode,
            settles_back: true,
            message_bytes_max: size_bound(attach.max_message_size),
            delivery_count: match attach.role {
                Role::Sender => attach.initial_delivery_count.unwrap_or_default(),
                Role::Receiver => FIRST_DELIVERY_COUNT,
            },
            credit: 0,
            is_draining: false,
            sent_unsettled: 0,
            receiving: Receiving {
                policy: CreditPolicy::Manual,
                overdraft: 0,
                unsettled: 0,
                unfinished: None,
            },
        }
    }

    /// Whether we send on this link.
    pub(super) fn sends(&self) -> bool {
        self.role == Role::Sender
    }

    /// Whether the owner still knows it.
    pub(super) fn is_known(&self) -> bool {
        self.state != LinkState::Abandoned
    }
}

/// The delivery count that our attach as a sender says.
pub(super) const FIRST_DELIVERY_COUNT: u32 = 0;

/// A size of which absent and 0 mean that there is no bound. Part 2 §2.7.3
pub(super) fn size_bound(max_message_size: Option<u64>) -> u64 {
    match max_message_size {
        None | Some(0) => u64::MAX,
        Some(size) => size,
    }
}
