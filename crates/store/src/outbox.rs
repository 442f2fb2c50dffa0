//! Events that a write causes, committed with it and moved to the event log afterwards.

use async_trait::async_trait;
use jiff::Timestamp;
use model::{GenerationId, IdentityId};
use serde_json::Value;

use crate::error::Result;

/// The outbox of a hub.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The oldest events, in the order of their commits, at most `limit`.
    async fn peek(&self, limit: usize) -> Result<Vec<(u64, HubEvent)>>;

    /// Removes events up to and with this number, after they are durable in the event log.
    async fn remove_through(&self, number: u64) -> Result<()>;

    /// Resolves when there may be something to move.
    async fn wait(&self);
}

/// An event of the hub itself (`device-protocol.md` §10).
#[derive(Debug, Clone, PartialEq)]
pub struct HubEvent {
    /// What happened.
    pub kind: HubEventKind,
    /// Whom it is about.
    pub subject: IdentityId,
    /// The subject's generation.
    pub generation: GenerationId,
    /// When.
    pub time: Timestamp,
    /// The body.
    pub body: Value,
}

/// What happened, with the service's `opType` as name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubEventKind {
    /// `createDeviceIdentity` or `createModuleIdentity`.
    IdentityCreated,
    /// `deleteDeviceIdentity` or `deleteModuleIdentity`.
    IdentityDeleted,
    /// `updateTwin`.
    TwinUpdated,
    /// `replaceTwin`.
    TwinReplaced,
}
