//! Servers to measure: ours and its peers, each on one core, each with clients that may connect.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use iot_proto::connect::ConnectName;
use iot_proto::connection_string::{
    Credential, DeviceConnectionString, ServiceConnectionString, SharedKey,
};
use iot_proto::sas::TokenRequest;
use serde_json::{Value, json};

use super::Problem;
use super::hub::Protocol;
use crate::run::output;

/// A server that runs until this is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// What `load --clients` wants.
    pub(super) clients: Vec<Value>,
    pub(super) child: Child,
}

/// The programs under test.
#[derive(Clone)]
pub(super) struct Programs {
    pub(super) farshore: std::path::PathBuf,
    pub(super) load: std::path::PathBuf,
    pub(super) connect_load: std::path::PathBuf,
    pub(super) read_load: std::path::PathBuf,
    pub(super) method_load: std::path::PathBuf,
}

impl Server {
    /// The core seconds that the server has used.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Problem> {
        cpu_seconds(self.child.id())
    }
}

/// The core seconds that a process has used.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64, Problem> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name in parentheses; utime and stime are fields 14 and 15, in ticks of 10 ms.
    let rest = text.rsplit_once(')').ok_or("no process state")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let used = ticks(11).zip(ticks(12)).ok_or("no process times")?;
    Ok((used.0 + used.1) / 100.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Ends a child and its group, in order if it will.
pub(super) fn stop(child: &mut Child) {
    let group = rustix::process::Pid::from_raw(child.id() as i32);
    let signal = |signal| {
        // It may have ended by itself.
        let _ = group.map(|group| rustix::process::kill_process_group(group, signal));
    };
    signal(rustix::process::Signal::TERM);
    let end = Instant::now() + Duration::from_secs(15);
    while Instant::now() < end {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            _ => return,
        }
    }
    signal(rustix::process::Signal::KILL);
    let _ = child.wait();
}

/// Our hub, with registered devices that connect with their own keys.
pub(super) fn farshore<'a>(
    programs: &'a Programs,
    dir: &Path,
    place: Place,
    devices: usize,
    protocol: Protocol,
) -> Result<(Server, Hub<'a>), Problem> {
    let command = place.command(&programs.farshore);
    let (mut server, hub, ..) = start_hub(programs, dir, command, "127.0.0.1")?;
    server.clients = hub.devices(devices, protocol)?;
    if protocol == Protocol::Amqp {
        server.address = hub.amqp;
    }
    Ok((server, hub))
}

/// The same, at its port with TLS.
pub(super) fn farshore_with_tls<'a>(
    programs: &'a Programs,
    dir: &Path,
    place: Place,
    devices: usize,
    protocol: Protocol,
) -> Result<(Server, Hub<'a>), Problem> {
    let command = place.command(&programs.farshore);
    let (mut server, hub, _, mqtt) = start_hub(programs, dir, command, "127.0.0.1")?;
    server.clients = hub.devices(devices, protocol)?;
    server.address.set_port(if protocol == Protocol::Amqp { hub.amqps_port } else { mqtt });
    Ok((server, hub))
}

/// The same, with its port of HTTPS.
pub(super) fn farshore_for_methods<'a>(
    programs: &'a Programs,
    dir: &Path,
    place: Place,
    devices: usize,
) -> Result<(Server, Hub<'a>, u16), Problem> {
    let command = place.command(&programs.farshore);
    let (mut server, hub, https, _) = start_hub(programs, dir, command, "127.0.0.1")?;
    server.clients = hub.devices(devices, Protocol::Mqtt)?;
    Ok((server, hub, https))
}

/// Our hub on any core, with its ports of HTTPS and MQTT over TLS.
pub(super) fn farshore_for_edge<'a>(
    programs: &'a Programs,
    dir: &Path,
    address: &str,
) -> Result<(Server, Hub<'a>, u16, u16), Problem> {
    start_hub(programs, dir, Command::new(&programs.farshore), address)
}

fn start_hub<'a>(
    programs: &'a Programs,
    dir: &Path,
    mut command: Command,
    address: &str,
) -> Result<(Server, Hub<'a>, u16, u16), Problem> {
    let (plain, mqtt, https) = (free_address()?, free_address()?.port(), free_address()?.port());
    let (amqp, amqps) = (free_address()?, free_address()?.port());
    let hub = Hub {
        farshore: &programs.farshore,
        settings: dir.join("hub.toml"),
        data: dir.join("data"),
        amqp,
        amqps_port: amqps,
    };
    let text = format!(
        "host_names = [\"localhost\"]\ndata_dir = {:?}\n[listen]\naddresses = [\"{address}\"]\n\
         mqtt_port = {mqtt}\nhttps_port = {https}\noperations = \"\"\nmqtt_unencrypted = \"{plain}\"\n\
         amqp_port = {amqps}\namqp_unencrypted = \"{amqp}\"\n",
        hub.data
    );
    std::fs::write(&hub.settings, text)?;
    command.arg("hub").arg("--settings").arg(&hub.settings);
    let child = start(&mut command, &dir.join("hub.log"))?;
    let mut server = Server { address: plain, clients: Vec::new(), child };
    wait_for(plain, &mut server.child)?;
    Ok((server, hub, https, mqtt))
}

