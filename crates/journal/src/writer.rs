//! The writer thread: takes a group, makes one buffer of it, writes it with one
//! call, syncs once, then tells everybody.
//!
//! What a failing disk means here:
//! - The group in flight hears the error, and not before its bytes are cut off
//!   for good by the header of the next segment (`previous_end`), so that what
//!   was refused does not come back after a restart.
//! - No space is not a broken disk: the group's bytes are overwritten with
//!   zeros, the queue refuses until the keeper finds space.
//! - A second error makes the journal read-only; the cut is tried once more.
//!
//! Sequences are given here, when a group is built, and taken back when it
//! fails: a gap in a stream always means loss.

mod roll;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host::clock::Mono;

use crate::format::{
    FLAG_RELOCATED, FRAME_BYTES, Frame, KIND_GROUP, KIND_LEDGER, KIND_RECORD, SECTOR_BYTES,
    StreamEntry,
};
use crate::queue::{PendingGroup, Work};
use crate::segment::{ChunkParts, Segment};
use crate::stream::Stream;
use crate::{AppendError, Record, Shared};
pub(crate) use roll::FOOTER_START_BYTES;

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    /// The segment being written; `None` until the first, or when it cannot go on.
    pub(crate) segment: Option<Arc<Segment>>,
    /// Where the next group begins.
    pub(crate) position: u64,
    /// The last group's number in this segment.
    pub(crate) group: u32,
    pub(crate) last_ordinal: u64,
    /// The segment that `position` is in, even when it cannot go on.
    pub(crate) position_in: u64,
    /// The latest enqueued time, in microseconds.
    pub(crate) time: i64,
    /// The last group's streams and their next sequences.
    pub(crate) ledger: Vec<(u32, u64)>,
    /// A group that no later one has proved yet.
    pub(crate) unproved: bool,
    /// By stream id.
    pub(crate) tails: Vec<Tail>,
    touched: Vec<u32>,
    buffer: Vec<u8>,
    /// About what the footer of this segment will take.
    pub(crate) footer_bytes: u64,
    disk_errors: u32,
    maintained: Mono,
}

/// What the writer keeps of a stream, and what the group under way adds.
pub(crate) struct Tail {
    stream: Arc<Stream>,
    next: u64,
    touched: bool,
    parts: ChunkParts,
}

/// Where relocated records are now: the segment, and chunks by stream.
pub(crate) type Moved = (Arc<Segment>, Vec<(u32, ChunkParts)>);

