//! Delivery of cloud-to-device messages to one connection: a window of locked messages, refilled
//! as they are settled.

use std::collections::HashMap;
use std::time::Duration;

use gateway::backend::Settlement;
use gateway::session::{Delivery, Downlink};
use host::clock::Mono;
use model::limits;
use model::{DeviceId, Fault, FaultKind};
use parking_lot::Mutex;
use store::cloud_to_device::Settlement as StoredSettlement;
use uuid::Uuid;

use super::link::Link;
use crate::{Hub, fault};

/// How often queues are swept for expired messages and lost locks.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How long a delivery stays locked.
const LOCK: Duration = Duration::from_secs(limits::CLOUD_TO_DEVICE_LOCK_S);

/// What one connection holds.
#[derive(Default)]
pub(super) struct Deliveries {
    state: Mutex<State>,
    /// One refill at a time, so that messages go out in order.
    refill: tokio::sync::Mutex<()>,
}

struct State {
    listening: bool,
    /// Deliveries that the session takes in all, and those it was given.
    permitted: u64,
    given: u64,
    /// Deliveries that are not settled, with the end of their lock.
    outstanding: HashMap<Uuid, Mono>,
}

impl Default for State {
    fn default() -> Self {
        Self { listening: false, permitted: u64::MAX, given: 0, outstanding: HashMap::new() }
    }
}

impl Deliveries {
    pub(super) fn set_listening(&self, listening: bool) {
        self.state.lock().listening = listening;
    }

    pub(super) fn permit(&self, total: u64) {
        self.state.lock().permitted = total;
    }

    fn handed_over(&self, lock: Uuid, ends: Mono) {
        let mut state = self.state.lock();
        state.given += 1;
        state.outstanding.insert(lock, ends);
    }

    /// How many more may be delivered now.
    fn room(&self, now: Mono) -> usize {
        let mut state = self.state.lock();
        state.outstanding.retain(|_, ends| *ends > now);
        if state.listening {
            let window = limits::CLOUD_TO_DEVICE_WINDOW.saturating_sub(state.outstanding.len());
            let permitted = state.permitted.saturating_sub(state.given);
            window.min(usize::try_from(permitted).unwrap_or(usize::MAX))
        } else {
            0
        }
    }
}

impl Link {
    /// Gives the connection what waits for it, as far as its window goes.
    pub(super) async fn deliver_cloud_to_device(&self) {
        let _one_at_a_time = self.deliveries.refill.lock().await;
        loop {
            let now = self.hub.inner.clock.now();
            let room = self.deliveries.room(now);
            if room == 0 {
                return;
            }
            let device = &self.id().device;
            let queues = &self.hub.stores().cloud_to_device;
            let deliveries_max = self.hub.inner.settings.cloud_to_device.deliveries_max;
            let locked = queues.lock(device, room, LOCK, deliveries_max, self.hub.now()).await;
            let locked = match locked {
                Ok(locked) if locked.is_empty() => return,
                Ok(locked) => locked,
                Err(error) => {
                    tracing::warn!(id = %device, error = %host::logs::chain(&error), "cannot read queued messages");
                    return;
                }
            };
            // All of them before the first is sent: whatever was locked is given back at the end.
            for message in &locked {
                self.deliveries.handed_over(message.lock, now + LOCK);
            }
            for message in locked {
                let delivery = Delivery {
                    lock: message.lock,
                    sequence: message.sequence,
                    enqueued: message.enqueued,
                    delivery_count: message.delivery_count,
                    message: message.message,
                };
                if self.session.send(Downlink::CloudToDevice(delivery)).is_err() {
                    // The connection's end gives the locks back.
                    return;
                }
            }
        }
    }

    pub(super) async fn settle_cloud_to_device(
        &self,
        lock: Uuid,
        outcome: Settlement,
    ) -> Result<(), Fault> {
        let outcome = stored_settlement(outcome);
        let settled = self
            .hub
            .stores()
            .cloud_to_device
            .settle(&self.id().device, lock, outcome, self.hub.now())
            .await;
        self.deliveries.state.lock().outstanding.remove(&lock);
        settled.map_err(|error| fault(error, FaultKind::DeviceMessageLockLost, &"lock"))?;
        self.deliver_cloud_to_device().await;
        Ok(())
    }

    /// The connection is gone: what it holds is free for the next one.
    pub(super) async fn unlock_deliveries(&self) {
        let _no_refill = self.deliveries.refill.lock().await;
        let held: Vec<Uuid> =
            self.deliveries.state.lock().outstanding.drain().map(|(lock, _)| lock).collect();
        if held.is_empty() {
            return;
        }
        for lock in held {
            let abandon = StoredSettlement::Abandon;
            let freed = self
                .hub
                .stores()
                .cloud_to_device
                .settle(&self.id().device, lock, abandon, self.hub.now())
                .await;
            if let Err(error) = freed {
                tracing::debug!(id = %self.id(), error = %error, "lock was lost already");
            }
        }
        // Another connection of the device may be there already, and have found nothing.
        self.hub.wake(self.id().device.clone());
    }
}

/// A settlement as the stores have it.
pub(crate) fn stored_settlement(outcome: Settlement) -> StoredSettlement {
    match outcome {
        Settlement::Complete => StoredSettlement::Complete,
        Settlement::Abandon => StoredSettlement::Abandon,
        Settlement::Reject => StoredSettlement::Reject,
    }
}

impl Hub {
    /// Frees locks that ran out and drops expired messages, for ever.
    pub(crate) async fn sweep_cloud_to_device(&self) {
        loop {
            self.inner.clock.sleep(SWEEP_EVERY).await;
            let deliveries_max = self.inner.settings.cloud_to_device.deliveries_max;
            match self.stores().cloud_to_device.sweep(deliveries_max, self.now()).await {
                Ok(devices) => devices.into_iter().for_each(|device| self.wake(device)),
                Err(error) => {
                    tracing::warn!(error = %host::logs::chain(&error), "cannot sweep message queues");
                }
            }
        }
    }

    pub(super) fn wake(&self, device: DeviceId) {
        let id = model::IdentityId::device(device);
        self.stores().signals.send(store::signals::Signal::CloudToDevice(id));
    }
}
