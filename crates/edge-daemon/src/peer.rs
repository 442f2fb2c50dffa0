//! Who is at the other end of a unix socket, and how many of one user may be there at once.
//!
//! The kernel tells a peer's process and user as they were when it connected (`edge-runtime.md`
//! §1.3, §1.4). A pid may be another process' by the time it is looked at, already when the
//! connection is accepted. So the kernel is asked for a pidfd of whoever connected, and that process
//! must still be there after the look. Kernels before 6.5 give none; there the pidfd is that of the
//! number at the moment of accepting, and a process that takes over the number before is not told apart.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use containers::{ModuleName, ModuleRuntime};
use host::net::{UnixStream, peer_credentials, peer_process};
use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The process behind one connection.
pub(crate) struct Caller {
    pid: i32,
    pub(crate) uid: u32,
    pidfd: Option<OwnedFd>,
    /// Whether it was found to be of the module that this connection is asked about.
    is_proven: AtomicBool,
}

impl Caller {
    /// Who connected. Fails when the kernel does not tell.
    pub(crate) fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let credentials = peer_credentials(stream)?;
        // None when it has ended already, or is not visible from here.
        let pidfd = match peer_process(stream) {
            Ok(Some(pidfd)) => Some(pidfd),
            Ok(None) => Pid::from_raw(credentials.pid)
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            Err(_) => None,
        };
        Ok(Self {
            pid: credentials.pid,
            uid: credentials.uid,
            pidfd,
            is_proven: AtomicBool::new(false),
        })
    }

    /// Whether it is this process.
    pub(crate) fn is_ourselves(&self) -> bool {
        u32::try_from(self.pid).is_ok_and(|pid| pid == std::process::id())
    }

    /// Whether it is root, or the user who runs the daemon.
    pub(crate) fn is_owner(&self) -> bool {
        self.uid == 0 || self.uid == rustix::process::getuid().as_raw()
    }

    /// Whether it is a process of a module. Asked of one module only in a connection's life, so
    /// that a yes holds for the next request too.
    pub(crate) async fn is_of(&self, runtime: &dyn ModuleRuntime, module: &ModuleName) -> bool {
        let (Some(pidfd), Ok(pid)) = (&self.pidfd, u32::try_from(self.pid)) else {
            return false;
        };
        if self.is_proven.load(Ordering::Relaxed) {
            return is_there(pidfd);
        }
        let is_of = match runtime.contains_process(module, pid).await {
            Ok(is_of) => is_of,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%module, pid, error, "cannot tell whose process a caller is");
                false
            }
        };
        let is_proven = is_of && is_there(pidfd);
        self.is_proven.store(is_proven, Ordering::Relaxed);
        is_proven
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caller(pid {}, uid {})", self.pid, self.uid)
    }
}

/// Whether the process has not ended and been reaped since its pidfd was opened; until then
/// nobody else can have its pid (proc_pid_fdinfo(5): `Pid` is -1 afterwards).
fn is_there(pidfd: &OwnedFd) -> bool {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let Ok(facts) = host::fs::read_to_string(Path::new(&path)) else { return false };
    let pid = facts.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.and_then(|pid| pid.trim().parse::<i32>().ok()).is_some_and(|pid| pid > 0)
}

/// Bounds the connections to one socket, of each user and altogether.
pub(crate) struct Throttle {
    name: String,
    per_user_max: usize,
    total_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    users: HashMap<u32, User>,
    total: usize,
}

#[derive(Default)]
struct User {
    open: usize,
    is_told: bool,
}

impl Throttle {
    pub(crate) fn new(name: impl Into<String>, per_user_max: usize) -> Arc<Self> {
        let total_max = per_user_max.saturating_mul(USERS_AT_ONCE);
        Arc::new(Self { name: name.into(), per_user_max, total_max, open: Mutex::default() })
    }

    /// Room for one connection of a user, or none.
    pub(crate) fn admit(self: &Arc<Self>, uid: u32) -> Option<Permit> {
        let mut open = self.open.lock();
        let has_room = open.total < self.total_max;
        let user = open.users.entry(uid).or_default();
        if has_room && user.open < self.per_user_max {
            user.open += 1;
            open.total += 1;
            return Some(Permit { throttle: Arc::clone(self), uid });
        }
        // Once per rush, not once per connection.
        let is_told = std::mem::replace(&mut user.is_told, true);
        if user.open == 0 {
            open.users.remove(&uid);
        }
        drop(open);
        if !is_told {
            tracing::warn!(
                socket = self.name,
                uid,
                max = self.per_user_max,
                "maximum of connections reached for this user, closing more of them"
            );
        }
        None
    }
}

/// Room for one connection; given back when dropped.
pub(crate) struct Permit {
    throttle: Arc<Throttle>,
    uid: u32,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.throttle.open.lock();
        open.total = open.total.saturating_sub(1);
        let Some(user) = open.users.get_mut(&self.uid) else { return };
        user.open = user.open.saturating_sub(1);
        if user.open == 0 {
            open.users.remove(&self.uid);
        }
    }
}

/// A module may have processes of several users; more at once than these share their room. Ours.
const USERS_AT_ONCE: usize = 4;

#[cfg(test)]
mod tests;
