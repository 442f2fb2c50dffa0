//! Modules of this device: from what the management API is told to what the runtime does.
//!
//! One job per module at a time; a job that was begun goes on when its caller goes away. The agent
//! is no module of the runtime but part of the daemon; it is shown among them all the same.

mod agent;
mod details;
mod pulls;
mod spec;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use containers::{
    LogOptions, LogStream, ModuleName, ModuleRuntime, ModuleSpec, Notice, PullPolicy, RuntimeError,
    SharedRuntime,
};
use host::http::StatusCode;
use iot_proto::management::{ModuleDetails, ModuleList};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::http::Refusal;
use crate::images::Images;
use crate::sockets::{SocketError, Sockets};
use crate::storage::{LABEL, LABEL_USUAL, Resident, Storage};
use crate::workload::AGENT_NAME;

pub(crate) use agent::BuiltinAgent;
pub(crate) use details::is_candidate;
pub(crate) use pulls::Pulls;
pub(crate) use spec::image_reference;

/// The modules.
pub(crate) struct Modules {
    pub(crate) runtime: SharedRuntime,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) storage: Arc<Storage>,
    pub(crate) agent: BuiltinAgent,
    pub(crate) place: Place,
    /// Counts the requests to restart the agent.
    pub(crate) agent_restarts: watch::Sender<u64>,
    pub(crate) jobs: Jobs,
    pub(crate) pulls: Pulls,
    pub(crate) images: Arc<Images>,
}

/// What a module's specification depends on.
pub(crate) struct Place {
    /// Stands for `$upstream` in an image's name.
    pub(crate) upstream: String,
    /// Another name of the edge hub on the modules' network.
    pub(crate) gateway: String,
    /// The workload socket as modules see it.
    pub(crate) connect_workload: PathBuf,
}

impl Modules {
    /// All modules, the agent among them.
    pub(crate) async fn list(&self) -> Result<ModuleList, Refusal> {
        Ok(list(&*self.runtime, &self.agent).await?)
    }

    /// One module.
    pub(crate) async fn get(&self, name: &str) -> Result<ModuleDetails, Refusal> {
        if name == AGENT_NAME {
            return Ok(self.agent.details());
        }
        let name = parse(name)?;
        Ok(details::of(&self.runtime.get(&name).await?))
    }

    /// Creates a module; it does not start.
    pub(crate) async fn create(
        self: Arc<Self>,
        spec: iot_proto::management::ModuleSpec,
    ) -> Result<ModuleDetails, Refusal> {
        spec.check()?;
        if spec.name == AGENT_NAME {
            return Err(is_builtin("exists already"));
        }
        let spec = self.to_runtime(spec)?;
        self.pull(&spec).await?;
        self.job(spec.name.clone(), move |modules| async move {
            modules.create_now(&spec).await?;
            Ok(details::of(&modules.runtime.get(&spec.name).await?))
        })
        .await
    }

    /// Replaces a module. Whatever can be found wrong before is found while the old one runs.
    pub(crate) async fn update(
        self: Arc<Self>,
        path: &str,
        spec: iot_proto::management::ModuleSpec,
        start: bool,
    ) -> Result<ModuleDetails, Refusal> {
        spec.check_for(path)?;
        if spec.name == AGENT_NAME {
            // The original replaces its agent's container; ours has none (T-UPDATE-SELF).
            return self.agent_told(spec).await;
        }
        let spec = self.to_runtime(spec)?;
        // Outside of the job: a slow pull must not keep the old module from being looked after.
        self.pull(&spec).await?;
        self.job(spec.name.clone(), move |modules| async move {
            modules.try_out(&spec).await?;
            modules.check_storage(&spec).await?;
            match modules.runtime.stop(&spec.name, STOP_GRACE).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            modules.runtime.remove(&spec.name).await?;
            modules.create_now(&spec).await?;
            if start {
                modules.runtime.start(&spec.name).await?;
            }
            Ok(details::of(&modules.runtime.get(&spec.name).await?))
        })
        .await
    }

