//! Reading one stream in order: what is durable, from a sequence or a time, and
//! what comes after it.
//!
//! A reader verifies every record that it hands out. Damage does not stop it:
//! the sequences that it passes over are told as a [`Gap`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use jiff::Timestamp;

use crate::format::{FLAG_RELOCATED, FRAME_BYTES, Frame, KIND_RECORD};
use crate::segment::Segment;
use crate::stream::{Chunk, Location, Stream};
use crate::walk::{Step, WalkError, Walker};
use crate::{ReadError, Shared};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At this sequence, or the oldest kept after it.
    Sequence(u64),
    /// At the first record that was enqueued at this time or later.
    Time(Timestamp),
    /// At the oldest record that is kept.
    Oldest,
    /// After the newest durable record: only what comes from now on.
    Newest,
}

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the stream.
    pub sequence: u64,
    /// When it arrived.
    pub enqueued: Timestamp,
    /// The bytes.
    pub body: Bytes,
}

/// Sequences that a reader passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first one.
    pub from: u64,
    /// The first one after the gap.
    pub to: u64,
    /// Why.
    pub cause: GapCause,
}

/// Why a reader passed over sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// Trimmed, or beyond the stream's retention.
    Trimmed,
    /// Damaged on disk.
    Lost,
}

/// Reads one stream; made by [`crate::Journal::reader`]. Does not keep the
/// journal open.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    next: u64,
    /// Records before are passed over (a start by time, inside a block).
    not_before: Option<i64>,
    gaps: Vec<Gap>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, stream: Arc<Stream>, from: From) -> Self {
        let mut reader = Self { shared, stream, next: 0, not_before: None, gaps: Vec::new() };
        let (oldest, next) = {
            let state = reader.stream.state.lock();
            (state.oldest, state.next)
        };
        reader.next = match from {
            From::Sequence(sequence) => sequence,
            From::Oldest => oldest,
            From::Newest => next,
            From::Time(time) => {
                let time = time.as_microsecond();
                reader.not_before = Some(time);
                // Copied, so that the disk is not read under the lock.
                let chunk = reader.stream.state.lock().chunk_by_time(time).cloned();
                chunk.map_or(next, |chunk| start_by_time(&chunk, time))
            }
        };
        reader
    }

    /// The sequence that is read next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next records: at least one, at most `max_records`, and no more than
    /// `max_bytes` of bodies unless the first is longer. Waits until there is
    /// one. Dropping the future loses nothing.
    pub async fn next_batch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        loop {
            let entries = match self.read(max_records, max_bytes, true) {
                Err(ReadFailure::Cold) => self.read_cold(max_records, max_bytes).await?,
                other => other.map_err(ReadFailure::into_error)?,
            };
            if !entries.is_empty() {
                return Ok(entries);
            }
            if self.shared.queue.is_closed() {
                return Err(ReadError::Closed);
            }
            self.more().await;
        }
    }

    /// [`Reader::next_batch`] that does not wait for records (empty: there are
    /// none) but may wait for the disk.
    pub fn try_next_batch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        self.read(max_records, max_bytes, false).map_err(ReadFailure::into_error)
    }

    /// What was passed over since the last call, in order.
    pub fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    /// Waits until there is more to read or the journal is closed.
    async fn more(&self) {
        let (stream, queue, next) = (&self.stream, &self.shared.queue, self.next);
        let mut guard = Leaving { stream, place: None };
        poll_fn(|context| {
            let ready = stream.waiters.wait(&mut guard.place, context.waker(), || {
                stream.state.lock().next > next || queue.is_closed()
            });
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Reads from the disk on a thread that may wait for it.
    async fn read_cold(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut copy = Self {
            shared: self.shared.clone(),
            stream: self.stream.clone(),
            next: self.next,
            not_before: self.not_before,
            gaps: Vec::new(),
        };
        let read = move || {
            let entries = copy.try_next_batch(max_records, max_bytes);
            (copy, entries)
        };
        let (copy, entries) =
            tokio::task::spawn_blocking(read).await.map_err(|_| ReadError::Closed)?;
        self.next = copy.next;
        self.not_before = copy.not_before;
        for gap in copy.gaps {
            self.gap(gap.from, gap.to, gap.cause);
        }
        entries
    }

    fn read(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        only_cached: bool,
    ) -> Result<Vec<Entry>, ReadFailure> {
        let mut entries = Vec::new();
        let mut room = Room { records: max_records.max(1), bytes: max_bytes };
        loop {
            let location = self.stream.state.lock().locate(self.next);
            match location {
                Location::End => return Ok(entries),
                Location::Trimmed(to) => self.pass(to, GapCause::Trimmed),
                Location::Lost(to) => self.pass(to, GapCause::Lost),
                Location::At { segment, relocated, offset, last } => {
                    let span = Span { segment, relocated, offset, last };
                    match self.read_span(&span, &mut room, only_cached, &mut entries) {
                        Ok(true) => return Ok(entries),
                        Ok(false) => {}
                        Err(_) if !entries.is_empty() => return Ok(entries),
                        Err(failure) => return Err(failure),
                    }
                }
            }
        }
    }

    /// Reads to the end of a chunk; `true` when the room is used up.
    fn read_span(
        &mut self,
        span: &Span,
        room: &mut Room,
        only_cached: bool,
        entries: &mut Vec<Entry>,
    ) -> Result<bool, ReadFailure> {
        let segment = &span.segment;
        let chunk = (room.bytes + READ_BYTES_MIN).min(READ_BYTES_MAX);
        let mut walker =
            Walker::new(&segment.file, segment.header.tag, span.offset, segment.end(), chunk);
        if only_cached {
            walker = walker.only_cached();
        }
        loop {
            let step = walker.step().map_err(|error| ReadFailure::of(error, segment))?;
            let (frame, body) = match step {
                None => break,
                Some(Step::Damage(_)) => continue,
                Some(Step::Frame { frame, body, .. }) => (frame, body),
            };
            if !span.has(&frame, self.stream.id) || frame.sequence < self.next {
                continue;
            }
            if frame.sequence > span.last {
                break;
            }
            if frame.sequence > self.next {
                self.lost(frame.sequence);
            }
            if self.not_before.is_some_and(|time| frame.time < time) {
                self.next = frame.sequence + 1;
                continue;
            }
            if room.records == 0 || (body.len() > room.bytes && !entries.is_empty()) {
                return Ok(true);
            }
            room.records -= 1;
            room.bytes = room.bytes.saturating_sub(body.len());
            self.next = frame.sequence + 1;
            self.not_before = None;
            entries.push(Entry {
                sequence: frame.sequence,
                enqueued: timestamp(frame.time),
                body: keep(body, &frame, chunk),
            });
            if room.records == 0 {
                return Ok(true);
            }
            if frame.sequence == span.last {
                return Ok(false);
            }
        }
        // The rest of the chunk is not there any more.
        self.lost(span.last + 1);
        Ok(false)
    }

    /// Damage found only now: everything from here to `to`.
    fn lost(&mut self, to: u64) {
        let new = self.stream.state.lock().add_hole(self.next, to);
        if new > 0 {
            let stream = &self.stream.name;
            tracing::error!(%stream, from = self.next, to, "journal records are damaged");
        }
        self.pass(to, GapCause::Lost);
    }

    fn pass(&mut self, to: u64, cause: GapCause) {
        self.gap(self.next, to, cause);
        self.next = to;
    }

    /// Gaps grow together, so that their list stays short when nobody takes it.
    fn gap(&mut self, from: u64, to: u64, cause: GapCause) {
        let full = self.gaps.len() >= GAPS_MAX;
        match self.gaps.last_mut() {
            Some(gap) if full || (gap.cause == cause && gap.to == from) => gap.to = to,
            _ => self.gaps.push(Gap { from, to, cause }),
        }
    }
}

/// Part of a segment to read.
struct Span {
    segment: Arc<Segment>,
    relocated: bool,
    offset: u64,
    last: u64,
}

impl Span {
    fn has(&self, frame: &Frame, stream: u32) -> bool {
        frame.kind == KIND_RECORD
            && frame.stream == stream
            && (frame.flags & FLAG_RELOCATED != 0) == self.relocated
    }
}

/// What may still be read in one call.
struct Room {
    records: usize,
    bytes: usize,
}

enum ReadFailure {
    Cold,
    Error(ReadError),
}

impl ReadFailure {
    fn of(error: WalkError, segment: &Segment) -> Self {
        match error {
            WalkError::Cold => Self::Cold,
            WalkError::Io(source) => {
                Self::Error(ReadError::Io { path: segment.file.path().to_owned(), source })
            }
        }
    }

    fn into_error(self) -> ReadError {
        match self {
            Self::Error(error) => error,
            // Only asked for together with a second attempt.
            Self::Cold => ReadError::Closed,
        }
    }
}

/// Gives the place among the waiters back, whatever becomes of the future.
struct Leaving<'a> {
    stream: &'a Stream,
    place: Option<crate::wait::Place>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.stream.waiters.leave(self.place.take());
    }
}

