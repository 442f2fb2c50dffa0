//! Segments from the writer's side: room for the next group, sealing one and
//! beginning the next, and what a failing disk leads to.

use std::io;
use std::sync::Arc;

use super::{DISK_ERRORS_MAX, Reserve, WriteError, Writer};
use crate::AppendError;
use crate::format::{DATA_START, FRAME_BYTES, Frame, KIND_GROUP, SECTOR_BYTES, SegmentHeader};
use crate::segment::{FooterWriter, Segment, encode_start};

impl Writer {
    /// The segment with room for a group with `frames` bytes of frames,
    /// beginning another when need be.
    pub(super) fn room_for(
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

    /// Answers a failed write or sync of the buffer at `position`.
    pub(super) fn disk_failed(&mut self, error: io::Error) -> AppendError {
        if error.kind() == io::ErrorKind::StorageFull {
            return self.space_failed();
        }
        self.disk_errors += 1;
        tracing::error!(%error, errors = self.disk_errors, "journal disk failed");
        let source = Arc::new(error);
        // Never written again: what is behind `position` in it is to be cut off.
        let failed = self.segment.take();
        if self.disk_errors >= DISK_ERRORS_MAX {
            self.shared.queue.refuse(AppendError::ReadOnly, true);
            // For the cut; whether it works changes nothing for anyone.
            let _ = self.begin_segment();
            self.segment = None;
            return AppendError::ReadOnly;
        }
        match self.begin_segment() {
            Ok(()) => AppendError::Disk { source },
            Err(WriteError::NoRoom(error)) => {
                // No header to cut with for now; zeros do it, if the disk takes them.
                if let Some(failed) = failed {
                    let _ = self.wipe(&failed);
                }
                self.refuse_for_space(&error);
                AppendError::Disk { source }
            }
            Err(WriteError::Disk(error)) => error,
        }
    }

    /// Takes away what was written of the group in the buffer.
    fn wipe(&self, segment: &Segment) -> io::Result<()> {
        let end = self.position + self.buffer.len() as u64;
        segment.file.write_zeros(self.position, end)?;
        segment.file.sync_data()
    }

    /// No space for bytes that were allocated before (a filesystem that copies
    /// on write, a thin volume). What was written of the group is taken away.
    fn space_failed(&mut self) -> AppendError {
        let path = self.shared.dir.clone();
        let error = AppendError::DiskFull { path };
        self.refuse_for_space(&error);
        let wiped = self.segment.as_ref().is_none_or(|segment| self.wipe(segment).is_ok());
        if !wiped {
            self.segment = None;
        }
        error
    }

    /// Nothing is accepted until the keeper has found space.
    pub(super) fn refuse_for_space(&self, error: &AppendError) {
        self.shared.queue.refuse(error.clone(), true);
        self.shared.keeper.look_for_space();
    }

    /// Begins the next segment, then seals the one before.
    fn next_segment(&mut self) -> Result<(), WriteError> {
        // The index is gathered before the entries of the next segment are: a
        // trim in between must not take records out of the one that the other
        // still counts, or a crash would make them look lost.
        let sealed = self.segment.clone().map(|segment| (self.index(&segment), segment));
        let group = self.group + 1;
        self.begin_segment()?;
        let Some((index, segment)) = sealed else { return Ok(()) };
        match index.write(&segment, group) {
            Ok(true) => self.shared.keeper.sync(segment),
            Ok(false) => tracing::debug!("no room for the index of a journal segment"),
            Err(error) => tracing::warn!(%error, "cannot write the index of a journal segment"),
        }
        Ok(())
    }

    /// Which records of which streams are in a segment.
    fn index(&self, segment: &Arc<Segment>) -> FooterWriter {
        let mut index = FooterWriter::new(segment.end());
        for tail in &self.tails {
            let state = tail.stream.state.lock();
            for chunk in &state.chunks {
                if Arc::ptr_eq(&chunk.segment, segment) {
                    index.push(tail.stream.id, chunk);
                }
            }
        }
        index
    }

    /// Begins a segment with the entries of all streams, durably; what is
    /// behind `position` in the segment before counts no more.
    pub(crate) fn begin_segment(&mut self) -> Result<(), WriteError> {
        let spare = self.shared.keeper.take_spare().map_err(|error| match error {
            AppendError::Disk { source } => self.begin_failed(&source),
            error => WriteError::NoRoom(error),
        })?;
        self.load_tails();
        self.last_ordinal += 1;
        let header = SegmentHeader {
            ordinal: self.last_ordinal,
            tag: new_tag(),
            capacity: spare.capacity,
            previous_ordinal: self.position_in,
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
            // Its header may be on disk and its removal not: then it says where
            // the segment before ends, so that one must not grow any more.
            self.segment = None;
            self.shared.keeper.discard(spare);
            return Err(self.begin_failed(&Arc::new(error)));
        }
        let segment = Segment::new(spare.file, header, end as u64);
        self.shared.segments.lock().push(segment.clone());
        self.segment = Some(segment);
        self.position_in = header.ordinal;
        self.position = end as u64;
        self.group = 1;
        self.ledger.clear();
        self.footer_bytes = FOOTER_START_BYTES;
        self.unproved = false;
        Ok(())
    }

    fn begin_failed(&mut self, error: &Arc<io::Error>) -> WriteError {
        if error.kind() == io::ErrorKind::StorageFull {
            return WriteError::NoRoom(AppendError::DiskFull { path: self.shared.dir.clone() });
        }
        self.disk_errors += 1;
        tracing::error!(%error, errors = self.disk_errors, "cannot begin a journal segment");
        if self.disk_errors >= DISK_ERRORS_MAX {
            self.shared.queue.refuse(AppendError::ReadOnly, true);
            return WriteError::Disk(AppendError::ReadOnly);
        }
        WriteError::Disk(AppendError::Disk { source: error.clone() })
    }
}

/// A tag for one life of a segment; 0 would be found in zeros.
fn new_tag() -> u32 {
    loop {
        let tag = u32::from_le_bytes(host::entropy::bytes());
        if tag != 0 {
            return tag;
        }
    }
}

/// The end of each segment is for entries only.
fn meta_reserve(capacity: u64) -> u64 {
    (capacity / 8).min(64 << 10)
}

/// What a footer takes beside its chunks, and the trailer.
pub(crate) const FOOTER_START_BYTES: u64 = 128;
