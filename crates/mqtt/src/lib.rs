//! MQTT 3.1.1: packets, codec, and the session machines of both ends.
//!
//! Sans-I/O: bytes and time go in, events and bytes come out. There is no
//! socket, clock, task or lock here, and no knowledge of IoT Hub topics
//! (`iot-proto`) or of identities (`gateway`). Every limit is handed in by the
//! owner and has a default with its source.
//!
//! - [`packet`]: typed packets; [`topic`], [`filter`]: the two kinds of text in them.
//! - [`codec`]: bytes to packets without copying, packets to bytes.
//! - [`server`], [`client`]: one machine per connection and end.
//!
//! Time is a [`std::time::Duration`] since an epoch of the caller's choice; it
//! must not go backwards.
//!
//! Specification: OASIS MQTT Version 3.1.1, cited as `[MQTT-x.y.z-n]`.

// Everything in this crate reads what a peer sent; a panic there is an outage.
#![warn(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

pub mod client;
pub mod codec;
pub mod filter;
pub mod packet;
pub mod server;
pub mod topic;

mod output;
mod timers;
mod windows;

pub use codec::{DecodeError, EncodeError, Limits};
pub use filter::Filter;
pub use packet::{Packet, PacketId, QoS};
pub use topic::Topic;
pub use windows::{AckError, SendError};
