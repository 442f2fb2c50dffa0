//! AMQP 1.0 without input and output: bytes and time go in, events and bytes come out.
//!
//! - [`types`]: values; [`performative`], [`sasl`], [`message`]: what is made of them.
//! - [`frame`]: frames and protocol headers; [`batch`]: many messages as one.
//! - [`codec`]: how values are written as bytes, and the limits of reading them.
//! - [`connection`]: the machine of one connection, for a server and for a client.

// Everything in this crate reads what a peer sent; a panic there is an outage.
#![warn(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

pub mod batch;
pub mod codec;
pub mod connection;
pub mod frame;
pub mod message;
pub mod performative;
pub mod sasl;
pub mod types;

pub use codec::{DecodeError, Limits};
pub use connection::{Connection, Event};
pub use message::{Body, Message, MessageId};
pub use performative::{DeliveryState, Error, Performative, Role};
pub use types::{Map, Symbol, Value};
