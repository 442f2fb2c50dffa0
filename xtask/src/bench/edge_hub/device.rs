//! An edge device that consists of its edge hub alone, with its leaf devices and a hub that comes and
//! goes.

#[path = "../../bin/load/trusting.rs"]
mod trusting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use iot_proto::connection_string::{Credential, DeviceConnectionString};
use mqtt::packet::Connect;
use mqtt::{Packet, codec};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use trusting::trusting;

use super::workload;
use crate::bench::Problem;
use crate::bench::server::{self, Place, Programs, stop};

/// An edge device that is registered, with a hub that runs or not.
pub(super) struct Device<'a> {
    programs: &'a Programs,
    dir: PathBuf,
    site: server::HubSite,
    hub: Option<server::Server>,
    /// What the load connects with.
    pub(super) clients: PathBuf,
    /// The first client's CONNECT, for cold starts.
    first: Value,
}

/// A running edge hub.
pub(super) struct EdgeHub {
    child: Child,
    pub(super) address: SocketAddr,
    metrics: SocketAddr,
    store: PathBuf,
    /// From the start of the process to the first CONNACK.
    pub(super) cold_start_ms: f64,
}

impl Drop for EdgeHub {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

impl<'a> Device<'a> {
    /// Registers the device with its children and deploys one route; the hub is stopped then.
    pub(super) fn register(
        programs: &'a Programs,
        dir: &Path,
        leaves: usize,
    ) -> Result<Self, Problem> {
        let (server, hub, site) = server::farshore_site(programs, dir)?;
        let login = hub.login()?;
        hub.operator(&login, &["device", "create", DEVICE, "--edge"])?;
        let manifest = dir.join("deployment.json");
        std::fs::write(&manifest, serde_json::to_vec(&deployment())?)?;
        let path = manifest.display().to_string();
        hub.operator(&login, &["deployment", "apply", DEVICE, "--manifest", &path])?;
        let text =
            hub.operator(&login, &["device", "connection-string", DEVICE, "--module", "$edgeHub"])?;
        let text: DeviceConnectionString = text.trim().parse()?;
        let Credential::Key(key) = &text.credential else {
            return Err("$edgeHub has no key".into());
        };
        workload::serve(&dir.join(SOCKET), key, &hub.data)?;
        let clients = hub.children(leaves, DEVICE)?;
        let first = clients.first().cloned().ok_or("no devices")?;
        let path = dir.join("clients.json");
        std::fs::write(&path, serde_json::to_vec(&clients)?)?;
        drop(server);
        Ok(Self { programs, dir: dir.to_owned(), site, hub: None, clients: path, first })
    }

    pub(super) fn start_hub(&mut self, place: Place) -> Result<(), Problem> {
        self.hub = Some(self.site.start(self.programs, place)?);
        Ok(())
    }

    pub(super) fn stop_hub(&mut self) {
        self.hub = None;
    }

    /// The core seconds of the hub that runs.
    pub(super) fn hub_cpu_seconds(&self) -> Result<f64, Problem> {
        self.hub.as_ref().ok_or("the hub does not run")?.cpu_seconds()
    }

    /// The ports at which the hub is reached.
    pub(super) fn hub_ports(&self) -> [u16; 3] {
        [self.site.mqtt, self.site.amqp, self.site.https]
    }

    /// Ends an edge hub and starts it anew.
    pub(super) fn restart(
        &self,
        edge_hub: EdgeHub,
        place: Place,
        upstream: &str,
    ) -> Result<EdgeHub, Problem> {
        drop(edge_hub);
        self.start_edge_hub(place, upstream)
    }

    /// Starts the edge hub and waits until it has let a client in.
    pub(super) fn start_edge_hub(&self, place: Place, upstream: &str) -> Result<EdgeHub, Problem> {
        let address = server::free_address()?;
        let metrics = server::free_address()?;
        let beside = || server::free_address().map(|address| address.to_string());
        let mut command = Command::new(&self.programs.farshore);
        command.arg("edge-hub").env_clear();
        let [mqtt, amqp, https] = self.hub_ports().map(|port| port.to_string());
        let socket = format!("unix://{}", self.dir.join(SOCKET).display());
        for (name, value) in [
            ("IOTEDGE_DEVICEID", DEVICE),
            ("IOTEDGE_MODULEID", "$edgeHub"),
            ("IOTEDGE_MODULEGENERATIONID", "1"),
            ("IOTEDGE_IOTHUBHOSTNAME", "localhost"),
            ("IOTEDGE_WORKLOADURI", &socket),
            ("IOTEDGE_AUTHSCHEME", "sasToken"),
            ("EdgeDeviceHostName", "localhost"),
            ("StorageFolder", &self.dir.display().to_string()),
            ("UpstreamProtocol", upstream),
            ("FARSHORE_EDGE_STORE_BYTES", STORE_BYTES),
            ("FARSHORE_EDGE_LISTEN", &address.to_string()),
            ("FARSHORE_EDGE_LISTEN_AMQP", &beside()?),
            ("FARSHORE_EDGE_LISTEN_HTTPS", &beside()?),
            ("Metrics__Listener__Port", &metrics.port().to_string()),
            ("FARSHORE_UPSTREAM_ADDRESS", ADDRESS),
            ("FARSHORE_UPSTREAM_MQTT_PORT", &mqtt),
            ("FARSHORE_UPSTREAM_AMQP_PORT", &amqp),
            ("FARSHORE_UPSTREAM_HTTPS_PORT", &https),
        ] {
            command.env(name, value);
        }
        let log = self.dir.join("edge-hub.log");
        let (mut child, begin) = place.start_there(&mut command, &log)?;
        let connected = connect(address, &self.first, &mut child);
        let cold_start_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let store = self.dir.join("edgeHub");
        let edge_hub = EdgeHub { child, address, metrics, store, cold_start_ms };
        connected.map_err(|problem| format!("{problem}; see {}", log.display()))?;
        Ok(edge_hub)
    }
}

impl EdgeHub {
    /// Messages that wait, by the edge hub's own metric.
    pub(super) fn queued(&self) -> Result<u64, Problem> {
        let text = self.read_metrics()?;
        let lines = text.lines().filter(|line| line.starts_with("edgehub_queue_length{"));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    }

