//! What one connection of the client's end may cost and wait for.

use std::time::Duration;

use crate::codec::Limits;
use crate::packet::PacketId;

/// Bounds of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What a packet from the server may be.
    pub limits: Limits,
    /// From our CONNECT to the CONNACK.
    pub connack_deadline: Duration,
    /// From our PINGREQ to any packet from the server.
    pub ping_deadline: Duration,
    /// Publishes of QoS 1 that wait for the owner's [`super::ClientConnection::puback`].
    pub receive_window: usize,
    /// Their payloads together; one packet may go over it.
    pub receive_bytes_max: usize,
    /// Publishes of QoS 1, SUBSCRIBEs and UNSUBSCRIBEs that wait for the server.
    pub send_window: usize,
    /// Bytes that wait to be written; one packet may go over it.
    pub output_bytes_max: usize,
    /// Packet id of the first request.
    pub first_packet_id: PacketId,
}

impl Default for Settings {
    /// Deadlines of 30 s as the C and C# SDKs have (device-protocol.md §3.2, §3.3);
    /// the windows are ours.
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            connack_deadline: Duration::from_secs(30),
            ping_deadline: Duration::from_secs(30),
            receive_window: 256,
            receive_bytes_max: 1024 * 1024,
            send_window: 256,
            output_bytes_max: 512 * 1024,
            first_packet_id: PacketId::FIRST,
        }
    }
}
