//! The durable append log: one commit log with many streams and group commit.
//!
//! What the product exists for: an append is acknowledged once it is on disk,
//! and one `fdatasync` serves everyone who waits at that moment, whatever
//! stream they write to. Records are opaque bytes with a time; who may write
//! and what it means is the business of `store` and above.
//!
//! - `format.rs` is the specification of the files, `recover.rs` of what an
//!   opening does after a crash or damage.
//! - [`Journal::append`] puts records in a bounded queue and returns a
//!   [`Receipt`]; the writer thread (`writer.rs`) turns what waits into one
//!   write and one sync; a keeper thread prepares segments.
//! - A [`Reader`] sees only what is durable, passes over damage and tells so.
//!
//! What becomes of a record: *durable* (its receipt says so; it is there after
//! any crash), *refused* (its receipt has an error; it is not visible, now or
//! after a restart, with the exception that [`AppendError`] tells), or *unknown*
//! (the process died before the receipt
//! said anything: it may be there or not, alone or with the records before it
//! in its stream, never without them).
//!
//! Estimate for 220,000 records of 1 KiB a second: 236 MB/s to write, in groups
//! of about 400 (a sync takes 0.2 to 0.3 ms with 400 KiB), 550 syncs. A record
//! costs the writer one copy (0.1 us), one CRC (0.06 us) and some 50 ns of
//! bookkeeping, so 5 % of a core; the kernel's copy into the page cache and the
//! writeback cost about as much again twice. The sender pays a lock per batch.

mod error;
mod format;
mod keeper;
mod maintain;
mod queue;
mod reader;
mod receipt;
mod recover;
mod segment;
mod settings;
mod stream;
mod wait;
mod walk;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use host::clock::Clock;
use host::disk::DirLock;
use jiff::Timestamp;
use parking_lot::Mutex;

pub use error::{AppendError, JournalError, OpenError, ReadError};
pub use reader::{Entry, From, Gap, GapCause, Reader};
pub use receipt::{Receipt, Wait};
pub use recover::{DamagedRange, RecoveryReport};
pub use settings::{Retention, Settings};

use keeper::Keeper;
use queue::Queue;
use stream::{Stream, StreamState, Streams};

/// A stream of one journal, as long as the journal is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u32);

/// What is appended.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where to.
    pub stream: StreamId,
    /// When it arrived. Kept in microseconds, and never less than that of the
    /// record written before.
    pub enqueued: Timestamp,
    /// The bytes.
    pub body: Bytes,
}

/// A stream's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// The first sequence that is kept.
    pub oldest: u64,
    /// The sequence that the next record gets.
    pub next: u64,
    /// When the oldest record that is kept arrived, about: it is not later than this says.
    pub first_time: Option<Timestamp>,
    /// When the newest record arrived; none when none is kept.
    pub last_time: Option<Timestamp>,
    /// Bytes on disk between the two, frames included; after a trim in the
    /// middle of a segment this takes its records for equally long.
    pub bytes: u64,
    /// Records lost to damage, ever.
    pub lost_records: u64,
}

/// The journal's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalInfo {
    /// Bytes of segment files.
    pub bytes: u64,
    /// Segments with records.
    pub segments: usize,
    /// Groups written and synced since the journal was opened.
    pub groups: u64,
    /// Why appends are refused, if they are.
    pub refusal: Option<String>,
}

/// An open journal; clones are handles to the same one. Closed by
/// [`Journal::close`] or when the last handle goes.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    closer: Arc<Closer>,
}

/// What the handles, the readers and the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: PathBuf,
    settings: Settings,
    clock: Clock,
    queue: Arc<Queue>,
    keeper: Keeper,
    streams: Streams,
    /// Streams whose entry on disk is behind.
    dirty: Mutex<Vec<u32>>,
    /// Serialises the creation of streams.
    creating: Mutex<()>,
    segments: Mutex<Vec<Arc<segment::Segment>>>,
    /// Groups written and synced.
    groups: AtomicU64,
    /// Some stream's retention has an age.
    has_ages: AtomicBool,
    /// Bytes that the entries of all streams take at a segment's start.
    entry_bytes: AtomicU64,
    /// A test wants the directory as a killed process leaves it.
    #[cfg(test)]
    killed: AtomicBool,
}

/// Ends the threads, then lets go of the directory.
#[derive(Debug)]
struct Closer {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
}

