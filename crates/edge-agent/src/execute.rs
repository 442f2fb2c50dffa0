//! Carries out jobs: one task per module, step after step, each a call to the management API.
//!
//! Before every step it is asked whether the job's aim is still the wanted one, and a pull is given
//! up as soon as it isn't: a newer desired state always wins. Nothing is decided here. What is gone
//! already counts as removed, so that a job can be repeated.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use client::edge::{EdgeError, ManagementClient};
use host::clock::Clock;
use iot_proto::management::{
    EnvVar, IdentityCreate, IdentityUpdate, ImagePullPolicy, ModuleConfig, ModuleSpec, Pull,
};
use manifest::agent::PullPolicy;
use model::ModuleId;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::environment::GENERATION;
use crate::error::chain;
use crate::metrics::Counters;
use crate::observe::{ObservedIdentity, runtime_name};
use crate::plan::{Job, Purpose, Step};
use crate::record::{Aim, Fault};
use crate::target::Target;

/// What is wanted of each module; absent ones are to go.
pub(crate) type Wanted = BTreeMap<ModuleId, Aim>;

/// Runs jobs.
pub(crate) struct Executor {
    calls: Calls,
    jobs: JoinSet<Done>,
    wanted: watch::Sender<Arc<Wanted>>,
    pulling: watch::Sender<Pulling>,
}

/// Modules whose images are on their way, and how far they are as far as anybody knows.
pub(crate) type Pulling = BTreeMap<ModuleId, Option<String>>;

/// The end of a job.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) module: ModuleId,
    pub(crate) purpose: Purpose,
    pub(crate) aim: Aim,
    pub(crate) target: Option<Arc<Target>>,
    /// What was reached, in this order.
    pub(crate) effects: Vec<Effect>,
    /// Whether that was all.
    pub(crate) outcome: Result<(), Stopped>,
}

/// What a step changed.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The identity exists.
    Identity(ObservedIdentity),
    /// The identity has this device's keys.
    IdentityUpdated(ObservedIdentity),
    /// The identity does not exist any more.
    IdentityDeleted,
    /// The module was created with its identity of this generation.
    Created(String),
    /// The module was started or restarted.
    Started,
    /// The module was stopped.
    Stopped,
    /// The module does not exist any more.
    Removed,
}

/// Why a job did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Something else is wanted by now.
    Superseded,
    /// A step failed.
    Failed(Failed),
}

/// A step that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// In words, with the step's name.
    pub(crate) message: String,
    /// Whose fault it may be.
    pub(crate) fault: Fault,
}

impl Executor {
    pub(crate) fn new(management: ManagementClient, counters: Counters, clock: Clock) -> Self {
        let calls = Calls {
            management,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            pulls: Arc::new(Semaphore::new(PULLS_MAX)),
            counters,
            clock,
        };
        let (wanted, pulling) = (watch::Sender::default(), watch::Sender::default());
        Self { calls, jobs: JoinSet::new(), wanted, pulling }
    }

    /// Says what is wanted from now on; jobs with another aim end before their next step.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(Arc::new(wanted));
    }

    /// Modules whose images are on their way.
    pub(crate) fn pulling(&self) -> Pulling {
        self.pulling.borrow().clone()
    }

    /// Begins a job, with the identity that the module has.
    pub(crate) fn begin(&mut self, job: Job, identity: Option<ObservedIdentity>) {
        let run = JobRun {
            calls: self.calls.clone(),
            wanted: self.wanted.subscribe(),
            pulling: self.pulling.clone(),
            aim: Aim::of(job.target.as_deref()),
            generation: identity.map(|identity| identity.generation),
            effects: Vec::new(),
            pulled: job.is_pulled,
            job,
        };
        self.jobs.spawn(run.run());
    }

    /// The next job that ended; waits for ever when there is none.
    pub(crate) async fn next_done(&mut self) -> Done {
        loop {
            match self.jobs.join_next().await {
                Some(Ok(done)) => return done,
                // Jobs are never aborted while this is waited for, and do not panic.
                Some(Err(error)) => tracing::error!(%error, "module job ended without a result"),
                None => std::future::pending().await,
            }
        }
    }
}

/// The management API with its bounds.
#[derive(Clone)]
struct Calls {
    management: ManagementClient,
    calls: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
    counters: Counters,
    clock: Clock,
}

struct JobRun {
    calls: Calls,
    wanted: watch::Receiver<Arc<Wanted>>,
    pulling: watch::Sender<Pulling>,
    job: Job,
    aim: Aim,
    generation: Option<String>,
    effects: Vec<Effect>,
    pulled: bool,
}

