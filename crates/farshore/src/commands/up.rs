//! `farshore up`: a hub and its first edge device on this machine. It only composes the programs
//! that also run alone, and shows what happens.

mod device;
mod paths;
mod ports;
mod show;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use edge_daemon::{AtEnd, Config, HubDial};
use host::clock::Clock;
use host::signals::Shutdown;

use super::{FAILED, Failure};
use crate::compose::edge::{EdgeSettings, RunningEdge};
use crate::compose::engine::{self, Engine, EngineChoice};
use crate::compose::hub::{HubError, RunningHub};
use crate::settings::hub::HubSettings;

pub(crate) use paths::{Paths, default_data_dir};
use show::Show;

/// Arguments of `farshore up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where hub and device keep everything
    #[arg(long, value_name = "DIR", env = "FARSHORE_DATA")]
    data: Option<PathBuf>,
    /// Forget the hub and the device of an earlier run first
    #[arg(long)]
    reset: bool,
    /// End after this time, for example 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Run modules as processes, even when a container engine answers
    #[arg(long)]
    no_docker: bool,
    /// Show the log of all parts, too
    #[arg(long)]
    verbose: bool,
}

/// The name of the hub: it resolves on every machine.
const HUB_HOST_NAME: &str = "localhost";

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let level = if arguments.verbose { "info" } else { "error" };
    host::logs::init(host::logs::Format::Logfmt, level)?;
    let shutdown = Shutdown::on_signals()?;
    let clock = Clock::system();
    let data = match &arguments.data {
        Some(dir) => host::env::current_dir()?.join(dir),
        None => default_data_dir()?,
    };
    let paths = Paths::new(data);
    let is_first = !paths.has_device()?;
    if arguments.reset {
        paths.reset()?;
    }
    paths.create()?;
    let mut show = Show::new(&paths);
    if let Some(duration) = arguments.duration {
        let (clock, shutdown) = (clock.clone(), shutdown.clone());
        tokio::spawn(async move {
            clock.sleep(duration).await;
            shutdown.trigger();
        });
    }
    let outcome = tokio::select! {
        biased;
        outcome = start(&arguments, &paths, is_first, &mut show, &clock) => outcome,
        () = shutdown.wait() => return Ok(()),
    };
    let mut up = outcome?;
    let watched = tokio::select! {
        watched = up.watch(&mut show, &clock) => watched,
        () = shutdown.wait() => Ok(()),
    };
    show.ending();
    up.stop().await;
    show.ended();
    watched
}

/// A number with `s`, `m` or `h`; alone it means seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 30s, 5m or 1h");
    let (number, unit_s) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * unit_s))
}

/// What is running.
struct Up {
    hub: RunningHub,
    hub_stop: Shutdown,
    edge: Option<RunningEdge>,
    device: device::FirstDevice,
}

