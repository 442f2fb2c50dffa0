//! What an opening finds out, step by step: files, segments, streams, the tail.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use host::clock::Clock;
use host::disk::{Disk, DiskFile};
use parking_lot::Mutex;

use super::scan::{Scan, infer_header, scan};
use super::tail::{restore_size, rewrite_tail};
use super::{DamagedRange, RecoveryReport};
use crate::format::{
    DATA_START, FRAME_BYTES, HeaderState, KIND_RECORD, SegmentHeader, StreamEntry, VERSION,
};
use crate::keeper::{Keeper, SEGMENT_SUFFIX, Spare, create_blank, segment_name};
use crate::queue::Queue;
use crate::segment::{ChunkParts, Segment, read_footer, read_header};
use crate::settings::Settings;
use crate::stream::{StreamState, Streams};
use crate::writer::{FOOTER_START_BYTES, Writer};
use crate::{OpenError, Shared};

/// The state of an opening.
pub(super) struct Opening {
    dir: PathBuf,
    disk: Disk,
    segment_bytes: u64,
    files: Vec<(DiskFile, SegmentHeader)>,
    /// By age: the oldest first.
    pub(super) segments: Vec<Arc<Segment>>,
    chunks: Vec<Vec<(u32, ChunkParts)>>,
    entries: BTreeMap<u32, StreamEntry>,
    nexts: HashMap<u32, u64>,
    tail: Option<Scan>,
    pub(super) spares: Vec<Spare>,
    total_bytes: u64,
    next_file: u64,
    last_ordinal: u64,
    time: i64,
    pub(super) report: RecoveryReport,
}

impl Opening {
    pub(super) fn new(dir: &Path, settings: &Settings) -> Self {
        Self {
            dir: dir.to_owned(),
            disk: settings.disk.clone(),
            segment_bytes: settings.segment_bytes,
            files: Vec::new(),
            segments: Vec::new(),
            chunks: Vec::new(),
            entries: BTreeMap::new(),
            nexts: HashMap::new(),
            tail: None,
            spares: Vec::new(),
            total_bytes: 0,
            next_file: 0,
            last_ordinal: 0,
            time: i64::MIN,
            report: RecoveryReport::default(),
        }
    }

