//! A running hub: stores, backend, heads and listeners put together.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gateway::amqp::service::ServiceNodes;
use gateway::listener::{self, Head};
use gateway::site::Site;
use gateway::{amqp, http, mqtt};
use host::clock::Clock;
use host::metrics::Metrics;
use host::net::{self, NetError, TcpListener};
use host::signals::Shutdown;
use host::tls::{ServerTls, TlsError};
use hub::Hub;
use iot_proto::connection_string::{ServiceConnectionString, SharedKey};
use iot_proto::event_hubs::connection_string::EventsConnectionString;
use iot_proto::event_hubs::redirect::AMQPS_PORT;
use store::policies::Policy;
use store::{StoreError, Stores, embedded};
use tokio::task::JoinSet;

use super::certificates::{self, Certificates, CertificatesError};
use super::operations::{self, Ready};
use crate::settings::SettingsError;
use crate::settings::hub::HubSettings;

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot use the data directory {path}")]
    DataDir {
        path: String,
        #[source]
        source: host::fs::FsError,
    },
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    #[error("cannot use the server certificate")]
    Tls(#[from] TlsError),
    #[error("cannot open the store")]
    Open(#[from] embedded::OpenError),
    #[error("cannot prepare the store")]
    Store(#[from] StoreError),
    #[error(
        "there is no hub in {path}; start `farshore hub` once, or name its data directory with --data"
    )]
    NoHub { path: String },
    #[error(
        "the hub has no shared access policy iothubowner; start it once, or restore it from a backup"
    )]
    NoOwner,
    #[error("cannot listen on {address} ({purpose}): {hint}")]
    Listen {
        address: SocketAddr,
        purpose: &'static str,
        hint: &'static str,
        #[source]
        source: NetError,
    },
}

/// A hub that is listening.
pub(crate) struct RunningHub {
    pub(crate) hub: Hub,
    pub(crate) policies: Vec<Policy>,
    /// The CA that clients are to trust; none when the certificate is the operator's own.
    pub(crate) ca_pem: Option<String>,
    pub(crate) mqtt_port: u16,
    pub(crate) amqp_port: u16,
    pub(crate) https_port: u16,
    tls: ServerTls,
    settings: HubSettings,
    tasks: JoinSet<()>,
    shutdown: Shutdown,
}

