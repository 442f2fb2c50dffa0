//! The record of which images this runtime has pulled or used, and when last.
//!
//! The original's file in the original's place: a line per image, `<image id> <unix seconds>`
//! (`edge-runtime.md` §1.7). A line that is none is passed over and told, where the original ends.
//! Beside it stand the names under which we had them, `<image id> <name>`: a name that somebody
//! else gave an image says that they want it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use host::fs::{self, FsError};
use jiff::Timestamp;
use parking_lot::Mutex;

/// The record; it is on disk as soon as a change returns.
pub(super) struct Uses {
    path: PathBuf,
    names_path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    uses: BTreeMap<String, Timestamp>,
    names: Names,
}

/// The names of images by their ids.
pub(super) type Names = BTreeMap<String, BTreeSet<String>>;

impl Uses {
    /// Reads the files, or begins an empty record.
    pub(super) fn open(path: &Path) -> Result<Self, FsError> {
        if let Some(dir) = path.parent() {
            fs::create_private_dir(dir)?;
        }
        let (uses, bad) = parse(&fs::read_optional(path)?.unwrap_or_default());
        if bad > 0 {
            let path = path.display();
            tracing::warn!(%path, lines = bad, "passing over lines that record no use of an image");
        }
        let names_path = path.with_file_name(NAMES_FILE);
        let names = parse_names(&fs::read_optional(&names_path)?.unwrap_or_default());
        let known = Mutex::new(Known { uses, names });
        Ok(Self { path: path.to_owned(), names_path, known })
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<String, Timestamp> {
        self.known.lock().uses.clone()
    }

    /// The names that we had them under.
    pub(super) fn names(&self) -> Names {
        self.known.lock().names.clone()
    }

    /// Whether a use of now would say something new: what is used all the time is not written all
    /// the time.
    pub(super) fn is_news(&self, id: &str, name: &str, now: Timestamp) -> bool {
        let known = self.known.lock();
        let is_fresh = known.uses.get(id).is_some_and(|last_use| {
            let age = now.duration_since(*last_use);
            !age.is_negative() && age < super::plan::REFRESH_AFTER
        });
        let has_name = known.names.get(id).is_some_and(|names| names.contains(name));
        !is_fresh || !has_name
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
        known.uses.retain(|id, _| !gone.contains(id));
        known.uses.extend(used.iter().map(|id| (id.clone(), now)));
        while known.uses.len() > USES_MAX {
            let oldest = known.uses.iter().min_by_key(|(_, last_use)| **last_use);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            known.uses.remove(&oldest);
        }
        let before = known.names.len();
        let Known { uses, names } = &mut *known;
        names.retain(|id, _| uses.contains_key(id));
        if names.len() != before {
            fs::write_atomic(&self.names_path, print_names(names).as_bytes(), 0o600)?;
        }
        fs::write_atomic(&self.path, print(uses).as_bytes(), 0o600)
    }

    /// Takes in that an image was used now under this name.
    pub(super) fn record_name(&self, id: &str, name: &str, now: Timestamp) -> Result<(), FsError> {
        let is_new = {
            let mut known = self.known.lock();
            let names = known.names.entry(id.to_owned()).or_default();
            let is_new = names.len() < NAMES_MAX && names.insert(name.to_owned());
            if is_new {
                let text = print_names(&known.names);
                fs::write_atomic(&self.names_path, text.as_bytes(), 0o600)?;
            }
            is_new
        };
        if is_new {
            tracing::debug!(id, name, "an image has come under this name");
        }
        self.record(&[id.to_owned()], &[], now)
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

fn parse_names(text: &str) -> Names {
    let mut names = Names::new();
    for line in text.lines() {
        match line.trim().split_once(' ') {
            Some((id, name)) if id.starts_with("sha256:") && names.len() < USES_MAX => {
                names.entry(id.to_owned()).or_default().insert(name.to_owned());
            }
            _ => {}
        }
    }
    names
}

fn print_names(names: &Names) -> String {
    let lines = names.iter().flat_map(|(id, names)| names.iter().map(move |name| (id, name)));
    lines.map(|(id, name)| format!("{id} {name}\n")).collect()
}

/// Beside the original's file.
const NAMES_FILE: &str = "image_names";
/// Names of one image; beyond, the image stays on the device.
const NAMES_MAX: usize = 64;
/// More images than a device has room for; what is forgotten beyond stays on the device.
const USES_MAX: usize = 4096;
