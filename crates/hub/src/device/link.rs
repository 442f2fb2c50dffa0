//! One connection's line into the hub.

use std::sync::Arc;

use gateway::auth::Principal;
use gateway::backend::{
    DeliveryKind, DeviceLink, Open, Receipt, Settlement, StoredSession, SubmitError, Subscriptions,
};
use gateway::session::{CloseReason, DeviceSession};
use model::message::{Message, SystemProperty};
use model::method::MethodResponse;
use model::twin::Object;
use model::{DeviceId, Fault, FaultKind, IdentityId};
use serde_json::Value;
use store::StoreError;
use store::signals::Signal;
use store::twins::{Mutation, TwinWrite};
use uuid::Uuid;

use super::cloud_to_device::Deliveries;
use crate::{Hub, fault, routing};

/// A connection of one identity.
pub struct Link {
    pub(super) hub: Hub,
    principal: Principal,
    model_id: Option<String>,
    stored_session: StoredSession,
    pub(super) session: DeviceSession,
    epoch: u64,
    partition: u32,
    pub(super) deliveries: Deliveries,
}

impl Link {
    pub(super) fn new(hub: Hub, open: Open, session: DeviceSession, epoch: u64) -> Self {
        let partitions = hub.stores().events.partitions();
        let partition = routing::partition(&open.principal.identity.device, partitions);
        Self {
            hub,
            principal: open.principal,
            model_id: open.model_id,
            stored_session: open.stored_session,
            session,
            epoch,
            partition,
            deliveries: Deliveries::default(),
        }
    }

    /// Who it is, and what proved it.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Ends its session.
    pub(crate) fn close_session(&self, reason: CloseReason) {
        self.session.close(reason);
    }

    /// The edge device whose edge hub vouched for the identity.
    pub(crate) fn actor(&self) -> Option<&DeviceId> {
        self.principal.evidence.actor.as_ref().map(|actor| &actor.device)
    }

    pub(super) fn id(&self) -> &IdentityId {
        &self.principal.identity
    }

    fn not_found(&self) -> FaultKind {
        if self.id().module.is_some() {
            FaultKind::ModuleNotFound
        } else {
            FaultKind::DeviceNotFound
        }
    }

    /// Wakes the delivery of cloud-to-device messages, without waiting for it.
    pub(crate) fn wake_cloud_to_device(self: &Arc<Self>) {
        let link = Arc::clone(self);
        tokio::spawn(async move { link.deliver_cloud_to_device().await });
    }
}

impl DeviceLink for Link {
    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError> {
        let enqueued = self.hub.now();
        let events = batch
            .iter_mut()
            .map(|message| {
                if let Some(model_id) = &self.model_id {
                    message.set_system(SystemProperty::ModelId, model_id.as_str());
                }
                routing::telemetry(&self.principal, self.partition, message, enqueued)
            })
            .collect();
        let receipt = self.hub.stores().events.append(events)?;
        batch.clear();
        Ok(Receipt::Journal(receipt))
    }

    async fn twin(&self) -> Result<Value, Fault> {
        let twin = self.hub.stores().twins.twin(self.id()).await;
        let twin = twin.map_err(|error| fault(error, self.not_found(), self.id()))?;
        match twin {
            Some(record) => Ok(record.twin.device_view()),
            None => Err(fault(StoreError::NotFound, self.not_found(), self.id())),
        }
    }

    async fn report(&self, patch: Object, expected: Option<u64>) -> Result<Option<u64>, Fault> {
        let write = TwinWrite {
            id: self.id().clone(),
            mutation: Mutation::Report(patch, expected),
            now: self.hub.now(),
        };
        match self.hub.stores().twins.write(vec![write]).await.into_iter().next() {
            Some(Ok(written)) => Ok(Some(written.twin.reported.version)),
            Some(Err(error)) => Err(fault(error, self.not_found(), self.id())),
            None => Err(Fault::unavailable("the store gave no answer")),
        }
    }

    async fn subscribed(&self, subscriptions: Subscriptions) -> Result<(), Fault> {
        if self.stored_session == StoredSession::Resume && !subscriptions.restored {
            let filters = subscriptions.filters.iter().cloned().collect();
            let saved = self.hub.stores().sessions.save(self.id(), filters).await;
            saved.map_err(|error| fault(error, self.not_found(), self.id()))?;
        }
        let deliver = subscriptions.cloud_to_device && self.id().module.is_none();
        self.deliveries.set_listening(deliver);
        self.hub.inner.sessions.set_subscriptions(self.id(), &self.session, subscriptions);
        if deliver {
            self.deliver_cloud_to_device().await;
        }
        Ok(())
    }

    fn permit(&self, kind: DeliveryKind, total: u64) {
        if kind == DeliveryKind::CloudToDevice {
            self.deliveries.permit(total);
            self.hub.wake(self.id().device.clone());
        }
    }

    fn method_answer(&self, call: Uuid, response: MethodResponse) {
        self.hub.stores().signals.send(Signal::MethodReply { call, outcome: Ok(response) });
    }

    async fn settle(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        self.settle_cloud_to_device(lock, outcome).await
    }

    async fn close(&self, graceful: bool) {
        let hub = &self.hub;
        self.deliveries.set_listening(false);
        hub.inner.sessions.remove(self.id(), &self.session);
        if let Err(error) = hub.stores().presence.release(self.id(), self.epoch, hub.now()).await {
            tracing::warn!(id = %self.id(), error = %host::logs::chain(&error), "cannot note a disconnect");
        }
        self.unlock_deliveries().await;
        tracing::debug!(id = %self.id(), graceful, "connection closed");
    }
}
