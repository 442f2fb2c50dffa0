//! The bytes on disk, version 1 (this file is the specification).
//!
//! A segment file:
//!
//! | offset | what |
//! |---|---|
//! | 0 | header, one sector of 512 bytes |
//! | 4096 | the same header again |
//! | 8192 | groups, each beginning at a multiple of 512 |
//! | after the last group | when sealed: the footer frame |
//! | capacity - 512 | when sealed: the trailer frame, which says where the footer is |
//!
//! Everything after the headers is frames: 40 bytes of header, then a body,
//! zeros up to a multiple of 8. All numbers are little-endian.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of all that follows in the header and, but for a group frame, of the body; exclusive-or the frame's offset in the file, so that a frame written to a wrong place is none |
//! | 4 | 4 | tag: chance, new for each life of a segment, so that what an earlier life left, or what a sender wrote into a body, is never taken for a frame |
//! | 8 | 1 | kind |
//! | 9 | 1 | flags: 1 = relocated by compaction |
//! | 10 | 2 | 0 |
//! | 12 | 4 | length of the body; group frame: of all frames of the group |
//! | 16 | 4 | group number, from 1 in each segment, rising |
//! | 20 | 4 | stream; group frame: how many frames follow |
//! | 24 | 8 | sequence; group frame: the segment's ordinal; trailer: the footer's offset |
//! | 32 | 8 | record: enqueued, microseconds since 1970; group frame: the latest so far; else 0 |
//!
//! Kinds: 1 group, 2 record, 3 ledger (what the group before held: stream u32
//! and next sequence u64, repeated), 4 stream (its name and state, see
//! [`StreamEntry`]), 5 footer (see `segment.rs`), 6 trailer.
//!
//! A group is one write and one sync, and is only written when the one before
//! is durable: a valid frame of a later group proves that all earlier groups
//! were whole once. Damage before such a frame is corruption, damage behind the
//! last is a torn tail that nobody was promised.
//!
//! The first group of a segment holds an entry for every stream, so that older
//! segments can go. Of other versions, whatever they change, this much holds:
//! magic, version and CRC of the header sector are where they are here.

use crc_fast::CrcAlgorithm::Crc32Iscsi;

/// The version that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;
/// Where a group may begin: what a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// Where the second header is.
pub(crate) const SECOND_HEADER: u64 = 4096;
/// Where the first group is.
pub(crate) const DATA_START: u64 = 8192;
/// Bytes of a frame's header.
pub(crate) const FRAME_BYTES: usize = 40;

pub(crate) const KIND_GROUP: u8 = 1;
pub(crate) const KIND_RECORD: u8 = 2;
pub(crate) const KIND_LEDGER: u8 = 3;
pub(crate) const KIND_STREAM: u8 = 4;
pub(crate) const KIND_FOOTER: u8 = 5;
pub(crate) const KIND_TRAILER: u8 = 6;

pub(crate) const FLAG_RELOCATED: u8 = 1;

/// Bytes of one pair in a ledger.
pub(crate) const LEDGER_PAIR_BYTES: usize = 12;

/// A frame's header; for the meaning of each field by kind see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) length: u32,
    pub(crate) group: u32,
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
    pub(crate) time: i64,
}

impl Frame {
    /// Bytes from this frame's start to the next one's.
    pub(crate) fn span(&self) -> usize {
        let body = if self.kind == KIND_GROUP { 0 } else { self.length as usize };
        FRAME_BYTES + body.next_multiple_of(8)
    }

    /// Appends header, body and padding, to be written at `offset`.
    pub(crate) fn encode(&self, tag: u32, offset: u64, body: &[u8], out: &mut Vec<u8>) {
        debug_assert!(self.kind == KIND_GROUP || self.length as usize == body.len());
        let start = out.len();
        out.extend_from_slice(&self.header(tag));
        out.extend_from_slice(body);
        let crc = checksum(&out[start + 4..]) ^ offset as u32;
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        out.resize(start + self.span(), 0);
    }

    /// Writes this header over the place kept for it (a group frame, whose
    /// length is known last).
    pub(crate) fn encode_over(&self, tag: u32, offset: u64, place: &mut [u8]) {
        let mut header = self.header(tag);
        let crc = checksum(&header[4..]) ^ offset as u32;
        header[..4].copy_from_slice(&crc.to_le_bytes());
        place[..FRAME_BYTES].copy_from_slice(&header);
    }

    /// The header at the start of `bytes` when tag and kind are right; whether
    /// the CRC is, says [`Frame::verify`] once the body is there.
    pub(crate) fn peek(bytes: &[u8], tag: u32) -> Option<Self> {
        if bytes.len() < FRAME_BYTES || u32_at(bytes, 4) != tag || u16_at(bytes, 10) != 0 {
            return None;
        }
        if !(KIND_GROUP..=KIND_TRAILER).contains(&bytes[8]) {
            return None;
        }
        Some(Self {
            kind: bytes[8],
            flags: bytes[9],
            length: u32_at(bytes, 12),
            group: u32_at(bytes, 16),
            stream: u32_at(bytes, 20),
            sequence: u64_at(bytes, 24),
            time: u64_at(bytes, 32) as i64,
        })
    }

    /// How many bytes [`Frame::verify`] needs.
    pub(crate) fn covered(&self) -> usize {
        let body = if self.kind == KIND_GROUP { 0 } else { self.length as usize };
        FRAME_BYTES + body
    }

