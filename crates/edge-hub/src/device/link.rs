//! One local connection's line into the edge hub.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::device::Settle;
use gateway::auth::Principal;
use gateway::backend::{
    DeliveryKind, DeviceLink, Open, Receipt, Settlement, StoredSession, SubmitError, Subscriptions,
};
use gateway::session::{Delivery, DeviceSession, Downlink};
use journal::Record as JournalRecord;
use model::message::{Message, SystemProperty};
use model::method::MethodResponse;
use model::twin::Object;
use model::{Fault, IdentityId};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::core::Core;
use crate::forward::record;
use crate::routing::source_of;

/// A connection of one identity.
pub(crate) struct Link {
    core: Arc<Core>,
    principal: Principal,
    stored_session: StoredSession,
    session: DeviceSession,
    deliveries: Mutex<HashMap<Uuid, Delivered>>,
    /// A message without a route is told once for a connection.
    told_no_route: AtomicBool,
}

/// What the client's settlement leads to. Dropped: the connection is gone.
enum Delivered {
    Input(oneshot::Sender<Settlement>),
    CloudToDevice(Settle),
}

/// A message on its way to an input.
pub(crate) struct InputDelivery {
    link: Arc<Link>,
    lock: Uuid,
    pub(crate) settled: oneshot::Receiver<Settlement>,
}

impl Drop for InputDelivery {
    /// A settlement that comes later means nothing any more.
    fn drop(&mut self) {
        self.link.deliveries.lock().remove(&self.lock);
    }
}

impl Link {
    pub(super) fn new(core: Arc<Core>, open: &Open, session: DeviceSession) -> Self {
        Self {
            core,
            principal: open.principal.clone(),
            stored_session: open.stored_session,
            session,
            deliveries: Mutex::default(),
            told_no_route: AtomicBool::new(false),
        }
    }

    fn id(&self) -> &IdentityId {
        &self.principal.identity
    }

    /// Hands over a message for an input; none when the session is over.
    pub(crate) fn deliver_input(
        self: Arc<Self>,
        input: &str,
        message: Message,
    ) -> Option<InputDelivery> {
        let lock = host::entropy::uuid_v4();
        let (sender, settled) = oneshot::channel();
        self.deliveries.lock().insert(lock, Delivered::Input(sender));
        let downlink = Downlink::Input { input: input.to_owned(), lock, message };
        let sent = self.session.send(downlink);
        let delivery = InputDelivery { link: self, lock, settled };
        sent.ok().map(|()| delivery)
    }

    /// Hands over a cloud-to-device message, which is settled upstream when the client has it.
    /// What is not handed over stays with the hub.
    pub(crate) fn deliver_cloud_to_device(&self, message: Message, settle: Settle) {
        let lock = host::entropy::uuid_v4();
        self.deliveries.lock().insert(lock, Delivered::CloudToDevice(settle));
        let enqueued = self.core.clock.wall();
        let delivery = Delivery { lock, message, sequence: 0, enqueued, delivery_count: 0 };
        if self.session.send(Downlink::CloudToDevice(delivery)).is_err() {
            self.deliveries.lock().remove(&lock);
        }
    }

    /// Adds the copies of a message, one for each endpoint that a route leads to.
    fn copy_to_endpoints(
        &self,
        message: &Message,
        enqueued: jiff::Timestamp,
        records: &mut Vec<JournalRecord>,
    ) {
        let source = self.source(message);
        let active = self.core.routes.active();
        for target in active.table.targets(&source) {
            // Every queue of a table in force has its stream.
            let Some(stream) = active.streams.get(&target.queue) else { continue };
            let body = record::encode(self.id(), target.time_to_live, message);
            records.push(JournalRecord { stream: *stream, enqueued, body });
        }
    }

    fn source(&self, message: &Message) -> String {
        source_of(self.id(), &self.core.edge, message.system(SystemProperty::OutputName))
    }

    /// A message that no route wants is acknowledged and gone (T-ACK): that is worth a word.
    fn tell_no_route(&self, message: &Message) {
        self.core.counters.dropped_no_route.inc();
        if !self.told_no_route.swap(true, Ordering::Relaxed) {
            let source = self.source(message);
            tracing::warn!(id = %self.id(), source, "no route for this message; it is taken and dropped");
        }
    }
}

impl DeviceLink for Link {
    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError> {
        let refused = |error: SubmitError| {
            self.core.counters.refused.inc();
            error
        };
        self.core.forward.admit(&self.core).map_err(refused)?;
        let enqueued = self.core.clock.wall();
        let mut records = Vec::with_capacity(batch.len());
        let mut unrouted = Vec::new();
        for message in batch.iter() {
            let before = records.len();
            self.copy_to_endpoints(message, enqueued, &mut records);
            if records.len() == before {
                unrouted.push(message);
            }
        }
        let receipt = match records.is_empty() {
            true => Receipt::Done,
            false => match self.core.journal.append(records) {
                Ok(receipt) => Receipt::Journal(receipt),
                Err(journal::AppendError::Full) => return Err(SubmitError::Busy),
                Err(error) => return Err(refused(error.into())),
            },
        };
        unrouted.into_iter().for_each(|message| self.tell_no_route(message));
        self.core.counters.received.inc_by(batch.len() as u64);
        batch.clear();
        Ok(receipt)
    }

    async fn twin(&self) -> Result<Value, Fault> {
        self.core.twins.read(&self.core, self.id()).await
    }

    async fn report(&self, patch: Object, expected: Option<u64>) -> Result<Option<u64>, Fault> {
        self.core.twins.report(&self.core, self.id(), patch, expected).await
    }

    async fn subscribed(&self, subscriptions: Subscriptions) -> Result<(), Fault> {
        if self.stored_session == StoredSession::Resume && !subscriptions.restored {
            super::stored::save(&self.core.state, self.id(), &subscriptions.filters).await?;
        }
        self.core.sessions.set_subscriptions(self.id(), &self.session, subscriptions.clone());
        self.core.upstream.subscribe(self.id(), &subscriptions);
        Ok(())
    }

    /// Nothing to bound: one message per input queue is on its way at a time, and cloud-to-device
    /// messages come in the window of the connection upstream.
    fn permit(&self, _kind: DeliveryKind, _total: u64) {}

    fn method_answer(&self, call: Uuid, response: MethodResponse) {
        self.core.calls.answer(self.id(), call, response);
    }

    async fn settle(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        let delivered = self.deliveries.lock().remove(&lock);
        match (delivered, outcome) {
            // Nobody waits any more when the delivery took too long.
            (Some(Delivered::Input(sender)), outcome) => drop(sender.send(outcome)),
            (Some(Delivered::CloudToDevice(settle)), Settlement::Complete | Settlement::Reject) => {
                settle.complete();
            }
            // MQTT has no way to give it back; its lock at the hub runs out.
            (Some(Delivered::CloudToDevice(_)), Settlement::Abandon) | (None, _) => {}
        }
        Ok(())
    }

    async fn close(&self, graceful: bool) {
        let last = self.core.sessions.remove(self.id(), &self.session);
        self.deliveries.lock().clear();
        if last {
            self.core.calls.hang_up(self.id());
            self.core.upstream.local_closed(self.id());
            self.core.report.disconnected(self.id(), self.core.clock.wall());
        }
        tracing::debug!(id = %self.id(), graceful, "connection closed");
    }
}