/// The sequence of the last block that begins before `time`.
pub(crate) fn start_by_time(chunk: &Chunk, time: i64) -> u64 {
    let segment = &chunk.segment;
    let begins_before = |offset: u32| {
        let mut bytes = [0; FRAME_BYTES];
        let read = segment.file.read_at(&mut bytes, u64::from(offset));
        // An unreadable block is passed over by the reading, not here.
        read.is_ok()
            && Frame::peek(&bytes, segment.header.tag).is_some_and(|frame| frame.time < time)
    };
    let after = chunk.blocks.partition_point(|block| begins_before(block.offset));
    let block = chunk.blocks.get(after.saturating_sub(1));
    block.map_or(chunk.first, |block| chunk.base + u64::from(block.delta)).max(chunk.first)
}

/// A small body from a large window is copied, so that it does not hold the window.
fn keep(body: Bytes, frame: &Frame, window: usize) -> Bytes {
    if (frame.length as usize) < window / 64 { Bytes::copy_from_slice(&body) } else { body }
}

pub(crate) fn timestamp(microseconds: i64) -> Timestamp {
    // The writer only writes what came from a `Timestamp`, under a CRC.
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How much a reader reads at a time, beside what it is asked for.
const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

/// After so many gaps that nobody took, the last one grows.
const GAPS_MAX: usize = 64;
