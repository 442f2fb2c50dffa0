//! `cargo xtask bench hub`: how much the hub takes in durably, and how soon it says so, beside
//! brokers on the same machine in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::peers;
use super::server::{self, Place, Programs, Server};
use super::{Problem, build, median, row};
use crate::Outcome;
use crate::run::{is_there, output};

/// Arguments of `cargo xtask bench hub`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of each measurement, after a fifth of it as warm-up
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Rounds; in each every server has its turn, and the medians are shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The directory to keep the servers' data in, on the disk to measure
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What devices speak; mosquitto has no AMQP
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt)]
    protocol: Protocol,
    /// Leave a peer out: mosquitto or rabbitmq
    #[arg(long, value_name = "PEER")]
    without: Vec<String>,
    /// Let servers and load go before everything else on this machine (nice -20; needs root)
    #[arg(long)]
    urgent: bool,
    /// Measure this farshore instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Measure the saturated case only
    #[arg(long)]
    ingest_only: bool,
    /// The core of the servers
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of the load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Writes the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Protocol {
    Mqtt,
    Amqp,
}

/// A way to load a server.
struct Shape {
    name: &'static str,
    connections: usize,
    in_flight: u16,
    rate: Option<f64>,
}

const SATURATED: Shape = Shape { name: "100 x 4", connections: 100, in_flight: 4, rate: None };
const ALONE: Shape = Shape { name: "1 x 1", connections: 1, in_flight: 1, rate: None };
const STEADY: Shape =
    Shape { name: "20 at 1,000/s", connections: 20, in_flight: 16, rate: Some(1000.0) };

impl Arguments {
    fn place(&self, core: usize) -> Place {
        Place { core, urgent: self.urgent }
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut programs = build(arguments.program.is_none())?;
    if let Some(program) = &arguments.program {
        programs.farshore = std::path::absolute(program)?;
    }
    let dir = match &arguments.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => crate::root().join("target/bench"),
    };
    let shapes: &[Shape] =
        if arguments.ingest_only { &[SATURATED] } else { &[SATURATED, ALONE, STEADY] };
    let mut results: Vec<Value> = Vec::new();
    for round in 1..=arguments.rounds {
        for name in servers(arguments) {
            for shape in shapes {
                let result = measure(arguments, &programs, &dir, name, shape)?;
                println!("round {round}: {name} {}: {result}", shape.name);
                results.push(json!({ "round": round, "server": name, "shape": shape.name, "result": result }));
            }
        }
        if !arguments.ingest_only {
            let result = overwrite_and_sync(arguments, &dir)?;
            println!("round {round}: overwrite and fdatasync: {result}");
            results.push(
                json!({ "round": round, "server": "disk", "shape": ALONE.name, "result": result }),
            );
        }
    }
    show(arguments, shapes, &results);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

/// Who is measured: ours, and the peers that are wanted and there.
fn servers(arguments: &Arguments) -> Vec<&'static str> {
    let there = |name: &str| match name {
        "farshore" => true,
        "mosquitto" if arguments.protocol == Protocol::Amqp => false,
        "rabbitmq" => is_there("rabbitmq-server") || is_there("rabbitmqctl"),
        _ => is_there(name) || Path::new("/usr/sbin/mosquitto").exists(),
    };
    let wanted = |name: &&str| !arguments.without.iter().any(|left_out| left_out == *name);
    ["farshore", "mosquitto", "rabbitmq"]
        .into_iter()
        .filter(wanted)
        .filter(|name| there(name))
        .collect()
}

fn measure(
    arguments: &Arguments,
    programs: &Programs,
    dir: &Path,
    name: &str,
    shape: &Shape,
) -> Result<Value, Problem> {
    let dir = dir.join(name);
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    settle();
    touch_memory(&dir.join("touched"))?;
    let core = arguments.place(arguments.server_core);
    let server = match name {
        "mosquitto" => peers::mosquitto(&dir, core, shape.connections),
        "rabbitmq" => peers::rabbitmq(&dir, core, shape.connections, arguments.protocol),
        _ => server::farshore(programs, &dir, core, shape.connections, arguments.protocol)
            .map(|(server, _)| server),
    }?;
    let result = load(arguments, programs, &dir, &server, shape);
    drop(server);
    if name == "rabbitmq" {
        peers::forget_rabbitmq(&dir);
    }
    let result = result?;
    std::fs::remove_dir_all(&dir)?;
    Ok(result)
}

fn load(
    arguments: &Arguments,
    programs: &Programs,
    dir: &Path,
    server: &Server,
    shape: &Shape,
) -> Result<Value, Problem> {
    let clients = dir.join("clients.json");
    std::fs::write(&clients, serde_json::to_vec(&server.clients)?)?;
    let mut command = arguments.place(arguments.load_core).command(&programs.load);
    command.arg("--address").arg(server.address.to_string()).arg("--clients").arg(&clients);
    if arguments.protocol == Protocol::Amqp {
        command.args(["--protocol", "amqp"]);
    }
    command.arg("--in-flight").arg(shape.in_flight.to_string());
    command.arg("--seconds").arg(arguments.seconds.to_string());
    command.arg("--warm-up").arg((arguments.seconds / 5.0).to_string());
    if let Some(rate) = shape.rate {
        command.arg("--rate").arg(rate.to_string());
    }
    let before = (server.cpu_seconds()?, Instant::now());
    let mut result: Value = serde_json::from_str(&output(&mut command)?)?;
    let share = (server.cpu_seconds()? - before.0) / before.1.elapsed().as_secs_f64();
    result["server_cpu_share"] = json!(share);
    Ok(result)
}

