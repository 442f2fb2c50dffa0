//! Errors as they are told to the peer. Part 2 §2.8.14.

use std::fmt;

use crate::types::{Map, Symbol};

/// Why a link, session, connection or delivery was refused or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What programs look at; see [`condition`] and the service's own ones.
    pub condition: Symbol,
    /// What people read.
    pub description: Option<String>,
    /// Anything else, such as where a link is redirected to.
    pub info: Map,
}

impl Error {
    /// An error with a text.
    pub fn new(condition: Symbol, description: impl Into<String>) -> Error {
        Error { condition, description: Some(description.into()), info: Map::new() }
    }
}

impl fmt::Display for Error {
    /// The text, after what programs look at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.condition.as_str())?;
        match &self.description {
            Some(description) => write!(f, ": {description}"),
            None => Ok(()),
        }
    }
}

/// The standard's error conditions. Part 2 §2.8.15 to §2.8.18.
#[expect(missing_docs, reason = "the standard's words")]
pub mod condition {
    use crate::types::Symbol;

    pub const INTERNAL_ERROR: Symbol = Symbol::from_static("amqp:internal-error");
    pub const NOT_FOUND: Symbol = Symbol::from_static("amqp:not-found");
    pub const UNAUTHORIZED_ACCESS: Symbol = Symbol::from_static("amqp:unauthorized-access");
    pub const DECODE_ERROR: Symbol = Symbol::from_static("amqp:decode-error");
    pub const RESOURCE_LIMIT_EXCEEDED: Symbol = Symbol::from_static("amqp:resource-limit-exceeded");
    pub const NOT_ALLOWED: Symbol = Symbol::from_static("amqp:not-allowed");
    pub const INVALID_FIELD: Symbol = Symbol::from_static("amqp:invalid-field");
    pub const NOT_IMPLEMENTED: Symbol = Symbol::from_static("amqp:not-implemented");
    pub const RESOURCE_LOCKED: Symbol = Symbol::from_static("amqp:resource-locked");
    pub const PRECONDITION_FAILED: Symbol = Symbol::from_static("amqp:precondition-failed");
    pub const RESOURCE_DELETED: Symbol = Symbol::from_static("amqp:resource-deleted");
    pub const ILLEGAL_STATE: Symbol = Symbol::from_static("amqp:illegal-state");
    pub const FRAME_SIZE_TOO_SMALL: Symbol = Symbol::from_static("amqp:frame-size-too-small");

    pub const CONNECTION_FORCED: Symbol = Symbol::from_static("amqp:connection:forced");
    pub const FRAMING_ERROR: Symbol = Symbol::from_static("amqp:connection:framing-error");
    pub const CONNECTION_REDIRECT: Symbol = Symbol::from_static("amqp:connection:redirect");

    pub const WINDOW_VIOLATION: Symbol = Symbol::from_static("amqp:session:window-violation");
    pub const ERRANT_LINK: Symbol = Symbol::from_static("amqp:session:errant-link");
    pub const HANDLE_IN_USE: Symbol = Symbol::from_static("amqp:session:handle-in-use");
    pub const UNATTACHED_HANDLE: Symbol = Symbol::from_static("amqp:session:unattached-handle");

    pub const DETACH_FORCED: Symbol = Symbol::from_static("amqp:link:detach-forced");
    pub const TRANSFER_LIMIT_EXCEEDED: Symbol =
        Symbol::from_static("amqp:link:transfer-limit-exceeded");
    pub const MESSAGE_SIZE_EXCEEDED: Symbol =
        Symbol::from_static("amqp:link:message-size-exceeded");
    pub const LINK_REDIRECT: Symbol = Symbol::from_static("amqp:link:redirect");
    pub const STOLEN: Symbol = Symbol::from_static("amqp:link:stolen");
}
