//! One workload socket per module.
//!
//! A socket lies in a directory of its own, and it is the directory that is bound into the module
//! (read-only): a daemon that was restarted makes the socket anew in there, and modules that went
//! on running find it. The original binds the socket's file, so its modules hold a dead one and
//! have to be stopped (`edge-runtime.md` §1.2, §1.5). Where it is says which module calls
//! (`workload` checks the process as well).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containers::ModuleName;
use host::clock::Clock;
use host::fs::{self, FsError};
use host::net::{self, NetError};
use host::signals::Shutdown;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::http;
use crate::peer::Throttle;
use crate::workload::{self, Workload};

/// Why a module has no workload socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Its directory cannot be made.
    #[error("cannot make the directory of a workload socket")]
    Dir(#[from] FsError),
    /// The socket cannot be opened.
    #[error("cannot open a workload socket")]
    Listen(#[from] NetError),
    /// Sockets' paths are short.
    #[error(
        "workload sockets under {} would have paths of more than {PATH_BYTES_MAX} bytes: choose a shorter directory",
        dir.display()
    )]
    TooLong {
        /// The directory.
        dir: PathBuf,
    },
    /// There are too many.
    #[error("more than {MODULES_MAX} modules have workload sockets: remove some first")]
    TooMany,
}

/// The workload sockets of all modules.
pub(crate) struct Sockets {
    dir: PathBuf,
    file_name: String,
    per_user_max: usize,
    workload: Arc<Workload>,
    clock: Clock,
    shutdown: Shutdown,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listening: BTreeMap<ModuleName, Listening>,
    tasks: JoinSet<()>,
}

/// A socket that is open.
struct Listening {
    stop: Shutdown,
    closed: Shutdown,
}

impl Listening {
    /// Ends it. Its path is removed when this returns and not a moment later, when it may be that
    /// of another.
    async fn close(self) {
        self.stop.trigger();
        self.closed.wait().await;
    }
}

impl Sockets {
    /// None yet; they will be in `dir`, each file named as modules expect it.
    pub(crate) fn new(
        dir: PathBuf,
        file_name: String,
        per_user_max: usize,
        workload: Arc<Workload>,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Self, SocketError> {
        fs::create_dir(&dir)?;
        // Modules that run as processes of other users pass through, but see no list.
        fs::set_mode(&dir, 0o711)?;
        Ok(Self {
            dir,
            file_name,
            per_user_max,
            workload,
            clock,
            shutdown,
            state: Mutex::default(),
        })
    }

    /// The directory that is bound into a module.
    pub(crate) fn dir_of(&self, module: &ModuleName) -> PathBuf {
        let dir = self.dir.join(module.as_str());
        match self.fits(&dir) {
            true => dir,
            false => self.dir.join(workload::short_name(module)),
        }
    }

    /// The socket of a module.
    pub(crate) fn path_of(&self, module: &ModuleName) -> PathBuf {
        self.dir_of(module).join(&self.file_name)
    }

    /// Opens a module's socket unless it is open. Jobs of one module come in turn, so that this
    /// and [`Self::remove`] do not meet.
    pub(crate) async fn open(&self, module: &ModuleName) -> Result<(), SocketError> {
        let (dir, path) = (self.dir_of(module), self.path_of(module));
        if !self.fits(&dir) {
            return Err(SocketError::TooLong { dir: self.dir.clone() });
        }
        if self.state.lock().listening.contains_key(module) {
            if fs::exists(&path)? {
                return Ok(());
            }
            tracing::warn!(%module, path = %path.display(), "workload socket is gone, opening it again");
            self.close(module).await;
        }
        fs::create_dir(&dir)?;
        fs::set_mode(&dir, 0o755)?;
        // Engines make a directory where they were told to bind and nothing was.
        if fs::exists(&path)? && fs::facts(&path)?.is_dir {
            fs::remove_dir_all(&path)?;
        }
        self.listen(module, &path)
    }

    fn listen(&self, module: &ModuleName, path: &Path) -> Result<(), SocketError> {
        let mut state = self.state.lock();
        if state.listening.len() >= MODULES_MAX {
            return Err(SocketError::TooMany);
        }
        let is_agent = module.as_str() == workload::AGENT_NAME;
        let listener = net::listen_unix(path, if is_agent { 0o600 } else { 0o666 })?;
        let api = workload::Door::new(Arc::clone(&self.workload), module.clone());
        let (stop, closed) = (self.shutdown.child(), Shutdown::new());
        let door = http::Door {
            listener,
            throttle: Throttle::new(path.display().to_string(), self.per_user_max),
            clock: self.clock.clone(),
            stop: stop.clone(),
            closed: closed.clone(),
        };
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(door.serve(Arc::new(api)));
        state.listening.insert(module.clone(), Listening { stop, closed });
        Ok(())
    }

    /// Closes a module's socket and removes it.
    pub(crate) async fn remove(&self, module: &ModuleName) {
        self.close(module).await;
        if let Err(error) = fs::remove_dir_all(&self.dir_of(module)) {
            tracing::warn!(%module, error = &error as &dyn std::error::Error, "cannot remove a workload socket");
        }
    }

    async fn close(&self, module: &ModuleName) {
        let listening = self.state.lock().listening.remove(module);
        if let Some(listening) = listening {
            listening.close().await;
        }
    }

    /// Removes what is left of modules that are no more.
    pub(crate) fn remove_all_but(&self, modules: &[ModuleName]) -> Result<(), FsError> {
        let kept: Vec<PathBuf> = modules.iter().map(|module| self.dir_of(module)).collect();
        for dir in fs::list(&self.dir)?.iter().filter(|dir| !kept.contains(dir)) {
            if fs::facts(dir).is_ok_and(|facts| facts.is_dir) {
                fs::remove_dir_all(dir)?;
            }
        }
        Ok(())
    }

    /// Waits until all are closed, after `shutdown`.
    pub(crate) async fn closed(&self) {
        let mut tasks = std::mem::take(&mut self.state.lock().tasks);
        while tasks.join_next().await.is_some() {}
    }

    fn fits(&self, dir: &Path) -> bool {
        dir.join(&self.file_name).as_os_str().len() <= PATH_BYTES_MAX
    }
}

/// unix(7) takes 107 bytes; `host::net` needs one for a name of its own.
const PATH_BYTES_MAX: usize = 106;
/// A deployment may have 50 (`edge-runtime.md` §7.2); more is an accident.
const MODULES_MAX: usize = 1000;
