//! `cargo xtask bench events`: how fast one reader gets stored telemetry from the event endpoint.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::hub::Protocol;
use super::server::{self, Place};
use super::{Problem, build, median, row};
use crate::Outcome;
use crate::run::output;

/// Arguments of `cargo xtask bench events`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Bytes of a message's body
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Seconds of storing before it is read
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often everything is read
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure this farshore instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of senders and the reader
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Writes the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut programs = build(arguments.program.is_none())?;
    if let Some(program) = &arguments.program {
        programs.farshore = std::path::absolute(program)?;
    }
    let dir = crate::root().join("target/bench/events");
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let place = |core| Place { core, urgent: false };
    let (server, hub) =
        server::farshore(&programs, &dir, place(arguments.server_core), SENDERS, Protocol::Mqtt)?;
    let clients = dir.join("clients.json");
    std::fs::write(&clients, serde_json::to_vec(&server.clients)?)?;
    let mut store = place(arguments.load_core).command(&programs.load);
    store.arg("--address").arg(server.address.to_string()).arg("--clients").arg(&clients);
    store.args(["--in-flight", "16", "--warm-up", "0"]);
    store.arg("--size").arg(arguments.size.to_string());
    store.arg("--seconds").arg(arguments.seconds.to_string());
    let stored: Value = serde_json::from_str(&output(&mut store)?)?;
    let events = stored["acknowledged"].as_u64().ok_or("load counted nothing")?;
    println!("stored {events} messages of {} bytes", arguments.size);
    let (user, password) = hub.service_login()?;
    let mut rates = Vec::new();
    for round in 1..=arguments.rounds {
        let cpu = server.cpu_seconds()?;
        let mut read = place(arguments.load_core).command(&programs.read_load);
        read.arg("--address").arg(hub.amqp.to_string()).args(["--user", &user]);
        read.args(["--password", &password, "--events", &events.to_string()]);
        for partition in 0..PARTITIONS {
            let source = format!("localhost/ConsumerGroups/$Default/Partitions/{partition}");
            read.arg("--source").arg(source);
        }
        let mut result: Value = serde_json::from_str(&output(&mut read)?)?;
        let cpu = server.cpu_seconds()? - cpu;
        result["server_us_each"] = json!(cpu * 1e6 / events as f64);
        println!("round {round}: {result}");
        rates.push(result);
    }
    show(&rates)?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rates)?)?;
    }
    Ok(())
}

fn show(rates: &[Value]) -> Result<(), Problem> {
    let of = |name: &str| {
        let mut values: Vec<f64> = rates.iter().filter_map(|one| one[name].as_f64()).collect();
        median(&mut values).ok_or_else(|| format!("no {name}"))
    };
    println!("\none reader of all partitions, TCP, medians");
    row(&["events/s", "server us"]);
    row(&[&format!("{:.0}", of("per_second")?), &format!("{:.2}", of("server_us_each")?)]);
    Ok(())
}

const SENDERS: usize = 100;
/// A hub's default.
const PARTITIONS: u32 = 4;
