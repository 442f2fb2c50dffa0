//! A running edge device: the daemon with its agent. The edge hub is not here: it is a module.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use client::Dial;
use client::device::Transport;
use client::dial::Proxy;
use client::environment::{
    GATEWAY_ADDRESS, GATEWAY_AMQP_PORT, GATEWAY_HTTPS_PORT, GATEWAY_MQTT_PORT, UPSTREAM_ADDRESS,
    UPSTREAM_AMQP_PORT, UPSTREAM_HTTPS_PORT, UPSTREAM_MQTT_PORT,
};
use edge_agent::{About, AgentSettings, Surroundings, Timing};
use edge_daemon::{
    AtEnd, Config, Daemon, DaemonError, DaemonSettings, DeviceFacts, HubDial, OwnerRequest,
};
use host::clock::Clock;
use host::signals::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::engine::Engine;

/// Where the built-in edge hub listens for MQTT when it is a process; read by `farshore edge-hub`.
pub(crate) const EDGE_HUB_LISTEN: &str = "FARSHORE_EDGE_LISTEN";
/// The same for AMQP.
pub(crate) const EDGE_HUB_LISTEN_AMQP: &str = "FARSHORE_EDGE_LISTEN_AMQP";
/// The same for HTTPS.
pub(crate) const EDGE_HUB_LISTEN_HTTPS: &str = "FARSHORE_EDGE_LISTEN_HTTPS";
/// The same for metrics, where the manifest publishes their port; set by the agent.
pub(crate) const EDGE_HUB_LISTEN_METRICS: &str = "FARSHORE_EDGE_LISTEN_METRICS";

/// Where an edge hub that is a process listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EdgeHubListen {
    pub(crate) mqtt: SocketAddr,
    pub(crate) amqp: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl EdgeHubListen {
    /// At one address, at the usual ports for all but MQTT.
    pub(crate) fn beside(mqtt: SocketAddr) -> Self {
        let at = |port| SocketAddr::new(mqtt.ip(), port);
        Self { mqtt, amqp: at(edge_hub::AMQP_PORT), https: at(edge_hub::HTTPS_PORT) }
    }
}

/// What an edge device is started with.
pub(crate) struct EdgeSettings {
    pub(crate) config: Config,
    /// The daemon's directory; the agent's is below it.
    pub(crate) homedir: PathBuf,
    /// Where module sockets lie, when not in the daemon's directory.
    pub(crate) socket_dir: Option<PathBuf>,
    pub(crate) management_socket: PathBuf,
    /// Where to dial for the hub, and whom to trust there.
    pub(crate) hub: HubDial,
    /// The hub's MQTT port, when it is not the usual one.
    pub(crate) hub_mqtt_port: Option<u16>,
    /// The hub's AMQP port, when it is not the usual one.
    pub(crate) hub_amqp_port: Option<u16>,
    /// Where an edge hub that is a process listens; containers publish ports instead.
    pub(crate) edge_hub_listen: EdgeHubListen,
    pub(crate) at_end: AtEnd,
    /// Who takes requests that concern the whole program.
    pub(crate) owner: Option<mpsc::Sender<OwnerRequest>>,
}

/// An edge device that runs.
pub(crate) struct RunningEdge {
    pub(crate) device: DeviceFacts,
    agent: JoinHandle<()>,
    daemon: JoinHandle<()>,
    agent_stop: Shutdown,
    daemon_stop: Shutdown,
}

impl RunningEdge {
    /// Starts the daemon, and the agent as soon as the device is provisioned.
    pub(crate) async fn start(
        settings: EdgeSettings,
        engine: Engine,
        clock: Clock,
    ) -> Result<Self, DaemonError> {
        let containers = engine.is_containers();
        let gateway = engine.gateway;
        let (deployed_images, images_to_keep) = tokio::sync::watch::channel(None);
        let (deployed_options, options_to_keep) = tokio::sync::watch::channel(None);
        let daemon_settings = DaemonSettings {
            config: settings.config.clone(),
            homedir: settings.homedir.clone(),
            socket_dir: settings.socket_dir.clone(),
            management_socket: settings.management_socket.clone(),
            management_group: None,
            runtime: engine.runtime,
            hub: settings.hub.clone(),
            at_end: settings.at_end,
            owner: settings.owner.clone(),
            deployed_images: images_to_keep,
            deployed_options: options_to_keep,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock: clock.clone(),
        };
        let daemon = Daemon::start(daemon_settings).await?;
        let device = daemon.device().clone();
        let management_socket = daemon.management_socket().to_owned();
        let mqtt_port = settings.hub_mqtt_port.or(device.mqtt_port);
        let upstream = Upstream {
            // Inside a container the hub's name may mean the container itself.
            address: match gateway {
                Some(gateway) if settings.hub.trust.is_some() => Some(gateway.to_string()),
                _ => settings.hub.address.clone(),
            },
            mqtt_port,
            amqp_port: settings.hub_amqp_port,
            https_port: settings.hub.https_port,
        };
        let transport = settings.config.agent.upstream_protocol();
        let surroundings = surroundings(&settings, &device, &upstream, containers);
        let port = upstream.port(transport).unwrap_or(transport.port());
        let dial = Dial::new(device.hub_host_name.clone(), port)
            .at(settings.hub.address.clone())
            .through(agent_proxy(&settings.config, transport).as_ref());
        let agent_settings = AgentSettings {
            dial,
            transport,
            tls: daemon.hub_tls()?,
            management_socket: management_socket.clone(),
            workload_socket: daemon.agent_workload_socket(),
            generation: String::new(),
            data_dir: settings.homedir.join("agent"),
            surroundings,
            about: About { version: env!("CARGO_PKG_VERSION").to_owned(), ..About::default() },
            deployed_images,
            deployed_options,
            timing: Timing::default(),
        };
        tokio::spawn(super::rest::after_start(clock.clone()));
        let (agent_stop, daemon_stop) = (Shutdown::new(), Shutdown::new());
        let daemon = std::sync::Arc::new(daemon);
        let agent = tokio::spawn(run_agent(
            std::sync::Arc::clone(&daemon),
            agent_settings,
            clock,
            agent_stop.clone(),
        ));
        let daemon = tokio::spawn(run_daemon(daemon, daemon_stop.clone()));
        Ok(Self { device, agent, daemon, agent_stop, daemon_stop })
    }

