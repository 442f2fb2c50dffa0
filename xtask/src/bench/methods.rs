//! `cargo xtask bench methods`: the round trip of a direct method through the hub, from a back end
//! over HTTPS to a device over MQTT and back.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::server::{self, Place};
use super::{build, row};
use crate::Outcome;
use crate::run::output;

/// Arguments of `cargo xtask bench methods`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Measure this farshore instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of devices and callers
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
    let dir = crate::root().join("target/bench/methods");
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let place = |core| Place { core, urgent: false };
    let (server, hub, https) =
        server::farshore_for_methods(&programs, &dir, place(arguments.server_core), DEVICES)?;
    let clients = dir.join("clients.json");
    std::fs::write(&clients, serde_json::to_vec(&server.clients)?)?;
    let (_, token) = hub.service_login()?;
    let mut results: Vec<Value> = Vec::new();
    for callers in CALLERS {
        let mut load = place(arguments.load_core).command(&programs.method_load);
        load.arg("--mqtt").arg(server.address.to_string());
        load.arg("--https").arg(format!("127.0.0.1:{https}"));
        load.arg("--ca").arg(hub.data.join("ca.pem")).arg("--clients").arg(&clients);
        load.args(["--token", &token, "--callers", &callers.to_string()]);
        load.arg("--seconds").arg(arguments.seconds.to_string());
        let cpu = server.cpu_seconds()?;
        let mut result: Value = serde_json::from_str(&output(&mut load)?)?;
        let cpu = server.cpu_seconds()? - cpu;
        result["callers"] = json!(callers);
        result["server_us_each"] = json!(cpu * 1e6 / result["calls"].as_f64().unwrap_or(1.0));
        results.push(result);
    }
    println!("\ndirect methods, HTTPS to MQTT, one call at a time for each caller");
    row(&["callers", "calls/s", "p50 us", "p99 us", "server us"]);
    for result in &results {
        let of = |name: &str| format!("{:.0}", result[name].as_f64().unwrap_or_default());
        row(&[
            &of("callers"),
            &of("per_second"),
            &of("p50_us"),
            &of("p99_us"),
            &of("server_us_each"),
        ]);
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

const DEVICES: usize = 8;
const CALLERS: [usize; 2] = [1, 64];
