//! Twins of devices and modules. They come and go with their identities.

pub mod apply;

use async_trait::async_trait;
use jiff::Timestamp;
use model::twin::{Changed, Object, Twin, TwinChange};
use model::{Etag, IdentityId};

use crate::error::Result;

/// The twins. Writes come in batches, so that a backend can commit many at once; nothing above
/// knows where twins live.
#[async_trait]
pub trait Twins: Send + Sync {
    /// One twin.
    async fn twin(&self, id: &IdentityId) -> Result<Option<TwinRecord>>;

    /// Applies each write, in order; one that fails does not touch the others. All that succeed
    /// are durable when the future resolves. An accepted write of a section also commits a twin
    /// change event ([`apply`] makes it). Gives one result per write.
    async fn write(&self, writes: Vec<TwinWrite>) -> Vec<Result<TwinWritten>>;
}

/// A twin as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinRecord {
    /// The twin.
    pub twin: Twin,
    /// The DTDL model id that the identity announced last.
    pub model_id: Option<String>,
}

/// One change of one twin.
#[derive(Debug, Clone)]
pub struct TwinWrite {
    /// Whose twin.
    pub id: IdentityId,
    /// What to do.
    pub mutation: Mutation,
    /// When it was asked for.
    pub now: Timestamp,
}

/// What a write does to a twin.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// A back end merges into tags and desired.
    Patch(TwinChange, Option<Etag>),
    /// A back end replaces tags and desired.
    Replace(TwinChange, Option<Etag>),
    /// The identity merges into reported; it may expect a `$version`.
    Report(Object, Option<u64>),
    /// The identity announced a DTDL model id on its connection. Moves no version, makes no event.
    ModelId(String),
}

/// A twin after a write.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinWritten {
    /// The whole twin as it is now.
    pub twin: Twin,
    /// The DTDL model id that the identity announced last.
    pub model_id: Option<String>,
    /// What the identity has to be told; none for a report.
    pub changed: Option<Changed>,
}