impl RunningHub {
    /// Opens the stores and begins to listen. Everything that can be wrong is found out before the
    /// first connection is taken.
    pub(crate) async fn start(
        settings: HubSettings,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Self, HubError> {
        let settings = settings.checked()?;
        let dir = &settings.data_dir;
        host::fs::create_private_dir(dir)
            .map_err(|source| HubError::DataDir { path: dir.display().to_string(), source })?;
        let master = certificates::master_key(dir)?;
        let store_settings = embedded::Settings {
            partitions: settings.events.partitions,
            events_bytes_max: Some(settings.events.retention_bytes),
            events_age_max: Some(settings.retention_age()),
            ..embedded::Settings::default()
        };
        let (stores, report) =
            embedded::open(&dir.join("store"), store_settings, master, clock.clone())?;
        tell(&report);
        let policies = hub::policies::ensure_defaults(&stores).await?;
        let (tls, ca_pem) = tls(&settings, &clock)?;
        let sockets = Sockets::open(&settings)?;
        let hub = Self::backend(stores, &settings, &clock)?;
        let mut running = Self {
            hub,
            policies,
            ca_pem,
            mqtt_port: sockets.mqtt_port,
            amqp_port: sockets.amqp_port,
            https_port: sockets.https_port,
            tls,
            settings,
            tasks: JoinSet::new(),
            shutdown,
        };
        running.serve(sockets, &report.counters, &clock);
        Ok(running)
    }

    fn backend(
        stores: Stores,
        settings: &HubSettings,
        clock: &Clock,
    ) -> Result<Hub, SettingsError> {
        let hub_settings = hub::Settings {
            host_names: settings.host_names.clone(),
            cloud_to_device: settings.cloud_to_device.checked()?,
        };
        Ok(Hub::new(stores, hub_settings, clock.clone()))
    }

    /// Who answers under which name.
    fn site(&self) -> Arc<Site> {
        let HubSettings { host_names, events, .. } = &self.settings;
        Arc::new(Site::new(host_names.clone(), events.host_names.clone(), self.amqp_port))
    }

    fn serve(&mut self, sockets: Sockets, counters: &embedded::Counters, clock: &Clock) {
        let backend = Arc::new(self.hub.clone());
        let mqtt_head = Arc::new(mqtt::Head::new(
            Arc::clone(&backend),
            clock.clone(),
            mqtt::Settings::default(),
        ));
        let amqp_head = Arc::new(amqp::Head::new(
            Arc::clone(&backend),
            Arc::new(ServiceNodes::new(Arc::clone(&backend), self.site(), clock.clone())),
            clock.clone(),
            amqp::Settings::default(),
        ));
        let (mqtt, amqp) = (Arc::clone(&mqtt_head), Arc::clone(&amqp_head));
        let web_sockets = http::WebSockets { mqtt: Some(mqtt), amqp: Some(amqp) };
        let http_head = Arc::new(http::Head::new(backend, web_sockets, clock.clone()));
        for socket in sockets.mqtt {
            self.serve_tls(socket, &mqtt_head, clock);
        }
        for socket in sockets.amqp {
            self.serve_tls(socket, &amqp_head, clock);
        }
        for socket in sockets.https {
            self.serve_tls(socket, &http_head, clock);
        }
        if let Some(socket) = sockets.mqtt_unencrypted {
            self.serve_plain(socket, mqtt_head, clock);
        }
        if let Some(socket) = sockets.amqp_unencrypted {
            self.serve_plain(socket, amqp_head, clock);
        }
        if let Some(socket) = sockets.operations {
            let ready = Ready::default();
            ready.set(true);
            let metrics = Metrics::new();
            counters.register(&metrics);
            self.tasks.spawn(operations::serve(
                socket,
                metrics,
                ready,
                clock.clone(),
                self.shutdown.clone(),
            ));
        }
        let (hub, stop) = (self.hub.clone(), self.shutdown.clone());
        self.tasks.spawn(async move { hub.run(stop).await });
    }

    fn serve_tls(&mut self, socket: TcpListener, head: &Arc<impl Head>, clock: &Clock) {
        let (tls, stop) = (self.tls.clone(), self.shutdown.clone());
        let head = Arc::clone(head);
        self.tasks.spawn(listener::serve_head_tls(socket, tls, clock.clone(), stop, head));
    }

    fn serve_plain(&mut self, socket: TcpListener, head: Arc<impl Head>, clock: &Clock) {
        let stop = self.shutdown.clone();
        self.tasks.spawn(listener::serve_head_plain(socket, clock.clone(), stop, head));
    }

    /// What operators log in with.
    pub(crate) fn login(&self) -> Result<ServiceConnectionString, HubError> {
        owner(&self.policies, &self.settings.host_names[0], self.https_port)
    }

    /// The settings it runs with.
    pub(crate) fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// Reads the certificate again; connections that live keep theirs.
    pub(crate) fn reload(&self, clock: &Clock) -> Result<(), HubError> {
        let (chain, key, _) = server_pem(&self.settings, clock)?;
        self.tls.reload(&chain, &key)?;
        Ok(())
    }

    /// Resolves when the shutdown is done and every connection has ended.
    pub(crate) async fn finished(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The service connection string of a hub that runs or not.
pub(crate) fn login(settings: &HubSettings) -> Result<ServiceConnectionString, HubError> {
    owner(&policies(settings)?, &settings.host_names[0], settings.listen.https_port)
}

/// What Event Hubs clients connect with, at a hub that runs or not: the policy that may read and
/// send, and nothing else.
pub(crate) fn events_login(settings: &HubSettings) -> Result<EventsConnectionString, HubError> {
    let policies = policies(settings)?;
    let policy = policies.iter().find(|policy| policy.name == READER);
    let policy = policy.or_else(|| policies.iter().find(|policy| policy.name == OWNER));
    let policy = policy.ok_or(HubError::NoOwner)?;
    let site = Site::new(settings.host_names.clone(), settings.events.host_names.clone(), 0);
    let host_name = match settings.listen.amqp_port {
        AMQPS_PORT => site.event_name().to_owned(),
        port => format!("{}:{port}", site.event_name()),
    };
    Ok(EventsConnectionString {
        host_name,
        policy: policy.name.clone(),
        key: SharedKey::new(policy.keys.primary.clone()),
        entity: Some(site.entity().to_owned()),
    })
}

fn policies(settings: &HubSettings) -> Result<Vec<Policy>, HubError> {
    let dir = &settings.data_dir;
    if !host::fs::exists(&dir.join("store/hub.db")).unwrap_or(false) {
        return Err(HubError::NoHub { path: dir.display().to_string() });
    }
    let master = certificates::master_key(dir)?;
    Ok(embedded::read_policies(&dir.join("store"), master)?)
}

fn owner(
    policies: &[Policy],
    host_name: &str,
    https_port: u16,
) -> Result<ServiceConnectionString, HubError> {
    let policy = policies.iter().find(|policy| policy.name == OWNER).ok_or(HubError::NoOwner)?;
    let host_name = match https_port {
        HTTPS_PORT => host_name.to_owned(),
        port => format!("{host_name}:{port}"),
    };
    let (policy, key) = (policy.name.clone(), SharedKey::new(policy.keys.primary.clone()));
    Ok(ServiceConnectionString { host_name, policy, key })
}

/// The policy that may do everything.
const OWNER: &str = "iothubowner";
/// The policy of back ends: ServiceConnect.
const READER: &str = "service";
/// What a host name without a port means.
const HTTPS_PORT: u16 = 443;

/// Sockets that are bound, before anybody is served.
struct Sockets {
    mqtt: Vec<TcpListener>,
    https: Vec<TcpListener>,
    operations: Option<TcpListener>,
    mqtt_unencrypted: Option<TcpListener>,
    amqp: Vec<TcpListener>,
    amqp_unencrypted: Option<TcpListener>,
    mqtt_port: u16,
    amqp_port: u16,
    https_port: u16,
}

impl Sockets {
    fn open(settings: &HubSettings) -> Result<Self, HubError> {
        let listen = &settings.listen;
        let (mqtt, mqtt_port) =
            open_all(&listen.addresses, listen.mqtt_port, "MQTT", "listen.mqtt_port")?;
        let (amqp, amqp_port) =
            open_all(&listen.addresses, listen.amqp_port, "AMQP", "listen.amqp_port")?;
        let (https, https_port) =
            open_all(&listen.addresses, listen.https_port, "HTTPS", "listen.https_port")?;
        let operations = settings
            .operations()?
            .map(|address| open(address, "health and metrics", "listen.operations"))
            .transpose()?;
        let mqtt_unencrypted = settings
            .mqtt_unencrypted()?
            .map(|address| open(address, "unencrypted MQTT", "listen.mqtt_unencrypted"))
            .transpose()?;
        let amqp_unencrypted = settings
            .amqp_unencrypted()?
            .map(|address| open(address, "unencrypted AMQP", "listen.amqp_unencrypted"))
            .transpose()?;
        Ok(Self {
            mqtt,
            https,
            operations,
            mqtt_unencrypted,
            amqp,
            amqp_unencrypted,
            mqtt_port,
            amqp_port,
            https_port,
        })
    }
}

/// One port on every address; port 0 picks one on the first and uses it on the others.
fn open_all(
    addresses: &[IpAddr],
    mut port: u16,
    purpose: &'static str,
    setting: &'static str,
) -> Result<(Vec<TcpListener>, u16), HubError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.iter().enumerate() {
        let address = SocketAddr::new(*address, port);
        match open(address, purpose, setting) {
            Ok(listener) => {
                port = listener.local_addr().map_or(port, |bound| bound.port());
                listeners.push(listener);
            }
            // A machine without IPv6 has no ::1; the first address must work.
            Err(HubError::Listen { source, .. }) if index > 0 && source.is_unavailable() => {
                tracing::info!(%address, "address is not available here; left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((listeners, port))
}

fn open(
    address: SocketAddr,
    purpose: &'static str,
    setting: &'static str,
) -> Result<TcpListener, HubError> {
    net::listen(address).map_err(|source| {
        let hint = match () {
            () if source.is_in_use() => {
                "another program has this port; stop it or change the port in the settings"
            }
            () if source.is_denied() => {
                "ports below 1024 need root or CAP_NET_BIND_SERVICE; or change the port"
            }
            () => setting,
        };
        HubError::Listen { address, purpose, hint, source }
    })
}

fn tls(settings: &HubSettings, clock: &Clock) -> Result<(ServerTls, Option<String>), HubError> {
    let (chain, key, ca) = server_pem(settings, clock)?;
    Ok((ServerTls::new(&chain, &key)?, ca))
}

/// Chain, key, and the CA when it is the hub's own.
fn server_pem(
    settings: &HubSettings,
    clock: &Clock,
) -> Result<(String, String, Option<String>), HubError> {
    if settings.tls.certificate.as_os_str().is_empty() {
        let own = certificates::own(&settings.data_dir, &settings.all_names(), clock)?;
        let Certificates { ca_pem, server_chain_pem, server_key_pem } = own;
        return Ok((server_chain_pem, server_key_pem, Some(ca_pem)));
    }
    let read =
        |path: &std::path::Path| host::fs::read_to_string(path).map_err(CertificatesError::from);
    Ok((read(&settings.tls.certificate)?, read(&settings.tls.key)?, None))
}

fn tell(report: &embedded::OpenReport) {
    if let Some(ignored) = report.partitions_ignored {
        tracing::warn!(
            setting = ignored,
            partitions = report.partitions,
            "events.partitions is fixed when a hub is created; the setting is ignored"
        );
    }
    if !report.journal.damaged.is_empty() {
        tracing::warn!(damage = ?report.journal, "events were lost to damage on the disk; check the disk");
    }
}
