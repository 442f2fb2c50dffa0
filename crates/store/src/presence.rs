//! Who is connected, and on which node.

use async_trait::async_trait;
use jiff::Timestamp;
use model::IdentityId;

use crate::error::Result;

/// The presence table. An embedded hub is one node; the fencing epoch is the same idea on many.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Makes this node the owner of the identity's connection; gives the epoch that fences the
    /// earlier owner.
    async fn claim(&self, id: &IdentityId, now: Timestamp) -> Result<u64>;

    /// The connection of this epoch is gone. An older epoch changes nothing.
    async fn release(&self, id: &IdentityId, epoch: u64, now: Timestamp) -> Result<()>;

    /// What is known of an identity.
    async fn presence(&self, id: &IdentityId) -> Result<PresenceInfo>;

    /// Devices that are connected now (modules not counted).
    async fn connected_devices(&self) -> Result<u64>;
}

/// What is known of an identity's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresenceInfo {
    /// Whether it is connected.
    pub connected: bool,
    /// When that changed.
    pub updated: Option<Timestamp>,
    /// When the identity was last heard of.
    pub last_activity: Option<Timestamp>,
}
