//! One segment file: its header, its footer, and what is alive in it.
//!
//! The footer is the index of a sealed segment, so that opening a journal reads
//! footers and scans only the last segment. It is a convenience: without a
//! valid one the segment is scanned. Its body: end of the groups u64, number of
//! chunks u64, then for each chunk: stream u32, flags u32, base, first and last
//! sequence u64, bytes u64, first and last time i64, number of blocks u64, and
//! for each block its offset u32 and its sequence less the base u32.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use host::disk::DiskFile;

use crate::format::{
    DATA_START, FLAG_RELOCATED, FRAME_BYTES, Frame, HeaderState, KIND_FOOTER, KIND_TRAILER,
    SECOND_HEADER, SECTOR_BYTES, SegmentHeader, u32_at, u64_at,
};
use crate::stream::{BLOCK_BYTES, Block, Chunk};

/// A segment in use. Readers hold it while they read, so that it is not
/// recycled under them.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: DiskFile,
    pub(crate) header: SegmentHeader,
    /// Where the durable groups end.
    end: AtomicU64,
    /// How many chunks of streams lie here; a sealed segment with none is free.
    chunks: AtomicU64,
    /// Bytes of records that are alive, for choosing what to compact.
    live_bytes: AtomicI64,
}

impl Segment {
    pub(crate) fn new(file: DiskFile, header: SegmentHeader, end: u64) -> Arc<Self> {
        Arc::new(Self {
            file,
            header,
            end: AtomicU64::new(end),
            chunks: AtomicU64::new(0),
            live_bytes: AtomicI64::new(0),
        })
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(crate) fn chunk_added(&self) {
        self.chunks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn chunk_removed(&self) {
        self.chunks.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn live_changed(&self, bytes: i64) {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed).max(0) as u64
    }
}

/// What the two headers of a file say; the second only counts when the first
/// is damaged.
pub(crate) fn read_header(file: &DiskFile) -> io::Result<HeaderState> {
    if file.size()? < DATA_START {
        return Ok(HeaderState::Damaged);
    }
    let mut sector = [0; SECTOR_BYTES as usize];
    file.read_at(&mut sector, 0)?;
    let first = SegmentHeader::decode(&sector);
    file.read_at(&mut sector, SECOND_HEADER)?;
    let second = SegmentHeader::decode(&sector);
    Ok(match (first, second) {
        // A power cut during the first write of a life may leave two lives.
        (HeaderState::Valid(first), HeaderState::Valid(second)) => {
            HeaderState::Valid(if second.ordinal > first.ordinal { second } else { first })
        }
        (HeaderState::Newer(version), _) | (_, HeaderState::Newer(version)) => {
            HeaderState::Newer(version)
        }
        (HeaderState::Valid(header), _) | (_, HeaderState::Valid(header)) => {
            HeaderState::Valid(header)
        }
        (HeaderState::Blank, HeaderState::Blank) => HeaderState::Blank,
        _ => HeaderState::Damaged,
    })
}

/// Both headers and the space between, as they begin a segment's first write.
pub(crate) fn encode_start(header: &SegmentHeader, out: &mut Vec<u8>) {
    let sector = header.encode();
    out.clear();
    out.extend_from_slice(&sector);
    out.resize(SECOND_HEADER as usize, 0);
    out.extend_from_slice(&sector);
    out.resize(DATA_START as usize, 0);
}

/// A chunk as the footer keeps it.
#[derive(Debug)]
pub(crate) struct FooterChunk {
    pub(crate) stream: u32,
    pub(crate) chunk: ChunkParts,
}

/// A chunk apart from its segment.
#[derive(Clone, Debug)]
pub(crate) struct ChunkParts {
    pub(crate) relocated: bool,
    pub(crate) base: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
    pub(crate) blocks: Vec<Block>,
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

    /// Leaves an empty one in its place.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::empty(0, 0))
    }

    /// What it takes in a footer.
    pub(crate) fn footer_bytes(&self) -> u64 {
        64 + self.blocks.len() as u64 * 8
    }
}

/// Gathers the footer of a segment that is being sealed.
pub(crate) struct FooterWriter {
    body: Vec<u8>,
    chunks: u64,
}

impl FooterWriter {
    pub(crate) fn new(end: u64) -> Self {
        let mut body = end.to_le_bytes().to_vec();
        body.extend_from_slice(&[0; 8]);
        Self { body, chunks: 0 }
    }

