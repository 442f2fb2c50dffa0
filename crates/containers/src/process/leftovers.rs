//! Processes that outlived the runtime that had started them.
//!
//! A child is killed by the kernel when its runtime ends, however that ends, but
//! what the child had started is not. All of them carry the runtime's directory
//! in their environment, and its lock is ours by now: whoever still carries it
//! is a leftover, and would run beside its successor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::RuntimeError;

/// Name of the variable that marks a module's processes; its value is the
/// module's own directory.
pub(super) const MARK: &str = "FARSHORE_MODULE_DIR";

/// Kills all leftovers whose mark lies below `root`, and waits for their end.
pub(super) async fn end(root: &Path) -> Result<usize, RuntimeError> {
    let processes = host::fs::list(Path::new("/proc")).map_err(|error| RuntimeError::System {
        what: "cannot look for processes left behind".to_owned(),
        source: error.source,
    })?;
    let own = rustix::process::getpid();
    let mut killed = Vec::new();
    for process in processes {
        let name = process.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = name.and_then(Pid::from_raw).filter(|pid| *pid != own) else {
            continue;
        };
        // Opened before looking, so that the signal cannot hit another process.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::NONBLOCK) else {
            continue;
        };
        // Unreadable environments are those of other users.
        let environment = host::fs::read(&process.join("environ")).unwrap_or_default();
        if is_marked(&environment, root) && pidfd_send_signal(&handle, Signal::KILL).is_ok() {
            tracing::warn!(
                pid = pid.as_raw_pid(),
                "killed a module's process that an earlier runtime had left behind"
            );
            killed.push(handle);
        }
    }
    let count = killed.len();
    // Waits outside of the executor; usually for no time at all.
    let waited = tokio::task::spawn_blocking(move || killed.iter().for_each(wait)).await;
    waited.map_err(|source| RuntimeError::System {
        what: "cannot wait for processes left behind".to_owned(),
        source: source.into(),
    })?;
    Ok(count)
}

/// A killed process can be stuck in the kernel; it is not waited for for ever.
fn wait(handle: &OwnedFd) {
    let mut ended = [PollFd::new(handle, PollFlags::IN)];
    if !matches!(poll(&mut ended, Some(&DEATH_TIMEOUT)), Ok(1)) {
        tracing::error!("a killed process does not end: its disk or device hangs");
    }
}

fn is_marked(environment: &[u8], root: &Path) -> bool {
    let mut entries = environment.split(|byte| *byte == 0);
    entries.any(|entry| {
        let text = std::str::from_utf8(entry).ok();
        let value = text.and_then(|text| text.strip_prefix(MARK)?.strip_prefix('='));
        value.is_some_and(|value| Path::new(value).starts_with(root))
    })
}

const DEATH_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
