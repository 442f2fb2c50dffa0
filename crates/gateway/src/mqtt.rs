//! MQTT: drives one `mqtt::server` machine per connection and translates between its packets and
//! the backend's calls.
//!
//! Specification: `device-protocol.md` §3 and its traps. Estimate for telemetry (1 KiB, four in
//! flight per connection): one read and one write per round of four messages, about 6 µs together;
//! parsing, two copies of the body (socket to buffer, buffer to journal) and a checksum about 1 µs
//! per message. So some 300,000 messages a second fit on one core, and the disk's group commit is
//! shared by all connections.

mod connection;
mod deliveries;
mod handshake;
mod io;
mod requests;
mod uplink;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use host::clock::Clock;
use host::signals::Shutdown;
use model::limits;
use mqtt::server;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::Identities;
use crate::backend::DeviceBackend;
use crate::listener;
use crate::peer::Peer;
use crate::session::DOWNLINKS_MAX;

/// The MQTT head of a backend. One for all its listeners.
pub struct Head<B> {
    backend: Arc<B>,
    clock: Clock,
    settings: Settings,
}

/// Bounds of the MQTT head.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the protocol machine.
    pub machine: server::Settings,
    /// What may wait for one connection on its way down; a session with more is closed.
    pub downlink_max: usize,
    /// Twin requests, subscriptions and settlements of one connection that may wait.
    pub requests_max: usize,
    /// Subscriptions of one identity; SDKs use up to six (`device-protocol.md` §3.13).
    pub subscriptions_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let mut machine = server::Settings::default();
        // The largest message and the longest topic; the exact size is checked when it is parsed.
        machine.limits.packet_bytes_max = limits::TELEMETRY_BYTES_MAX + 65_535 + 4;
        Self { machine, downlink_max: DOWNLINKS_MAX, requests_max: 32, subscriptions_max: 32 }
    }
}

impl<B: DeviceBackend + Identities> listener::Head for Head<B> {
    async fn serve<S>(self: &Arc<Self>, io: S, peer: Peer, shutdown: &Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // In a box of its own: the handshake's memory is given back when it is over.
        if let Some(mut connection) = Box::pin(self.admit(io, peer, shutdown)).await {
            connection.run().await;
        }
    }
}

impl<B: DeviceBackend + Identities> Head<B> {
    /// A head for this backend.
    pub fn new(backend: Arc<B>, clock: Clock, settings: Settings) -> Self {
        Self { backend, clock, settings }
    }

    /// From the first byte to an open session; none when the client was turned away.
    async fn admit<S>(
        &self,
        io: S,
        peer: Peer,
        shutdown: &Shutdown,
    ) -> Option<Box<connection::Connection<S, B::Link>>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut wire = io::Wire::new(io, &self.clock, &self.settings.machine);
        let connect = tokio::select! {
            connect = wire.connect_packet() => connect,
            () = shutdown.wait() => None,
        };
        let Some(connect) = connect else {
            tracing::debug!(%peer, "connection ended before CONNECT");
            return None;
        };
        self.let_in(wire, *connect, &peer).await
    }
}