    /// Opens the segment files and reads their headers.
    pub(super) fn find_files(&mut self) -> Result<(), OpenError> {
        let names = self.disk.list(&self.dir).map_err(|error| io_error(&self.dir, error))?;
        for name in names {
            let number = name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX));
            let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
                continue;
            };
            self.next_file = self.next_file.max(number + 1);
            let path = self.dir.join(&name);
            self.find_file(&path).map_err(|error| match error {
                FileError::Open(error) => error,
                FileError::Io(error) => io_error(&path, error),
            })?;
        }
        self.files.sort_by_key(|(_, header)| header.ordinal);
        Ok(())
    }

    fn find_file(&mut self, path: &Path) -> Result<(), FileError> {
        let file = self.disk.open(path)?;
        let size = file.size()?;
        let header = match read_header(&file)? {
            HeaderState::Newer(found) => {
                let path = self.dir.clone();
                return Err(FileError::Open(OpenError::NewerVersion {
                    path,
                    found,
                    known: VERSION,
                }));
            }
            HeaderState::Valid(header) => header,
            HeaderState::Blank => {
                self.total_bytes += size;
                self.spares.push(Spare { file, capacity: size });
                return Ok(());
            }
            HeaderState::Damaged if size < DATA_START => {
                // Being prepared when the power went.
                drop(file);
                return Ok(self.disk.remove(path)?);
            }
            HeaderState::Damaged => match infer_header(&file)? {
                Some(header) => {
                    self.damaged(path, 0..DATA_START);
                    header
                }
                None => return Ok(self.set_aside(path)?),
            },
        };
        self.total_bytes += size;
        self.last_ordinal = self.last_ordinal.max(header.ordinal);
        self.files.push((file, header));
        Ok(())
    }

    /// Nothing can be read in this file; it is kept for whoever wants to look.
    fn set_aside(&mut self, path: &Path) -> io::Result<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".damaged");
        let aside = PathBuf::from(aside);
        self.disk.rename(path, &aside)?;
        self.disk.sync_dir(&self.dir)?;
        tracing::error!(path = %aside.display(), "journal segment is unreadable and set aside");
        self.report.unreadable_files.push(aside);
        Ok(())
    }

    /// Reads what each segment holds, by its footer or by scanning.
    pub(super) fn read_segments(&mut self) -> Result<(), OpenError> {
        self.drop_stillborn()?;
        let files = std::mem::take(&mut self.files);
        let limits: Vec<u64> = (0..files.len())
            .map(|index| match (files.get(index + 1), &files[index].1) {
                (Some((_, next)), header) if next.previous_ordinal == header.ordinal => {
                    next.previous_end.min(header.capacity)
                }
                (_, header) => header.capacity,
            })
            .collect();
        let count = files.len();
        for (index, (file, header)) in files.into_iter().enumerate() {
            let last = index + 1 == count;
            let path = file.path().to_owned();
            self.read_segment(file, header, limits[index], last)
                .map_err(|error| io_error(&path, error))?;
        }
        Ok(())
    }

    /// A last segment without one valid frame never began: the power went
    /// during its first write, which nobody was promised anything of.
    fn drop_stillborn(&mut self) -> Result<(), OpenError> {
        while let Some((file, header)) = self.files.last() {
            let path = file.path().to_owned();
            let found = restore_size(file, header)
                .and_then(|()| scan(file, header, header.capacity, true))
                .map_err(|error| io_error(&path, error))?;
            if found.frames > 0 {
                self.tail = Some(found);
                return Ok(());
            }
            if let Some((file, header)) = self.files.pop() {
                self.spares.push(Spare { file, capacity: header.capacity });
            }
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        file: DiskFile,
        header: SegmentHeader,
        limit: u64,
        last: bool,
    ) -> io::Result<()> {
        let footer = if last { None } else { read_footer(&file, &header)? };
        let (end, chunks) = match footer {
            Some((end, chunks)) => {
                let chunks = chunks.into_iter().map(|kept| (kept.stream, kept.chunk)).collect();
                (end, chunks)
            }
            None => {
                let found = match self.tail.take() {
                    Some(found) if last => found,
                    kept => {
                        self.tail = kept;
                        let size = file.size()?;
                        if size < limit && limit < header.capacity {
                            self.damaged(file.path(), size..limit);
                        }
                        scan(&file, &header, limit.min(size), false)?
                    }
                };
                self.take_scan(file.path(), found, last)
            }
        };
        for (_, parts) in &chunks {
            self.time = self.time.max(parts.last_time);
        }
        self.segments.push(Segment::new(file, header, end));
        self.chunks.push(chunks);
        Ok(())
    }

    fn take_scan(
        &mut self,
        path: &Path,
        mut found: Scan,
        last: bool,
    ) -> (u64, Vec<(u32, ChunkParts)>) {
        self.report.scanned_segments += 1;
        self.report.scanned_records += found.records;
        self.time = self.time.max(found.time);
        for range in &found.damaged {
            self.damaged(path, range.clone());
        }
        for entry in found.entries.drain(..) {
            self.entries.insert(entry.id, entry);
        }
        for (stream, evidence) in &found.nexts {
            let next = self.nexts.entry(*stream).or_default();
            *next = (*next).max(evidence.next);
        }
        let (end, chunks) = (found.end, std::mem::take(&mut found.chunks));
        if last && found.sealed {
            // A segment is sealed when its successor is durable. That one is
            // gone, and nothing tells what was in it.
            let capacity = self.segment_bytes;
            self.damaged(path, end..end);
            found.unexplained.push(u64::MAX - capacity..u64::MAX);
        }
        if last {
            self.tail = Some(found);
        }
        (end, chunks)
    }

    fn damaged(&mut self, path: &Path, bytes: Range<u64>) {
        self.report.damaged_ranges += 1;
        if self.report.damaged.len() < DAMAGED_TOLD_MAX {
            self.report.damaged.push(DamagedRange { path: path.to_owned(), bytes });
        }
    }

    /// Puts the streams together from entries and chunks.
    pub(super) fn build_streams(&mut self) -> Result<Streams, OpenError> {
        let mut ids: Vec<u32> = self.entries.keys().copied().collect();
        ids.extend(self.chunks.iter().flatten().map(|(stream, _)| *stream));
        let count = ids.iter().max().map_or(0, |id| id + 1);
        let missing = (0..count).filter(|id| !self.entries.contains_key(id)).collect();
        self.find_entries(missing)?;
        let streams = Streams::default();
        for id in 0..count {
            let entry = match self.entries.get(&id) {
                Some(entry) => entry.clone(),
                None => self.nameless(id),
            };
            let mut state = StreamState::from_entry(&entry);
            for (segment, chunks) in self.segments.iter().zip(&self.chunks) {
                for (_, parts) in chunks.iter().filter(|(stream, _)| *stream == id) {
                    state.insert(segment, parts.clone());
                }
            }
            state.next = state.next.max(self.nexts.get(&id).copied().unwrap_or(0));
            state.next += self.skip(id);
            state.find_holes();
            streams.add(&entry.name, state);
        }
        Ok(streams)
    }

    /// How many sequences damage may have held that nothing tells about.
    fn skip(&self, id: u32) -> u64 {
        let Some(tail) = &self.tail else { return 0 };
        let seen = tail.nexts.get(&id).map_or(0, |evidence| evidence.offset);
        let unexplained = tail.unexplained.iter().filter(|range| range.start > seen);
        unexplained.map(|range| (range.end - range.start) / FRAME_BYTES as u64 + 1).sum()
    }

    /// Looks for entries at the starts of older segments, the newest first.
    fn find_entries(&mut self, mut missing: Vec<u32>) -> Result<(), OpenError> {
        for segment in self.segments.iter().rev() {
            if missing.is_empty() {
                return Ok(());
            }
            let limit = segment.end();
            let found = scan(&segment.file, &segment.header, limit, false)
                .map_err(|error| io_error(segment.file.path(), error))?;
            for entry in found.entries {
                if missing.contains(&entry.id) {
                    self.entries.insert(entry.id, entry);
                }
            }
            missing.retain(|id| !self.entries.contains_key(id));
        }
        Ok(())
    }

    fn nameless(&mut self, id: u32) -> StreamEntry {
        self.report.nameless_streams += 1;
        // Its trims are lost too; begin with what is there.
        let of_stream = || self.chunks.iter().flatten().filter(move |(stream, _)| *stream == id);
        let oldest = of_stream().map(|(_, parts)| parts.first).min().unwrap_or(0);
        StreamEntry {
            id,
            oldest,
            next: oldest,
            lost: 0,
            retain_bytes: 0,
            retain_milliseconds: 0,
            name: format!("lost+found-{id}"),
        }
    }

    /// Writes a torn last group again without its tail, and makes what was
    /// found in the last segment durable before anyone sees it.
    pub(super) fn order_tail(&mut self) -> Result<(), OpenError> {
        // Old sizes are of no use after a change of settings.
        let (fit, unfit): (Vec<_>, Vec<_>) =
            self.spares.drain(..).partition(|spare| spare.capacity == self.segment_bytes);
        self.spares = fit;
        for spare in unfit {
            let path = spare.file.path().to_owned();
            drop(spare.file);
            self.disk.remove(&path).map_err(|error| io_error(&path, error))?;
            self.total_bytes -= spare.capacity;
        }
        let (Some(segment), Some(tail)) = (self.segments.last(), &mut self.tail) else {
            return Ok(());
        };
        let ordered = match tail.torn_to {
            Some(torn_to) => {
                self.report.torn_bytes = torn_to.saturating_sub(tail.end);
                rewrite_tail(segment, tail, torn_to)
            }
            None => Ok(()),
        };
        ordered
            .and_then(|()| segment.file.sync_data())
            .map_err(|error| io_error(segment.file.path(), error))
    }

    pub(super) fn first_file(&mut self, bytes: u64) -> Result<(), OpenError> {
        let path = self.dir.join(segment_name(self.next_file));
        self.next_file += 1;
        let file = create_blank(&self.disk, &path, bytes, || false).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::StorageFull => OpenError::NoSpace { path: self.dir.clone(), bytes },
            _ => io_error(&path, error),
        })?;
        self.spares.push(Spare { file, capacity: bytes });
        self.total_bytes += bytes;
        Ok(())
    }

    pub(super) fn compose(
        &mut self,
        settings: Settings,
        clock: Clock,
        streams: Streams,
    ) -> Result<(Arc<Shared>, Writer), OpenError> {
        let queue = Arc::new(Queue::new(&settings));
        let spares = std::mem::take(&mut self.spares);
        let keeper = Keeper::new(
            &self.dir,
            &settings,
            queue.clone(),
            spares,
            self.total_bytes,
            self.next_file,
        );
        let all = streams.all();
        let aged = all.iter().any(|stream| stream.state.lock().retention.age.is_some());
        let entry_bytes =
            all.iter().map(|stream| stream.name.len() + crate::ENTRY_BYTES).sum::<usize>();
        let shared = Arc::new(Shared {
            dir: self.dir.clone(),
            settings,
            clock,
            queue,
            keeper,
            streams,
            dirty: Mutex::default(),
            creating: Mutex::default(),
            segments: Mutex::new(self.segments.clone()),
            groups: AtomicU64::new(0),
            has_ages: AtomicBool::new(aged),
            entry_bytes: AtomicU64::new(entry_bytes as u64),
            #[cfg(test)]
            killed: AtomicBool::new(false),
        });
        let mut writer = Writer::new(shared.clone());
        writer.last_ordinal = self.last_ordinal;
        writer.time = self.time;
        if let (Some(segment), Some(tail)) = (self.segments.last(), &self.tail) {
            writer.position = segment.end();
            writer.position_in = segment.header.ordinal;
            writer.group = tail.last_group;
            if !tail.sealed {
                writer.segment = Some(segment.clone());
            }
            let records = tail.tail.iter().filter(|tail| tail.frame.kind == KIND_RECORD);
            let ledger: BTreeMap<u32, u64> =
                records.map(|tail| (tail.frame.stream, tail.frame.sequence + 1)).collect();
            writer.unproved = !ledger.is_empty();
            writer.ledger = ledger.into_iter().collect();
            let chunks = self.chunks.last().into_iter().flatten();
            writer.footer_bytes =
                FOOTER_START_BYTES + chunks.map(|(_, parts)| parts.footer_bytes()).sum::<u64>();
        }
        Ok((shared, writer))
    }
}

enum FileError {
    Open(OpenError),
    Io(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

/// How many damaged places a report names.
const DAMAGED_TOLD_MAX: usize = 100;
