//! The file that keeps what is known of this device's module identities.
//!
//! It belongs to one device of one hub; that of another is left alone until it is overwritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use host::fs::{self, FsError};
use model::{DeviceId, GenerationId, ModuleId};
use serde::{Deserialize, Serialize};

use super::{Known, is_generation};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It cannot be read.
    #[error("cannot read what is known of module identities")]
    Read(#[source] FsError),
    /// It was written by a newer version.
    #[error("{} has format {version}, which is newer than this program: run the newer version, or remove the file", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
}

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Backup {
    pub(crate) modules: BTreeMap<ModuleId, Known>,
    pub(crate) is_complete: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    hub: String,
    device: String,
    complete: bool,
    modules: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    id: String,
    generation: String,
    managed_by: Option<String>,
}

impl Backup {
    /// Reads it; nothing is known when it is missing, damaged, or another device's.
    pub(crate) fn read(path: &Path, hub: &str, device: &DeviceId) -> Result<Self, BackupError> {
        let Some(text) = fs::read_optional(path).map_err(BackupError::Read)? else {
            return Ok(Self::default());
        };
        let file: File = match serde_json::from_str(&text) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what was known of module identities is damaged, the hub is asked again");
                return Ok(Self::default());
            }
        };
        if file.version > VERSION {
            return Err(BackupError::Newer { path: path.to_owned(), version: file.version });
        }
        if !file.hub.eq_ignore_ascii_case(hub) || file.device != device.as_str() {
            return Ok(Self::default());
        }
        let modules = file.modules.into_iter().filter_map(|entry| {
            let id: ModuleId = entry.id.parse().ok()?;
            let generation = is_generation(&entry.generation)
                .then(|| GenerationId::from_text(&entry.generation))?;
            Some((id, Known { generation, managed_by: entry.managed_by }))
        });
        Ok(Self { modules: modules.collect(), is_complete: file.complete })
    }

    /// Writes it.
    pub(crate) fn write(&self, path: &Path, hub: &str, device: &DeviceId) -> Result<(), FsError> {
        let modules = self.modules.iter().map(|(id, known)| Entry {
            id: id.to_string(),
            generation: known.generation.to_string(),
            managed_by: known.managed_by.clone(),
        });
        let file = File {
            version: VERSION,
            hub: hub.to_owned(),
            device: device.to_string(),
            complete: self.is_complete,
            modules: modules.collect(),
        };
        fs::write_atomic(path, &iot_proto::payload::write(&file), 0o600)
    }
}

const VERSION: u32 = 1;
