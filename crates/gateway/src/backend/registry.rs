//! Device and module identities, as back ends and edge components manage them.

use std::future::Future;

use jiff::Timestamp;
use model::id::Precondition;
use model::identity::{DeviceIdentity, ModuleIdentity, Status};
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
        device: DeviceInput,
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
    fn modules(&self, device: &DeviceId) -> impl Future<Output = Result<Vec<Module>, Fault>> + Send;

    /// Creates or changes a module.
    fn put_module(
        &self,
        module: ModuleInput,
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

/// What is known of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Activity {
    /// Whether it is there.
    pub connected: bool,
    /// When that changed.
    pub connected_updated: Option<Timestamp>,
    /// When the identity was last heard of.
    pub last_activity: Option<Timestamp>,
}

/// What a back end writes of a device; what it leaves out stays, or gets its default on create.
#[derive(Debug, Clone)]
pub struct DeviceInput {
    /// Which.
    pub id: DeviceId,
    /// Whether it may connect.
    pub status: Option<Status>,
    /// Why.
    pub status_reason: Option<String>,
    /// How it proves itself.
    pub authentication: AuthenticationInput,
    /// Whether it runs the edge runtime.
    pub edge: Option<bool>,
    /// The scope, which for a leaf names its parent; the empty text removes it.
    pub scope: Option<String>,
    /// The scopes of its parents.
    pub parent_scopes: Option<Vec<String>>,
}

/// What a back end writes of a module.
#[derive(Debug, Clone)]
pub struct ModuleInput {
    /// Which.
    pub id: IdentityId,
    /// Who manages it.
    pub managed_by: Option<String>,
    /// How it proves itself.
    pub authentication: AuthenticationInput,
}

/// How an identity shall prove itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationInput {
    /// Not said, or keys without texts: keep what is stored; on create make two keys.
    Keep,
    /// These keys.
    Keys {
        /// Base64 of 16 to 64 bytes.
        primary: String,
        /// Base64 of 16 to 64 bytes.
        secondary: String,
    },
    /// Another way, which has no keys.
    Other(model::identity::Authentication),
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

