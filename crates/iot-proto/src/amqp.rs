//! How devices and modules speak AMQP 1.0: addresses, user names, link properties, messages, the
//! token exchange, methods and twins.
//!
//! Spec: dp §4. Every shape is built and parsed here, for the gateway and for clients. Frames,
//! links and credit are the crate `amqp`'s; what back ends read from the event endpoint is
//! `event_hubs`'.

pub mod address;
pub mod cbs;
pub mod message;
pub mod methods;
pub mod sasl;
pub mod twins;

/// The key of a link property: the API version of the client, for the log.
pub const API_VERSION: &str = "com.microsoft:api-version";
/// The key of a link property: the SDK and its version.
pub const CLIENT_VERSION: &str = "com.microsoft:client-version";
/// The key of a link property that is equal on the two links of a pair.
pub const CHANNEL_CORRELATION_ID: &str = "com.microsoft:channel-correlation-id";
/// The key of a link property: the DTDL model that the identity announces.
pub const MODEL_ID: &str = "com.microsoft:model-id";
/// The key of a link property: the edge devices that the identity is behind.
pub const AUTH_CHAIN: &str = "com.microsoft:auth-chain";

/// What we say a message may have at most when a link is attached: the C SDK sizes its batches by
/// it and takes 0 for a failure. It is the edge hub's figure; a message's own limit is
/// [`model::limits::TELEMETRY_BYTES_MAX`] (dp §4.3).
pub const MESSAGE_BYTES_MAX: u64 = 1_048_576;
