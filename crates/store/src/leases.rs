//! Which node does a chore that must be done once: moving the outbox, sweeping queues.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;

/// The leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes or renews a lease; gives its fencing epoch, or none while another owner holds it.
    async fn acquire(&self, name: &str, owner: &str, lasts: Duration) -> Result<Option<u64>>;

    /// Gives a lease back before it runs out.
    async fn release(&self, name: &str, owner: &str) -> Result<()>;
}
