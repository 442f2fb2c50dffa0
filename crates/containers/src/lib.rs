//! Module runtimes: containers by the Docker API, or plain processes.
//!
//! [`ModuleRuntime`] is what the edge daemon drives: create, start, stop,
//! remove, list, logs. `DockerRuntime` speaks to a container engine (Docker, or
//! podman's socket), `ProcessRuntime` runs the modules that a local [`Catalogue`]
//! knows as child processes, and `image` makes the built-in images from our own
//! static binary, so that nothing has to be pulled.
//!
//! It decides nothing: which module should run is the agent's plan, and who may
//! ask is the daemon's. Specification: `edge-runtime.md` §1.4–1.6, 2.1, 2.4.

mod catalogue;
mod docker;
mod error;
pub mod image;
mod local_image;
mod logs;
mod mounts;
mod name;
mod options;
mod process;
mod runtime;
mod spec;
mod state;

pub use catalogue::{Builtin, Catalogue, Resolved};
pub use docker::{
    AddressRange, DockerRuntime, DockerSettings, HostPolicy, NetworkSettings, REFUSABLE_OPTIONS,
};
pub use error::{BoxError, RuntimeError};
pub use local_image::{ImageRemoval, LocalImage, LocalVolume, PullProgress, Watcher};
pub use logs::{LogFrame, LogOptions, LogSource, LogStream};
pub use model::image::{ImageReference, InvalidImageReference};
pub use mounts::{Location, Mount, MountSource, locate};
pub use name::{InvalidModuleName, ModuleName};
pub use process::{ProcessRuntime, ProcessSettings};
pub use runtime::{BoxFuture, EventStream, ModuleRuntime, RuntimeKind, SharedRuntime};
pub use spec::{Bind, ModuleSpec, Notice, PullPolicy, RegistryAuth};
pub use state::{EngineInfo, ModuleEvent, ModuleEventKind, ModuleState, RuntimeStatus};
