//! `iotedge check --production`: the guide's checklist for production, row by row, in its order and
//! under its titles (`tools.md` §4.1), and then what we ask besides.
//!
//! Each row is a pure function of what was seen. What cannot be seen from the device is told to be
//! so; it is no failure. How to mend each: `docs/operating/production-checklist.md`.

mod deployment;
mod device;
mod network;
pub(super) mod numbers;
mod offline;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::Form;
use super::facts::Facts;
use super::facts::production::Production;
use super::report::{Outcome, Paint};
use super::{engine, list_line};
use crate::commands::{FAILED, Failure};
use crate::output::{print, print_json};

/// The options of the production checklist.
#[derive(Debug, clap::Args)]
#[group(id = "production_arguments")]
pub(super) struct Arguments {
    /// Judge the checklist for production instead
    #[arg(long)]
    pub(super) production: bool,
    /// With --production: how long the device is to do without its hub, such as 30d
    #[arg(long, value_name = "TIME", value_parser = numbers::duration, requires = "production")]
    pub(super) offline_for: Option<Duration>,
    /// With --production: where the edge hub's metrics are, when not in its container's network
    #[arg(long, value_name = "HOST:PORT", requires = "production")]
    pub(super) edge_hub_metrics: Option<String>,
    /// The proxy to the hub, instead of that in the configuration
    #[arg(long, value_name = "URI")]
    pub(super) proxy_uri: Option<String>,
}

/// How much a row matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Important,
    Helpful,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Important => "important",
            Self::Helpful => "helpful",
        }
    }
}

/// A row of the checklist.
struct Row {
    id: &'static str,
    title: &'static str,
    level: Level,
    is_ours: bool,
    judge: fn(&Facts, &Production) -> Finding,
}

/// How a row came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Warn,
    Fail,
    CannotTell,
}

/// What a row found, why, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    why: String,
    fix: Option<String>,
}

impl Finding {
    fn pass(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, why: why.into(), fix: None }
    }

    fn warn(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, why: why.into(), fix: Some(fix.into()) }
    }

    fn fail(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, why: why.into(), fix: Some(fix.into()) }
    }

    fn unknown(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::CannotTell, why: why.into(), fix: None }
    }

    fn unknown_but(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::unknown(why) }
    }

    /// What a plain check found.
    fn of(outcome: Outcome, fix: &str) -> Self {
        match outcome {
            Outcome::Ok => Self::pass(""),
            Outcome::Ignored(why) => Self::pass(why.unwrap_or_default()),
            Outcome::NotMade(why) => Self::unknown(why),
            Outcome::Skipped(id) => Self::unknown(format!("because {id} failed")),
            Outcome::Warning(texts) => Self::warn(texts.join("; "), fix),
            Outcome::Error(texts) | Outcome::Fatal(texts) => Self::fail(texts.join("; "), fix),
        }
    }
}

impl Verdict {
    /// Glyph, word, and the name in JSON.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pass => ("√", "OK", "ok"),
            Self::Warn => ("‼", "Warning", "warning"),
            Self::Fail => ("×", "Error", "error"),
            Self::CannotTell => ("?", "Cannot tell", "unknown"),
        }
    }
}

const fn row(
    id: &'static str,
    title: &'static str,
    level: Level,
    judge: fn(&Facts, &Production) -> Finding,
) -> Row {
    Row { id, title, level, is_ours: false, judge }
}

const fn ours(
    id: &'static str,
    title: &'static str,
    level: Level,
    judge: fn(&Facts, &Production) -> Finding,
) -> Row {
    Row { is_ours: true, ..row(id, title, level, judge) }
}

use Level::{Helpful, Important};

/// Every row: the guide's in its order, then ours.
const ROWS: &[Row] = &[
    row("prod-edge-ca-not-quickstart", "Production certificates", Important, device::certificates),
    row("prod-update-channel", "Device management plan", Important, device::updates),
    row("prod-engine", "Moby as engine", Important, device::engine),
    row(
        "prod-upstream-consistent",
        "Upstream protocol choice & consistency",
        Helpful,
        deployment::upstream,
    ),
    row("prod-upstream-deployment", "Consistent protocol", Helpful, deployment::upstream_works),
    row("prod-storage", "Host storage for system modules", Helpful, device::storage),
    row("prod-memory", "Reduce memory of edgeHub", Helpful, device::memory),
    row("prod-images", "Correct images", Helpful, deployment::images),
    row("prod-twin-size", "Twin size limits", Helpful, deployment::twin_size),
    row(
        "prod-module-updates",
        "How updates to modules are applied",
        Helpful,
        deployment::module_updates,
    ),
    row("prod-image-tags", "Tags to manage versions", Important, deployment::tags),
    row("prod-volumes-orphaned", "Volumes", Important, deployment::volumes),
    row("prod-own-registry", "Runtime images in own registry", Helpful, deployment::own_registry),
    row("prod-image-gc", "Image garbage collection", Helpful, device::garbage_collection),
    row("prod-firewall", "Outbound/inbound configuration", Helpful, network::firewall),
    row("prod-connections", "Allow connections from Edge devices", Helpful, network::connections),
    row("prod-proxy-works", "Communication through a proxy", Helpful, network::proxy),
    row("prod-logs", "Logs and diagnostics", Helpful, device::logs),
    row("container-engine-logrotate", "Default logging driver", Helpful, |facts, _| {
        Finding::of(engine::log_rotation(facts), LOG_FIX)
    }),
    row("container-engine-dns", "DNS", Helpful, |facts, _| {
        Finding::of(engine::dns(facts), DNS_FIX)
    }),
    row("prod-ci", "Tests and CI/CD", Helpful, deployment::pipeline),
    row("prod-registry-access", "Registry access", Important, network::registry_access),
    row(
        "prod-elevated",
        "Limit container access to host resources",
        Important,
        deployment::elevated,
    ),
    ours("prod-identity", "How the device proves itself", Important, device::identity),
    ours("offline-capacity", "Offline capacity", Important, offline::capacity),
    ours(
        "prod-registry-reachable",
        "Registries can be reached",
        Helpful,
        network::registries_answer,
    ),
    ours("prod-disk-space", "Disk for the deployment's images", Important, offline::disk),
    ours(
        "prod-certificates-offline",
        "Certificates outlive the offline time",
        Important,
        offline::certificates,
    ),
];