/// A hub of ours that can be started again where it was.
pub(super) struct HubSite {
    settings: std::path::PathBuf,
    log: std::path::PathBuf,
    pub(super) mqtt: u16,
    pub(super) amqp: u16,
    pub(super) https: u16,
}

/// Our hub on any core, and how to start it again.
pub(super) fn farshore_site<'a>(
    programs: &'a Programs,
    dir: &Path,
) -> Result<(Server, Hub<'a>, HubSite), Problem> {
    let command = Command::new(&programs.farshore);
    let (server, hub, https, mqtt) = start_hub(programs, dir, command, "127.0.0.1")?;
    let (settings, log) = (hub.settings.clone(), dir.join("hub.log"));
    let site = HubSite { settings, log, mqtt, amqp: hub.amqps_port, https };
    Ok((server, hub, site))
}

impl HubSite {
    /// Starts the hub there, and waits until it takes connections.
    pub(super) fn start(&self, programs: &Programs, place: Place) -> Result<Server, Problem> {
        let mut command = place.command(&programs.farshore);
        command.arg("hub").arg("--settings").arg(&self.settings);
        let address = SocketAddr::from(([127, 0, 0, 1], self.mqtt));
        // Somebody's outgoing connection may have one of its ports for a moment.
        let mut attempts = START_ATTEMPTS;
        loop {
            let child = start(&mut command, &self.log)?;
            let mut server = Server { address, clients: Vec::new(), child };
            attempts -= 1;
            match wait_for(address, &mut server.child) {
                Ok(()) => return Ok(server),
                Err(problem) if attempts == 0 => return Err(problem),
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}

/// How an operator reaches a hub of ours.
pub(super) struct Hub<'a> {
    pub(super) farshore: &'a Path,
    pub(super) settings: std::path::PathBuf,
    pub(super) data: std::path::PathBuf,
    /// Where it listens for AMQP without TLS.
    pub(super) amqp: SocketAddr,
    /// And with TLS.
    pub(super) amqps_port: u16,
}

impl Hub<'_> {
    /// Registers devices; gives what they connect with.
    fn devices(&self, count: usize, protocol: Protocol) -> Result<Vec<Value>, Problem> {
        self.register(count, protocol, &[])
    }

    /// Registers devices that connect by MQTT through an edge device.
    pub(super) fn children(&self, count: usize, parent: &str) -> Result<Vec<Value>, Problem> {
        self.register(count, Protocol::Mqtt, &["--parent", parent])
    }

    fn register(
        &self,
        count: usize,
        protocol: Protocol,
        more: &[&str],
    ) -> Result<Vec<Value>, Problem> {
        let login = self.login()?;
        let create = |index| {
            let device = format!("bench-{index:04}");
            self.operator(&login, &[&["device", "create", &device], more].concat())?;
            let text = self.operator(&login, &["device", "connection-string", &device])?;
            device_client(text.trim(), protocol)
        };
        (0..count).map(create).collect()
    }

    pub(super) fn login(&self) -> Result<String, Problem> {
        let mut command = Command::new(self.farshore);
        command.arg("hub").arg("--settings").arg(&self.settings).arg("--print-login");
        Ok(output(&mut command)?.trim().to_owned())
    }

    /// The user and password with which a back end opens AMQP by SASL PLAIN.
    pub(super) fn service_login(&self) -> Result<(String, String), Problem> {
        let login: ServiceConnectionString = self.login()?.parse()?;
        let host = login.host_name.split(':').next().unwrap_or_default();
        let request = TokenRequest::for_host(host, in_a_day());
        let token = sign(&request, &login.key, Some(&login.policy))?;
        let hub = host.split('.').next().unwrap_or(host);
        Ok((format!("{}@sas.root.{hub}", login.policy), token))
    }

    pub(super) fn operator(&self, login: &str, arguments: &[&str]) -> Result<String, Problem> {
        let mut command = Command::new(self.farshore);
        command.args(arguments).env("FARSHORE_LOGIN", login);
        command.env("FARSHORE_CA", self.data.join("ca.pem")).stderr(Stdio::null());
        let made = command.output()?;
        if !made.status.success() {
            return Err(
                format!("farshore {} ended with {}", arguments.join(" "), made.status).into()
            );
        }
        Ok(String::from_utf8(made.stdout)?)
    }
}

/// What a device connects and publishes with, as its SDK would.
fn device_client(connection_string: &str, protocol: Protocol) -> Result<Value, Problem> {
    let text: DeviceConnectionString = connection_string.parse()?;
    // The port in a host name is for dialling; tokens name the hub.
    let host = text.host_name.split(':').next().unwrap_or_default();
    let Credential::Key(key) = &text.credential else {
        return Err("the device has no key".into());
    };
    let request = TokenRequest::for_identity(host, &text.identity, in_a_day());
    let name = ConnectName::new(host, text.identity.clone(), "farshore-bench");
    let (user_name, topic) = match protocol {
        Protocol::Mqtt => (name.user_name(), format!("devices/{}/messages/events/", text.identity)),
        // SASL PLAIN names the hub by the first label of its host name.
        Protocol::Amqp => (
            format!("{}@sas.{}", text.identity, host.split('.').next().unwrap_or(host)),
            format!("/devices/{}/messages/events", text.identity),
        ),
    };
    Ok(json!({
        "client_id": name.client_id(),
        "user_name": user_name,
        "password": sign(&request, key, None)?,
        "topic": topic,
    }))
}

fn sign(request: &TokenRequest, key: &SharedKey, policy: Option<&str>) -> Result<String, Problem> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key.decode()?);
    let signature = hmac::sign(&key, request.string_to_sign().as_bytes());
    Ok(request.finish(signature.as_ref(), policy))
}