impl Journal {
    /// Opens the journal in `dir`, which is created if need be, and brings it
    /// in order after a crash.
    pub fn open(
        dir: &Path,
        settings: Settings,
        clock: Clock,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        settings.check()?;
        let opened = recover::open(dir, settings, clock)?;
        let shared = opened.shared;
        let writer = opened.writer;
        let threads = vec![
            spawn("journal-keeper", {
                let shared = shared.clone();
                move || shared.keeper.run()
            }),
            spawn("journal-writer", move || writer.run()),
        ];
        let threads = threads
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|source| OpenError::Io { path: dir.to_owned(), source });
        let threads = match threads {
            Ok(threads) => threads,
            Err(error) => {
                shared.queue.close();
                shared.keeper.close();
                return Err(error);
            }
        };
        let closer = Arc::new(Closer {
            shared: shared.clone(),
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(opened.lock)),
        });
        Ok((Self { shared, closer }, opened.report))
    }

    /// The stream of this name, created durably if there is none (which blocks
    /// for one sync).
    pub fn stream(&self, name: &str) -> Result<StreamId, JournalError> {
        self.shared.stream(name, None)
    }

    /// [`Journal::stream`] with what it is to keep, which is stored too.
    pub fn stream_with(&self, name: &str, retention: Retention) -> Result<StreamId, JournalError> {
        self.shared.stream(name, Some(retention))
    }

    /// The names of all streams.
    pub fn stream_names(&self) -> Vec<(StreamId, String)> {
        let all = self.shared.streams.all();
        all.iter().map(|stream| (StreamId(stream.id), stream.name.clone())).collect()
    }

    /// Queues records and returns at once. All are accepted or none.
    pub fn append(&self, mut records: Vec<Record>) -> Result<Receipt, AppendError> {
        self.append_from(&mut records)
    }

    /// [`Journal::append`] that empties `records` only when they are accepted.
    pub fn append_from(&self, records: &mut Vec<Record>) -> Result<Receipt, AppendError> {
        if records.is_empty() {
            return Ok(Receipt::durable());
        }
        let streams = self.shared.streams.len();
        let bytes_max = self.shared.settings.record_bytes_max;
        let mut bytes = 0;
        for record in records.iter() {
            if record.stream.0 >= streams {
                return Err(AppendError::UnknownStream);
            }
            if record.body.len() > bytes_max {
                return Err(AppendError::RecordTooLarge { bytes: record.body.len(), bytes_max });
            }
            bytes += record.body.len();
        }
        self.shared.queue.push(records, bytes)
    }

    /// Waits until there is room in the queue after [`AppendError::Full`], or
    /// on the disk after [`AppendError::DiskFull`].
    pub async fn wait_for_space(&self) {
        self.shared.queue.wait_for_space().await;
    }

    /// A reader of `stream`.
    pub fn reader(&self, stream: StreamId, from: From) -> Result<Reader, JournalError> {
        let stream = self.shared.streams.by_id(stream.0).ok_or(JournalError::UnknownStream)?;
        Ok(Reader::new(self.shared.clone(), stream, from))
    }

    /// What a stream holds.
    pub fn stream_info(&self, stream: StreamId) -> Result<StreamInfo, JournalError> {
        let stream = self.shared.streams.by_id(stream.0).ok_or(JournalError::UnknownStream)?;
        let state = stream.state.lock();
        Ok(StreamInfo {
            oldest: state.oldest,
            next: state.next,
            first_time: state.first_time(),
            last_time: state.last_time(),
            bytes: state.bytes,
            lost_records: state.lost(),
        })
    }

    /// Bytes of the records that are kept, of all streams, frames included.
    pub fn kept_bytes(&self) -> u64 {
        self.shared.streams.all().iter().map(|stream| stream.state.lock().bytes).sum()
    }

    /// What the journal holds.
    pub fn info(&self) -> JournalInfo {
        JournalInfo {
            bytes: self.shared.keeper.total_bytes(),
            segments: self.shared.segments.lock().len(),
            groups: self.shared.groups.load(Ordering::Relaxed),
            refusal: self.shared.queue.refusal().map(|error| error.to_string()),
        }
    }

    /// Everything in `stream` before this sequence may go: gone for readers at
    /// once, on disk soon (after a crash it may be there again).
    pub fn trim(&self, stream: StreamId, before_sequence: u64) -> Result<(), JournalError> {
        let stream = self.shared.streams.by_id(stream.0).ok_or(JournalError::UnknownStream)?;
        let mut state = stream.state.lock();
        if !state.would_trim(before_sequence) {
            return Ok(());
        }
        // Marked before a segment can become empty by it, so that the writer,
        // who frees empty segments, stores this first.
        let first = self.shared.mark_dirty(stream.id);
        state.trim(before_sequence);
        drop(state);
        if first {
            self.shared.queue.call_attention();
        }
        Ok(())
    }

    /// Lets the oldest about `bytes` of a stream go, at least one record if it has any; how many
    /// records went. Like [`Journal::trim`] otherwise.
    pub fn trim_bytes(&self, stream: StreamId, bytes: u64) -> Result<u64, JournalError> {
        let known = self.shared.streams.by_id(stream.0).ok_or(JournalError::UnknownStream)?;
        let (before, oldest) = {
            let state = known.state.lock();
            let kept = state.bytes.saturating_sub(bytes);
            let first = state.oldest_by_bytes(kept).max(state.oldest + 1).min(state.next);
            (first, state.oldest)
        };
        self.trim(stream, before)?;
        Ok(before.saturating_sub(oldest))
    }

    /// Does now what is done every maintenance interval: retention, storing
    /// trims, freeing and compacting segments. Blocks until it is done.
    pub fn maintain(&self) -> Result<(), AppendError> {
        self.shared.queue.request_maintenance()?.wait_blocking()
    }

    /// Ends the threads without their last words.
    #[cfg(test)]
    fn leave_as_killed(&self) {
        self.shared.killed.store(true, Ordering::Relaxed);
        self.close();
    }

    /// Writes what is queued, ends the threads and lets go of the directory.
    /// Later calls on any handle say closed.
    pub fn close(&self) {
        self.closer.close();
    }
}

