//! The thread beside the writer that does what must not delay it: preparing the
//! next segment (allocating and zeroing 64 MiB takes a while), syncing footers,
//! recycling or removing segments that nothing needs any more.
//!
//! A spare is prepared once the segment being written is half full, so that a
//! journal that stores little does not take 64 MiB of somebody's SD card. While
//! a wanted spare cannot be made, it is tried again every [`RETRY`]; that is how
//! space is noticed when it is back.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host::disk::{Disk, DiskFile};
use parking_lot::{Condvar, Mutex};

use crate::AppendError;
use crate::queue::Queue;
use crate::segment::Segment;
use crate::settings::Settings;

#[derive(Debug)]
pub(crate) struct Keeper {
    dir: PathBuf,
    disk: Disk,
    segment_bytes: u64,
    bytes_max: Option<u64>,
    queue: Arc<Queue>,
    inner: Mutex<Inner>,
    /// The keeper waits here for tasks.
    tasks: Condvar,
    /// The writer waits here for a spare.
    spares: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    spares: Vec<Spare>,
    /// A spare will be needed.
    wanted: bool,
    /// Why there is no spare, after an attempt.
    failure: Option<AppendError>,
    to_sync: VecDeque<Arc<Segment>>,
    to_retire: VecDeque<Arc<Segment>>,
    /// Bytes of all segment files.
    total_bytes: u64,
    /// The queue refuses for want of space.
    looking: bool,
    next_file: u64,
    closing: bool,
}

/// A file ready to become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) file: DiskFile,
    pub(crate) capacity: u64,
}

