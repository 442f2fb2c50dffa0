//! A running edge hub: put together, started, ended.

mod parts;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::device::UPSTREAM_DEFAULT;
use client::environment::EnvironmentError;
use gateway::listener::{self, Head};
use gateway::session::CloseReason;
use gateway::{amqp, http, mqtt};
use host::clock::Clock;
use host::fs::{FileLock, FsError};
use host::metrics::Metrics;
use host::net::{NetError, TcpListener};
use host::signals::Shutdown;
use host::tls::{ServerTls, TlsError};
use tokio::task::JoinSet;

use crate::certificate::{Certificate, CertificateError};
use crate::control;
use crate::core::Core;
use crate::counters::Counters;
use crate::device::Backend;
use crate::device::calls::Calls;
use crate::device::sessions::Sessions;
use crate::forward::Forward;
use crate::operations;
use crate::refusal;
use crate::report::Report;
use crate::routing::config::{self, Routes};
use crate::settings::{Settings, UpstreamProtocol};
use crate::state::{SealError, State, StateError, open_seal};
use crate::store_time::StoreTime;
use crate::twins::Twins;
use crate::upstream::Upstream;
use parts::{Listeners, open_journal, scope, site, tell_proxy, trust_bundle, upstream_tls};

pub use parts::Served;

/// An edge hub that is running.
pub struct EdgeHub {
    core: Arc<Core>,
    metrics: Metrics,
    addresses: Vec<(Served, SocketAddr)>,
    tasks: JoinSet<()>,
    shutdown: Shutdown,
    _lock: FileLock,
}

