//! One stream in memory: where its records lie, and what is left of them.
//!
//! The index is sparse: per segment a chunk of consecutive sequences with a
//! block about every 32 KiB of log, 8 bytes each. 1 M messages of 1 KiB cost
//! about 250 KB when they lie close, at most 8 MB when every stream writes
//! seldom.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};

use crate::format::StreamEntry;
use crate::segment::{ChunkParts, Segment};
use crate::settings::Retention;
use crate::wait::Waiters;

/// A stream of this journal.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) state: Mutex<StreamState>,
    /// Readers that have read all there is.
    pub(crate) waiters: Waiters,
}

/// All streams, by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    inner: RwLock<StreamTable>,
    count: AtomicU32,
}

#[derive(Debug, Default)]
struct StreamTable {
    by_id: Vec<Arc<Stream>>,
    by_name: HashMap<String, u32>,
}

#[derive(Debug, Default)]
pub(crate) struct StreamState {
    pub(crate) retention: Retention,
    /// Readers begin here at the earliest.
    pub(crate) oldest: u64,
    /// What the next durable record gets.
    pub(crate) next: u64,
    pub(crate) bytes: u64,
    /// Records lost before `oldest`.
    lost_before: u64,
    /// Ranges in `oldest..next` that are lost: from, and the first after.
    holes: BTreeMap<u64, u64>,
    /// What compaction wrote last: in which segment, up to which sequence.
    moved: Option<(u64, u64)>,
    /// By sequence, without overlap.
    pub(crate) chunks: VecDeque<Chunk>,
    /// Its entry is on disk, so its records may be.
    pub(crate) stored: bool,
}

/// Consecutive sequences of a stream in one segment.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: Arc<Segment>,
    /// Written by compaction; such frames do not mix with the others.
    pub(crate) relocated: bool,
    /// What the blocks' deltas are added to.
    pub(crate) base: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
    pub(crate) blocks: Vec<Block>,
}

/// Where a record of a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u32,
    pub(crate) delta: u32,
}

/// Where a reader finds a sequence.
pub(crate) enum Location {
    /// From this offset on, in this chunk.
    At { segment: Arc<Segment>, relocated: bool, offset: u64, last: u64 },
    /// Deleted; go on at this sequence.
    Trimmed(u64),
    /// Lost; go on at this sequence.
    Lost(u64),
    /// Not written yet.
    End,
}

