//! `cargo xtask bench connections`: how many devices connect in a second over TLS, and what an idle
//! connection costs in memory, beside mosquitto with the same certificate.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::hub::Protocol;
use super::peers;
use super::server::{self, Place, Programs, Server};
use super::{Problem, build, median, row};
use crate::Outcome;

/// Arguments of `cargo xtask bench connections`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What our devices speak; beside it stands mosquitto with MQTT in either case
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt)]
    protocol: Protocol,
    /// Devices that connect
    #[arg(long, default_value_t = 2000)]
    devices: usize,
    /// Rounds; in each every server has its turn, and the medians are shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure this farshore instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The core of the servers
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of the clients
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Writes the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Arguments {
    fn place(&self, core: usize) -> Place {
        Place { core, urgent: false }
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut programs = build(arguments.program.is_none())?;
    if let Some(program) = &arguments.program {
        programs.farshore = std::path::absolute(program)?;
    }
    let dir = crate::root().join("target/bench/connections");
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let core = arguments.place(arguments.server_core);
    let protocol = arguments.protocol;
    let (ours, hub) =
        server::farshore_with_tls(&programs, &dir, core, arguments.devices, protocol)?;
    let peer = peers::mosquitto_with_tls(&dir, core, &hub.data, arguments.devices)?;
    // Later rounds live in what the first one has needed: all are compared with the server's beginning.
    let (ours_before, peer_before) = (resident_bytes(&ours)?, resident_bytes(&peer)?);
    let mut results: Vec<Value> = Vec::new();
    for round in 1..=arguments.rounds {
        for (name, server, protocol, before) in [
            ("farshore", &ours, protocol, ours_before),
            ("mosquitto", &peer, Protocol::Mqtt, peer_before),
        ] {
            let clients = dir.join(format!("{name}.json"));
            std::fs::write(&clients, serde_json::to_vec(&server.clients)?)?;
            let result = measure(arguments, &programs, &clients, server, protocol, before)?;
            println!("round {round}: {name}: {result}");
            results.push(json!({ "round": round, "server": name, "result": result }));
        }
    }
    show(&results);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

fn measure(
    arguments: &Arguments,
    programs: &Programs,
    clients: &Path,
    server: &Server,
    protocol: Protocol,
    before: u64,
) -> Result<Value, Problem> {
    let mut command = arguments.place(arguments.load_core).command(&programs.connect_load);
    command.arg("--address").arg(server.address.to_string()).arg("--clients").arg(clients);
    if protocol == Protocol::Amqp {
        command.args(["--protocol", "amqp"]);
    }
    command.arg("--hold").stdin(Stdio::piped()).stdout(Stdio::piped());
    let cpu = server.cpu_seconds()?;
    let mut held = Held(command.spawn()?);
    let mut line = String::new();
    let output = held.0.stdout.take().ok_or("connect-load has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let mut result: Value = serde_json::from_str(&line)
        .map_err(|_| "connect-load ended; its errors stand above".to_owned())?;
    let cpu = server.cpu_seconds()? - cpu;
    // Memory that was needed for handshakes is given back a moment later.
    std::thread::sleep(REST);
    let connections = result["connections"].as_f64().unwrap_or(1.0);
    let grown = resident_bytes(server)?.saturating_sub(before);
    result["kb_each"] = json!(grown as f64 / connections / 1000.0);
    result["server_us_each"] = json!(cpu * 1e6 / (connections * ROUNDS_EACH));
    Ok(result)
}

/// Clients that hold their connections until this is dropped.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
        // Servers notice closed connections in their own time.
        std::thread::sleep(REST);
    }
}

/// What a server holds of its own; the pages of its program are no connection's.
fn resident_bytes(server: &Server) -> Result<u64, Problem> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.child.id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or("no RssAnon")? * 1024)
}

fn show(results: &[Value]) {
    println!("\nTLS with a full handshake, medians");
    row(&["server", "connects/s", "ours / it", "server us", "kB each", "ours / it"]);
    let value = |server: &str, name: &str| {
        let matching = results.iter().filter(|one| one["server"] == server);
        let mut values: Vec<f64> =
            matching.filter_map(|one| one["result"][name].as_f64()).collect();
        median(&mut values).unwrap_or_default()
    };
    let (rate, memory) = (value("farshore", "per_second"), value("farshore", "kb_each"));
    for server in ["farshore", "mosquitto"] {
        let (its_rate, its_memory) = (value(server, "per_second"), value(server, "kb_each"));
        row(&[
            server,
            &format!("{its_rate:.0}"),
            &format!("{:.2}", rate / its_rate),
            &format!("{:.0}", value(server, "server_us_each")),
            &format!("{its_memory:.1}"),
            &format!("{:.2}", memory / its_memory),
        ]);
    }
}

/// How often `connect-load` connects every client.
const ROUNDS_EACH: f64 = 5.0;
const REST: Duration = Duration::from_secs(3);
