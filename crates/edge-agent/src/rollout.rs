//! From one deployment to the next, and back: which one is in force, and whether it proves itself.
//!
//! A new deployment is on trial until every module that it changes has been well for a while; then
//! it is the good one. One that is not well in its time is given up: the good one comes back, and
//! the verdict says why until the desired properties change (`DESIGN.md` §7). Pure; time is an
//! argument. Only time in which something could have gone right counts: while an image is being
//! pulled, or cannot be because its registry or the device's line is away, the clock stands still.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::clock::Mono;
use model::ModuleId;
use serde::{Deserialize, Serialize};

use crate::desired::{Desired, Verdict};
use crate::execute::Pulling;
use crate::observe::{Observation, Status, runtime_name};
use crate::plan::Standing;
use crate::record::{Aim, Fault, Record, Records};
use crate::settings::{Surroundings, Timing};
use crate::target::{Deployment, Target};

/// Which deployment is in force.
#[derive(Debug, Default)]
pub(crate) struct Rollout {
    in_force: Option<Stage>,
    good: Option<Stage>,
    abandoned: Option<Abandoned>,
    trial: Option<Trial>,
    verdict: Option<Verdict>,
}

/// A deployment with the properties that it comes from.
#[derive(Debug, Clone)]
struct Stage {
    desired: Desired,
    deployment: Deployment,
}

/// A deployment that was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Abandoned {
    /// What was wanted.
    pub(crate) desired: Desired,
    /// Why it is not in force, for people.
    pub(crate) reason: String,
}

/// What survives the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Stages {
    /// The deployment in force.
    pub(crate) desired: Option<Desired>,
    /// The last one that proved itself.
    pub(crate) good: Option<Desired>,
    /// The one that was given up, while it is the newest.
    pub(crate) abandoned: Option<Abandoned>,
}

/// A deployment that has yet to prove itself.
#[derive(Debug)]
struct Trial {
    /// What it changes; the rest is not judged by it.
    changed: BTreeSet<ModuleId>,
    spent: Duration,
    seen_at: Mono,
}

/// What the device shows of itself.
pub(crate) struct Evidence<'a> {
    pub(crate) observation: &'a Observation,
    /// When it was seen: what runs may have ended since.
    pub(crate) seen_at: Mono,
    pub(crate) records: &'a Records,
    pub(crate) standings: &'a BTreeMap<ModuleId, Standing>,
    /// Modules whose images are on their way.
    pub(crate) pulling: &'a Pulling,
    /// Whether the hub is reached.
    pub(crate) is_connected: bool,
    pub(crate) now: Mono,
    pub(crate) timing: &'a Timing,
}

/// How a changed module is.
enum Fitness {
    Well,
    /// It is up, but not for long enough.
    Settling,
    /// Nothing can be said of it, and that is not its fault.
    Excused,
    Unwell(String),
}

impl Rollout {
    /// As it was when the last process ended; what was on trial is so again.
    pub(crate) fn resume(stages: &Stages, surroundings: &Surroundings, now: Mono) -> Self {
        let stage = |desired: &Option<Desired>| {
            let desired = desired.as_ref()?;
            match desired.judge(surroundings) {
                Verdict::Deployment(deployment) => {
                    Some(Stage { desired: desired.clone(), deployment })
                }
                Verdict::Refused { .. } => None,
            }
        };
        let mut rollout = Self {
            good: stage(&stages.good),
            abandoned: stages.abandoned.clone(),
            ..Self::default()
        };
        if let Some(stage) = stage(&stages.desired) {
            rollout.enforce(stage, now);
        }
        if let Some(abandoned) = &rollout.abandoned {
            rollout.verdict = Some(abandoned.verdict());
        }
        rollout
    }

