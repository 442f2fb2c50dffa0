//! What one connection of the server's end may cost and wait for.

use std::time::Duration;

use crate::codec::Limits;
use crate::packet::PacketId;

/// Bounds of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What a packet may be.
    pub limits: Limits,
    /// From the start to a complete CONNECT.
    pub connect_deadline: Duration,
    /// Longest silence, whatever the client's keep-alive says; also with keep-alive 0.
    pub keep_alive_max: Duration,
    /// Publishes of QoS 1 that wait for the owner's [`super::ServerConnection::puback`].
    pub receive_window: usize,
    /// Their payloads together; one packet may go over it.
    pub receive_bytes_max: usize,
    /// Deliveries of QoS 1 that wait for the client's PUBACK.
    pub send_window: usize,
    /// SUBSCRIBEs and UNSUBSCRIBEs that wait for the owner's answer.
    pub requests_max: usize,
    /// Bytes that wait to be written; one packet may go over it.
    pub output_bytes_max: usize,
    /// Packet id of the first delivery. A different one per connection keeps a late
    /// PUBACK of the last connection from meaning a new delivery.
    pub first_packet_id: PacketId,
}

impl Default for Settings {
    /// The hub's figures: CONNECT within 10 s (security.md B3), silence of at most
    /// 1767 s (device-protocol.md §3.3). Windows are ours: enough to fill a disk's
    /// group commit from one connection, little enough for many of them.
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            connect_deadline: Duration::from_secs(10),
            keep_alive_max: Duration::from_secs(1767),
            receive_window: 256,
            receive_bytes_max: 1024 * 1024,
            send_window: 64,
            requests_max: 16,
            output_bytes_max: 512 * 1024,
            first_packet_id: PacketId::FIRST,
        }
    }
}
