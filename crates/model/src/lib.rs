//! The nouns of the platform, as plain values without I/O.
//!
//! Identities, twins, messages, methods, limits and what can go wrong. Wire and disk have their
//! own shapes and convert to these (`iot-proto`, `store`); only a twin is a JSON document
//! everywhere. No status codes here: `iot-proto::status` gives a [`error::FaultKind`] its number.

pub mod authority;
pub mod consumer_group;
pub mod error;
pub mod feedback;
pub mod id;
pub mod identity;
pub mod image;
pub mod limits;
pub mod message;
pub mod method;
pub mod twin;

pub use authority::AuthorityName;
pub use consumer_group::ConsumerGroup;
pub use error::{Fault, FaultKind};
pub use id::{DeviceId, Etag, GenerationId, IdentityId, ModuleId};
pub use image::ImageReference;
pub use jiff::Timestamp;
