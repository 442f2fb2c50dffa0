//! A store moves to another directory: whenever it is cut short, one of the two is whole and in
//! force, and nobody takes the other for a store.
//!
//! A record beside the stores says where each lies; it is replaced as a whole, and that moment is
//! the move. Before it the old directory counts and what is in the new one is thrown away; after
//! it the new one counts and what is in the old one is. On one file system the directory is
//! renamed; else it is copied, synced, and only then taken. While that goes on the new directory
//! has a marker in it, which an edge hub refuses, and both are locked against one.

use std::path::{Path, PathBuf};

use host::fs::{self, FsError};
use serde::{Deserialize, Serialize};

/// A directory of the host that is a store, or is to be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Whether the manifest names this very directory, so that it stays when the store goes.
    #[serde(default)]
    pub(crate) is_named: bool,
}

/// Where a store lies, and what was begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    /// The store that counts.
    pub(super) at: Option<Place>,
    /// Where it is being taken.
    #[serde(default)]
    moving: Option<Place>,
    /// What a move has left behind, to be removed.
    #[serde(default)]
    left: Option<Left>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    place: Place,
    names: Vec<String>,
}

/// What a move came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It lies there already, or there was nothing yet.
    There,
    /// It was moved from here.
    Moved(PathBuf),
    /// There is a store already in the new place, which counts from now on; the other is left here.
    Found(PathBuf),
    /// The old place is gone, with whatever was in it.
    Lost(PathBuf),
}

/// Moments at which a test ends a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    Intended,
    Renamed,
    Marked,
    Copying,
    Copied,
    Committed,
    Unmarked,
    Clearing,
    Cleared,
}

/// Why a store stays where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum MoveError {
    #[error(transparent)]
    File(#[from] FsError),
    #[error("{} is damaged", path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    /// A test's.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests end a move"))]
    #[error("ended at {0:?}")]
    Ended(Point),
}

/// A store with what moving it needs.
pub(super) struct Mover<'a> {
    /// The file of the record.
    pub(super) record: &'a Path,
    /// Where the store lies when there is no record.
    pub(super) usual: &'a Place,
    /// Names by which a directory is known as a store.
    pub(super) marks: &'a [&'a str],
    /// Told of each moment; an error ends the move there, as a kill would.
    pub(super) reach: &'a dyn Fn(Point) -> Result<(), MoveError>,
}

