//! `cargo xtask bench edge`: the memory of the edge runtime, and the time from a published
//! deployment to a running module beside the engine's own create and start.
//!
//! A module is measured as it is added: what runs already stays. The time is from the hub's time of
//! the change to the engine's time of the start, both clocks being this machine's.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{self, Hub, Programs, Server, start, stop};
use super::{Problem, build, median, printed, row};
use crate::Outcome;

/// Arguments of `cargo xtask bench edge`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Modules that are added, one after the other
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Modules that are added at once, after that
    #[arg(long, default_value_t = 10)]
    at_once: usize,
    /// Seconds of rest before the memory is read
    #[arg(long, default_value_t = 30)]
    rest: u64,
    /// Run modules as processes, without an engine
    #[arg(long)]
    no_docker: bool,
    /// Measure this farshore instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The directory to keep everything in
    #[arg(long, default_value = "/tmp/farshore-bench-edge")]
    dir: PathBuf,
    /// Writes the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// An edge device that runs, and its hub.
struct Bench<'a> {
    hub: Hub<'a>,
    login: String,
    dir: PathBuf,
    daemon: Child,
    /// The newest module; those before it run too.
    deployed: usize,
    has_containers: bool,
    _server: Server,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        stop(&mut self.daemon);
        if self.has_containers {
            // They are stopped with the daemon; whatever is not there was not made.
            let _ = Command::new("docker")
                .args(["rm", "--force", "edgeHub"])
                .args((0..=self.deployed).map(name))
                .output();
        }
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut programs = build(arguments.program.is_none())?;
    if let Some(program) = &arguments.program {
        programs.farshore = std::path::absolute(program)?;
    }
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(&arguments.dir);
    std::fs::create_dir_all(&arguments.dir)?;
    let mut bench = begin(arguments, &programs)?;
    bench.deploy(0)?;
    bench.started(&[0])?;
    println!("one module runs; resting {} s", arguments.rest);
    std::thread::sleep(Duration::from_secs(arguments.rest));
    let memory = json!({
        "edge": memory(bench.daemon.id())?,
        "edge_hub": memory(edge_hub(DEVICE)?)?,
        "both_once_mb": frames_mb(&[bench.daemon.id(), edge_hub(DEVICE)?])?,
    });
    let mut ours = Vec::new();
    let mut engines = Vec::new();
    for round in 1..=arguments.rounds {
        bench.deploy(round)?;
        ours.push(bench.started(&[round])?);
        if bench.has_containers {
            engines.push(engine_starts(&name(round), 1)?);
        }
    }
    let (mut at_once, mut engine_at_once) = (None, None);
    if arguments.at_once > 0 {
        let all: Vec<usize> = (1..=arguments.at_once).map(|n| arguments.rounds + n).collect();
        bench.deploy(arguments.rounds + arguments.at_once)?;
        at_once = Some(bench.started(&all)?);
        if bench.has_containers {
            engine_at_once = Some(engine_starts(&name(0), arguments.at_once)?);
        }
    }
    drop(bench);
    let result = json!({
        "memory": memory, "module_ms": ours, "engine_ms": engines,
        "at_once_ms": at_once, "engine_at_once_ms": engine_at_once,
    });
    show(arguments, &result, &mut ours, &mut engines);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&result)?)?;
    }
    Ok(std::fs::remove_dir_all(&arguments.dir)?)
}

fn begin<'a>(arguments: &Arguments, programs: &'a Programs) -> Result<Bench<'a>, Problem> {
    let dir = arguments.dir.clone();
    let address = if arguments.no_docker { "127.0.0.1" } else { "0.0.0.0" };
    let (server, hub, https, mqtt) = server::farshore_for_edge(programs, &dir, address)?;
    let login = hub.login()?;
    hub.operator(&login, &["device", "create", DEVICE, "--edge"])?;
    let text = hub.operator(&login, &["device", "connection-string", DEVICE])?;
    let text = text.trim().replace("HostName=localhost;", &format!("HostName=localhost:{mqtt};"));
    let host_name = if arguments.no_docker { "127.0.0.2" } else { "edge-bench" };
    let config = dir.join("config.toml");
    std::fs::write(
        &config,
        format!(
            "hostname = \"{host_name}\"\n[provisioning]\nsource = \"manual\"\nconnection_string = \"{text}\"\n"
        ),
    )?;
    // It holds a key.
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600))?;
    let mut command = Command::new(&programs.farshore);
    command.arg("edge").arg("--config").arg(&config).arg("--homedir").arg(dir.join("home"));
    command.arg("--management-socket").arg(dir.join("mgmt.sock"));
    command.arg("--hub-ca").arg(hub.data.join("ca.pem")).args(["--hub-address", "127.0.0.1"]);
    command.args(["--hub-https-port", &https.to_string(), "--edge-hub-listen", "127.0.0.2:18883"]);
    // What is spoken upstream when nobody says otherwise.
    command.args(["--hub-amqp-port", &hub.amqps_port.to_string()]);
    if arguments.no_docker {
        command.arg("--no-docker");
    }
    let daemon = start(&mut command, &dir.join("edge.log"))?;
    let has_containers = !arguments.no_docker;
    Ok(Bench { hub, login, dir, daemon, deployed: 0, has_containers, _server: server })
}

