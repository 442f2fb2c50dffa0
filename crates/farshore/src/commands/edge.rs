//! `farshore edge`: the edge runtime of this machine alone, told by a `config.toml` in Azure's form.

use std::net::SocketAddr;
use std::path::PathBuf;

use edge_daemon::{AtEnd, Config, HubDial};
use host::clock::Clock;
use host::signals::Shutdown;

use super::{Failure, USAGE};
use crate::compose::edge::{EdgeHubListen, EdgeSettings, RunningEdge};
use crate::compose::engine::{self, EngineChoice};

/// Arguments of `farshore edge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The device's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/aziot/config.toml")]
    config: PathBuf,
    /// Where the daemon keeps its state
    #[arg(long, value_name = "DIR", default_value = "/var/lib/aziot/edged")]
    homedir: PathBuf,
    /// Socket of the management API
    #[arg(long, value_name = "PATH", default_value = "/var/run/iotedge/mgmt.sock")]
    management_socket: PathBuf,
    /// Run modules as processes, without a container engine
    #[arg(long)]
    no_docker: bool,
    /// A CA (PEM) to trust for the hub, besides the machine's and trust_bundle_cert
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    /// Address to dial for the hub, when its name does not lead there
    #[arg(long, value_name = "ADDRESS")]
    hub_address: Option<String>,
    /// The hub's HTTPS port, when it is not 443
    #[arg(long, value_name = "PORT")]
    hub_https_port: Option<u16>,
    /// The hub's AMQP port, when it is not 5671
    #[arg(long, value_name = "PORT")]
    hub_amqp_port: Option<u16>,
    /// Where the edge hub listens for MQTT when modules are processes
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8883")]
    edge_hub_listen: String,
    /// The same for AMQP; port 5671 of the address for MQTT when absent
    #[arg(long, value_name = "ADDRESS:PORT")]
    edge_hub_amqp_listen: Option<String>,
    /// The same for HTTPS and WebSockets; port 443 of the address for MQTT when absent
    #[arg(long, value_name = "ADDRESS:PORT")]
    edge_hub_https_listen: Option<String>,
    /// Check the configuration and stop
    #[arg(long)]
    check: bool,
}

/// A wrong configuration, as the original daemon says it (`edge-runtime.md` §1.5).
const EXIT_CONFIG: u8 = 153;

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config).map_err(|error| with_code(EXIT_CONFIG, error))?;
    if arguments.check {
        for note in &config.notes {
            println!("note: {note}");
        }
        println!("{} is good", arguments.config.display());
        return Ok(());
    }
    let edge_hub_listen = listen(&arguments)?;
    let level = config.agent.env.get("RuntimeLogLevel").map_or("info", String::as_str);
    host::logs::init(host::logs::Format::EdgePrio, level)?;
    let shutdown = Shutdown::on_signals()?;
    let clock = Clock::system();
    let trust = arguments.hub_ca.as_deref().map(host::fs::read_to_string).transpose()?;
    let choice = if arguments.no_docker { EngineChoice::Processes } else { EngineChoice::Engine };
    let protected = vec![arguments.homedir.clone()];
    let engine =
        engine::choose(choice, &config, &arguments.homedir.join("processes"), protected, &clock)
            .await?;
    tracing::info!("{}", engine.description);
    let settings = EdgeSettings {
        hub: HubDial {
            address: arguments.hub_address,
            https_port: arguments.hub_https_port,
            trust,
        },
        hub_mqtt_port: None,
        hub_amqp_port: arguments.hub_amqp_port,
        config,
        homedir: arguments.homedir,
        socket_dir: None,
        management_socket: arguments.management_socket,
        edge_hub_listen,
        // As the original: what runs is stopped with the daemon.
        at_end: AtEnd::StopModules,
    };
    let edge = RunningEdge::start(settings, engine, clock).await?;
    tracing::info!(device = %edge.device.device, hub = %edge.device.hub_host_name, "edge runtime started");
    shutdown.wait().await;
    tracing::info!("shutting down");
    edge.stop().await;
    Ok(())
}

fn listen(arguments: &Arguments) -> Result<EdgeHubListen, Failure> {
    let read = |option: &str, text: &str| {
        text.parse::<SocketAddr>().map_err(|_| {
            let words = format!("{option} wants ADDRESS:PORT, for example 0.0.0.0:8883");
            Failure::new(USAGE, words)
        })
    };
    let mut listen = EdgeHubListen::beside(read("--edge-hub-listen", &arguments.edge_hub_listen)?);
    if let Some(text) = &arguments.edge_hub_amqp_listen {
        listen.amqp = read("--edge-hub-amqp-listen", text)?;
    }
    if let Some(text) = &arguments.edge_hub_https_listen {
        listen.https = read("--edge-hub-https-listen", text)?;
    }
    Ok(listen)
}

fn with_code(code: u8, error: impl std::error::Error + 'static) -> Failure {
    let failure = Failure::from(error);
    Failure::new(code, failure.message().unwrap_or_default())
}
