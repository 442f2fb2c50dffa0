//! What the agent says of its device: its reported properties (er §4.7). Pure.
//!
//! Differences to the original, on purpose: passwords of registries are not repeated, failures that
//! leave a module out are told (500 with the module's name), and a module that does not exist yet
//! is in the report with the reason. Only differences to what the twin has are sent ([`diff`]).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use iot_proto::time::{NEVER, round_trip_or_never};
use jiff::Timestamp;
use manifest::agent::{Env, RuntimeConfig, chunked};
use model::ModuleId;
use model::twin::Object;
use serde_json::{Value, json};

use crate::desired::Verdict;
use crate::execute::Pulling;
use crate::observe::{Observation, ObservedModule, Platform, Status, runtime_name};
use crate::plan::Standing;
use crate::record::{Record, Records};
use crate::settings::About;
use crate::target::{Deployment, Target};

/// How the newest desired properties fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastDesired {
    /// Their version; none before any were seen.
    pub(crate) version: Option<u64>,
    /// Code (er §4.3).
    pub(crate) code: u16,
    /// In words.
    pub(crate) description: String,
}

/// Everything that a report is made of.
pub(crate) struct Facts<'a> {
    pub(crate) about: &'a About,
    pub(crate) started_at: Timestamp,
    pub(crate) last_desired: &'a LastDesired,
    pub(crate) deployment: Option<&'a Deployment>,
    pub(crate) observation: &'a Observation,
    pub(crate) records: &'a Records,
    pub(crate) standings: &'a BTreeMap<ModuleId, Standing>,
    pub(crate) platform: &'a Platform,
    /// Modules whose images are on their way.
    pub(crate) pulling: &'a Pulling,
    /// Whether the agent is about to end, so that nothing of this holds any longer.
    pub(crate) is_ending: bool,
}

impl LastDesired {
    /// Whether everything is as it is wanted.
    pub(crate) fn is_applied(&self) -> bool {
        self.code == APPLIED
    }

    /// Before anything was looked at.
    pub(crate) fn nothing_yet() -> Self {
        Self { version: None, code: UNKNOWN, description: "no deployment was seen yet".into() }
    }

    /// What is written when the agent ends (T-SHUTDOWN).
    pub(crate) fn ending(&self) -> Self {
        Self { version: self.version, code: UNKNOWN, description: "agent is not running".into() }
    }

    /// What it is now: as it was, while work is under way.
    pub(crate) fn next(
        &self,
        verdict: &Verdict,
        standings: &BTreeMap<ModuleId, Standing>,
        records: &Records,
        identities_missing: Option<&str>,
    ) -> Self {
        let version = match verdict {
            Verdict::Refused { version, code, description } => {
                let description = shortened(description);
                return Self { version: Some(*version), code: *code, description };
            }
            Verdict::Deployment(deployment) => Some(deployment.version),
        };
        let failures = failures(standings, records, identities_missing);
        let is_under_way = standings
            .values()
            .any(|standing| matches!(standing, Standing::Working | Standing::Queued));
        if !failures.is_empty() {
            Self { version, code: FAILED, description: shortened(&failures.join("; ")) }
        } else if is_under_way {
            self.clone()
        } else {
            Self { version, code: APPLIED, description: String::new() }
        }
    }
}

fn failures(
    standings: &BTreeMap<ModuleId, Standing>,
    records: &Records,
    identities_missing: Option<&str>,
) -> Vec<String> {
    standings
        .iter()
        .filter_map(|(module, standing)| {
            let why = match standing {
                Standing::Failed => &records.get(module)?.failure.as_ref()?.message,
                Standing::NoIdentity => identities_missing.unwrap_or("identities are not known"),
                _ => return None,
            };
            Some(format!("{module}: {why}"))
        })
        .collect()
}

/// The reported properties as a whole.
pub(crate) fn reported(facts: &Facts<'_>) -> Object {
    let mut whole = compose(facts, Detail::Full);
    if Value::Object(whole.clone()).to_string().len() > REPORT_BYTES_MAX {
        whole = compose(facts, Detail::Brief);
    }
    whole
}

/// Brief leaves out what the hub knows from the manifest anyway, so that the twin's limit holds.
#[derive(Clone, Copy, PartialEq)]
enum Detail {
    Full,
    Brief,
}

