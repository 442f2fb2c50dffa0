//! An edge device for the tests: a fake hub (the gateway's own MQTT head over a fake backend, and
//! the scope calls, over TLS on loopback), a fake workload API on a unix socket, and modules that
//! are real MQTT clients.

#![allow(clippy::unwrap_used, reason = "these are helpers of tests")]
#![allow(dead_code, reason = "not every test needs every helper")]

pub(crate) mod hub;
pub(crate) mod workload;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::device::{Events, Options, Subscription, Transport};
use client::signer::KeySigner;
use client::{DeviceClient, Dial};
use edge_hub::{EdgeHub, Served, Settings, Sockets};
use host::clock::Clock;
use host::metrics::Metrics;
use host::signals::Shutdown;
use host::tls::ClientTls;
use model::message::{Message, SystemProperty};
use pki::{Authority, Validity};
use tokio::sync::oneshot;

use hub::FakeHub;
use workload::FakeWorkload;

pub(crate) const HUB: &str = "hub.test";
pub(crate) const GATEWAY: &str = "gateway.test";
pub(crate) const EDGE: &str = "edge1";
/// Nothing here takes longer on a healthy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The machine with its hub far away.
pub(crate) struct Machine {
    pub(crate) hub: Arc<FakeHub>,
    pub(crate) ca: Arc<Authority>,
    pub(crate) clock: Clock,
    pub(crate) workload: FakeWorkload,
    dir: tempfile::TempDir,
}

/// A running edge hub, on a thread and runtime of its own, so that it can be killed.
pub(crate) struct Running {
    pub(crate) ports: Ports,
    pub(crate) metrics: Metrics,
    shutdown: Shutdown,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Where a hub or edge hub listens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ports {
    pub(crate) mqtt: u16,
    pub(crate) amqp: u16,
    pub(crate) https: u16,
    pub(crate) metrics: u16,
}

impl Ports {
    pub(crate) fn of(self, transport: Transport) -> u16 {
        match transport {
            Transport::Mqtt => self.mqtt,
            Transport::Amqp => self.amqp,
            Transport::MqttWs | Transport::AmqpWs => self.https,
        }
    }
}

impl Machine {
    /// A hub that runs, with `$edgeHub` and these identities registered, and these routes.
    pub(crate) async fn new(identities: &[&str], routes: serde_json::Value) -> Self {
        let clock = Clock::system();
        let validity = Validity::starting(clock.wall(), Duration::from_secs(3600));
        Self::over(clock, validity, None, identities, routes).await
    }

