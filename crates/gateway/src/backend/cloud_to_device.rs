//! Cloud-to-device messages, as back ends send them.

use std::future::Future;

use model::message::Message;
use model::{DeviceId, Fault};

/// Sends cloud-to-device messages.
pub trait CloudToDeviceBackend: Send + Sync + 'static {
    /// Queues a message; it is durable when the future resolves.
    fn send(
        &self,
        device: &DeviceId,
        message: Message,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Removes all messages that wait for a device; gives their number.
    fn purge(&self, device: &DeviceId) -> impl Future<Output = Result<u64, Fault>> + Send;
}
