//! The event log: telemetry and the hub's own events, in partitions.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use model::message::Message;
use model::{GenerationId, IdentityId};

use crate::error::Result;

/// The event log. Appending returns at once; the receipt tells when the records are durable.
#[async_trait]
pub trait Events: Send + Sync {
    /// How many partitions there are; fixed when the hub is created.
    fn partitions(&self) -> u32;

    /// When the log was created.
    fn created(&self) -> Timestamp;

    /// Appends records in order. Fails at once when the log's queue is full or the disk refuses.
    fn append(&self, batch: Vec<NewEvent>) -> Result<journal::Receipt, journal::AppendError>;

    /// Reads a partition.
    fn reader(&self, partition: u32, from: From) -> Result<Box<dyn EventReader>>;

    /// What a partition holds now.
    fn partition(&self, partition: u32) -> Result<PartitionInfo>;
}

/// Reads a partition in order.
#[async_trait]
pub trait EventReader: Send {
    /// The next events; waits for at least one.
    async fn next(&mut self, limit: usize) -> Result<Vec<StoredEvent>>;

    /// The next events that are there already; empty at the end.
    async fn try_next(&mut self, limit: usize) -> Result<Vec<StoredEvent>>;
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the oldest event.
    Start,
    /// After the newest event.
    End,
    /// At this sequence number.
    Sequence(u64),
    /// At the first event enqueued at or after this time.
    Time(Timestamp),
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The oldest sequence number.
    pub oldest: u64,
    /// The number that the next event will get.
    pub next: u64,
    /// When the newest event was accepted; none when none is kept.
    pub last_enqueued: Option<Timestamp>,
    /// Records lost to damage on the disk.
    pub lost: u64,
}

/// An event to be appended: already encoded, because the hot path encodes straight from the
/// message as it came.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Which partition.
    pub partition: u32,
    /// When the hub accepted it.
    pub enqueued: Timestamp,
    /// The encoded [`Event`] (see `embedded::event_format`).
    pub body: Bytes,
}

/// An event that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its number in the partition.
    pub sequence: u64,
    /// When the hub accepted it.
    pub enqueued: Timestamp,
    /// What it is.
    pub event: Event,
}

/// A message with what the hub knows of its sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind of event.
    pub source: Source,
    /// Who sent it, or whom it is about.
    pub sender: IdentityId,
    /// The sender's generation.
    pub generation: GenerationId,
    /// How the sender's connection was authenticated.
    pub auth: AuthMethod,
    /// The message.
    pub message: Message,
}

/// `iothub-message-source`. The discriminants are part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// A device's or module's telemetry.
    Telemetry = 1,
    /// A twin changed.
    TwinChange = 2,
    /// An identity was created or deleted.
    Lifecycle = 3,
}

/// How a connection was authenticated: `iothub-connection-auth-method` without its JSON. The
/// discriminants are part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AuthMethod {
    /// The device's own key.
    DeviceSas = 1,
    /// The module's own key.
    ModuleSas = 2,
    /// A shared access policy of the hub.
    PolicySas = 3,
    /// The hub itself speaks.
    Hub = 4,
    /// The device's own certificate.
    DeviceX509 = 5,
    /// The module's own certificate.
    ModuleX509 = 6,
}
