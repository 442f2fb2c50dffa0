//! Telemetry: what came in one turn goes to the backend together, and is settled when it is durable,
//! in order (dp §4.4). While the backend is busy, nothing more is read.
//!
//! A message costs one walk over its sections and one copy of its body, into the journal's buffer;
//! receipts and dispositions are shared by what came together.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use amqp::connection::{Delivery, DeliveryId};
use amqp::{DeliveryState, Limits, batch};
use bytes::Bytes;
use host::clock::Mono;
use iot_proto::amqp::message::from_device;
use model::limits::TELEMETRY_BYTES_MAX;
use model::message::Message;
use model::{Fault, FaultKind, IdentityId};

use super::core::Core;
use super::devices::DeviceKey;
use super::nodes::Nodes;
use crate::auth::Identities;
use crate::backend::{DeviceBackend, DeviceLink, Receipt, SubmitError};

/// The telemetry of a connection.
#[derive(Default)]
pub(super) struct Telemetry {
    /// Identities with messages that the backend has not taken.
    dirty: Vec<DeviceKey>,
    /// What was taken but is not yet durable, in order.
    receipts: VecDeque<(Receipt, Vec<DeliveryId>)>,
    /// The wait for the first of them.
    durable: Option<Durable>,
    retry_at: Option<Mono>,
}

/// What an identity has sent in this turn.
#[derive(Default)]
pub(super) struct Batch {
    messages: Vec<Message>,
    deliveries: Vec<DeliveryId>,
}

/// Resolves when a batch is durable, or certainly not.
type Durable = Pin<Box<dyn Future<Output = Result<(), SubmitError>> + Send>>;

/// A journal whose queue is full has room again within a commit or two.
const RETRY_BUSY: Duration = Duration::from_millis(2);
/// Messages in one batch: with a few bytes each they fill 256 KiB. Ours.
const BATCH_MESSAGES_MAX: usize = 4096;

impl Telemetry {
    /// The backend has no room now.
    pub(super) fn is_busy(&self) -> bool {
        self.retry_at.is_some()
    }

    pub(super) fn retry_at(&self) -> Option<Mono> {
        self.retry_at
    }

    pub(super) fn retry(&mut self, now: Mono) {
        self.retry_at.take_if(|at| *at <= now);
    }

    /// Ready when the first batch is durable.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SubmitError>> {
        let Some(durable) = &mut self.durable else { return Poll::Pending };
        let result = std::task::ready!(durable.as_mut().poll(cx));
        self.durable = None;
        Poll::Ready(result)
    }
}

impl Batch {
    /// What a client sent right before it said goodbye counts, though nobody waits for its
    /// disposition any more.
    pub(super) fn last_words(&mut self, id: &IdentityId, link: &impl DeviceLink) {
        if self.messages.is_empty() {
            return;
        }
        if let Err(error) = link.submit(&mut self.messages) {
            tracing::warn!(%id, %error, "cannot store a client's last messages");
        }
    }
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// A message or a batch of them came.
    pub(super) fn telemetry(&mut self, key: DeviceKey, delivery: &Delivery) {
        let limits = self.machine_limits();
        let Some(device) = self.devices.get(key) else { return };
        let Batch { messages, deliveries } = &mut device.batch;
        let before = messages.len();
        let read = match delivery.format {
            batch::MESSAGE_FORMAT => read_batch(&delivery.message, &limits, messages),
            _ => read_message(&delivery.message, &limits).map(|message| messages.push(message)),
        };
        match read {
            Ok(()) => {
                deliveries.push(delivery.id);
                if deliveries.len() == 1 {
                    self.telemetry.dirty.push(key);
                }
            }
            Err(fault) => {
                // All or nothing.
                messages.truncate(before);
                self.refuse_telemetry(delivery.id, &fault);
            }
        }
    }

    /// Refuses a message. One that is too large costs its link, too (`security.md` B17).
    fn refuse_telemetry(&mut self, delivery: DeliveryId, fault: &Fault) {
        let error = self.error(fault);
        let state = DeliveryState::Rejected(Some(error.clone()));
        self.machine.settle(delivery, state);
        if fault.kind == FaultKind::MessageTooLarge {
            self.machine.detach(delivery.link(), Some(error));
            self.handle_detached(delivery.link());
        }
    }

