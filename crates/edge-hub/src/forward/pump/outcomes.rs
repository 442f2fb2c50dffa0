//! What came of sendings: what is under way, who was acknowledged when, and what is counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::device::{Outcome, SendError};
use host::clock::Mono;
use journal::StreamId;
use model::IdentityId;
use model::message::SystemProperty;

use super::Pump;
use crate::counters::{Delivery, Way};
use crate::upstream::Work;

/// A message that was handed to a line.
pub(super) struct Flight {
    pub(super) stream: StreamId,
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    pub(super) sender: Arc<IdentityId>,
    pub(super) work: Work,
}

/// All that are under way, by number; a number is free again when its outcome has come.
#[derive(Default)]
pub(super) struct Flights {
    places: Vec<Option<Flight>>,
    free: Vec<usize>,
}

impl Flights {
    pub(super) fn add(&mut self, flight: Flight) -> u64 {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(flight);
                place as u64
            }
            None => {
                self.places.push(Some(flight));
                self.places.len() as u64 - 1
            }
        }
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Flight> {
        let place = usize::try_from(number).ok()?;
        let flight = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        Some(flight)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

/// What a pump has seen of senders.
#[derive(Default)]
pub(super) struct Seen {
    senders: HashMap<Arc<IdentityId>, Sender>,
    /// Whose message the hub acknowledged last, and the last one of somebody else.
    last: [Option<(Arc<IdentityId>, Mono)>; 2],
}

#[derive(Default)]
struct Sender {
    /// When the hub last acknowledged something of it.
    acknowledged: Option<Mono>,
    /// Where its deliveries are counted: the output and the priority that they came by.
    counted: Option<(String, u32, Delivery)>,
}

impl Seen {
    pub(super) fn acknowledged(&self, sender: &IdentityId) -> Option<Mono> {
        self.senders.get(sender)?.acknowledged
    }

    /// When the hub last acknowledged something of somebody else.
    pub(super) fn others_acknowledged(&self, sender: &IdentityId) -> Option<Mono> {
        let mut others = self.last.iter().flatten().filter(|(id, _)| **id != *sender);
        others.next().map(|(_, at)| *at)
    }

    fn sender(&mut self, sender: &Arc<IdentityId>) -> &mut Sender {
        if !self.senders.contains_key(sender) {
            if self.senders.len() >= SENDERS_SEEN_MAX {
                // The others' stalls are measured from when their messages were read.
                self.senders.clear();
            }
            self.senders.insert(Arc::clone(sender), Sender::default());
        }
        self.senders.entry(Arc::clone(sender)).or_default()
    }

    fn note_acknowledged(&mut self, sender: &Arc<IdentityId>, now: Mono) {
        if self.last[0].as_ref().is_some_and(|(id, _)| *id != *sender) {
            self.last.swap(0, 1);
        }
        self.last[0] = Some((Arc::clone(sender), now));
        self.sender(sender).acknowledged = Some(now);
    }
}

impl Pump {
    /// Notes what came of sendings, and lets the queues forget what is finished.
    pub(super) async fn settle_all(&mut self, came: &mut Vec<Outcome>) {
        for Outcome { number, result } in came.drain(..) {
            if let Some(flight) = self.in_flight.take(number) {
                flight.work.settled();
                self.settle(flight, result).await;
            }
        }
        for index in 0..self.lanes.len() {
            self.trim(index);
        }
    }

    /// The hub has a message, refuses it for good, or its line is lost.
    async fn settle(&mut self, flight: Flight, result: Result<(), SendError>) {
        let Flight { stream, sequence, attempt, sender, .. } = flight;
        let Some(index) = self.lanes.iter().position(|lane| lane.stream == stream) else { return };
        match result {
            Ok(()) => {
                self.count_delivered(index, sequence);
                self.lanes[index].window.finish(sequence);
                self.seen.note_acknowledged(&sender, self.core.clock.now());
            }
            Err(SendError::Closed) => {
                if self.lanes[index].window.failed(sequence, attempt) {
                    self.core.counters.retried(&sender, "SendMessage");
                    self.recall(&sender);
                }
            }
            Err(error) => {
                self.bury(index, sequence, &sender, &error).await;
                // Where there is no room for it, it is tried again.
                if self.lanes[index].window.failed(sequence, attempt) {
                    self.recall(&sender);
                }
            }
        }
    }

    fn count_delivered(&mut self, index: usize, sequence: u64) {
        let lane = &self.lanes[index];
        let Some(slot) = lane.window.slot(sequence).filter(|slot| !slot.is_finished()) else {
            return;
        };
        let sending = self.core.clock.now() - slot.handed_over;
        let since_taken = self.core.store_time.now().duration_since(slot.taken);
        let since_taken = Duration::try_from(since_taken).unwrap_or_default();
        let output = slot.message.system(SystemProperty::OutputName).unwrap_or_default();
        let priority = lane.priority;
        let counted = &mut self.seen.sender(&slot.sender).counted;
        let delivery = match counted {
            Some((known, of, delivery)) if known == output && *of == priority => delivery,
            _ => {
                let way = Way { sender: &slot.sender, output, to: "upstream", input: "", priority };
                let delivery = self.core.counters.delivery(&way);
                &mut counted.insert((output.to_owned(), priority, delivery)).2
            }
        };
        delivery.count(sending, since_taken);
    }
}

/// Senders that are remembered.
const SENDERS_SEEN_MAX: usize = 1024;
