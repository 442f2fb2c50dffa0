//! Modules as child processes: for machines without a container engine.
//!
//! Only images of the catalogue can run, as the program that it names. Each
//! module has a loop of its own ([`worker`]) that owns the process. Processes end
//! with this runtime, also when it is killed; what is known of them stays on disk
//! ([`files`]). There is no isolation beyond a directory and, when run by root, a
//! user: the daemon says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use host::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::runtime::BoxFuture;
use crate::{
    Catalogue, EngineInfo, EventStream, ImageReference, LogOptions, LogStream, ModuleEvent,
    ModuleEventKind, ModuleName, ModuleRuntime, ModuleSpec, ModuleState, Notice, RegistryAuth,
    Resolved, RuntimeError, RuntimeKind, RuntimeStatus,
};
use files::{Places, Run, StoredModule};
use log::Log;
use worker::{Command, Shared, Worker};

mod files;
mod leftovers;
mod log;
mod output;
mod plan;
mod worker;

/// How to run modules as processes.
#[derive(Clone)]
pub struct ProcessSettings {
    /// Where modules, their data and their logs lie. When `user` is given, that
    /// user must be able to reach it.
    pub root: PathBuf,
    /// The programs.
    pub catalogue: Catalogue,
    /// User and group to run the modules as; needs root.
    pub user: Option<(u32, u32)>,
    /// Size of a log file; two are kept per module.
    pub log_bytes_max: u64,
    /// The time.
    pub clock: Clock,
}

impl ProcessSettings {
    /// The usual settings.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, catalogue: Catalogue, clock: Clock) -> Self {
        Self {
            root: root.into(),
            catalogue,
            user: None,
            log_bytes_max: DEFAULT_LOG_BYTES_MAX,
            clock,
        }
    }
}

/// Modules as child processes. Dropping it kills them; [`ProcessRuntime::close`]
/// also waits until they are gone.
pub struct ProcessRuntime {
    shared: Arc<Shared>,
    modules: Mutex<BTreeMap<ModuleName, Module>>,
    log_bytes_max: u64,
}

/// The runtime's end of a worker.
struct Module {
    stored: Arc<StoredModule>,
    commands: mpsc::Sender<Command>,
    run: watch::Receiver<Run>,
    log: Arc<Log>,
    work: JoinHandle<()>,
}

impl ProcessRuntime {
    /// Takes the directory, ends what an earlier runtime left behind, and knows
    /// its modules again. None of them runs then.
    pub async fn open(settings: ProcessSettings) -> Result<Self, RuntimeError> {
        let places = Places::create(&settings.root)?;
        let lock =
            host::fs::lock_exclusive(&places.lock()).map_err(|error| match error.is_locked() {
                true => RuntimeError::Conflict {
                    what: format!(
                        "another edge runtime uses {}: stop it first",
                        settings.root.display()
                    ),
                },
                false => files::system(error),
            })?;
        leftovers::end(places.root()).await?;
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let runtime = Self {
            shared: Arc::new(Shared {
                places,
                catalogue: settings.catalogue,
                user: settings.user,
                clock: settings.clock,
                events,
                _lock: lock,
            }),
            modules: Mutex::default(),
            log_bytes_max: settings.log_bytes_max,
        };
        for (name, stored, run) in runtime.shared.places.modules()? {
            let run = runtime.without_process(&name, run);
            let module = runtime.employ(&name, stored, run)?;
            runtime.modules.lock().insert(name, module);
        }
        Ok(runtime)
    }

    /// Kills all modules and waits until they are gone. The directory is free
    /// for another runtime then.
    pub async fn close(self) {
        let modules = std::mem::take(&mut *self.modules.lock());
        for module in modules.into_values() {
            module.dismiss().await;
        }
    }

    /// A run that had not ended when its runtime did ended with it.
    fn without_process(&self, name: &ModuleName, run: Run) -> Run {
        if run.pid.is_none() {
            return run;
        }
        let run = Run {
            pid: None,
            exit_code: Some(EXIT_KILLED),
            finished_at: Some(self.shared.clock.wall()),
            failure: Some("killed together with the edge runtime".to_owned()),
            ..run
        };
        if let Err(error) = self.shared.places.write_run(name, &run) {
            // On a full disk: what is there leads here again.
            tracing::error!(module = %name, error = worker::chain(&error), "cannot record a module's run");
        }
        run
    }

