//! What a running edge hub is put together of: sockets, queues, whom it trusts, where its hub is.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use client::device::Transport;
use client::edge::WorkloadClient;
use client::environment::{EnvironmentError, ModuleEnvironment};
use client::scope::ScopeClient;
use client::signer::WorkloadSigner;
use host::clock::Clock;
use host::net::{self, TcpListener};
use host::tls::{ClientTls, TlsError};
use journal::Journal;
use pki::{Certificate, ChainAnchor};

use super::StartError;
use crate::scope::Scope;
use crate::settings::{Settings, Sockets};
use crate::state::patiently;
use crate::upstream::Site;

/// The protocols that the edge hub serves, each on sockets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// MQTT over TLS.
    Mqtt,
    /// AMQP over TLS.
    Amqp,
    /// HTTPS, and WebSockets over it.
    Https,
    /// Metrics over HTTP.
    Metrics,
}

impl Served {
    /// The variable that switches it off.
    pub(super) fn switch(self) -> &'static str {
        match self {
            Self::Mqtt => "mqttSettings__enabled",
            Self::Amqp => "amqpSettings__enabled",
            Self::Https => "httpSettings__enabled",
            Self::Metrics => "Metrics__Listener__MetricsEnabled",
        }
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt => "MQTT",
            Self::Amqp => "AMQP",
            Self::Https => "HTTPS",
            Self::Metrics => "metrics",
        })
    }
}

/// Sockets that are bound, before anybody is served.
pub(super) struct Listeners {
    pub(super) mqtt: Vec<TcpListener>,
    pub(super) amqp: Vec<TcpListener>,
    pub(super) https: Vec<TcpListener>,
    pub(super) metrics: Vec<TcpListener>,
}

