//! The device's own tool, with the names and outputs of the original `iotedge`
//! (`edge-runtime.md` §6); `-o json` is new for all of it.
//!
//! It asks the edge daemon over the management API's socket. Reached by the name of the binary
//! (`iotedge list`) or as `farshore iotedge list`.

mod check;
mod config;
mod dead_letter;
mod failure;
mod list;
mod logs;
mod place;
mod runtime;
mod support_bundle;
mod system;
mod systemd;
mod volume;

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
    #[command(subcommand)]
    command: Command,
}

/// The option that chooses a [`Form`]; not global, because `-o` names a file for some commands, as
/// in the original.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Output {
    /// How to print what was found
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    form: Form,
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
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show the log of a module
    Logs(logs::Arguments),
    /// Restart a module
    Restart {
        /// Module name, such as edgeHub
        module: String,
        #[command(flatten)]
        output: Output,
    },
    /// Look after the volumes that modules brought
    #[command(subcommand)]
    Volume(volume::Command),
    /// Look after the system services
    #[command(subcommand)]
    System(system::Command),
    /// Write the device's configuration, and bring it into effect
    #[command(subcommand)]
    Config(config::Command),
    /// Gather what helps others to find out what is wrong, without secrets
    SupportBundle(support_bundle::Arguments),
    /// Check this machine for common problems of configuration and connectivity
    Check {
        #[command(flatten)]
        arguments: Box<check::Arguments>,
        #[command(flatten)]
        output: Output,
    },
    /// Connect to the hub from within a container; run there by `check`
    #[command(hide = true)]
    CheckConnect,
    /// List the checks
    CheckList {
        #[command(flatten)]
        output: Output,
    },
    /// Look into messages that the edge hub can never deliver
    DeadLetter(dead_letter::Arguments),
    /// Print the version
    Version {
        #[command(flatten)]
        output: Output,
    },
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let place = || Place::find(arguments.host.as_deref(), arguments.data.as_deref());
    let management = || Ok::<_, Failure>(ManagementClient::new(&place()?.management_socket));
    match arguments.command {
        Command::List { output } => list::run(&management()?, output.form).await,
        Command::Logs(logs) => logs::run(&management()?, &logs).await,
        Command::Restart { module, output } => restart(&management()?, &module, output.form).await,
        Command::Volume(volume) => volume::run(&management()?, &volume).await,
        Command::System(system) => system::run(&place()?, system).await,
        Command::Config(config) => config::run(&place()?, config).await,
        Command::SupportBundle(bundle) => support_bundle::run(place, &bundle).await,
        Command::Check { arguments, output } => check::run(place()?, &arguments, output.form).await,
        Command::CheckConnect => check::connect().await,
        Command::CheckList { output } => check::list(output.form),
        Command::DeadLetter(letters) => dead_letter::run(&letters).await,
        Command::Version { output } => version(output.form),
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