    /// Hands what came to the backend.
    pub(super) fn submit_telemetry(&mut self) {
        if self.telemetry.is_busy() {
            return;
        }
        for key in std::mem::take(&mut self.telemetry.dirty) {
            let Some(device) = self.devices.get(key) else { continue };
            let Batch { messages, deliveries } = &mut device.batch;
            if deliveries.is_empty() {
                continue;
            }
            match device.link.submit(messages) {
                Ok(receipt) => {
                    let deliveries = std::mem::take(deliveries);
                    self.telemetry.receipts.push_back((receipt, deliveries));
                }
                Err(SubmitError::Busy) => {
                    self.telemetry.dirty.push(key);
                    self.telemetry.retry_at = Some(self.around.clock.now() + RETRY_BUSY);
                }
                Err(error) => {
                    messages.clear();
                    let deliveries = std::mem::take(deliveries);
                    self.not_stored(&deliveries, &error);
                }
            }
        }
    }

    /// Settles what is durable, in order, and waits for the rest.
    pub(super) fn release_telemetry(&mut self) {
        while self.telemetry.durable.is_none()
            && let Some((receipt, _)) = self.telemetry.receipts.front()
        {
            match receipt.poll_ready() {
                Some(result) => self.telemetry_durable(result),
                None => {
                    let receipt = receipt.clone();
                    let wait = Box::pin(async move { receipt.wait().await });
                    self.telemetry.durable = Some(wait);
                }
            }
        }
    }

    pub(super) fn telemetry_durable(&mut self, result: Result<(), SubmitError>) {
        let Some((_, deliveries)) = self.telemetry.receipts.pop_front() else { return };
        match result {
            Ok(()) => {
                for delivery in deliveries {
                    self.machine.settle(delivery, DeliveryState::Accepted);
                }
            }
            Err(error) => self.not_stored(&deliveries, &error),
        }
    }

    /// The sender hears of it and keeps its messages.
    fn not_stored(&mut self, deliveries: &[DeliveryId], error: &SubmitError) {
        tracing::warn!(peer = %self.around.peer, %error, "telemetry is not stored");
        let error = self.error(&Fault::unavailable(error.to_string()));
        for delivery in deliveries {
            let state = DeliveryState::Rejected(Some(error.clone()));
            self.machine.settle(*delivery, state);
        }
    }
}

fn read_message(encoded: &Bytes, limits: &Limits) -> Result<Message, Fault> {
    let message = amqp::Message::decode(encoded, limits).map_err(malformed)?;
    let message = from_device(message).map_err(malformed)?;
    match message.size_bytes() {
        size if size > TELEMETRY_BYTES_MAX => Err(too_large("the message", size)),
        _ => Ok(message),
    }
}

fn read_batch(encoded: &Bytes, limits: &Limits, into: &mut Vec<Message>) -> Result<(), Fault> {
    let batch = batch::open(encoded, limits).map_err(malformed)?;
    if batch.len() > BATCH_MESSAGES_MAX {
        let text = format!("the batch has more than {BATCH_MESSAGES_MAX} messages");
        return Err(Fault::new(FaultKind::MessageTooLarge, text));
    }
    let mut size = 0;
    for message in batch {
        let (_, message) = message.map_err(malformed)?;
        let message = from_device(message).map_err(malformed)?;
        size += message.size_bytes();
        if size > TELEMETRY_BYTES_MAX {
            return Err(too_large("the batch", size));
        }
        into.push(message);
    }
    Ok(())
}

fn malformed(error: impl std::fmt::Display) -> Fault {
    Fault::argument(error.to_string())
}

fn too_large(what: &str, size: usize) -> Fault {
    let text = format!(
        "{what} has {size} bytes or more with properties; at most {TELEMETRY_BYTES_MAX} are allowed"
    );
    Fault::new(FaultKind::MessageTooLarge, text)
}