    pub(crate) fn push(&mut self, stream: u32, chunk: &Chunk) {
        let flags = if chunk.relocated { u32::from(FLAG_RELOCATED) } else { 0 };
        self.body.extend_from_slice(&stream.to_le_bytes());
        self.body.extend_from_slice(&flags.to_le_bytes());
        for number in [
            chunk.base,
            chunk.first,
            chunk.last,
            chunk.bytes,
            chunk.first_time as u64,
            chunk.last_time as u64,
            chunk.blocks.len() as u64,
        ] {
            self.body.extend_from_slice(&number.to_le_bytes());
        }
        for block in &chunk.blocks {
            self.body.extend_from_slice(&block.offset.to_le_bytes());
            self.body.extend_from_slice(&block.delta.to_le_bytes());
        }
        self.chunks += 1;
    }

    /// Writes footer and trailer behind the groups; `false` when there is no
    /// room, which costs a scan at the next opening.
    pub(crate) fn write(mut self, segment: &Segment, group: u32) -> io::Result<bool> {
        self.body[8..16].copy_from_slice(&self.chunks.to_le_bytes());
        let offset = segment.end();
        let tag = segment.header.tag;
        let footer = Frame {
            kind: KIND_FOOTER,
            flags: 0,
            length: self.body.len() as u32,
            group,
            stream: 0,
            sequence: segment.header.ordinal,
            time: 0,
        };
        let trailer = Frame { kind: KIND_TRAILER, length: 0, sequence: offset, ..footer };
        let trailer_offset = segment.header.capacity - SECTOR_BYTES;
        if offset + footer.span() as u64 > trailer_offset {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(footer.span());
        footer.encode(tag, offset, &self.body, &mut bytes);
        segment.file.write_at(&bytes, offset)?;
        bytes.clear();
        trailer.encode(tag, trailer_offset, &[], &mut bytes);
        segment.file.write_at(&bytes, trailer_offset)?;
        Ok(true)
    }
}

/// The footer of a sealed segment: the end of its groups and its chunks.
/// `None` when there is none or it is damaged.
pub(crate) fn read_footer(
    file: &DiskFile,
    header: &SegmentHeader,
) -> io::Result<Option<(u64, Vec<FooterChunk>)>> {
    let trailer_offset = header.capacity - SECTOR_BYTES;
    if file.size()? < header.capacity {
        return Ok(None);
    }
    let mut bytes = vec![0; FRAME_BYTES];
    file.read_at(&mut bytes, trailer_offset)?;
    let trailer = match Frame::peek(&bytes, header.tag) {
        Some(frame) if frame.kind == KIND_TRAILER && frame.verify(&bytes, trailer_offset) => frame,
        _ => return Ok(None),
    };
    let offset = trailer.sequence;
    if !(DATA_START..trailer_offset).contains(&offset) {
        return Ok(None);
    }
    file.read_at(&mut bytes, offset)?;
    let footer = match Frame::peek(&bytes, header.tag) {
        Some(frame) if frame.kind == KIND_FOOTER => frame,
        _ => return Ok(None),
    };
    if offset + footer.span() as u64 > trailer_offset {
        return Ok(None);
    }
    bytes.resize(footer.covered(), 0);
    file.read_at(&mut bytes, offset)?;
    if !footer.verify(&bytes, offset) {
        return Ok(None);
    }
    Ok(decode_footer(&bytes[FRAME_BYTES..]))
}

fn decode_footer(mut body: &[u8]) -> Option<(u64, Vec<FooterChunk>)> {
    let head = take(&mut body, 16)?;
    let (end, count) = (u64_at(head, 0), u64_at(head, 8));
    let mut chunks = Vec::new();
    for _ in 0..count {
        let head = take(&mut body, 64)?;
        let blocks = usize::try_from(u64_at(head, 56)).ok()?.checked_mul(8)?;
        let blocks = take(&mut body, blocks)?
            .chunks_exact(8)
            .map(|block| Block { offset: u32_at(block, 0), delta: u32_at(block, 4) })
            .collect();
        chunks.push(FooterChunk {
            stream: u32_at(head, 0),
            chunk: ChunkParts {
                relocated: u32_at(head, 4) & u32::from(FLAG_RELOCATED) != 0,
                base: u64_at(head, 8),
                first: u64_at(head, 16),
                last: u64_at(head, 24),
                bytes: u64_at(head, 32),
                first_time: u64_at(head, 40) as i64,
                last_time: u64_at(head, 48) as i64,
                blocks,
            },
        });
    }
    Some((end, chunks))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head)
}
