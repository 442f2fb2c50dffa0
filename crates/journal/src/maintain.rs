//! The writer's housekeeping: retention, storing trims, freeing segments, and
//! compaction, so that one slow stream cannot pin the disk.
//!
//! Order matters: a segment is only freed when the entries that let go of its
//! records are durable, or the records' new copies are.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::format::{FLAG_RELOCATED, Frame, KIND_RECORD};
use crate::segment::Segment;
use crate::stream::Stream;
use crate::walk::{Step, Walker};
use crate::writer::{Reserve, Writer};

impl Writer {
    pub(crate) fn housekeep(&mut self) {
        if matches!(self.shared.queue.refusal(), Some(crate::AppendError::ReadOnly)) {
            return;
        }
        self.apply_retention();
        self.store_and_free();
        self.compact();
        self.prove();
    }

    /// Stores the entries of streams that changed; `false`: not all of them.
    pub(crate) fn store_dirty(&mut self) -> bool {
        loop {
            let mut ids: Vec<u32> = {
                let mut dirty = self.shared.dirty.lock();
                let rest = dirty.len().saturating_sub(ENTRIES_MAX);
                dirty.drain(rest..).collect()
            };
            if ids.is_empty() {
                return true;
            }
            ids.sort_unstable();
            ids.dedup();
            if self.write_group(Vec::new(), 0, &ids, Reserve::Use).is_err() {
                self.shared.dirty.lock().extend(ids);
                return false;
            }
        }
    }

    /// Lets go of what streams are not to keep.
    fn apply_retention(&mut self) {
        let clock = &self.shared.clock;
        // By a clock that may be wrong nothing is deleted.
        let now = clock.wall_is_trusted().then(|| clock.wall());
        for stream in self.shared.streams.all() {
            let mut state = stream.state.lock();
            let mut oldest = state.oldest;
            if let Some(bytes) = state.retention.bytes
                && state.bytes > bytes
            {
                oldest = oldest.max(state.oldest_by_bytes(bytes));
            }
            if let (Some(age), Some(now)) = (state.retention.age, now)
                && let Ok(age) = SignedDuration::try_from(age)
                && let Ok(before) = now.checked_sub(age)
            {
                oldest = oldest.max(oldest_by_age(&state, before.as_microsecond()));
            }
            if state.would_trim(oldest) {
                self.shared.mark_dirty(stream.id);
                state.trim(oldest);
            }
        }
    }

    /// Stores trims, and hands the sealed segments in which nothing is left to
    /// the keeper. Which those are is settled before storing: a segment that
    /// becomes empty meanwhile does so by a trim that may not be stored yet.
    fn store_and_free(&mut self) -> bool {
        let active = self.segment.as_ref().map(|segment| segment.header.ordinal);
        let is_free =
            |segment: &Segment| segment.is_empty() && Some(segment.header.ordinal) != active;
        let free: Vec<u64> = {
            let segments = self.shared.segments.lock();
            let free = segments.iter().filter(|segment| is_free(segment));
            free.map(|segment| segment.header.ordinal).collect()
        };
        if !self.store_dirty() {
            return false;
        }
        if !free.is_empty() {
            let mut segments = self.shared.segments.lock();
            let freed = segments.extract_if(.., |segment| free.contains(&segment.header.ordinal));
            self.shared.keeper.retire(freed.collect());
        }
        true
    }

    /// Writes what is left in the sparsest old segments again, while dead bytes
    /// are the larger part of the journal, or are worth it because there is hardly room left.
    fn compact(&mut self) {
        while let Some(victim) = self.victim() {
            let moved = self.move_out(&victim);
            drop(victim);
            if !moved || !self.store_and_free() {
                return;
            }
        }
    }

    fn victim(&self) -> Option<Arc<Segment>> {
        let active = self.segment.as_ref()?.header.ordinal;
        let settings = &self.shared.settings;
        let taken = self.shared.keeper.total_bytes() + CROWDED_SEGMENTS * settings.segment_bytes;
        let is_crowded = settings.bytes_max.is_some_and(|bytes_max| taken > bytes_max);
        let below = match is_crowded {
            true => CROWDED_BELOW_PERCENT,
            false => u64::from(settings.compact_below_percent),
        };
        let segments = self.shared.segments.lock();
        let total: u64 = segments.iter().map(|segment| segment.header.capacity).sum();
        let live: u64 = segments.iter().map(|segment| segment.live_bytes()).sum();
        let dead = total.saturating_sub(live);
        // The segment being written and the next one are dead weight anyway.
        let unavoidable = 3 * settings.segment_bytes;
        if dead < if is_crowded { unavoidable } else { live.max(unavoidable) } {
            return None;
        }
        // The oldest, so that what is moved stays in order and together.
        let sparse = segments.iter().find(|segment| {
            segment.header.ordinal != active
                && segment.live_bytes() * 100 < segment.header.capacity * below
        });
        sparse.cloned()
    }

