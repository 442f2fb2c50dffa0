//! A device in a few lines of text, and the plan for it in a few more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::clock::Mono;
use manifest::AgentConfig;
use model::ModuleId;
use serde_json::{Value, json};

use crate::observe::{Identities, Observation, ObservedIdentity, ObservedModule, Status};
use crate::plan::{Purpose, Snapshot, Standing, plan};
use crate::record::{Aim, Kept, Record, Records};
use crate::settings::Timing;
use crate::target::Deployment;

/// A device in which everything can be set by hand.
pub(super) struct Device {
    pub(super) deployment: Option<Deployment>,
    pub(super) observation: Observation,
    pub(super) records: Records,
    pub(super) busy: BTreeMap<ModuleId, Purpose>,
    pub(super) unseen: BTreeSet<ModuleId>,
    pub(super) now: Mono,
}

pub(super) fn id(name: &str) -> ModuleId {
    name.parse().unwrap()
}

pub(super) fn seconds(seconds: u64) -> Mono {
    Mono::ZERO + Duration::from_secs(seconds)
}

fn timing() -> Timing {
    Timing::default()
}

impl Device {
    /// A device at second 1000 that should run these modules (`name`, changes of a module that
    /// always restarts), with the identities of all of them.
    pub(super) fn wanting(modules: &[(&str, Value)]) -> Self {
        let mut all = serde_json::Map::new();
        let mut identities = BTreeMap::new();
        for (name, changes) in modules {
            let mut module = json!({
                "type": "docker", "status": "running", "restartPolicy": "always",
                "settings": {"image": "x:1"},
            });
            for (key, value) in changes.as_object().unwrap() {
                module[key] = value.clone();
            }
            all.insert((*name).to_owned(), module);
            identities.insert(id(name), identity("1"));
        }
        let desired = json!({
            "schemaVersion": "1.1", "runtime": {"type": "docker"}, "systemModules": {},
            "modules": all,
        });
        let config = AgentConfig::parse(desired.as_object().unwrap()).unwrap();
        Self {
            deployment: Some(Deployment::new(1, config, &crate::test_surroundings())),
            observation: Observation {
                modules: BTreeMap::new(),
                identities: Identities::Known(identities),
            },
            records: Records::new(),
            busy: BTreeMap::new(),
            unseen: BTreeSet::new(),
            now: seconds(1000),
        }
    }

    /// The module exists in this status, created from what is wanted now.
    pub(super) fn with(mut self, name: &str, status: Status) -> Self {
        let target = self.deployment.as_ref().unwrap().modules.get(&id(name));
        let digest = target.map(|target| target.digest.as_str().to_owned());
        let seen = ObservedModule { status, image: "x:1".into(), ..ObservedModule::default() };
        let kept = Kept {
            digest,
            generation: Some("1".into()),
            image: Some(seen.image.clone()),
            owns_identity: true,
            started: true,
            ..Kept::default()
        };
        self.records.insert(id(name), Record { kept, ..Record::default() });
        self.observation.modules.insert(id(name), seen);
        if let Identities::Known(identities) = &mut self.observation.identities {
            identities.insert(id(name), identity("1"));
        }
        self
    }

    /// It ended by itself at this second, after so many restarts.
    pub(super) fn ended(mut self, name: &str, at: u64, restarts: u32) -> Self {
        let record = self.records.get_mut(&id(name)).unwrap();
        record.kept.ended = true;
        record.kept.restart_count = restarts;
        record.ended_at = Some(seconds(at));
        self
    }

    pub(super) fn record(mut self, name: &str, change: impl FnOnce(&mut Record)) -> Self {
        change(self.records.entry(id(name)).or_default());
        self
    }

    pub(super) fn without_identity(mut self, name: &str) -> Self {
        if let Identities::Known(identities) = &mut self.observation.identities {
            identities.remove(&id(name));
        }
        self
    }

    pub(super) fn busy(mut self, name: &str, purpose: Purpose) -> Self {
        self.busy.insert(id(name), purpose);
        self
    }

    #[track_caller]
    pub(super) fn check(&self, expected: &str) {
        let expected: Vec<&str> =
            expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        assert_eq!(self.planned(), expected);
    }

    /// The plan in words.
    pub(super) fn planned(&self) -> Vec<String> {
        let plan = plan(&Snapshot {
            deployment: self.deployment.as_ref(),
            observation: &self.observation,
            records: &self.records,
            busy: &self.busy,
            unseen: &self.unseen,
            now: self.now,
            timing: timing(),
        });
        let mut lines = Vec::new();
        for job in &plan.jobs {
            let steps: Vec<&str> = job.steps.iter().map(|step| step.as_str()).collect();
            lines.push(format!("{}: {}", job.module, steps.join(", ")));
        }
        for (module, standing) in &plan.standings {
            if *standing != Standing::Working {
                lines.push(format!("{module} is {standing:?}"));
            }
        }
        if let Some(at) = plan.wake_at {
            lines.push(format!("wake at {}", at.since_origin().as_secs()));
        }
        lines
    }
}

pub(super) fn identity(generation: &str) -> ObservedIdentity {
    ObservedIdentity { generation: generation.into(), managed_by: "iotedge".into() }
}

impl Device {
    pub(super) fn gone(mut self, name: &str) -> Self {
        self.observation.modules.remove(&id(name));
        self
    }

    /// It was created from something else.
    pub(super) fn outdated(self, name: &str) -> Self {
        self.record(name, |record| record.kept.digest = None)
    }

    pub(super) fn prepared(self, name: &str) -> Self {
        let digest = self.deployment.as_ref().unwrap().modules[&id(name)].digest.clone();
        self.record(name, |record| record.prepared = Some(digest))
    }

    pub(super) fn failing(self, name: &str, retry_at: u64) -> Self {
        let target = self.deployment.as_ref().unwrap().modules[&id(name)].clone();
        self.record(name, |record| {
            record.failure = Some(crate::record::Failure {
                count: 1,
                retry_at: seconds(retry_at),
                message: "no".into(),
                aim: Aim::of(Some(&target)),
                fault: crate::record::Fault::Net,
            });
        })
    }
}
