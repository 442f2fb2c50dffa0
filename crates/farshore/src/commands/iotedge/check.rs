//! `iotedge check`: common problems of an edge device's configuration and connectivity, before
//! they cost messages.
//!
//! First everything is looked at ([`facts`]), then each check is a pure function of what was seen
//! (`configuration.rs`, `engine.rs`, `storage.rs`, `connectivity.rs`), then the report is printed
//! ([`report`]). Ids, outcomes and words: `edge-runtime.md` §6.3. Checks of the original that ask
//! what does not exist here (separate daemons, a diagnostics container) are left out.

mod configuration;
mod connectivity;
mod docker;
mod engine;
mod facts;
mod report;
mod storage;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Form;
use super::place::Place;
use crate::commands::{FAILED, Failure, USAGE};
use crate::output::{print, print_json};
use facts::Facts;
use report::{Outcome, Report};

/// Arguments of `iotedge check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Checks to leave out
    #[arg(long, value_name = "ID", num_args = 1..)]
    dont_run: Vec<String>,
    /// The device's configuration; that of the edge runtime that is found when not given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Settings of the container engine
    #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
    container_engine_config_file: PathBuf,
    /// The hub's name, instead of that in the configuration
    #[arg(long, value_name = "NAME")]
    iothub_hostname: Option<String>,
    /// Address to dial for the hub, when its name does not lead there
    #[arg(long, value_name = "ADDRESS")]
    hub_address: Option<String>,
    /// The hub's HTTPS port, when it is not 443
    #[arg(long, value_name = "PORT")]
    hub_https_port: Option<u16>,
    /// A CA to trust for the hub, besides the machine's and trust_bundle_cert
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    /// Show more details
    #[arg(long)]
    verbose: bool,
    /// Treat warnings as errors
    #[arg(long)]
    warnings_as_errors: bool,
}

/// Which part of the report a check is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Configuration,
    Connectivity,
}

impl Section {
    const ALL: [Self; 2] = [Self::Configuration, Self::Connectivity];

    fn heading(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration checks",
            Self::Connectivity => "Connectivity checks",
        }
    }
}

/// A check: what it is called, and how it judges what was seen.
struct Check {
    id: &'static str,
    description: &'static str,
    section: Section,
    judge: fn(&Facts) -> Outcome,
}

const fn check(
    section: Section,
    id: &'static str,
    description: &'static str,
    judge: fn(&Facts) -> Outcome,
) -> Check {
    Check { id, description, section, judge }
}

/// Every check, in the order of the report.
const CHECKS: [Check; 15] = {
    use Section::{Configuration, Connectivity};
    [
        check(
            Configuration,
            "aziot-edged-config-well-formed",
            "aziot-edged configuration is well-formed",
            configuration::well_formed,
        ),
        check(
            Configuration,
            "hostname",
            "configuration has correct hostname",
            configuration::hostname,
        ),
        check(
            Configuration,
            "container-engine-uri",
            "container engine is installed and functional",
            engine::uri,
        ),
        check(
            Configuration,
            "connect-management-uri",
            "configuration has correct URIs for daemon mgmt endpoint",
            configuration::management,
        ),
        check(
            Configuration,
            "host-local-time",
            "host time is close to reference time",
            connectivity::local_time,
        ),
        check(Configuration, "container-engine-dns", "DNS server", engine::dns),
        check(
            Configuration,
            "edge-ca-expiry",
            "production readiness: certificates",
            configuration::edge_ca_expiry,
        ),
        check(
            Configuration,
            "container-engine-logrotate",
            "production readiness: logs policy",
            engine::log_rotation,
        ),
        check(
            Configuration,
            "edge-agent-storage-mounted-from-host",
            "production readiness: Edge Agent's storage directory is persisted on the host filesystem",
            storage::edge_agent,
        ),
        check(
            Configuration,
            "edge-hub-storage-mounted-from-host",
            "production readiness: Edge Hub's storage directory is persisted on the host filesystem",
            storage::edge_hub,
        ),
        check(
            Configuration,
            "check-agent-image",
            "Agent image is valid and can be pulled from upstream",
            configuration::agent_image,
        ),
        check(
            Configuration,
            "proxy-settings",
            "proxy settings are consistent in aziot-edged, moby daemon and config.toml",
            engine::proxy,
        ),
        check(
            Connectivity,
            "host-connect-iothub-amqp",
            "host can connect to and perform TLS handshake with iothub AMQP port",
            connectivity::amqp,
        ),
        check(
            Connectivity,
            "host-connect-iothub-https",
            "host can connect to and perform TLS handshake with iothub HTTPS / WebSockets port",
            connectivity::https,
        ),
        check(
            Connectivity,
            "host-connect-iothub-mqtt",
            "host can connect to and perform TLS handshake with iothub MQTT port",
            connectivity::mqtt,
        ),
    ]
};

