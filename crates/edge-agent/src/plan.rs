//! What is to be done: a pure function of what is wanted, what is, what is remembered, and the time.
//!
//! It is asked again after everything that happens, so it only ever names what may begin now; what
//! has to wait for a time says so in [`Plan::wake_at`]. Modules are brought up in the order of
//! `startupOrder` (er §4.4): a group begins when nothing of an earlier one is left to do or under
//! way, health is not waited for (T-ORDER). Supervision of modules that are up waits for nobody.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::clock::Mono;
use manifest::agent::{PullPolicy, RestartPolicy};
use model::ModuleId;

use crate::observe::{Identities, Observation, ObservedModule, Status};
use crate::record::{Aim, Record, Records};
use crate::settings::Timing;
use crate::target::{Deployment, Target};
use crate::variables::UpdateMode;

/// Everything that a plan depends on.
pub(crate) struct Snapshot<'a> {
    /// What is wanted; while nothing is known, nothing is touched.
    pub(crate) deployment: Option<&'a Deployment>,
    /// What is.
    pub(crate) observation: &'a Observation,
    /// What is remembered.
    pub(crate) records: &'a Records,
    /// Jobs under way.
    pub(crate) busy: &'a BTreeMap<ModuleId, Purpose>,
    /// Modules whose job ended after the observation was taken.
    pub(crate) unseen: &'a BTreeSet<ModuleId>,
    /// The time.
    pub(crate) now: Mono,
    /// The numbers.
    pub(crate) timing: Timing,
}

/// What is to be done now, and how each module stands.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Jobs to begin, in this order; at most one per module.
    pub(crate) jobs: Vec<Job>,
    /// Every module that is wanted or there.
    pub(crate) standings: BTreeMap<ModuleId, Standing>,
    /// When to ask again at the latest.
    pub(crate) wake_at: Option<Mono>,
}

/// Steps for one module, to be done one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The module.
    pub(crate) module: ModuleId,
    /// Why.
    pub(crate) purpose: Purpose,
    /// What it is to become; none when it is to go.
    pub(crate) target: Option<Arc<Target>>,
    /// The steps.
    pub(crate) steps: Vec<Step>,
    /// Whether its image was pulled before.
    pub(crate) is_pulled: bool,
}

/// Why a job is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To make the device what the deployment says; the number is its group.
    Deploy(i64),
    /// To have its image before any module is touched (`ModuleUpdateMode`).
    Prepare,
    /// To bring a module back that ended by itself.
    Restart,
    /// Because somebody asked.
    Command,
}

/// One call to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Create the identity.
    CreateIdentity,
    /// Give an identity that somebody else created this device's keys (er §4.4: "updated").
    UpdateIdentity,
    /// Delete the identity.
    DeleteIdentity,
    /// Pull the image.
    Pull,
    /// Create the module.
    Create,
    /// Start the module.
    Start,
    /// Stop the module.
    Stop,
    /// Stop and start the module.
    Restart,
    /// Remove the module.
    Remove,
}

/// How a module stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is as it has to be.
    Settled,
    /// A job begins or is under way, or its end is not yet seen.
    Working,
    /// It waits for an earlier group.
    Queued,
    /// It ended and is restarted later.
    BackOff,
    /// A job failed and is tried again later.
    Failed,
    /// Its identity is needed, and identities are not known.
    NoIdentity,
}

/// Makes the plan.
pub(crate) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let Some(deployment) = snapshot.deployment else { return Plan::default() };
    let mut plan = Plan::default();
    let mut jobs = Vec::new();
    let mut pulls = Pulls::new(deployment.variables.update_mode);
    for module in modules_of(deployment, snapshot) {
        let target = deployment.modules.get(&module);
        let need = match snapshot.busy.contains_key(&module) || snapshot.unseen.contains(&module) {
            true => Need::Underway,
            false => need(&module, target.map(Arc::as_ref), snapshot),
        };
        let standing = match need {
            Need::Nothing => Standing::Settled,
            Need::Underway => Standing::Working,
            Need::Wait(standing, until) => {
                let record = snapshot.records.get(&module);
                pulls.is_waiting |=
                    standing == Standing::Failed && record.is_some_and(Record::misses_image);
                plan.wake_at = Some(plan.wake_at.map_or(until, |at| at.min(until)));
                standing
            }
            Need::NoIdentity => Standing::NoIdentity,
            Need::Do(purpose, steps) => {
                let target = target.cloned();
                let job = Job { module: module.clone(), purpose, target, steps, is_pulled: false };
                jobs.push(pulls.pull_first(job, snapshot.records));
                Standing::Working
            }
        };
        plan.standings.insert(module, standing);
    }
    pulls.is_waiting |= snapshot.busy.values().any(|purpose| *purpose == Purpose::Prepare);
    let jobs = pulls.hold(jobs, &mut plan);
    release(jobs, snapshot.busy, &mut plan);
    plan
}

