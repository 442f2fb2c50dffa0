//! AMQP 1.0: drives one `amqp::connection` machine per connection and translates between its links
//! and the backend's calls.
//!
//! Specification: `device-protocol.md` §4 and its traps, `security.md` §2. What a device's or
//! module's links mean stands here; what back ends attach to is given in as [`nodes::Nodes`], so
//! that an edge hub is the same head without them.

pub mod claims;
pub mod nodes;
pub mod port;