async fn start(
    arguments: &Arguments,
    paths: &Paths,
    is_first: bool,
    show: &mut Show,
    clock: &Clock,
) -> Result<Up, Failure> {
    let host_name = paths::machine_name()?;
    let choice = if arguments.no_docker { EngineChoice::Processes } else { EngineChoice::Any };
    // A configuration for the engine's part alone: the device's own needs the hub's key, and the
    // hub has to know the engine's address.
    let draft = Config::parse(
        &Config::minimal(DRAFT_CONNECTION_STRING, Some(&host_name)),
        &paths.config(),
    )?;
    let engine = engine::choose(choice, &draft, &paths.processes(), paths.secret(), clock).await?;
    if is_first {
        refuse_foreign_modules(&engine).await?;
    }
    show.step("engine", &engine.description);

    let hub_stop = Shutdown::new();
    let hub = start_hub(paths, &engine, clock, &hub_stop).await?;
    paths.write_login(&hub.login()?.to_string(), &hub)?;
    show.step(
        "hub",
        &format!(
            "{HUB_HOST_NAME} listens: MQTT port {}, AMQP port {}, HTTPS port {}",
            hub.mqtt_port, hub.amqp_port, hub.https_port
        ),
    );

    let device = device::FirstDevice::ensure(&hub).await?;
    show.step(
        "device",
        &format!(
            "{} {}",
            device.id,
            if device.is_new { "registered" } else { "is known from an earlier run" }
        ),
    );
    let listen = ports::edge_hub_listen()?;
    paths.write_config(&device.connection_string(), &host_name)?;
    let config = Config::read(&paths.config())?;
    let edge_settings = EdgeSettings {
        config,
        homedir: paths.edge(),
        socket_dir: Some(paths.sockets()),
        management_socket: paths.management_socket(),
        hub: HubDial {
            address: None,
            https_port: (hub.https_port != ports::HTTPS).then_some(hub.https_port),
            trust: hub.ca_pem.clone(),
            // The hub is in this very program.
            proxy: None,
        },
        hub_mqtt_port: (hub.mqtt_port != ports::MQTT).then_some(hub.mqtt_port),
        hub_amqp_port: (hub.amqp_port != ports::AMQP).then_some(hub.amqp_port),
        edge_hub_listen: listen,
        at_end: AtEnd::StopModules,
        // Hub and device are one program here; it is ended and restarted as a whole.
        owner: None,
    };
    let containers = engine.is_containers();
    let edge = RunningEdge::start(edge_settings, engine, clock.clone()).await?;
    show.step("runtime", "edge daemon and agent started");
    let storage = paths.edge_hub_storage()?;
    device.deploy(&hub, &device::manifest(containers, listen, &storage), show).await?;
    Ok(Up { hub, hub_stop, edge: Some(edge), device })
}

async fn start_hub(
    paths: &Paths,
    engine: &Engine,
    clock: &Clock,
    stop: &Shutdown,
) -> Result<RunningHub, HubError> {
    let mut settings = HubSettings {
        host_names: vec![HUB_HOST_NAME.to_owned()],
        data_dir: paths.hub(),
        ..HubSettings::default()
    };
    settings.listen.operations = String::new();
    settings.listen.mqtt_port = ports::usual_or_free(ports::MQTT);
    settings.listen.amqp_port = ports::usual_or_free(ports::AMQP);
    settings.listen.https_port = ports::usual_or_free(ports::HTTPS);
    settings.listen.addresses = addresses(engine.gateway);
    RunningHub::start(settings, clock.clone(), stop.clone()).await
}

/// A device that begins takes every container that IoT Edge made for its own, and removes it. Those of
/// another runtime on the same engine are not ours to take.
async fn refuse_foreign_modules(engine: &Engine) -> Result<(), Failure> {
    if !engine.is_containers() {
        return Ok(());
    }
    let names: Vec<String> =
        engine.runtime.list().await?.iter().map(|module| module.name.to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let names = names.join(" ");
    Err(Failure::new(
        FAILED,
        format!(
            "the container engine has modules of another IoT Edge runtime: {names}\n  \
             run with --no-docker, or, if nobody needs them, remove them: docker rm -f {names}"
        ),
    ))
}

/// This machine only, and where containers reach it.
fn addresses(gateway: Option<IpAddr>) -> Vec<IpAddr> {
    let mut addresses = HubSettings::default().listen.addresses;
    addresses.extend(gateway);
    addresses
}

impl Up {
    /// Shows the device's way to running, then its telemetry, until something ends.
    async fn watch(&mut self, show: &mut Show, clock: &Clock) -> Result<(), Failure> {
        // Read from now on before the first message can come.
        let readers = device::readers(&self.hub)?;
        self.device.until_running(&self.hub, show, clock).await?;
        show.hints(&self.device, &self.hub, &self.hub.login()?.to_string());
        device::follow(readers, &self.device, show).await
    }

    /// In order: the device with its modules, then the hub.
    async fn stop(mut self) {
        if let Some(edge) = self.edge.take() {
            edge.stop().await;
        }
        self.hub_stop.trigger();
        self.hub.finished().await;
    }
}

/// Well formed, and used for nothing.
const DRAFT_CONNECTION_STRING: &str = "HostName=localhost;DeviceId=draft;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "s", "-1s", "5d", "1.5h"] {
            assert!(duration(text).unwrap_err().contains("write 30s"), "{text}");
        }
    }
}
