//! Logs of a module: what may be asked and what comes back.

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use jiff::Timestamp;

use crate::RuntimeError;

/// Which part of a module's log is wanted (`edge-runtime.md` §2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with new lines until the module ends or the stream is dropped.
    pub follow: bool,
    /// At most so many of the last lines; absent is all.
    pub tail: Option<u64>,
    /// Lines from then on.
    pub since: Option<Timestamp>,
    /// Lines before then.
    pub until: Option<Timestamp>,
    /// Put each line's time before it (RFC 3339, then a space).
    pub timestamps: bool,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a log. Engines cut by line, but a long line comes in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFrame {
    /// Where it was written.
    pub source: LogSource,
    /// The text with its line end; with [`LogOptions::timestamps`] the time before it.
    pub bytes: Bytes,
}

impl LogFrame {
    /// The frame as the management API sends it: stream id, three zeros, length
    /// in big endian, then the text (T-LOGS).
    #[must_use]
    pub fn to_wire(&self) -> Bytes {
        let stream_id = match self.source {
            LogSource::Stdout => 1,
            LogSource::Stderr => 2,
        };
        let mut wire = BytesMut::with_capacity(FRAME_HEADER_BYTES + self.bytes.len());
        wire.put_u8(stream_id);
        wire.put_bytes(0, 3);
        // Frames are pieces of lines, far below 4 GiB.
        wire.put_u32(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        wire.put_slice(&self.bytes);
        wire.freeze()
    }
}

/// The frames of a log, as they come.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogFrame, RuntimeError>> + Send>>;

const FRAME_HEADER_BYTES: usize = 8;
