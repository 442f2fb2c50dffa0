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

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host::clock::Mono;

use crate::format::{
    DATA_START, FLAG_RELOCATED, FRAME_BYTES, Frame, KIND_GROUP, KIND_LEDGER, KIND_RECORD,
    SECTOR_BYTES, SegmentHeader, StreamEntry,
};
use crate::queue::{PendingGroup, Work};
use crate::segment::{ChunkParts, FooterWriter, Segment, encode_start};
use crate::stream::{Block, Stream};
use crate::{AppendError, Record, Shared};

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    /// The segment being written; `None` until the first, or when it cannot go on.
    pub(crate) segment: Option<Arc<Segment>>,
    /// Where the next group begins.
    pub(crate) position: u64,
    /// The last group's number in this segment.
    pub(crate) group: u32,
    pub(crate) last_ordinal: u64,
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
    ) -> Result<(Arc<Segment>, Vec<(u32, ChunkParts)>), WriteError> {
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
                self.footer_bytes += moved.iter().map(|(_, parts)| footer_cost(parts)).sum::<u64>();
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

    /// The segment with room for a group with `frames` bytes of frames,
    /// beginning another when need be.
    fn room_for(
        &mut self,
        frames: usize,
        records: usize,
        reserve: Reserve,
    ) -> Result<Arc<Segment>, WriteError> {
        // Each record may begin a chunk in the footer, at most.
        let footer_growth = records.min(self.tails.len()) * 64 + records.min(frames / 4096 + 1) * 8;
        let ledger = FRAME_BYTES + self.ledger.len() * 12 + 8;
        let group =
            (FRAME_BYTES + ledger + frames + footer_growth + FRAME_BYTES) as u64 + 2 * SECTOR_BYTES;
        if let Some(segment) = &self.segment
            && self.fits(group, segment.header.capacity, reserve)
        {
            return Ok(segment.clone());
        }
        self.next_segment()?;
        match &self.segment {
            Some(segment) if self.fits(group, segment.header.capacity, reserve) => {
                Ok(segment.clone())
            }
            // Bounds on records, batches and streams keep a group to a part of
            // a segment, so a new one has room; if not, its end is respected.
            _ => Err(WriteError::Disk(AppendError::BatchTooLarge)),
        }
    }

    fn fits(&self, group: u64, capacity: u64, reserve: Reserve) -> bool {
        let reserved = match reserve {
            Reserve::Keep => meta_reserve(capacity),
            Reserve::Use => 0,
        };
        self.position + group + self.footer_bytes + reserved <= capacity
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
            self.footer_bytes += footer_cost(&parts);
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

    /// Answers a failed write or sync of the buffer at `position`.
    fn disk_failed(&mut self, error: io::Error) -> AppendError {
        if error.kind() == io::ErrorKind::StorageFull {
            return self.space_failed();
        }
        self.disk_errors += 1;
        tracing::error!(%error, errors = self.disk_errors, "journal disk failed");
        let source = Arc::new(error);
        let Some(failed) = self.segment.take() else { return AppendError::Disk { source } };
        if self.disk_errors >= DISK_ERRORS_MAX {
            self.shared.queue.refuse(AppendError::ReadOnly, true);
            // For the cut; whether it works changes nothing for anyone.
            let _ = self.begin_segment(failed.header.ordinal);
            self.segment = None;
            return AppendError::ReadOnly;
        }
        match self.begin_segment(failed.header.ordinal) {
            Ok(()) => AppendError::Disk { source },
            Err(WriteError::NoRoom(error)) => {
                self.refuse_for_space(&error);
                AppendError::Disk { source }
            }
            Err(WriteError::Disk(error)) => error,
        }
    }

    /// No space for bytes that were allocated before (a filesystem that copies
    /// on write, a thin volume). What was written of the group is taken away.
    fn space_failed(&mut self) -> AppendError {
        let path = self.shared.dir.clone();
        let error = AppendError::DiskFull { path };
        self.refuse_for_space(&error);
        if let Some(segment) = &self.segment {
            let end = self.position + self.buffer.len() as u64;
            let cleaned = segment
                .file
                .write_zeros(self.position, end)
                .and_then(|()| segment.file.sync_data());
            if cleaned.is_err() {
                self.segment = None;
            }
        }
        error
    }

    /// Nothing is accepted until the keeper has found space.
    fn refuse_for_space(&self, error: &AppendError) {
        self.shared.queue.refuse(error.clone(), true);
        self.shared.keeper.look_for_space();
    }

    /// Begins the next segment, then seals the one before.
    fn next_segment(&mut self) -> Result<(), WriteError> {
        let old = self.segment.clone();
        let group = self.group;
        self.begin_segment(self.last_ordinal)?;
        if let Some(old) = old {
            self.seal(&old, group + 1);
        }
        Ok(())
    }

    /// Writes the index of a segment that is complete.
    fn seal(&mut self, segment: &Arc<Segment>, group: u32) {
        let mut footer = FooterWriter::new(segment.end());
        for tail in &self.tails {
            let state = tail.stream.state.lock();
            for chunk in &state.chunks {
                if Arc::ptr_eq(&chunk.segment, segment) {
                    footer.push(tail.stream.id, chunk);
                }
            }
        }
        match footer.write(segment, group) {
            Ok(true) => self.shared.keeper.sync(segment.clone()),
            Ok(false) => tracing::debug!("no room for the index of a journal segment"),
            Err(error) => tracing::warn!(%error, "cannot write the index of a journal segment"),
        }
    }

    /// Begins a segment with the entries of all streams, durably; what is
    /// behind `position` in the segment before counts no more.
    pub(crate) fn begin_segment(&mut self, previous_ordinal: u64) -> Result<(), WriteError> {
        let spare = self.shared.keeper.take_spare().map_err(WriteError::NoRoom)?;
        self.load_tails();
        let header = SegmentHeader {
            ordinal: self.last_ordinal + 1,
            tag: new_tag(),
            capacity: spare.capacity,
            previous_ordinal,
            previous_end: self.position,
        };
        let mut start = Vec::new();
        encode_start(&header, &mut start);
        start.resize(DATA_START as usize + FRAME_BYTES, 0);
        for tail in &self.tails {
            let offset = start.len() as u64;
            tail.stream.entry().encode(header.tag, 1, offset, &mut start);
        }
        let group = Frame {
            kind: KIND_GROUP,
            flags: 0,
            length: (start.len() - DATA_START as usize - FRAME_BYTES) as u32,
            group: 1,
            stream: self.tails.len() as u32,
            sequence: header.ordinal,
            time: self.time,
        };
        group.encode_over(header.tag, DATA_START, &mut start[DATA_START as usize..]);
        let end = start.len().next_multiple_of(SECTOR_BYTES as usize);
        start.resize(end, 0);
        debug_assert!(end as u64 <= header.capacity, "the bound on streams keeps entries small");
        let written = spare.file.write_at(&start, 0).and_then(|()| spare.file.sync_data());
        if let Err(error) = written {
            self.shared.keeper.discard(spare);
            return Err(self.begin_failed(error));
        }
        let segment = Segment::new(spare.file, header, end as u64);
        self.shared.segments.lock().push(segment.clone());
        self.segment = Some(segment);
        self.last_ordinal = header.ordinal;
        self.position = end as u64;
        self.group = 1;
        self.ledger.clear();
        self.footer_bytes = FOOTER_START_BYTES;
        self.unproved = false;
        Ok(())
    }

    fn begin_failed(&mut self, error: io::Error) -> WriteError {
        if error.kind() == io::ErrorKind::StorageFull {
            return WriteError::NoRoom(AppendError::DiskFull { path: self.shared.dir.clone() });
        }
        self.disk_errors += 1;
        tracing::error!(%error, errors = self.disk_errors, "cannot begin a journal segment");
        if self.disk_errors >= DISK_ERRORS_MAX {
            self.shared.queue.refuse(AppendError::ReadOnly, true);
            return WriteError::Disk(AppendError::ReadOnly);
        }
        WriteError::Disk(AppendError::Disk { source: Arc::new(error) })
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

impl ChunkParts {
    pub(crate) fn empty(base: u64, time: i64) -> Self {
        Self {
            relocated: false,
            base,
            first: base,
            last: base,
            bytes: 0,
            first_time: time,
            last_time: time,
            blocks: Vec::new(),
        }
    }

    /// A chunk of this one record.
    pub(crate) fn start(frame: &Frame, offset: u64) -> Self {
        Self {
            relocated: frame.flags & FLAG_RELOCATED != 0,
            bytes: frame.span() as u64,
            blocks: vec![Block { offset: offset as u32, delta: 0 }],
            ..Self::empty(frame.sequence, frame.time)
        }
    }

    /// The next record after it.
    pub(crate) fn add(&mut self, frame: &Frame, offset: u64) {
        let block = self.blocks.last().map_or(0, |block| u64::from(block.offset));
        if offset - block >= BLOCK_BYTES {
            let delta = (frame.sequence - self.base) as u32;
            self.blocks.push(Block { offset: offset as u32, delta });
        }
        self.last = frame.sequence;
        self.last_time = frame.time;
        self.bytes += frame.span() as u64;
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::empty(0, 0))
    }
}

fn footer_cost(parts: &ChunkParts) -> u64 {
    64 + parts.blocks.len() as u64 * 8
}

/// A tag for one life of a segment; 0 would be found in zeros.
pub(crate) fn new_tag() -> u32 {
    loop {
        let tag = u32::from_le_bytes(host::entropy::bytes());
        if tag != 0 {
            return tag;
        }
    }
}

/// A stream has a block in the index about every so many bytes of log.
pub(crate) const BLOCK_BYTES: u64 = 32 << 10;

/// The journal becomes read-only with this disk error.
const DISK_ERRORS_MAX: u32 = 2;

/// The end of each segment is for entries only.
fn meta_reserve(capacity: u64) -> u64 {
    (capacity / 8).min(64 << 10)
}

/// A larger buffer is given back after a group.
const BUFFER_KEPT_BYTES: usize = 2 << 20;

pub(crate) const FOOTER_START_BYTES: u64 = 128;
