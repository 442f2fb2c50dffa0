//! Scanning a segment that has no index: what is in it, what is damaged, and
//! where its tail was torn.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use host::disk::DiskFile;

use crate::format::{
    DATA_START, FRAME_BYTES, Frame, KIND_FOOTER, KIND_GROUP, KIND_LEDGER, KIND_RECORD, KIND_STREAM,
    KIND_TRAILER, SECTOR_BYTES, SegmentHeader, StreamEntry, ledger_pairs, u32_at,
};
use crate::segment::ChunkParts;
use crate::walk::{Step, WalkError, Walker};

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Where the groups that count end.
    pub(crate) end: u64,
    pub(crate) last_group: u32,
    /// The latest time in it.
    pub(crate) time: i64,
    pub(crate) records: u64,
    pub(crate) chunks: Vec<(u32, ChunkParts)>,
    /// In the order they were written.
    pub(crate) entries: Vec<StreamEntry>,
    /// What ledgers and records say of streams, and where.
    pub(crate) nexts: HashMap<u32, Evidence>,
    pub(crate) damaged: Vec<Range<u64>>,
    /// Damage whose streams nothing tells.
    pub(crate) unexplained: Vec<Range<u64>>,
    /// The frames of the last group that count; its group frame is not among them.
    pub(crate) tail: Vec<TailFrame>,
    /// Where the last group begins.
    pub(crate) tail_start: u64,
    /// Up to where a torn group or what is left of one reaches, if there is one.
    pub(crate) torn_to: Option<u64>,
    /// It ends with an index, so nothing may be added.
    pub(crate) sealed: bool,
    pub(crate) frames: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    pub(crate) next: u64,
    pub(crate) offset: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct TailFrame {
    pub(crate) offset: u64,
    pub(crate) frame: Frame,
    pub(crate) body: Bytes,
}

