//! What the agent remembers of each module, beside what it can see.
//!
//! [`Kept`] survives the process (`backup.rs` writes it): what the module was created from, and how
//! often it was restarted. The rest is about this life only. All transitions are here, as functions
//! of what was seen or done and the time.

use std::collections::{BTreeMap, BTreeSet};

use host::clock::Mono;
use model::ModuleId;
use serde::{Deserialize, Serialize};

use crate::observe::{Observation, ObservedModule, Status};
use crate::settings::Timing;
use crate::target::{Digest, Target};

/// All modules that the agent has to do with.
pub(crate) type Records = BTreeMap<ModuleId, Record>;

/// One module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// What survives the process.
    pub(crate) kept: Kept,
    /// Since when it has been running, as seen or done by us.
    pub(crate) running_since: Option<Mono>,
    /// When it was seen to have ended by itself.
    pub(crate) ended_at: Option<Mono>,
    /// Digest of the target whose image was pulled for it, until it is created.
    pub(crate) prepared: Option<Digest>,
    /// What went wrong last, until something goes right.
    pub(crate) failure: Option<Failure>,
}

/// What survives the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// Digest of the target that it was created from.
    pub(crate) digest: Option<String>,
    /// Generation of its identity at that time.
    pub(crate) generation: Option<String>,
    /// Its image, as the first look after creation showed it.
    pub(crate) image: Option<String>,
    /// That image's hash, likewise.
    pub(crate) image_hash: Option<String>,
    /// Whether its identity exists because of us.
    pub(crate) owns_identity: bool,
    /// Whether it ever ran.
    pub(crate) started: bool,
    /// Whether it ended by itself, as opposed to being stopped with the device.
    pub(crate) ended: bool,
    /// Restarts since it last ran for long.
    pub(crate) restart_count: u32,
    /// When it was last restarted.
    pub(crate) last_restart: Option<jiff::Timestamp>,
}

/// A job that did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Failures in a row.
    pub(crate) count: u32,
    /// Not before this.
    pub(crate) retry_at: Mono,
    /// For people.
    pub(crate) message: String,
    /// What was to be reached; something else is tried at once.
    pub(crate) aim: Aim,
    /// Whose fault it may be.
    pub(crate) fault: Fault,
}

/// Whose fault a failure may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This device's, or the deployment's.
    Device,
    /// Also the network's, while there is none.
    Net,
    /// A registry's that does not answer.
    Registry,
}

/// What a job was to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    /// That the module does not exist.
    Absent,
    /// That it exists in this form, running or not.
    Present(Digest, bool),
}

impl Aim {
    pub(crate) fn of(target: Option<&Target>) -> Self {
        match target {
            None => Self::Absent,
            Some(target) => Self::Present(target.digest.clone(), target.has_to_run()),
        }
    }
}

/// Takes note of an observation; modules in `skip` were touched after it was taken.
pub(crate) fn see(
    records: &mut Records,
    observation: &Observation,
    skip: &BTreeSet<ModuleId>,
    now: Mono,
    timing: &Timing,
) {
    for (module, record) in records.iter_mut().filter(|(module, _)| !skip.contains(module)) {
        match observation.modules.get(module) {
            Some(seen) => record.see(seen, now, timing),
            None => (record.running_since, record.ended_at) = (None, None),
        }
    }
}

impl Record {
    fn see(&mut self, seen: &ObservedModule, now: Mono, timing: &Timing) {
        // The daemon may spell an image otherwise than the manifest, so later looks are compared
        // with the first one.
        if self.kept.digest.is_some() && self.kept.image.is_none() {
            self.kept.image = Some(seen.image.clone());
            self.kept.image_hash.clone_from(&seen.image_hash);
        }
        match seen.status {
            Status::Running => {
                let since = *self.running_since.get_or_insert(now);
                self.ended_at = None;
                (self.kept.ended, self.kept.started) = (false, true);
                if now - since >= timing.intensive_care {
                    self.kept.restart_count = 0;
                }
            }
            // Its time to recover runs from here, as if it had ended.
            Status::Unhealthy => {
                self.running_since = None;
                (self.kept.ended, self.kept.started) = (true, true);
                self.ended_at.get_or_insert(now);
            }
            Status::Stopped | Status::Failed | Status::Dead => {
                self.kept.ended |= self.running_since.take().is_some();
                if self.kept.ended {
                    self.ended_at.get_or_insert(now);
                }
            }
            Status::Unknown => {}
        }
    }

    /// It was created from this target, with its identity of this generation.
    pub(crate) fn created(&mut self, target: &Target, generation: String) {
        self.kept.digest = Some(target.digest.as_str().to_owned());
        self.kept.generation = Some(generation);
        (self.kept.image, self.kept.image_hash) = (None, None);
        (self.kept.started, self.kept.ended) = (false, false);
        (self.running_since, self.ended_at) = (None, None);
        self.prepared = None;
    }

    /// Whether its last job could not get its image or its identity.
    pub(crate) fn misses_image(&self) -> bool {
        self.failure
            .as_ref()
            .is_some_and(|failure| failure.fault != Fault::Device && failure.aim != Aim::Absent)
    }

    /// It was started by us.
    pub(crate) fn started(&mut self, now: Mono) {
        (self.kept.started, self.kept.ended) = (true, false);
        (self.running_since, self.ended_at) = (Some(now), None);
    }

    /// It was stopped by us.
    pub(crate) fn stopped(&mut self) {
        self.kept.ended = false;
        (self.running_since, self.ended_at) = (None, None);
    }

    /// It does not exist any more.
    pub(crate) fn removed(&mut self) {
        let owns_identity = self.kept.owns_identity;
        let (restart_count, last_restart) = (self.kept.restart_count, self.kept.last_restart);
        self.kept = Kept { owns_identity, restart_count, last_restart, ..Kept::default() };
        (self.running_since, self.ended_at) = (None, None);
    }

    /// A job for it failed; the next attempt comes later and later, but always comes.
    pub(crate) fn failed(
        &mut self,
        aim: Aim,
        (message, fault): (String, Fault),
        now: Mono,
        timing: &Timing,
    ) {
        let before = match &self.failure {
            Some(failure) if failure.aim == aim => failure.count,
            _ => 0,
        };
        let retry_at = now + timing.wait(before);
        let count = before.saturating_add(1);
        self.failure = Some(Failure { count, retry_at, message, aim, fault });
    }

    /// When it may be restarted after it ended by itself.
    pub(crate) fn restart_due(&self, timing: &Timing) -> Mono {
        self.ended_at.unwrap_or(Mono::ZERO) + timing.wait(self.kept.restart_count)
    }

    /// Whether the module that is seen is the one that was created from this target.
    pub(crate) fn is_current(
        &self,
        target: &Target,
        seen: &ObservedModule,
        generation: Option<&str>,
    ) -> bool {
        let kept = &self.kept;
        // Where one side does not know, there is nothing to compare.
        let same = |ours: &Option<String>, theirs: Option<&str>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        kept.digest.as_deref() == Some(target.digest.as_str())
            && same(&kept.image, Some(&seen.image))
            && same(&kept.image_hash, seen.image_hash.as_deref())
            && same(&kept.generation, generation)
    }
}