impl JobRun {
    async fn run(mut self) -> Done {
        let mut outcome = Ok(());
        for step in self.job.steps.clone() {
            outcome = match self.is_wanted() {
                true => self.step(step).await,
                false => Err(Stopped::Superseded),
            };
            if outcome.is_err() {
                break;
            }
        }
        let Job { module, purpose, target, .. } = self.job;
        Done { module, purpose, aim: self.aim, target, effects: self.effects, outcome }
    }

    fn is_wanted(&self) -> bool {
        // A command is somebody's wish of this moment; it is done as long as the module is there.
        self.job.purpose == Purpose::Command
            || wanted_aim(&self.wanted.borrow(), &self.job.module) == self.aim
    }

    async fn step(&mut self, step: Step) -> Result<(), Stopped> {
        tracing::info!(module_id = %self.job.module, step = step.as_str(), "module step");
        let begun = self.calls.clock.now();
        let result = match step {
            Step::Pull => match self.pull().await {
                Some(result) => result,
                None => return Err(Stopped::Superseded),
            },
            other => {
                // The semaphore is never closed.
                let _permit = self.calls.calls.clone().acquire_owned().await;
                self.call(other).await
            }
        };
        self.count(step, self.calls.clock.now() - begun, result.is_ok());
        result.map_err(|error| {
            let fault = fault(step, &error);
            let mut message = format!("cannot {}: {}", step.as_str(), chain(&error));
            if fault == Fault::Registry {
                message.push_str(WAITED_FOR);
            }
            tracing::warn!(module_id = %self.job.module, error = %message, "module step failed");
            Stopped::Failed(Failed { message, fault })
        })
    }

    fn count(&self, step: Step, took: Duration, is_ok: bool) {
        let counters = &self.calls.counters;
        counters.step(step.as_str(), took);
        let version = self.job.target.as_ref().map_or("", |target| &target.config.version);
        let module = runtime_name(&self.job.module);
        match step {
            _ if !is_ok => {}
            Step::Pull => counters.prepared(module, version),
            Step::Start => counters.started(module, version),
            Step::Stop => counters.stopped(module, version),
            Step::Restart => {
                counters.stopped(module, version);
                counters.started(module, version);
            }
            _ => {}
        }
    }

    /// Pulls the image; `None` when something else was wanted meanwhile.
    async fn pull(&mut self) -> Option<Result<(), StepError>> {
        let mut wanted = self.wanted.clone();
        let (module, aim) = (&self.job.module, &self.aim);
        let pull = async {
            // The semaphore is never closed.
            let _permit = self.calls.pulls.clone().acquire_owned().await;
            let spec = self.spec(self.create_policy())?;
            Ok(self.calls.management.prepare_update(&spec).await?)
        };
        self.pulling.send_modify(|pulling| {
            pulling.insert(module.clone(), None);
        });
        let result = tokio::select! {
            biased;
            // Fails only when the executor is gone, and then nothing is wanted any more.
            _ = wanted.wait_for(|wanted| wanted_aim(wanted, module) != *aim) => None,
            result = pull => Some(result),
            never = self.watch_pull() => match never {},
        };
        self.pulling.send_modify(|pulling| {
            pulling.remove(module);
        });
        self.pulled = matches!(result, Some(Ok(())));
        result
    }

    /// Takes note of how far the pull is, seldom enough for a twin to be told each time.
    async fn watch_pull(&self) -> Infallible {
        let module = &self.job.module;
        loop {
            self.calls.clock.sleep(PROGRESS_EVERY).await;
            // A daemon that does not say is no reason to give the pull up.
            let Ok(pulls) = self.calls.management.pulls().await else { continue };
            let name = runtime_name(module);
            let ours = pulls.iter().find(|pull| pull.modules.iter().any(|other| other == name));
            let progress = ours.and_then(Pull::progress);
            self.pulling.send_if_modified(|pulling| match pulling.get_mut(module) {
                Some(known) if *known != progress => {
                    *known = progress;
                    true
                }
                _ => false,
            });
        }
    }

