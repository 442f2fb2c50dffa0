//! The device's own tool, with the names and outputs of the original `iotedge`
//! (`edge-runtime.md` §6); `-o json` is new for all of it.
//!
//! It asks the edge daemon over the management API's socket. Reached by the name of the binary
//! (`iotedge list`) or as `farshore iotedge list`.

mod check;
mod failure;
mod list;
mod logs;
mod place;
mod system;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use client::edge::ManagementClient;
use serde_json::json;

use super::Failure;
use crate::output::{print, print_line};
use failure::failed;
use place::Place;

/// Look after the edge runtime of this machine.
#[derive(Debug, clap::Parser)]
#[command(name = "iotedge", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The daemon's management API: unix:///path/to/mgmt.sock
    ///
    /// Without it, /var/run/iotedge/mgmt.sock is asked, or that of `farshore up` when there is
    /// no such socket.
    #[arg(short = 'H', long, env = "IOTEDGE_HOST", value_name = "URI", global = true)]
    host: Option<String>,
    /// Data directory of `farshore up`
    #[arg(long, env = "FARSHORE_DATA", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// How to print what was found
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value = "text",
        global = true,
        value_name = "FORMAT"
    )]
    output: Form,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people
    Text,
    /// JSON; logs as one document per line
    Json,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List modules
    List,
    /// Show the log of a module
    Logs(logs::Arguments),
    /// Restart a module
    Restart {
        /// Module name, such as edgeHub
        module: String,
    },
    /// Look at the system services
    #[command(subcommand)]
    System(system::Command),
    /// Check this machine for common problems of configuration and connectivity
    Check(check::Arguments),
    /// List the checks
    CheckList,
    /// Print the version
    Version,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let output = arguments.output;
    let place = || Place::find(arguments.host.as_deref(), arguments.data.as_deref());
    let management = || Ok::<_, Failure>(ManagementClient::new(&place()?.management_socket));
    match arguments.command {
        Command::List => list::run(&management()?, output).await,
        Command::Logs(logs) => logs::run(&management()?, &logs, output).await,
        Command::Restart { module } => restart(&management()?, &module, output).await,
        Command::System(system::Command::Status) => system::status(&management()?, output).await,
        Command::Check(check) => check::run(place()?, &check, output).await,
        Command::CheckList => check::list(output),
        Command::Version => version(output),
    }
}

async fn restart(management: &ManagementClient, module: &str, output: Form) -> Result<(), Failure> {
    management.restart_module(module).await.map_err(failed)?;
    match output {
        Form::Text => print(&format!("Restarted {module}\n")),
        Form::Json => print_line(&json!({ "name": module, "restarted": true })),
    }
}

fn version(output: Form) -> Result<(), Failure> {
    match output {
        Form::Text => print(&format!("iotedge {VERSION}\n")),
        Form::Json => print_line(&json!({ "name": "iotedge", "version": VERSION })),
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
