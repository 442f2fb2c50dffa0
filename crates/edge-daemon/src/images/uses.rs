//! The record of which images this runtime has pulled or used, and when last.
//!
//! The original's file in the original's place: a line per image, `<image id> <unix seconds>`
//! (`edge-runtime.md` §1.7). A line that is none is passed over and told, where the original ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use host::fs::{self, FsError};
use jiff::Timestamp;
use parking_lot::Mutex;

/// The record; it is on disk as soon as a change returns.
pub(super) struct Uses {
    path: PathBuf,
    known: Mutex<BTreeMap<String, Timestamp>>,
}

impl Uses {
    /// Reads the file, or begins an empty record.
    pub(super) fn open(path: &Path) -> Result<Self, FsError> {
        if let Some(dir) = path.parent() {
            fs::create_private_dir(dir)?;
        }
        let text = fs::read_optional(path)?.unwrap_or_default();
        let (known, bad) = parse(&text);
        if bad > 0 {
            let path = path.display();
            tracing::warn!(%path, lines = bad, "passing over lines that record no use of an image");
        }
        Ok(Self { path: path.to_owned(), known: Mutex::new(known) })
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<String, Timestamp> {
        self.known.lock().clone()
    }

    /// Takes in what was used now and what is gone.
    pub(super) fn record(
        &self,
        used: &[String],
        gone: &[String],
        now: Timestamp,
    ) -> Result<(), FsError> {
        // Held while the file is written, so that it never falls behind. Callers may block.
        let mut known = self.known.lock();
        known.retain(|id, _| !gone.contains(id));
        known.extend(used.iter().map(|id| (id.clone(), now)));
        while known.len() > USES_MAX {
            let oldest = known.iter().min_by_key(|(_, last_use)| **last_use);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            known.remove(&oldest);
        }
        fs::write_atomic(&self.path, print(&known).as_bytes(), 0o600)
    }
}

/// What a file says, and how many of its lines say nothing.
pub(super) fn parse(text: &str) -> (BTreeMap<String, Timestamp>, usize) {
    let use_of = |line: &str| {
        let (id, seconds) = line.trim().split_once(' ')?;
        let last_use = Timestamp::from_second(seconds.trim().parse().ok()?).ok()?;
        id.starts_with("sha256:").then(|| (id.to_owned(), last_use))
    };
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(use_of).collect();
    let bad = lines.iter().filter(|line| line.is_none()).count();
    (lines.into_iter().flatten().collect(), bad)
}

/// The file.
pub(super) fn print(uses: &BTreeMap<String, Timestamp>) -> String {
    let mut text = String::new();
    for (id, last_use) in uses {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{id} {}", last_use.as_second());
    }
    text
}

/// More images than a device has room for; what is forgotten beyond stays on the device.
const USES_MAX: usize = 4096;