    /// Gets the image that an update will need.
    pub(crate) async fn prepare_update(
        &self,
        path: &str,
        spec: iot_proto::management::ModuleSpec,
    ) -> Result<(), Refusal> {
        spec.check_for(path)?;
        if spec.name == AGENT_NAME {
            return Ok(());
        }
        let spec = self.to_runtime(spec)?;
        self.pull(&spec).await?;
        self.check_storage(&spec).await
    }

    /// Removes a module and its socket.
    pub(crate) async fn remove(self: Arc<Self>, name: &str) -> Result<(), Refusal> {
        if name == AGENT_NAME {
            return Err(is_builtin("cannot be removed"));
        }
        let name = parse(name)?;
        self.job(name.clone(), move |modules| async move {
            modules.runtime.get(&name).await?;
            modules.runtime.remove(&name).await?;
            modules.sockets.remove(&name).await;
            Ok(())
        })
        .await
    }

    /// Starts a module; its socket is there before.
    pub(crate) async fn start(self: Arc<Self>, name: &str) -> Result<(), Refusal> {
        if name == AGENT_NAME {
            return Ok(());
        }
        let name = parse(name)?;
        self.job(name.clone(), move |modules| async move {
            modules.sockets.open(&name).await?;
            Ok(modules.runtime.start(&name).await?)
        })
        .await
    }

    /// Stops a module.
    pub(crate) async fn stop(self: Arc<Self>, name: &str) -> Result<(), Refusal> {
        if name == AGENT_NAME {
            return Err(is_builtin("cannot be stopped: stop the daemon"));
        }
        let name = parse(name)?;
        self.job(name.clone(), move |modules| async move {
            Ok(modules.runtime.stop(&name, STOP_GRACE).await?)
        })
        .await
    }

    /// Restarts a module, or the agent when somebody looks after it.
    pub(crate) async fn restart(self: Arc<Self>, name: &str) -> Result<(), Refusal> {
        if name == AGENT_NAME {
            if self.agent_restarts.receiver_count() == 0 {
                return Err(is_builtin("cannot be restarted alone: restart the daemon"));
            }
            self.agent_restarts.send_modify(|count| *count = count.wrapping_add(1));
            return Ok(());
        }
        let name = parse(name)?;
        self.job(name.clone(), move |modules| async move {
            modules.sockets.open(&name).await?;
            Ok(modules.runtime.restart(&name, STOP_GRACE).await?)
        })
        .await
    }

