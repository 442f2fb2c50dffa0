//! `iotedge system`: the services of the original by their names. Here one daemon plays all of
//! their parts, so they are what it is: that it answers is found out by asking it.

use client::edge::{EdgeError, ManagementClient};
use serde::Serialize;

use super::Form;
use super::failure::{failed, is_denied, words};
use crate::commands::{FAILED, Failure};
use crate::output::{print, print_json};

/// Commands about the system services.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show whether the services run
    Status,
}

/// A service and how it is.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Service {
    name: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn status(management: &ManagementClient, output: Form) -> Result<(), Failure> {
    let reason = match management.system_info().await {
        Ok(_) => None,
        Err(EdgeError::Connect { source, socket }) if is_denied(&source) => {
            return Err(failed(EdgeError::Connect { source, socket }));
        }
        Err(error) => words(error).into_iter().next(),
    };
    let is_up = reason.is_none();
    let services = services(reason);
    match output {
        Form::Text => print(&text(&services))?,
        Form::Json => print_json(&services)?,
    }
    if is_up { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

/// All services: as they are when the daemon answers, or down for this reason.
pub(super) fn services(reason: Option<String>) -> Vec<Service> {
    let up = SERVICES.into_iter().map(|name| Service {
        name,
        // Nothing uses a TPM, so this one is asked for nothing: as in the original, it would be
        // started by the first who asks.
        status: if name == "aziot-tpmd" { "Ready" } else { "Running" },
        reason: None,
    });
    match reason {
        None => up.collect(),
        Some(reason) => up
            .map(|service| Service { status: "Down", reason: Some(reason.clone()), ..service })
            .collect(),
    }
}

/// As the original prints it.
pub(super) fn text(services: &[Service]) -> String {
    let mut text = "System services:\n".to_owned();
    for Service { name, status, reason } in services {
        text.push_str(&format!("    {name:<24}{status}"));
        if let Some(reason) = reason {
            text.push_str(&format!(" - {reason}"));
        }
        text.push('\n');
    }
    text.push_str("\nUse 'iotedge check' to diagnose connectivity and configuration issues.\n");
    text
}

const SERVICES: [&str; 5] =
    ["aziot-edged", "aziot-identityd", "aziot-keyd", "aziot-certd", "aziot-tpmd"];