impl Shared {
    fn stream(&self, name: &str, retention: Option<Retention>) -> Result<StreamId, JournalError> {
        if name.is_empty() || name.len() > STREAM_NAME_BYTES_MAX {
            return Err(JournalError::Name { bytes: name.len() });
        }
        let creating = self.creating.lock();
        if let Some(stream) = self.streams.by_name(name) {
            drop(creating);
            if self.set_retention(&stream, retention) {
                self.store_entry(stream.id)?;
            }
            return Ok(StreamId(stream.id));
        }
        let streams = self.streams.len() as usize;
        let entry = (name.len() + ENTRY_BYTES) as u64;
        let room = self.settings.segment_bytes / 4;
        if streams >= self.settings.streams_max
            || self.entry_bytes.load(Ordering::Relaxed) + entry > room
        {
            return Err(JournalError::TooManyStreams { streams });
        }
        self.entry_bytes.fetch_add(entry, Ordering::Relaxed);
        let retention = retention.unwrap_or(self.settings.retention);
        // The stream is in the table before its entry is durable; a later call
        // finds it not stored and tries again.
        self.has_ages.fetch_or(retention.age.is_some(), Ordering::Relaxed);
        let state = StreamState::new(retention);
        let stream = self.streams.add(name, state);
        // Queued in the order of the ids, so that after a crash none is missing
        // between others.
        let queued = self.queue.push_entry(stream.id);
        drop(creating);
        queued?.wait_blocking()?;
        // Written a second time, elsewhere, so that damage to one sector does
        // not cost the name.
        if self.mark_dirty(stream.id) {
            self.queue.call_attention();
        }
        Ok(StreamId(stream.id))
    }

    /// Whether the stream's entry is to be stored now.
    fn set_retention(&self, stream: &Stream, retention: Option<Retention>) -> bool {
        let mut state = stream.state.lock();
        let aged = retention.is_some_and(|retention| retention.age.is_some());
        self.has_ages.fetch_or(aged, Ordering::Relaxed);
        let changed = retention.is_some_and(|retention| state.retention != retention);
        state.retention = retention.unwrap_or(state.retention);
        changed || !state.stored
    }

    fn store_entry(&self, stream: u32) -> Result<(), JournalError> {
        Ok(self.queue.push_entry(stream)?.wait_blocking()?)
    }

    /// The stream's entry is to be written with the next maintenance. Returns
    /// whether it is the first, so that the writer has to be told.
    fn mark_dirty(&self, stream: u32) -> bool {
        let mut dirty = self.dirty.lock();
        dirty.push(stream);
        dirty.len() == 1
    }
}

impl Closer {
    fn close(&self) {
        self.shared.queue.close();
        // The writer ends the keeper when it has ended itself.
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("journal thread panicked");
            }
        }
        for stream in self.shared.streams.all() {
            stream.waiters.wake_all();
        }
        self.lock.lock().take();
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, life: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(life)
}

/// What a stream's entry takes beside its name, at most.
pub(crate) const ENTRY_BYTES: usize = 80;

/// The longest name of a stream.
const STREAM_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests;
