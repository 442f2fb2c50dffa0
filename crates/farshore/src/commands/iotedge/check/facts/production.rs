//! What only the production checklist asks (`tools.md` §4.1): images, volumes, memory, the edge hub's
//! numbers, registries, the proxy, and how this machine is cared for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::Dial;
use edge_daemon::Config;
use host::clock::Clock;
use host::http::{Client, Request};
use model::ImageReference;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Facts, Seen, hub};
use crate::commands::iotedge::check::Arguments;
use crate::commands::iotedge::check::docker::{Docker, Image};
use crate::commands::iotedge::check::production::numbers::{self, EdgeHubNumbers};
use crate::commands::iotedge::failure::words;
use crate::commands::iotedge::place::Place;
use crate::compose::engine::is_builtin;

/// What only the production checklist asks.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Production {
    /// How long the device is to be offline, as the operator plans it.
    pub(in super::super) offline_for: Option<Duration>,
    /// The images of the modules' containers, by container.
    pub(in super::super) images: BTreeMap<String, Seen<Option<Image>>>,
    /// Volumes that no container uses; none without an engine.
    pub(in super::super) volumes_unused: Option<Seen<Vec<String>>>,
    /// Bytes of memory that the edge hub takes; none when nothing tells.
    pub(in super::super) edge_hub_memory: Option<u64>,
    /// Bytes of memory of this machine.
    pub(in super::super) memory_total: Option<u64>,
    /// Where images lie.
    pub(in super::super) image_space: Option<Seen<Space>>,
    /// Where the edge hub's messages wait.
    pub(in super::super) store_space: Option<Seen<Space>>,
    /// What the edge hub counts.
    pub(in super::super) numbers: Option<Seen<EdgeHubNumbers>>,
    /// How the registries of the modules' images are reached.
    pub(in super::super) registries: BTreeMap<String, Seen<()>>,
    /// Whether the proxy of `[agent.env]` lets through to the hub; none without a proxy.
    pub(in super::super) proxy: Option<Seen<()>>,
    /// `[agent.config.auth]`: server and user.
    pub(in super::super) registry_user: Option<(String, String)>,
    /// How this machine is cared for.
    pub(in super::super) care: Care,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Space {
    pub(in super::super) path: PathBuf,
    pub(in super::super) free: u64,
    pub(in super::super) total: u64,
}

/// How this machine is cared for; none: it does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Care {
    /// Updates were installed that need a restart of the machine.
    pub(in super::super) restart_is_due: bool,
    /// Updates of the system are installed by themselves.
    pub(in super::super) updates_itself: Option<bool>,
    /// The journal of the system outlives a restart.
    pub(in super::super) journal_persists: Option<bool>,
}

/// Looks at all of it.
pub(super) async fn look(
    facts: &Facts,
    config: &Config,
    place: &Place,
    arguments: &Arguments,
    clock: &Clock,
) -> Production {
    let mut found = Production {
        offline_for: arguments.production.offline_for,
        care: care(),
        registry_user: registry_user(arguments.config.as_deref().unwrap_or(&place.config)),
        memory_total: facts.daemon.as_ref().ok().map(|daemon| daemon.info.total_memory),
        ..Production::default()
    };
    if let (Some(Ok(engine)), Ok(docker)) = (&facts.engine, Docker::new(&config.engine.uri)) {
        for (name, container) in &facts.containers {
            found.images.insert(name.clone(), docker.image(&container.image_id).await);
        }
        found.volumes_unused = Some(docker.unused_volumes().await);
        found.edge_hub_memory = docker.memory_used("edgeHub").await.ok().flatten();
        found.image_space = engine.root.as_deref().map(space);
    }
    found.store_space = store(facts, &place.homedir).map(|path| space(&path));
    found.numbers = match metrics_client(facts, config, arguments) {
        Some(client) => Some(edge_hub_numbers(&client).await),
        None => None,
    };
    for (registry, port) in registries(facts) {
        let seen = registry_answers(&registry, port, clock).await;
        found.registries.insert(registry, seen);
    }
    let proxy = arguments.production.proxy_uri.as_deref();
    if let Some(proxy) = proxy.or_else(|| config.agent.variable("https_proxy")) {
        let https = hub::dials(config, place, arguments).https;
        found.proxy = Some(through(proxy, &https, clock).await);
    }
    found
}

fn space(path: &Path) -> Seen<Space> {
    let space = host::fs::space(path).map_err(words)?;
    Ok(Space { path: path.to_owned(), free: space.free_bytes, total: space.total_bytes })
}

/// The folder of this machine on whose file system messages wait: what is mounted for them, else
/// the engine's own, else the daemon's directory.
fn store(facts: &Facts, homedir: &Path) -> Option<PathBuf> {
    facts.module("edgeHub")?;
    let Some(container) = facts.containers.get("edgeHub") else {
        return (facts.modules_are_processes() == Some(true)).then(|| homedir.to_owned());
    };
    match super::super::storage::mount_of_store(container) {
        Some(mount) => Some(mount.source.clone().into()),
        None => facts.engine.as_ref()?.as_ref().ok()?.root.clone(),
    }
}

