//! Twins, as back ends read and write them.

use std::future::Future;

use model::twin::{Twin, TwinChange};
use model::{Etag, Fault, IdentityId};

use super::registry::{Device, Module};

/// The twins.
pub trait TwinBackend: Send + Sync + 'static {
    /// A twin with its identity.
    fn twin(&self, id: &IdentityId) -> impl Future<Output = Result<TwinOf, Fault>> + Send;

    /// Merges into tags and desired.
    fn patch_twin(
        &self,
        id: &IdentityId,
        change: TwinChange,
        expected: Option<Etag>,
    ) -> impl Future<Output = Result<TwinOf, Fault>> + Send;

    /// Replaces tags and desired.
    fn replace_twin(
        &self,
        id: &IdentityId,
        change: TwinChange,
        expected: Option<Etag>,
    ) -> impl Future<Output = Result<TwinOf, Fault>> + Send;
}

/// A twin with the identity that it belongs to: the service's document shows both.
#[derive(Debug, Clone)]
pub struct TwinOf {
    /// The device.
    pub device: Device,
    /// The module, when it is a module's twin.
    pub module: Option<Module>,
    /// The twin.
    pub twin: Twin,
    /// The DTDL model that the identity announced.
    pub model_id: Option<String>,
}