impl Keeper {
    pub(crate) fn new(
        dir: &Path,
        settings: &Settings,
        queue: Arc<Queue>,
        spares: Vec<Spare>,
        total_bytes: u64,
        next_file: u64,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            disk: settings.disk.clone(),
            segment_bytes: settings.segment_bytes,
            bytes_max: settings.bytes_max,
            queue,
            inner: Mutex::new(Inner { spares, total_bytes, next_file, ..Inner::default() }),
            tasks: Condvar::new(),
            spares: Condvar::new(),
        }
    }

    /// A prepared file; waits while one is being made, and tells why there is none.
    pub(crate) fn take_spare(&self) -> Result<Spare, AppendError> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(spare) = inner.spares.pop() {
                inner.wanted = false;
                return Ok(spare);
            }
            if let Some(failure) = &inner.failure {
                return Err(failure.clone());
            }
            if inner.closing {
                return Err(AppendError::Closed);
            }
            inner.wanted = true;
            self.tasks.notify_one();
            self.spares.wait(&mut inner);
        }
    }

    /// A spare will be needed soon.
    pub(crate) fn want_spare(&self) {
        self.inner.lock().wanted = true;
        self.tasks.notify_one();
    }

    /// Gives back a file whose use failed.
    pub(crate) fn discard(&self, spare: Spare) {
        let path = spare.file.path().to_owned();
        drop(spare.file);
        if let Err(error) = self.disk.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove segment");
            return;
        }
        self.inner.lock().total_bytes -= spare.capacity;
    }

    /// Has a sealed segment's footer made durable.
    pub(crate) fn sync(&self, segment: Arc<Segment>) {
        self.inner.lock().to_sync.push_back(segment);
        self.tasks.notify_one();
    }

    /// Takes back segments that no stream has records in.
    pub(crate) fn retire(&self, segments: Vec<Arc<Segment>>) {
        self.inner.lock().to_retire.extend(segments);
        self.tasks.notify_one();
    }

    /// The queue has begun to refuse; it is to accept again in a while, once
    /// there is a spare.
    pub(crate) fn look_for_space(&self) {
        let mut inner = self.inner.lock();
        inner.looking = true;
        inner.wanted = true;
        drop(inner);
        self.tasks.notify_one();
    }

    /// Bytes of all segment files.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.inner.lock().total_bytes
    }

    #[cfg(test)]
    pub(crate) fn has_spare(&self) -> bool {
        !self.inner.lock().spares.is_empty()
    }

    pub(crate) fn close(&self) {
        self.inner.lock().closing = true;
        self.tasks.notify_one();
        self.spares.notify_all();
    }

    /// The thread's life.
    pub(crate) fn run(&self) {
        loop {
            let mut inner = self.inner.lock();
            if let Some(segment) = inner.to_sync.pop_front() {
                drop(inner);
                if let Err(error) = segment.file.sync_data() {
                    // The next opening scans this segment instead.
                    tracing::warn!(%error, "cannot sync the index of a journal segment");
                }
                continue;
            }
            if inner.closing {
                return;
            }
            if self.retire_one(&mut inner) {
                continue;
            }
            if inner.wanted && inner.spares.is_empty() {
                drop(inner);
                self.prepare_spare();
                inner = self.inner.lock();
                if inner.spares.is_empty() && !inner.closing {
                    self.tasks.wait_for(&mut inner, RETRY);
                }
                continue;
            }
            if inner.looking {
                inner.looking = false;
                // There is a spare, so the next append may try.
                self.tasks.wait_for(&mut inner, RETRY);
                self.queue.accept();
            } else if inner.to_retire.is_empty() {
                self.tasks.wait(&mut inner);
            } else {
                // A reader still has one; it will be done in a moment.
                self.tasks.wait_for(&mut inner, RETRY);
            }
        }
    }

    /// Makes a spare of a free segment, or removes it. `false`: none to do.
    fn retire_one(&self, inner: &mut Inner) -> bool {
        let unused = inner.to_retire.iter().position(|segment| Arc::strong_count(segment) == 1);
        let Some(segment) = unused.and_then(|index| inner.to_retire.remove(index)) else {
            return false;
        };
        let Some(segment) = Arc::into_inner(segment) else { return true };
        let capacity = segment.header.capacity;
        if capacity == self.segment_bytes && inner.spares.len() < SPARES_MAX {
            inner.spares.push(Spare { file: segment.file, capacity });
            self.spare_ready(inner);
            return true;
        }
        let path = segment.file.path().to_owned();
        drop(segment);
        match self.disk.remove(&path) {
            Ok(()) => inner.total_bytes -= capacity,
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove segment"),
        }
        true
    }

    fn prepare_spare(&self) {
        let path = {
            let mut inner = self.inner.lock();
            let bound = self.bytes_max.filter(|max| inner.total_bytes + self.segment_bytes > *max);
            if let Some(bytes_max) = bound {
                let path = self.dir.clone();
                self.spare_failed(&mut inner, AppendError::BoundReached { path, bytes_max });
                return;
            }
            let path = self.dir.join(segment_name(inner.next_file));
            inner.next_file += 1;
            path
        };
        let closing = || self.inner.lock().closing;
        let made = create_blank(&self.disk, &path, self.segment_bytes, closing);
        let mut inner = self.inner.lock();
        match made {
            Ok(file) => {
                inner.total_bytes += self.segment_bytes;
                inner.spares.push(Spare { file, capacity: self.segment_bytes });
                self.spare_ready(&mut inner);
            }
            Err(error) => {
                let failure = if error.kind() == io::ErrorKind::StorageFull {
                    AppendError::DiskFull { path: self.dir.clone() }
                } else {
                    AppendError::Disk { source: Arc::new(error) }
                };
                self.spare_failed(&mut inner, failure);
            }
        }
    }

    fn spare_ready(&self, inner: &mut Inner) {
        if inner.failure.take().is_some() {
            tracing::info!("journal has space for a segment again");
        }
        self.spares.notify_all();
        if std::mem::take(&mut inner.looking) {
            self.queue.accept();
        }
    }

    fn spare_failed(&self, inner: &mut Inner, failure: AppendError) {
        if inner.failure.is_none() {
            tracing::warn!(error = %failure, "cannot prepare a journal segment");
        }
        inner.failure = Some(failure);
        self.spares.notify_all();
    }
}

/// Creates a file of zeros, so that writing into it changes no metadata. Nothing
/// is left behind when that fails or is given up.
pub(crate) fn create_blank(
    disk: &Disk,
    path: &Path,
    bytes: u64,
    give_up: impl Fn() -> bool,
) -> io::Result<DiskFile> {
    let file = disk.create(path)?;
    let filled = fill(&file, bytes, give_up).and_then(|()| match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    });
    match filled {
        Ok(()) => Ok(file),
        Err(error) => {
            drop(file);
            // The first error is the one to tell.
            let _ = disk.remove(path);
            Err(error)
        }
    }
}

fn fill(file: &DiskFile, bytes: u64, give_up: impl Fn() -> bool) -> io::Result<()> {
    file.allocate(bytes)?;
    let mut at = 0;
    while at < bytes {
        if give_up() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let end = (at + FILL_BYTES).min(bytes);
        file.write_zeros(at, end)?;
        at = end;
    }
    file.sync_data()
}

/// The name of the nth segment file; it says nothing about the order of segments.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:08}{SEGMENT_SUFFIX}")
}

/// What segment files end with.
pub(crate) const SEGMENT_SUFFIX: &str = ".segment";

/// How often space is looked for while there is none.
const RETRY: Duration = Duration::from_millis(250);

/// How many free segments are kept for use.
const SPARES_MAX: usize = 2;

/// How much is zeroed between two looks at whether to give up.
const FILL_BYTES: u64 = 1 << 20;
