//! What can be wrong with a `config.toml`, and what of it has no effect.

use std::fmt;
use std::path::PathBuf;

use host::fs::FsError;

/// Why a `config.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is none.
    #[error(
        "there is no configuration at {}: write one with [provisioning], readable by its owner only, or name another file with --config",
        .0.display()
    )]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("cannot read the configuration")]
    Read(#[source] FsError),
    /// Others than its owner may read it, and it holds a secret.
    #[error(
        "{} holds a key and others than its owner may read it (mode {mode:o}): run chmod 600 on it",
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not TOML.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It says something wrong, unknown, or not served yet.
    #[error("{}", list(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the lines; at least one.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Everything that is wrong with what the file says.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Wrong { problems, .. } => problems,
            _ => &[],
        }
    }
}

fn list(path: &std::path::Path, problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| format!("{}:{problem}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The key, with its sections.
    pub key: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.line, self.key, self.what)
    }
}

/// Something in the file that has no effect; told in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The line, from 1.
    pub line: usize,
    /// The key, with its sections.
    pub key: String,
    /// Why it has no effect.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} {}", self.line, self.key, self.what)
    }
}