fn compose(facts: &Facts<'_>, detail: Detail) -> Object {
    let mut modules = Object::new();
    let mut system = Object::new();
    system.insert("edgeAgent".into(), agent_entry(facts, detail).into());
    for (module, standing) in facts.standings {
        let target = facts.deployment.and_then(|deployment| deployment.modules.get(module));
        let seen = facts.observation.modules.get(module);
        if target.is_none() && seen.is_none() {
            continue;
        }
        let no_record = Record::default();
        let view = ModuleView {
            target: target.map(AsRef::as_ref),
            seen,
            record: facts.records.get(module).unwrap_or(&no_record),
            standing: *standing,
            pulling: facts.pulling.get(module).map(Option::as_deref),
            is_ending: facts.is_ending,
        };
        let section = if module.is_system() { &mut system } else { &mut modules };
        section.insert(runtime_name(module).to_owned(), view.entry(detail).into());
    }
    let runtime = facts.deployment.map(|deployment| &deployment.config.runtime);
    let About { version, build, commit } = facts.about;
    let mut whole = object(json!({
        "schemaVersion": "1.0",
        "version": {"version": version, "build": build, "commit": commit},
        "lastDesiredStatus": {
            "code": facts.last_desired.code,
            "description": facts.last_desired.description,
        },
        "runtime": runtime_entry(runtime, facts.platform),
        "systemModules": system,
        "modules": modules,
    }));
    if let Some(version) = facts.last_desired.version {
        whole.insert("lastDesiredVersion".into(), version.into());
    }
    whole
}

/// The agent is part of the daemon: it says so, and that its image changes nothing.
fn agent_entry(facts: &Facts<'_>, detail: Detail) -> Object {
    let seen = facts.observation.modules.get(&ModuleId::edge_agent());
    // What is wrong with it, the daemon says after the first words.
    let problem = seen.and_then(|seen| seen.description.as_deref()?.split_once("; "));
    let description = match problem {
        Some((_, problem)) => format!("{BUILT_IN}; {problem}"),
        None => BUILT_IN.to_owned(),
    };
    let mut entry = object(json!({
        "type": "docker",
        "runtimeStatus": if facts.is_ending { "unknown" } else { "running" },
        "exitCode": 0,
        "statusDescription": description,
        "lastStartTimeUtc": round_trip_or_never(Some(facts.started_at)),
        "lastExitTimeUtc": NEVER,
    }));
    if let Some(agent) =
        facts.deployment.and_then(|deployment| deployment.config.edge_agent.as_ref())
    {
        entry.insert("imagePullPolicy".into(), agent.pull_policy.as_str().into());
        let mut settings = object(json!({"image": agent.image.as_str()}));
        if detail == Detail::Full {
            settings.extend(chunked(&agent.create_options));
            entry.insert("env".into(), env_entry(&agent.env));
        }
        entry.insert("settings".into(), settings.into());
    }
    entry
}

struct ModuleView<'a> {
    target: Option<&'a Target>,
    seen: Option<&'a ObservedModule>,
    record: &'a Record,
    standing: Standing,
    /// That its image is on its way, and how far.
    pulling: Option<Option<&'a str>>,
    is_ending: bool,
}