/// The least that a durable acknowledgement can take: a record's bytes over those of another, and
/// fdatasync.
fn overwrite_and_sync(arguments: &Arguments, dir: &Path) -> Result<Value, Problem> {
    use std::os::unix::fs::FileExt;
    settle();
    std::fs::create_dir_all(dir)?;
    let path = dir.join("overwrite");
    let file = std::fs::File::create(&path)?;
    let record = vec![7_u8; RECORD_ON_DISK];
    let places = FILE_BYTES / RECORD_ON_DISK as u64;
    for place in 0..places {
        file.write_all_at(&record, place * RECORD_ON_DISK as u64)?;
    }
    file.sync_all()?;
    let core = arguments.server_core;
    let length = Duration::from_secs_f64(arguments.seconds);
    let measuring = std::thread::spawn(move || -> std::io::Result<Vec<f64>> {
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        rustix::thread::sched_setaffinity(None, &cores)?;
        let (begin, mut took) = (Instant::now(), Vec::new());
        while begin.elapsed() < length {
            let start = Instant::now();
            file.write_all_at(&record, (took.len() as u64 % places) * RECORD_ON_DISK as u64)?;
            file.sync_data()?;
            took.push(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(took)
    });
    let mut took = measuring.join().map_err(|_| "the measuring thread panicked")??;
    std::fs::remove_file(&path)?;
    took.sort_by(f64::total_cmp);
    let percentile = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    Ok(json!({
        "per_second": took.len() as f64 / arguments.seconds,
        "ack_us": { "p50": percentile(0.5), "p99": percentile(0.99), "max": percentile(1.0) },
    }))
}

/// Lets the disk finish what earlier runs left to it.
pub(super) fn settle() {
    let _ = Command::new("sync").status();
    std::thread::sleep(Duration::from_secs(1));
}

/// Takes memory for the page cache and gives it back, because the first touch of a virtual machine's
/// page costs its host's time: ten times what a server's write of it costs. It would be charged to
/// whoever writes first.
pub(super) fn touch_memory(path: &Path) -> Result<(), Problem> {
    let mut file = std::fs::File::create(path)?;
    let zeros = vec![0_u8; 1 << 20];
    for _ in 0..TOUCHED_BYTES >> 20 {
        std::io::Write::write_all(&mut file, &zeros)?;
    }
    drop(file);
    Ok(std::fs::remove_file(path)?)
}

fn show(arguments: &Arguments, shapes: &[Shape], results: &[Value]) {
    let value = |server: &str, shape: &str, path: &str| {
        let matching =
            results.iter().filter(|one| one["server"] == server && one["shape"] == shape);
        let mut values: Vec<f64> =
            matching.filter_map(|one| one["result"].pointer(path)?.as_f64()).collect();
        median(&mut values)
    };
    let text = |value: Option<f64>, digits: usize| {
        value.map_or("-".into(), |value| format!("{value:.digits$}"))
    };
    println!(
        "\n{}, 1 KiB, TCP, medians of {} rounds of {} s",
        match arguments.protocol {
            Protocol::Mqtt => "QoS 1",
            Protocol::Amqp => "AMQP, unsettled",
        },
        arguments.rounds,
        arguments.seconds
    );
    row(&[
        "shape",
        "server",
        "messages/s",
        "ours / it",
        "p50 us",
        "p99 us",
        "server core",
        "load core",
    ]);
    for shape in shapes {
        let ours = value("farshore", shape.name, "/per_second");
        for server in servers(arguments).into_iter().chain(["disk"]) {
            let of = |path| value(server, shape.name, path);
            let rate = of("/per_second");
            if rate.is_none() {
                continue;
            }
            let ratio = ours.zip(rate).map(|(ours, rate)| ours / rate);
            row(&[
                shape.name,
                server,
                &text(rate, 0),
                &text(ratio, 2),
                &text(of("/ack_us/p50"), 0),
                &text(of("/ack_us/p99"), 0),
                &text(of("/server_cpu_share"), 2),
                &text(of("/load_cpu_share"), 2),
            ]);
        }
    }
    let lost: f64 = results.iter().filter_map(|one| one["result"]["out_of_order"].as_f64()).sum();
    println!("acknowledged out of order: {lost}");
}

/// A record of 1 KiB with what the journal puts around it, in sectors of 512 bytes.
const RECORD_ON_DISK: usize = 1536;
/// More than a server writes in one measurement.
const TOUCHED_BYTES: u64 = 6 << 30;
/// The size of a journal's segment.
const FILE_BYTES: u64 = 64 << 20;