/// Scans the groups before `limit`. In the last segment (`open_end`) damage in
/// the last group means that it was torn; elsewhere all damage is damage.
pub(crate) fn scan(
    file: &DiskFile,
    header: &SegmentHeader,
    limit: u64,
    open_end: bool,
) -> io::Result<Scan> {
    let mut walker = Walker::new(file, header.tag, DATA_START, limit, SCAN_BYTES);
    let mut scanner = Scanner::new();
    loop {
        let step = match walker.step() {
            Ok(Some(step)) => step,
            Ok(None) => break,
            Err(WalkError::Io(error)) => return Err(error),
            // Only told when asked for.
            Err(WalkError::Cold) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        match step {
            Step::Damage(range) => scanner.damage(range),
            Step::Frame { frame, .. } if frame.kind >= KIND_FOOTER => {
                scanner.scan.sealed |= frame.kind == KIND_FOOTER || frame.kind == KIND_TRAILER;
                break;
            }
            Step::Frame { offset, frame, body } => scanner.frame(offset, frame, body),
        }
    }
    let sealed = scanner.scan.sealed;
    Ok(scanner.end(&walker, limit, open_end && !sealed))
}

struct Scanner {
    scan: Scan,
    open_chunks: HashMap<(u32, bool), ChunkParts>,
    /// Damage, and the group it belongs to at the latest.
    damages: Vec<(Range<u64>, u32)>,
    /// Damage that the next frame or ledger will tell more of.
    pending: Option<(Range<u64>, u32)>,
    unclear: Option<(Range<u64>, u32)>,
    group: u32,
    after: u64,
}

impl Scanner {
    fn new() -> Self {
        let scan = Scan { time: i64::MIN, tail_start: DATA_START, ..Scan::default() };
        Self {
            scan,
            open_chunks: HashMap::new(),
            damages: Vec::new(),
            pending: None,
            unclear: None,
            group: 0,
            after: DATA_START,
        }
    }

    fn damage(&mut self, range: Range<u64>) {
        self.pending = Some((range, self.group));
    }

    fn frame(&mut self, offset: u64, frame: Frame, body: Bytes) {
        self.scan.frames += 1;
        if let Some((range, group_before)) = self.pending.take() {
            let at_start = frame.kind == KIND_GROUP;
            let group = if at_start { frame.group - 1 } else { frame.group };
            self.damages.push((range.clone(), group));
            if let Some((unclear, _)) = self.unclear.replace((range, group_before)) {
                self.scan.unexplained.push(unclear);
            }
        }
        if frame.group > self.group {
            self.flush_tail();
            self.group = frame.group;
            // Without its group frame, a group begins at the sector's start at the latest.
            self.scan.tail_start = offset / SECTOR_BYTES * SECTOR_BYTES;
        }
        self.explain(&frame);
        self.after = offset + frame.span() as u64;
        if frame.kind == KIND_GROUP {
            self.scan.time = self.scan.time.max(frame.time);
            self.after = offset + FRAME_BYTES as u64;
        } else {
            self.scan.tail.push(TailFrame { offset, frame, body });
        }
    }

    /// The ledger right after damage tells which streams it was in.
    fn explain(&mut self, frame: &Frame) {
        let Some((range, group_before)) = self.unclear.take() else { return };
        if frame.group > group_before + 1 {
            self.scan.unexplained.push(range);
        } else if frame.kind != KIND_LEDGER || frame.group <= group_before {
            self.unclear = Some((range, group_before));
        }
    }

    /// The group before is complete: its frames count.
    fn flush_tail(&mut self) {
        for tail in std::mem::take(&mut self.scan.tail) {
            self.count(&tail);
        }
    }

    fn count(&mut self, tail: &TailFrame) {
        let TailFrame { offset, frame, body } = tail;
        match frame.kind {
            KIND_RECORD => self.count_record(*offset, frame),
            KIND_STREAM => self.scan.entries.extend(StreamEntry::decode(frame, body)),
            KIND_LEDGER => {
                for (stream, next) in ledger_pairs(body) {
                    self.evidence(stream, next, *offset);
                }
            }
            _ => {}
        }
    }

    fn count_record(&mut self, offset: u64, frame: &Frame) {
        self.scan.records += 1;
        self.scan.time = self.scan.time.max(frame.time);
        self.evidence(frame.stream, frame.sequence + 1, offset);
        let relocated = frame.flags & crate::format::FLAG_RELOCATED != 0;
        let key = (frame.stream, relocated);
        match self.open_chunks.get_mut(&key) {
            Some(parts) if parts.last + 1 == frame.sequence => parts.add(frame, offset),
            _ => {
                let begun = ChunkParts::start(frame, offset);
                if let Some(done) = self.open_chunks.insert(key, begun) {
                    self.scan.chunks.push((frame.stream, done));
                }
            }
        }
    }

    fn evidence(&mut self, stream: u32, next: u64, offset: u64) {
        let known = self.scan.nexts.entry(stream).or_insert(Evidence { next, offset });
        known.next = known.next.max(next);
        known.offset = offset;
    }

    fn end(mut self, walker: &Walker<'_>, limit: u64, open_end: bool) -> Scan {
        let group = self.group;
        let torn = self.damages.iter().find(|(_, of)| open_end && *of >= group);
        let cut = torn.map_or(walker.at(), |(range, _)| range.start);
        let incomplete = walker.group_end().is_some_and(|end| walker.at() < end);
        if open_end && (torn.is_some() || incomplete) {
            let reaches = walker.group_end().unwrap_or(0).max(walker.at()).max(self.after);
            self.scan.torn_to = Some(reaches.min(limit));
        }
        self.scan.tail.retain(|tail| tail.offset < cut);
        let tail = self.scan.tail.clone();
        self.flush_tail();
        self.scan.tail = tail;
        let confirmed = self.damages.iter().filter(|(_, of)| !open_end || *of < group);
        self.scan.damaged = confirmed.map(|(range, _)| range.clone()).collect();
        if !open_end && incomplete {
            self.scan.damaged.push(walker.at()..walker.group_end().unwrap_or(limit).min(limit));
        }
        let open_chunks = std::mem::take(&mut self.open_chunks);
        self.scan
            .chunks
            .extend(open_chunks.into_iter().map(|((stream, _), parts)| (stream, parts)));
        // Ascending, so that what was written later replaces.
        self.scan.chunks.sort_by_key(|(stream, parts)| (*stream, parts.first));
        self.scan.unexplained.retain(|range| range.start < cut);
        if open_end && let Some((range, _)) = self.unclear.take().filter(|(_, of)| *of + 1 < group)
        {
            self.scan.unexplained.push(range);
        }
        self.scan.last_group = group;
        self.scan.end =
            cut.min(self.after.max(DATA_START)).next_multiple_of(SECTOR_BYTES).min(limit);
        self.scan
    }
}

/// Finds tag and ordinal of a segment whose headers are both damaged, from a
/// group frame, which names them.
pub(crate) fn infer_header(file: &DiskFile) -> io::Result<Option<SegmentHeader>> {
    let capacity = file.size()? / SECTOR_BYTES * SECTOR_BYTES;
    let mut best: Option<SegmentHeader> = None;
    let mut at = DATA_START;
    let mut bytes = vec![0; SCAN_BYTES];
    while at < capacity {
        let length = (capacity - at).min(SCAN_BYTES as u64) as usize;
        file.read_at(&mut bytes[..length], at)?;
        for (index, sector) in bytes[..length].chunks_exact(SECTOR_BYTES as usize).enumerate() {
            let offset = at + index as u64 * SECTOR_BYTES;
            let tag = u32_at(sector, 4);
            let group = Frame::peek(sector, tag).filter(|frame| {
                tag != 0 && frame.kind == KIND_GROUP && frame.verify(sector, offset)
            });
            // An earlier life of the file may show behind the groups of this one.
            if let Some(group) = group
                && best.is_none_or(|best| group.sequence > best.ordinal)
            {
                let ordinal = group.sequence;
                best = Some(SegmentHeader {
                    ordinal,
                    tag,
                    capacity,
                    previous_ordinal: 0,
                    previous_end: 0,
                });
            }
        }
        at += length as u64;
    }
    Ok(best)
}

/// How much is read at a time.
const SCAN_BYTES: usize = 1 << 20;
