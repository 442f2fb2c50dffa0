//! Cloud-to-device messages, as back ends send them.

use std::time::Duration;

use gateway::backend::cloud_to_device::CloudToDeviceBackend;
use jiff::SignedDuration;
use model::message::{Message, SystemProperty};
use model::{DeviceId, Fault, FaultKind, IdentityId, limits};
use store::StoreError;
use store::signals::Signal;

use crate::{Hub, fault};

impl CloudToDeviceBackend for Hub {
    async fn send(&self, device: &DeviceId, mut message: Message) -> Result<(), Fault> {
        let size = message.size_bytes();
        if size > limits::CLOUD_TO_DEVICE_BYTES_MAX {
            let detail = format!(
                "the message has {size} bytes; at most {} are allowed",
                limits::CLOUD_TO_DEVICE_BYTES_MAX
            );
            return Err(Fault::new(FaultKind::MessageTooLarge, detail));
        }
        let now = self.now();
        let expires = self.expiry(&message, now)?;
        if message.system(SystemProperty::MessageId).is_none() {
            message.set_system(SystemProperty::MessageId, host::entropy::uuid_v4().to_string());
        }
        let pending_max = limits::CLOUD_TO_DEVICE_PENDING_MAX;
        match self
            .stores()
            .cloud_to_device
            .enqueue(device, message, expires, now, pending_max)
            .await
        {
            Ok(_) => {}
            Err(error @ StoreError::Full { .. }) => {
                let detail = format!("the message for device '{device}' is refused: {error}");
                return Err(Fault::new(FaultKind::DeviceMaximumQueueDepthExceeded, detail));
            }
            Err(error) => return Err(fault(error, FaultKind::DeviceNotFound, device)),
        }
        self.stores().signals.send(Signal::CloudToDevice(IdentityId::device(device.clone())));
        Ok(())
    }

    async fn purge(&self, device: &DeviceId) -> Result<u64, Fault> {
        self.stored_device(device).await?;
        let purged = self.stores().cloud_to_device.purge(device, self.now()).await;
        purged.map_err(|error| fault(error, FaultKind::DeviceNotFound, device))
    }
}

impl Hub {
    fn expiry(&self, message: &Message, now: jiff::Timestamp) -> Result<jiff::Timestamp, Fault> {
        let after = |duration: Duration| {
            let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
            now.saturating_add(duration).unwrap_or(jiff::Timestamp::MAX)
        };
        let longest = Duration::from_secs(limits::CLOUD_TO_DEVICE_TTL_MAX_S);
        let invalid = |why: &str| {
            Fault::new(FaultKind::InvalidMessageExpiryTime, format!("the expiry time {why}"))
        };
        match message.system(SystemProperty::ExpiryTime) {
            None => Ok(after(self.inner.settings.cloud_to_device.ttl_default)),
            Some(text) => match iot_proto::time::parse(text) {
                None => Err(invalid("is not an ISO 8601 time")),
                Some(expires) if expires <= now => Err(invalid("has passed")),
                Some(expires) if expires > after(longest) => {
                    Err(invalid("is more than two days away"))
                }
                Some(expires) => Ok(expires),
            },
        }
    }
}
