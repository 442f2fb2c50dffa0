//! How the nouns look on the wire: topics, property bags, SAS, REST shapes, status table.
//!
//! Every topic, address, route, status and token text of the platform is spelled here and nowhere
//! else, in both directions: what one end builds, the other end parses with the same module. The
//! crate is pure: no sockets, clock or randomness; it makes the string to sign but signs nothing.
//! The facts are in `reference/device-protocol.md` (dp), `reference/service-api.md` (sa) and
//! `reference/edge-runtime.md` (er).

pub mod amqp;
pub mod bag;
pub mod connect;
pub mod connection_string;
pub mod etag;
pub mod event_hubs;
pub mod management;
pub mod payload;
pub mod percent;
pub mod rest;
pub mod sas;
pub mod status;
pub mod time;
pub mod topic;