pub(super) async fn run(place: Place, arguments: &Arguments, output: Form) -> Result<(), Failure> {
    known(&arguments.dont_run)?;
    let facts = facts::gather(place, arguments).await;
    let report = judge(&facts, &arguments.dont_run);
    match output {
        Form::Text => print(&report.to_text(arguments.verbose))?,
        Form::Json => print_json(&report.to_json(&facts.additional_info()))?,
    }
    match report.has_failed(arguments.warnings_as_errors) {
        true => Err(Failure::silent(FAILED)),
        false => Ok(()),
    }
}

/// The report as JSON, for support bundles: by every check, whatever fails.
pub(super) async fn document(
    place: Place,
    config: Option<PathBuf>,
    iothub_hostname: Option<String>,
) -> Result<Value, Failure> {
    /// The arguments as they are when none is given.
    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        arguments: Arguments,
    }
    let mut defaults = <Defaults as clap::Parser>::try_parse_from(["check"])?.arguments;
    (defaults.config, defaults.iothub_hostname) = (config, iothub_hostname);
    let facts = facts::gather(place, &defaults).await;
    Ok(judge(&facts, &[]).to_json(&facts.additional_info()))
}

/// Judges by every check that is not left out.
fn judge(facts: &Facts, left_out: &[String]) -> Report {
    let mut report = Report::default();
    let mut fatal = None;
    for check in &CHECKS {
        let outcome = match fatal {
            _ if left_out.iter().any(|id| id == check.id) => Outcome::Ignored(None),
            Some(id) => Outcome::Skipped(id),
            None => (check.judge)(facts),
        };
        if matches!(outcome, Outcome::Fatal(_)) {
            fatal = Some(check.id);
        }
        report.add(check, outcome);
    }
    report
}

/// A misspelled id would silently leave nothing out.
fn known(ids: &[String]) -> Result<(), Failure> {
    match ids.iter().find(|id| CHECKS.iter().all(|check| check.id != **id)) {
        None => Ok(()),
        Some(id) => Err(Failure::new(
            USAGE,
            format!("there is no check {id:?}; list them with: iotedge check-list"),
        )),
    }
}

/// Prints the checks there are.
pub(super) fn list(output: Form) -> Result<(), Failure> {
    match output {
        Form::Text => print(&list_text()),
        Form::Json => {
            let of = |section: Section| -> Vec<Value> {
                let checks = CHECKS.iter().filter(|check| check.section == section);
                checks
                    .map(|check| json!({"id": check.id, "description": check.description}))
                    .collect()
            };
            let sections: Map<String, Value> = Section::ALL
                .map(|section| (section.heading().to_owned(), of(section).into()))
                .into_iter()
                .collect();
            print_json(&sections)
        }
    }
}

fn list_text() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        text.push_str(&format!("{}:\n", section.heading()));
        for check in CHECKS.iter().filter(|check| check.section == section) {
            text.push_str(&format!("    {:<40}{}\n", check.id, check.description));
        }
        text.push('\n');
    }
    text
}
