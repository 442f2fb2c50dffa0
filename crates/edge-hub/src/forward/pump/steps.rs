//! Doing what was decided: sending, moving to another queue, giving up.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::device::{ConnectionState, SendError, TrySendError};
use model::IdentityId;
use model::message::{Message, SystemProperty};

use super::outcomes::Flight;
use super::{Pump, STORE_AGAIN};
use crate::counters::Dropped;
use crate::forward::queue::{Slot, Step};
use crate::forward::{ParkError, record};
use crate::routing::{Endpoint, Queue};
use crate::upstream::LineHandle;

impl Pump {
    /// Takes the steps; true when some have to be planned anew.
    pub(super) async fn execute(&mut self, index: usize, steps: Vec<Step>) -> bool {
        let mut recalled = false;
        let mut parked: BTreeMap<Arc<IdentityId>, (Arc<str>, Vec<u64>)> = BTreeMap::new();
        // Asked for once for each sender. One whose line takes no more now keeps its order by taking
        // none of the later ones: it has none then.
        let mut handles: HashMap<Arc<IdentityId>, Option<LineHandle>> = HashMap::new();
        for step in steps {
            match step {
                Step::Send { sequence, attempt } => {
                    self.send(index, sequence, attempt, &mut handles).await;
                }
                Step::Park { sequence, reason } => {
                    if let Some(slot) = self.lanes[index].window.slot(sequence) {
                        let sender = Arc::clone(&slot.sender);
                        parked.entry(sender).or_insert((reason, Vec::new())).1.push(sequence);
                    }
                }
                Step::Expire { sequence } => self.expire(index, sequence),
                Step::Recall { sender } => {
                    self.core.upstream.close(&sender);
                    self.recall(&sender);
                    recalled = true;
                }
            }
        }
        if !parked.is_empty() {
            // What is under way of these senders in other lanes makes way, too.
            self.looked = None;
        }
        for (sender, (reason, sequences)) in parked {
            self.park(index, &sender, &reason, &sequences).await;
        }
        recalled
    }

    pub(super) fn recall(&mut self, sender: &IdentityId) {
        for lane in &mut self.lanes {
            lane.window.recall(sender);
        }
    }

    async fn send(
        &mut self,
        index: usize,
        sequence: u64,
        attempt: u32,
        handles: &mut HashMap<Arc<IdentityId>, Option<LineHandle>>,
    ) {
        let lane = &mut self.lanes[index];
        let Some(slot) = lane.window.slot(sequence) else { return };
        let sender = Arc::clone(&slot.sender);
        let handle = handles.entry(Arc::clone(&sender)).or_insert_with(|| {
            let handle = self.core.upstream.line(&self.core, &sender);
            handle.filter(|handle| handle.state == ConnectionState::Connected)
        });
        let Some(line) = handle else { return };
        let (stream, work) = (lane.stream, line.work.clone());
        let number = self.in_flight.add(Flight { stream, sequence, attempt, sender, work });
        match line.client.try_send(&upstream_message(&slot.message), number, &self.outcomes) {
            Ok(()) => {
                line.work.sent();
                lane.window.sent(sequence, self.core.clock.now());
            }
            Err(error) => {
                let flight = self.in_flight.take(number);
                match error {
                    // There is room again when something of this sender was acknowledged.
                    TrySendError::Full | TrySendError::Send(SendError::Closed) => *handle = None,
                    TrySendError::Send(error) => {
                        if let Some(Flight { sender, .. }) = flight {
                            self.bury(index, sequence, &sender, &error).await;
                        }
                    }
                    error => {
                        tracing::error!(%error, "message cannot be sent now");
                        *handle = None;
                    }
                }
            }
        }
    }

    /// A message that no further attempt would bring to the hub.
    pub(super) async fn bury(
        &mut self,
        index: usize,
        sequence: u64,
        sender: &IdentityId,
        error: &SendError,
    ) {
        let reason = host::logs::chain(error);
        tracing::error!(%sender, reason, "message can never be sent; it is kept with the dead letters");
        let queue = Queue { priority: self.lanes[index].priority, endpoint: Endpoint::Upstream };
        let body = self.body(index, sequence);
        let buried = self.core.forward.bury(&self.core, &queue, &reason, &body).await;
        self.moved(index, &[sequence], buried);
    }

    /// The message as it lies in another queue: with what is left of its time.
    fn body(&self, index: usize, sequence: u64) -> bytes::Bytes {
        let Some(slot) = self.lanes[index].window.slot(sequence) else {
            return bytes::Bytes::new();
        };
        let left = slot.expires.map(|expires| {
            let left = expires.duration_since(self.core.store_time.now());
            Duration::try_from(left).unwrap_or(Duration::ZERO)
        });
        record::encode(&slot.sender, left, &slot.message)
    }

    async fn park(&mut self, index: usize, sender: &IdentityId, reason: &str, sequences: &[u64]) {
        let bodies = sequences.iter().map(|sequence| self.body(index, *sequence)).collect();
        tracing::warn!(%sender, reason, messages = sequences.len(), "messages wait in the sender's own queue");
        let parked = self.core.forward.park(&self.core, sender, bodies, reason).await;
        self.moved(index, sequences, parked);
    }

    /// Messages lie in another queue now, or could not be moved and stay.
    fn moved(&mut self, index: usize, sequences: &[u64], result: Result<(), ParkError>) {
        match result {
            Ok(()) => {
                for sequence in sequences {
                    self.lanes[index].window.finish(*sequence);
                }
            }
            Err(error) => {
                tracing::error!(error = %host::logs::chain(&error), "messages stay where they are");
                self.rest_until = Some(self.core.clock.now() + STORE_AGAIN);
            }
        }
    }

    fn expire(&mut self, index: usize, sequence: u64) {
        let window = &mut self.lanes[index].window;
        if let Some(slot) = window.slot(sequence) {
            let Slot { sender, message, .. } = slot;
            tracing::debug!(%sender, sequence, "message is past its time to live");
            self.core.counters.dropped(Dropped::Expired, sender, message);
        }
        window.expire(sequence);
    }
}

/// The original does not send the output's name upstream (T-OUTPUT-LOST).
fn upstream_message(message: &Message) -> Cow<'_, Message> {
    if message.system(SystemProperty::OutputName).is_none() {
        return Cow::Borrowed(message);
    }
    let mut message = message.clone();
    message.system.retain(|(property, _)| *property != SystemProperty::OutputName);
    Cow::Owned(message)
}