/// What `ModuleUpdateMode` makes of a plan: with `WaitForAllPulls`, images come first, and nothing is
/// replaced or removed while one is missing.
struct Pulls {
    mode: UpdateMode,
    is_waiting: bool,
}

impl Pulls {
    fn new(mode: UpdateMode) -> Self {
        Self { mode, is_waiting: false }
    }

    /// The job, or the one that has to come before it.
    fn pull_first(&mut self, mut job: Job, records: &Records) -> Job {
        let Some(at) = job.steps.iter().position(|step| *step == Step::Pull) else { return job };
        if self.mode == UpdateMode::NonBlocking {
            return job;
        }
        let digest = job.target.as_ref().map(|target| &target.digest);
        let prepared = records.get(&job.module).and_then(|record| record.prepared.as_ref());
        if digest.is_some() && prepared == digest {
            job.steps.remove(at);
            job.is_pulled = true;
        } else {
            job.steps.truncate(at + 1);
            job.purpose = Purpose::Prepare;
            self.is_waiting = true;
        }
        job
    }

    /// Takes out what has to wait for images. What only has to be started is supervision.
    fn hold(&self, jobs: Vec<Job>, plan: &mut Plan) -> Vec<Job> {
        if self.mode == UpdateMode::NonBlocking || !self.is_waiting {
            return jobs;
        }
        let (held, free): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| {
            matches!(job.purpose, Purpose::Deploy(_)) && job.steps != [Step::Start]
        });
        plan.standings.extend(held.into_iter().map(|job| (job.module, Standing::Queued)));
        free
    }
}

/// Lets the jobs of the first unfinished group begin, and those that belong to none.
fn release(mut jobs: Vec<Job>, busy: &BTreeMap<ModuleId, Purpose>, plan: &mut Plan) {
    let pending = jobs.iter().map(|job| job.purpose).chain(busy.values().copied());
    let first = pending.filter_map(Purpose::group).min();
    jobs.sort_by_key(|job| job.purpose.group());
    for job in jobs {
        if job.purpose.group().is_none_or(|group| Some(group) == first) {
            plan.jobs.push(job);
        } else {
            plan.standings.insert(job.module, Standing::Queued);
        }
    }
}

/// What one module needs.
enum Need {
    Nothing,
    Underway,
    Wait(Standing, Mono),
    NoIdentity,
    Do(Purpose, Vec<Step>),
}

/// Every module that is wanted, there, or has left something behind; never the agent itself.
fn modules_of(deployment: &Deployment, snapshot: &Snapshot<'_>) -> BTreeSet<ModuleId> {
    let mut modules: BTreeSet<ModuleId> = deployment.modules.keys().cloned().collect();
    modules.extend(snapshot.observation.modules.keys().cloned());
    modules.extend(snapshot.records.keys().cloned());
    modules.extend(snapshot.busy.keys().cloned());
    modules.remove(&ModuleId::edge_agent());
    modules
}

fn need(module: &ModuleId, target: Option<&Target>, snapshot: &Snapshot<'_>) -> Need {
    let no_record = Record::default();
    let record = snapshot.records.get(module).unwrap_or(&no_record);
    let seen = snapshot.observation.modules.get(module);
    let need = match (target, seen) {
        (None, _) => go_away(module, seen, record, snapshot),
        (Some(target), None) => create(target, Vec::new(), record, snapshot),
        (Some(target), Some(seen)) => {
            let identities = &snapshot.observation.identities;
            let identity = identities.get(module);
            let generation = identity.map(|identity| identity.generation.as_str());
            // Without an identity it cannot speak to anybody, however well it runs.
            let is_lost = matches!(identities, Identities::Known(_)) && identity.is_none();
            if record.is_current(target, seen, generation) && !is_lost {
                supervise(target, seen, record, snapshot)
            } else {
                create(target, clear_away(seen), record, snapshot)
            }
        }
    };
    match &record.failure {
        Some(failure)
            if matches!(need, Need::Do(..))
                && failure.retry_at > snapshot.now
                && failure.aim == Aim::of(target) =>
        {
            Need::Wait(Standing::Failed, failure.retry_at)
        }
        _ => need,
    }
}

