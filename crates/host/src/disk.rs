//! File primitives for the journal: positioned reads and writes, pre-allocation,
//! `fdatasync`, and the lock of a directory.
//!
//! Two disks are behind the same calls: the real one, and one that injects
//! faults on a plan (see [`Faults`]), so that the journal's answer to a full or
//! failing disk is tested on the code that runs in production. Nothing here
//! retries or hides an error; what an error means is for the caller to decide.
//! The power cut of a whole filesystem is in `disk/shutdown.rs`.

mod faults;
mod shutdown;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

pub use faults::{FaultError, Faults, WriteFault};
pub use shutdown::shut_filesystem_down;

/// A disk: the real one, or one with faults.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    faults: Option<Arc<Faults>>,
}

impl Disk {
    /// The machine's own filesystem.
    pub fn real() -> Self {
        Self { faults: None }
    }

    /// The machine's own filesystem, failing as `faults` says.
    pub fn faulty(faults: Arc<Faults>) -> Self {
        Self { faults: Some(faults) }
    }

    /// Creates a directory for its owner alone (0700), with its parents.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => {
                if let Some(parent) = path.parent() {
                    self.sync_dir(parent)?;
                }
                Ok(())
            }
            Err(Errno::EXIST) => Ok(()),
            Err(Errno::NOENT) => {
                let parent = path.parent().ok_or(Errno::NOENT)?;
                self.create_dir(parent)?;
                self.create_dir(path)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The names in a directory, sorted.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.alive()?;
        let fd = open_dir(dir)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a file that must exist, for reading and writing.
    pub fn open(&self, path: &Path) -> io::Result<DiskFile> {
        self.open_with(path, OFlags::empty())
    }

    /// Creates a file that must not exist, for its owner alone (0600).
    pub fn create(&self, path: &Path) -> io::Result<DiskFile> {
        let file = self.open_with(path, OFlags::CREATE | OFlags::EXCL)?;
        if let Some(faults) = &self.faults {
            faults.created(path);
        }
        Ok(file)
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        let freed = rustix::fs::stat(path)?.st_size as u64;
        rustix::fs::unlinkat(CWD, path, AtFlags::empty())?;
        if let Some(faults) = &self.faults {
            faults.removed(path, freed);
        }
        Ok(())
    }

    /// Renames a file within one filesystem, over an existing one.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        Ok(rustix::fs::rename(from, to)?)
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.before_dir_sync(dir)?;
        }
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        Ok(rustix::fs::fsync(open_dir(dir)?)?)
    }

    /// Takes the directory for this process alone, through a lock file in it.
    /// `None` when another owner has it. The kernel lets go when the owner ends.
    pub fn lock(&self, dir: &Path) -> io::Result<Option<DirLock>> {
        self.alive()?;
        let path = dir.join(LOCK_FILE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DirLock { _fd: fd })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open_with(&self, path: &Path, more: OFlags) -> io::Result<DiskFile> {
        self.alive()?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | more;
        let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(DiskFile { fd, path: path.to_owned(), faults: self.faults.clone() })
    }

    fn alive(&self) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.alive())
    }
}

/// The exclusive right to a directory; ends when dropped.
#[derive(Debug)]
pub struct DirLock {
    _fd: OwnedFd,
}

/// An open file with positioned access; safe to share between threads.
#[derive(Debug)]
pub struct DiskFile {
    fd: OwnedFd,
    path: PathBuf,
    faults: Option<Arc<Faults>>,
}

impl DiskFile {
    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_size as u64)
    }

    /// Reserves `size` bytes from the start, so that later writes within it
    /// find their blocks. The blocks are not written yet: the first write to
    /// each changes metadata, which [`DiskFile::write_zeros`] avoids.
    pub fn allocate(&self, size: u64) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.before_growth(size.saturating_sub(self.size()?))?;
        }
        match rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            // A filesystem without fallocate: the zeros that follow reserve.
            Err(Errno::OPNOTSUPP) => Ok(rustix::fs::ftruncate(&self.fd, size)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes zeros over `from..to`.
    pub fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = from;
        while at < to {
            let length = (to - at).min(ZEROS_BYTES as u64) as usize;
            self.write_at(&zeros[..length], at)?;
            at += length as u64;
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(faults) = &self.faults else { return self.write_all_at(bytes, offset) };
        let fault = faults.before_write(bytes.len())?;
        let written = fault.as_ref().map_or(bytes.len(), |fault| fault.written);
        faults.remember(self, offset, written)?;
        self.write_all_at(&bytes[..written], offset)?;
        fault.map_or(Ok(()), |fault| Err(fault.error))
    }

    /// Reads exactly `buffer.len()` bytes at `offset`.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.alive()?;
        }
        let mut done = 0;
        while done < buffer.len() {
            match rustix::io::pread(&self.fd, &mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads exactly `buffer.len()` bytes at `offset` when memory has them all;
    /// `false` when the disk would have to be waited for.
    pub fn read_at_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.faults.is_some() {
            return self.read_at(buffer, offset).map(|()| true);
        }
        let length = buffer.len();
        let mut parts = [io::IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.fd, &mut parts, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == length),
            // Filesystems that cannot tell (OPNOTSUPP) are read as if cold.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what was written durable, without metadata that readers do not need.
    pub fn sync_data(&self) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            faults.before_sync()?;
        }
        rustix::fs::fdatasync(&self.fd)?;
        if let Some(faults) = &self.faults {
            faults.synced(&self.path);
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pwrite(&self.fd, &bytes[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The file whose lock stands for its directory.
const LOCK_FILE: &str = "LOCK";

/// How much is written at a time when zeroing.
const ZEROS_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
