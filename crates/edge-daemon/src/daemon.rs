//! The daemon as a whole: what it is started with, in which order its parts begin and end.
//!
//! It runs no agent: whoever composes it starts one against [`Daemon::management_socket`] and
//! [`Daemon::agent_workload_socket`], and ends it first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::registry::DeviceRegistryClient;
use containers::{ModuleName, RuntimeError, RuntimeKind, SharedRuntime};
use host::clock::Clock;
use host::fs::{self, FileLock, FsError};
use host::net::{self, NetError};
use host::signals::Shutdown;
use host::tls::ClientTls;
use model::{GenerationId, ModuleId};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::certs::{self, CertsError, EdgeCa, EdgeCaFacts};
use crate::config::Config;
use crate::http;
use crate::identity::{self, BackupError, Identities};
use crate::images::{self, Images};
use crate::keys::{Keys, KeysError};
use crate::lifecycle;
use crate::management::{Management, OwnerRequest, System};
use crate::modules::{BuiltinAgent, Jobs, Modules, Place, Pulls};
use crate::peer::Throttle;
use crate::provision::{self, DeviceCertificate, DeviceFacts, HubDial, ProvisionError};
use crate::sockets::{SocketError, Sockets};
use crate::storage::Storage;
use crate::volumes::Volumes;
use crate::workload::{AGENT_NAME, Workload};

/// What a daemon is started with.
#[derive(Clone)]
pub struct DaemonSettings {
    /// The device's `config.toml`.
    pub config: Config,
    /// Where the daemon keeps its own; created if missing. `/var/lib/aziot/edged` in packages.
    pub homedir: PathBuf,
    /// Where the modules' sockets are; `mnt` in `homedir` when absent. Paths of sockets are short,
    /// and modules that run as processes of other users must be able to pass through.
    pub socket_dir: Option<PathBuf>,
    /// The management API's socket, unless `config.toml` says otherwise.
    pub management_socket: PathBuf,
    /// Group that may use the management API too.
    pub management_group: Option<u32>,
    /// Runs the modules.
    pub runtime: SharedRuntime,
    /// Where to dial for the hub, and whom to trust there.
    pub hub: HubDial,
    /// What becomes of modules when the daemon ends in order.
    pub at_end: AtEnd,
    /// Who takes requests that concern the whole program (restart, stop, log level); they are
    /// refused when nobody does.
    pub owner: Option<mpsc::Sender<OwnerRequest>>,
    /// The images of the deployment in force and of the last good one, which stay on the device;
    /// none until they are known, and no image is removed before.
    pub deployed_images: watch::Receiver<Option<BTreeSet<String>>>,
    /// The createOptions of the same deployments' modules, by name; their volumes stay.
    pub deployed_options: watch::Receiver<Option<Vec<(String, Value)>>>,
    /// Version of the program.
    pub version: String,
    /// The time.
    pub clock: Clock,
}