impl Bench<'_> {
    /// Publishes the deployment with all modules up to this one.
    fn deploy(&mut self, newest: usize) -> Outcome {
        self.deployed = newest;
        let path = self.dir.join("deployment.json");
        std::fs::write(&path, serde_json::to_vec(&deployment(&self.dir, newest))?)?;
        let manifest = path.display().to_string();
        self.hub
            .operator(&self.login, &["deployment", "apply", DEVICE, "--manifest", &manifest])?;
        Ok(())
    }

    /// Milliseconds from the hub's time of the change to the engine's time of the last start of
    /// these modules.
    fn started(&mut self, modules: &[usize]) -> Result<f64, Problem> {
        let end = Instant::now() + Duration::from_secs(90);
        while Instant::now() < end && self.daemon.try_wait()?.is_none() {
            let text = self.hub.operator(
                &self.login,
                &["twin", "show", DEVICE, "--module", "$edgeAgent", "-o", "json"],
            )?;
            let twin: Value = serde_json::from_str(&text)?;
            let properties = &twin["properties"];
            let reported = |module: &usize| &properties["reported"]["modules"][name(*module)];
            if modules.iter().all(|module| reported(module)["runtimeStatus"] == "running") {
                let published = moment(&properties["desired"]["$metadata"]["$lastUpdated"])?;
                let mut last = published;
                for module in modules {
                    last = last.max(moment(&reported(module)["lastStartTimeUtc"])?);
                }
                return Ok(published.duration_until(last).as_secs_f64() * 1000.0);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("modules {modules:?} do not run; see {}/edge.log", self.dir.display()).into())
    }
}

fn name(module: usize) -> String {
    format!("{MODULE}{module}")
}

fn moment(value: &Value) -> Result<Timestamp, Problem> {
    let text = value.as_str().ok_or_else(|| format!("not a time: {value}"))?;
    let text = if text.ends_with('Z') { text.to_owned() } else { format!("{text}Z") };
    Ok(text.parse()?)
}

fn deployment(dir: &Path, newest: usize) -> Value {
    let module = |image: &str, env: Value| {
        json!({
            "type": "docker", "status": "running", "restartPolicy": "always", "version": "1.0",
            "env": env, "settings": { "image": image, "createOptions": "{}" },
        })
    };
    let store = dir.join("store");
    let modules: serde_json::Map<String, Value> =
        (0..=newest).map(|one| (name(one), module(SENSOR, json!({})))).collect();
    json!({ "modulesContent": {
        "$edgeAgent": { "properties.desired": {
            "schemaVersion": "1.1",
            "runtime": { "type": "docker", "settings": { "minDockerVersion": "v1.25" } },
            "systemModules": {
                "edgeAgent": { "type": "docker", "settings": { "image": AGENT } },
                "edgeHub": module(EDGE_HUB, json!({ "storageFolder": { "value": store } })),
            },
            "modules": modules,
        } },
        "$edgeHub": { "properties.desired": {
            "schemaVersion": "1.1",
            "routes": { "up": "FROM /messages/* INTO $upstream" },
            "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 },
        } },
    } })
}

/// The edge hub's process, in a container or not.
fn edge_hub(device: &str) -> Result<u32, Problem> {
    let wanted = [format!("IOTEDGE_DEVICEID={device}"), "IOTEDGE_MODULEID=$edgeHub".to_owned()];
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = |variable: &String| {
            environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
        };
        if wanted.iter().all(has) {
            return Ok(entry.file_name().to_string_lossy().parse()?);
        }
    }
    Err("there is no process of the edge hub".into())
}

/// A process's resident memory, and what of it is its own, in MB (10^6 bytes).
fn memory(pid: u32) -> Result<Value, Problem> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |name: &str| -> f64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let kib = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.sum::<f64>() * 1024.0 / 1e6
    };
    Ok(json!({ "rss_mb": of("Rss:"), "anonymous_mb": of("Anonymous:") }))
}

/// What the processes occupy together, in MB: every page frame counts once, though both map it.
/// They run the same program, so the sum of their RSS counts its text twice. None without the right
/// to see page frames (root).
fn frames_mb(pids: &[u32]) -> Result<Option<f64>, Problem> {
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    const PAGE: u64 = 4096;
    let mut frames = BTreeSet::new();
    for pid in pids {
        let pagemap = std::fs::File::open(format!("/proc/{pid}/pagemap"))?;
        for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            let Some((from, to)) = range else { continue };
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            let mut entries = vec![0; usize::try_from((to - from) / PAGE * 8)?];
            // The kernel's own page at the end of the address space is in no page map.
            let Ok(read) = pagemap.read_at(&mut entries, from / PAGE * 8) else { continue };
            for entry in entries[..read].as_chunks::<8>().0 {
                let entry = u64::from_ne_bytes(*entry);
                if entry & PRESENT != 0 {
                    frames.insert(entry & FRAME);
                }
            }
        }
    }
    let visible = frames.len() > 1;
    Ok(visible.then(|| (frames.len() as u64 * PAGE) as f64 / 1e6))
}

