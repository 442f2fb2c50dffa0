//! `cargo xtask bench edge-hub`: store and forward. How much the edge hub stores while its hub is
//! away, how fast it hands that over when the hub is back, what memory it takes with all of it
//! queued, and how soon it serves clients after a start.
//!
//! Clients speak MQTT over TLS, the edge hub speaks to a real hub over TLS by the protocol that is
//! named. The edge hub has a core of its own; the clients, and later the hub, have the other.

mod device;
mod workload;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::device::{Device, EdgeHub};
use super::server::{Place, Programs};
use super::{Problem, build, median, peers, row};
use crate::Outcome;
use crate::run::output;

/// Arguments of `cargo xtask bench edge-hub`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages that wait when the hub comes back
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Seconds of storing that are measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds; in each every program has its turn, and the medians are shown
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Leaf devices that publish
    #[arg(long, default_value_t = 100)]
    devices: usize,
    /// Messages without an answer of each of them
    #[arg(long, default_value_t = 4)]
    in_flight: u16,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// What the edge hub speaks to the hub: Amqp, Mqtt, AmqpWs, MqttWs; may be given again
    #[arg(long, default_value = "Amqp")]
    upstream: Vec<String>,
    /// Seconds of 1,000 messages a second that go through to the hub at the end; 0 leaves them out
    #[arg(long, default_value_t = 20.0)]
    steady_seconds: f64,
    /// Measure this farshore instead of building one; may be given again, to compare
    #[arg(long, value_name = "FILE")]
    program: Vec<PathBuf>,
    /// Leave a peer out: nats or mosquitto
    #[arg(long, value_name = "PEER")]
    without: Vec<String>,
    /// Let edge hub, hub and load go before everything else on this machine (nice -20; needs root)
    #[arg(long)]
    urgent: bool,
    /// The core of the edge hub
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of the load, and of the hub
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The directory to keep everything in, on the disk to measure
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writes the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Arguments {
    fn server(&self) -> Place {
        Place { core: self.server_core, urgent: self.urgent }
    }

    fn other(&self) -> Place {
        Place { core: self.load_core, urgent: self.urgent }
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let programs = build(arguments.program.is_empty())?;
    let dir = match &arguments.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => crate::root().join("target/bench-edge-hub"),
    };
    if arguments.urgent {
        // The client of the cold starts is in this process.
        let own = std::process::id().to_string();
        output(std::process::Command::new("renice").args(["-n", "-20", "-p", &own]))?;
    }
    let mut results: Vec<Value> = Vec::new();
    for round in 1..=arguments.rounds {
        for farshore in farshores(arguments, &programs)? {
            for upstream in &arguments.upstream {
                let name = format!("{} {upstream}", farshore.display());
                let programs = Programs { farshore: farshore.clone(), ..programs.clone() };
                let result = fresh(&dir, || measure(arguments, &programs, &dir, upstream))?;
                println!("round {round}: {name}: {result}");
                results.push(json!({ "round": round, "server": name, "result": result }));
            }
        }
        for peer in peers::queueing().filter(|peer| !arguments.without.iter().any(|w| w == peer)) {
            let result = fresh(&dir, || measure_peer(arguments, &programs, &dir, peer))?;
            println!("round {round}: {peer}: {result}");
            results.push(json!({ "round": round, "server": peer, "result": result }));
        }
    }
    show(arguments, &results);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

fn farshores(arguments: &Arguments, programs: &Programs) -> Result<Vec<PathBuf>, Problem> {
    if arguments.program.is_empty() {
        return Ok(vec![programs.farshore.clone()]);
    }
    Ok(arguments.program.iter().map(std::path::absolute).collect::<Result<_, _>>()?)
}

/// Begins with an empty directory and leaves none.
fn fresh(
    dir: &PathBuf,
    measure: impl FnOnce() -> Result<Value, Problem>,
) -> Result<Value, Problem> {
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir)?;
    super::hub::settle();
    super::hub::touch_memory(&dir.join("touched"))?;
    let result = measure()?;
    std::fs::remove_dir_all(dir)?;
    Ok(result)
}

