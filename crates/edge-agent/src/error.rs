//! What can go wrong with the agent itself, and errors in one line.

use std::error::Error;

/// The agent cannot run. Everything else is retried and told in the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its directory cannot be used.
    #[error("edge agent cannot use its data directory")]
    DataDir(#[source] host::fs::FsError),
    /// What it remembers of its modules is damaged.
    #[error("edge agent cannot read {path}; remove the file, and every module is created anew")]
    Records {
        /// The file.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers say the same twice.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
