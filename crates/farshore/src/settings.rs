//! Settings of the programs that run alone. Meaning, unit and default of each stand in a commented
//! template (`*.toml` beside this file): it is what `--print-settings` shows, and
//! `docs/reference/settings.md` is generated from it.

pub(crate) mod cloud_to_device;
pub(crate) mod hub;

use std::path::{Path, PathBuf};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings file {path}; `farshore hub --print-settings` prints one")]
    Read {
        path: PathBuf,
        #[source]
        source: host::fs::FsError,
    },
    #[error("settings file {path} is wrong:\n{message}")]
    Parse { path: PathBuf, message: String },
    #[error("setting {name} is wrong: {problem}")]
    Value { name: &'static str, problem: String },
}

/// Reads a settings file; a key that is not known is refused with its line.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let text = host::fs::read_to_string(path)
        .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    // The parser's message shows line, column and the offending text.
    toml::from_str(&text)
        .map_err(|error| SettingsError::Parse { path: path.to_owned(), message: error.to_string() })
}
