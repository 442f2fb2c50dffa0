//! Bytes to packets and back. MQTT 3.1.1 §2 and §3.
//!
//! The decoder copies neither topic nor payload, and refuses all it can from the
//! fixed header alone, before the packet's body is there: nothing is reserved
//! because a length field says so. It knows packets, not their order; who may
//! send what when is the business of [`crate::server`] and [`crate::client`].
//!
//! Cost sketch for the hot path, a PUBLISH of 300 bytes: one reference count for
//! the split, one for the topic, two passes over some 60 bytes of topic; no
//! allocation. A PUBACK is four bytes into the output buffer.

mod decode;
mod encode;
mod error;
mod header;

pub use decode::decode;
pub(crate) use encode::encode_delivery;
pub use encode::{encode, encode_puback, encode_publish};
pub use error::{DecodeError, EncodeError};
pub use header::FixedHeader;

/// What a peer may send at most. Sizes count the whole packet, fixed header included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Any packet but CONNECT.
    pub packet_bytes_max: usize,
    /// CONNECT: comes from strangers.
    pub connect_bytes_max: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: usize,
    /// Levels in one filter.
    pub filter_levels_max: usize,
}

impl Default for Limits {
    /// IoT Hub's sizes: a message of 256 KiB whose properties travel in the topic
    /// (device-protocol.md §3.6), CONNECT of 64 KiB (security.md B2). All filters an
    /// SDK knows fit eight times over; the deepest known filter has seven levels.
    fn default() -> Limits {
        Limits {
            packet_bytes_max: 256 * 1024 + 64 * 1024,
            connect_bytes_max: 64 * 1024,
            filters_max: 64,
            filter_levels_max: 64,
        }
    }
}

/// Longest string or binary field: its length has two bytes. §1.5.3.
pub const STRING_BYTES_MAX: usize = 65_535;

/// Largest remaining length: four bytes of seven bits. §2.2.3.
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Text whose bytes were checked when its owner was made.
#[expect(clippy::expect_used, reason = "only called on bytes that `from_utf8` accepted before")]
pub(crate) fn bounded_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("checked on construction")
}
