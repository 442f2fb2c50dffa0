//! Moves the hub's own events from the outbox to the event log.

use std::time::Duration;

use model::message::{Message, SystemProperty};
use model::{DeviceId, GenerationId};
use serde_json::Value;
use store::StoreError;
use store::embedded::event_format;
use store::events::{AuthMethod, NewEvent, Source};
use store::outbox::{HubEvent, HubEventKind};

use crate::{Hub, routing};

/// The lease of whoever moves the outbox, and how long it lasts without being renewed.
const LEASE: &str = "outbox";
const LEASE_LASTS: Duration = Duration::from_secs(30);
/// Events moved at once.
const BATCH_MAX: usize = 256;
/// The pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Hub {
    /// Moves events for ever. At least once: a crash between the two steps moves a batch again.
    pub(crate) async fn move_outbox(&self) {
        let owner = host::entropy::uuid_v4().to_string();
        loop {
            match self.move_some(&owner).await {
                Ok(true) => {}
                Ok(false) => {
                    // Renewed before it runs out, even when nothing happens.
                    let _ = self
                        .inner
                        .clock
                        .timeout(LEASE_LASTS / 3, self.stores().outbox.wait())
                        .await;
                }
                Err(error) => {
                    tracing::warn!(error = %host::logs::chain(&error), "cannot move events from the outbox");
                    self.inner.clock.sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Moves a batch; whether there was one.
    async fn move_some(&self, owner: &str) -> Result<bool, StoreError> {
        let stores = self.stores();
        if stores.leases.acquire(LEASE, owner, LEASE_LASTS).await?.is_none() {
            return Ok(false);
        }
        let events = stores.outbox.peek(BATCH_MAX).await?;
        let Some((last, _)) = events.last() else {
            return Ok(false);
        };
        let partitions = stores.events.partitions();
        let hub_name = &self.inner.settings.host_names[0];
        let batch =
            events.iter().map(|(_, event)| self.stored(event, partitions, hub_name)).collect();
        let unavailable = |error: journal::AppendError| StoreError::Unavailable(error.to_string());
        match stores.events.append(batch) {
            Ok(receipt) => receipt.wait().await.map_err(unavailable)?,
            // It will never fit; without it the others can go on. The limits of twins keep events
            // far below a record's, so this is a mistake of ours.
            Err(journal::AppendError::RecordTooLarge { .. }) => {
                return self.move_one_by_one(events).await;
            }
            Err(error) => return Err(unavailable(error)),
        }
        stores.outbox.remove_through(*last).await?;
        Ok(true)
    }

    async fn move_one_by_one(&self, events: Vec<(u64, HubEvent)>) -> Result<bool, StoreError> {
        let stores = self.stores();
        let (partitions, hub_name) =
            (stores.events.partitions(), &self.inner.settings.host_names[0]);
        for (number, event) in events {
            match stores.events.append(vec![self.stored(&event, partitions, hub_name)]) {
                Ok(receipt) => receipt
                    .wait()
                    .await
                    .map_err(|error| StoreError::Unavailable(error.to_string()))?,
                Err(error) => {
                    tracing::error!(subject = %event.subject, %error, "event is left out of the log");
                }
            }
            stores.outbox.remove_through(number).await?;
        }
        Ok(true)
    }

    fn stored(&self, event: &HubEvent, partitions: u32, hub_name: &str) -> NewEvent {
        let message = message(event, hub_name);
        let source = match event.kind {
            HubEventKind::IdentityCreated | HubEventKind::IdentityDeleted => Source::Lifecycle,
            HubEventKind::TwinUpdated | HubEventKind::TwinReplaced => Source::TwinChange,
        };
        let body = event_format::encode_parts(
            source,
            &event.subject,
            &event.generation,
            AuthMethod::Hub,
            &message,
        );
        let partition = routing::partition(&event.subject.device, partitions);
        NewEvent { partition, enqueued: self.now(), body }
    }
}

/// The message of an event (`device-protocol.md` §10).
fn message(event: &HubEvent, hub_name: &str) -> Message {
    let is_module = event.subject.module.is_some();
    let (operation, schema) = match (event.kind, is_module) {
        (HubEventKind::IdentityCreated, false) => {
            ("createDeviceIdentity", "deviceLifecycleNotification")
        }
        (HubEventKind::IdentityCreated, true) => {
            ("createModuleIdentity", "moduleLifecycleNotification")
        }
        (HubEventKind::IdentityDeleted, false) => {
            ("deleteDeviceIdentity", "deviceLifecycleNotification")
        }
        (HubEventKind::IdentityDeleted, true) => {
            ("deleteModuleIdentity", "moduleLifecycleNotification")
        }
        (HubEventKind::TwinUpdated, _) => ("updateTwin", "twinChangeNotification"),
        (HubEventKind::TwinReplaced, _) => ("replaceTwin", "twinChangeNotification"),
    };
    let mut message = Message::from_body(event.body.to_string())
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8")
        .with_system(SystemProperty::UserId, hub_name)
        .with_system(SystemProperty::MessageSchema, schema);
    message.set_property("hubName", hub_name);
    message.set_property("deviceId", event.subject.device.as_str());
    if let Some(module) = &event.subject.module {
        message.set_property("moduleId", module.as_str());
    }
    message.set_property("operationTimestamp", iot_proto::time::round_trip(event.time));
    message.set_property("opType", operation);
    message.set_property("iothub-message-schema", schema);
    message
}

/// The lifecycle event of an identity: its body is the fresh twin.
pub(crate) fn lifecycle(
    kind: HubEventKind,
    device: &DeviceId,
    module: Option<&model::ModuleId>,
    generation: &GenerationId,
    time: jiff::Timestamp,
) -> HubEvent {
    let subject = model::IdentityId { device: device.clone(), module: module.cloned() };
    let section =
        serde_json::json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1});
    let mut body = serde_json::json!({"deviceId": device.as_str()});
    if let (Some(module), Value::Object(body)) = (module, &mut body) {
        body.insert("moduleId".into(), module.as_str().into());
    }
    body["etag"] = "AAAAAAAAAAE=".into();
    body["version"] = 2.into();
    body["properties"] = serde_json::json!({"desired": section, "reported": section});
    HubEvent { kind, subject, generation: generation.clone(), time, body }
}