impl Listeners {
    pub(super) fn open(settings: &mut Settings) -> Result<Self, StartError> {
        let listen = &mut settings.listen;
        let open = |sockets: &mut Sockets, is_enabled: bool, served: Served| {
            let sockets = std::mem::replace(sockets, Sockets::Open(Vec::new()));
            if is_enabled { open_all(sockets, served) } else { Ok(Vec::new()) }
        };
        let listeners = Self {
            mqtt: open(&mut listen.mqtt, settings.mqtt_enabled, Served::Mqtt)?,
            amqp: open(&mut listen.amqp, settings.amqp_enabled, Served::Amqp)?,
            https: open(&mut listen.https, settings.http_enabled, Served::Https)?,
            metrics: {
                let metrics = open(&mut listen.metrics, settings.metrics_enabled, Served::Metrics);
                // Messages are worth more than numbers about them.
                metrics.unwrap_or_else(|error| {
                    let error = host::logs::chain(&error);
                    tracing::warn!(%error, "metrics are not served; set Metrics__Listener__Port");
                    Vec::new()
                })
            },
        };
        if !settings.mqtt_enabled && !settings.amqp_enabled && !settings.http_enabled {
            tracing::warn!("every protocol is switched off: nobody can connect to this edge hub");
        }
        Ok(listeners)
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Result<Vec<(Served, SocketAddr)>, StartError> {
        let of = [
            (Served::Mqtt, &self.mqtt),
            (Served::Amqp, &self.amqp),
            (Served::Https, &self.https),
            (Served::Metrics, &self.metrics),
        ];
        of.into_iter()
            .flat_map(|(served, sockets)| sockets.iter().map(move |socket| (served, socket)))
            .map(|(served, socket)| Ok((served, socket.local_addr().map_err(StartError::Socket)?)))
            .collect()
    }
}

fn open_all(sockets: Sockets, served: Served) -> Result<Vec<TcpListener>, StartError> {
    let addresses = match sockets {
        Sockets::Open(listeners) => return Ok(listeners),
        Sockets::At(addresses) => addresses,
    };
    let mut listeners = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.into_iter().enumerate() {
        match net::listen(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 has no [::].
            Err(error) if index > 0 && !error.is_in_use() && !error.is_denied() => {
                tracing::info!(%address, "address is not available here; left out");
            }
            Err(source) => return Err(StartError::Listen { served, address, source }),
        }
    }
    Ok(listeners)
}

pub(super) fn open_journal(
    dir: &Path,
    bytes_max: u64,
    clock: &Clock,
) -> Result<Journal, journal::OpenError> {
    let settings = journal::Settings {
        segment_bytes: SEGMENT_BYTES,
        first_segment_bytes: FIRST_SEGMENT_BYTES,
        record_bytes_max: RECORD_BYTES_MAX,
        group_bytes_max: RECORD_BYTES_MAX,
        queue_bytes_max: QUEUE_BYTES_MAX,
        queue_records_max: QUEUE_RECORDS_MAX,
        streams_max: STREAMS_MAX,
        bytes_max: Some(bytes_max),
        ..journal::Settings::default()
    };
    let (journal, report) = Journal::open(dir, settings, clock.clone())?;
    if report.lost_records > 0 {
        tracing::error!(
            lost = report.lost_records,
            "stored messages were lost to damage; check the disk"
        );
    }
    Ok(journal)
}

/// Whom the daemon trusts, PEM; may be empty.
pub(super) async fn trust_bundle(
    workload: &WorkloadClient,
    clock: &Clock,
) -> Result<String, StartError> {
    let bundle = patiently(clock, || workload.trust_bundle()).await;
    bundle.map_err(|error| StartError::TrustBundle(EnvironmentError::Workload(error)))
}

/// The daemon's bundle, and the machine's roots where it has any: an image without them is usual.
pub(super) fn upstream_tls(bundle: &str) -> Result<ClientTls, StartError> {
    let roots: &[&str] = if bundle.trim().is_empty() { &[] } else { &[bundle] };
    let own = ClientTls::new(roots)?;
    match own.clone().with_system_roots() {
        Ok(tls) => Ok(tls),
        Err(TlsError::SystemRoots(error)) => {
            tracing::debug!(error = %host::logs::chain(&error), "no system roots; only the trust bundle counts");
            Ok(own)
        }
        Err(error) => Err(error.into()),
    }
}

/// The authorities of the bundle, to which leaf devices' certificates may chain.
fn authorities(bundle: &str) -> Arc<[ChainAnchor]> {
    // Another kind of text was refused before.
    let certificates = Certificate::chain_from_pem(bundle).unwrap_or_default();
    let fit = |certificate: Certificate| {
        let name = certificate.common_name.clone();
        let anchor = ChainAnchor::new(certificate);
        let told = |error| tracing::debug!(?name, %error, "not an authority for leaf devices");
        anchor.map_err(told).ok()
    };
    certificates.into_iter().filter_map(fit).collect()
}

pub(super) fn site(
    module: &ModuleEnvironment,
    transport: Transport,
    tls: ClientTls,
    clock: &Clock,
) -> Site {
    Site {
        host_name: module.hub_host_name.clone(),
        dial: module.dial(transport).clone(),
        transport,
        tls,
        signer: Arc::new(WorkloadSigner::new(module.workload())),
        edge: module.identity.device.clone(),
        clock: clock.clone(),
    }
}

/// What is reached through the proxy, if there is one: not what has no WebSocket, as in the original.
pub(super) fn tell_proxy(module: &ModuleEnvironment, transport: Transport) {
    let Some(proxy) = &module.https.proxy else { return };
    match transport {
        Transport::AmqpWs | Transport::MqttWs => tracing::info!("hub is reached through {proxy}"),
        Transport::Amqp | Transport::Mqtt => tracing::warn!(
            "https_proxy is not used for {transport}, only to ask the hub over HTTPS: set UpstreamProtocol=AmqpWs (or MqttWs) for edgeHub"
        ),
    }
}

pub(super) fn scope(settings: &Settings, site: &Site, trust_bundle: &str) -> Scope {
    let module = &settings.module;
    let client = ScopeClient::new(
        &module.hub_host_name,
        module.https.clone(),
        site.tls.clone(),
        site.edge.clone(),
        Arc::clone(&site.signer),
        site.clock.clone(),
    );
    // Tokens name the hub; older modules name the gateway (T-AUDIENCE).
    let host_names = vec![module.hub_host_name.clone(), settings.gateway_host_name.clone()];
    let authorities = match settings.client_certificates {
        true => authorities(trust_bundle),
        false => Arc::default(),
    };
    Scope::new(client, site.edge.clone(), host_names, authorities, settings.scope_refresh)
}

/// Small, because an edge device has little of everything.
const SEGMENT_BYTES: u64 = 4 << 20;
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
/// A message of 256 KiB with the lengths of its properties.
const RECORD_BYTES_MAX: usize = 512 << 10;
/// What may wait for the disk.
const QUEUE_BYTES_MAX: usize = 2 << 20;
const QUEUE_RECORDS_MAX: usize = 4096;
/// Endpoints times priorities, and parked senders.
const STREAMS_MAX: usize = 2048;