    async fn call(&mut self, step: Step) -> Result<(), StepError> {
        let management = &self.calls.management;
        let name = runtime_name(&self.job.module);
        let effect = match step {
            Step::CreateIdentity => {
                let create = IdentityCreate {
                    module_id: self.job.module.to_string(),
                    managed_by: Some(MANAGED_BY.into()),
                };
                let identity = management.create_identity(&create).await?;
                self.generation = Some(identity.generation_id.clone());
                Effect::Identity(ObservedIdentity {
                    generation: identity.generation_id,
                    managed_by: identity.managed_by,
                })
            }
            Step::UpdateIdentity => {
                let generation_id = self.generation.clone().unwrap_or_default();
                let update = IdentityUpdate { generation_id, managed_by: None };
                let module = self.job.module.as_str();
                let identity = management.update_identity(module, &update).await?;
                self.generation = Some(identity.generation_id.clone());
                Effect::IdentityUpdated(ObservedIdentity {
                    generation: identity.generation_id,
                    managed_by: identity.managed_by,
                })
            }
            Step::DeleteIdentity => {
                gone(management.delete_identity(self.job.module.as_str()).await)?;
                Effect::IdentityDeleted
            }
            Step::Create => {
                let spec = self.spec(self.create_policy())?;
                management.create_module(&spec).await?;
                Effect::Created(self.generation.clone().unwrap_or_default())
            }
            Step::Start => {
                management.start_module(name).await?;
                Effect::Started
            }
            Step::Restart => {
                management.restart_module(name).await?;
                Effect::Started
            }
            Step::Stop => {
                gone(management.stop_module(name).await)?;
                Effect::Stopped
            }
            Step::Remove => {
                gone(management.delete_module(name).await)?;
                Effect::Removed
            }
            // Has its own way, because it can be given up.
            Step::Pull => return Ok(()),
        };
        self.effects.push(effect);
        Ok(())
    }

    /// What was pulled a moment ago is not pulled again.
    fn create_policy(&self) -> ImagePullPolicy {
        match (&self.job.target, self.pulled) {
            (Some(target), false) if target.config.pull_policy == PullPolicy::OnCreate => {
                ImagePullPolicy::OnCreate
            }
            _ => ImagePullPolicy::Never,
        }
    }

    fn spec(&self, policy: ImagePullPolicy) -> Result<ModuleSpec, StepError> {
        let target = self.job.target.as_deref().ok_or(StepError::NoTarget)?;
        let generation = self.generation.as_deref().ok_or(StepError::NoIdentity)?;
        Ok(spec(target, generation, policy))
    }
}

/// The module as the management API takes it (er §2.1).
fn spec(target: &Target, generation: &str, policy: ImagePullPolicy) -> ModuleSpec {
    let mut settings = Map::new();
    settings.insert("image".into(), target.config.image.as_str().into());
    settings.insert("createOptions".into(), target.config.create_options.clone());
    if let Some(auth) = &target.auth {
        let auth: Value = json!({
            "username": auth.username, "password": auth.password, "serveraddress": auth.address,
        });
        settings.insert("auth".into(), auth);
    }
    let mut env = target.env.clone();
    env.insert(GENERATION.into(), generation.into());
    ModuleSpec {
        name: runtime_name(&target.module).to_owned(),
        r#type: target.config.kind.as_str().to_owned(),
        image_pull_policy: Some(policy),
        config: ModuleConfig {
            settings,
            env: env.into_iter().map(|(key, value)| EnvVar { key, value }).collect(),
        },
    }
}

fn wanted_aim(wanted: &Wanted, module: &ModuleId) -> Aim {
    wanted.get(module).cloned().unwrap_or(Aim::Absent)
}

/// A registry that is away, or does not get through, is worth waiting for: nothing was touched yet,
/// and nothing is wrong with the deployment. One that answered with a refusal is not.
fn fault(step: Step, error: &StepError) -> Fault {
    let status = match error {
        StepError::Daemon(error) => error.status(),
        StepError::NoIdentity | StepError::NoTarget => return Fault::Device,
    };
    match step {
        // 408 and 429 are the engine's and the registry's words for later.
        Step::Pull if status.is_some_and(|status| matches!(status, 400..=407 | 409..=428)) => {
            Fault::Net
        }
        Step::Pull => Fault::Registry,
        _ if step.needs_the_net() => Fault::Net,
        _ => Fault::Device,
    }
}

/// What does not exist is gone.
fn gone(result: Result<(), EdgeError>) -> Result<(), EdgeError> {
    match result {
        Err(error) if error.status() == Some(NOT_FOUND) => Ok(()),
        other => other,
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Daemon(#[from] EdgeError),
    #[error("the module's identity is not known")]
    NoIdentity,
    #[error("the module is not wanted")]
    NoTarget,
}

const NOT_FOUND: u16 = 404;
/// What is added to the engine's words about a registry that does not answer.
const WAITED_FOR: &str = "; tried again until it comes, what runs goes on";
/// A twin's report is a message that is paid for; a pull that is quicker needs none.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
const MANAGED_BY: &str = "iotedge";
/// Calls to the daemon at a time, pulls apart: enough to bring ten modules up side by side, and
/// far below the daemon's 50 connections per user (er §1.3).
const CALLS_MAX: usize = 10;
/// Pulls at a time (er §4.6); they hold up nobody but each other.
const PULLS_MAX: usize = 5;