fn measure(
    arguments: &Arguments,
    programs: &Programs,
    dir: &std::path::Path,
    upstream: &str,
) -> Result<Value, Problem> {
    let mut device = Device::register(programs, dir, arguments.devices)?;
    device.start_hub(arguments.other())?;
    let mut edge_hub = device.start_edge_hub(arguments.server(), upstream)?;
    // Everybody was here once, so that they are known while the hub is away.
    load(
        arguments,
        programs,
        &device,
        &edge_hub,
        &["--warm-up", "0", "--count", "1000", "--seconds", "60"],
    )?;
    edge_hub.drained(Duration::from_secs(30))?;
    device.stop_hub();
    let mut empty = Vec::new();
    for _ in 0..COLD_STARTS {
        edge_hub = device.restart(edge_hub, arguments.server(), upstream)?;
        empty.push(edge_hub.cold_start_ms);
    }
    let idle = edge_hub.memory()?;
    let (warm_up, seconds) = ((arguments.seconds / 5.0).to_string(), arguments.seconds.to_string());
    let cpu = edge_hub.cpu_seconds()?;
    let stored = load(
        arguments,
        programs,
        &device,
        &edge_hub,
        &["--warm-up", &warm_up, "--seconds", &seconds],
    )?;
    let store_cpu = (edge_hub.cpu_seconds()? - cpu) / (arguments.seconds * 1.2);
    let missing = arguments.messages.saturating_sub(edge_hub.queued()?);
    if missing > 0 {
        let count = missing.to_string();
        load(
            arguments,
            programs,
            &device,
            &edge_hub,
            &["--warm-up", "0", "--count", &count, "--seconds", "600"],
        )?;
    }
    let full = edge_hub.memory()?;
    let disk = edge_hub.disk_bytes()?;
    let queued = edge_hub.queued()?;
    let mut cold = Vec::new();
    for _ in 0..COLD_STARTS {
        edge_hub = device.restart(edge_hub, arguments.server(), upstream)?;
        cold.push(edge_hub.cold_start_ms);
    }
    let drained = drain(arguments, &mut device, &edge_hub)?;
    let steady = match arguments.steady_seconds > 0.0 {
        true => steady(arguments, programs, &device, &edge_hub)?,
        false => Value::Null,
    };
    Ok(json!({
        "store_per_second": stored["per_second"], "store_ack_us": stored["ack_us"],
        "store_cpu_share": store_cpu, "load_cpu_share": stored["load_cpu_share"],
        "idle": idle, "full": full, "disk_bytes": disk,
        "disk_bytes_per_message": disk as f64 / queued as f64,
        "cold_start_ms": median(&mut empty), "cold_start_full_ms": median(&mut cold),
        "drain": drained, "steady": steady,
    }))
}

/// The hub comes back and gets everything.
fn drain(
    arguments: &Arguments,
    device: &mut Device<'_>,
    edge_hub: &EdgeHub,
) -> Result<Value, Problem> {
    let before = edge_hub.queued()?;
    let cpu = edge_hub.cpu_seconds()?;
    device.start_hub(arguments.other())?;
    let there = Instant::now();
    let (mut begin, mut left, mut rss_max) = (None, before, 0.0_f64);
    let mut moved = there;
    while left > 0 {
        std::thread::sleep(LOOK_EVERY);
        let queued = edge_hub.queued()?;
        if queued < before && begin.is_none() {
            begin = Some((Instant::now(), queued));
        }
        if queued < left {
            moved = Instant::now();
        }
        if moved.elapsed() > DRAIN_PATIENCE {
            return Err(format!("the edge hub hands nothing over; {left} messages wait").into());
        }
        left = queued;
        rss_max = rss_max.max(edge_hub.memory()?["rss_mb"].as_f64().unwrap_or_default());
    }
    let (begin, first) = begin.ok_or("nothing was queued")?;
    let seconds = begin.elapsed().as_secs_f64();
    let used = edge_hub.cpu_seconds()? - cpu;
    Ok(json!({
        "messages": first, "seconds": seconds, "per_second": first as f64 / seconds,
        "begins_after_ms": (begin - there).as_secs_f64() * 1000.0,
        "cpu_us_per_message": used * 1e6 / before as f64,
        "hub_cpu_share": device.hub_cpu_seconds()? / there.elapsed().as_secs_f64(),
        "rss_max_mb": rss_max,
    }))
}

/// Messages that go through to the hub at once, a thousand a second of all devices together.
fn steady(
    arguments: &Arguments,
    programs: &Programs,
    device: &Device<'_>,
    edge_hub: &EdgeHub,
) -> Result<Value, Problem> {
    let seconds = arguments.steady_seconds.to_string();
    let (cpu, sent) = (edge_hub.cpu_seconds()?, edge_hub.traffic(device)?);
    let passed = load(
        arguments,
        programs,
        device,
        edge_hub,
        &["--rate", "1000", "--warm-up", "0", "--seconds", &seconds],
    )?;
    let memory = edge_hub.memory()?;
    edge_hub.drained(Duration::from_secs(10))?;
    let messages = passed["acknowledged"].as_f64().unwrap_or_default();
    let bytes = edge_hub.traffic(device)? - sent;
    Ok(json!({
        "messages": messages, "ack_us": passed["ack_us"], "memory": memory,
        "cpu_us_per_message": (edge_hub.cpu_seconds()? - cpu) * 1e6 / messages,
        "upstream_bytes_per_message": bytes as f64 / messages,
    }))
}

