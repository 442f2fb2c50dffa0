//! Where modules run: containers of an engine that answers, else plain processes; and the built-in
//! images, made from this very binary.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containers::image::{ImageConfig, ImageStore};
use containers::{
    Builtin, Catalogue, DockerRuntime, DockerSettings, ImageReference, ProcessRuntime,
    ProcessSettings, RuntimeError, SharedRuntime,
};
use edge_daemon::Config;
use host::clock::Clock;

/// Which runtime is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineChoice {
    /// An engine if one answers, else processes.
    Any,
    /// The engine of `config.toml`, or nothing.
    Engine,
    /// Processes.
    Processes,
}

/// A runtime that was chosen.
pub(crate) struct Engine {
    pub(crate) runtime: SharedRuntime,
    /// For people: what it is.
    pub(crate) description: String,
    /// Whether it is podman.
    pub(crate) is_podman: bool,
    /// The machine's address as containers reach it; none for processes.
    pub(crate) gateway: Option<IpAddr>,
}

impl Engine {
    pub(crate) fn is_containers(&self) -> bool {
        self.gateway.is_some()
    }
}

/// Whence podman takes names.
const HOSTS: &str = "/etc/hosts";
/// What the built-in programs are called in an engine.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The well-known names that they stand in for, with every tag.
const EDGE_HUB_NAMES: [&str; 2] = ["mcr.microsoft.com/azureiotedge-hub", "farshore-edge-hub"];
const SENSOR_NAMES: [&str; 2] = [
    "mcr.microsoft.com/azureiotedge-simulated-temperature-sensor",
    "farshore-simulated-temperature-sensor",
];
/// Whether an image of this repository is part of this program, and never pulled.
pub(crate) fn is_builtin(repository: &str) -> bool {
    EDGE_HUB_NAMES.contains(&repository) || SENSOR_NAMES.contains(&repository)
}

/// The image that is this program.
pub(crate) fn edge_hub_image() -> String {
    format!("{}:{VERSION}", EDGE_HUB_NAMES[1])
}

/// The user of the sensor's image; it needs no rights.
const SENSOR_USER: &str = "1000:1000";

/// Chooses a runtime and makes the built-in images in it.
pub(crate) async fn choose(
    choice: EngineChoice,
    config: &Config,
    root: &Path,
    protected: Vec<PathBuf>,
    clock: &Clock,
) -> Result<Engine, RuntimeError> {
    let program = host::env::current_exe().map_err(|source| RuntimeError::System {
        what: "cannot find this program's own file".to_owned(),
        source,
    })?;
    match choice {
        EngineChoice::Processes => processes(&program, root, clock).await,
        EngineChoice::Engine => containers(config, &program, protected).await,
        EngineChoice::Any => match containers(config, &program, protected).await {
            // There is no bridge to listen on before a container runs, and without root's rights never.
            Ok(engine) if engine.is_podman => Err(RuntimeError::Conflict {
                what: format!(
                    "the container engine at {} is podman, whose containers cannot reach a hub that listens on this machine alone: \
                     run with --no-docker, or farshore hub and farshore edge each by itself",
                    config.engine.uri
                ),
            }),
            Err(error @ RuntimeError::EngineUnreachable { .. }) => {
                tracing::info!(error = %host::logs::chain(&error), "no container engine answers; modules run as processes");
                processes(&program, root, clock).await
            }
            result => result,
        },
    }
}

async fn containers(
    config: &Config,
    program: &Path,
    protected_paths: Vec<PathBuf>,
) -> Result<Engine, RuntimeError> {
    let uri = &config.engine.uri;
    let store = ImageStore::connect(uri).await?;
    let catalogue = catalogue(program)?;
    let hub = ImageConfig {
        exposed_ports: ["8883/tcp", "5671/tcp", "443/tcp"].map(Into::into).into(),
        ..ImageConfig::default()
    };
    store.build(&reference(EDGE_HUB_NAMES[1])?, program, &hub).await?;
    let sensor = ImageConfig { user: SENSOR_USER.into(), ..ImageConfig::default() };
    store.build(&reference(SENSOR_NAMES[1])?, program, &sensor).await?;
    let settings = DockerSettings {
        uri: uri.clone(),
        network: config.engine.network.clone(),
        allow_elevated: config.allow_elevated_docker_permissions,
        policy: config.policy.clone(),
        protected_paths,
        catalogue,
    };
    let docker = DockerRuntime::connect(settings).await?;
    let gateway = docker.network_gateway().await?;
    let runtime: SharedRuntime = Arc::new(docker);
    let info = runtime.info().await?;
    let is_podman = info.name == "podman";
    if is_podman {
        warn_of_hosts_file(config);
    }
    let description =
        format!("container engine {} at {uri}; modules run as containers", info.version);
    Ok(Engine {
        runtime,
        description,
        is_podman,
        gateway: Some(gateway.unwrap_or(IpAddr::from([172, 17, 0, 1]))),
    })
}

/// podman copies the machine's `/etc/hosts` into every container. If the device's own name stands there,
/// modules look for the edge hub in themselves.
fn warn_of_hosts_file(config: &Config) {
    let name = config.hostname.clone().or_else(machine_name);
    let hosts = host::fs::read_to_string(Path::new(HOSTS)).unwrap_or_default();
    let Some(name) = name else { return };
    let is_there = hosts.lines().any(|line| {
        let names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        { names }.any(|other| other.eq_ignore_ascii_case(&name))
    });
    if is_there {
        tracing::warn!(
            "podman copies {HOSTS} into modules unless it is told otherwise, and {name} stands there: they would look for the edge hub at that address. \
             Write base_hosts_file = \"none\" under [containers] in /etc/containers/containers.conf, or choose another hostname in config.toml"
        );
    }
}

fn machine_name() -> Option<String> {
    let name = host::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok()?;
    Some(name.trim().to_owned())
}

async fn processes(program: &Path, root: &Path, clock: &Clock) -> Result<Engine, RuntimeError> {
    let settings = ProcessSettings::new(root, catalogue(program)?, clock.clone());
    let runtime: SharedRuntime = Arc::new(ProcessRuntime::open(settings).await?);
    let description =
        "no container engine; modules run as processes of this user: isolation is off".to_owned();
    Ok(Engine { runtime, description, is_podman: false, gateway: None })
}

fn catalogue(program: &Path) -> Result<Catalogue, RuntimeError> {
    let builtin = |name: &str, command: &str| {
        Ok::<_, RuntimeError>(Builtin {
            image: reference(name)?,
            program: program.to_owned(),
            args: vec![command.to_owned()],
        })
    };
    let hub = builtin(EDGE_HUB_NAMES[1], "edge-hub")?;
    let sensor = builtin(SENSOR_NAMES[1], "sensor")?;
    let mut catalogue = Catalogue::empty();
    for name in EDGE_HUB_NAMES {
        catalogue = catalogue.with(name, hub.clone());
    }
    for name in SENSOR_NAMES {
        catalogue = catalogue.with(name, sensor.clone());
    }
    Ok(catalogue)
}

fn reference(name: &str) -> Result<ImageReference, RuntimeError> {
    let text = format!("{name}:{VERSION}");
    text.parse().map_err(|_| RuntimeError::ImageUnavailable {
        image: text,
        what: "is no image reference".to_owned(),
    })
}
