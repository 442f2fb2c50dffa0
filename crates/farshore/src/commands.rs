//! The commands, one file each, and what they share: running and failing.

pub(crate) mod edge;
pub(crate) mod edge_hub;
pub(crate) mod hub;
pub(crate) mod iotedge;
pub(crate) mod operator;
pub(crate) mod sensor;
pub(crate) mod up;

use std::error::Error;
use std::future::Future;

/// A command that did not do its work: a message for the user and an exit code (`tools.md` §9.1).
#[derive(Debug)]
pub(crate) struct Failure {
    message: Option<String>,
    code: u8,
}

/// It failed.
pub(crate) const FAILED: u8 = 1;
/// It was called wrongly.
pub(crate) const USAGE: u8 = 2;
/// The other side cannot be reached.
pub(crate) const UNREACHABLE: u8 = 3;
/// The other side does not allow it.
pub(crate) const DENIED: u8 = 4;
/// What is asked for does not exist.
pub(crate) const NOT_FOUND: u8 = 5;
/// It exists already, or has changed meanwhile.
pub(crate) const CONFLICT: u8 = 6;

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code }
    }

    /// With an exit code alone: the output said everything already.
    pub(crate) fn silent(code: u8) -> Self {
        Self { message: None, code }
    }

    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

/// An error with its causes, one line each.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(&format!("\n  caused by: {inner}"));
            cause = inner.source();
        }
        Self::new(FAILED, message)
    }
}

/// Runs a command that serves many connections: a thread per core.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

/// Runs a command that is to stay small: one thread.
pub(crate) fn block_on_small(
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