/// Why an edge hub does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The upstream protocol is none.
    #[error("{}", refusal::words(protocol))]
    UpstreamProtocol {
        /// What was asked for.
        protocol: String,
    },
    /// The store's directory cannot be used.
    #[error(
        "cannot use the store; set StorageFolder to a directory that the edge hub may write to"
    )]
    Store(#[source] FsError),
    /// The store holds the messages of another device, or for another hub.
    #[error(
        "store {} is that of device {device} at hub {hub}; this is {own_device} at {own_hub}, and its messages must not go there. Move the directory away or set another StorageFolder", path.display()
    )]
    OtherOwner {
        /// The store.
        path: PathBuf,
        /// Whose it is.
        device: String,
        /// Where its messages go.
        hub: String,
        /// Who this is.
        own_device: String,
        /// The hub of this device.
        own_hub: String,
    },
    /// Another edge hub has the store.
    #[error("store {} is in use by another edge hub; stop it, or set another StorageFolder", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The store is a copy that was not finished.
    #[error("store {} is a copy that was not finished: the edge daemon finishes it or gives it up when it creates the edge hub; deploy again, or set another StorageFolder", path.display())]
    HalfMoved {
        /// The store.
        path: PathBuf,
    },
    /// The database cannot be used.
    #[error("cannot open the edge hub's state")]
    State(#[from] StateError),
    /// The queues cannot be used.
    #[error("cannot open the edge hub's queues")]
    Journal(#[from] journal::OpenError),
    /// It cannot listen.
    #[error(
        "cannot listen on {address} for {served}; stop what has that port, or switch {served} off with {}=false",
        served.switch()
    )]
    Listen {
        /// For what.
        served: Served,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: NetError,
    },
    /// A socket that was handed over cannot be used.
    #[error("a listening socket that was handed over cannot be used")]
    Socket(#[source] std::io::Error),
    /// There is no server certificate.
    #[error("cannot get a server certificate")]
    Certificate(#[from] CertificateError),
    /// There is no key for secrets.
    #[error("cannot get the key that secrets are sealed with")]
    Seal(#[from] SealError),
    /// There is nobody to trust.
    #[error("cannot get the trust bundle")]
    TrustBundle(#[source] EnvironmentError),
    /// The trust bundle cannot be used.
    #[error("trust bundle of the workload API cannot be used")]
    Roots(#[from] TlsError),
    /// It was told to end before it had started.
    #[error("told to end while starting")]
    Ending,
}

impl EdgeHub {
    /// Starts. Waits for the workload API as long as it does not answer; does not wait for the
    /// hub: with stored routes and identities clients are served at once, without them as soon as
    /// the hub was reached once.
    pub async fn start(
        settings: Settings,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        tokio::select! {
            biased;
            started = Box::pin(Self::begin(settings, clock, shutdown.clone())) => started,
            () = shutdown.wait() => Err(StartError::Ending),
        }
    }

    async fn begin(
        mut settings: Settings,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let workload = settings.module.workload();
        let transport = match settings.upstream_protocol.clone() {
            UpstreamProtocol::Known(transport) => transport,
            UpstreamProtocol::Unknown(protocol) => {
                let tls = upstream_tls(&trust_bundle(&workload, &clock).await?)?;
                let site = site(&settings.module, UPSTREAM_DEFAULT, tls, &clock);
                refusal::report(&site, &protocol).await;
                return Err(StartError::UpstreamProtocol { protocol });
            }
        };
        for (name, answer) in &settings.unheard {
            tracing::warn!("environment variable {name} has no effect: {answer}");
        }
        tell_proxy(&settings.module, transport);
        let dir = settings.store_dir();
        host::fs::create_private_dir(&dir).map_err(StartError::Store)?;
        let lock = host::fs::lock_exclusive(&dir.join("lock")).map_err(|error| {
            if error.is_locked() {
                StartError::InUse { path: dir.clone() }
            } else {
                StartError::Store(error)
            }
        })?;
        if host::fs::exists(&dir.join(MOVING)).map_err(StartError::Store)? {
            return Err(StartError::HalfMoved { path: dir });
        }
        let mut listeners = Listeners::open(&mut settings)?;
        let served = Protocols { mqtt: settings.mqtt_enabled, amqp: settings.amqp_enabled };
        let addresses = listeners.addresses()?;
        let state = State::open(&dir)?;
        own(&state, &settings, &dir).await?;
        let journal = open_journal(&dir.join("queues"), settings.store_bytes_max, &clock)?;
        let store_time = StoreTime::open(clock.clone(), &state, &journal).await?;
        let seal = open_seal(&dir, &workload, &clock).await?;
        let host_name = settings.gateway_host_name.clone();
        let certificate = Certificate::obtain(workload.clone(), host_name, &clock).await?;
        let bundle = trust_bundle(&workload, &clock).await?;
        let tls = upstream_tls(&bundle)?;
        let site = site(&settings.module, transport, tls, &clock);
        let metrics = operations::metrics(&settings);
        let (upstream, own_events) = Upstream::new(site.clone(), lines_max(settings.clients_max));
        let core = Arc::new(Core {
            edge: site.edge.clone(),
            clock: clock.clone(),
            client_certificates: settings.client_certificates,
            journal,
            store_time,
            state,
            seal,
            counters: Counters::new(&metrics),
            sessions: Sessions::new(settings.clients_max),
            calls: Calls::default(),
            routes: Routes::new(settings.routes_refresh),
            forward: Forward::new(shutdown.clone(), &settings),
            twins: Twins::default(),
            scope: scope(&settings, &site, &bundle),
            upstream,
            report: Report::new(&dir.display().to_string(), settings.store_bytes_max),
        });
        let mut hub =
            Self { core, metrics, addresses, tasks: JoinSet::new(), shutdown, _lock: lock };
        hub.core.scope.restore(&hub.core).await?;
        hub.core.routes.restore(&hub.core).await?;
        hub.core.forward.restore(&hub.core).await;
        hub.operate(&settings, &dir, std::mem::take(&mut listeners.metrics));
        hub.spawn(own_events, certificate, listeners, served, clock);
        Ok(hub)
    }

    /// What is for the operator: metrics, and the socket of `iotedge dead-letter`.
    fn operate(&mut self, settings: &Settings, dir: &Path, metrics: Vec<TcpListener>) {
        for socket in metrics {
            let seen = operations::Seen {
                core: Arc::clone(&self.core),
                metrics: self.metrics.clone(),
                path: settings.metrics_path.clone(),
            };
            self.tasks.spawn(operations::serve(socket, seen, self.shutdown.clone()));
        }
        let path = dir.join(control::SOCKET);
        match host::net::listen_unix(&path, control::MODE) {
            Ok(socket) => {
                let (core, stop) = (Arc::clone(&self.core), self.shutdown.clone());
                self.tasks.spawn(control::serve(socket, core, stop));
            }
            Err(error) => {
                let error = host::logs::chain(&error);
                tracing::warn!(%error, "dead letters cannot be looked into; a shorter StorageFolder may help");
            }
        }
        self.chore(|core| async move { core.forward.keep_room(&core).await });
    }

    fn spawn(
        &mut self,
        own_events: client::Events,
        certificate: Certificate,
        listeners: Listeners,
        served: Protocols,
        clock: Clock,
    ) {
        let backend = Arc::new(Backend(Arc::clone(&self.core)));
        let mqtt = mqtt::Head::new(Arc::clone(&backend), clock.clone(), mqtt::Settings::default());
        let mqtt = Arc::new(mqtt);
        let amqp = amqp::Head::new(
            Arc::clone(&backend),
            Arc::new(amqp::nodes::DevicesOnly),
            clock.clone(),
            amqp_settings(),
        );
        let amqp = Arc::new(amqp);
        let web_sockets = http::WebSockets {
            mqtt: served.mqtt.then(|| Arc::clone(&mqtt)),
            amqp: served.amqp.then(|| Arc::clone(&amqp)),
        };
        let edge = self.core.edge.clone();
        let https = Arc::new(http::EdgeHead::new(backend, edge, web_sockets, clock.clone()));
        let tls = &certificate.tls;
        for socket in listeners.mqtt {
            self.listen(socket, tls, Arc::clone(&mqtt));
        }
        for socket in listeners.amqp {
            self.listen(socket, tls, Arc::clone(&amqp));
        }
        for socket in listeners.https {
            self.listen(socket, tls, Arc::clone(&https));
        }
        self.chore(|core| async move { config::serve_own(core, own_events).await });
        self.chore(|core| async move { core.routes.keep(&core).await });
        self.chore(|core| async move { core.scope.keep(&core).await });
        self.chore(|core| async move { core.report.keep(&core).await });
        self.chore(|core| async move { core.store_time.keep(&core).await });
        self.chore(|core| async move { core.upstream.end_idle_lines().await });
        self.chore(|_| certificate.keep(clock));
    }

    /// Serves what comes in on a socket.
    fn listen(&mut self, socket: TcpListener, tls: &ServerTls, head: Arc<impl Head>) {
        let (core, tls, stop) = (Arc::clone(&self.core), tls.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            // Nobody is let in before it is known where messages go.
            tokio::select! {
                () = core.routes.ready() => {}
                () = stop.wait() => return,
            }
            listener::serve_head_tls(socket, tls, core.clock.clone(), stop, head).await;
        });
    }

    /// Something that is done until the shutdown.
    fn chore<F>(&mut self, work: impl FnOnce(Arc<Core>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = work(Arc::clone(&self.core));
        let stop = self.shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.wait() => {}
            }
        });
    }

    /// Where it listens, and for what.
    pub fn addresses(&self) -> &[(Served, SocketAddr)] {
        &self.addresses
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many clients are connected now.
    pub fn clients(&self) -> usize {
        self.core.sessions.count()
    }

    /// Resolves when there are routes in force, so that clients are let in.
    pub async fn ready(&self) {
        self.core.routes.ready().await;
    }

    /// Resolves after the shutdown, when every connection has ended and everything is stored.
    pub async fn finished(mut self) {
        self.shutdown.wait().await;
        self.core.sessions.close_all(CloseReason::Shutdown);
        while self.tasks.join_next().await.is_some() {}
        self.core.forward.finished().await;
        let close = self.core.upstream.close_all();
        // A hub that does not answer is not waited for.
        let _ = self.core.clock.timeout(GOODBYE_LIMIT, close).await;
        let journal = self.core.journal.clone();
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        if closed.is_err() {
            tracing::error!("cannot close the queues in order; the last messages may come twice");
        }
    }
}

impl Drop for EdgeHub {
    /// Tasks know the rooms and the rooms know the tasks; someone has to let go first.
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.core.forward.abort();
    }
}

impl std::fmt::Debug for EdgeHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeHub").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Makes the store this device's, for this hub, or refuses one that is another's: what waits in it
/// was meant for somebody else.
async fn own(state: &State, settings: &Settings, dir: &Path) -> Result<(), StartError> {
    let module = &settings.module;
    let (device, hub) = (module.identity.device.to_string(), &module.hub_host_name);
    let name = |hub: &str| hub.split(':').next().unwrap_or(hub).to_ascii_lowercase();
    let Some(text) = state.meta(OWNER).await? else {
        let owner = Owner { device, hub: hub.clone() };
        let text = serde_json::to_string(&owner).unwrap_or_default();
        return Ok(state.set_meta(OWNER, text).await?);
    };
    let owner: Owner = serde_json::from_str(&text).unwrap_or_default();
    if owner.device == device && name(&owner.hub) == name(hub) {
        return Ok(());
    }
    Err(StartError::OtherOwner {
        path: dir.to_owned(),
        device: owner.device,
        hub: owner.hub,
        own_device: device,
        own_hub: hub.clone(),
    })
}

/// Whose a store is.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Owner {
    device: String,
    hub: String,
}

/// The name under which that is stored.
const OWNER: &str = "owner";

/// What the edge daemon leaves in a store that it has not copied to its end (its `storage`).
const MOVING: &str = "moving.json";

/// The device protocols that are not switched off, over WebSockets too.
#[derive(Debug, Clone, Copy)]
struct Protocols {
    mqtt: bool,
    amqp: bool,
}

/// The AMQP head's, for an edge device: modules and leaf devices come one by one, and what a
/// connection may hold back is as little as over MQTT.
fn amqp_settings() -> amqp::Settings {
    let machine = ::amqp::connection::Settings {
        sessions_max: 256,
        links_max: 2048,
        unsettled_bytes_max: 1024 * 1024,
        unfinished_bytes_max: 1024 * 1024,
        ..Default::default()
    };
    amqp::Settings { machine: Arc::new(machine), ..amqp::Settings::default() }
}

/// Lines for everybody who is connected, and as many again for those whose messages wait.
fn lines_max(clients_max: usize) -> usize {
    clients_max * 2
}

const GOODBYE_LIMIT: Duration = Duration::from_secs(2);