/// Steps for a module that is not wanted any more (T-IDENTITY).
fn go_away(
    module: &ModuleId,
    seen: Option<&ObservedModule>,
    record: &Record,
    snapshot: &Snapshot<'_>,
) -> Need {
    let mut steps = seen.map(clear_away).unwrap_or_default();
    let identity_is_ours = match &snapshot.observation.identities {
        Identities::Known(identities) => identities.get(module).is_some_and(|identity| {
            let was_a_module = seen.is_some() || record.kept.owns_identity;
            was_a_module && identity.managed_by.eq_ignore_ascii_case(MANAGED_BY)
        }),
        // Deleting what is gone already does no harm.
        Identities::Unknown(_) => record.kept.owns_identity,
    };
    if identity_is_ours && !module.is_system() {
        steps.push(Step::DeleteIdentity);
    }
    if steps.is_empty() { Need::Nothing } else { Need::Do(Purpose::Deploy(GROUP_REMOVED), steps) }
}

fn clear_away(seen: &ObservedModule) -> Vec<Step> {
    match seen.status {
        Status::Running | Status::Unhealthy | Status::Unknown => vec![Step::Stop, Step::Remove],
        Status::Stopped | Status::Failed | Status::Dead => vec![Step::Remove],
    }
}

/// Steps for a module that has to be created, after `clear` has removed its predecessor. The pull
/// comes first of all, so that the predecessor runs meanwhile.
fn create(target: &Target, clear: Vec<Step>, record: &Record, snapshot: &Snapshot<'_>) -> Need {
    let mut steps = Vec::new();
    match &snapshot.observation.identities {
        Identities::Unknown(_) => return Need::NoIdentity,
        Identities::Known(identities) => match identities.get(&target.module) {
            None => steps.push(Step::CreateIdentity),
            // We never ran it with this identity: the hub may have made it, with keys of its own.
            Some(identity) if record.kept.generation.as_ref() != Some(&identity.generation) => {
                steps.push(Step::UpdateIdentity);
            }
            Some(_) => {}
        },
    }
    // The daemon looks then, too, whether what the edge hub stores can go where it is to be.
    let is_edge_hub_replaced = target.module == ModuleId::edge_hub() && !clear.is_empty();
    if target.config.pull_policy == PullPolicy::OnCreate || is_edge_hub_replaced {
        steps.push(Step::Pull);
    }
    steps.extend(clear);
    steps.push(Step::Create);
    if target.has_to_run() {
        steps.push(Step::Start);
    }
    Need::Do(Purpose::Deploy(target.config.startup_order.into()), steps)
}

/// Steps for a module that is there in the right form (er §4.5, but it never gives up).
fn supervise(
    target: &Target,
    seen: &ObservedModule,
    record: &Record,
    snapshot: &Snapshot<'_>,
) -> Need {
    let deploy = Purpose::Deploy(target.config.startup_order.into());
    match (target.has_to_run(), seen.status) {
        (false, Status::Running | Status::Unhealthy) => Need::Do(deploy, vec![Step::Stop]),
        (false, _) | (true, Status::Running | Status::Unknown) => Need::Nothing,
        // It never ran, or it was stopped with the device and not by itself.
        (true, Status::Stopped | Status::Failed) if !record.kept.started || !record.kept.ended => {
            Need::Do(deploy, vec![Step::Start])
        }
        (true, status) => {
            let due = record.restart_due(&snapshot.timing);
            if !restarts(target.config.restart_policy, status) {
                Need::Nothing
            } else if due > snapshot.now {
                Need::Wait(Standing::BackOff, due)
            } else if status == Status::Dead {
                Need::Do(Purpose::Restart, vec![Step::Remove, Step::Create, Step::Start])
            } else {
                Need::Do(Purpose::Restart, vec![Step::Restart])
            }
        }
    }
}

fn restarts(policy: RestartPolicy, status: Status) -> bool {
    match policy {
        RestartPolicy::Never => status == Status::Dead,
        RestartPolicy::OnFailure => matches!(status, Status::Failed | Status::Dead),
        RestartPolicy::OnUnhealthy => {
            matches!(status, Status::Failed | Status::Dead | Status::Unhealthy)
        }
        RestartPolicy::Always => true,
    }
}

impl Purpose {
    fn group(self) -> Option<i64> {
        match self {
            Self::Deploy(group) => Some(group),
            Self::Prepare | Self::Restart | Self::Command => None,
        }
    }
}

impl Step {
    /// Whether it needs a registry or the hub.
    pub(crate) fn needs_the_net(self) -> bool {
        matches!(
            self,
            Self::Pull | Self::CreateIdentity | Self::UpdateIdentity | Self::DeleteIdentity
        )
    }

    /// A word for the log and for errors.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CreateIdentity => "create identity",
            Self::UpdateIdentity => "update identity",
            Self::DeleteIdentity => "delete identity",
            Self::Pull => "pull image",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Remove => "remove",
        }
    }
}

/// Who manages identities that we may delete (er §2.1).
const MANAGED_BY: &str = "iotedge";
/// Modules that are not wanted any more come before all that are.
const GROUP_REMOVED: i64 = -1;
