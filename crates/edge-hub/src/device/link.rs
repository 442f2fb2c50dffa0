//! One local connection's line into the edge hub.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::device::Settle;
use gateway::auth::Principal;
use gateway::backend::{
    DeliveryKind, DeviceLink, Open, Receipt, Settlement, StoredSession, SubmitError, Subscriptions,
};
use gateway::session::{Delivery, DeviceSession, Downlink};
use iot_proto::amqp::message::ReceivedFacts;
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
use crate::counters::{Dropped, Reception};
use crate::forward::record;
use crate::routing::{Routed, Sender, source_of, twin_changes};

/// A connection of one identity.
pub(crate) struct Link {
    core: Arc<Core>,
    principal: Principal,
    stored_session: StoredSession,
    session: DeviceSession,
    deliveries: Mutex<HashMap<Uuid, Delivered>>,
    inputs: Mutex<Window>,
    cloud_to_device: Mutex<(Window, VecDeque<Held>)>,
    /// A message without a route is told once for a connection.
    told_no_route: AtomicBool,
    /// Where its messages are counted: the output of the last one.
    counted: Mutex<Option<(String, Reception)>>,
}

/// What may be handed over: over MQTT anything, over AMQP what there is credit for.
#[derive(Debug, Default)]
struct Window {
    permitted: Option<u64>,
    given: u64,
}

impl Window {
    /// Takes one place; false when there is none.
    fn take(&mut self) -> bool {
        let has_room = self.permitted.is_none_or(|permitted| self.given < permitted);
        self.given += u64::from(has_room);
        has_room
    }
}

/// A message that came from upstream before there was credit for it. As many as the connection
/// upstream lets be under way.
struct Held {
    delivery: Delivery,
    settle: Settle,
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
            inputs: Mutex::default(),
            cloud_to_device: Mutex::default(),
            told_no_route: AtomicBool::new(false),
            counted: Mutex::default(),
        }
    }

    /// Who connected, and how that was proved.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    fn id(&self) -> &IdentityId {
        &self.principal.identity
    }

    /// Hands over a message for an input; none when the session is over or has no room for it. When
    /// there is room again the sessions tell.
    pub(crate) fn deliver_input(
        self: Arc<Self>,
        input: &str,
        message: Message,
    ) -> Option<InputDelivery> {
        if !self.inputs.lock().take() {
            return None;
        }
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
    pub(crate) fn deliver_cloud_to_device(
        &self,
        message: Message,
        facts: ReceivedFacts,
        settle: Settle,
    ) {
        let delivery = Delivery {
            lock: host::entropy::uuid_v4(),
            message,
            sequence: facts.sequence.unwrap_or_default(),
            enqueued: facts.enqueued.unwrap_or_else(|| self.core.clock.wall()),
            delivery_count: facts.delivery_count,
        };
        self.cloud_to_device.lock().1.push_back(Held { delivery, settle });
        self.hand_over_held();
    }

    /// Hands over what is held, as far as there is room.
    fn hand_over_held(&self) {
        loop {
            let next = {
                let (window, held) = &mut *self.cloud_to_device.lock();
                if held.is_empty() || !window.take() { None } else { held.pop_front() }
            };
            let Some(Held { delivery, settle }) = next else { return };
            let lock = delivery.lock;
            self.deliveries.lock().insert(lock, Delivered::CloudToDevice(settle));
            if self.session.send(Downlink::CloudToDevice(delivery)).is_err() {
                self.deliveries.lock().remove(&lock);
            }
        }
    }

    /// Adds the copies of a message, one for each endpoint that a route leads to.
    fn copy_to_endpoints(&self, message: &Message, records: &mut Vec<JournalRecord>) {
        let sender = self.sender();
        let active = self.core.routes.active();
        let (arrived, enqueued) = (self.core.clock.wall(), self.core.store_time.now());
        for target in active.table.targets(&Routed::telemetry(message, &sender, arrived)) {
            // Every queue of a table in force has its stream.
            let Some(stream) = active.streams.get(&target.queue) else { continue };
            let body = record::encode(self.id(), target.time_to_live, message);
            records.push(JournalRecord { stream: *stream, enqueued, body });
        }
    }

    fn count_taken(&self, batch: &[Message]) {
        let mut counted = self.counted.lock();
        for message in batch {
            let output = message.system(SystemProperty::OutputName).unwrap_or_default();
            let reception = match &mut *counted {
                Some((known, reception)) if known == output => reception,
                other => {
                    let reception = self.core.counters.reception(self.id(), output);
                    &mut other.insert((output.to_owned(), reception)).1
                }
            };
            reception.count(message);
        }
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            identity: self.id(),
            generation: &self.principal.generation,
            method: self.principal.method,
            edge: &self.core.edge,
        }
    }

    /// A message that no route wants is acknowledged and gone (T-ACK): that is worth a word.
    fn tell_no_route(&self, message: &Message) {
        self.core.counters.dropped(Dropped::NoRoute, self.id(), message);
        if !self.told_no_route.swap(true, Ordering::Relaxed) {
            let output = message.system(SystemProperty::OutputName);
            let source = source_of(self.id(), &self.core.edge, output);
            tracing::warn!(id = %self.id(), source, "no route for this message; it is taken and dropped");
        }
    }
}

