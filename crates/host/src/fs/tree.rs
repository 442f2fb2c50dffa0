//! Whole directories: their size, and copies that are durable and leave nothing out in silence.
//!
//! For stores that move to another file system. Symbolic links are never followed, and refused
//! where they would have to be copied: a store has none.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown,
};
use std::path::Path;

use super::{FsError, parent_of, sync_dir};

/// The bytes of all files at and below `path`; nothing when there is nothing.
pub fn tree_bytes(path: &Path) -> Result<u64, FsError> {
    let facts = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(FsError::wrap("look at", path)(error)),
    };
    if !facts.is_dir() {
        return Ok(facts.len());
    }
    let mut sum = 0;
    for entry in super::list(path)? {
        sum += tree_bytes(&entry)?;
    }
    Ok(sum)
}

/// Copies a file, or a directory with everything in it, to where nothing is, with owners and
/// modes. Sockets and pipes are left out: they mean nothing without their process. Durable when
/// this returns; what was begun is left when it fails.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), FsError> {
    copy(from, to)?;
    sync_dir(parent_of(to)).map_err(FsError::wrap("sync", to))
}

fn copy(from: &Path, to: &Path) -> Result<(), FsError> {
    let facts = fs::symlink_metadata(from).map_err(FsError::wrap("look at", from))?;
    let kind = facts.file_type();
    if kind.is_socket() || kind.is_fifo() {
        return Ok(());
    }
    if !kind.is_dir() && !kind.is_file() {
        let error = io::Error::other("it is neither a file nor a directory");
        return Err(FsError::wrap("copy", from)(error));
    }
    let made = match kind.is_dir() {
        true => DirBuilder::new().mode(0o700).create(to),
        false => copy_file(from, to),
    };
    made.map_err(FsError::wrap("write", to))?;
    if kind.is_dir() {
        for entry in super::list(from)? {
            if let Some(name) = entry.file_name() {
                copy(&entry, &to.join(name))?;
            }
        }
    }
    finish(&facts, to).map_err(FsError::wrap("write", to))
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target).map(drop)
}

/// Owner, mode, and down to the disk.
fn finish(facts: &fs::Metadata, to: &Path) -> io::Result<()> {
    let file = File::open(to)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (facts.uid(), facts.gid()) {
        chown(to, Some(facts.uid()), Some(facts.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(facts.mode() & 0o7777))?;
    file.sync_all()
}

/// Gives `path` and everything below it to a user and a group.
pub fn set_owner_of_tree(path: &Path, uid: u32, gid: u32) -> Result<(), FsError> {
    let facts = fs::symlink_metadata(path).map_err(FsError::wrap("look at", path))?;
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .map_err(FsError::wrap("change owner of", path))?;
    if facts.is_dir() {
        for entry in super::list(path)? {
            set_owner_of_tree(&entry, uid, gid)?;
        }
    }
    Ok(())
}

/// Whether two paths are on one file system; of one that does not exist, where it would be.
pub fn is_same_file_system(one: &Path, other: &Path) -> Result<bool, FsError> {
    Ok(device(one)? == device(other)?)
}

fn device(path: &Path) -> Result<u64, FsError> {
    match fs::metadata(path) {
        Ok(facts) => Ok(facts.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.parent().is_some() => {
            device(parent_of(path))
        }
        Err(error) => Err(FsError::wrap("look at", path)(error)),
    }
}

/// Removes a directory if nothing is in it; `false` when something is, or there is none.
pub fn remove_empty_dir(path: &Path) -> Result<bool, FsError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(FsError::wrap("remove directory", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_files_modes_and_depths_and_no_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("deep/er/file"), "hello").unwrap();
        fs::set_permissions(from.join("deep/er/file"), Permissions::from_mode(0o640)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        assert_eq!(tree_bytes(&from).unwrap(), 5);
        copy_tree(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/er/file")).unwrap(), "hello");
        assert_eq!(super::super::facts(&to.join("deep/er/file")).unwrap().mode, 0o640);
        assert!(!to.join("socket").exists());
        assert!(copy_tree(&from, &to).is_err(), "nothing is overwritten");
        assert!(!remove_empty_dir(&to).unwrap());
        assert_eq!(tree_bytes(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("a");
        fs::create_dir(&from).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        let error = copy_tree(&from, &dir.path().join("b")).unwrap_err();
        assert_eq!(error.path, from.join("link"));
    }
}
