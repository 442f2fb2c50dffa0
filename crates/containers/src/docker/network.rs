//! The network that the modules share.

use std::net::IpAddr;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use tokio::sync::Mutex;

use super::engine::Engine;
use crate::RuntimeError;

/// `[moby_runtime] network` of `config.toml` (`edge-runtime.md` §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Its name.
    pub name: String,
    /// Whether it also has IPv6.
    pub ipv6: bool,
    /// Address ranges; empty leaves them to the engine.
    pub ranges: Vec<AddressRange>,
}

/// One entry of `ipam.config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRange {
    /// Subnet in CIDR form.
    pub subnet: Option<String>,
    /// The engine's own address in it.
    pub gateway: Option<String>,
    /// Part of the subnet that containers get addresses from, in CIDR form.
    pub ip_range: Option<String>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self { name: DEFAULT_NAME.to_owned(), ipv6: false, ranges: Vec::new() }
    }
}

/// Keeps the network there.
pub(super) struct ModuleNetwork {
    settings: NetworkSettings,
    /// Engines allow two networks of one name, so creating is one at a time.
    creating: Mutex<()>,
}

impl ModuleNetwork {
    pub(super) fn new(settings: NetworkSettings) -> Self {
        Self { settings, creating: Mutex::new(()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Makes sure that there is exactly one network of that name.
    ///
    /// Old engines allow several, and then refuse to start a container on any of
    /// them; two runtimes that start at the same moment get there. Both then see
    /// both networks and keep the same one.
    pub(super) async fn ensure(&self, engine: &Engine) -> Result<(), RuntimeError> {
        let _one_at_a_time = self.creating.lock().await;
        let mut found = self.find(engine).await?;
        if found.is_empty() {
            let created = engine.docker().create_network(create_request(&self.settings)).await;
            match created.map_err(|source| engine.error(source)) {
                Ok(_) => tracing::info!(network = self.name(), "created the module network"),
                // Somebody else was faster, and the engine refuses a second one.
                Err(RuntimeError::Engine { status: 409, .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            found = self.find(engine).await?;
        }
        for surplus in found.iter().skip(1).filter_map(|network| network.id.as_deref()) {
            self.remove_surplus(engine, surplus).await?;
        }
        Ok(())
    }

    async fn remove_surplus(&self, engine: &Engine, id: &str) -> Result<(), RuntimeError> {
        match engine.docker().remove_network(id).await.map_err(|source| engine.error(source)) {
            Ok(()) => tracing::warn!(
                network = self.name(),
                id,
                "removed a second network of the same name"
            ),
            Err(RuntimeError::Engine { status: 404, .. }) => {}
            Err(RuntimeError::Engine { status: 403 | 409, .. }) => {
                return Err(RuntimeError::Conflict {
                    what: format!(
                        "the engine has two networks named {} and containers use both: \
                         remove the containers on network {id}, then the network",
                        self.name()
                    ),
                });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The engine's own address on the network: where containers reach the host.
    pub(super) async fn gateway(&self, engine: &Engine) -> Result<Option<IpAddr>, RuntimeError> {
        let network = self.find(engine).await?.into_iter().next();
        let ranges = network
            .and_then(|network| network.ipam)
            .and_then(|ipam| ipam.config)
            .unwrap_or_default();
        let addresses = ranges.into_iter().filter_map(|range| range.gateway);
        // Some engines write the prefix length after it.
        Ok(addresses.filter_map(|text| text.split('/').next()?.parse().ok()).next())
    }

    /// By exact name, in an order that all agree on. The engine's own filter
    /// matches substrings (T-SUBSTRING-NET), its look-up by name also ids.
    async fn find(&self, engine: &Engine) -> Result<Vec<Network>, RuntimeError> {
        let networks = engine
            .docker()
            .list_networks(None::<ListNetworksOptions>)
            .await
            .map_err(|source| engine.error(source))?;
        let is_ours = |network: &Network| network.name.as_deref() == Some(self.name());
        let mut found: Vec<Network> = networks.into_iter().filter(is_ours).collect();
        found.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        Ok(found)
    }
}

fn create_request(settings: &NetworkSettings) -> NetworkCreateRequest {
    let ranges = settings.ranges.iter().map(|range| IpamConfig {
        subnet: range.subnet.clone(),
        gateway: range.gateway.clone(),
        ip_range: range.ip_range.clone(),
        ..Default::default()
    });
    let ipam = Ipam { config: Some(ranges.collect()), ..Default::default() };
    NetworkCreateRequest {
        name: settings.name.clone(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(settings.ipv6),
        ipam: (!settings.ranges.is_empty()).then_some(ipam),
        ..Default::default()
    }
}

/// The original's default.
const DEFAULT_NAME: &str = "azure-iot-edge";
