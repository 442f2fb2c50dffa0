//! The server end of a connection: accept, authenticate, drive the protocol machines, call the
//! backend.
//!
//! This crate owns the contract with a backend in both directions, and both `hub` and `edge-hub`
//! implement it, so that a device cannot tell them apart:
//!
//! - device → backend: [`backend::DeviceBackend`] and [`backend::DeviceLink`]. `submit` returns at
//!   once with a [`backend::Receipt`]; acknowledgements are released in order as receipts become
//!   durable.
//! - backend → device: [`session::DeviceSession`], a bounded handle to one *identity*. When its
//!   queue is full the session is closed; nothing acknowledged is dropped.
//! - [`live`] is a backend's table of who is connected: the newest connection of an identity wins.
//! - [`auth`] is pure: what is registered comes from [`auth::Identities`].
//!
//! It decides nothing about messages and stores nothing.

pub mod amqp;
pub mod auth;
pub mod backend;
pub mod http;
pub mod listener;
pub mod live;
pub mod mqtt;
pub mod peer;
mod proof_end;
pub mod session;
pub mod site;
mod socket;
