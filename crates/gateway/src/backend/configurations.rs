//! Deployment content for one device.

use std::future::Future;

use model::{DeviceId, Fault};
use serde_json::Value;

/// Applies deployment content.
pub trait ConfigurationBackend: Send + Sync + 'static {
    /// Applies a content document (`modulesContent`) to an edge device.
    fn apply_content(
        &self,
        device: &DeviceId,
        content: Value,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}
