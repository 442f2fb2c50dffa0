//! Consumer groups of the event log (`service-api.md` §8.1): the names that an operator gave.
//! `$Default` is everywhere and is not stored; where a group has read to is its readers' business.

use async_trait::async_trait;
use jiff::Timestamp;
use model::ConsumerGroup;

use crate::error::Result;

/// The consumer groups beside `$Default`.
#[async_trait]
pub trait ConsumerGroups: Send + Sync {
    /// All of them, in the order of their names.
    async fn consumer_groups(&self) -> Result<Vec<StoredGroup>>;

    /// Creates a group, if there are fewer than `limit`. One that exists stays as it is.
    async fn create_consumer_group(&self, group: StoredGroup, limit: usize) -> Result<()>;

    /// Deletes a group.
    async fn delete_consumer_group(&self, name: &ConsumerGroup) -> Result<()>;
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// Its name, compared without case.
    pub name: ConsumerGroup,
    /// When it was created.
    pub created: Timestamp,
}
