//! The event log, as back ends read it.
//!
//! Reading takes nothing away. Two ways lead to it: our own route reads a partition and is nobody's
//! business; a receiver of the event endpoint takes a [`EventsBackend::Seat`] first, because a
//! consumer group bounds and orders its receivers (`service-api.md` §9.5).

use std::future::Future;

use iot_proto::rest::EventStart;
use jiff::Timestamp;
use model::message::Message;
use model::{ConsumerGroup, Fault, GenerationId, IdentityId};

/// Reads events.
pub trait EventsBackend: Send + Sync + 'static {
    /// What reads a partition.
    type Reader: EventReader;
    /// A receiver's place at a partition; given back when it is dropped.
    type Seat: EventSeat;

    /// When the log was created.
    fn log_created(&self) -> Timestamp;

    /// Every partition with what it holds.
    fn partitions(&self) -> Result<Vec<Partition>, Fault>;

    /// What a partition holds.
    fn partition(&self, partition: u32) -> Result<Partition, Fault>;

    /// Reads a partition from a place on. A number that is not there yet is refused if others
    /// before it are missing, too: such a checkpoint is of another log.
    fn read(&self, partition: u32, from: EventStart) -> Result<Self::Reader, Fault>;

    /// Takes a place for a receiver; may end the places of others.
    fn take_seat(
        &self,
        claim: SeatClaim,
    ) -> impl Future<Output = Result<Self::Seat, SeatError>> + Send;

    /// The consumer groups, `$Default` first.
    fn consumer_groups(&self) -> impl Future<Output = Result<Vec<ConsumerGroup>, Fault>> + Send;

    /// Creates a consumer group; whether it is new.
    fn create_consumer_group(
        &self,
        group: ConsumerGroup,
    ) -> impl Future<Output = Result<bool, Fault>> + Send;

    /// Deletes a consumer group and ends its receivers.
    fn delete_consumer_group(
        &self,
        group: ConsumerGroup,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Reads a partition in order.
pub trait EventReader: Send + 'static {
    /// The next events. With `wait` it waits for at least one; without, nothing means the end.
    /// Giving the future up loses nothing.
    fn next(
        &mut self,
        limit: usize,
        wait: bool,
    ) -> impl Future<Output = Result<Vec<Event>, Fault>> + Send;
}

/// A receiver's place at a partition.
pub trait EventSeat: Send + 'static {
    /// Resolves when the place is lost.
    fn lost(&mut self) -> impl Future<Output = SeatLoss> + Send;
}

/// Which place a receiver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatClaim {
    /// Its consumer group.
    pub group: ConsumerGroup,
    /// The partition.
    pub partition: u32,
    /// With an epoch it wants to be alone: it drives away those of lower and equal epochs and those
    /// without, and is refused while there is one of a higher epoch.
    pub epoch: Option<i64>,
}

/// Why a receiver gets no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeatError {
    /// There is no such consumer group.
    #[error("there is no consumer group {0}; create it, or use $Default")]
    NoGroup(ConsumerGroup),
    /// There is no such partition.
    #[error("there is no partition {0}")]
    NoPartition(u32),
    /// Somebody with a higher epoch is there, or this one has none.
    #[error("a receiver with the epoch {0} reads this partition; take a higher one")]
    Taken(i64),
    /// There are as many receivers without an epoch as there may be.
    #[error("{0} receivers without an epoch read this partition already; there can be no more")]
    Full(usize),
    /// It cannot be told now.
    #[error("{0}")]
    Fault(Fault),
}

/// Why a receiver lost its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeatLoss {
    /// A receiver with this epoch took it.
    #[error("a receiver with the epoch {0} took this partition over")]
    Stolen(i64),
    /// The consumer group was deleted.
    #[error("the consumer group was deleted")]
    GroupDeleted,
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
    /// When the newest event was accepted; none when none is kept.
    pub last_enqueued: Option<Timestamp>,
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