/// Why a group was not written.
pub(crate) enum WriteError {
    /// There is no segment to write into.
    NoRoom(AppendError),
    /// The disk failed; the cut is made if it can be.
    Disk(AppendError),
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let maintained = shared.clock.now();
        Self {
            shared,
            segment: None,
            position: 0,
            group: 0,
            last_ordinal: 0,
            position_in: 0,
            time: i64::MIN,
            ledger: Vec::new(),
            unproved: false,
            tails: Vec::new(),
            touched: Vec::new(),
            buffer: Vec::new(),
            footer_bytes: 0,
            disk_errors: 0,
            maintained,
        }
    }

    /// The thread's life.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.queue.next_work(self.patience()) {
                Work::Group(pending) => {
                    self.write_pending(pending);
                    self.maintain_if_due();
                }
                Work::Attention => {
                    if self.shared.queue.refusal().is_some() {
                        self.maintain();
                    } else {
                        self.maintain_if_due();
                    }
                }
                Work::Maintain(asked) => {
                    self.maintain();
                    for group in asked {
                        group.complete(Ok(Box::default()));
                    }
                }
                Work::Close => break,
            }
        }
        self.finish();
        self.shared.keeper.close();
    }

    /// How long to wait for work before housekeeping is due; for ever when
    /// there is nothing to keep.
    fn patience(&self) -> Option<Duration> {
        let ages = self.shared.has_ages.load(Ordering::Relaxed);
        let due = ages || self.unproved || !self.shared.dirty.lock().is_empty();
        due.then_some(self.shared.settings.maintenance_interval)
    }

    fn maintain_if_due(&mut self) {
        let elapsed = self.shared.clock.now() - self.maintained;
        if elapsed >= self.shared.settings.maintenance_interval {
            self.maintain();
        }
    }

    fn maintain(&mut self) {
        self.maintained = self.shared.clock.now();
        self.housekeep();
        self.maintained = self.shared.clock.now();
    }

    fn finish(&mut self) {
        #[cfg(test)]
        if self.shared.killed.load(Ordering::Relaxed) {
            return;
        }
        self.store_dirty();
        self.prove();
        if let Some(segment) = &self.segment {
            // The proof was not synced; after a crash it may be missing, not wrong.
            let _ = segment.file.sync_data();
        }
    }

    /// Writes what senders queued and tells them.
    pub(crate) fn write_pending(&mut self, pending: PendingGroup) {
        let PendingGroup { records, bytes, entries, group } = pending;
        let count = records.len();
        let outcome = self.write_group(records, bytes, &entries, Reserve::Keep);
        let outcome = outcome.map_err(|error| match error {
            WriteError::NoRoom(error) => {
                self.refuse_for_space(&error);
                error
            }
            WriteError::Disk(error) => error,
        });
        self.shared.queue.finish(count, bytes, &group, outcome);
    }

    /// Writes one group, durably. Returns the records' sequences.
    pub(crate) fn write_group(
        &mut self,
        records: Vec<Record>,
        bytes: usize,
        entries: &[u32],
        reserve: Reserve,
    ) -> Result<Box<[u64]>, WriteError> {
        if self.disk_errors >= DISK_ERRORS_MAX {
            return Err(WriteError::Disk(AppendError::ReadOnly));
        }
        self.load_tails();
        let entries: Vec<_> = entries.iter().map(|id| self.entry(*id)).collect();
        let entry_bytes: usize =
            entries.iter().map(|entry| FRAME_BYTES + 40 + entry.name.len()).sum();
        let frames = bytes + records.len() * (FRAME_BYTES + 7) + entry_bytes;
        let segment = self.room_for(frames, records.len(), reserve)?;
        self.begin_group();
        for entry in &entries {
            let offset = self.position + self.buffer.len() as u64;
            entry.encode(segment.header.tag, self.group, offset, &mut self.buffer);
        }
        let mut sequences = Vec::with_capacity(records.len());
        for record in records {
            sequences.push(self.add_record(&segment, &record));
        }
        self.end_group(&segment, entries.len() + sequences.len());
        match self.write_buffer(&segment) {
            Ok(()) => {
                self.commit(&segment);
                for entry in &entries {
                    self.tails[entry.id as usize].stream.state.lock().stored = true;
                }
                Ok(sequences.into_boxed_slice())
            }
            Err(error) => {
                self.take_back();
                Err(WriteError::Disk(self.disk_failed(error)))
            }
        }
    }

    /// Writes records of an old segment again, durably, with the sequences and
    /// times they have; returns where they are now.
    pub(crate) fn write_relocated(
        &mut self,
        records: &[(Frame, bytes::Bytes)],
    ) -> Result<Moved, WriteError> {
        if self.disk_errors >= DISK_ERRORS_MAX {
            return Err(WriteError::Disk(AppendError::ReadOnly));
        }
        self.load_tails();
        let frames = records.iter().map(|(frame, _)| frame.span()).sum();
        let segment = self.room_for(frames, records.len(), Reserve::Keep)?;
        self.begin_group();
        let mut moved: Vec<(u32, ChunkParts)> = Vec::new();
        for (frame, body) in records {
            let offset = self.position + self.buffer.len() as u64;
            let frame = Frame { group: self.group, flags: FLAG_RELOCATED, ..*frame };
            frame.encode(segment.header.tag, offset, body, &mut self.buffer);
            match moved.last_mut() {
                Some((stream, parts))
                    if *stream == frame.stream && parts.last + 1 == frame.sequence =>
                {
                    parts.add(&frame, offset);
                }
                _ => moved.push((frame.stream, ChunkParts::start(&frame, offset))),
            }
        }
        self.end_group(&segment, records.len());
        match self.write_buffer(&segment) {
            Ok(()) => {
                self.commit(&segment);
                self.footer_bytes +=
                    moved.iter().map(|(_, parts)| parts.footer_bytes()).sum::<u64>();
                Ok((segment, moved))
            }
            Err(error) => {
                self.take_back();
                Err(WriteError::Disk(self.disk_failed(error)))
            }
        }
    }

    /// A group without records: with it on disk, the one before is known to
    /// have been whole, so damage in it is told from a torn tail. Not synced.
    pub(crate) fn prove(&mut self) {
        if !self.unproved || self.disk_errors >= DISK_ERRORS_MAX {
            return;
        }
        let Ok(segment) = self.room_for(0, 0, Reserve::Use) else { return };
        if !self.unproved {
            return;
        }
        self.begin_group();
        self.end_group(&segment, 0);
        match segment.file.write_at(&self.buffer, self.position) {
            Ok(()) => {
                self.position += self.buffer.len() as u64;
                segment.set_end(self.position);
                self.unproved = false;
            }
            Err(error) => {
                self.disk_failed(error);
            }
        }
    }

    fn entry(&self, id: u32) -> StreamEntry {
        self.tails[id as usize].stream.entry()
    }

    fn load_tails(&mut self) {
        if self.tails.len() == self.shared.streams.len() as usize {
            return;
        }
        for stream in self.shared.streams.all().into_iter().skip(self.tails.len()) {
            self.tails.push(Tail::new(stream));
        }
    }

    fn begin_group(&mut self) {
        self.group += 1;
        self.buffer.clear();
        self.buffer.resize(FRAME_BYTES, 0);
        if self.ledger.is_empty() {
            return;
        }
        let mut body = Vec::with_capacity(self.ledger.len() * 12);
        for (stream, next) in &self.ledger {
            body.extend_from_slice(&stream.to_le_bytes());
            body.extend_from_slice(&next.to_le_bytes());
        }
        let frame = Frame {
            kind: KIND_LEDGER,
            flags: 0,
            length: body.len() as u32,
            group: self.group,
            stream: 0,
            sequence: 0,
            time: 0,
        };
        // The tag is the segment's that is being written; there is one here.
        let tag = self.segment.as_ref().map_or(0, |segment| segment.header.tag);
        frame.encode(tag, self.position + FRAME_BYTES as u64, &body, &mut self.buffer);
    }

    fn add_record(&mut self, segment: &Segment, record: &Record) -> u64 {
        let offset = self.position + self.buffer.len() as u64;
        self.time = self.time.max(record.enqueued.as_microsecond());
        let tail = &mut self.tails[record.stream.0 as usize];
        let frame = Frame {
            kind: KIND_RECORD,
            flags: 0,
            length: record.body.len() as u32,
            group: self.group,
            stream: record.stream.0,
            sequence: tail.next,
            time: self.time,
        };
        tail.next += 1;
        if tail.touched {
            tail.parts.add(&frame, offset);
        } else {
            tail.touched = true;
            tail.parts = ChunkParts::start(&frame, offset);
            self.touched.push(record.stream.0);
        }
        frame.encode(segment.header.tag, offset, &record.body, &mut self.buffer);
        frame.sequence
    }

    /// Completes the buffer: the group frame in front, zeros to the sector's end.
    fn end_group(&mut self, segment: &Segment, frames: usize) {
        let frames = frames + usize::from(!self.ledger.is_empty());
        let frame = Frame {
            kind: KIND_GROUP,
            flags: 0,
            length: (self.buffer.len() - FRAME_BYTES) as u32,
            group: self.group,
            stream: frames as u32,
            sequence: segment.header.ordinal,
            time: self.time,
        };
        frame.encode_over(segment.header.tag, self.position, &mut self.buffer[..FRAME_BYTES]);
        let padded = self.buffer.len().next_multiple_of(SECTOR_BYTES as usize);
        self.buffer.resize(padded, 0);
    }

    fn write_buffer(&mut self, segment: &Segment) -> io::Result<()> {
        segment.file.write_at(&self.buffer, self.position)?;
        segment.file.sync_data()
    }

    /// The group is durable: readers may see it, and those who wait may know.
    fn commit(&mut self, segment: &Arc<Segment>) {
        let half = segment.header.capacity / 2;
        if self.position < half && self.position + self.buffer.len() as u64 >= half {
            self.shared.keeper.want_spare();
        }
        self.position += self.buffer.len() as u64;
        segment.set_end(self.position);
        self.unproved = true;
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.ledger.clear();
        for id in self.touched.drain(..) {
            let tail = &mut self.tails[id as usize];
            tail.touched = false;
            let parts = tail.parts.take();
            self.ledger.push((id, tail.next));
            self.footer_bytes += parts.footer_bytes();
            tail.stream.state.lock().append(segment, parts);
            tail.stream.waiters.wake_all();
        }
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
    }

    /// The group was not written: its sequences are free again.
    fn take_back(&mut self) {
        for id in self.touched.drain(..) {
            let tail = &mut self.tails[id as usize];
            tail.touched = false;
            tail.next = tail.parts.base;
        }
    }
}

impl Tail {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        let next = stream.state.lock().next;
        Self { stream, next, touched: false, parts: ChunkParts::empty(0, 0) }
    }
}

/// Whether the room for entries may be used, which lets trims be stored on a
/// full disk, so that they free segments.
#[derive(Clone, Copy)]
pub(crate) enum Reserve {
    Keep,
    Use,
}

/// The journal becomes read-only with this disk error.
const DISK_ERRORS_MAX: u32 = 2;

/// A larger buffer is given back after a group.
const BUFFER_KEPT_BYTES: usize = 2 << 20;
