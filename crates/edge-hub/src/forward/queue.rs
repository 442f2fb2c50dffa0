//! What a pump has read of a queue and not finished, and what to do next with it. Pure.
//!
//! Messages of one sender leave in their order: they are planned in the order of the queue, and a
//! sender whose line is lost has all of its unacknowledged messages planned anew, from the first.
//! The checkpoint stands before the first message that is not finished; so after a crash messages
//! may come twice, never out of the queue's order.
//!
//! Cost: a pump looks here after every few acknowledgements, so a look goes over what waits to be
//! sent, which is what was read last; over what is under way only when a line changed or some time
//! is over. Senders have numbers here, so that no names are compared.

mod senders;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use host::clock::Mono;
use jiff::Timestamp;
use model::IdentityId;
use model::message::Message;

use super::lane::Read;
use super::record::Record;
use senders::Senders;

/// The part of a queue that is in memory.
#[derive(Debug)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    bytes: usize,
    /// The checkpoint of an empty window.
    next: u64,
    senders: Senders,
    /// How many slots at the front do not wait.
    begun: usize,
    /// No unfinished message is past its time before this.
    soonest: Option<Timestamp>,
}

/// A message in the window.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) sequence: u64,
    pub(crate) sender: Arc<IdentityId>,
    pub(crate) message: Message,
    /// The sender's number.
    number: usize,
    /// When it came to the edge hub.
    pub(crate) taken: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    /// When it was read.
    entered: Mono,
    /// When it was handed over last.
    pub(crate) handed_over: Mono,
    state: SlotState,
    /// Which sending of it is under way; results of earlier ones do not count as failures.
    attempt: u32,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Waiting,
    Sent,
    Finished,
}

/// How a sender's line to the hub stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Messages may be sent.
    Open,
    /// Not now; it will be tried again.
    Away,
    /// The sender's messages must make way for those of others, because of this.
    Blocked(Arc<str>),
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send it.
    Send { sequence: u64, attempt: u32 },
    /// Move it to the sender's own queue.
    Park { sequence: u64, reason: Arc<str> },
    /// Its time is over.
    Expire { sequence: u64 },
    /// Take back what was sent for this sender and has no acknowledgement, then plan again.
    Recall { sender: Arc<IdentityId> },
}

/// What a plan goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// What waits to be sent.
    Waiting,
    /// What is under way, too.
    All,
}

impl Slot {
    /// Whether it needs nothing more.
    pub(crate) fn is_finished(&self) -> bool {
        self.state == SlotState::Finished
    }
}