    /// The same by a clock of one's own. Certificates hold as long as `validity`; the edge hub is told
    /// that its own end after `told`, so that it renews them.
    pub(crate) async fn over(
        clock: Clock,
        validity: Validity,
        told: Option<Duration>,
        identities: &[&str],
        routes: serde_json::Value,
    ) -> Self {
        let ca = Arc::new(Authority::create_root("test", validity).unwrap());
        let hub = FakeHub::new(&ca, &clock, validity);
        hub.register("edge1");
        hub.register("edge1/$edgeHub");
        for id in identities {
            hub.register(id);
        }
        hub.set_desired("edge1/$edgeHub", manifest(routes));
        hub.start().await;
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("w.sock");
        let workload = FakeWorkload::start(&socket, Arc::clone(&ca), &clock, validity, told);
        Self { hub, ca, clock, workload, dir }
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let Ports { mqtt, amqp, https, .. } = self.hub.ports();
        [
            ("IOTEDGE_DEVICEID", EDGE.to_owned()),
            ("IOTEDGE_MODULEID", "$edgeHub".to_owned()),
            ("IOTEDGE_MODULEGENERATIONID", "1".to_owned()),
            ("IOTEDGE_IOTHUBHOSTNAME", HUB.to_owned()),
            ("IOTEDGE_WORKLOADURI", format!("unix://{}", self.workload.path().display())),
            ("IOTEDGE_AUTHSCHEME", "sasToken".to_owned()),
            ("EdgeDeviceHostName", GATEWAY.to_owned()),
            ("StorageFolder", self.storage().display().to_string()),
            ("FARSHORE_UPSTREAM_ADDRESS", "127.0.0.1".to_owned()),
            ("FARSHORE_UPSTREAM_MQTT_PORT", mqtt.to_string()),
            ("FARSHORE_UPSTREAM_AMQP_PORT", amqp.to_string()),
            ("FARSHORE_UPSTREAM_HTTPS_PORT", https.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    pub(crate) fn settings(&self, changes: &[(&str, &str)]) -> Settings {
        let mut env = self.environment();
        for (name, value) in changes {
            env.insert((*name).to_owned(), (*value).to_owned());
        }
        let mut settings = Settings::from_env(&env).unwrap();
        let free = || Sockets::At(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
        settings.listen.mqtt = free();
        settings.listen.amqp = free();
        settings.listen.https = free();
        settings.listen.metrics = free();
        settings
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(&[]).await
    }

    /// The environment of an edge hub in a process of its own.
    pub(crate) fn environment_json(&self) -> String {
        serde_json::to_string(&self.environment()).unwrap()
    }

    pub(crate) async fn start_with(&self, changes: &[(&str, &str)]) -> Running {
        let shutdown = Shutdown::new();
        let (settings, clock, stop) =
            (self.settings(changes), self.clock.clone(), shutdown.clone());
        let (started, facts) = oneshot::channel();
        let (kill, killed) = oneshot::channel::<()>();
        let life = async move {
            let edge_hub = EdgeHub::start(settings, clock, stop).await.unwrap();
            edge_hub.ready().await;
            let port = |served| {
                let mut all = edge_hub.addresses().iter();
                all.find(|(of, _)| *of == served).map_or(0, |(_, address)| address.port())
            };
            let ports = Ports {
                mqtt: port(Served::Mqtt),
                amqp: port(Served::Amqp),
                https: port(Served::Https),
                metrics: port(Served::Metrics),
            };
            started.send((ports, edge_hub.metrics().clone())).unwrap();
            tokio::select! {
                () = edge_hub.finished() => {}
                _ = killed => {}
            }
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(life);
        });
        let (ports, metrics) = within("the start", facts).await.unwrap();
        Running { ports, metrics, shutdown, kill: Some(kill), thread: Some(thread) }
    }

    /// A module or leaf device at the edge hub.
    pub(crate) fn connect(
        &self,
        running: &Running,
        id: &str,
        wants: &[Subscription],
    ) -> (DeviceClient, Events) {
        self.connect_by(Transport::Mqtt, running, id, wants)
    }

    /// The same, by a protocol.
    pub(crate) fn connect_by(
        &self,
        transport: Transport,
        running: &Running,
        id: &str,
        wants: &[Subscription],
    ) -> (DeviceClient, Events) {
        let mut options = self.options(running.ports.of(transport), id);
        options.transport = transport;
        options.subscriptions = wants.to_vec();
        DeviceClient::start(options, self.clock.clone())
    }

    /// The same by MQTT, at a port.
    pub(crate) fn connect_to(
        &self,
        port: u16,
        id: &str,
        wants: &[Subscription],
    ) -> (DeviceClient, Events) {
        let mut options = self.options(port, id);
        options.subscriptions = wants.to_vec();
        DeviceClient::start(options, self.clock.clone())
    }

    pub(crate) fn options(&self, port: u16, id: &str) -> Options {
        let dial = Dial::new(GATEWAY, port).at(Some("127.0.0.1".into()));
        let tls = ClientTls::new(&[&self.ca.root_pem()]).unwrap();
        let signer = Arc::new(KeySigner::from_base64(&hub::key(id)).unwrap());
        Options::new(HUB, dial, tls, id.parse().unwrap(), signer)
    }

    /// The same, and it is in.
    pub(crate) async fn join(
        &self,
        running: &Running,
        id: &str,
        wants: &[Subscription],
    ) -> (DeviceClient, Events) {
        let (client, events) = self.connect(running, id, wants);
        within("a client's connection", client.connected()).await.unwrap();
        (client, events)
    }
}

impl Running {
    /// What a counter says, over all series whose labels hold this text.
    pub(crate) fn counts(&self, name: &str, labels: &str) -> u64 {
        let text = self.metrics.render();
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&format!("edgehub_{name}{{")) && line.contains(labels));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// Ends it in the middle of everything: its tasks are dropped where they stand.
    pub(crate) async fn kill(mut self) {
        let kill = self.kill.take().unwrap();
        kill.send(()).unwrap();
        self.join().await;
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        self.shutdown.trigger();
        self.join().await;
    }

    async fn join(&mut self) {
        let thread = self.thread.take().unwrap();
        let joined = tokio::task::spawn_blocking(move || thread.join());
        within("the end", joined).await.unwrap().unwrap();
    }
}

/// Desired properties of `$edgeHub`.
pub(crate) fn manifest(routes: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "schemaVersion": "1.1",
        "routes": routes,
        "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 }
    })
}

/// A message to an output.
pub(crate) fn output(body: &str, output: &str) -> Message {
    Message::from_body(body.to_owned()).with_system(SystemProperty::OutputName, output)
}

/// Sends, and waits until the edge hub has acknowledged all of them.
pub(crate) async fn send_all(client: &DeviceClient, bodies: impl IntoIterator<Item = String>) {
    let mut handles = Vec::new();
    for body in bodies {
        handles.push(client.send(output(&body, "out")).await.unwrap());
    }
    for handle in handles {
        within("an acknowledgement", handle).await.unwrap();
    }
}

/// The bodies `from` to `to`.
pub(crate) fn bodies(name: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("{name} {number}")).collect()
}

/// The first occurrence of each body: what comes twice after a break is no fault.
pub(crate) fn without_repeats(bodies: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    bodies.into_iter().filter(|body| seen.insert(body.clone())).collect()
}

pub(crate) async fn within<F: Future>(what: &str, work: F) -> F::Output {
    match Clock::system().timeout(LIMIT, work).await {
        Ok(output) => output,
        Err(_) => panic!("{what} took too long"),
    }
}
