//! Cloud-to-device messages and messages to a module's inputs: delivered by credit, with the lock as
//! the delivery's tag, settled by their disposition (dp §4.5).

use std::collections::{HashMap, VecDeque};

use amqp::connection::{DeliveryId, LinkId, Outgoing, SendError};
use amqp::{Connection, DeliveryState};
use bytes::Bytes;
use iot_proto::amqp::message::{self, DeliveryFacts};
use model::message::Message;
use uuid::Uuid;

use super::core::Core;
use super::devices::DeviceKey;
use super::links::Use;
use super::nodes::Nodes;
use super::requests::Request;
use crate::auth::Identities;
use crate::backend::{DeliveryKind, DeviceBackend, Settlement};
use crate::session::Delivery;

/// The messages of one kind on their way to an identity.
pub(super) struct Deliveries {
    kind: DeliveryKind,
    link: Option<LinkId>,
    /// The client takes everything as settled when it is sent.
    sends_settled: bool,
    /// What the backend has handed over in all.
    taken: u64,
    /// What the session's window has no room for.
    waiting: VecDeque<(Uuid, Bytes)>,
    locks: HashMap<DeliveryId, Uuid>,
    /// Sent settled, to be completed.
    completed: Vec<Uuid>,
}

impl Deliveries {
    pub(super) fn new(kind: DeliveryKind) -> Self {
        Self {
            kind,
            link: None,
            sends_settled: false,
            taken: 0,
            waiting: VecDeque::new(),
            locks: HashMap::new(),
            completed: Vec::new(),
        }
    }

    /// A link takes them from now on; gives the one before, and what is permitted without credit.
    pub(super) fn attach(
        &mut self,
        link: LinkId,
        sends_settled: bool,
    ) -> (Option<LinkId>, DeliveryKind, u64) {
        self.sends_settled = sends_settled;
        let before = self.link.replace(link);
        let (kind, total) = self.permits(0);
        (before, kind, total)
    }

    /// The link is gone; gives the locks of what it leaves unsettled, and what is permitted now.
    /// None when it was another link.
    pub(super) fn detach(&mut self, link: LinkId) -> Option<(Vec<Uuid>, DeliveryKind, u64)> {
        self.link.take_if(|known| *known == link)?;
        let waiting = self.waiting.drain(..).map(|(lock, _)| lock);
        let locks = waiting.chain(self.locks.drain().map(|(_, lock)| lock)).collect();
        let (kind, total) = self.permits(0);
        Some((locks, kind, total))
    }

    /// What the session may be given in all when the link has this credit: what has left, or was
    /// given back, and the credit.
    pub(super) fn permits(&self, credit: u32) -> (DeliveryKind, u64) {
        let gone = self.taken - self.waiting.len() as u64;
        (self.kind, gone + u64::from(credit))
    }

    pub(super) fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a message; false when no link takes it.
    fn push(&mut self, lock: Uuid, message: Bytes) -> bool {
        self.taken += 1;
        if self.link.is_some() {
            self.waiting.push_back((lock, message));
        }
        self.link.is_some()
    }

    /// Sends what can be sent, in order.
    pub(super) fn flush(&mut self, machine: &mut Connection) {
        let Some(link) = self.link else { return };
        while let Some((lock, message)) = self.waiting.front() {
            let tag = message::lock_tag(*lock);
            let settled = self.sends_settled;
            let outgoing = Outgoing { tag, message: message.clone(), format: 0, settled };
            match machine.send(link, outgoing) {
                Ok(_) if settled => self.completed.push(*lock),
                Ok(delivery) => drop(self.locks.insert(delivery, *lock)),
                Err(SendError::MessageTooLarge { size_bytes, size_bytes_max }) => {
                    tracing::warn!(
                        size_bytes,
                        size_bytes_max,
                        "a client's link takes no message of this size; it is left to its lock"
                    );
                }
                Err(_) => break,
            }
            self.waiting.pop_front();
        }
    }

    /// What was sent settled since the last time.
    pub(super) fn take_completed(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.completed)
    }
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// A cloud-to-device message for an identity.
    pub(super) fn cloud_to_device(&mut self, key: DeviceKey, delivery: Delivery) {
        let Some(device) = self.devices.get(key) else { return };
        let Delivery { lock, message, sequence, enqueued, delivery_count } = delivery;
        let facts = DeliveryFacts { lock, sequence, enqueued, delivery_count };
        let encoded = message::cloud_to_device(&device.id, &message, facts).to_bytes();
        if !device.cloud_to_device.push(lock, encoded) {
            self.give_back(key, lock);
        }
    }

    /// A message for an input of a module.
    pub(super) fn input(&mut self, key: DeviceKey, input: &str, lock: Uuid, message: &Message) {
        let Some(device) = self.devices.get(key) else { return };
        let encoded = message::module_input(input, lock, message).to_bytes();
        if !device.inputs.push(lock, encoded) {
            self.give_back(key, lock);
        }
    }

    /// Nobody takes it any more.
    fn give_back(&mut self, key: DeviceKey, lock: Uuid) {
        self.request(key, Request::Settle { lock, outcome: Settlement::Abandon, back: None });
    }

    /// The client has settled a message.
    pub(super) fn delivery_settled(
        &mut self,
        key: DeviceKey,
        usage: Use,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let Some(device) = self.devices.get(key) else { return };
        let deliveries = match usage {
            Use::Inputs => &mut device.inputs,
            _ => &mut device.cloud_to_device,
        };
        let outcome = match &state {
            Some(DeliveryState::Accepted) => Settlement::Complete,
            Some(DeliveryState::Rejected(_)) => Settlement::Reject,
            Some(DeliveryState::Received { .. }) => return,
            // Settled without a word, it may not have been looked at.
            Some(_) | None => Settlement::Abandon,
        };
        let Some(lock) = deliveries.locks.remove(&delivery) else { return };
        let back = (!settled).then(|| (delivery, state.unwrap_or(DeliveryState::Released)));
        self.request(key, Request::Settle { lock, outcome, back });
    }
}
