//! Device and module identities, as back ends and edge components manage them.

use std::future::Future;

use iot_proto::payload::Activity;
use iot_proto::payload::device::DeviceWrite;
use iot_proto::payload::module::ModuleWrite;
use model::id::Precondition;
use model::identity::{DeviceIdentity, ModuleIdentity};
use model::{DeviceId, Fault, IdentityId};

/// The identity registry as the service API shows it.
pub trait RegistryBackend: Send + Sync + 'static {
    /// One device.
    fn device(&self, id: &DeviceId) -> impl Future<Output = Result<Device, Fault>> + Send;

    /// The first devices, in the order of their ids.
    fn devices(&self, limit: usize) -> impl Future<Output = Result<Vec<Device>, Fault>> + Send;

    /// Creates or changes a device.
    fn put_device(
        &self,
        id: &DeviceId,
        device: DeviceWrite,
        precondition: Precondition,
    ) -> impl Future<Output = Result<Device, Fault>> + Send;

    /// Deletes a device and all that belongs to it.
    fn delete_device(
        &self,
        id: &DeviceId,
        precondition: Precondition,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// One module.
    fn module(&self, id: &IdentityId) -> impl Future<Output = Result<Module, Fault>> + Send;

    /// All modules of a device.
    fn modules(&self, device: &DeviceId)
    -> impl Future<Output = Result<Vec<Module>, Fault>> + Send;

    /// Creates or changes a module.
    fn put_module(
        &self,
        id: &IdentityId,
        module: ModuleWrite,
        precondition: Precondition,
    ) -> impl Future<Output = Result<Module, Fault>> + Send;

    /// Deletes a module and its twin.
    fn delete_module(
        &self,
        id: &IdentityId,
        precondition: Precondition,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Counts of devices.
    fn statistics(&self) -> impl Future<Output = Result<Statistics, Fault>> + Send;

    /// The identities for which this edge device may act: itself, its modules, its leaves and
    /// theirs; a page at a time.
    fn scope(
        &self,
        edge: &DeviceId,
        page_size: usize,
        continuation: Option<&str>,
    ) -> impl Future<Output = Result<ScopePage, Fault>> + Send;

    /// One identity of an edge device's scope.
    fn scope_identity(
        &self,
        edge: &DeviceId,
        target: &IdentityId,
    ) -> impl Future<Output = Result<ScopePage, Fault>> + Send;
}

/// A device with what is known of it besides its identity.
#[derive(Debug, Clone)]
pub struct Device {
    /// The identity.
    pub identity: DeviceIdentity,
    /// Its connection.
    pub activity: Activity,
    /// Messages that wait for it.
    pub cloud_to_device_count: u64,
}

/// A module with what is known of it besides its identity.
#[derive(Debug, Clone)]
pub struct Module {
    /// The identity.
    pub identity: ModuleIdentity,
    /// Its connection.
    pub activity: Activity,
}

/// Counts of the registry and of connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    /// Devices that may connect.
    pub enabled: u64,
    /// Devices that may not.
    pub disabled: u64,
    /// Devices that are connected now.
    pub connected: u64,
}

/// A part of an edge device's scope.
#[derive(Debug, Clone, Default)]
pub struct ScopePage {
    /// Devices.
    pub devices: Vec<DeviceIdentity>,
    /// Modules.
    pub modules: Vec<ModuleIdentity>,
    /// Where the next page begins; none at the end.
    pub continuation: Option<String>,
}
