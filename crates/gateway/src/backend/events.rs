//! The event log, as back ends read it.

use std::future::Future;

use iot_proto::rest::EventStart;
use jiff::Timestamp;
use model::message::Message;
use model::{Fault, GenerationId, IdentityId};

/// Reads events.
pub trait EventsBackend: Send + Sync + 'static {
    /// What reads a partition.
    type Reader: EventReader;

    /// Every partition with what it holds.
    fn partitions(&self) -> Result<Vec<Partition>, Fault>;

    /// Reads a partition from a place on.
    fn read(&self, partition: u32, from: EventStart) -> Result<Self::Reader, Fault>;
}

/// Reads a partition in order.
pub trait EventReader: Send + 'static {
    /// The next events. With `wait` it waits for at least one; without, nothing means the end.
    fn next(
        &mut self,
        limit: usize,
        wait: bool,
    ) -> impl Future<Output = Result<Vec<Event>, Fault>> + Send;
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub partition: u32,
    /// The oldest sequence number.
    pub oldest: u64,
    /// The number that the next event will get.
    pub next: u64,
    /// Records lost to damage on the disk.
    pub lost: u64,
}

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its partition.
    pub partition: u32,
    /// Its number in the partition.
    pub sequence: u64,
    /// When the hub accepted it.
    pub enqueued: Timestamp,
    /// `iothub-message-source`.
    pub source: &'static str,
    /// Who sent it, or whom it is about.
    pub sender: IdentityId,
    /// The sender's generation.
    pub generation: GenerationId,
    /// `iothub-connection-auth-method`: scope and type.
    pub auth_method: &'static str,
    /// The message.
    pub message: Message,
}