fn load(
    arguments: &Arguments,
    programs: &Programs,
    device: &Device<'_>,
    edge_hub: &EdgeHub,
    more: &[&str],
) -> Result<Value, Problem> {
    let mut command = arguments.other().command(&programs.load);
    command.arg("--address").arg(edge_hub.address.to_string()).arg("--tls");
    command.arg("--clients").arg(&device.clients);
    command.arg("--in-flight").arg(arguments.in_flight.to_string());
    command.arg("--size").arg(arguments.size.to_string());
    let result: Value = serde_json::from_str(&output(command.args(more))?)?;
    if result["out_of_order"] != 0 {
        return Err(format!("acknowledged out of order: {result}").into());
    }
    Ok(result)
}

/// The same with a broker: a subscriber with a stored session goes away, messages for it wait, and
/// it comes back.
fn measure_peer(
    arguments: &Arguments,
    programs: &Programs,
    dir: &std::path::Path,
    peer: &str,
) -> Result<Value, Problem> {
    let place = arguments.server();
    let server = match peer {
        "nats" => peers::nats(dir, place, arguments.devices),
        _ => peers::mosquitto_that_queues(dir, place, arguments.devices),
    }?;
    let (publishers, subscriber) = (dir.join("clients.json"), dir.join("subscriber.json"));
    std::fs::write(&publishers, serde_json::to_vec(&server.clients)?)?;
    let session = json!([{ "client_id": "drain", "topic": "devices/#" }]);
    std::fs::write(&subscriber, serde_json::to_vec(&session)?)?;
    let run = |clients: &PathBuf, more: &[&str]| -> Result<Value, Problem> {
        let mut command = arguments.other().command(&programs.load);
        command.arg("--address").arg(server.address.to_string()).arg("--clients").arg(clients);
        command.arg("--in-flight").arg(arguments.in_flight.to_string());
        command.arg("--size").arg(arguments.size.to_string());
        Ok(serde_json::from_str(&output(command.args(more))?)?)
    };
    run(&subscriber, &["--drain", "0"])?;
    let messages = arguments.messages.to_string();
    let stored = run(&publishers, &["--warm-up", "0", "--seconds", "600", "--count", &messages])?;
    let memory = device::memory(server.child.id())?;
    let cpu = server.cpu_seconds()?;
    let mut drained = run(&subscriber, &["--drain", &messages])?;
    let used = server.cpu_seconds()? - cpu;
    drained["cpu_us_per_message"] = json!(used * 1e6 / arguments.messages as f64);
    Ok(json!({
        "store_per_second": stored["per_second"], "store_ack_us": stored["ack_us"],
        "full": memory, "drain": drained,
    }))
}

fn show(arguments: &Arguments, results: &[Value]) {
    println!(
        "\nQoS 1, {} B, {} x {} in flight; {} messages queued; medians of {} rounds",
        arguments.size,
        arguments.devices,
        arguments.in_flight,
        arguments.messages,
        arguments.rounds
    );
    let mut names: Vec<&str> = results.iter().filter_map(|one| one["server"].as_str()).collect();
    names.dedup();
    names.truncate(names.len() / arguments.rounds.max(1));
    let columns = [
        ("store/s", "/store_per_second", 0),
        ("p99 us", "/store_ack_us/p99", 0),
        ("drain/s", "/drain/per_second", 0),
        ("us/message", "/drain/cpu_us_per_message", 2),
        ("RSS full MB", "/full/rss_mb", 1),
        ("RSS drain MB", "/drain/rss_max_mb", 1),
        ("RSS 1000/s MB", "/steady/memory/rss_mb", 1),
        ("start ms", "/cold_start_ms", 1),
        ("start full ms", "/cold_start_full_ms", 1),
    ];
    row(&columns.map(|(title, ..)| title));
    for name in names {
        let cells = columns.map(|(_, path, digits)| {
            let of = results.iter().filter(|one| one["server"] == name);
            let mut values: Vec<f64> =
                of.filter_map(|one| one["result"].pointer(path)?.as_f64()).collect();
            median(&mut values).map_or("-".into(), |value| format!("{value:.digits$}"))
        });
        row(&cells.each_ref().map(String::as_str));
        println!("  = {name}");
    }
}

const COLD_STARTS: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(50);
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