/// What becomes of running modules when the daemon ends in order. A daemon that is killed leaves
/// containers running, and finds them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// They are stopped.
    StopModules,
    /// They go on; the next daemon finds them.
    LeaveModules,
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The home directory cannot be used.
    #[error("cannot use the daemon's directory")]
    Home(#[source] FsError),
    /// Another daemon uses it.
    #[error("another daemon uses {}: end it first, or choose another directory", homedir.display())]
    Taken {
        /// The home directory.
        homedir: PathBuf,
    },
    /// Keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// The device cannot be provisioned.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// What is known of identities cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A workload socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The management socket cannot be opened.
    #[error("cannot open the management API's socket")]
    Management(#[source] NetError),
    /// The runtime does not answer.
    #[error("cannot use the module runtime")]
    Runtime(#[from] RuntimeError),
    /// The file of additional information cannot be used.
    #[error("cannot use additional_info {}", path.display())]
    AdditionalInfo {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A running daemon.
pub struct Daemon {
    facts: DeviceFacts,
    settings: DaemonSettings,
    management_socket: PathBuf,
    trusted: String,
    edge_ca: Arc<EdgeCa>,
    identities: Arc<Identities>,
    modules: Arc<Modules>,
    tasks: JoinSet<()>,
    stop: Shutdown,
    _lock: FileLock,
}

impl Daemon {
    /// Starts it: everything that can be wrong on this machine is found out before the first
    /// caller is served. The hub is not asked; [`Daemon::provisioned`] does that.
    pub async fn start(settings: DaemonSettings) -> Result<Self, DaemonError> {
        let config = &settings.config;
        for note in &config.notes {
            tracing::info!("config.toml, {note}");
        }
        let lock = home(&settings.homedir)?;
        let facts = provision::facts(config)?;
        let keys = Arc::new(Keys::open(&settings.homedir.join("keys"))?);
        let trusted = certs::more_trusted(
            config.trust_bundle_cert.as_deref(),
            settings.hub.trust.as_deref(),
        )?;
        let edge_ca = EdgeCa::open(
            config.edge_ca.clone(),
            facts.device.as_str(),
            &settings.homedir.join("certs"),
            Arc::clone(&keys),
            trusted.clone(),
            settings.clock.clone(),
        )?;
        let edge_ca = Arc::new(edge_ca);
        let identities = Arc::new(identities(&settings, &facts, &trusted, &keys)?);
        let state = settings.homedir.join("cache/provisioning_state");
        provision::wipe_if_changed(&facts, &state, &*settings.runtime).await?;

        let stop = Shutdown::new();
        let owner = (facts.hub_host_name.as_str(), facts.device.as_str());
        let storage = Storage::open(&settings.homedir, owner, Arc::clone(&settings.runtime))
            .map_err(DaemonError::Home)?;
        let (image, now) = (config.agent.image.clone(), settings.clock.wall());
        let agent = BuiltinAgent::open(image, now, &storage.agent_file());
        let agent = agent.map_err(DaemonError::Home)?;
        let workload = Arc::new(Workload {
            keys,
            identities: Arc::clone(&identities),
            edge_ca: Arc::clone(&edge_ca),
            runtime: Arc::clone(&settings.runtime),
            agent: agent.clone(),
            hub: facts.hub_host_name.clone(),
            device: facts.device.clone(),
        });
        let sockets = Arc::new(sockets(&settings, workload, &stop)?);
        let images = Arc::new(images(&settings, &facts)?);
        let modules = Arc::new(modules(&settings, &facts, (agent, storage), sockets, images));
        modules.remove_candidates().await?;
        adopt(&modules).await?;

        let management_socket =
            config.listen_management.clone().unwrap_or_else(|| settings.management_socket.clone());
        let mut daemon = Self {
            facts,
            management_socket,
            trusted,
            edge_ca,
            identities,
            modules,
            tasks: JoinSet::new(),
            stop,
            settings,
            _lock: lock,
        };
        daemon.serve()?;
        Ok(daemon)
    }

    fn serve(&mut self) -> Result<(), DaemonError> {
        let clock = &self.settings.clock;
        let path = &self.management_socket;
        if let Some(dir) = path.parent() {
            fs::create_dir(dir).map_err(DaemonError::Home)?;
        }
        let listener = net::listen_unix(path, MANAGEMENT_MODE).map_err(DaemonError::Management)?;
        if let Some(group) = self.settings.management_group {
            let uid = fs::facts(path).map_err(DaemonError::Home)?.uid;
            fs::set_owner(path, uid, group).map_err(DaemonError::Home)?;
        }
        let api = Management {
            modules: Arc::clone(&self.modules),
            identities: Arc::clone(&self.identities),
            system: System::new(
                self.settings.version.clone(),
                additional_info(&self.settings)?,
                clock.clone(),
            ),
            volumes: Volumes {
                runtime: Arc::clone(&self.settings.runtime),
                deployed: self.settings.deployed_options.clone(),
            },
            owner: self.settings.owner.clone(),
            clock: clock.clone(),
        };
        let door = http::Door {
            listener,
            throttle: Throttle::new(
                path.display().to_string(),
                self.settings.config.management_requests_max,
            ),
            clock: clock.clone(),
            stop: self.stop.clone(),
            closed: Shutdown::new(),
        };
        self.tasks.spawn(door.serve(Arc::new(api)));
        let (edge_ca, modules) = (Arc::clone(&self.edge_ca), Arc::clone(&self.modules));
        self.tasks.spawn(lifecycle::keep_edge_ca(
            edge_ca,
            modules,
            clock.clone(),
            self.stop.clone(),
        ));
        if let Some(certificate) = DeviceCertificate::of(&self.settings.config) {
            let (settings, facts) = (self.settings.clone(), self.facts.clone());
            let trusted = self.trusted.clone();
            self.tasks.spawn(lifecycle::keep_certificate(
                certificate,
                move || registry(&settings, &facts, &trusted),
                Arc::clone(&self.identities),
                clock.clone(),
                self.stop.clone(),
            ));
        }
        let has_images = self.settings.runtime.kind() == RuntimeKind::Docker;
        if has_images && self.settings.config.image_garbage_collection.enabled {
            let images = Arc::clone(&self.modules.images);
            self.tasks.spawn(images.keep(self.stop.clone()));
        }
        Ok(())
    }

    /// Which device this is.
    pub fn device(&self) -> &DeviceFacts {
        &self.facts
    }

    /// The settings' `[agent.env]`, which modules inherit, and more.
    pub fn config(&self) -> &Config {
        &self.settings.config
    }

    /// The management API's socket.
    pub fn management_socket(&self) -> &Path {
        &self.management_socket
    }

    /// The workload API's socket for `$edgeAgent`, which this process may use.
    pub fn agent_workload_socket(&self) -> PathBuf {
        agent_name().map(|name| self.modules.sockets.path_of(&name)).unwrap_or_default()
    }

    /// Whom to trust as the hub: the machine's roots, the operator's bundle, and what was given.
    pub fn hub_tls(&self) -> Result<ClientTls, DaemonError> {
        Ok(provision::hub_tls(&self.trusted).map_err(ProvisionError::from)?)
    }

    /// Whom modules trust, PEM.
    pub fn trust_bundle(&self) -> String {
        self.edge_ca.trust_bundle()
    }

    /// The Edge CA, for checks.
    pub fn edge_ca(&self) -> EdgeCaFacts {
        self.edge_ca.facts()
    }

    /// Counts the requests to restart the agent (`iotedge restart edgeAgent`). They are refused
    /// while nobody holds a receiver.
    pub fn agent_restarts(&self) -> watch::Receiver<u64> {
        self.modules.agent_restarts.subscribe()
    }

    /// The directory of the agent's record, which is moved before this returns when the last
    /// deployment wants it elsewhere. To be asked before each start of an agent; none when it is not
    /// known where the record lies, with the reason in the log.
    pub async fn agent_dir(&self) -> Option<PathBuf> {
        match self.modules.agent_dir().await {
            Ok(dir) => Some(dir),
            Err(refusal) => {
                tracing::error!(error = refusal.message(), "cannot find the agent's record");
                None
            }
        }
    }

    /// Waits until `$edgeAgent` has its identity, with keys of this device: asked of the hub, or
    /// known from before when the hub is away. A hub that refuses is asked again and again, with
    /// the reason in the log. None when `shutdown` came first.
    pub async fn provisioned(&self, shutdown: &Shutdown) -> Option<GenerationId> {
        tokio::select! {
            generation = lifecycle::provision(&self.identities, &self.facts, &self.settings.clock) => Some(generation),
            () = shutdown.wait() => None,
        }
    }

    /// The same, once: for whoever wants to hear a refusal at once.
    pub async fn provision_once(&self) -> Result<GenerationId, identity::IdentityError> {
        let agent = ModuleId::edge_agent();
        self.identities.update(&agent, None).await?;
        self.identities.generation(&agent)
    }

    /// Serves until `shutdown`, then ends in order.
    pub async fn run(mut self, shutdown: Shutdown) {
        shutdown.wait().await;
        if self.settings.at_end == AtEnd::StopModules {
            lifecycle::stop_all(&*self.settings.runtime).await;
        }
        self.stop.trigger();
        self.modules.sockets.closed().await;
        while self.tasks.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("device", &self.facts).finish_non_exhaustive()
    }
}

impl Drop for Daemon {
    /// Nothing is served by a daemon that is gone.
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

fn home(homedir: &Path) -> Result<FileLock, DaemonError> {
    fs::create_dir(homedir).map_err(DaemonError::Home)?;
    for dir in ["cache", "identities"] {
        fs::create_private_dir(&homedir.join(dir)).map_err(DaemonError::Home)?;
    }
    fs::lock_exclusive(&homedir.join("lock")).map_err(|error| match error.is_locked() {
        true => DaemonError::Taken { homedir: homedir.to_owned() },
        false => DaemonError::Home(error),
    })
}

fn registry(
    settings: &DaemonSettings,
    facts: &DeviceFacts,
    trusted: &str,
) -> Result<DeviceRegistryClient, ProvisionError> {
    provision::registry(&settings.config, facts, &settings.hub, trusted, &settings.clock)
}

fn identities(
    settings: &DaemonSettings,
    facts: &DeviceFacts,
    trusted: &str,
    keys: &Arc<Keys>,
) -> Result<Identities, DaemonError> {
    let registry = registry(settings, facts, trusted)?;
    let identity_settings = identity::Settings {
        retries: settings.config.cloud_retries,
        prefer_known: settings.config.prefer_module_identity_cache,
        file: settings.homedir.join("identities/modules.json"),
        hub: facts.hub_host_name.clone(),
        device: facts.device.clone(),
    };
    Ok(Identities::open(registry, Arc::clone(keys), identity_settings, settings.clock.clone())?)
}

fn sockets(
    settings: &DaemonSettings,
    workload: Arc<Workload>,
    stop: &Shutdown,
) -> Result<Sockets, SocketError> {
    let config = &settings.config;
    let dir = settings.socket_dir.clone().unwrap_or_else(|| settings.homedir.join("mnt"));
    // The settings' check made sure that there is one.
    let file_name =
        config.connect_workload.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Sockets::new(
        dir,
        file_name,
        config.workload_requests_max,
        workload,
        settings.clock.clone(),
        stop.clone(),
    )
}

fn modules(
    settings: &DaemonSettings,
    facts: &DeviceFacts,
    (agent, storage): (BuiltinAgent, Storage),
    sockets: Arc<Sockets>,
    images: Arc<Images>,
) -> Modules {
    Modules {
        runtime: Arc::clone(&settings.runtime),
        sockets,
        storage: Arc::new(storage),
        agent,
        place: Place {
            upstream: facts.hub_host_name.clone(),
            gateway: facts.host_name.clone(),
            connect_workload: settings.config.connect_workload.clone(),
        },
        agent_restarts: watch::Sender::new(0),
        jobs: Jobs::default(),
        pulls: Pulls::new(
            Arc::clone(&settings.runtime),
            Arc::clone(&images),
            settings.clock.clone(),
        ),
        images,
    }
}

fn images(settings: &DaemonSettings, facts: &DeviceFacts) -> Result<Images, DaemonError> {
    let images = images::Settings {
        collection: settings.config.image_garbage_collection,
        file: settings.homedir.join("gc/image_use"),
        upstream: facts.hub_host_name.clone(),
        deployed: settings.deployed_images.clone(),
    };
    Images::open(images, Arc::clone(&settings.runtime), settings.clock.clone())
        .map_err(DaemonError::Home)
}

/// Opens the sockets of the agent and of the modules that are there: containers that went on
/// running without a daemon find theirs again.
async fn adopt(modules: &Modules) -> Result<(), DaemonError> {
    let mut names: Vec<ModuleName> =
        modules.runtime.list().await?.into_iter().map(|state| state.name).collect();
    names.extend(agent_name());
    modules.sockets.remove_all_but(&names).map_err(DaemonError::Home)?;
    for name in &names {
        modules.sockets.open(name).await?;
    }
    tracing::info!(modules = names.len().saturating_sub(1), "found modules that are there already");
    Ok(())
}

fn agent_name() -> Option<ModuleName> {
    AGENT_NAME.parse().ok()
}

fn additional_info(settings: &DaemonSettings) -> Result<Map<String, Value>, DaemonError> {
    let Some(path) = &settings.config.additional_info else { return Ok(Map::new()) };
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| DaemonError::AdditionalInfo {
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.into()))?;
    toml::from_str(&text).map_err(|error| wrong(error.into()))
}

/// Owner and group (`edge-runtime.md` §1.2).
const MANAGEMENT_MODE: u32 = 0o660;
/// Between two attempts to provision.
pub(crate) const PROVISION_PAUSE: Duration = Duration::from_secs(5);