/// Where the edge hub's metrics are: in its container's network, or at this device's name.
fn metrics_client(facts: &Facts, config: &Config, arguments: &Arguments) -> Option<Client> {
    facts.module("edgeHub")?;
    if let Some(address) = &arguments.production.edge_hub_metrics {
        let (host, port) = address.rsplit_once(':')?;
        return Some(Client::plain(host, port.parse().ok()?));
    }
    let container = facts.containers.get("edgeHub");
    let port = container.and_then(|container| {
        let mut env = container.env.iter();
        let (_, value) =
            env.find(|(name, _)| name.eq_ignore_ascii_case("Metrics__Listener__Port"))?;
        value.parse().ok()
    });
    let host = match container {
        Some(container) => container.addresses.first()?.as_str(),
        None => config.hostname.as_deref().unwrap_or("localhost"),
    };
    Some(Client::plain(host, port.unwrap_or(edge_hub::METRICS_PORT)))
}

async fn edge_hub_numbers(client: &Client) -> Seen<EdgeHubNumbers> {
    let request = Request::get("/metrics").deadline(LIMIT).response_bytes_max(METRICS_BYTES_MAX);
    let answer = client.send(request).await.map_err(words)?;
    if answer.status != 200 {
        return Err(vec![format!("the edge hub answered {} to /metrics", answer.status)]);
    }
    Ok(numbers::read(&String::from_utf8_lossy(&answer.body)))
}

/// The registries that images are pulled from, with their ports.
fn registries(facts: &Facts) -> BTreeMap<String, u16> {
    let modules = facts.daemon.iter().flat_map(|daemon| &daemon.modules);
    let images = modules.filter(|module| module.name != "edgeAgent").filter_map(|module| {
        let text = module.config.settings.get("image")?.as_str()?;
        text.parse::<ImageReference>().ok()
    });
    let pulled = images.filter(|image| !is_builtin(image.repository()));
    let registry = |image: ImageReference| image.registry().unwrap_or(DOCKER_HUB).to_owned();
    pulled
        .map(registry)
        .map(|name| {
            let port = name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            (name, port.unwrap_or(client::dial::HTTPS_PORT))
        })
        .collect()
}

/// Whether a registry takes connections. The engine has a trust of its own for it, so that TLS is
/// not judged here.
async fn registry_answers(registry: &str, port: u16, clock: &Clock) -> Seen<()> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let connection = host::net::connect(host, port, LIMIT);
    match clock.timeout(LIMIT, connection).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(words(error)),
        Err(_) => Err(vec![format!("{registry} does not answer")]),
    }
}

/// Whether a proxy connects to the hub when it is asked to (RFC 9110 §9.3.6).
async fn through(proxy: &str, hub: &Dial, clock: &Clock) -> Seen<()> {
    let Some(address) = proxy.trim_end_matches('/').strip_prefix("http://") else {
        return Err(vec!["the proxy's address is not http://host:port; write it so".to_owned()]);
    };
    let (user, address) = match address.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, address),
    };
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
    let Ok(port) = port.parse() else {
        return Err(vec![format!("{port:?} is no port; write http://host:port")]);
    };
    let ask = async {
        let mut stream = host::net::connect(host, port, LIMIT).await.map_err(words)?;
        let target = hub.address.as_deref().unwrap_or(&hub.host);
        let mut head = format!("CONNECT {target}:{0} HTTP/1.1\r\nHost: {target}:{0}\r\n", hub.port);
        if let Some(user) = user {
            use base64::Engine as _;
            let user = base64::engine::general_purpose::STANDARD.encode(user);
            head.push_str(&format!("Proxy-Authorization: Basic {user}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.map_err(words)?;
        let mut answer = [0; STATUS_BYTES];
        stream.read_exact(&mut answer).await.map_err(words)?;
        // `HTTP/1.1 200`
        match answer.ends_with(b" 200") {
            true => Ok(()),
            false => Err(vec![format!(
                "the proxy answered {:?} when it was asked to connect to {target}:{}",
                String::from_utf8_lossy(&answer),
                hub.port
            )]),
        }
    };
    let late = |_| Err(vec!["the proxy does not answer".to_owned()]);
    clock.timeout(LIMIT, ask).await.unwrap_or_else(late)
}

/// The user of `[agent.config.auth]`. Its password is not looked at.
fn registry_user(path: &Path) -> Option<(String, String)> {
    let document: toml::Table = host::fs::read_to_string(path).ok()?.parse().ok()?;
    let auth = document.get("agent")?.get("config")?.get("auth")?;
    let text = |name| Some(auth.get(name)?.as_str()?.to_owned());
    Some((text("serveraddress")?, text("username")?))
}

fn care() -> Care {
    let is_there = |path: &str| host::fs::exists(Path::new(path)).unwrap_or(false);
    let has_systemd = is_there("/run/systemd/system");
    let periodic = host::fs::read_optional(Path::new(APT_PERIODIC)).ok().flatten();
    let is_on = |text: &str| {
        text.lines().any(|line| {
            line.trim_start().starts_with("APT::Periodic::Unattended-Upgrade")
                && line.contains("\"1\"")
        })
    };
    Care {
        restart_is_due: is_there("/var/run/reboot-required"),
        updates_itself: is_there("/etc/apt").then(|| periodic.is_some_and(|text| is_on(&text))),
        journal_persists: has_systemd.then(|| is_there("/var/log/journal")),
    }
}

/// As Debian and Ubuntu set automatic updates.
const APT_PERIODIC: &str = "/etc/apt/apt.conf.d/20auto-upgrades";
/// Where images without a registry come from.
const DOCKER_HUB: &str = "registry-1.docker.io";
const LIMIT: Duration = Duration::from_secs(10);
const METRICS_BYTES_MAX: usize = 8 << 20;
/// `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;