    /// Takes in new desired properties. Bad ones are told; what runs goes on (er §4.3).
    pub(crate) fn take(&mut self, desired: &Desired, surroundings: &Surroundings, now: Mono) {
        if let Some(abandoned) = &self.abandoned {
            if abandoned.desired == *desired {
                self.verdict = Some(abandoned.verdict());
                return;
            }
            self.abandoned = None;
        }
        let verdict = desired.judge(surroundings);
        match &verdict {
            Verdict::Deployment(deployment) => {
                let is_known = self.in_force.as_ref().is_some_and(|now| now.desired == *desired);
                if is_known {
                    self.verdict = Some(verdict);
                    return;
                }
                tracing::info!(version = desired.version, "new deployment");
                for note in &deployment.variables.notes {
                    tracing::warn!("edge agent's variable {note}");
                }
                let deployment = deployment.clone();
                self.enforce(Stage { desired: desired.clone(), deployment }, now);
            }
            Verdict::Refused { version, description, .. } => {
                tracing::error!(version, problem = %description, "deployment refused");
                self.verdict = Some(verdict);
            }
        }
    }

    fn enforce(&mut self, stage: Stage, now: Mono) {
        let good = self.good.as_ref();
        let aim = |deployment: &Deployment, module: &ModuleId| {
            Aim::of(deployment.modules.get(module).map(AsRef::as_ref))
        };
        let changed = stage.deployment.modules.keys().filter(|module| {
            good.is_none_or(|good| aim(&good.deployment, module) != aim(&stage.deployment, module))
        });
        let is_proven = good.is_some_and(|good| good.desired == stage.desired);
        self.trial = (!is_proven).then(|| Trial {
            changed: changed.cloned().collect(),
            spent: Duration::ZERO,
            seen_at: now,
        });
        self.verdict = Some(Verdict::Deployment(stage.deployment.clone()));
        self.in_force = Some(stage);
    }

    /// Looks at the device; true when another deployment is in force from now on.
    pub(crate) fn judge(&mut self, evidence: &Evidence<'_>) -> bool {
        let (Some(trial), Some(stage)) = (&mut self.trial, &self.in_force) else { return false };
        let mut excused = false;
        let mut settling = false;
        let mut unwell = Vec::new();
        for module in &trial.changed {
            let Some(target) = stage.deployment.modules.get(module) else { continue };
            match fitness(target, evidence) {
                Fitness::Well => {}
                Fitness::Settling => settling = true,
                Fitness::Excused => excused = true,
                Fitness::Unwell(why) => unwell.push(format!("{module}: {why}")),
            }
        }
        if !excused {
            trial.spent += evidence.now - trial.seen_at;
        }
        trial.seen_at = evidence.now;
        let limit = evidence.timing.healthy_within;
        if !excused && !settling && unwell.is_empty() {
            tracing::info!(version = stage.desired.version, "deployment is healthy");
            (self.good, self.trial) = (Some(stage.clone()), None);
        } else if !limit.is_zero() && trial.spent >= limit && !unwell.is_empty() {
            return self.give_up(&unwell.join("; "), limit, evidence.now);
        }
        false
    }

    fn give_up(&mut self, why: &str, limit: Duration, now: Mono) -> bool {
        // Before the first good one there is nowhere to go; it is tried for ever.
        let (Some(good), Some(bad)) = (self.good.clone(), &self.in_force) else { return false };
        let reason = format!(
            "deployment {} was not healthy within {} s; went back to deployment {}, and stays \
             there until the desired properties change: {why}",
            bad.desired.version,
            limit.as_secs(),
            good.desired.version,
        );
        tracing::error!(
            version = bad.desired.version,
            back_to = good.desired.version,
            problem = why,
            "deployment is not healthy in its time; going back to the last good one"
        );
        let abandoned = Abandoned { desired: bad.desired.clone(), reason };
        self.enforce(good, now);
        self.verdict = Some(abandoned.verdict());
        self.abandoned = Some(abandoned);
        true
    }

    /// The deployment in force.
    pub(crate) fn deployment(&self) -> Option<&Deployment> {
        self.in_force.as_ref().map(|stage| &stage.deployment)
    }