impl Streams {
    pub(crate) fn len(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<Arc<Stream>> {
        self.inner.read().by_id.get(id as usize).cloned()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Stream>> {
        let table = self.inner.read();
        table.by_name.get(name).map(|id| table.by_id[*id as usize].clone())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.inner.read().by_id.clone()
    }

    /// Adds a stream with the next id.
    pub(crate) fn add(&self, name: &str, state: StreamState) -> Arc<Stream> {
        let mut table = self.inner.write();
        let id = table.by_id.len() as u32;
        let stream = Arc::new(Stream {
            id,
            name: name.to_owned(),
            state: Mutex::new(state),
            waiters: Waiters::default(),
        });
        table.by_id.push(stream.clone());
        table.by_name.insert(name.to_owned(), id);
        self.count.store(id + 1, Ordering::Release);
        stream
    }
}

impl Stream {
    pub(crate) fn entry(&self) -> StreamEntry {
        let state = self.state.lock();
        StreamEntry {
            id: self.id,
            oldest: state.oldest,
            next: state.next,
            lost: state.lost_before,
            retain_bytes: state.retention.bytes.unwrap_or(0),
            retain_milliseconds: state.retention.age.map_or(0, |age| age.as_millis() as u64),
            name: self.name.clone(),
        }
    }
}

impl StreamState {
    /// A stream without records, not on disk yet.
    pub(crate) fn new(retention: Retention) -> Self {
        Self { retention, ..Self::default() }
    }

    pub(crate) fn from_entry(entry: &StreamEntry) -> Self {
        let some = |number: u64| (number > 0).then_some(number);
        Self {
            retention: Retention {
                bytes: some(entry.retain_bytes),
                age: some(entry.retain_milliseconds).map(Duration::from_millis),
            },
            oldest: entry.oldest,
            next: entry.next,
            lost_before: entry.lost,
            stored: true,
            ..Self::default()
        }
    }

    /// Records lost to damage since the stream began.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_before + self.holes.iter().map(|(from, to)| to - from).sum::<u64>()
    }

    /// When the oldest record that is kept arrived, or one before it in its chunk.
    pub(crate) fn first_time(&self) -> Option<Timestamp> {
        self.chunks.front().map(|chunk| crate::reader::timestamp(chunk.first_time))
    }

    /// When the newest record that is kept arrived.
    pub(crate) fn last_time(&self) -> Option<Timestamp> {
        self.chunks.back().map(|chunk| crate::reader::timestamp(chunk.last_time))
    }

    /// Records lost in what is kept.
    pub(crate) fn known_holes(&self) -> u64 {
        self.lost() - self.lost_before
    }

    /// Takes the holes that the chunks leave in `oldest..next` for lost.
    pub(crate) fn find_holes(&mut self) {
        self.holes.clear();
        let mut expected = self.oldest;
        for chunk in &self.chunks {
            if chunk.first > expected {
                self.holes.insert(expected, chunk.first);
            }
            expected = expected.max(chunk.last + 1);
        }
        if self.next > expected {
            self.holes.insert(expected, self.next);
        }
    }

    /// A reader found `from..to` damaged. Returns how many were not known before.
    pub(crate) fn add_hole(&mut self, from: u64, to: u64) -> u64 {
        let from = from.max(self.oldest);
        let before = self.lost();
        let (mut start, mut end) = (from, to);
        if start >= end {
            return 0;
        }
        let touching: Vec<u64> = self
            .holes
            .range(..=end)
            .filter(|(_, known_end)| **known_end >= start)
            .map(|(known_start, _)| *known_start)
            .collect();
        for known_start in touching {
            if let Some(known_end) = self.holes.remove(&known_start) {
                start = start.min(known_start);
                end = end.max(known_end);
            }
        }
        self.holes.insert(start, end);
        self.lost() - before
    }

    /// Adds what one group brought, at the end.
    pub(crate) fn append(&mut self, segment: &Arc<Segment>, parts: ChunkParts) {
        self.next = parts.last + 1;
        self.bytes += parts.bytes;
        segment.live_changed(parts.bytes as i64);
        match self.chunks.back_mut() {
            Some(chunk) if chunk.can_grow_by(segment, &parts) => chunk.grow(parts),
            _ => {
                segment.chunk_added();
                self.chunks.push_back(Chunk::new(segment.clone(), parts));
            }
        }
    }

    /// Puts in what compaction has just written again, behind everything else
    /// in its segment, in place of where it was.
    pub(crate) fn insert_moved(&mut self, segment: &Arc<Segment>, parts: ChunkParts) {
        let ordinal = segment.header.ordinal;
        let moved = self.moved.replace((ordinal, parts.last));
        // Sequences must rise through a chunk, so it only grows by what directly
        // follows it, in the stream and in what was moved.
        let follows = moved == parts.first.checked_sub(1).map(|before| (ordinal, before));
        if !follows || parts.first < self.oldest {
            return self.insert(segment, parts);
        }
        self.cut_out(parts.first, parts.last);
        let index = self.chunks.partition_point(|other| other.last < parts.first);
        match index.checked_sub(1).and_then(|before| self.chunks.get_mut(before)) {
            Some(chunk) if chunk.can_grow_by(segment, &parts) => {
                self.bytes += parts.bytes;
                segment.live_changed(parts.bytes as i64);
                chunk.grow(parts);
            }
            _ => self.insert(segment, parts),
        }
    }

    /// Puts in a chunk found at opening or moved by compaction; it replaces
    /// what older chunks hold of the same sequences.
    pub(crate) fn insert(&mut self, segment: &Arc<Segment>, parts: ChunkParts) {
        let (first, last) = (parts.first.max(self.oldest), parts.last);
        if first > last {
            return;
        }
        self.cut_out(first, last);
        let mut chunk = Chunk::new(segment.clone(), parts);
        let bytes = chunk.shrink_to(first, last);
        chunk.bytes -= bytes;
        segment.chunk_added();
        segment.live_changed(chunk.bytes as i64);
        self.bytes += chunk.bytes;
        self.next = self.next.max(last + 1);
        let index = self.chunks.partition_point(|other| other.last < first);
        self.chunks.insert(index, chunk);
    }

    /// Forgets where `first..=last` lie.
    pub(crate) fn cut_out(&mut self, first: u64, last: u64) {
        let mut index = self.chunks.partition_point(|chunk| chunk.last < first);
        while let Some(chunk) = self.chunks.get_mut(index)
            && chunk.first <= last
        {
            let (begins_before, ends_after) = (chunk.first < first, chunk.last > last);
            let segment = chunk.segment.clone();
            if begins_before && ends_after {
                let mut tail = chunk.clone();
                let tail_cut = tail.shrink_to(last + 1, tail.last);
                tail.bytes -= tail_cut;
                let head_cut = chunk.shrink_to(chunk.first, first - 1);
                chunk.bytes -= head_cut;
                let gone = head_cut - tail.bytes.min(head_cut);
                segment.chunk_added();
                segment.live_changed(-(gone as i64));
                self.bytes = self.bytes.saturating_sub(gone);
                self.chunks.insert(index + 1, tail);
                return;
            }
            let gone = if begins_before {
                chunk.shrink_to(chunk.first, first - 1)
            } else if ends_after {
                chunk.shrink_to(last + 1, chunk.last)
            } else {
                chunk.bytes
            };
            chunk.bytes -= gone;
            segment.live_changed(-(gone as i64));
            self.bytes = self.bytes.saturating_sub(gone);
            if begins_before || ends_after {
                index += 1;
            } else {
                segment.chunk_removed();
                self.chunks.remove(index);
            }
        }
    }

    /// Whether [`StreamState::trim`] changes anything.
    pub(crate) fn would_trim(&self, before: u64) -> bool {
        before.min(self.next) > self.oldest
    }

    /// Lets go of everything before `before`.
    pub(crate) fn trim(&mut self, before: u64) {
        let before = before.min(self.next);
        if before <= self.oldest {
            return;
        }
        self.cut_out(self.oldest, before - 1);
        while let Some((from, to)) = self.holes.first_key_value().map(|(from, to)| (*from, *to))
            && from < before
        {
            self.holes.pop_first();
            self.lost_before += to.min(before) - from;
            if to > before {
                self.holes.insert(before, to);
            }
        }
        self.oldest = before;
    }

    pub(crate) fn locate(&self, sequence: u64) -> Location {
        if sequence < self.oldest {
            return Location::Trimmed(self.oldest);
        }
        if sequence >= self.next {
            return Location::End;
        }
        let index = self.chunks.partition_point(|chunk| chunk.last < sequence);
        match self.chunks.get(index) {
            None => Location::Lost(self.next),
            Some(chunk) if chunk.first > sequence => Location::Lost(chunk.first),
            Some(chunk) => Location::At {
                segment: chunk.segment.clone(),
                relocated: chunk.relocated,
                offset: chunk.offset_of(sequence),
                last: chunk.last,
            },
        }
    }

    /// The first chunk with a record of this time or later.
    pub(crate) fn chunk_by_time(&self, time: i64) -> Option<&Chunk> {
        let index = self.chunks.partition_point(|chunk| chunk.last_time < time);
        self.chunks.get(index)
    }

    /// The first sequence that retention by bytes lets live.
    pub(crate) fn oldest_by_bytes(&self, bound: u64) -> u64 {
        let mut over = self.bytes.saturating_sub(bound);
        for chunk in &self.chunks {
            if over == 0 {
                return chunk.first;
            }
            if chunk.bytes > over {
                let count = chunk.last - chunk.first + 1;
                let share = u128::from(count) * u128::from(over) / u128::from(chunk.bytes);
                return chunk.first + (share as u64 + 1).min(count);
            }
            over -= chunk.bytes;
        }
        self.next
    }
}

impl Chunk {
    fn new(segment: Arc<Segment>, parts: ChunkParts) -> Self {
        Self {
            segment,
            relocated: parts.relocated,
            base: parts.base,
            first: parts.first,
            last: parts.last,
            bytes: parts.bytes,
            first_time: parts.first_time,
            last_time: parts.last_time,
            blocks: parts.blocks,
        }
    }

