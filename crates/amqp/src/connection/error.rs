//! Why a call of the owner is refused.

/// Why [`super::Connection::send`] did not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The link does not exist, is not attached, or is one on which we receive.
    #[error("not a link that we can send on")]
    NotSendable,
    /// The peer takes no message: wait for [`super::Event::Credit`].
    #[error("link has no credit")]
    NoCredit,
    /// The peer's session takes no transfer: wait for [`super::Event::WindowOpened`].
    #[error("session window is full")]
    WindowFull,
    /// Too many deliveries are unsettled: wait for [`super::Event::Settled`].
    #[error("too many unsettled deliveries")]
    UnsettledFull,
    /// The peer does not read: wait until output was written.
    #[error("output is full")]
    OutputFull,
    /// More than the peer takes on this link.
    #[error("message of {size_bytes} bytes, peer takes {size_bytes_max}")]
    MessageTooLarge {
        /// Its size.
        size_bytes: usize,
        /// What the peer said.
        size_bytes_max: u64,
    },
    /// A delivery tag of more than 32 bytes.
    #[error("delivery tag is longer than 32 bytes")]
    TagTooLong,
}

/// Why a session or a link of our own cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The connection is not open, or the session is gone.
    #[error("connection or session is not open")]
    NotOpen,
    /// The peer takes no more channels or handles, or our own limit is reached.
    #[error("no more sessions or links")]
    TooMany,
    /// A link with that name and role is there.
    #[error("link name is in use")]
    NameInUse,
}
