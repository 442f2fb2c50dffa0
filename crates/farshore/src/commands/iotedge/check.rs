//! `iotedge check`: common problems of an edge device's configuration and connectivity, before
//! they cost messages.
//!
//! First everything is looked at ([`facts`]), then each check of the [`table`] is a pure function of
//! what was seen (`configuration.rs`, `certificates.rs`, `engine.rs`, `storage.rs`,
//! `connectivity.rs`), then the report is printed ([`report`]). Ids, outcomes and words:
//! `edge-runtime.md` §6.3. Checks of the original that ask what does not exist here keep their ids,
//! and say so. `--production` judges the checklist instead ([`production`]).

mod certificates;
mod configuration;
mod connectivity;
mod docker;
mod engine;
mod facts;
mod platform;
mod probe;
mod production;
mod report;
mod storage;
mod table;

#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Form;
use super::place::Place;
use crate::commands::{FAILED, Failure, USAGE};
use crate::output::{print, print_json};
use facts::Facts;
use platform::Platform;
pub(super) use probe::run as connect;
use report::{Outcome, Paint, Report};
use table::{CHECKS, Judge, Section};

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
    /// Version that the daemon should have
    #[arg(long, visible_alias = "expected-aziot-edge-version", value_name = "VERSION")]
    expected_aziot_edged_version: Option<String>,
    /// Version that the identity, key and certificate services should have
    #[arg(long, value_name = "VERSION")]
    expected_aziot_version: Option<String>,
    #[command(flatten)]
    production: production::Arguments,
    /// Whether to colour the report
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
    #[command(flatten)]
    unheard: Unheard,
}

impl Arguments {
    /// Whether containers are to look at the hub, too.
    fn looks_from_containers(&self) -> bool {
        let mut ids = CHECKS.iter().map(|check| check.id).filter(|id| table::is_from_container(id));
        !self.production.production && ids.any(|id| !self.dont_run.iter().any(|other| other == id))
    }
}

/// Options of the original that have no effect here; each is answered.
#[derive(Debug, clap::Args)]
struct Unheard {
    /// No effect: the edge hub's own image looks from within containers
    #[arg(long, value_name = "IMAGE")]
    diagnostics_image_name: Option<String>,
    /// No effect: the daemon is asked over its socket
    #[arg(long, value_name = "PATH")]
    aziot_edged: Option<PathBuf>,
    /// No effect: the clock is compared with the hub's
    #[arg(long, value_name = "HOST:PORT")]
    ntp_server: Option<String>,
}

impl Unheard {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |is_given: bool, text: &str| is_given.then(|| notes.push(text.to_owned()));
        note(
            self.diagnostics_image_name.is_some(),
            "--diagnostics-image-name has no effect: the edge hub's own image looks from within containers",
        );
        note(
            self.aziot_edged.is_some(),
            "--aziot-edged has no effect: the daemon is asked over its socket",
        );
        note(
            self.ntp_server.is_some(),
            "--ntp-server has no effect: the clock is compared with the hub's, by which tokens are judged",
        );
        notes
    }
}

/// When the report has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    fn paint(self) -> Paint {
        let wanted = match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let unwanted = host::env::var("NO_COLOR").ok().flatten();
                std::io::stdout().is_terminal() && unwanted.is_none_or(|value| value.is_empty())
            }
        };
        if wanted { Paint::Colored } else { Paint::Plain }
    }
}

pub(super) async fn run(place: Place, arguments: &Arguments, output: Form) -> Result<(), Failure> {
    let notes = known(&arguments.dont_run)?;
    for note in notes.into_iter().chain(arguments.unheard.notes()) {
        eprintln!("note: {note}");
    }
    let facts = facts::gather(place, arguments).await;
    if arguments.production.production {
        return production::report(&facts, arguments, output);
    }
    let report = judge(&facts, &arguments.dont_run);
    match output {
        Form::Text => {
            print(&report.to_text(arguments.verbose, arguments.color.paint()))?;
            if arguments.verbose {
                print(&format!("This device: {}\n", Platform::of(&facts).words()))?;
            }
        }
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
    for check in CHECKS {
        let outcome = match fatal {
            _ if left_out.iter().any(|id| id == check.id) => Outcome::Ignored(None),
            Some(id) => Outcome::Skipped(id),
            None => check.outcome(facts),
        };
        if matches!(outcome, Outcome::Fatal(_)) {
            fatal = Some(check.id);
        }
        report.add(check, outcome);
    }
    report
}

/// A misspelled id would silently leave nothing out. Notes are for those without a meaning here.
fn known(ids: &[String]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for id in ids {
        let check = CHECKS.iter().find(|check| check.id == *id);
        match check.map(|check| check.judge) {
            Some(Judge::NoMeaning(why)) => {
                notes.push(format!("check {id} has no meaning here: {why}"));
            }
            Some(Judge::By(_)) => {}
            None if production::is_row(id) => {}
            None if table::RETIRED.contains(&id.as_str()) => {
                notes.push(format!("check {id} is of an older version and is not made any more"));
            }
            None => {
                let text = format!("there is no check {id:?}; list them with: iotedge check-list");
                return Err(Failure::new(USAGE, text));
            }
        }
    }
    Ok(notes)
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
            let mut sections: Map<String, Value> = Section::ALL
                .map(|section| (section.heading().to_owned(), of(section).into()))
                .into_iter()
                .collect();
            sections.insert(production::HEADING.to_owned(), production::rows_json());
            print_json(&sections)
        }
    }
}

fn list_text() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        text.push_str(&format!("{}:\n", section.heading()));
        for check in CHECKS.iter().filter(|check| check.section == section) {
            let meaning = match check.judge {
                Judge::By(_) => "",
                Judge::NoMeaning(_) => " (no meaning here)",
            };
            text.push_str(&list_line(check.id, &format!("{}{meaning}", check.description)));
        }
        text.push('\n');
    }
    text.push_str(&production::list_text());
    text
}

fn list_line(id: &str, description: &str) -> String {
    // Some ids of the original are longer than the column.
    format!("    {id:<47} {description}\n")
}
