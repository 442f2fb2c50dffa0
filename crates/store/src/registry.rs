//! Device and module identities.

use async_trait::async_trait;
use model::id::Precondition;
use model::identity::{DeviceIdentity, ModuleIdentity};
use model::{DeviceId, ModuleId};

use crate::error::Result;
use crate::outbox::HubEvent;

/// The identity registry.
#[async_trait]
pub trait Registry: Send + Sync {
    /// One device.
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceIdentity>>;

    /// Devices in the order of their ids, after the given one.
    async fn devices(&self, after: Option<&DeviceId>, limit: usize) -> Result<Vec<DeviceIdentity>>;

    /// Devices whose scope or parent scope is `scope`, in the order of their ids, after the given one.
    async fn devices_in_scope(
        &self,
        scope: &str,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceIdentity>>;

    /// Writes a device: creates it (with a fresh twin, and the given modules with theirs) or
    /// changes it, as the precondition says. `modules` is used on create only.
    ///
    /// The store sets the etag: it moves with every write, and a re-created identity does not
    /// repeat one of its predecessor's. On a change the stored generation stays. Answers with what
    /// is stored now.
    async fn put_device(
        &self,
        device: DeviceIdentity,
        modules: Vec<ModuleIdentity>,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<DeviceIdentity>;

    /// Deletes a device with its modules, twins, sessions and queued messages.
    async fn delete_device(
        &self,
        id: &DeviceId,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<()>;

    /// One module.
    async fn module(&self, device: &DeviceId, id: &ModuleId) -> Result<Option<ModuleIdentity>>;

    /// All modules of a device, in the order of their ids.
    async fn modules(&self, device: &DeviceId) -> Result<Vec<ModuleIdentity>>;

    /// Writes a module: creates it (with a fresh twin) or changes it. The device must exist
    /// ([`crate::StoreError::NotFound`]); it may have `limits::MODULES_PER_DEVICE_MAX` modules.
    async fn put_module(
        &self,
        module: ModuleIdentity,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<ModuleIdentity>;

    /// Deletes a module with its twin and session.
    async fn delete_module(
        &self,
        device: &DeviceId,
        id: &ModuleId,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<()>;

    /// How many devices there are.
    async fn statistics(&self) -> Result<Statistics>;
}

/// Counts of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Devices that may connect.
    pub enabled: u64,
    /// Devices that may not.
    pub disabled: u64,
}
