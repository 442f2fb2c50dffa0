//! `cargo xtask bench journal`: the journal beside the bare disk, SQLite and
//! fjall, in one run (`crates/journal/benches/journal/`).

use std::path::PathBuf;

use crate::Outcome;
use crate::run::{cargo, run as run_command};

/// Arguments of `cargo xtask bench journal`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The directory to write in, on the disk to measure
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Instead: what a million stored records cost in memory, at opening and when read
    #[arg(long)]
    backlog: bool,
}

/// Builds the benchmark for release and runs it.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut command = cargo();
    command.args(["bench", "--quiet", "-p", "journal", "--bench", "journal", "--"]);
    command.arg("--seconds").arg(arguments.seconds.to_string());
    if let Some(dir) = &arguments.dir {
        command.arg("--dir").arg(std::path::absolute(dir)?);
    }
    if let Some(json) = &arguments.json {
        command.arg("--json").arg(std::path::absolute(json)?);
    }
    if arguments.backlog {
        command.arg("--backlog");
    }
    run_command(&mut command)
}