    /// Whether `parts`, which lie behind it, can become part of it.
    fn can_grow_by(&self, segment: &Arc<Segment>, parts: &ChunkParts) -> bool {
        self.relocated == parts.relocated
            && self.last + 1 == parts.first
            && parts.base == parts.first
            && Arc::ptr_eq(&self.segment, segment)
            && parts.last - self.base <= u64::from(u32::MAX)
    }

    fn grow(&mut self, parts: ChunkParts) {
        let shift = (parts.base - self.base) as u32;
        for block in parts.blocks {
            let last = self.blocks.last().map_or(0, |block| block.offset);
            if u64::from(block.offset - last) >= BLOCK_BYTES {
                self.blocks.push(Block { delta: block.delta + shift, ..block });
            }
        }
        self.last = parts.last;
        self.bytes += parts.bytes;
        self.last_time = parts.last_time;
    }

    /// Keeps `first..=last` of it; returns how many bytes that leaves out,
    /// taking the records for equally long.
    fn shrink_to(&mut self, first: u64, last: u64) -> u64 {
        let before = self.last - self.first + 1;
        let after = last - first + 1;
        self.first = first;
        self.last = last;
        let kept = u128::from(self.bytes) * u128::from(after) / u128::from(before);
        self.bytes - kept as u64
    }

    /// Where to begin reading for `sequence`.
    pub(crate) fn offset_of(&self, sequence: u64) -> u64 {
        let after =
            self.blocks.partition_point(|block| self.base + u64::from(block.delta) <= sequence);
        // Every chunk has a block for its base, which is at or before `sequence`.
        u64::from(self.blocks[after.saturating_sub(1)].offset)
    }
}

/// A stream has a block in the index about every so many bytes of log.
pub(crate) const BLOCK_BYTES: u64 = 32 << 10;