    /// Ends in order: the agent says its last word, then the daemon stops the modules.
    pub(crate) async fn stop(self) {
        self.agent_stop.trigger();
        // They end by themselves; a panic in one must not keep the other.
        let _ = self.agent.await;
        self.daemon_stop.trigger();
        let _ = self.daemon.await;
    }
}

/// Runs the agent, and anew when somebody asks for its restart.
async fn run_agent(
    daemon: std::sync::Arc<Daemon>,
    settings: AgentSettings,
    clock: Clock,
    stop: Shutdown,
) {
    let mut restarts = daemon.agent_restarts();
    while !stop.is_triggered() {
        let Some(generation) = daemon.provisioned(&stop).await else { return };
        let Some(data_dir) = daemon.agent_dir().await else {
            clock.sleep(AGENT_RETRY).await;
            continue;
        };
        let generation = generation.to_string();
        let settings = AgentSettings { generation, data_dir, ..settings.clone() };
        let this_one = stop.child();
        let restart = async {
            // An error means that the daemon is gone; then nobody asks any more.
            if restarts.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            this_one.trigger();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = edge_agent::run(settings, clock.clone(), this_one.clone()) => {
                if let Err(error) = outcome {
                    tracing::error!(error = %host::logs::chain(&error), "edge agent cannot run; trying again");
                    clock.sleep(AGENT_RETRY).await;
                }
            }
            () = restart => {}
        }
    }
}

async fn run_daemon(daemon: std::sync::Arc<Daemon>, stop: Shutdown) {
    stop.wait().await;
    // The agent's task has ended and given its handle back.
    if let Some(daemon) = std::sync::Arc::into_inner(daemon) {
        daemon.run(stop).await;
    }
}

/// The agent's proxy. What has no WebSocket goes without, as in the original.
fn agent_proxy(config: &Config, transport: Transport) -> Option<Proxy> {
    let proxy = config.agent.proxy()?;
    match transport {
        Transport::AmqpWs | Transport::MqttWs => {
            tracing::info!("edge agent reaches the hub through {proxy}");
            Some(proxy)
        }
        Transport::Amqp | Transport::Mqtt => {
            tracing::warn!(
                "https_proxy of [agent.env] is not used for {transport}: set UpstreamProtocol = \"AmqpWs\" (or \"MqttWs\") beside it"
            );
            None
        }
    }
}

struct Upstream {
    address: Option<String>,
    mqtt_port: Option<u16>,
    amqp_port: Option<u16>,
    https_port: Option<u16>,
}

impl Upstream {
    /// The port of a transport, when it is not the usual one.
    fn port(&self, transport: Transport) -> Option<u16> {
        match transport {
            Transport::Mqtt => self.mqtt_port,
            Transport::Amqp => self.amqp_port,
            Transport::MqttWs | Transport::AmqpWs => self.https_port,
        }
    }
}

fn surroundings(
    settings: &EdgeSettings,
    device: &DeviceFacts,
    upstream: &Upstream,
    containers: bool,
) -> Surroundings {
    let mut edge_hub_env = BTreeMap::new();
    let mut module_env = BTreeMap::new();
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            edge_hub_env.insert(name.to_owned(), value);
        }
    };
    set(UPSTREAM_ADDRESS, upstream.address.clone());
    set(UPSTREAM_MQTT_PORT, upstream.mqtt_port.map(|port| port.to_string()));
    set(UPSTREAM_AMQP_PORT, upstream.amqp_port.map(|port| port.to_string()));
    set(UPSTREAM_HTTPS_PORT, upstream.https_port.map(|port| port.to_string()));
    if !containers {
        let EdgeHubListen { mqtt, amqp, https } = settings.edge_hub_listen;
        module_env.insert(GATEWAY_ADDRESS.to_owned(), mqtt.ip().to_string());
        for (listen, gateway_port, address) in [
            (EDGE_HUB_LISTEN, GATEWAY_MQTT_PORT, mqtt),
            (EDGE_HUB_LISTEN_AMQP, GATEWAY_AMQP_PORT, amqp),
            (EDGE_HUB_LISTEN_HTTPS, GATEWAY_HTTPS_PORT, https),
        ] {
            edge_hub_env.insert(listen.to_owned(), address.to_string());
            module_env.insert(gateway_port.to_owned(), address.port().to_string());
        }
    }
    let inherited = ["RuntimeLogLevel", "UpstreamProtocol"];
    let agent = &settings.config.agent;
    let inherited_env = inherited
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), agent.variable(name)?.to_owned())));
    Surroundings {
        hub_host_name: device.hub_host_name.clone(),
        device: device.device.clone(),
        edge_host_name: device.host_name.clone(),
        parent_host_name: None,
        module_workload_uri: format!("unix://{}", settings.config.connect_workload.display()),
        inherited_env: inherited_env.collect(),
        module_env,
        edge_hub_env,
        agent_env: settings.config.agent.env.clone(),
    }
}

/// Between two starts of an agent that cannot run.
const AGENT_RETRY: std::time::Duration = std::time::Duration::from_secs(5);
