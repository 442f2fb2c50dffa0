//! What one connection may cost and wait for, and what it says of itself.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::Limits;
use crate::types::{Map, Symbol};

/// Bounds of one connection, and what our open says. Meant to be shared by all
/// connections of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name in the open.
    pub container_id: String,
    /// Client: the host that our open and our SASL init name.
    pub hostname: Option<String>,
    /// Properties of our open.
    pub properties: Map,
    /// Server: the SASL mechanisms offered, in this order.
    pub mechanisms: Vec<Symbol>,
    /// How deep and how wide values of a peer may be.
    pub limits: Limits,
    /// Largest frame that we take and say we take.
    pub max_frame_size: u32,
    /// Highest channel that we take and say we take.
    pub channel_max: u16,
    /// The silence that our open allows. We close after one and a half times that.
    pub idle_time_out: Duration,
    /// From the start to the peer's open, whatever is done in between.
    pub open_deadline: Duration,
    /// Server: from the peer's open to its first attach.
    pub attach_deadline: Duration,
    /// From our close to the peer's: after it nothing is waited for.
    pub close_deadline: Duration,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// Links at a time, of all sessions together.
    pub links_max: usize,
    /// Transfers that a session takes before it has to say that it takes more.
    pub incoming_window: u32,
    /// Deliveries per session and direction that nobody has settled yet. Receiving
    /// links have to share it: credit of a link is lowered rather than go beyond it.
    pub unsettled_max: usize,
    /// Bytes of received messages that the owner has not settled; one may go over it.
    /// Reading stops then.
    pub unsettled_bytes_max: usize,
    /// Largest message that we take, unless the owner says less of a link.
    pub message_bytes_max: u64,
    /// Parts of messages whose rest has not come, of all links together.
    pub unfinished_bytes_max: usize,
    /// Bytes that wait to be written, or for the peer's window; one message may go
    /// over it.
    pub output_bytes_max: usize,
}

impl Default for Settings {
    /// The hub's figures: open and mechanisms of device-protocol.md §4.1, message
    /// size of its §4.3, open deadline of security.md B3. A connection of Java or C# carries about 1000 devices with up to
    /// 6 links each. The rest is ours: enough to fill a disk's group commit from one
    /// connection, little enough for many of them.
    fn default() -> Settings {
        Settings {
            container_id: "farshore".to_owned(),
            hostname: None,
            properties: Map::new(),
            mechanisms: vec![
                Symbol::from_static("PLAIN"),
                Symbol::from_static("ANONYMOUS"),
                Symbol::from_static("MSSBCBS"),
                Symbol::from_static("EXTERNAL"),
            ],
            limits: Limits::default(),
            max_frame_size: 65536,
            channel_max: 8191,
            idle_time_out: Duration::from_secs(240),
            open_deadline: Duration::from_secs(10),
            attach_deadline: Duration::from_secs(60),
            close_deadline: Duration::from_secs(1),
            sessions_max: 1024,
            links_max: 8192,
            incoming_window: 4096,
            unsettled_max: 2048,
            unsettled_bytes_max: 4 * 1024 * 1024,
            message_bytes_max: 1024 * 1024,
            unfinished_bytes_max: 4 * 1024 * 1024,
            output_bytes_max: 512 * 1024,
        }
    }
}

/// How a client proves who it is before the connection opens.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// No SASL layer at all.
    None,
    /// SASL `ANONYMOUS`; a token follows on `$cbs`.
    Anonymous,
    /// SASL `MSSBCBS`: as anonymous, and says that a token follows.
    Cbs,
    /// SASL `EXTERNAL`: the client's certificate.
    External,
    /// SASL `PLAIN`, with the message of [`crate::sasl::Plain::to_response`].
    Plain(Bytes),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Credentials::None => "None",
            Credentials::Anonymous => "Anonymous",
            Credentials::Cbs => "Cbs",
            Credentials::External => "External",
            Credentials::Plain(_) => "Plain(..)",
        })
    }
}
