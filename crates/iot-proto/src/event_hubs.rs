//! How back ends speak AMQP 1.0: the Event Hubs compatible endpoint, cloud-to-device messages and
//! their feedback.
//!
//! Spec: sa §5.2, §5.3, §9. Addresses, filters, requests, messages and connection strings are built
//! and parsed here, for the gateway and for clients. Tokens are `sas`'s, the token exchange and the
//! addresses of devices `amqp`'s, frames and links the crate `amqp`'s.

pub mod address;
pub mod cloud_to_device;
pub mod connection_string;
pub mod event;
pub mod feedback;
pub mod filter;
pub mod management;
pub mod redirect;

mod convert;

/// Key of a link property: the epoch of a receiver, an integer (sa §9.5).
pub const EPOCH: &str = "com.microsoft:epoch";
/// Key of a link property: the receiver's own name, a text for messages of errors.
pub const RECEIVER_NAME: &str = "com.microsoft:receiver-name";
/// A capability of a receiver: each delivery tells what the partition holds at its end.
pub const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";

/// What the attach answers say a message may have at most: uamqp asks for it, .NET reads it
/// (sa §9.7).
pub const MESSAGE_BYTES_MAX: u64 = 1_048_576;