    /// Whether the CRC of this frame, which `bytes` from `offset` starts with, is right.
    pub(crate) fn verify(&self, bytes: &[u8], offset: u64) -> bool {
        let covered = self.covered();
        bytes.len() >= covered && checksum(&bytes[4..covered]) ^ offset as u32 == u32_at(bytes, 0)
    }

    fn header(&self, tag: u32) -> [u8; FRAME_BYTES] {
        let mut header = [0; FRAME_BYTES];
        header[4..8].copy_from_slice(&tag.to_le_bytes());
        header[8] = self.kind;
        header[9] = self.flags;
        header[12..16].copy_from_slice(&self.length.to_le_bytes());
        header[16..20].copy_from_slice(&self.group.to_le_bytes());
        header[20..24].copy_from_slice(&self.stream.to_le_bytes());
        header[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        header[32..40].copy_from_slice(&self.time.to_le_bytes());
        header
    }
}

/// The first sector of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Rises with each life of a segment; 0 is never used.
    pub(crate) ordinal: u64,
    pub(crate) tag: u32,
    pub(crate) capacity: u64,
    /// The segment before, and where its valid groups end: what a failed write
    /// left behind that point does not count.
    pub(crate) previous_ordinal: u64,
    pub(crate) previous_end: u64,
}

/// What the first sector of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderState {
    Valid(SegmentHeader),
    /// All zeros: prepared, not used yet.
    Blank,
    Newer(u32),
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SECTOR_BYTES as usize] {
        let mut sector = [0; SECTOR_BYTES as usize];
        sector[..8].copy_from_slice(MAGIC);
        sector[8..12].copy_from_slice(&VERSION.to_le_bytes());
        sector[16..24].copy_from_slice(&self.ordinal.to_le_bytes());
        sector[24..28].copy_from_slice(&self.tag.to_le_bytes());
        sector[32..40].copy_from_slice(&self.capacity.to_le_bytes());
        sector[40..48].copy_from_slice(&self.previous_ordinal.to_le_bytes());
        sector[48..56].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = checksum(&sector);
        sector[12..16].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    pub(crate) fn decode(sector: &[u8]) -> HeaderState {
        if sector.iter().all(|byte| *byte == 0) {
            return HeaderState::Blank;
        }
        if sector.len() < SECTOR_BYTES as usize || &sector[..8] != MAGIC {
            return HeaderState::Damaged;
        }
        let mut copy = [0; SECTOR_BYTES as usize];
        copy.copy_from_slice(&sector[..SECTOR_BYTES as usize]);
        copy[12..16].fill(0);
        if checksum(&copy) != u32_at(sector, 12) {
            return HeaderState::Damaged;
        }
        match u32_at(sector, 8) {
            VERSION => HeaderState::Valid(Self {
                ordinal: u64_at(sector, 16),
                tag: u32_at(sector, 24),
                capacity: u64_at(sector, 32),
                previous_ordinal: u64_at(sector, 40),
                previous_end: u64_at(sector, 48),
            }),
            version if version > VERSION => HeaderState::Newer(version),
            _ => HeaderState::Damaged,
        }
    }
}

/// A stream's name and state at the moment it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) id: u32,
    /// Everything before may go.
    pub(crate) oldest: u64,
    /// The sequence that the next record gets.
    pub(crate) next: u64,
    /// Records lost to damage that lay before `oldest`.
    pub(crate) lost: u64,
    /// 0: no bound.
    pub(crate) retain_bytes: u64,
    /// 0: no bound.
    pub(crate) retain_milliseconds: u64,
    pub(crate) name: String,
}

impl StreamEntry {
    /// Appends a stream frame, to be written at `offset`.
    pub(crate) fn encode(&self, tag: u32, group: u32, offset: u64, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(32 + self.name.len());
        body.extend_from_slice(&self.next.to_le_bytes());
        body.extend_from_slice(&self.lost.to_le_bytes());
        body.extend_from_slice(&self.retain_bytes.to_le_bytes());
        body.extend_from_slice(&self.retain_milliseconds.to_le_bytes());
        body.extend_from_slice(self.name.as_bytes());
        let frame = Frame {
            kind: KIND_STREAM,
            flags: 0,
            length: body.len() as u32,
            group,
            stream: self.id,
            sequence: self.oldest,
            time: 0,
        };
        frame.encode(tag, offset, &body, out);
    }

    pub(crate) fn decode(frame: &Frame, body: &[u8]) -> Option<Self> {
        let name = body.get(32..)?;
        Some(Self {
            id: frame.stream,
            oldest: frame.sequence,
            next: u64_at(body, 0),
            lost: u64_at(body, 8),
            retain_bytes: u64_at(body, 16),
            retain_milliseconds: u64_at(body, 24),
            name: std::str::from_utf8(name).ok()?.to_owned(),
        })
    }
}

/// The pairs of a ledger: stream, and its next sequence after that group.
pub(crate) fn ledger_pairs(body: &[u8]) -> impl Iterator<Item = (u32, u64)> + '_ {
    body.chunks_exact(LEDGER_PAIR_BYTES).map(|pair| (u32_at(pair, 0), u64_at(pair, 4)))
}

pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(Crc32Iscsi, bytes) as u32
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

const MAGIC: &[u8; 8] = b"FARSHJRN";
