//! Opening a journal: which files are what, what the streams hold, and what to
//! do about a crash or damage.
//!
//! - Sealed segments are taken by their footers; one without a valid footer is
//!   scanned, as is the last segment.
//! - A tail that was torn by a power cut is cut at its first damaged byte: what
//!   is before it in the same group stays (nobody was promised it, nobody was
//!   refused it), what is behind it goes, so that a stream never has a hole in
//!   it from a crash. The group is written again without its tail.
//! - Damage anywhere else costs the damaged records. Their sequences are known
//!   from the ledger of the next group; where nothing tells, every stream skips
//!   as many sequences as the damage could have held, so that none is given twice.
//! - What is found in the last segment is synced before anyone sees it.

mod opening;
mod scan;
mod tail;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::disk::DirLock;
use jiff::Timestamp;

use crate::settings::Settings;
use crate::writer::{WriteError, Writer};
use crate::{OpenError, Shared};
use opening::Opening;

/// What an opening found.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Segments with records or their traces.
    pub segments: usize,
    /// Segments that were scanned, the last one among them.
    pub scanned_segments: usize,
    /// Records found by scanning.
    pub scanned_records: u64,
    /// Records that are lost to damage and not yet trimmed, in all streams.
    pub lost_records: u64,
    /// Where the damage is; the first hundred places.
    pub damaged: Vec<DamagedRange>,
    /// How many places are damaged.
    pub damaged_ranges: u64,
    /// Bytes of a torn last group that were cut off; nobody was promised them.
    pub torn_bytes: u64,
    /// Files without anything readable, renamed to `*.damaged`.
    pub unreadable_files: Vec<PathBuf>,
    /// Streams whose name is lost; they are called `lost+found-<id>` now.
    pub nameless_streams: usize,
    /// How long it took.
    pub duration: Duration,
}

/// Bytes that held records and no longer do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The segment's file.
    pub path: PathBuf,
    /// From the first damaged byte to the next readable record.
    pub bytes: Range<u64>,
}

/// An opened journal, before its threads start.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) lock: DirLock,
    pub(crate) report: RecoveryReport,
}

pub(crate) fn open(dir: &Path, settings: Settings, clock: Clock) -> Result<Opened, OpenError> {
    let began = clock.now();
    let disk = settings.disk.clone();
    let at_dir = |source| OpenError::Io { path: dir.to_owned(), source };
    disk.create_dir(dir).map_err(at_dir)?;
    let lock = disk.lock(dir).map_err(at_dir)?;
    let lock = lock.ok_or_else(|| OpenError::Locked { path: dir.to_owned() })?;
    let mut opening = Opening::new(dir, &settings);
    opening.find_files()?;
    opening.read_segments()?;
    let streams = opening.build_streams()?;
    opening.order_tail()?;

    if opening.segments.is_empty() && opening.spares.is_empty() {
        opening.first_file(settings.first_segment_bytes)?;
    }
    let (shared, mut writer) = opening.compose(settings, clock.clone(), streams)?;
    if writer.segment.is_none() && shared.segments.lock().is_empty() {
        let begun = writer.begin_segment();
        begun.map_err(|error| write_error(dir, error))?;
    }
    if let Ok(time) = Timestamp::from_microsecond(writer.time) {
        clock.not_before(time);
    }
    let mut report = std::mem::take(&mut opening.report);
    report.segments = shared.segments.lock().len();
    report.lost_records =
        shared.streams.all().iter().map(|stream| stream.state.lock().known_holes()).sum();
    report.duration = clock.now() - began;
    tell(dir, &report);
    Ok(Opened { shared, writer, lock, report })
}

fn tell(dir: &Path, report: &RecoveryReport) {
    let dir = dir.display();
    if report.torn_bytes > 0 {
        tracing::warn!(%dir, bytes = report.torn_bytes, "journal's unfinished last write was cut off");
    }
    if report.damaged_ranges > 0 || report.lost_records > 0 {
        tracing::error!(
            %dir,
            lost_records = report.lost_records,
            damaged_ranges = report.damaged_ranges,
            "journal is damaged: only the damaged records are lost"
        );
    }
}

fn write_error(dir: &Path, error: WriteError) -> OpenError {
    let (WriteError::NoRoom(error) | WriteError::Disk(error)) = error;
    OpenError::Io { path: dir.to_owned(), source: io::Error::other(error) }
}
