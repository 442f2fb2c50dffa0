//! A ZIP file of stored entries: APPNOTE.TXT §4.3, without compression, encryption or ZIP64. What
//! is written is bounded far below its 4 GiB.

use jiff::civil::DateTime;

/// A file that is being written.
#[derive(Default)]
pub(super) struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

impl Zip {
    /// Adds an entry. Names are relative, with `/`.
    pub(super) fn add(&mut self, name: &str, content: &[u8], time: DateTime) {
        let (Ok(offset), Ok(size)) =
            (u32::try_from(self.bytes.len()), u32::try_from(content.len()))
        else {
            debug_assert!(false, "bounded by the caller");
            return;
        };
        let Ok(name_length) = u16::try_from(name.len()) else { return };
        // The sum has 32 bits.
        #[expect(clippy::cast_possible_truncation, reason = "CRC-32 has 32 bits")]
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, content) as u32;
        let mut shared = Vec::with_capacity(26);
        shared.extend(VERSION.to_le_bytes());
        shared.extend(UTF8_NAMES.to_le_bytes());
        shared.extend(STORED.to_le_bytes());
        shared.extend(dos_time(time));
        shared.extend(crc.to_le_bytes());
        shared.extend(size.to_le_bytes());
        shared.extend(size.to_le_bytes());
        shared.extend(name_length.to_le_bytes());
        shared.extend([0; 2]);

        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&shared);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(content);

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(MADE_BY_UNIX.to_le_bytes());
        self.directory.extend(&shared);
        // No comment, first disk, no internal attributes.
        self.directory.extend([0; 6]);
        self.directory.extend((FILE_MODE << 16).to_le_bytes());
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let size = u32::try_from(self.directory.len()).unwrap_or(u32::MAX);
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06");
        self.bytes.extend([0; 4]);
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend([0; 2]);
        self.bytes
    }
}

/// Time and date as DOS has them: two seconds' steps, from 1980 on.
fn dos_time(time: DateTime) -> [u8; 4] {
    let number = |value: i8| u16::try_from(value).unwrap_or_default();
    let years = u16::try_from(time.year().saturating_sub(1980).clamp(0, 127)).unwrap_or_default();
    let clock =
        number(time.hour()) << 11 | number(time.minute()) << 5 | (number(time.second()) / 2);
    let day = years << 9 | number(time.month()) << 5 | number(time.day());
    let ([a, b], [c, d]) = (clock.to_le_bytes(), day.to_le_bytes());
    [a, b, c, d]
}

/// 2.0: directories in names.
const VERSION: u16 = 20;
/// Version 2.0, made on Unix, so that the mode below is read.
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;
const UTF8_NAMES: u16 = 1 << 11;
const STORED: u16 = 0;
/// A plain file that its owner reads and writes.
const FILE_MODE: u32 = 0o100_600;
