//! The contract that every module runtime keeps.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;

use crate::{
    EngineInfo, ImageReference, ImageRemoval, LocalImage, LocalVolume, LogOptions, LogStream,
    ModuleEvent, ModuleName, ModuleSpec, ModuleState, Notice, RegistryAuth, RuntimeError, Watcher,
};

/// What the methods return, so that the trait can be held as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, RuntimeError>> + Send + 'a>>;

/// Events of modules. It ends with an error when the engine goes away; ask anew.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<ModuleEvent, RuntimeError>> + Send>>;

/// A runtime as everybody holds it.
pub type SharedRuntime = Arc<dyn ModuleRuntime>;

/// Runs modules. All methods may be called again after a failure: creating,
/// starting, stopping and removing are safe to repeat.
pub trait ModuleRuntime: Send + Sync + 'static {
    /// Which kind it is.
    fn kind(&self) -> RuntimeKind;

    /// What the engine says about itself; also the cheapest proof that it answers.
    fn info(&self) -> BoxFuture<'_, EngineInfo>;

    /// All modules that this runtime owns, by name.
    fn list(&self) -> BoxFuture<'_, Vec<ModuleState>>;

    /// One module; `NotFound` when it isn't there or is somebody else's.
    fn get<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ModuleState>;

    /// Whether an image is on this machine (or built in).
    fn has_image<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, bool>;

    /// Gets an image, unless the catalogue has it built in. Slow; may be dropped.
    fn pull<'a>(
        &'a self,
        image: &'a ImageReference,
        auth: Option<&'a RegistryAuth>,
    ) -> BoxFuture<'a, ()>;

    /// The same, telling how far it is.
    fn pull_watched<'a>(
        &'a self,
        image: &'a ImageReference,
        auth: Option<&'a RegistryAuth>,
        _watcher: Watcher<'a>,
    ) -> BoxFuture<'a, ()> {
        self.pull(image, auth)
    }

    /// The images on this machine, built-in ones too; none of a runtime that has no images.
    fn images(&self) -> BoxFuture<'_, Vec<LocalImage>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The id of the image that a reference means here; none when it is not here.
    fn image_id<'a>(&'a self, _image: &'a ImageReference) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { Ok(None) })
    }

    /// Removes an image that nothing needs; one that isn't there is no error.
    fn remove_image<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, ImageRemoval> {
        Box::pin(async { Ok(ImageRemoval::Removed) })
    }

    /// The host's directory behind a named volume, which is made if it is missing; none when the
    /// engine keeps it elsewhere.
    fn volume_dir<'a>(&'a self, _volume: &'a str) -> BoxFuture<'a, Option<PathBuf>> {
        Box::pin(async { Ok(None) })
    }

    /// The host's directory that a module has for itself, where modules share the host's files.
    fn own_dir(&self, _name: &ModuleName) -> Option<PathBuf> {
        None
    }

    /// Whether a manifest may name this path of the host: not the keys to the machine, unless
    /// elevated permissions are allowed.
    fn may_name(&self, _path: &Path) -> bool {
        true
    }

    /// The named volumes that were made for modules of ours; none of a runtime without volumes.
    fn volumes(&self) -> BoxFuture<'_, Vec<LocalVolume>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Removes one of them; false when something needs it. One that isn't there is no error.
    fn remove_volume<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async { Ok(true) })
    }

    /// Creates a module without starting it. Pulls nothing: `pull` comes first.
    /// `Conflict` when the name is taken.
    fn create<'a>(&'a self, spec: &'a ModuleSpec) -> BoxFuture<'a, Vec<Notice>>;

    /// Starts a module; a running one is left as it is.
    fn start<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()>;

    /// Stops a module: a polite signal, then after the grace a hard one.
    /// A stopped one is left as it is.
    fn stop<'a>(&'a self, name: &'a ModuleName, grace: Duration) -> BoxFuture<'a, ()>;

    /// Stops and starts a module.
    fn restart<'a>(&'a self, name: &'a ModuleName, grace: Duration) -> BoxFuture<'a, ()>;

    /// Removes a module, running or not; its volumes stay. One that isn't there
    /// is no error.
    fn remove<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()>;

    /// A module's log.
    fn logs<'a>(&'a self, name: &'a ModuleName, options: LogOptions) -> BoxFuture<'a, LogStream>;

    /// Whether the process is one of the module's (`edge-runtime.md` §1.4).
    /// Hold the peer's pidfd while asking, or the pid may be another's by then.
    fn contains_process<'a>(&'a self, name: &'a ModuleName, pid: u32) -> BoxFuture<'a, bool>;

    /// What happens to owned modules from now on.
    fn events(&self) -> BoxFuture<'_, EventStream>;
}

/// Kinds of runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Containers of a Docker-compatible engine.
    Docker,
    /// Child processes of this daemon.
    Process,
}

impl RuntimeKind {
    /// `docker` or `process`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }
}
