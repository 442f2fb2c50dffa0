//! Whole files and directories: settings, keys, certificates, small state.
//!
//! Blocking: meant for start-up and for rare, small writes; the journal has its
//! own primitives in [`crate::disk`]. Errors name the path.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub use tree::{copy_tree, is_same_file_system, remove_empty_dir, set_owner_of_tree, tree_bytes};

mod tree;

/// A file operation failed; says which one and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FsError {
    /// What was tried, as a verb: `read`, `write`, `lock`, ...
    pub action: &'static str,
    /// The path that it was tried on.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

impl FsError {
    fn wrap(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }

    /// Whether the path does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether somebody else holds the lock asked for.
    pub fn is_locked(&self) -> bool {
        self.source.kind() == io::ErrorKind::WouldBlock
    }
}

/// What `metadata` tells about a path; symbolic links are followed.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The permission bits, such as `0o600`.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When its content changed last, in seconds since 1970.
    pub modified_seconds: i64,
}

/// Creates `path` and what is missing above it, and makes `path` itself
/// accessible to its owner only (0700), also when it was there before.
pub fn create_private_dir(path: &Path) -> Result<(), FsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(FsError::wrap("create private directory", path))
}

/// Creates `path` and what is missing above it, with the usual permissions.
pub fn create_dir(path: &Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(FsError::wrap("create directory", path))
}

/// Replaces or creates `path` as a whole: after a crash at any moment it holds
/// either what it held before or `bytes`. Durable when this returns.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    let parent = parent_of(path);
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_dir(parent));
    written.map_err(|source| {
        // Best effort: the name is random, so a leftover does no harm.
        let _ = fs::remove_file(&temporary);
        FsError::wrap("write", path)(source)
    })
}

/// Creates `path` with `bytes`; fails when it exists. Atomic and durable like
/// [`write_atomic`]. `false` when the path existed: nothing was changed.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<bool, FsError> {
    let parent = parent_of(path);
    let temporary = temporary_beside(path);
    let linked =
        write_new(&temporary, bytes, mode).and_then(|()| match fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        });
    // Best effort: the name is random, so a leftover does no harm.
    let _ = fs::remove_file(&temporary);
    linked
        .and_then(|created| sync_dir(parent).map(|()| created))
        .map_err(FsError::wrap("create", path))
}

/// The file piece by piece, so that a large one is never in memory as a whole.
pub fn read_in_pieces(path: &Path) -> Result<Pieces, FsError> {
    let file = File::open(path).map_err(FsError::wrap("open", path))?;
    Ok(Pieces { file, path: path.to_owned() })
}

/// What is left of a file that is read piece by piece; see [`read_in_pieces`].
pub struct Pieces {
    file: File,
    path: PathBuf,
}

/// Below the size from which the allocator maps memory of its own.
const PIECE_BYTES: usize = 64 * 1024;

impl Iterator for Pieces {
    type Item = Result<Vec<u8>, FsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = vec![0; PIECE_BYTES];
        match self.file.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some(Ok(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.next(),
            Err(error) => Some(Err(FsError::wrap("read", &self.path)(error))),
        }
    }
}

/// The whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    fs::read(path).map_err(FsError::wrap("read", path))
}

/// The whole file as text.
pub fn read_to_string(path: &Path) -> Result<String, FsError> {
    fs::read_to_string(path).map_err(FsError::wrap("read", path))
}

/// The whole file as text, `None` when there is none.
pub fn read_optional(path: &Path) -> Result<Option<String>, FsError> {
    match read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file; `false` when there was none.
pub fn remove(path: &Path) -> Result<bool, FsError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FsError::wrap("remove", path)(error)),
    }
}

/// Removes a directory with everything in it; `false` when there was none.
/// Symbolic links inside are removed, never followed.
pub fn remove_dir_all(path: &Path) -> Result<bool, FsError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FsError::wrap("remove directory", path)(error)),
    }
}

/// Renames within one file system, replacing `to`; durable when this returns.
pub fn rename(from: &Path, to: &Path) -> Result<(), FsError> {
    fs::rename(from, to)
        .and_then(|()| sync_dir(parent_of(to)))
        .map_err(FsError::wrap("rename", from))
}

/// Whether something is at `path`. An unreadable parent is an error, not a no.
pub fn exists(path: &Path) -> Result<bool, FsError> {
    path.try_exists().map_err(FsError::wrap("look at", path))
}

/// What is at `path`.
pub fn facts(path: &Path) -> Result<Facts, FsError> {
    let metadata = fs::metadata(path).map_err(FsError::wrap("look at", path))?;
    Ok(Facts {
        is_dir: metadata.is_dir(),
        size_bytes: metadata.len(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified_seconds: metadata.mtime(),
    })
}

/// The paths in a directory, sorted.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, FsError> {
    let mut entries = fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, io::Error>>()
        })
        .map_err(FsError::wrap("list", path))?;
    entries.sort();
    Ok(entries)
}

/// Sets a path's permission bits.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FsError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(FsError::wrap("set permissions of", path))
}

/// Sets a path's owner and group.
pub fn set_owner(path: &Path, uid: u32, gid: u32) -> Result<(), FsError> {
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .map_err(FsError::wrap("change owner of", path))
}

/// Makes `link` a symbolic link to `target`, replacing what is there.
pub fn symlink(target: &Path, link: &Path) -> Result<(), FsError> {
    let temporary = temporary_beside(link);
    std::os::unix::fs::symlink(target, &temporary)
        .and_then(|()| fs::rename(&temporary, link))
        .map_err(FsError::wrap("link", link))
}

/// The path with its symbolic links followed, as far as it exists; the rest stays as it is.
pub fn follow_links(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut there = path;
    loop {
        if let Ok(real) = fs::canonicalize(there) {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (there.parent(), there.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                there = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// The bytes that an unprivileged process may still write on `path`'s file system.
pub fn free_bytes(path: &Path) -> Result<u64, FsError> {
    Ok(space(path)?.free_bytes)
}

/// A file system's size.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// What an unprivileged process may still write.
    pub free_bytes: u64,
    /// The whole.
    pub total_bytes: u64,
}

/// The size and free space of `path`'s file system.
pub fn space(path: &Path) -> Result<Space, FsError> {
    let facts = rustix::fs::statvfs(path)
        .map_err(|errno| FsError::wrap("look at the file system of", path)(errno.into()))?;
    Ok(Space {
        free_bytes: facts.f_bavail.saturating_mul(facts.f_frsize),
        total_bytes: facts.f_blocks.saturating_mul(facts.f_frsize),
    })
}

/// Held for as long as this process owns what the lock file stands for; the
/// kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Becomes the only owner of the lock file at `path` (created 0600 if missing).
/// [`FsError::is_locked`] tells that another process is.
pub fn lock_exclusive(path: &Path) -> Result<FileLock, FsError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| {
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(FileLock { _file: file })
        })
        .map_err(FsError::wrap("lock", path))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken bits away that the caller asked for.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = u64::from_le_bytes(crate::entropy::bytes());
    parent_of(path).join(format!(".{name}.{random:016x}.tmp"))
}

#[cfg(test)]
mod tests;
