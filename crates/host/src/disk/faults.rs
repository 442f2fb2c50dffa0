//! Faults of a disk, on a plan: an error at the nth sync or write, a short
//! write, a disk that is full until space is given, and a power cut that keeps
//! an arbitrary part of what was written and not yet synced.
//!
//! For tests. The plan counts calls, so a failure is replayed by its numbers.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::DiskFile;

/// What a disk does wrong, and what it remembers to lose at a power cut.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
}

/// Which error a faulty call gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// EIO.
    Io,
    /// ENOSPC.
    NoSpace,
}

/// A write that fails: how much of it reached the file, and the error.
#[derive(Debug)]
pub struct WriteFault {
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl Faults {
    /// A disk without faults so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `nth` sync from now (1 is the next) and the `count - 1` after it fail.
    pub fn fail_syncs(&self, nth: u64, count: u64, error: FaultError) {
        let mut plan = self.plan.lock();
        let first = plan.syncs + nth;
        plan.failing_syncs = Some((first, first + count, error));
    }

    /// The `nth` write from now and the `count - 1` after it fail with a part
    /// of their bytes written: `written` of each thousand.
    pub fn fail_writes(&self, nth: u64, count: u64, written: usize, error: FaultError) {
        let mut plan = self.plan.lock();
        let first = plan.writes + nth;
        plan.failing_writes = Some((first, first + count, written, error));
    }

    /// Only `bytes` more may be allocated; `None` takes the bound away.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.plan.lock().space = bytes;
    }

    /// How many syncs were asked for.
    pub fn syncs(&self) -> u64 {
        self.plan.lock().syncs
    }

    /// Cuts the power: of the sectors that were written and not synced, an
    /// arbitrary choice (by `seed`) keeps its old content, and new files whose
    /// directory was not synced may be gone. Every call after it fails.
    pub fn power_cut(&self, seed: u64) -> io::Result<()> {
        let mut plan = self.plan.lock();
        plan.dead = true;
        let mut random = SplitMix(seed);
        // Some cuts lose everything, some nearly nothing, most are in between.
        let lost_of_256 = [0, 16, 128, 240, 256][(random.next() % 5) as usize];
        let undo = std::mem::take(&mut plan.undo);
        let mut paths: Vec<_> = undo.into_iter().collect();
        paths.sort_by(|left, right| left.0.cmp(&right.0));
        for (path, sectors) in paths {
            let Ok(file) = super::Disk::real().open(&path) else { continue };
            let mut sectors: Vec<_> = sectors.into_iter().collect();
            sectors.sort_by_key(|(at, _)| *at);
            for (at, old) in sectors {
                if random.next() % 256 < lost_of_256 {
                    file.write_at(&old, at)?;
                }
            }
        }
        for path in std::mem::take(&mut plan.created) {
            if random.next() % 256 < lost_of_256 {
                match super::Disk::real().remove(&path) {
                    // Removed by its owner a moment ago.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        self.plan.lock().alive()
    }

    pub(super) fn before_sync(&self) -> io::Result<()> {
        let mut plan = self.plan.lock();
        plan.alive()?;
        plan.syncs += 1;
        match plan.failing_syncs {
            Some((first, end, error)) if (first..end).contains(&plan.syncs) => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn before_dir_sync(&self, dir: &Path) -> io::Result<()> {
        let mut plan = self.plan.lock();
        plan.alive()?;
        plan.created.retain(|path| path.parent() != Some(dir));
        Ok(())
    }

    pub(super) fn before_write(&self, length: usize) -> io::Result<Option<WriteFault>> {
        let mut plan = self.plan.lock();
        plan.alive()?;
        plan.writes += 1;
        Ok(match plan.failing_writes {
            Some((first, end, written, error)) if (first..end).contains(&plan.writes) => {
                Some(WriteFault { written: length * written / 1000, error: error.into() })
            }
            _ => None,
        })
    }

    pub(super) fn before_growth(&self, bytes: u64) -> io::Result<()> {
        let mut plan = self.plan.lock();
        plan.alive()?;
        match &mut plan.space {
            Some(space) if *space < bytes => Err(FaultError::NoSpace.into()),
            Some(space) => {
                *space -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Keeps the content that a write is about to replace, sector by sector.
    pub(super) fn remember(&self, file: &DiskFile, offset: u64, length: usize) -> io::Result<()> {
        let mut plan = self.plan.lock();
        let size = file.size()?;
        let undo = plan.undo.entry(file.path.clone()).or_default();
        let mut at = offset / SECTOR_BYTES * SECTOR_BYTES;
        while at < offset + length as u64 {
            if at < size && !undo.contains_key(&at) {
                let mut old = vec![0; SECTOR_BYTES.min(size - at) as usize];
                rustix::io::pread(&file.fd, &mut old[..], at)?;
                undo.insert(at, old);
            }
            at += SECTOR_BYTES;
        }
        Ok(())
    }

    pub(super) fn synced(&self, path: &Path) {
        self.plan.lock().undo.remove(path);
    }

    pub(super) fn created(&self, path: &Path) {
        self.plan.lock().created.push(path.to_owned());
    }

    pub(super) fn removed(&self, path: &Path, freed: u64) {
        let mut plan = self.plan.lock();
        plan.undo.remove(path);
        plan.created.retain(|created| created != path);
        if let Some(space) = &mut plan.space {
            *space += freed;
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    dead: bool,
    syncs: u64,
    writes: u64,
    failing_syncs: Option<(u64, u64, FaultError)>,
    failing_writes: Option<(u64, u64, usize, FaultError)>,
    space: Option<u64>,
    undo: HashMap<PathBuf, HashMap<u64, Vec<u8>>>,
    created: Vec<PathBuf>,
}

impl Plan {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(Errno::IO.into()) } else { Ok(()) }
    }
}

impl From<FaultError> for io::Error {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Io => Errno::IO.into(),
            FaultError::NoSpace => Errno::NOSPC.into(),
        }
    }
}

/// SplitMix64: enough chance for choosing sectors, the same for a seed.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;
