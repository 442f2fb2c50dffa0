//! MQTT sessions: the subscriptions of clients that connect with CleanSession 0.
//!
//! They outlive connections and restarts, because SDKs do not subscribe again
//! (`device-protocol.md` §3.4).

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::IdentityId;

use crate::error::Result;

/// Subscriptions as topic filter and granted QoS (0 or 1).
pub type Subscriptions = BTreeMap<String, u8>;

/// The sessions.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The stored session; none when there is none.
    async fn load(&self, id: &IdentityId) -> Result<Option<Subscriptions>>;

    /// Stores the session as it is now.
    async fn save(&self, id: &IdentityId, subscriptions: Subscriptions) -> Result<()>;

    /// Forgets the session.
    async fn clear(&self, id: &IdentityId) -> Result<()>;
}