    /// The images of the deployment in force and of the good one, to which it may have to go back.
    pub(crate) fn images(&self) -> Option<BTreeSet<String>> {
        let in_force = self.in_force.as_ref()?;
        let stages = [Some(in_force), self.good.as_ref()].into_iter().flatten();
        let targets = stages.flat_map(|stage| stage.deployment.modules.values());
        Some(targets.map(|target| target.config.image.to_string()).collect())
    }

    /// The createOptions of both, by the modules' names in the runtime.
    pub(crate) fn create_options(&self) -> Option<Vec<(String, serde_json::Value)>> {
        let in_force = self.in_force.as_ref()?;
        let stages = [Some(in_force), self.good.as_ref()].into_iter().flatten();
        let targets = stages.flat_map(|stage| stage.deployment.modules.values());
        let options = targets.map(|target| {
            let name = runtime_name(&target.module).to_owned();
            (name, target.config.create_options.clone())
        });
        Some(options.collect())
    }

    /// What is to be said of the newest desired properties.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// What has to survive.
    pub(crate) fn stages(&self) -> Stages {
        let desired = |stage: &Option<Stage>| stage.as_ref().map(|stage| stage.desired.clone());
        Stages {
            desired: desired(&self.in_force),
            good: desired(&self.good),
            abandoned: self.abandoned.clone(),
        }
    }
}

impl Abandoned {
    fn verdict(&self) -> Verdict {
        Verdict::Refused {
            version: self.desired.version,
            code: ABANDONED,
            description: self.reason.clone(),
        }
    }
}

fn fitness(target: &Target, evidence: &Evidence<'_>) -> Fitness {
    let module = &target.module;
    let no_record = Record::default();
    let record = evidence.records.get(module).unwrap_or(&no_record);
    let standing = evidence.standings.get(module).copied().unwrap_or(Standing::Working);
    let seen = evidence.observation.modules.get(module);
    let failure = record.failure.as_ref();
    match standing {
        _ if evidence.pulling.contains_key(module) => Fitness::Excused,
        Standing::NoIdentity if !evidence.is_connected => Fitness::Excused,
        Standing::NoIdentity => Fitness::Unwell("its identity is not known".into()),
        // Also between two attempts of something that fails each time, and during the next one.
        Standing::Failed | Standing::Working | Standing::Queued => match failure {
            Some(failure) if is_excused(failure.fault, evidence.is_connected) => Fitness::Excused,
            Some(failure) => Fitness::Unwell(failure.message.clone()),
            None => Fitness::Settling,
        },
        Standing::BackOff => {
            let description = seen.and_then(|seen| seen.description.clone());
            Fitness::Unwell(description.unwrap_or_else(|| "it does not stay up".into()))
        }
        Standing::Settled => match seen {
            Some(seen) if target.has_to_run() => match (seen.status, record.running_since) {
                (Status::Running, Some(since))
                    if evidence.seen_at >= since + evidence.timing.healthy_after =>
                {
                    Fitness::Well
                }
                (Status::Running | Status::Unknown, _) => Fitness::Settling,
                // It did what it had to, and its policy leaves it so.
                (Status::Stopped, _) => Fitness::Well,
                (Status::Failed | Status::Dead | Status::Unhealthy, _) => {
                    let status = seen.status.as_str().to_owned();
                    Fitness::Unwell(seen.description.clone().unwrap_or(status))
                }
            },
            Some(_) => Fitness::Well,
            None => Fitness::Settling,
        },
    }
}

/// A registry that does not answer says nothing of the deployment: the module before runs on until
/// the image is here, so there is no hurry to go back.
fn is_excused(fault: Fault, is_connected: bool) -> bool {
    match fault {
        Fault::Device => false,
        Fault::Net => !is_connected,
        Fault::Registry => true,
    }
}

/// Code of `lastDesiredStatus` for a deployment that was tried and failed (er §4.3).
const ABANDONED: u16 = 500;
