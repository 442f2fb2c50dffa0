//! `iotedge list`: the modules and what they do.

use client::edge::ManagementClient;
use host::clock::Clock;
use iot_proto::management::{ModuleDetails, ModuleStatus, Pull};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Form;
use super::failure::failed;
use crate::commands::Failure;
use crate::output::{Table, print, print_json};

/// A module as `-o json` shows it.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    name: String,
    status: String,
    description: String,
    config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<String>,
    /// How far its next image is, while that is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull: Option<String>,
}

pub(super) async fn run(management: &ManagementClient, output: Form) -> Result<(), Failure> {
    let modules = management.modules().await.map_err(failed)?;
    let mut rows = rows(&modules, Clock::system().wall());
    // A daemon of an older version does not tell; the modules are what was asked for.
    add_pulls(&mut rows, &management.pulls().await.unwrap_or_default());
    match output {
        Form::Text => print(&table(&rows)),
        Form::Json => print_json(&rows),
    }
}

/// The modules by name.
pub(super) fn rows(modules: &[ModuleDetails], now: Timestamp) -> Vec<Row> {
    let mut rows: Vec<Row> = modules
        .iter()
        .map(|module| {
            let status = &module.status;
            let exit = status.exit_status.as_ref();
            let image = module.config.settings.get("image").and_then(Value::as_str);
            Row {
                name: module.name.clone(),
                status: status.runtime_status.status.clone(),
                description: description(status, now),
                config: image.unwrap_or_default().to_owned(),
                start_time: status.start_time.clone(),
                exit_time: exit.map(|exit| exit.exit_time.clone()),
                exit_code: exit.map(|exit| exit.status_code.clone()),
                pull: None,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// Says which images are on their way. A module that waits for its first one is not there yet, and
/// is shown all the same.
pub(super) fn add_pulls(rows: &mut Vec<Row>, pulls: &[Pull]) {
    for pull in pulls {
        let progress = pull.progress().unwrap_or_else(|| "begins".to_owned());
        for module in &pull.modules {
            if let Some(row) = rows.iter_mut().find(|row| row.name == *module) {
                row.description.push_str(&format!("; next image: {progress}"));
                row.pull = Some(progress.clone());
                continue;
            }
            rows.push(Row {
                name: module.clone(),
                status: "pulling".to_owned(),
                description: format!("Pulling: {progress}"),
                config: pull.image.clone(),
                start_time: None,
                exit_time: None,
                exit_code: None,
                pull: Some(progress.clone()),
            });
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
}

/// The columns of the original, which scripts read.
pub(super) fn table(rows: &[Row]) -> String {
    let headings = ["NAME", "STATUS", "DESCRIPTION", "Config"];
    let mut table = Table::new(headings).with_column_width_min(COLUMN_WIDTH_MIN);
    for row in rows {
        table.row([&row.name, &row.status, &row.description, &row.config]);
    }
    table.to_text()
}

/// `Up 5 minutes`, `Stopped 3 minutes ago`, `Failed (137) 5 minutes ago`.
fn description(status: &ModuleStatus, now: Timestamp) -> String {
    let since = |text: &str| {
        let time: Timestamp = text.parse().ok()?;
        Some(rough(now.duration_since(time).as_secs()))
    };
    let exit = status.exit_status.as_ref();
    let ago = exit.and_then(|exit| since(&exit.exit_time)).map(|time| format!(" {time} ago"));
    let ago = ago.unwrap_or_default();
    match status.runtime_status.status.as_str() {
        "running" => match status.start_time.as_deref().and_then(since) {
            Some(time) => format!("Up {time}"),
            None => "Up".to_owned(),
        },
        "stopped" => format!("Stopped{ago}"),
        "failed" => match exit {
            Some(exit) => format!("Failed ({}){ago}", exit.status_code),
            None => "Failed".to_owned(),
        },
        "dead" => "Dead".to_owned(),
        "unhealthy" => "Unhealthy".to_owned(),
        _ => "Unknown".to_owned(),
    }
}

/// A time in one unit, as people say it.
fn rough(seconds: i64) -> String {
    let units = [
        (31_557_600, "a year", "years"),
        (2_629_800, "a month", "months"),
        (7 * 86_400, "a week", "weeks"),
        (86_400, "a day", "days"),
        (3600, "an hour", "hours"),
        (60, "a minute", "minutes"),
        (1, "a second", "seconds"),
    ];
    for (length, one, many) in units {
        match seconds / length {
            ..=0 => {}
            1 => return one.to_owned(),
            count => return format!("{count} {many}"),
        }
    }
    // Also when the clock was set back meanwhile.
    "a moment".to_owned()
}

/// As the original's table writer has it.
const COLUMN_WIDTH_MIN: usize = 15;