impl Window {
    /// An empty window over a queue that begins at `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self {
            slots: VecDeque::new(),
            bytes: 0,
            next,
            senders: Senders::default(),
            begun: 0,
            soonest: None,
        }
    }

    /// Whether more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.len() < SLOTS_MAX && self.bytes < BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a message that was read; sequences only grow.
    pub(crate) fn push(&mut self, read: Read, entered: Mono) {
        let Read { sequence, record, taken, expires } = read;
        let Record { sender, message, .. } = record;
        let bytes = message.size_bytes();
        self.bytes += bytes;
        self.soonest = self.soonest.into_iter().chain(expires).min();
        if self.senders.len() >= SENDERS_MAX {
            self.senders.keep(self.slots.iter_mut().map(|slot| (&slot.sender, &mut slot.number)));
        }
        let (number, sender) = self.senders.number(sender);
        self.slots.push_back(Slot {
            sequence,
            sender,
            message,
            number,
            taken,
            expires,
            entered,
            handed_over: entered,
            state: SlotState::Waiting,
            attempt: 0,
            bytes,
        });
    }

    /// Passes over everything before this sequence that was not pushed: it is lost or unreadable.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        self.next = self.next.max(sequence);
    }

    /// A message in the window.
    pub(crate) fn slot(&self, sequence: u64) -> Option<&Slot> {
        let index = self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).ok()?;
        self.slots.get(index)
    }

    fn slot_mut(&mut self, sequence: u64) -> Option<&mut Slot> {
        let index = self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).ok()?;
        self.slots.get_mut(index)
    }

    /// What to do now, by the store's time. `line` is asked once for each sender that is looked at,
    /// with the time at which its first message there was read.
    pub(crate) fn plan(
        &mut self,
        look: Look,
        now: Timestamp,
        mut line: impl FnMut(&IdentityId, Mono) -> Line,
    ) -> Vec<Step> {
        let from = self.look_from(look);
        if look == Look::Waiting
            && let Some(steps) = self.steps(look, from, now, &mut line)
        {
            return steps;
        }
        let from = self.look_from(Look::All);
        self.steps(Look::All, from, now, &mut line).unwrap_or_default()
    }

    /// None when what is under way has to be looked at, too: it makes way first, in its order.
    fn steps(
        &self,
        look: Look,
        from: usize,
        now: Timestamp,
        line: &mut impl FnMut(&IdentityId, Mono) -> Line,
    ) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        let mut lines: Vec<Option<Line>> = vec![None; self.senders.len()];
        let mut recalled = vec![false; self.senders.len()];
        for slot in self.slots.iter().skip(from) {
            let is_looked_at = match look {
                Look::Waiting => slot.state == SlotState::Waiting,
                Look::All => !slot.is_finished(),
            };
            if !is_looked_at || recalled[slot.number] {
                continue;
            }
            let line = lines[slot.number].get_or_insert_with(|| line(&slot.sender, slot.entered));
            if look == Look::Waiting && matches!(line, Line::Blocked(_)) {
                return None;
            }
            let expired = slot.expires.is_some_and(|expires| expires <= now);
            let sequence = slot.sequence;
            match (slot.state, line) {
                (SlotState::Waiting, _) if expired => steps.push(Step::Expire { sequence }),
                (SlotState::Waiting, Line::Open) => {
                    steps.push(Step::Send { sequence, attempt: slot.attempt });
                }
                (SlotState::Waiting, Line::Blocked(reason)) => {
                    steps.push(Step::Park { sequence, reason: reason.clone() });
                }
                (SlotState::Sent, Line::Blocked(_)) => {
                    recalled[slot.number] = true;
                    steps.push(Step::Recall { sender: Arc::clone(&slot.sender) });
                }
                (SlotState::Sent, Line::Away) if expired => {
                    recalled[slot.number] = true;
                    steps.push(Step::Recall { sender: Arc::clone(&slot.sender) });
                }
                (SlotState::Waiting, Line::Away)
                | (SlotState::Sent, Line::Open | Line::Away)
                | (SlotState::Finished, _) => {}
            }
        }
        Some(steps)
    }

    /// The first slot of a look.
    fn look_from(&mut self, look: Look) -> usize {
        match look {
            Look::Waiting => {
                let waits = |slot: &Slot| slot.state == SlotState::Waiting;
                while self.slots.get(self.begun).is_some_and(|slot| !waits(slot)) {
                    self.begun += 1;
                }
                self.begun
            }
            Look::All => {
                let unfinished = self.slots.iter().filter(|slot| !slot.is_finished());
                self.soonest = unfinished.filter_map(|slot| slot.expires).min();
                0
            }
        }
    }

    /// A message was handed over for sending.
    pub(crate) fn sent(&mut self, sequence: u64, now: Mono) {
        if let Some(slot) = self.slot_mut(sequence) {
            slot.handed_over = now;
            slot.state = SlotState::Sent;
        }
    }

    /// A sending failed. True when it was the one under way: the sender's line is lost then.
    pub(crate) fn failed(&self, sequence: u64, attempt: u32) -> bool {
        let slot = self.slot(sequence);
        slot.is_some_and(|slot| slot.state == SlotState::Sent && slot.attempt == attempt)
    }

    /// Whatever was sent for this sender and has no acknowledgement waits again.
    pub(crate) fn recall(&mut self, sender: &IdentityId) {
        for slot in &mut self.slots {
            if slot.state == SlotState::Sent && *slot.sender == *sender {
                slot.state = SlotState::Waiting;
                slot.attempt += 1;
            }
        }
        self.begun = 0;
    }

    /// The message needs nothing more; its body is let go.
    pub(crate) fn finish(&mut self, sequence: u64) {
        if let Some(slot) = self.slot_mut(sequence)
            && slot.state != SlotState::Finished
        {
            slot.state = SlotState::Finished;
            slot.message = Message::default();
            let bytes = slot.bytes;
            self.bytes -= bytes;
        }
        self.let_go();
    }

    /// The message's time is over. Unlike one that is delivered it gives up its place at once, also
    /// behind others that live longer, so that those after it are read and their time is looked at:
    /// after a crash it ends once more, where a delivered one would be delivered once more.
    pub(crate) fn expire(&mut self, sequence: u64) {
        let Ok(index) = self.slots.binary_search_by_key(&sequence, |slot| slot.sequence) else {
            return;
        };
        if let Some(slot) = self.slots.remove(index)
            && slot.state != SlotState::Finished
        {
            self.bytes -= slot.bytes;
        }
        self.begun -= usize::from(index < self.begun);
        self.next = self.next.max(sequence + 1);
        self.let_go();
    }

    /// Passes over what is finished and has nothing unfinished before it.
    fn let_go(&mut self) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.state == SlotState::Finished) {
            self.next = self.next.max(slot.sequence + 1);
            self.begun = self.begun.saturating_sub(1);
        }
    }

    /// None of its unfinished messages is past its time before this; exact after a look at all.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.soonest
    }

    /// Everything before this sequence is finished.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.slots.front().map_or(self.next, |slot| slot.sequence)
    }
}

