//! What the process runtime keeps on disk per module, and where.
//!
//! ```text
//! <root>/lock                       one runtime at a time
//! <root>/modules/<name>/module.json what it is; 0700, the daemon's
//! <root>/modules/<name>/run.json    how its last run began and ended
//! <root>/modules/<name>/log.<n>     its output
//! <root>/data/<name>/               the module's own directory; 0700, its user's
//! <root>/volumes/<volume>/          named volumes
//! ```
//!
//! Removing a module removes what the daemon keeps of it; its data and volumes
//! stay, as volumes do with containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ImageReference, ModuleName, RuntimeError};

/// The places below a root.
#[derive(Clone, Debug)]
pub(super) struct Places {
    root: PathBuf,
}

/// A module as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredModule {
    /// Version of this format.
    pub(super) format: u32,
    pub(super) image: String,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// The last run of a module; all empty before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) pid: Option<u32>,
    pub(super) exit_code: Option<i64>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    /// Why it does not run, when there is more to say than the code.
    pub(super) failure: Option<String>,
}

impl Places {
    /// Makes the directories. They can be passed through by the modules' user,
    /// but not listed.
    pub(super) fn create(root: &Path) -> Result<Self, RuntimeError> {
        let places = Self { root: root.to_owned() };
        for dir in [root.to_owned(), root.join("data"), places.volumes()] {
            host::fs::create_dir(&dir).map_err(system)?;
            host::fs::set_mode(&dir, 0o711).map_err(system)?;
        }
        host::fs::create_private_dir(&root.join("modules")).map_err(system)?;
        Ok(places)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What the daemon keeps of a module.
    pub(super) fn module(&self, name: &ModuleName) -> PathBuf {
        self.root.join("modules").join(name.as_str())
    }

    /// The module's own directory.
    pub(super) fn data(&self, name: &ModuleName) -> PathBuf {
        self.root.join("data").join(name.as_str())
    }

    /// Makes the module's own directory.
    pub(super) fn create_data(
        &self,
        name: &ModuleName,
        user: Option<(u32, u32)>,
    ) -> Result<PathBuf, RuntimeError> {
        let data = self.data(name);
        host::fs::create_private_dir(&data).map_err(system)?;
        if let Some((uid, gid)) = user {
            host::fs::set_owner(&data, uid, gid).map_err(system)?;
        }
        Ok(data)
    }

    /// Makes a directory for the module's user, unless it exists.
    pub(super) fn create_bound(
        &self,
        path: &Path,
        user: Option<(u32, u32)>,
    ) -> Result<(), RuntimeError> {
        if host::fs::exists(path).map_err(system)? {
            return Ok(());
        }
        host::fs::create_dir(path).map_err(system)?;
        match user {
            Some((uid, gid)) => host::fs::set_owner(path, uid, gid).map_err(system),
            None => Ok(()),
        }
    }

    /// All modules with their last runs.
    pub(super) fn modules(&self) -> Result<Vec<(ModuleName, StoredModule, Run)>, RuntimeError> {
        let mut modules = Vec::new();
        for dir in host::fs::list(&self.root.join("modules")).map_err(system)? {
            let Some(name) = dir.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            // Without it, a create or a remove was cut short: there is no module.
            match host::fs::read_optional(&dir.join(MODULE_FILE)).map_err(system)? {
                None => drop(host::fs::remove_dir_all(&dir).map_err(system)?),
                Some(text) => {
                    let stored: StoredModule = parse(&dir.join(MODULE_FILE), &text)?;
                    if stored.format != FORMAT {
                        let error = format!("format {} instead of {FORMAT}", stored.format);
                        return Err(unusable(&dir.join(MODULE_FILE), std::io::Error::other(error)));
                    }
                    let run = host::fs::read_optional(&dir.join(RUN_FILE)).map_err(system)?;
                    let run = run.map(|text| parse(&dir.join(RUN_FILE), &text)).transpose()?;
                    modules.push((name, stored, run.unwrap_or_default()));
                }
            }
        }
        Ok(modules)
    }

    pub(super) fn write_module(
        &self,
        name: &ModuleName,
        module: &StoredModule,
    ) -> Result<(), RuntimeError> {
        let dir = self.module(name);
        host::fs::create_private_dir(&dir).map_err(system)?;
        write(&dir.join(MODULE_FILE), module)
    }

    pub(super) fn write_run(&self, name: &ModuleName, run: &Run) -> Result<(), RuntimeError> {
        write(&self.module(name).join(RUN_FILE), run)
    }

    /// The module's file goes first: what is left without it is no module.
    pub(super) fn remove_module(&self, name: &ModuleName) -> Result<(), RuntimeError> {
        let dir = self.module(name);
        host::fs::remove(&dir.join(MODULE_FILE)).map_err(system)?;
        host::fs::remove_dir_all(&dir).map_err(system)?;
        Ok(())
    }
}

impl StoredModule {
    /// The image, which was checked before it was stored.
    pub(super) fn image(&self) -> Result<ImageReference, RuntimeError> {
        Ok(self.image.parse()?)
    }
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> Result<T, RuntimeError> {
    serde_json::from_str(text).map_err(|source| unusable(path, source.into()))
}

fn unusable(path: &Path, source: std::io::Error) -> RuntimeError {
    let what = format!(
        "cannot use {}: it is damaged or of a newer version; remove its directory to go on",
        path.display()
    );
    RuntimeError::System { what, source }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), RuntimeError> {
    let text = serde_json::to_string_pretty(value).map_err(|source| RuntimeError::System {
        what: format!("cannot write {}", path.display()),
        source: source.into(),
    })?;
    host::fs::write_atomic(path, text.as_bytes(), 0o600).map_err(system)
}

pub(super) fn system(error: host::fs::FsError) -> RuntimeError {
    RuntimeError::System { what: error.to_string(), source: error.source }
}

/// Version of what is stored.
pub(super) const FORMAT: u32 = 1;
const MODULE_FILE: &str = "module.json";
const RUN_FILE: &str = "run.json";
