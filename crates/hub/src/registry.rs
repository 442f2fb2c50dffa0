//! The identity registry: what may be written, what a new identity gets, what follows a change.
//!
//! Rules: `service-api.md` §2. Scopes of edge devices: §2.5.

mod authentication;
pub(crate) mod authorities;
mod devices;
mod modules;
mod scope;

use std::sync::atomic::Ordering;

use gateway::backend::registry::{Device, Module, RegistryBackend, ScopePage, Statistics};
use iot_proto::payload::Activity;
use iot_proto::payload::device::DeviceWrite;
use iot_proto::payload::module::ModuleWrite;
use model::id::Precondition;
use model::identity::{DeviceIdentity, ModuleIdentity};
use model::{DeviceId, Fault, GenerationId, IdentityId};

use crate::Hub;

impl RegistryBackend for Hub {
    async fn device(&self, id: &DeviceId) -> Result<Device, Fault> {
        self.read_device(id).await
    }

    async fn devices(&self, limit: usize) -> Result<Vec<Device>, Fault> {
        self.list_devices(limit).await
    }

    async fn put_device(
        &self,
        id: &DeviceId,
        device: DeviceWrite,
        precondition: Precondition,
    ) -> Result<Device, Fault> {
        self.write_device(id, device, precondition).await
    }

    async fn delete_device(&self, id: &DeviceId, precondition: Precondition) -> Result<(), Fault> {
        self.remove_device(id, precondition).await
    }

    async fn module(&self, id: &IdentityId) -> Result<Module, Fault> {
        self.read_module(id).await
    }

    async fn modules(&self, device: &DeviceId) -> Result<Vec<Module>, Fault> {
        self.list_modules(device).await
    }

    async fn put_module(
        &self,
        id: &IdentityId,
        module: ModuleWrite,
        precondition: Precondition,
    ) -> Result<Module, Fault> {
        self.write_module(id, module, precondition).await
    }

    async fn delete_module(
        &self,
        id: &IdentityId,
        precondition: Precondition,
    ) -> Result<(), Fault> {
        self.remove_module(id, precondition).await
    }

    async fn statistics(&self) -> Result<Statistics, Fault> {
        let counts = self.stores().registry.statistics().await.map_err(unavailable)?;
        let connected = self.stores().presence.connected_devices().await.map_err(unavailable)?;
        Ok(Statistics { enabled: counts.enabled, disabled: counts.disabled, connected })
    }

    async fn scope(
        &self,
        edge: &DeviceId,
        page_size: usize,
        continuation: Option<&str>,
    ) -> Result<ScopePage, Fault> {
        self.scope_page(edge, page_size, continuation).await
    }

    async fn scope_identity(
        &self,
        edge: &DeviceId,
        target: &IdentityId,
    ) -> Result<ScopePage, Fault> {
        self.scope_one(edge, target).await
    }
}

impl Hub {
    /// A number that no earlier identity has: .NET ticks of now, 18 digits, never going back.
    fn next_generation(&self) -> GenerationId {
        let micros = u64::try_from(self.now().as_microsecond()).unwrap_or(0);
        let ticks = TICKS_AT_1970 + micros * 10;
        let last = &self.inner.last_generation;
        let step = |seen: u64| Some(ticks.max(seen + 1));
        let previous = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(0);
        GenerationId::from_number(ticks.max(previous + 1))
    }

    async fn with_device_facts(&self, identity: DeviceIdentity) -> Result<Device, Fault> {
        let activity = self.activity(&IdentityId::device(identity.id.clone())).await?;
        let pending =
            self.stores().cloud_to_device.pending(&identity.id).await.map_err(unavailable)?;
        Ok(Device { identity, activity, cloud_to_device_count: pending })
    }

    async fn with_module_facts(&self, identity: ModuleIdentity) -> Result<Module, Fault> {
        let activity = self.activity(&identity.identity()).await?;
        Ok(Module { identity, activity })
    }

    async fn activity(&self, id: &IdentityId) -> Result<Activity, Fault> {
        let presence = self.stores().presence.presence(id).await.map_err(unavailable)?;
        Ok(Activity {
            connected: presence.connected,
            connected_updated: presence.updated,
            last_activity: presence.last_activity,
        })
    }
}

fn unavailable(error: store::StoreError) -> Fault {
    crate::fault(error, model::FaultKind::DeviceNotFound, &"identity")
}

/// 100-nanosecond ticks between year 1 and 1970.
const TICKS_AT_1970: u64 = 621_355_968_000_000_000;
