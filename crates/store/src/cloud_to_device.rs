//! Cloud-to-device messages: a durable queue per device (`device-protocol.md` §9).
//!
//! enqueued → locked → completed, or enqueued again (abandoned, lock lost), or dead (rejected,
//! delivered too often, expired, purged). When a message ends and its sender asked to hear of it,
//! a feedback record is written with the same commit ([`crate::feedback`]).

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::message::Message;
use model::{DeviceId, GenerationId};
use uuid::Uuid;

use crate::error::Result;

/// The queues.
#[async_trait]
pub trait CloudToDevice: Send + Sync {
    /// Adds a message and gives its number in the queue; [`crate::StoreError::Full`] when
    /// `pending_max` wait already, or when it asks for feedback and nobody takes that;
    /// [`crate::StoreError::NotFound`] when there is no such device.
    async fn enqueue(
        &self,
        device: &DeviceId,
        message: Message,
        expires: Timestamp,
        now: Timestamp,
        pending_max: usize,
    ) -> Result<u64>;

    /// Locks the oldest messages that wait, at most `limit`, for `lock`. Expired ones and those
    /// delivered `deliveries_max` times already are dead and are not given out.
    async fn lock(
        &self,
        device: &DeviceId,
        limit: usize,
        lock: Duration,
        deliveries_max: u32,
        now: Timestamp,
    ) -> Result<Vec<Locked>>;

    /// Settles a locked message; [`crate::StoreError::NotFound`] when the lock is lost or unknown.
    async fn settle(
        &self,
        device: &DeviceId,
        lock: Uuid,
        outcome: Settlement,
        now: Timestamp,
    ) -> Result<()>;

    /// Gives up all locks of a device, because its connection is gone.
    async fn unlock_all(&self, device: &DeviceId, now: Timestamp) -> Result<()>;

    /// Messages that wait or are locked.
    async fn pending(&self, device: &DeviceId) -> Result<u64>;

    /// Removes all messages of a device; gives their number.
    async fn purge(&self, device: &DeviceId, now: Timestamp) -> Result<u64>;

    /// Removes dead messages everywhere (expired, or delivered `deliveries_max` times) and frees
    /// locks that ran out; gives the devices that have messages waiting because of it.
    async fn sweep(&self, deliveries_max: u32, now: Timestamp) -> Result<Vec<DeviceId>>;
}

/// A message that a device may settle.
#[derive(Debug, Clone, PartialEq)]
pub struct Locked {
    /// Names the lock when it is settled.
    pub lock: Uuid,
    /// The message's number in its queue.
    pub sequence: u64,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// How often it was delivered before.
    pub delivery_count: u32,
    /// The generation of the device it was sent to.
    pub generation: GenerationId,
    /// The message.
    pub message: Message,
}

/// How a device settles a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Done with it.
    Complete,
    /// Give it again.
    Abandon,
    /// Never give it again.
    Reject,
}