/// What is known about a sender whose messages may not move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// When its first message was read.
    pub(crate) entered: Mono,
    /// Since when the hub is there.
    pub(crate) hub_since: Option<Mono>,
    /// When its last message was acknowledged.
    pub(crate) acknowledged: Option<Mono>,
    /// When one of somebody else was.
    pub(crate) others_acknowledged: Option<Mono>,
    /// Nothing more is read before something moves.
    pub(crate) is_full: bool,
}

/// Whether a sender whose messages do not move blocks others: its first message has been here, the
/// hub has been there and no acknowledgement has come for too long. That is soon when the hub
/// acknowledges others meanwhile, and later when it may be that the hub is not there at all.
pub(crate) fn is_stalled(now: Mono, progress: &Progress) -> bool {
    let Some(hub_since) = progress.hub_since else { return false };
    let acknowledged = progress.acknowledged.unwrap_or(Mono::ZERO);
    let since = progress.entered.max(hub_since).max(acknowledged);
    let others_move = progress.others_acknowledged.is_some_and(|at| at > since);
    let limit = match (others_move, progress.is_full) {
        (true, _) => STALL_OF_ONE,
        (false, true) => STALL_FULL,
        (false, false) => STALL_MAX,
    };
    now.duration_since(since) >= limit
}

/// Messages of one queue in memory: so many for each of a hundred senders that a write and a sync at
/// the hub serve several.
pub(crate) const SLOTS_MAX: usize = 1024;
/// Their bytes; the last one may be over it.
pub(crate) const BYTES_MAX: usize = 1024 * 1024;
/// Senders with a number, before those that have no message here lose theirs.
const SENDERS_MAX: usize = 2 * SLOTS_MAX;
/// Of one sender, while the hub acknowledges others. Longer than a connection takes to be made.
pub(crate) const STALL_OF_ONE: Duration = Duration::from_secs(5);
/// While nothing of others is read. Most breaks are noticed by then.
pub(crate) const STALL_FULL: Duration = Duration::from_secs(30);
/// Longer than a broken connection takes to be noticed and made anew (keep-alive 60 s).
pub(crate) const STALL_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
