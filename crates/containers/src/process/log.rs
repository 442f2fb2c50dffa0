//! The log of a module that runs as a process: two bounded files.
//!
//! A record is a line: time, `o` or `e` for the output, `F` or `P` for a full
//! line or a piece of a long one, then the text. Segments are numbered; the last
//! two are kept, so a module costs at most twice the segment's size on disk.
//! Written through the page cache and not synced: a power cut may cost the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::disk::{Disk, DiskFile};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{LogSource, RuntimeError};

/// One module's log; written by the worker, read by anybody.
pub(super) struct Log {
    dir: PathBuf,
    segment_bytes_max: u64,
    writer: Mutex<Writer>,
    end: watch::Sender<End>,
}

struct Writer {
    segment: u64,
    file: Arc<DiskFile>,
    bytes: u64,
}

/// Where the log ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) segment: u64,
    pub(super) bytes: u64,
    /// Whether more is to come: the module runs.
    pub(super) is_open: bool,
}

/// A piece of output as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) time: Timestamp,
    pub(super) source: LogSource,
    /// Whether the line ends here.
    pub(super) is_full: bool,
    pub(super) text: &'a [u8],
}

impl Log {
    /// Opens the log in a module's directory, or begins it.
    pub(super) fn open(dir: &Path, segment_bytes_max: u64) -> Result<Self, RuntimeError> {
        let newest = segments(dir).map_err(failed(dir))?.into_iter().next_back();
        let (segment, file) = match newest {
            Some(segment) => (segment, Disk::real().open(&path(dir, segment))),
            None => (0, Disk::real().create(&path(dir, 0))),
        };
        let file = file.map_err(failed(dir))?;
        let mut bytes = file.size().map_err(failed(dir))?;
        bytes += end_line(&file, bytes).map_err(failed(dir))?;
        let (end, _) = watch::channel(End { segment, bytes, is_open: false });
        let writer = Mutex::new(Writer { segment, file: Arc::new(file), bytes });
        Ok(Self { dir: dir.to_owned(), segment_bytes_max, writer, end })
    }

    /// Adds a record; begins a new segment when this one is full.
    pub(super) fn append(&self, record: &Record<'_>) -> std::io::Result<()> {
        let bytes = encode(record);
        let mut writer = self.writer.lock();
        if writer.bytes + bytes.len() as u64 > self.segment_bytes_max && writer.bytes > 0 {
            self.rotate(&mut writer)?;
        }
        writer.file.write_at(&bytes, writer.bytes)?;
        writer.bytes += bytes.len() as u64;
        let (segment, bytes) = (writer.segment, writer.bytes);
        self.end.send_modify(|end| (end.segment, end.bytes) = (segment, bytes));
        Ok(())
    }

    /// Says whether more is to come.
    pub(super) fn set_open(&self, is_open: bool) {
        self.end.send_modify(|end| end.is_open = is_open);
    }

    pub(super) fn watch(&self) -> watch::Receiver<End> {
        self.end.subscribe()
    }

    /// The oldest segment not before `from`, opened, with its number.
    pub(super) fn segment(&self, from: u64) -> std::io::Result<Option<(u64, Arc<DiskFile>)>> {
        // Under the lock nothing is removed between listing and opening.
        let writer = self.writer.lock();
        let Some(number) = segments(&self.dir)?.into_iter().find(|number| *number >= from) else {
            return Ok(None);
        };
        if number == writer.segment {
            return Ok(Some((number, writer.file.clone())));
        }
        Ok(Some((number, Arc::new(Disk::real().open(&path(&self.dir, number))?))))
    }

    fn rotate(&self, writer: &mut Writer) -> std::io::Result<()> {
        let next = writer.segment + 1;
        let file = Disk::real().create(&path(&self.dir, next))?;
        *writer = Writer { segment: next, file: Arc::new(file), bytes: 0 };
        for old in segments(&self.dir)?.into_iter().filter(|old| *old + SEGMENTS_KEPT <= next) {
            Disk::real().remove(&path(&self.dir, old))?;
        }
        Ok(())
    }
}

/// Reads a record back; `None` for a line that was torn or tampered with.
pub(super) fn decode(line: &[u8]) -> Option<Record<'_>> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let (kind, text) = line[space + 1..].split_at_checked(3)?;
    let source = match kind[0] {
        b'o' => LogSource::Stdout,
        b'e' => LogSource::Stderr,
        _ => return None,
    };
    let is_full = match kind[1] {
        b'F' => true,
        b'P' => false,
        _ => return None,
    };
    (kind[2] == b' ').then_some(Record { time, source, is_full, text })
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    let source = match record.source {
        LogSource::Stdout => 'o',
        LogSource::Stderr => 'e',
    };
    let kind = if record.is_full { 'F' } else { 'P' };
    let mut bytes = format!("{:.9} {source}{kind} ", record.time).into_bytes();
    bytes.extend_from_slice(record.text);
    bytes.push(b'\n');
    bytes
}

/// Ends a line that was being written when the machine stopped.
fn end_line(file: &DiskFile, bytes: u64) -> std::io::Result<u64> {
    let mut last = [b'\n'];
    if bytes > 0 {
        file.read_at(&mut last, bytes - 1)?;
    }
    if last == *b"\n" {
        return Ok(0);
    }
    file.write_at(b"\n", bytes)?;
    Ok(1)
}

/// The numbers of the segments, oldest first.
fn segments(dir: &Path) -> std::io::Result<Vec<u64>> {
    let names = Disk::real().list(dir)?;
    let number = |name: &std::ffi::OsString| name.to_str()?.strip_prefix(PREFIX)?.parse().ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{segment}"))
}

fn failed(dir: &Path) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| RuntimeError::System {
        what: format!("cannot open the log in {}", dir.display()),
        source,
    }
}

const PREFIX: &str = "log.";
const SEGMENTS_KEPT: u64 = 2;

#[cfg(test)]
mod tests;
