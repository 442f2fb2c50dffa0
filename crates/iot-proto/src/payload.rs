//! The bodies of the REST interfaces and of twin and method messages.
//!
//! Wire types convert to the nouns of `model` and back; one file per resource. Input is lenient
//! where clients are sloppy (a whole echo of a GET, empty keys, null objects) and refuses the
//! rest with the field's name; output always has every field, because the CLI reads many without
//! looking (sa trap 16).

pub mod certificate;
pub mod device;
pub mod event;
pub mod feedback;
pub mod message;
pub mod method;
pub mod module;
pub mod scope;
pub mod statistics;
pub mod twin;

mod authentication;

use model::twin::Object;
use model::{Fault, FaultKind};
use serde::Serialize;
use serde::de::Deserialize;

pub use authentication::{AuthenticationJson, AuthenticationWrite, SymmetricKeyJson};

/// The media type of every JSON answer.
pub const JSON: &str = "application/json; charset=utf-8";

/// What is known of an identity's connection: it is no part of the identity but is shown with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Whether it is connected.
    pub connected: bool,
    /// When that changed.
    pub connected_updated: Option<jiff::Timestamp>,
    /// When the identity was last heard of.
    pub last_activity: Option<jiff::Timestamp>,
}

impl Activity {
    /// `Connected` or `Disconnected`.
    pub fn state(&self) -> &'static str {
        if self.connected { "Connected" } else { "Disconnected" }
    }
}

/// Reads a body that must be a JSON object, keys once each: an `applyConfigurationContent`, a
/// twin patch.
pub fn object(body: &[u8]) -> Result<Object, Fault> {
    model::twin::parse_object(body)
        .map_err(|error| Fault::new(FaultKind::IotHubFormatError, error.to_string()))
}

/// Reads a body of this shape.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        Fault::new(FaultKind::IotHubFormatError, format!("the body is not as expected: {error}"))
    })
}

/// Writes a body. Our types have text keys and cannot fail to serialise; if one ever does, the
/// other end gets an empty body and refuses it.
pub fn write<T: Serialize>(body: &T) -> Vec<u8> {
    let written = serde_json::to_vec(body);
    debug_assert!(written.is_ok(), "a payload type cannot be written as JSON");
    written.unwrap_or_default()
}

#[cfg(test)]
mod tests;
