//! `farshore edge`: the edge runtime of this machine alone, told by a `config.toml` in Azure's form.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use client::dial::Proxy;
use client::environment::EnvironmentError;
use edge_daemon::{AtEnd, Config, HubDial, OwnerRequest};
use host::clock::Clock;
use host::logs::Logs;
use host::signals::Shutdown;
use tokio::sync::mpsc;

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
    let config = read(&arguments.config)?;
    if arguments.check {
        for note in &config.notes {
            println!("note: {note}");
        }
        println!("{} is good", arguments.config.display());
        return Ok(());
    }
    // What is wrong with the arguments is told before anything begins.
    listen(&arguments)?;
    let shutdown = Shutdown::on_signals()?;
    let clock = Clock::system();
    let logs =
        host::logs::init(host::logs::Format::EdgePrio, &level(&config, &arguments.homedir)?)?;
    let mut config = Some(config);
    while !shutdown.is_triggered() {
        let config = match config.take() {
            Some(config) => config,
            None => read(&arguments.config)?,
        };
        logs.set_level(&level(&config, &arguments.homedir)?)?;
        match run_once(&arguments, config, &logs, &shutdown, &clock).await? {
            End::Restart => tracing::info!("beginning anew"),
            End::Stop => break,
        }
    }
    Ok(())
}

/// What follows the end of a runtime.
enum End {
    Restart,
    Stop,
}

/// Runs the runtime until it is to end or to begin anew.
async fn run_once(
    arguments: &Arguments,
    config: Config,
    logs: &Logs,
    shutdown: &Shutdown,
    clock: &Clock,
) -> Result<End, Failure> {
    let trust = arguments.hub_ca.as_deref().map(host::fs::read_to_string).transpose()?;
    let choice = if arguments.no_docker { EngineChoice::Processes } else { EngineChoice::Engine };
    let protected = vec![arguments.homedir.clone()];
    let engine =
        engine::choose(choice, &config, &arguments.homedir.join("processes"), protected, clock)
            .await?;
    tracing::info!("{}", engine.description);
    let (owner, mut requests) = mpsc::channel(OWNER_REQUESTS_MAX);
    let settings = EdgeSettings {
        hub: HubDial {
            address: arguments.hub_address.clone(),
            https_port: arguments.hub_https_port,
            trust,
            proxy: proxy()?,
        },
        hub_mqtt_port: None,
        hub_amqp_port: arguments.hub_amqp_port,
        config,
        homedir: arguments.homedir.clone(),
        socket_dir: None,
        management_socket: arguments.management_socket.clone(),
        edge_hub_listen: listen(arguments)?,
        // As the original: what runs is stopped with the daemon.
        at_end: AtEnd::StopModules,
        owner: Some(owner),
    };
    let edge = RunningEdge::start(settings, engine, clock.clone()).await?;
    tracing::info!(device = %edge.device.device, hub = %edge.device.hub_host_name, "edge runtime started");
    let end = loop {
        let request = tokio::select! {
            () = shutdown.wait() => break End::Stop,
            request = requests.recv() => request,
        };
        match request {
            Some(OwnerRequest::LogLevel(level)) => keep_level(logs, &arguments.homedir, &level),
            Some(OwnerRequest::Restart) => break End::Restart,
            Some(OwnerRequest::Stop) | None => break End::Stop,
        }
    };
    tracing::info!("shutting down");
    edge.stop().await;
    Ok(end)
}

/// The proxy of the daemon itself, as the original takes it: from its process' environment.
fn proxy() -> Result<Option<Proxy>, Failure> {
    let env = host::env::vars().into_iter().collect();
    let proxy = Proxy::from_env(&env)
        .map_err(|error| with_code(EXIT_CONFIG, EnvironmentError::Proxy(error)))?;
    if let Some(proxy) = &proxy {
        tracing::info!("edge daemon reaches the hub through {proxy}");
    }
    Ok(proxy)
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(|error| with_code(EXIT_CONFIG, error))
}

/// The level that was set on this device, else that of the environment, else that of `[agent.env]`.
fn level(config: &Config, homedir: &Path) -> Result<String, Failure> {
    let kept = host::fs::read_optional(&homedir.join(LOG_LEVEL_FILE))?;
    let told = match kept {
        Some(kept) => Some(kept.trim().to_owned()),
        None => host::env::var(LOG_LEVEL_VARIABLE)?,
    };
    let told = told.filter(|level| !level.is_empty());
    Ok(told
        .unwrap_or_else(|| config.agent.variable("RuntimeLogLevel").unwrap_or("info").to_owned()))
}

/// Changes the level now and for the next start.
fn keep_level(logs: &Logs, homedir: &Path, level: &str) {
    let kept = host::fs::write_atomic(&homedir.join(LOG_LEVEL_FILE), level.as_bytes(), 0o600);
    if let Err(error) = kept {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "cannot keep the log level: it holds until the next start");
    }
    match logs.set_level(level) {
        Ok(()) => tracing::info!(level, "log level changed"),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot change the log level"
            );
        }
    }
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

/// Where a level is kept that was set by `iotedge system set-log-level`.
const LOG_LEVEL_FILE: &str = "log-level";
/// As the original's services take it.
const LOG_LEVEL_VARIABLE: &str = "AZIOT_LOG";
/// More at once would only repeat each other.
const OWNER_REQUESTS_MAX: usize = 4;
