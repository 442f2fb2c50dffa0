//! The entrance: which program is meant, its settings, and its end.
//!
//! Called as `iotedge` (by the name of the binary) it is the device's own tool. Everything else is
//! composition: the parts and their programs are in the crates below.

#![allow(clippy::print_stdout, reason = "this is the program that talks to people")]
#![allow(clippy::print_stderr, reason = "this is the program that talks to people")]

mod commands;
mod compose;
mod output;
mod settings;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{Failure, edge, edge_hub, hub, iotedge, operator, sensor, up};

/// Run your own IoT platform: hub, provisioning, edge runtime and tools in one program.
#[derive(Debug, Parser)]
#[command(name = "farshore", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a hub and its first edge device on this machine, and watch its telemetry
    Up(up::Arguments),
    /// Run a hub alone
    Hub(hub::Arguments),
    /// Run the edge runtime of this machine alone
    Edge(edge::Arguments),
    #[command(flatten)]
    Operator(operator::Command),
    /// The device's own tool; also reached by the binary's name
    Iotedge(iotedge::Arguments),
    /// The built-in edge hub; started by the edge runtime
    #[command(hide = true)]
    EdgeHub(edge_hub::Arguments),
    /// The built-in simulated temperature sensor; started by the edge runtime
    #[command(hide = true)]
    Sensor(sensor::Arguments),
}

fn main() -> ExitCode {
    if let Err(error) = host::process::leave_no_cores() {
        eprintln!("error: cannot turn core files off, in which keys would be: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = if called_as("iotedge") {
        commands::block_on_small(iotedge::run(iotedge::Arguments::parse()))
    } else {
        run(Arguments::parse().command)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("error: {message}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(arguments) => commands::block_on(up::run(arguments)),
        Command::Hub(arguments) => commands::block_on(hub::run(arguments)),
        Command::Edge(arguments) => commands::block_on_small(edge::run(arguments)),
        Command::Operator(command) => commands::block_on_small(operator::run(command)),
        Command::Iotedge(arguments) => commands::block_on_small(iotedge::run(arguments)),
        Command::EdgeHub(arguments) => commands::block_on_small(edge_hub::run(arguments)),
        Command::Sensor(arguments) => commands::block_on_small(sensor::run(arguments)),
    }
}

fn called_as(name: &str) -> bool {
    host::env::args()
        .first()
        .is_some_and(|first| Path::new(first).file_name().is_some_and(|file| file == name))
}
