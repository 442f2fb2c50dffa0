//! `iotedge system`: the services of the original by their names. Here one daemon plays all of
//! their parts, so they are what it is: that it answers is found out by asking it.

use client::edge::{EdgeError, ManagementClient};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::failure::{failed, is_denied, words};
use super::place::Place;
use super::runtime::{self, Done};
use super::{Form, Output, systemd};
use crate::commands::{FAILED, Failure, UNREACHABLE};
use crate::output::{print, print_bytes, print_json};

/// Commands about the system services.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show whether the services run
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Show the log of the runtime
    Logs {
        /// Arguments for journalctl, such as -f or --since today
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
    /// Restart the runtime and its modules
    Restart,
    /// Stop the runtime and its modules
    Stop,
    /// Let the runtime log more or less, also after a restart
    SetLogLevel {
        /// error, warn, info, debug or trace
        level: String,
    },
    /// Provision the device anew and restart its modules
    Reprovision,
}

pub(super) async fn run(place: &Place, command: Command) -> Result<(), Failure> {
    let management = ManagementClient::new(&place.management_socket);
    match command {
        Command::Status { output } => status(&management, output.form).await,
        Command::Logs { arguments } => logs(place, &arguments).await,
        Command::Restart => said(runtime::restart(place).await?, place, "restarted"),
        Command::Stop => said(runtime::stop(place).await?, place, "stopped"),
        Command::SetLogLevel { level } => {
            management.set_log_level(&level).await.map_err(failed)?;
            print(&format!("The runtime logs at level {level} from now on\n"))
        }
        Command::Reprovision => {
            management.reprovision().await.map_err(failed)?;
            print("Provisioned anew; the modules are restarted\n")
        }
    }
}

fn said(done: Done, place: &Place, what: &str) -> Result<(), Failure> {
    match done {
        Done::ByUnit(unit) => print(&format!("{unit} was {what}\n")),
        Done::Asked => print(&format!("The runtime is being {what}\n")),
        Done::NotRunning => Err(Failure::new(
            UNREACHABLE,
            format!(
                "no runtime listens at {}: start it with farshore edge, or name another socket with --host",
                place.management_socket.display()
            ),
        )),
    }
}

/// The journal of the unit; without one the runtime writes to wherever it was started.
async fn logs(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    if let Some(unit) = runtime::unit(place).await {
        let mut child = systemd::journal_program(unit, arguments)?.spawn().await?;
        let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
        let (output, errors) = tokio::join!(pass_on(stdout), pass_on(stderr));
        output.and(errors)?;
        return match child.wait().await?.code() {
            0 => Ok(()),
            code => Err(Failure::silent(u8::try_from(code).unwrap_or(FAILED))),
        };
    }
    let stream = host::net::connect_unix(&place.management_socket, CONNECT_LIMIT).await;
    let peer = stream.ok().and_then(|stream| host::net::peer_credentials(&stream).ok());
    Err(match peer {
        Some(peer) => Failure::new(
            FAILED,
            format!(
                "the runtime is process {0} and no service: its log is its standard error, \
                 wherever that was sent when it was started (ls -l /proc/{0}/fd/2)",
                peer.pid
            ),
        ),
        None => Failure::new(
            UNREACHABLE,
            format!("no runtime listens at {}", place.management_socket.display()),
        ),
    })
}

async fn pass_on(stream: Option<impl AsyncRead + Unpin>) -> Result<(), Failure> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => print_bytes(buffer.get(..length).unwrap_or_default())?,
        }
    }
}

/// A service and how it is.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Service {
    name: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

async fn status(management: &ManagementClient, output: Form) -> Result<(), Failure> {
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
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
const PIECE_BYTES: usize = 16 * 1024;