impl Mover<'_> {
    /// Where the store lies now.
    pub(super) fn place(&self) -> Result<Place, MoveError> {
        Ok(self.read()?.at.unwrap_or_else(|| self.usual.clone()))
    }

    /// Makes the store lie at `wanted`, and finishes what was begun before.
    pub(super) fn settle(&self, wanted: &Place) -> Result<Settled, MoveError> {
        let mut record = self.read()?;
        self.finish(&mut record)?;
        let from = record.at.clone().unwrap_or_else(|| self.usual.clone());
        let settled = if from.dir == wanted.dir {
            Settled::There
        } else if self.is_store(wanted)? {
            match self.is_store(&from)? {
                true => Settled::Found(from.dir),
                false => Settled::There,
            }
        } else if self.is_store(&from)? {
            self.carry(&mut record, &from, wanted)?;
            Settled::Moved(from.dir)
        } else {
            match record.at.is_some() && !fs::exists(&from.dir)? {
                true => Settled::Lost(from.dir),
                false => Settled::There,
            }
        };
        discard(wanted)?;
        if record.at.as_ref() != Some(wanted) {
            record.at = Some(wanted.clone());
            self.write(&record)?;
        }
        Ok(settled)
    }

    fn carry(&self, record: &mut Record, from: &Place, to: &Place) -> Result<(), MoveError> {
        // Whoever runs on it has the lock.
        fs::create_private_dir(&from.dir)?;
        let _old = fs::lock_exclusive(&from.dir.join(LOCK))?;
        discard(to)?;
        record.moving = Some(to.clone());
        self.write(record)?;
        (self.reach)(Point::Intended)?;
        if self.rename(from, to)? {
            (self.reach)(Point::Renamed)?;
            (record.at, record.moving) = (Some(to.clone()), None);
            return self.write(record);
        }
        let names = contents(from, to)?;
        match self.copy(&names, from, to) {
            Ok(()) => {}
            Err(error @ MoveError::Ended(_)) => return Err(error),
            Err(error) => {
                // What cannot be removed now is, before the next attempt.
                if discard(to).is_ok() {
                    record.moving = None;
                    self.write(record)?;
                }
                return Err(error);
            }
        }
        record.at = Some(to.clone());
        record.moving = None;
        record.left = Some(Left { place: from.clone(), names });
        self.write(record)?;
        (self.reach)(Point::Committed)?;
        self.clear_up(record)
    }

    /// Renames the directory, where that is possible.
    fn rename(&self, from: &Place, to: &Place) -> Result<bool, MoveError> {
        if let Some(parent) = to.dir.parent() {
            fs::create_dir(parent)?;
        }
        if from.is_named || to.is_named || !fs::is_same_file_system(&from.dir, &to.dir)? {
            return Ok(false);
        }
        // Not into itself, not over something, not across mounts: those are copied.
        Ok(fs::rename(&from.dir, &to.dir).is_ok())
    }

    fn copy(&self, names: &[String], from: &Place, to: &Place) -> Result<(), MoveError> {
        fs::create_private_dir(&to.dir)?;
        let _new = fs::lock_exclusive(&to.dir.join(LOCK))?;
        let marker = serde_json::to_vec(names).unwrap_or_default();
        fs::write_atomic(&to.dir.join(MARKER), &marker, 0o600)?;
        (self.reach)(Point::Marked)?;
        for name in names {
            fs::copy_tree(&from.dir.join(name), &to.dir.join(name))?;
            (self.reach)(Point::Copying)?;
        }
        (self.reach)(Point::Copied)
    }

    /// After the move: the marker goes, then what was left behind. What cannot be removed does not
    /// count any more; it is tried again with the next move.
    fn clear_up(&self, record: &mut Record) -> Result<(), MoveError> {
        let Some(left) = record.left.clone() else { return Ok(()) };
        if let Some(at) = &record.at {
            fs::remove(&at.dir.join(MARKER))?;
            (self.reach)(Point::Unmarked)?;
        }
        match self.clear(&left) {
            Ok(()) => {}
            Err(MoveError::File(error)) => {
                let error = host::logs::chain(&error);
                tracing::warn!(%error, dir = %left.place.dir.display(), "cannot remove the store that was moved away from here");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        record.left = None;
        self.write(record)
    }

    fn clear(&self, left: &Left) -> Result<(), MoveError> {
        for name in left.names.iter().map(String::as_str).chain([LOCK]) {
            remove(&left.place.dir.join(name))?;
            (self.reach)(Point::Clearing)?;
        }
        if !left.place.is_named {
            fs::remove_empty_dir(&left.place.dir)?;
        }
        (self.reach)(Point::Cleared)
    }

    /// Ends what somebody began who was killed: forward after the move, backward before it.
    fn finish(&self, record: &mut Record) -> Result<(), MoveError> {
        if let Some(to) = record.moving.take() {
            let from = record.at.clone().unwrap_or_else(|| self.usual.clone());
            if !self.is_store(&from)? && self.is_store(&to)? {
                record.at = Some(to);
            } else {
                discard(&to)?;
            }
            self.write(record)?;
        }
        self.clear_up(record)
    }

    /// Whether a whole store lies there.
    pub(super) fn is_store(&self, place: &Place) -> Result<bool, MoveError> {
        if fs::exists(&place.dir.join(MARKER))? {
            return Ok(false);
        }
        for mark in self.marks {
            if fs::exists(&place.dir.join(mark))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&self) -> Result<Record, MoveError> {
        let Some(text) = fs::read_optional(self.record)? else { return Ok(Record::default()) };
        let wrong = |source| MoveError::Record { path: self.record.to_owned(), source };
        serde_json::from_str(&text).map_err(wrong)
    }

    fn write(&self, record: &Record) -> Result<(), MoveError> {
        let record = Record { format: FORMAT, ..record.clone() };
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        Ok(fs::write_atomic(self.record, &text, 0o600)?)
    }
}

/// What belongs to the store: everything but the lock, and what the new place lies in.
fn contents(from: &Place, to: &Place) -> Result<Vec<String>, MoveError> {
    let mut names = Vec::new();
    for path in fs::list(&from.dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ![LOCK, MARKER, LOST_AND_FOUND].contains(&name.as_str()) && !to.dir.starts_with(&path) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a copy that was not finished.
fn discard(place: &Place) -> Result<(), MoveError> {
    let marker = place.dir.join(MARKER);
    let Some(text) = fs::read_optional(&marker)? else { return Ok(()) };
    let names: Vec<String> = serde_json::from_str(&text)
        .map_err(|source| MoveError::Record { path: marker.clone(), source })?;
    for name in names.iter().filter(|name| !name.contains('/') && *name != "..") {
        remove(&place.dir.join(name))?;
    }
    fs::remove(&marker)?;
    Ok(())
}

fn remove(path: &Path) -> Result<(), FsError> {
    let is_dir = match fs::facts(path) {
        Ok(facts) => facts.is_dir,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error),
    };
    match is_dir {
        true => fs::remove_dir_all(path).map(drop),
        false => fs::remove(path).map(drop),
    }
}

const FORMAT: u32 = 1;
/// The edge hub's own lock.
const LOCK: &str = "lock";
/// In a copy that is not whole yet; the edge hub knows it too (`edge_hub::hub`).
pub(super) const MARKER: &str = "moving.json";
/// At the top of some file systems.
const LOST_AND_FOUND: &str = "lost+found";

#[cfg(test)]
mod tests;
