//! Feedback on cloud-to-device messages, as back ends receive it (`service-api.md` §5.3).
//!
//! Records are gathered into messages of up to 64, at the latest 15 s after the first one. Such a
//! message is locked by whoever receives it, and settled like a message of a device's queue.

use std::future::Future;

use jiff::Timestamp;
use model::Fault;
use model::feedback::Record;
use tokio::sync::watch;
use uuid::Uuid;

use super::Settlement;

/// Gives out feedback.
pub trait FeedbackBackend: Send + Sync + 'static {
    /// Locks the oldest feedback messages that wait and are ready, at most `limit`. A lock that is
    /// not settled within the hub's lock time is lost, and the message comes again.
    fn lock_feedback(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Feedback>, Fault>> + Send;

    /// Settles a locked message: completed, or given to the next receiver, or never given again. A
    /// lock that is lost or unknown is [`model::FaultKind::DeviceMessageLockLost`].
    fn settle_feedback(
        &self,
        lock: Uuid,
        outcome: Settlement,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Changes when there may be something to lock that was not there before. A receiver takes one
    /// for its whole life, locks until nothing comes, and then waits for `changed`: a change between
    /// the two is not missed.
    fn feedback_ready(&self) -> watch::Receiver<()>;
}

/// A feedback message that a receiver has locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// Names the lock when it is settled: the delivery tag, and REST's lock token.
    pub lock: Uuid,
    /// The message's id; it stays when the message comes again.
    pub id: Uuid,
    /// When the message was made of its records.
    pub enqueued: Timestamp,
    /// How often it was given out before.
    pub delivery_count: u32,
    /// What is told, oldest first; 1 to 64.
    pub records: Vec<Record>,
}
