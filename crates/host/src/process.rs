//! Child processes: started in a session of their own, watched by pidfd, ended
//! as a whole.
//!
//! Children get exactly the environment that they are given. They die with this
//! process (parent-death signal), also when it is killed. What to start and how
//! often is the caller's (`containers`).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, pidfd_send_signal, setrlimit,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
pub use tokio::process::{ChildStderr, ChildStdout};

use crate::net::{self, TcpListener};

mod family;
mod spawner;

/// This process and those that it starts leave no core files: keys would be in them. Whoever has to
/// look into a crash raises the limit again (`prlimit --core`).
pub fn leave_no_cores() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?)
}

/// A program to be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// The arguments after the program's name.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The working directory; this process' own if `None`.
    pub cwd: Option<PathBuf>,
    /// User and group to run as; this process' own if `None`. Needs root.
    pub user: Option<(u32, u32)>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// As shells and container engines show it: the code, or 128 plus the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}", program.display())]
pub struct SpawnError {
    /// The file.
    pub program: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

/// A running child and whatever it starts. Dropping it kills them all.
#[derive(Debug)]
pub struct Child {
    /// Not waited for before everything else is done with, so that its pid
    /// stays taken for as long as this is `Some`.
    child: Option<std::process::Child>,
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Program {
    /// A program with no arguments and an empty environment.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), env: Vec::new(), cwd: None, user: None }
    }

    /// Starts it, with its outputs piped and its input empty.
    pub async fn spawn(self) -> Result<Child, SpawnError> {
        self.spawn_with(Stdio::null()).await
    }

    /// Starts it like [`Program::spawn`], with listening sockets that it takes
    /// over by [`crate::net::passed_listeners`]. They stay open here too, to be
    /// passed again when it is restarted.
    pub async fn spawn_with_listeners(
        self,
        listeners: &[(&str, &TcpListener)],
    ) -> Result<Child, SpawnError> {
        match net::pack(listeners) {
            Ok(packet) => self.spawn_with(packet.into()).await,
            Err(source) => Err(SpawnError { program: self.path, source }),
        }
    }

    async fn spawn_with(self, input: Stdio) -> Result<Child, SpawnError> {
        let mut command = self.command();
        command.stdin(input);
        let spawned = match spawner::spawn(command).await {
            Ok(child) => Child::new(child),
            Err(error) => Err(error),
        };
        spawned.map_err(|source| SpawnError { program: self.path, source })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Child {
    fn new(mut child: std::process::Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let opened = (|| {
            // Cannot be another process: the child has not been waited for.
            let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
            let stdout = child.stdout.take().map(ChildStdout::from_std).transpose()?;
            let stderr = child.stderr.take().map(ChildStderr::from_std).transpose()?;
            let pidfd = watched(pidfd)?;
            Ok((pidfd, stdout, stderr))
        })();
        match opened {
            Ok((pidfd, stdout, stderr)) => {
                Ok(Self { child: Some(child), pid, pidfd, stdout, stderr })
            }
            Err(error) => {
                end(child, pid);
                Err(error)
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Its standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Its standard error, once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.stderr.take()
    }

    /// Asks the child itself to end (SIGTERM); what it started is its own care.
    pub fn terminate(&self) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the child and everything in its group (SIGKILL).
    pub fn kill(&self) {
        if self.child.is_some() {
            kill_group(self.pid);
        }
    }

    /// Waits until the child has ended, kills what it left behind in its group,
    /// and tells how it ended. May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<Exit> {
        // Readable once the process has ended; it stays a zombie until `wait`.
        let _ready = self.pidfd.readable().await?;
        let Some(mut child) = self.child.take() else {
            return Err(io::Error::other("child has been waited for already"));
        };
        kill_group(self.pid);
        let status = child.wait()?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        })
    }

    /// Whether process `pid` is this child, or was started by it (at any remove).
    ///
    /// A peer's pid comes from [`crate::net::peer_credentials`]. The child's own
    /// pid and session id cannot be reused while this exists and `wait` has not
    /// returned. The peer's can be, if it ends between connecting and this call;
    /// then the answer is about whoever has it now, who could only get a yes by
    /// being part of the same child. Ask right after accepting.
    pub fn is_self_or_descendant(&self, pid: i32) -> bool {
        self.child.is_some() && family::belongs(pid, self.pid.as_raw_pid())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end(child, self.pid);
        }
    }
}

#[expect(unsafe_code, reason = "tokio leaves it to us that the descriptor stays open")]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, so it stays open and itself for as long
    // as it is registered; nothing here takes it out again.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    Ok(registered?)
}

/// Kills the group of a child that has not been waited for, and waits.
fn end(mut child: std::process::Child, pid: Pid) {
    kill_group(pid);
    // Usually at once; a process stuck in the kernel must not hold the caller up.
    match child.try_wait() {
        Ok(Some(_)) => {}
        _ => spawner::reap(child),
    }
}

/// The child leads its own group, whose id cannot be reused before it is waited
/// for.
fn kill_group(pid: Pid) {
    // Fails only when nobody is left.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
}

#[cfg(test)]
mod tests;
