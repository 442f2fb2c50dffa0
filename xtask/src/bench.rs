//! `cargo xtask bench`: figures beside a peer, in one run on one machine.

mod connections;
mod edge;
mod edge_hub;
mod events;
mod hub;
mod methods;
mod peers;
mod server;

use std::process::Command;

use crate::run::{run as run_command, target_dir};
use crate::{Outcome, bench_journal};

/// What went wrong, for people.
type Problem = Box<dyn std::error::Error>;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The journal beside a bare append and fdatasync, SQLite and fjall
    Journal(bench_journal::Arguments),
    /// The hub's durable telemetry beside mosquitto and RabbitMQ
    Hub(hub::Arguments),
    /// Connections over TLS beside mosquitto: how many in a second, how much memory each
    Connections(connections::Arguments),
    /// How fast one reader gets stored telemetry from the event endpoint
    Events(events::Arguments),
    /// The round trip of a direct method
    Methods(methods::Arguments),
    /// The edge runtime's memory, and how soon a module runs beside the engine's own time
    Edge(edge::Arguments),
    /// The edge hub's store and forward: storing, draining, memory and cold start
    EdgeHub(edge_hub::Arguments),
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.what {
        What::Journal(arguments) => bench_journal::run(arguments),
        What::Hub(arguments) => hub::run(arguments),
        What::Connections(arguments) => connections::run(arguments),
        What::Events(arguments) => events::run(arguments),
        What::Methods(arguments) => methods::run(arguments),
        What::Edge(arguments) => edge::run(arguments),
        What::EdgeHub(arguments) => edge_hub::run(arguments),
    }
}

/// The programs that are measured and measure, built as users get them.
fn build(with_farshore: bool) -> Result<server::Programs, Problem> {
    let tools = ["load", "connect-load", "read-load", "method-load"].map(|tool| ("xtask", tool));
    let farshore = with_farshore.then_some(("farshore", "farshore"));
    for (package, binary) in tools.into_iter().chain(farshore) {
        let mut command = crate::run::cargo();
        run_command(command.args([
            "build",
            "--release",
            "--quiet",
            "-p",
            package,
            "--bin",
            binary,
        ]))?;
    }
    let dir = target_dir()?.join("release");
    Ok(server::Programs {
        farshore: dir.join("farshore"),
        load: dir.join("load"),
        connect_load: dir.join("connect-load"),
        read_load: dir.join("read-load"),
        method_load: dir.join("method-load"),
    })
}

/// The middle one.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A line of a table.
fn row(cells: &[&str]) {
    let line: Vec<String> = cells.iter().map(|cell| format!("{cell:<14}")).collect();
    println!("{}", line.join(" ").trim_end());
}

/// What a program printed, or how it failed.
fn printed(command: &mut Command) -> Result<String, Problem> {
    let text = format!("{command:?}");
    let made = command.output().map_err(|error| format!("cannot start {text}: {error}"))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(format!("{text} ended with {}: {}", made.status, said.trim()).into());
    }
    Ok(String::from_utf8(made.stdout)?)
}