pub(super) fn is_row(id: &str) -> bool {
    ROWS.iter().any(|row| row.id == id)
}

/// Judges all rows that are not left out.
fn judge(facts: &Facts, left_out: &[String]) -> Vec<(&'static Row, Finding)> {
    let Some(production) = &facts.production else {
        let texts = match &facts.config {
            Err(
                super::facts::ConfigProblem::Denied(texts)
                | super::facts::ConfigProblem::Wrong(texts),
            ) => texts.join("; "),
            Ok(_) => "nothing was looked at".to_owned(),
        };
        let fix = "sudo iotedge config apply";
        return ROWS.iter().take(1).map(|row| (row, Finding::fail(&texts, fix))).collect();
    };
    let rows = ROWS.iter().filter(|row| left_out.iter().all(|id| id != row.id));
    rows.map(|row| (row, (row.judge)(facts, production))).collect()
}

/// Prints the checklist.
pub(super) fn report(
    facts: &Facts,
    arguments: &super::Arguments,
    output: Form,
) -> Result<(), Failure> {
    let found = judge(facts, &arguments.dont_run);
    match output {
        Form::Text => print(&to_text(&found, arguments.color.paint()))?,
        Form::Json => print_json(&to_json(&found, &facts.additional_info()))?,
    }
    let has_failed = found.iter().any(|(_, finding)| match finding.verdict {
        Verdict::Fail => true,
        Verdict::Warn => arguments.warnings_as_errors,
        Verdict::Pass | Verdict::CannotTell => false,
    });
    if has_failed { Err(Failure::silent(FAILED)) } else { Ok(()) }
}

fn to_text(found: &[(&Row, Finding)], paint: Paint) -> String {
    let mut text = String::new();
    for (is_ours, heading) in [(false, HEADING), (true, OUR_HEADING)] {
        if found.iter().all(|(row, _)| row.is_ours != is_ours) {
            continue;
        }
        text.push_str(&format!("\n{heading}\n{}\n", "-".repeat(heading.len())));
        for (row, finding) in found.iter().filter(|(row, _)| row.is_ours == is_ours) {
            let (glyph, word, _) = finding.verdict.words();
            let line = format!("{glyph} {} [{}] - {word}", row.title, row.level.name());
            text.push_str(&paint.line(glyph, &line));
            for line in finding.why.lines() {
                text.push_str(&format!("    {line}\n"));
            }
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("    fix: {fix}\n"));
            }
        }
    }
    text.push('\n');
    for (verdict, what) in [
        (Verdict::Pass, "passed"),
        (Verdict::Warn, "raised warnings"),
        (Verdict::Fail, "failed"),
        (Verdict::CannotTell, "cannot be told from here"),
    ] {
        let count = found.iter().filter(|(_, finding)| finding.verdict == verdict).count();
        if count > 0 {
            text.push_str(&format!("{count} row(s) {what}.\n"));
        }
    }
    text.trim_start().to_owned()
}

/// The shape of the plain checks, with what only rows have.
fn to_json(found: &[(&Row, Finding)], additional_info: &Value) -> Value {
    let rows: Map<String, Value> = found
        .iter()
        .map(|(row, finding)| {
            let (_, _, name) = finding.verdict.words();
            let mut result = json!({ "result": name });
            if !finding.why.is_empty() {
                result["details"] = json!([finding.why]);
            }
            let mut value = json!({
                "title": row.title,
                "level": row.level.name(),
                "result": result,
                "additional_info": {},
            });
            if let Some(fix) = &finding.fix {
                value["fix"] = json!(fix);
            }
            (row.id.to_owned(), value)
        })
        .collect();
    json!({ "additional_info": additional_info, "checks": rows })
}

/// The rows for `check-list`.
pub(super) fn list_text() -> String {
    let rows = ROWS.iter().map(|row| list_line(row.id, row.title));
    format!("{HEADING}:\n{}\n", rows.collect::<String>())
}

/// The same as JSON.
pub(super) fn rows_json() -> Value {
    let row =
        |row: &Row| json!({"id": row.id, "description": row.title, "level": row.level.name()});
    ROWS.iter().map(row).collect()
}

pub(super) const HEADING: &str = "Production checklist (--production)";
const OUR_HEADING: &str = "Besides the checklist";
const LOG_FIX: &str = "set \"log-driver\": \"local\" in /etc/docker/daemon.json, then: \
                       sudo systemctl restart docker";
const DNS_FIX: &str = "set \"dns\": [\"<address>\"] in /etc/docker/daemon.json, then: \
                       sudo systemctl restart docker";
