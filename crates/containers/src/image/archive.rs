//! A tar archive as a list of pieces, so that a large file in it is never in memory as a whole.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tar::{EntryType, Header};

/// An archive being made.
#[derive(Default)]
pub(super) struct Archive {
    pieces: Vec<Piece>,
}

enum Piece {
    Bytes(Bytes),
    /// A file with the length that its header promises.
    File {
        path: PathBuf,
        length: u64,
    },
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// What a header says.
pub(super) struct Entry<'a> {
    pub(super) path: &'a str,
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: u32,
    pub(super) kind: EntryType,
    pub(super) size: u64,
}

impl<'a> Entry<'a> {
    pub(super) fn directory(path: &'a str, mode: u32) -> Self {
        Self { path, mode, owner: 0, kind: EntryType::Directory, size: 0 }
    }
}

impl Archive {
    /// Adds a file that belongs to root.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: Bytes) -> Result<(), String> {
        let size = content.len() as u64;
        self.entry(&Entry { path, mode, owner: 0, kind: EntryType::Regular, size })?;
        self.pieces.push(Piece::Bytes(content));
        self.pad(size);
        Ok(())
    }

    /// Adds a file that belongs to root, with the content of one that exists.
    pub(super) fn copy(&mut self, path: &str, mode: u32, source: &Path) -> Result<(), String> {
        let failed = |error| format!("cannot be built: {}", host::logs::chain(&error));
        let length = host::fs::facts(source).map_err(failed)?.size_bytes;
        self.entry(&Entry { path, mode, owner: 0, kind: EntryType::Regular, size: length })?;
        self.pieces.push(Piece::File { path: source.to_owned(), length });
        self.pad(length);
        Ok(())
    }

    /// Adds another archive as a file.
    pub(super) fn nested(&mut self, path: &str, content: Self) -> Result<(), String> {
        let size = content.pieces.iter().map(Piece::length).sum();
        self.entry(&Entry { path, mode: 0o644, owner: 0, kind: EntryType::Regular, size })?;
        self.pieces.extend(content.pieces);
        self.pad(size);
        Ok(())
    }

    /// Adds a header. Its time is always 0.
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        let mut header = Header::new_ustar();
        header
            .set_path(entry.path)
            .map_err(|error| format!("cannot be built: path {:?}: {error}", entry.path))?;
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.into());
        header.set_gid(entry.owner.into());
        header.set_size(entry.size);
        header.set_mtime(0);
        header.set_entry_type(entry.kind);
        header.set_cksum();
        self.pieces.push(Piece::Bytes(Bytes::copy_from_slice(header.as_bytes())));
        Ok(())
    }

    /// Ends the archive: two empty blocks.
    pub(super) fn finish(&mut self) {
        self.pieces.push(Piece::Bytes(Bytes::from_static(&ZEROS)));
    }

    /// Gives the archive's bytes in order, until `take` has enough.
    pub(super) fn write(&self, mut take: impl FnMut(Bytes) -> bool) -> io::Result<()> {
        for piece in &self.pieces {
            let goes_on = match piece {
                Piece::Bytes(bytes) => take(bytes.clone()),
                Piece::File { path, length } => write_file(path, *length, &mut take)?,
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) {
        let over = (size % BLOCK_BYTES as u64) as usize;
        if over != 0 {
            let zeros = Bytes::from_static(&ZEROS).slice(..BLOCK_BYTES - over);
            self.pieces.push(Piece::Bytes(zeros));
        }
    }
}

fn write_file(path: &Path, length: u64, take: &mut impl FnMut(Bytes) -> bool) -> io::Result<bool> {
    let mut left = length;
    for piece in host::fs::read_in_pieces(path).map_err(io::Error::other)? {
        let piece = piece.map_err(io::Error::other)?;
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| changed(path))?;
        if !take(piece.into()) {
            return Ok(false);
        }
    }
    if left == 0 { Ok(true) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> io::Error {
    io::Error::other(format!("{} changed while an image was made of it", path.display()))
}

const BLOCK_BYTES: usize = 512;
static ZEROS: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