    /// Waits until the hub has everything.
    pub(super) fn drained(&self, limit: Duration) -> Result<(), Problem> {
        let end = Instant::now() + limit;
        while self.queued()? > 0 {
            if Instant::now() > end {
                return Err("messages wait though the hub is there".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn read_metrics(&self) -> Result<String, Problem> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// What the store takes on the disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, Problem> {
        let mut bytes = 0;
        for file in std::fs::read_dir(self.store.join("queues"))?.flatten() {
            use std::os::unix::fs::MetadataExt as _;
            bytes += file.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    }

    pub(super) fn memory(&self) -> Result<Value, Problem> {
        memory(self.child.id())
    }

    /// The core seconds that it has used.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Problem> {
        server::cpu_seconds(self.child.id())
    }

    /// Bytes that went to the hub, with all that TCP and IP add, by the sockets that are open.
    pub(super) fn traffic(&self, device: &Device<'_>) -> Result<u64, Problem> {
        let ports = device.hub_ports();
        let text = crate::run::output(Command::new("ss").args(["-tinOH", "state", "established"]))?;
        let to_hub = |line: &&str| {
            let peer = line.split_whitespace().nth(3).and_then(|peer| peer.rsplit_once(':'));
            peer.is_some_and(|(_, port)| port.parse().is_ok_and(|port| ports.contains(&port)))
        };
        let number = |line: &str, name: &str| -> u64 {
            let mut words = line.split_whitespace();
            let word = words.find_map(|word| word.strip_prefix(name));
            word.and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        let of = |line: &str| number(line, "bytes_sent:") + number(line, "segs_out:") * HEADERS;
        Ok(text.lines().filter(to_hub).map(of).sum())
    }
}

/// A process's resident memory, and what of it is its own, in MB (10^6 bytes).
pub(super) fn memory(pid: u32) -> Result<Value, Problem> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() * 1024.0 / 1e6
    };
    Ok(json!({ "rss_mb": of("VmRSS:"), "anonymous_mb": of("RssAnon:"), "peak_mb": of("VmHWM:") }))
}

/// Asks to be let in until it is.
fn connect(address: SocketAddr, client: &Value, child: &mut Child) -> Result<(), Problem> {
    let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
    let packet = Connect {
        user_name: Some(text("user_name")),
        password: Some(text("password").into()),
        clean_session: true,
        keep_alive_s: 0,
        ..Connect::new(text("client_id"))
    };
    let mut hello = BytesMut::new();
    codec::encode(&Packet::Connect(Box::new(packet)), &mut hello)?;
    let config = Arc::new(trusting()?);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match connect_once(address, &hello, &config) {
            Ok(()) => return Ok(()),
            Err(problem) if Instant::now() > end => return Err(problem),
            Err(_) => {}
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the edge hub ended with {status}").into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn connect_once(
    address: SocketAddr,
    hello: &[u8],
    config: &Arc<ClientConfig>,
) -> Result<(), Problem> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let machine = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(machine, socket);
    stream.write_all(hello)?;
    stream.flush()?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    match connack {
        [0x20, _, _, 0] => Ok(()),
        other => Err(format!("refused: {other:02x?}").into()),
    }
}

fn deployment() -> Value {
    let image = |image: &str| json!({ "type": "docker", "settings": { "image": image } });
    json!({ "modulesContent": {
        "$edgeAgent": { "properties.desired": {
            "schemaVersion": "1.1",
            "runtime": { "type": "docker", "settings": { "minDockerVersion": "v1.25" } },
            "systemModules": {
                "edgeAgent": image("mcr.microsoft.com/azureiotedge-agent:1.5"),
                "edgeHub": {
                    "type": "docker", "status": "running", "restartPolicy": "always",
                    "settings": { "image": "mcr.microsoft.com/azureiotedge-hub:1.5" },
                },
            },
            "modules": {},
        } },
        "$edgeHub": { "properties.desired": {
            "schemaVersion": "1.1",
            "routes": { "up": "FROM /messages/* INTO $upstream" },
            "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 },
        } },
    } })
}

const DEVICE: &str = "edge-bench";
const SOCKET: &str = "workload.sock";
const ADDRESS: &str = "127.0.0.1";
/// More than what is queued.
const STORE_BYTES: &str = "8589934592";
/// IPv4 and TCP with time stamps.
const HEADERS: u64 = 52;