/// Milliseconds that the engine itself takes to create and start so many of what a module of ours
/// is, all asked for at once; until the last of them runs.
fn engine_starts(module: &str, count: usize) -> Result<f64, Problem> {
    let body = like(module)?;
    let begin = Timestamp::now();
    let started: Vec<Result<Timestamp, String>> = std::thread::scope(|scope| {
        let start = |nth| engine_start(&body, nth).map_err(|problem| problem.to_string());
        let starts: Vec<_> = (0..count).map(|nth| scope.spawn(move || start(nth))).collect();
        let ended = |start: std::thread::ScopedJoinHandle<'_, _>| {
            start.join().unwrap_or_else(|_| Err("a start ended early".into()))
        };
        starts.into_iter().map(ended).collect()
    });
    for nth in 0..count {
        engine("DELETE", &format!("/containers/{OWN}{nth}?force=true"), &Value::Null)?;
    }
    let last = started.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().max();
    Ok(begin.duration_until(last.unwrap_or(begin)).as_secs_f64() * 1000.0)
}

/// What the engine is asked for to make a container like this one.
fn like(module: &str) -> Result<Value, Problem> {
    let inspected = printed(Command::new("docker").args(["inspect", module]))?;
    let inspected: Value = serde_json::from_str(&inspected)?;
    let (config, host) = (&inspected[0]["Config"], &inspected[0]["HostConfig"]);
    Ok(json!({
        "Image": config["Image"], "Env": config["Env"], "Cmd": config["Cmd"],
        "Entrypoint": config["Entrypoint"], "Labels": {},
        "HostConfig": {
            "NetworkMode": host["NetworkMode"], "Binds": host["Binds"], "Mounts": host["Mounts"],
            "LogConfig": host["LogConfig"], "RestartPolicy": { "Name": "no" },
        },
    }))
}

/// Creates and starts one; when it was started.
fn engine_start(body: &Value, nth: usize) -> Result<Timestamp, Problem> {
    let created = engine("POST", &format!("/containers/create?name={OWN}{nth}"), body)?;
    let id = created["Id"].as_str().ok_or_else(|| format!("the engine says {created}"))?;
    engine("POST", &format!("/containers/{id}/start"), &Value::Null)?;
    let state = engine("GET", &format!("/containers/{id}/json"), &Value::Null)?;
    moment(&state["State"]["StartedAt"])
}

/// One call of the engine's interface.
fn engine(method: &str, path: &str, body: &Value) -> Result<Value, Problem> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = UnixStream::connect("/var/run/docker.sock")?;
    // HTTP/1.0, so that the answer ends with the connection and is not chunked.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the engine gave no answer")?;
    if !head.starts_with("HTTP/1.0 2") {
        return Err(format!("{method} {path}: {answer}").into());
    }
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}

fn show(arguments: &Arguments, result: &Value, ours: &mut [f64], engines: &mut [f64]) {
    let kind = if arguments.no_docker { "processes" } else { "containers" };
    println!("\nidle edge runtime with one module ({kind}), MB");
    row(&["part", "RSS", "anonymous"]);
    let mut total = (0.0, 0.0);
    for part in ["edge", "edge_hub"] {
        let of = |name: &str| result["memory"][part][name].as_f64().unwrap_or_default();
        total = (total.0 + of("rss_mb"), total.1 + of("anonymous_mb"));
        row(&[part, &format!("{:.1}", of("rss_mb")), &format!("{:.1}", of("anonymous_mb"))]);
    }
    row(&["both", &format!("{:.1}", total.0), &format!("{:.1}", total.1)]);
    if let Some(once) = result["memory"]["both_once_mb"].as_f64() {
        row(&["frames once", &format!("{once:.1}")]);
    }
    println!(
        "\nmodule runs after the deployment that adds it was published, ms, median of {}",
        ours.len()
    );
    let ours = median(ours);
    let engines = median(engines);
    let text = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0}"));
    let ratio = ours.zip(engines).map_or("-".into(), |(ours, own)| format!("{:.2}", ours / own));
    row(&["ours", "engine's own", "ratio"]);
    row(&[&text(ours), &text(engines), &ratio]);
    if let Some(at_once) = result["at_once_ms"].as_f64() {
        println!("\nthe last of {} modules that were added at once, ms", arguments.at_once);
        let ratio = ours.map_or("-".into(), |one| format!("{:.2}", at_once / one));
        row(&["ours", "engine's own", "ours to one of ours"]);
        row(&[&text(Some(at_once)), &text(result["engine_at_once_ms"].as_f64()), &ratio]);
    }
}

const DEVICE: &str = "edge-bench";
const MODULE: &str = "bench-module-";
/// The engine's own.
const OWN: &str = "farshore-bench-own-";
const SENSOR: &str = "mcr.microsoft.com/azureiotedge-simulated-temperature-sensor:1.5";
const EDGE_HUB: &str = "mcr.microsoft.com/azureiotedge-hub:1.5";
const AGENT: &str = "mcr.microsoft.com/azureiotedge-agent:1.5";