    fn employ(
        &self,
        name: &ModuleName,
        stored: StoredModule,
        run: Run,
    ) -> Result<Module, RuntimeError> {
        let log = Arc::new(Log::open(&self.shared.places.module(name), self.log_bytes_max)?);
        let stored = Arc::new(stored);
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, run) = watch::channel(run);
        let worker = Worker {
            name: name.clone(),
            stored: stored.clone(),
            shared: self.shared.clone(),
            log: log.clone(),
            commands: receiver,
            run: sender,
        };
        Ok(Module { stored, commands, run, log, work: tokio::spawn(worker.work()) })
    }

    fn create_module(&self, spec: &ModuleSpec) -> Result<Vec<Notice>, RuntimeError> {
        self.builtin_or_error(&spec.image)?;
        if let Some(digest) = &spec.digest {
            return Err(RuntimeError::ImageUnavailable {
                image: spec.image.to_string(),
                what: format!("is built in and cannot have digest {digest}: leave the digest out"),
            });
        }
        let places = &self.shared.places;
        let plan = plan::plan(spec, &places.volumes())?;
        for directory in &plan.directories {
            places.create_bound(directory, self.shared.user)?;
        }
        let stored = StoredModule {
            format: files::FORMAT,
            image: spec.image.to_string(),
            cmd: plan.cmd,
            env: plan.env,
            labels: plan.labels,
        };
        let mut modules = self.modules.lock();
        if modules.contains_key(&spec.name) {
            return Err(RuntimeError::Conflict {
                what: format!("a module named {} exists already: remove it first", spec.name),
            });
        }
        places.write_module(&spec.name, &stored)?;
        let module = self.employ(&spec.name, stored, Run::default())?;
        modules.insert(spec.name.clone(), module);
        Ok(plan.notices)
    }

    async fn remove_module(&self, name: &ModuleName) -> Result<(), RuntimeError> {
        let Some(module) = self.modules.lock().remove(name) else {
            return Ok(());
        };
        module.dismiss().await;
        self.shared.places.remove_module(name)?;
        // Nobody has to listen.
        let _ = self
            .shared
            .events
            .send(ModuleEvent { name: name.clone(), kind: ModuleEventKind::Removed });
        Ok(())
    }

    /// Sends a command and waits for the reply.
    async fn command<T>(
        &self,
        name: &ModuleName,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, RuntimeError> {
        let commands = self.with(name, |module| module.commands.clone())?;
        let (reply, answer) = oneshot::channel();
        // Fails when the module is removed meanwhile.
        let gone = || RuntimeError::NotFound { name: name.to_string() };
        commands.send(command(reply)).await.map_err(|_| gone())?;
        // Not held while waiting: a removed module ends when nobody can send.
        drop(commands);
        answer.await.map_err(|_| gone())
    }

    fn with<T>(
        &self,
        name: &ModuleName,
        look: impl FnOnce(&Module) -> T,
    ) -> Result<T, RuntimeError> {
        let modules = self.modules.lock();
        modules.get(name).map(look).ok_or_else(|| RuntimeError::NotFound { name: name.to_string() })
    }

    fn builtin_or_error(&self, image: &ImageReference) -> Result<(), RuntimeError> {
        match self.shared.catalogue.resolve(image) {
            Resolved::Builtin(_) => Ok(()),
            Resolved::Remote => Err(worker::not_in_catalogue(&image.to_string())),
        }
    }
}

impl Module {
    /// Ends the worker, and the process with it.
    async fn dismiss(self) {
        drop(self.commands);
        if let Err(error) = self.work.await {
            tracing::error!(%error, "a module's loop failed");
        }
    }

    fn state(&self, name: &ModuleName) -> ModuleState {
        let run = self.run.borrow().clone();
        let status = match (run.pid, run.exit_code) {
            (Some(_), _) => RuntimeStatus::Running,
            (None, None | Some(0)) => RuntimeStatus::Stopped,
            (None, Some(_)) => RuntimeStatus::Failed,
        };
        let description = run.failure.or_else(|| match (status, run.exit_code) {
            (RuntimeStatus::Running, _) => Some("running".to_owned()),
            (_, Some(code)) => Some(format!("exited, exit code {code}")),
            (_, None) => Some("created".to_owned()),
        });
        ModuleState {
            name: name.clone(),
            image: self.stored.image.clone(),
            image_id: None,
            status,
            exit_code: run.exit_code,
            started_at: run.started_at,
            finished_at: run.finished_at,
            description,
            pid: run.pid,
            labels: self.stored.labels.clone(),
            env: self.stored.env.clone(),
        }
    }
}

