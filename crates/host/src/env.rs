//! Environment variables and the command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// A variable is set, but not to text.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name} is not valid UTF-8; set it to plain text")]
pub struct NotText {
    /// The variable's name.
    pub name: String,
}

/// The variable's value; `None` when it is not set.
pub fn var(name: &str) -> Result<Option<String>, NotText> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(NotText { name: name.to_owned() }),
    }
}

/// All variables whose name and value are text.
pub fn vars() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The command line, the program's own name first.
pub fn args() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// The path of this program's own file.
pub fn current_exe() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// The working directory.
pub fn current_dir() -> std::io::Result<PathBuf> {
    std::env::current_dir()
}

/// The directory for temporary files (`TMPDIR`, or `/tmp`).
pub fn temp_dir() -> PathBuf {
    std::env::temp_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_variable_is_none() {
        assert!(var("FARSHORE_SURELY_NOT_SET").unwrap().is_none());
        assert!(var("PATH").unwrap().is_some());
    }
}
