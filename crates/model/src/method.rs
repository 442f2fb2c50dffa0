//! A direct method: a call by name to a connected identity, answered while the caller waits.

use std::time::Duration;

use bytes::Bytes;

/// A call as the caller asked for it, already within its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodRequest {
    /// The method's name; its case is kept.
    pub name: String,
    /// The payload's JSON text; empty when the caller gave none.
    pub payload: Bytes,
    /// How long the identity may take to answer.
    pub response_timeout: Duration,
    /// How long to wait for the identity to be there; zero means not at all.
    pub connect_timeout: Duration,
}

/// What the identity answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodResponse {
    /// A number of the identity's own choice.
    pub status: i32,
    /// The payload's JSON text; empty when it gave none.
    pub payload: Bytes,
}
