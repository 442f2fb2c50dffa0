//! A tar archive as a list of pieces, so that a large file in it is not copied.

use bytes::Bytes;
use tar::{EntryType, Header};

/// An archive being made.
#[derive(Default)]
pub(super) struct Archive {
    pieces: Vec<Bytes>,
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
        self.pieces.push(content);
        self.pad(size);
        Ok(())
    }

    /// Adds another archive as a file.
    pub(super) fn nested(&mut self, path: &str, content: Self) -> Result<(), String> {
        let size = content.pieces.iter().map(|piece| piece.len() as u64).sum();
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
        self.pieces.push(Bytes::copy_from_slice(header.as_bytes()));
        Ok(())
    }

    /// Ends the archive: two empty blocks.
    pub(super) fn finish(&mut self) {
        self.pieces.push(Bytes::from_static(&ZEROS));
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    pub(super) fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    fn pad(&mut self, size: u64) {
        let over = (size % BLOCK_BYTES as u64) as usize;
        if over != 0 {
            self.pieces.push(Bytes::from_static(&ZEROS).slice(..BLOCK_BYTES - over));
        }
    }
}

const BLOCK_BYTES: usize = 512;
static ZEROS: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