    /// A module's log.
    pub(crate) async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream, Refusal> {
        if name == AGENT_NAME {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "edgeAgent is part of the daemon: its log is the daemon's (journalctl, or the terminal of farshore)",
            ));
        }
        Ok(self.runtime.logs(&parse(name)?, options).await?)
    }

    /// Pulls an image unless its module says never. One that is here already will do when the
    /// registry does not answer: a device must start without its network.
    async fn pull(&self, spec: &ModuleSpec) -> Result<(), Refusal> {
        if spec.pull_policy == PullPolicy::Never {
            return Ok(());
        }
        let Err(error) = self.pulls.pull(&spec.name, &spec.image, spec.auth.as_ref()).await else {
            return Ok(());
        };
        if self.runtime.has_image(&spec.image).await? {
            tracing::warn!(module = %spec.name, image = %spec.image, error = error.message(), "cannot pull the image, going on with the one that is here");
            return Ok(());
        }
        Err((*error).clone())
    }

    /// Creates the module under another name and removes it again: the runtime's own check of
    /// createOptions, local policy and image, before the old module is touched.
    async fn try_out(&self, spec: &ModuleSpec) -> Result<(), Refusal> {
        let name = details::candidate_name();
        let candidate = ModuleSpec { name: parse(&name)?, ..spec.clone() };
        self.sockets.open(&spec.name).await?;
        let outcome = self.runtime.create(&candidate).await;
        self.runtime.remove(&candidate.name).await?;
        let _told_at_creation: Vec<Notice> =
            outcome.map_err(|error| named(error, &name, &spec.name))?;
        Ok(())
    }

    /// Whether what the module stores could go where it is to be.
    async fn check_storage(&self, spec: &ModuleSpec) -> Result<(), Refusal> {
        let Some(resident) = Resident::of(spec.name.as_str()) else { return Ok(()) };
        let wanted = self.storage.wanted(resident, spec).await?;
        Ok(self.storage.check(resident, &wanted)?)
    }

    /// The module with the place of what it stores, which is moved there when the module is gone.
    async fn housed(&self, spec: &ModuleSpec) -> Result<ModuleSpec, Refusal> {
        let mut spec = spec.clone();
        let Some(resident) = Resident::of(spec.name.as_str()) else { return Ok(spec) };
        let wanted = self.storage.wanted(resident, &spec).await?;
        match self.runtime.get(&spec.name).await {
            Err(error) if error.is_not_found() => self.storage.settle(resident, &wanted).await?,
            Err(error) => return Err(error.into()),
            // It cannot be created then.
            Ok(_) => {}
        }
        if let Some(bind) = wanted.bind {
            spec.binds.push(bind);
            spec.labels.insert(LABEL.to_owned(), LABEL_USUAL.to_owned());
        }
        Ok(spec)
    }

    async fn create_now(&self, spec: &ModuleSpec) -> Result<(), Refusal> {
        self.sockets.open(&spec.name).await?;
        let spec = &self.housed(spec).await?;
        for notice in self.runtime.create(spec).await? {
            tracing::debug!(module = %spec.name, %notice, "created with a notice");
        }
        self.images.used(&spec.image).await;
        Ok(())
    }

    /// Removes candidates that a daemon left behind which was killed.
    pub(crate) async fn remove_candidates(&self) -> Result<(), RuntimeError> {
        for state in self.runtime.list().await? {
            if details::is_candidate(&state.name) {
                self.runtime.remove(&state.name).await?;
            }
        }
        Ok(())
    }

    /// Runs a job to its end, whether or not its caller waits, and after other jobs of the same
    /// module.
    async fn job<T, F>(
        self: Arc<Self>,
        name: ModuleName,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let lock = self.jobs.lock_of(&name);
        let work = work(Arc::clone(&self));
        let job = tokio::spawn(async move {
            let _one_at_a_time = lock.lock().await;
            work.await
        });
        job.await.unwrap_or_else(|_| {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "job ended early"))
        })
    }
}

/// All modules, the agent among them.
pub(crate) async fn list(
    runtime: &dyn ModuleRuntime,
    agent: &BuiltinAgent,
) -> Result<ModuleList, RuntimeError> {
    let states = runtime.list().await?;
    let seen = states
        .iter()
        .filter(|state| !details::is_candidate(&state.name) && state.name.as_str() != AGENT_NAME);
    let mut modules = vec![agent.details()];
    modules.extend(seen.map(details::of));
    Ok(ModuleList { modules })
}

/// Locks, one per module that has a job.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<HashMap<ModuleName, Arc<tokio::sync::Mutex<()>>>>);

impl Jobs {
    fn lock_of(&self, name: &ModuleName) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock();
        // Those that nobody holds or waits for are only ours.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(name.clone()).or_default())
    }
}

impl From<SocketError> for Refusal {
    fn from(error: SocketError) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, &error)
    }
}

fn parse(name: &str) -> Result<ModuleName, Refusal> {
    name.parse().map_err(|error| Refusal::bad(&error))
}

fn is_builtin(what: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("edgeAgent is part of the daemon and {what}"))
}

/// An error about a candidate, told of the module that it stands for.
fn named(error: RuntimeError, candidate: &str, module: &ModuleName) -> Refusal {
    let refusal = Refusal::from(error);
    refusal.map_message(|message| message.replace(candidate, module.as_str()))
}

/// What a container engine gives by default, and ours for processes.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);