    /// Moves a segment's living records forward, a part at a time, with what
    /// senders queue in between.
    fn move_out(&mut self, victim: &Arc<Segment>) -> bool {
        for stream in self.shared.streams.all() {
            while let Some((from, last)) = first_in(&stream, victim) {
                let Some(records) = self.read_part(&stream, victim, from, last) else {
                    return false;
                };
                let moved_to = records.last().map_or(last, |(frame, _)| frame.sequence);
                if !self.move_part(&stream, from, moved_to, &records) {
                    return false;
                }
                while let Some(pending) = self.shared.queue.try_next() {
                    self.write_pending(pending);
                }
                if self.shared.queue.is_closed() {
                    return false;
                }
            }
        }
        true
    }

    /// Some of a stream's records from `from` on; to `last` when none is left.
    fn read_part(
        &self,
        stream: &Stream,
        victim: &Segment,
        from: (u64, u64, bool),
        last: u64,
    ) -> Option<Vec<(Frame, bytes::Bytes)>> {
        let (from, offset, relocated) = from;
        let tag = victim.header.tag;
        let part_bytes = self.shared.settings.group_bytes_max.min(PART_BYTES_MAX);
        let mut walker = Walker::new(&victim.file, tag, offset, victim.end(), part_bytes);
        let mut records = Vec::new();
        let mut bytes = 0;
        loop {
            match walker.step() {
                // The segment stays as it is; another time, perhaps.
                Err(_) => return None,
                Ok(None) => return Some(records),
                Ok(Some(Step::Damage(_))) => {}
                Ok(Some(Step::Frame { frame, body, .. })) => {
                    let ours = frame.kind == KIND_RECORD
                        && frame.stream == stream.id
                        && (frame.flags & FLAG_RELOCATED != 0) == relocated
                        && frame.sequence >= from;
                    if ours && frame.sequence <= last {
                        bytes += frame.span();
                        records.push((frame, body));
                    }
                    if (ours && frame.sequence >= last) || bytes >= part_bytes {
                        return Some(records);
                    }
                }
            }
        }
    }

    /// Writes a part; what of `from..=to` is not in it is lost.
    fn move_part(
        &mut self,
        stream: &Stream,
        from: (u64, u64, bool),
        to: u64,
        records: &[(Frame, bytes::Bytes)],
    ) -> bool {
        let from = from.0;
        if records.is_empty() {
            let mut state = stream.state.lock();
            state.add_hole(from, to + 1);
            state.cut_out(from, to);
            return true;
        }
        let Ok((segment, moved)) = self.write_relocated(records) else { return false };
        let mut state = stream.state.lock();
        state.cut_out(from, to);
        let mut expected = from;
        for (_, parts) in moved {
            state.add_hole(expected, parts.first);
            expected = parts.last + 1;
            state.insert_moved(&segment, parts);
        }
        true
    }
}

/// The stream's first record in a segment (sequence, offset, whether relocated)
/// and the last of that chunk.
fn first_in(stream: &Stream, segment: &Arc<Segment>) -> Option<((u64, u64, bool), u64)> {
    let state = stream.state.lock();
    let chunk = state.chunks.iter().find(|chunk| Arc::ptr_eq(&chunk.segment, segment))?;
    Some(((chunk.first, chunk.offset_of(chunk.first), chunk.relocated), chunk.last))
}

/// The first sequence that was enqueued at `before` or later, to the block:
/// whole chunks, and within one by its share of time.
fn oldest_by_age(state: &crate::stream::StreamState, before: i64) -> u64 {
    match state.chunk_by_time(before) {
        None => state.next,
        Some(chunk) if chunk.first_time >= before => chunk.first,
        Some(chunk) => crate::reader::start_by_time(chunk, before),
    }
}

/// Nearer to its bound than this the journal makes room by moving more.
const CROWDED_SEGMENTS: u64 = 8;

/// What is written again then: segments with less than this alive.
const CROWDED_BELOW_PERCENT: u64 = 90;

/// How many entries go into one group.
const ENTRIES_MAX: usize = 128;

/// How much compaction moves at a time, at most: senders wait for it.
const PART_BYTES_MAX: usize = 256 << 10;