fn in_a_day() -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)
}

/// Clients for a broker that asks for nothing, or for one name and password.
pub(super) fn plain_clients(count: usize, login: Option<(&str, &str)>) -> Vec<Value> {
    let client = |index| {
        let device = format!("bench-{index:04}");
        json!({
            "client_id": device,
            "user_name": login.map(|(name, _)| name),
            "password": login.map(|(_, password)| password),
            "topic": format!("devices/{device}/messages/events/"),
        })
    };
    (0..count).map(client).collect()
}

/// Where a program runs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) core: usize,
    /// Before everything else on the machine.
    pub(super) urgent: bool,
}

impl Place {
    /// A command that stays there.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(self.core.to_string());
        if self.urgent {
            command.args(["nice", "-n", "-20"]);
        }
        command.arg(program);
        command
    }

    /// Starts a server there without a program in between, and says when.
    pub(super) fn start_there(
        self,
        command: &mut Command,
        log: &Path,
    ) -> Result<(Child, Instant), Problem> {
        // A child inherits the core of the thread that starts it.
        let started = std::thread::scope(|scope| {
            let spawn = scope.spawn(|| -> Result<(Child, Instant), String> {
                let words = |error: &dyn std::fmt::Display| error.to_string();
                let mut cores = rustix::thread::CpuSet::new();
                cores.set(self.core);
                rustix::thread::sched_setaffinity(None, &cores).map_err(|error| words(&error))?;
                let begin = Instant::now();
                let child = start(command, log).map_err(|error| words(&error))?;
                Ok((child, begin))
            });
            spawn.join().unwrap_or_else(|_| Err("a thread panicked".into()))
        });
        let (child, begin) = started?;
        if self.urgent {
            let pid = child.id().to_string();
            crate::run::output(Command::new("renice").args(["-n", "-20", "-p", &pid]))?;
        }
        Ok((child, begin))
    }
}

/// Starts a server with its output in a file, as a group of its own.
pub(super) fn start(command: &mut Command, log: &Path) -> Result<Child, Problem> {
    let log = std::fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let text = format!("{command:?}");
    Ok(command.spawn().map_err(|error| format!("cannot start {text}: {error}"))?)
}

/// Waits until a server takes connections.
pub(super) fn wait_for(address: SocketAddr, child: &mut Child) -> Result<(), Problem> {
    let end = Instant::now() + START_PATIENCE;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(format!("a server ended at once with {status}").into());
        }
        if Instant::now() >= end {
            stop(child);
            return Err(format!("nobody listens on {address}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// An address on loopback that nobody has just now.
pub(super) fn free_address() -> Result<SocketAddr, Problem> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

const START_ATTEMPTS: usize = 10;
/// RabbitMQ on one core takes half a minute.
const START_PATIENCE: Duration = Duration::from_secs(90);
