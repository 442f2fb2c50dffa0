//! States of a delivery, of which four end it. Part 3 §3.4.

use super::Error;
use crate::types::Map;

/// What became of a delivery. Transactional states (part 4) are not understood:
/// they cannot occur, since a link to a coordinator is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// A part has arrived; not an end. §3.4.1
    Received {
        /// Section up to which everything arrived.
        section_number: u32,
        /// Bytes of that section that arrived.
        section_offset: u64,
    },
    /// Taken. §3.4.2
    Accepted,
    /// Refused for good. §3.4.3
    Rejected(Option<Error>),
    /// Not dealt with; may be delivered again, as if never sent. §3.4.4
    Released,
    /// Not dealt with, and not as if never sent. §3.4.5
    Modified {
        /// The attempt counts as failed.
        delivery_failed: bool,
        /// Not to be delivered on this link again.
        undeliverable_here: bool,
        /// Annotations to merge into the message.
        message_annotations: Map,
    },
}

impl DeliveryState {
    /// Whether this state is an outcome, after which only settling is left.
    pub fn is_outcome(&self) -> bool {
        !matches!(self, DeliveryState::Received { .. })
    }
}
