//! Walks the frames of a segment, over damage: what cannot be read is told as a
//! range and the walk goes on at the next valid frame.
//!
//! Readers, recovery and compaction all walk with this, so damage means the
//! same to each. A frame counts when its tag is the segment's, its CRC is right
//! and its group is not before one already seen.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use host::disk::DiskFile;

use crate::format::{FRAME_BYTES, Frame, KIND_GROUP, SECTOR_BYTES, u32_at};

/// One step of a walk.
#[derive(Debug)]
pub(crate) enum Step {
    Frame {
        offset: u64,
        frame: Frame,
        body: Bytes,
    },
    /// Bytes that held frames and no longer do; the next step is a frame.
    Damage(Range<u64>),
}

/// A walk that could not go on.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The disk would have to be waited for, and the caller did not want to.
    Cold,
    Io(io::Error),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A walk over one file, from an offset to a limit.
pub(crate) struct Walker<'a> {
    window: Window<'a>,
    tag: u32,
    at: u64,
    limit: u64,
    group: u32,
    /// Where the current group's frames end, when its group frame was seen.
    group_end: Option<u64>,
}

impl<'a> Walker<'a> {
    /// Walks from `at`, where a frame must begin, to `limit`, reading about
    /// `chunk` bytes at a time.
    pub(crate) fn new(file: &'a DiskFile, tag: u32, at: u64, limit: u64, chunk: usize) -> Self {
        let window = Window { file, start: 0, bytes: Bytes::new(), limit, chunk, cached: false };
        Self { window, tag, at, limit, group: 0, group_end: None }
    }

    /// Reads only what is in memory; elsewhere the walk ends with `Cold`.
    pub(crate) fn only_cached(mut self) -> Self {
        self.window.cached = true;
        self
    }

    /// Where the next frame would be.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Where the frames of the group under way end, as far as known.
    pub(crate) fn group_end(&self) -> Option<u64> {
        self.group_end
    }

    /// The next frame or damage; `None` when no further frame is before the limit.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, WalkError> {
        loop {
            if self.at + FRAME_BYTES as u64 > self.limit {
                return Ok(None);
            }
            if let Some((frame, body)) = self.frame_at(self.at)? {
                return Ok(Some(self.accept(frame, body)));
            }
            let boundary = (self.at + 1).next_multiple_of(SECTOR_BYTES).min(self.limit);
            let between = self.group_end.is_none_or(|end| self.at >= end)
                && !self.at.is_multiple_of(SECTOR_BYTES);
            if between && is_zero(self.window.view(self.at, (boundary - self.at) as usize)?) {
                self.at = boundary;
                continue;
            }
            return match self.search(self.at + 8)? {
                Some(found) => {
                    let damaged = self.at..found;
                    self.at = found;
                    if self.group_end.is_some_and(|end| found >= end) {
                        self.group_end = None;
                    }
                    Ok(Some(Step::Damage(damaged)))
                }
                None => Ok(None),
            };
        }
    }

    fn accept(&mut self, frame: Frame, body: Bytes) -> Step {
        let offset = self.at;
        if frame.group > self.group {
            self.group = frame.group;
            self.group_end = None;
        }
        self.at += frame.span() as u64;
        if frame.kind == KIND_GROUP {
            self.group_end = Some(self.at + u64::from(frame.length));
        }
        Step::Frame { offset, frame, body }
    }

    fn frame_at(&mut self, at: u64) -> Result<Option<(Frame, Bytes)>, WalkError> {
        let Some(frame) = Frame::peek(self.window.view(at, FRAME_BYTES)?, self.tag) else {
            return Ok(None);
        };
        let whole = at + frame.covered() as u64 <= self.limit;
        if frame.group < self.group || !whole {
            return Ok(None);
        }
        if !frame.verify(self.window.view(at, frame.covered())?, at) {
            return Ok(None);
        }
        let body = if frame.kind == KIND_GROUP {
            Bytes::new()
        } else {
            self.window.slice(at + FRAME_BYTES as u64, frame.length as usize)
        };
        Ok(Some((frame, body)))
    }

    /// The next offset from `from` on where a valid frame begins.
    fn search(&mut self, from: u64) -> Result<Option<u64>, WalkError> {
        let mut at = from;
        while at + FRAME_BYTES as u64 <= self.limit {
            let tag = self.tag;
            let span = (self.limit - at).min(self.window.chunk as u64) as usize / 8 * 8;
            let bytes = self.window.view(at, span.max(FRAME_BYTES))?;
            // The tag is in the upper half of a frame's first eight bytes.
            match bytes.chunks_exact(8).position(|eight| u32_at(eight, 4) == tag) {
                Some(index) => {
                    let candidate = at + index as u64 * 8;
                    if candidate + FRAME_BYTES as u64 <= self.limit
                        && self.frame_at(candidate)?.is_some()
                    {
                        return Ok(Some(candidate));
                    }
                    at = candidate + 8;
                }
                None => at += bytes.len() as u64 / 8 * 8,
            }
        }
        Ok(None)
    }
}

/// A part of the file in memory, moved along as needed.
struct Window<'a> {
    file: &'a DiskFile,
    start: u64,
    bytes: Bytes,
    limit: u64,
    chunk: usize,
    cached: bool,
}

impl Window<'_> {
    /// `length` bytes at `at`; the caller keeps within the limit.
    fn view(&mut self, at: u64, length: usize) -> Result<&[u8], WalkError> {
        let end = at + length as u64;
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let wanted = (length.max(self.chunk) as u64).min(self.limit - at) as usize;
            let mut bytes = vec![0; wanted];
            if !self.cached {
                match self.file.read_at(&mut bytes, at) {
                    // A file that was cut short is damaged from there on; the
                    // rest of the buffer is zeros.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                    other => other?,
                }
            } else if !self.file.read_at_cached(&mut bytes, at)? {
                return Err(WalkError::Cold);
            }
            self.bytes = Bytes::from(bytes);
            self.start = at;
        }
        let offset = (at - self.start) as usize;
        Ok(&self.bytes[offset..offset + length])
    }

    /// A part of what was viewed, without a copy.
    fn slice(&self, at: u64, length: usize) -> Bytes {
        let offset = (at - self.start) as usize;
        self.bytes.slice(offset..offset + length)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