impl DeviceLink for Link {
    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError> {
        let refused = |batch: &[Message], error: SubmitError| {
            // A batch that only has to wait comes again.
            if error != SubmitError::Busy {
                for message in batch {
                    self.core.counters.not_taken(self.id(), message);
                }
            }
            error
        };
        self.core.forward.admit(&self.core).map_err(|error| refused(batch, error))?;
        let mut records = Vec::with_capacity(batch.len());
        let mut unrouted = Vec::new();
        for message in batch.iter() {
            let before = records.len();
            self.copy_to_endpoints(message, &mut records);
            if records.len() == before {
                unrouted.push(message);
            }
        }
        let receipt = match records.is_empty() {
            true => Receipt::Done,
            false => match self.core.journal.append(records) {
                Ok(receipt) => Receipt::Journal(receipt),
                Err(journal::AppendError::Full) => return Err(SubmitError::Busy),
                Err(error) => return Err(refused(batch, error.into())),
            },
        };
        unrouted.into_iter().for_each(|message| self.tell_no_route(message));
        self.count_taken(batch);
        batch.clear();
        Ok(receipt)
    }

    async fn twin(&self) -> Result<Value, Fault> {
        let is_online = self.core.upstream.connected_since().is_some();
        let begun = self.core.clock.now();
        let twin = self.core.twins.read(&self.core, self.id()).await;
        let took = self.core.clock.now() - begun;
        self.core.counters.twin_read(self.id(), is_online, took);
        twin
    }

    async fn report(&self, patch: Object, expected: Option<u64>) -> Result<Option<u64>, Fault> {
        let is_online = self.core.upstream.connected_since().is_some();
        let begun = self.core.clock.now();
        let notice = twin_changes::notice(&self.core, self.id(), &patch);
        let version = self.core.twins.report(&self.core, self.id(), patch, expected).await;
        let took = self.core.clock.now() - begun;
        self.core.counters.twin_reported(self.id(), is_online, took);
        let version = version?;
        if let Some(notice) = notice {
            twin_changes::store(&self.core, &self.sender(), &notice).await;
        }
        Ok(version)
    }

    async fn subscribed(&self, subscriptions: Subscriptions) -> Result<(), Fault> {
        if self.stored_session == StoredSession::Resume && !subscriptions.restored {
            super::stored::save(&self.core.state, self.id(), &subscriptions.filters).await?;
        }
        self.core.sessions.set_subscriptions(self.id(), &self.session, subscriptions.clone());
        self.core.upstream.subscribe(self.id(), &subscriptions);
        Ok(())
    }

    fn permit(&self, kind: DeliveryKind, total: u64) {
        match kind {
            DeliveryKind::CloudToDevice => {
                self.cloud_to_device.lock().0.permitted = Some(total);
                self.hand_over_held();
            }
            DeliveryKind::Input => {
                self.inputs.lock().permitted = Some(total);
                // Whoever waits to deliver looks again.
                self.core.sessions.tell();
            }
        }
    }

    fn method_answer(&self, call: Uuid, response: MethodResponse) {
        if let Some((caller, since)) = self.core.calls.answer(self.id(), call, response) {
            let after = self.core.clock.now() - since;
            self.core.counters.method_answered(caller, self.id(), after);
        }
    }

    async fn settle(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        let delivered = self.deliveries.lock().remove(&lock);
        match (delivered, outcome) {
            // Nobody waits any more when the delivery took too long.
            (Some(Delivered::Input(sender)), outcome) => drop(sender.send(outcome)),
            (Some(Delivered::CloudToDevice(settle)), outcome) => match outcome {
                Settlement::Complete => settle.complete(),
                Settlement::Abandon => settle.abandon(),
                Settlement::Reject => settle.reject(),
            },
            (None, _) => {}
        }
        Ok(())
    }

    async fn close(&self, graceful: bool) {
        let last = self.core.sessions.remove(self.id(), &self.session);
        self.deliveries.lock().clear();
        self.cloud_to_device.lock().1.clear();
        if last {
            self.core.calls.hang_up(self.id());
            self.core.upstream.local_closed(self.id());
            self.core.report.disconnected(self.id(), self.core.clock.wall());
            self.core.counters.client_disconnected(self.id());
        }
        tracing::debug!(id = %self.id(), graceful, "connection closed");
    }
}