impl ModuleRuntime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn info(&self) -> BoxFuture<'_, EngineInfo> {
        Box::pin(async { Ok(machine()) })
    }

    fn list(&self) -> BoxFuture<'_, Vec<ModuleState>> {
        Box::pin(async {
            Ok(self.modules.lock().iter().map(|(name, module)| module.state(name)).collect())
        })
    }

    fn get<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ModuleState> {
        Box::pin(async { self.with(name, |module| module.state(name)) })
    }

    fn has_image<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, bool> {
        Box::pin(async { Ok(self.builtin_or_error(image).is_ok()) })
    }

    fn pull<'a>(
        &'a self,
        image: &'a ImageReference,
        _: Option<&'a RegistryAuth>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async { self.builtin_or_error(image) })
    }

    fn volume_dir<'a>(&'a self, volume: &'a str) -> BoxFuture<'a, Option<PathBuf>> {
        Box::pin(async move { Ok(Some(plan::volume_dir(volume, &self.shared.places.volumes())?)) })
    }

    fn own_dir(&self, name: &ModuleName) -> Option<PathBuf> {
        Some(self.shared.places.data(name))
    }

    fn create<'a>(&'a self, spec: &'a ModuleSpec) -> BoxFuture<'a, Vec<Notice>> {
        Box::pin(async { self.create_module(spec) })
    }

    fn start<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()> {
        Box::pin(async { self.command(name, |reply| Command::Start { reply }).await? })
    }

    fn stop<'a>(&'a self, name: &'a ModuleName, grace: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.command(name, |reply| Command::Stop { grace, reply }).await? })
    }

    fn restart<'a>(&'a self, name: &'a ModuleName, grace: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.stop(name, grace).await?;
            self.start(name).await
        })
    }

    fn remove<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()> {
        Box::pin(self.remove_module(name))
    }

    fn logs<'a>(&'a self, name: &'a ModuleName, options: LogOptions) -> BoxFuture<'a, LogStream> {
        Box::pin(async { output::read(self.with(name, |module| module.log.clone())?, options) })
    }

    fn contains_process<'a>(&'a self, name: &'a ModuleName, pid: u32) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Ok(pid) = i32::try_from(pid) else {
                return Ok(false);
            };
            match self.command(name, |reply| Command::Contains { pid, reply }).await {
                Err(error) if error.is_not_found() => Ok(false),
                answer => answer,
            }
        })
    }

    fn events(&self) -> BoxFuture<'_, EventStream> {
        let events = stream::unfold(Some(self.shared.events.subscribe()), |events| async {
            let mut events = events?;
            match events.recv().await {
                Ok(event) => Some((Ok(event), Some(events))),
                Err(broadcast::error::RecvError::Closed) => None,
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    let what =
                        format!("{lost} module events were lost by not reading them in time");
                    Some((Err(RuntimeError::EngineProtocol { what, source: None }), None))
                }
            }
        });
        Box::pin(async { Ok(Box::pin(events) as EventStream) })
    }
}

fn machine() -> EngineInfo {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let info = rustix::system::sysinfo();
    EngineInfo {
        name: "process".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: None,
        os_type: "linux".to_owned(),
        architecture: text(uname.machine()),
        kernel: text(uname.release()),
        operating_system: pretty_name().unwrap_or_else(|| text(uname.sysname())),
        cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        memory_bytes: (info.totalram as u64).saturating_mul(info.mem_unit.into()),
        log_driver: None,
        data_root: None,
    }
}

/// The distribution's name (os-release(5)).
fn pretty_name() -> Option<String> {
    let text = host::fs::read_to_string(std::path::Path::new("/etc/os-release")).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// Exit code of a process that was killed, as shells and engines show it.
const EXIT_KILLED: i64 = 137;
/// A caller that waits for a module's reply is one command; the agent and the
/// management API's 50 connections are all there is.
const COMMANDS_MAX: usize = 64;
/// Events that a slow listener may be behind.
const EVENTS_MAX: usize = 256;
const DEFAULT_LOG_BYTES_MAX: u64 = 5 * 1024 * 1024;

#[cfg(test)]
mod tests;
