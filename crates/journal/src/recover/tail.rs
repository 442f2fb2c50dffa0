//! Bringing the last segment in order after a crash.

use std::io;

use host::disk::DiskFile;

use super::scan::Scan;
use crate::format::{FRAME_BYTES, Frame, KIND_GROUP, SECTOR_BYTES, SegmentHeader};
use crate::segment::Segment;

/// Writes the last group anew with the frames before the tear, and zeros over
/// the rest, so that nothing of it is ever found again.
pub(super) fn rewrite_tail(segment: &Segment, tail: &mut Scan, torn_to: u64) -> io::Result<()> {
    let start = if tail.tail.is_empty() { tail.end } else { tail.tail_start };
    let group = tail.last_group + 1;
    let mut bytes = Vec::new();
    if let Some(first) = tail.tail.first() {
        bytes.resize((first.offset - start) as usize, 0);
        for kept in &tail.tail {
            let frame = Frame { group, ..kept.frame };
            let offset = start + bytes.len() as u64;
            frame.encode(segment.header.tag, offset, &kept.body, &mut bytes);
        }
        let head = Frame {
            kind: KIND_GROUP,
            flags: 0,
            length: (bytes.len() - FRAME_BYTES) as u32,
            group,
            stream: tail.tail.len() as u32,
            sequence: segment.header.ordinal,
            time: tail.time,
        };
        head.encode_over(segment.header.tag, start, &mut bytes);
        tail.end = start + bytes.len() as u64;
    } else {
        tail.end = start;
    }
    tail.last_group = group;
    tail.end = tail.end.next_multiple_of(SECTOR_BYTES);
    segment.set_end(tail.end);
    let torn_to = torn_to.next_multiple_of(SECTOR_BYTES).min(segment.header.capacity);
    let whole = (torn_to.max(tail.end) - start) as usize;
    bytes.resize(whole, 0);
    segment.file.write_at(&bytes, start)
}

/// Makes a last segment that was cut short as long as it was, so that writing
/// into it changes no metadata.
pub(super) fn restore_size(file: &DiskFile, header: &SegmentHeader) -> io::Result<()> {
    let size = file.size()?;
    if size >= header.capacity {
        return Ok(());
    }
    file.allocate(header.capacity)?;
    file.write_zeros(size, header.capacity)
}