impl ModuleView<'_> {
    fn entry(&self, detail: Detail) -> Object {
        let seen = self.seen;
        let time = |time: Option<&String>| time.map_or(NEVER, String::as_str).to_owned();
        let mut entry = object(json!({
            "runtimeStatus": self.runtime_status(),
            "statusDescription": shortened(&self.description()),
            "exitCode": seen.and_then(|seen| seen.exit_code).unwrap_or(0),
            "lastStartTimeUtc": time(seen.and_then(|seen| seen.started_at.as_ref())),
            "lastExitTimeUtc": time(seen.and_then(|seen| seen.exited_at.as_ref())),
            "restartCount": self.record.kept.restart_count,
            "lastRestartTimeUtc": round_trip_or_never(self.record.kept.last_restart),
        }));
        let mut settings = Object::new();
        if let Some(target) = self.target {
            let config = &target.config;
            entry.extend(object(json!({
                "type": config.kind.as_str(),
                "status": config.status.as_str(),
                "restartPolicy": config.restart_policy.as_str(),
                "imagePullPolicy": config.pull_policy.as_str(),
                "startupOrder": config.startup_order,
                "version": config.version,
            })));
            settings.insert("image".into(), config.image.as_str().into());
            if detail == Detail::Full {
                settings.extend(chunked(&config.create_options));
                entry.insert("env".into(), env_entry(&config.env));
            }
        } else if let Some(seen) = seen {
            settings.insert("image".into(), seen.image.clone().into());
        }
        if let Some(hash) = seen.and_then(|seen| seen.image_hash.as_ref()) {
            settings.insert("imageHash".into(), hash.clone().into());
        }
        entry.insert("settings".into(), settings.into());
        entry
    }

    fn runtime_status(&self) -> &'static str {
        match (self.is_ending, self.standing, self.seen) {
            (true, ..) => "unknown",
            // It still runs: what is wrong with it says more than that it waits.
            (false, _, Some(seen)) if seen.status == Status::Unhealthy => seen.status.as_str(),
            (false, Standing::BackOff, _) => "backoff",
            (false, _, Some(seen)) => seen.status.as_str(),
            (false, Standing::Failed, None) => "failed",
            (false, _, None) => "unknown",
        }
    }

    fn description(&self) -> String {
        let failure = self.record.failure.as_ref().map(|failure| failure.message.clone());
        let seen = || self.seen.and_then(|seen| seen.description.clone()).unwrap_or_default();
        if let Some(progress) = self.pulling {
            let progress = progress.map(|progress| format!(": {progress}")).unwrap_or_default();
            return match self.seen {
                None => format!("its image is being pulled{progress}"),
                Some(_) => format!("{}; its next image is being pulled{progress}", seen()),
            };
        }
        match (self.standing, self.seen) {
            (Standing::Failed, _) => failure.unwrap_or_default(),
            (Standing::NoIdentity, None) => "waits for its identity".into(),
            (Standing::Queued, None) => "waits for modules with a lower startupOrder".into(),
            (Standing::Working, None) => "is being created".into(),
            _ => seen(),
        }
    }
}

fn runtime_entry(runtime: Option<&RuntimeConfig>, platform: &Platform) -> Value {
    let mut entry = object(json!({
        "type": "docker",
        "platform": {
            "os": platform.os, "architecture": platform.architecture, "version": platform.version,
        },
    }));
    if let Some(runtime) = runtime {
        let credentials: Object = runtime
            .registry_credentials
            .iter()
            .map(|entry| {
                let shown = json!({"address": entry.address, "username": entry.username});
                (entry.name.clone(), shown)
            })
            .collect();
        let settings = json!({
            "minDockerVersion": runtime.min_docker_version.as_deref().unwrap_or_default(),
            "loggingOptions": runtime.logging_options.as_deref().unwrap_or_default(),
            "registryCredentials": credentials,
        });
        entry.insert("settings".into(), settings);
    }
    entry.into()
}

fn env_entry(env: &Env) -> Value {
    env.iter()
        .map(|(name, value)| (name.clone(), json!({"value": value})))
        .collect::<Object>()
        .into()
}

/// The patch that makes `to` of `from`; empty when they are the same.
pub(crate) fn diff(from: &Object, to: &Object) -> Object {
    let mut patch = Object::new();
    for key in from.keys().filter(|key| !to.contains_key(*key) && !key.starts_with('$')) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match (from.get(key), value) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = diff(old, new);
                // Objects that differ only in the order of their keys are the same.
                if !inner.is_empty() {
                    patch.insert(key.clone(), inner.into());
                }
            }
            // An object over a scalar would be merged into it.
            (_, new) => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    patch
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(DESCRIPTION_CHARS_MAX).collect()
}

/// Codes of `lastDesiredStatus` that are not the manifest's fault (er §4.3).
const APPLIED: u16 = 200;
const UNKNOWN: u16 = 406;
const FAILED: u16 = 500;
/// Texts in a twin hold 4 KiB (`device-protocol.md` §7.1), in bytes; four per character at most.
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Below the twin's 32 KiB, counted more strictly than the hub does.
const REPORT_BYTES_MAX: usize = 30 * 1024;
const BUILT_IN: &str = "part of the edge daemon; the manifest's image of edgeAgent has no effect";
