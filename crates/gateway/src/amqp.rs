//! AMQP 1.0: drives one `amqp::connection` machine per connection and translates between its links
//! and the backend's calls.
//!
//! Specification: `device-protocol.md` §4 and its traps, `security.md` §2. What a device's or
//! module's links mean stands here; what back ends attach to is given in as [`nodes::Nodes`], so
//! that an edge hub is the same head without them.
//!
//! One connection carries many identities, each with a session of its own (`devices.rs`). Links are
//! told apart in `links.rs`; what they do has a file per resource. Whatever takes time is a future in
//! the connection's own task (`core.rs`).

mod cbs;
pub mod claims;
mod cloud_to_device;
mod connection;
mod core;
mod devices;
mod events;
mod fault;
mod links;
mod methods;
pub mod nodes;
mod pairs;
pub mod port;
mod ports;
mod replies;
mod requests;
mod sasl;
pub mod service;
mod telemetry;
#[cfg(test)]
mod tests;
mod twins;

use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::signals::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::Identities;
use crate::backend::DeviceBackend;
use crate::listener;
use crate::peer::Peer;
use crate::session::DOWNLINKS_MAX;

/// The AMQP head of a backend. One for all its listeners.
pub struct Head<B, N = nodes::DevicesOnly> {
    backend: Arc<B>,
    nodes: Arc<N>,
    clock: Clock,
    settings: Settings,
}

/// Bounds of the AMQP head.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the protocol machine.
    pub machine: Arc<amqp::connection::Settings>,
    /// What may wait for one identity on its way down; a session with more is closed.
    pub downlink_max: usize,
    /// Twin requests, links and settlements of one connection that may wait.
    pub requests_max: usize,
    /// What may be under way with the backend for one connection.
    pub work_max: usize,
    /// Messages of one link that may be on their way to the disk; SDKs want at least 50 (dp §4.3).
    pub telemetry_window: u32,
    /// By when a connection must have proven something (dp §1). The opening itself has a shorter
    /// deadline, the machine's.
    pub stranger_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machine: Arc::default(),
            downlink_max: DOWNLINKS_MAX,
            requests_max: 256,
            work_max: 16 * 1024,
            telemetry_window: 256,
            stranger_deadline: Duration::from_secs(60),
        }
    }
}

impl<B: DeviceBackend + Identities, N: nodes::Nodes> listener::Head for Head<B, N> {
    async fn serve<S>(self: &Arc<Self>, io: S, peer: Peer, shutdown: &Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let around = core::Around {
            backend: Arc::clone(&self.backend),
            nodes: Arc::clone(&self.nodes),
            clock: self.clock.clone(),
            settings: self.settings.clone(),
            peer,
        };
        Box::pin(connection::run(io, around, shutdown)).await;
    }
}

impl<B: DeviceBackend + Identities, N: nodes::Nodes> Head<B, N> {
    /// A head for this backend and these nodes.
    pub fn new(backend: Arc<B>, nodes: Arc<N>, clock: Clock, settings: Settings) -> Self {
        Self { backend, nodes, clock, settings }
    }
}
