//! What can go wrong, by whose call it was.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A journal that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory.
    #[error(
        "journal directory {} is in use by another process: stop it, or choose another directory",
        path.display()
    )]
    Locked {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The directory was written by a newer version.
    #[error(
        "journal directory {} has format version {found}, this program knows up to {known}: \
         run the newer version, or choose another directory",
        path.display()
    )]
    NewerVersion {
        /// The journal's directory.
        path: PathBuf,
        /// The version in the directory.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// The disk has no room for the first segment.
    #[error("no space for a journal segment of {bytes} bytes in {}: free some space", path.display())]
    NoSpace {
        /// The journal's directory.
        path: PathBuf,
        /// What was asked for.
        bytes: u64,
    },
    /// A setting that cannot work.
    #[error("journal setting {setting} {rule}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The disk answered with an error.
    #[error("cannot open journal at {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The disk's answer.
        source: io::Error,
    },
}

/// Records that were not stored. Whatever the case, they are not visible to
/// readers. Nor are they after a restart, but for those that were being written
/// when the disk failed for the second time ([`AppendError::ReadOnly`]), or failed
/// while it was also full: these may be there then.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The queue bound is reached: the disk is slower than the senders.
    #[error("journal queue is full: wait for space and try again")]
    Full,
    /// No space for another segment; serving goes on by itself when there is.
    #[error("disk full: no space for another journal segment in {}: free some space", path.display())]
    DiskFull {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The journal has reached its own bound (`bytes_max`).
    #[error("journal in {} has reached its bound of {bytes_max} bytes: raise it or let consumers catch up", path.display())]
    BoundReached {
        /// The journal's directory.
        path: PathBuf,
        /// The setting.
        bytes_max: u64,
    },
    /// The write or sync of these records failed. A new segment has begun; try again.
    #[error("cannot write journal")]
    Disk {
        /// The disk's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk failed twice: nothing is accepted until a restart. Records that
    /// waited at that moment may or may not appear after it.
    #[error("journal is read-only after repeated disk errors: check the disk, then restart")]
    ReadOnly,
    /// The journal was closed.
    #[error("journal is closed")]
    Closed,
    /// A body beyond `record_bytes_max`.
    #[error("record of {bytes} bytes is over the bound of {bytes_max}")]
    RecordTooLarge {
        /// The body's size.
        bytes: usize,
        /// The setting.
        bytes_max: usize,
    },
    /// More in one call than the queue can ever hold.
    #[error("batch is over the journal's queue bound: append it in parts")]
    BatchTooLarge,
    /// A stream that this journal does not have.
    #[error("no such stream")]
    UnknownStream,
}

/// A call about a stream that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A stream that this journal does not have.
    #[error("no such stream")]
    UnknownStream,
    /// A stream name that is empty or over 255 bytes.
    #[error("stream name must have 1 to 255 bytes, this one has {bytes}")]
    Name {
        /// The name's length.
        bytes: usize,
    },
    /// The bound on streams is reached.
    #[error("journal has {streams} streams, its bound: raise streams_max or segment_bytes")]
    TooManyStreams {
        /// How many there are.
        streams: usize,
    },
    /// The stream's definition could not be stored.
    #[error("cannot store stream")]
    Append(#[from] AppendError),
}

/// A read that failed as a whole. Damaged records are not an error: the reader
/// passes them and tells (see [`crate::Gap`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk answered with an error; the reader stays where it was.
    #[error("cannot read journal segment {}", path.display())]
    Io {
        /// The segment's file.
        path: PathBuf,
        /// The disk's answer.
        source: io::Error,
    },
    /// The journal was closed.
    #[error("journal is closed")]
    Closed,
}
