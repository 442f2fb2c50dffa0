//! Feedback on cloud-to-device messages (`service-api.md` §5.3): what became of each, for the back
//! end that sent it and asked.
//!
//! A record is written in the transaction that ends its message ([`crate::cloud_to_device`]), so
//! it is neither lost nor told twice. Records gather into messages, and a message is locked and
//! settled like one of a device's queue. Records of a device that is deleted are dropped.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::feedback::Record;
use uuid::Uuid;

use crate::cloud_to_device::Settlement;
use crate::error::Result;

/// The feedback of a hub.
#[async_trait]
pub trait Feedback: Send + Sync {
    /// Locks the oldest messages that wait, at most `limit`. Records that are due become messages
    /// before; expired messages and those given out too often are dropped.
    async fn lock_feedback(
        &self,
        limit: usize,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Vec<LockedFeedback>>;

    /// Settles a locked message; [`crate::StoreError::NotFound`] when the lock is lost or unknown.
    async fn settle_feedback(&self, lock: Uuid, outcome: Settlement, now: Timestamp) -> Result<()>;

    /// Makes messages of the records that are due and drops expired messages; whether there may be
    /// something to lock.
    async fn sweep_feedback(&self, rules: Rules, now: Timestamp) -> Result<bool>;
}

/// How feedback is gathered and given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Records of one message; so many are due at once.
    pub records_max: usize,
    /// How long a record waits for others before it is due.
    pub gathering: Duration,
    /// How long a message may wait.
    pub ttl: Duration,
    /// How long a lock lasts.
    pub lock: Duration,
    /// How often a message is given out.
    pub deliveries_max: u32,
}

/// A feedback message that a back end may settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFeedback {
    /// Names the lock when it is settled.
    pub lock: Uuid,
    /// The message's id.
    pub id: Uuid,
    /// When the message was made.
    pub enqueued: Timestamp,
    /// How often it was given out before.
    pub delivery_count: u32,
    /// The records, oldest first.
    pub records: Vec<Record>,
}
