//! Feedback on cloud-to-device messages, as back ends receive it.

use std::time::Duration;

use gateway::backend::Settlement;
use gateway::backend::feedback::{Feedback, FeedbackBackend};
use model::{Fault, FaultKind, limits};
use store::StoreError;
use store::feedback::Rules;
use tokio::sync::watch;
use uuid::Uuid;

use crate::device::stored_settlement;
use crate::{Hub, fault};

/// How often is looked whether records are due and locks are lost.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Tells receivers that there may be something.
#[derive(Default)]
pub(crate) struct Ready(watch::Sender<()>);

impl FeedbackBackend for Hub {
    async fn lock_feedback(&self, limit: usize) -> Result<Vec<Feedback>, Fault> {
        let locked = self.stores().feedback.lock_feedback(limit, self.rules(), self.now()).await;
        let locked = locked.map_err(unavailable)?;
        let given = locked.into_iter().map(|message| Feedback {
            lock: message.lock,
            id: message.id,
            enqueued: message.enqueued,
            delivery_count: message.delivery_count,
            records: message.records,
        });
        Ok(given.collect())
    }

    async fn settle_feedback(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        let stored = stored_settlement(outcome);
        let settled = self.stores().feedback.settle_feedback(lock, stored, self.now()).await;
        settled.map_err(unavailable)?;
        if outcome == Settlement::Abandon {
            self.inner.feedback_ready.0.send_replace(());
        }
        Ok(())
    }

    fn feedback_ready(&self) -> watch::Receiver<()> {
        self.inner.feedback_ready.0.subscribe()
    }
}

impl Hub {
    fn rules(&self) -> Rules {
        let settings = &self.inner.settings.cloud_to_device.feedback;
        Rules {
            records_max: limits::FEEDBACK_RECORDS_MAX,
            gathering: Duration::from_secs(limits::FEEDBACK_GATHERING_S),
            ttl: settings.ttl,
            lock: settings.lock,
            deliveries_max: settings.deliveries_max,
        }
    }

    /// Makes messages of records that are due and wakes receivers, for ever.
    pub(crate) async fn sweep_feedback(&self) {
        loop {
            self.inner.clock.sleep(SWEEP_EVERY).await;
            match self.stores().feedback.sweep_feedback(self.rules(), self.now()).await {
                Ok(true) => {
                    self.inner.feedback_ready.0.send_replace(());
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = %host::logs::chain(&error), "cannot sweep feedback");
                }
            }
        }
    }
}

fn unavailable(error: StoreError) -> Fault {
    match error {
        StoreError::NotFound => Fault::new(
            FaultKind::DeviceMessageLockLost,
            "the lock is lost or unknown; the message comes again",
        ),
        error => fault(error, FaultKind::GenericNotFound, &"feedback"),
    }
}
