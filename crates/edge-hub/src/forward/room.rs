//! What makes room in a full store, when the operator wants it so. Which queue gives is decided
//! purely; what goes from it are its oldest messages.
//!
//! Dead letters go first: they can never be delivered. Parked messages count as of the last
//! priority. Messages that a pump has in its hands are sent all the same.

use std::sync::Arc;

use jiff::Timestamp;
use journal::StreamId;
use manifest::hub_config::PRIORITY_LAST;
use tokio::sync::Notify;

use super::{DEAD, PARKED, waiting};
use crate::core::Core;
use crate::routing::Queue;
use crate::settings::WhenFull;

/// A queue that could give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate<S> {
    pub(super) stream: S,
    /// None: dead letters.
    pub(super) priority: Option<u32>,
    /// When its oldest message came.
    pub(super) oldest: Option<Timestamp>,
}

/// Which queue gives; none when there is nothing left to give, or nothing may.
pub(super) fn victim<S: Copy>(policy: WhenFull, candidates: &[Candidate<S>]) -> Option<S> {
    let key = |candidate: &&Candidate<S>| {
        let rank = candidate.priority.map(|priority| u32::MAX - priority);
        match policy {
            WhenFull::DropLowestPriority => (rank, candidate.oldest),
            WhenFull::Refuse | WhenFull::DropOldest => (rank.map(|_| 0), candidate.oldest),
        }
    };
    match policy {
        WhenFull::Refuse => None,
        WhenFull::DropLowestPriority | WhenFull::DropOldest => {
            candidates.iter().min_by_key(key).map(|candidate| candidate.stream)
        }
    }
}

/// Lets messages go for as long as room is scarce, and a queue gives some. How many went.
fn give_up<S: Copy>(
    policy: WhenFull,
    is_scarce: impl Fn() -> bool,
    candidates: impl Fn() -> Vec<Candidate<S>>,
    mut trim: impl FnMut(S) -> u64,
) -> u64 {
    let mut went = 0;
    while is_scarce()
        && let Some(stream) = victim(policy, &candidates())
    {
        let of_it = trim(stream);
        if of_it == 0 {
            // It would be asked for ever; the next message that finds no room calls again.
            break;
        }
        went += of_it;
    }
    went
}

/// The bounds, and who waits for room.
pub(super) struct Room {
    policy: WhenFull,
    /// What the store may take on the disk when more is taken in.
    bytes_max: u64,
    /// What messages may take of it before some make room: the rest is for segments that are being
    /// written, moved and freed.
    messages_bytes_max: u64,
    pressed: Notify,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// By the operator's bound; with what is taken.
    Disk(u64),
    /// By the manifest's; with what is stored, and the bound.
    Manifest(u64, u64),
}

impl Room {
    pub(super) fn new(policy: WhenFull, bytes_max: u64) -> Self {
        let messages_bytes_max = (bytes_max - bytes_max / 10).saturating_sub(AROUND_BYTES);
        Self { policy, bytes_max, messages_bytes_max, pressed: Notify::new() }
    }

    pub(super) fn policy(&self) -> WhenFull {
        self.policy
    }

    /// The lesser of both bounds.
    pub(super) fn bytes_max(&self, core: &Core) -> u64 {
        let manifest = core.routes.active().bytes_max;
        manifest.map_or(self.bytes_max, |bytes| bytes.min(self.bytes_max))
    }

    /// Whether there is room for more. Calls for it when there soon is none.
    pub(super) fn look(&self, core: &Core) -> Option<Full> {
        if self.policy != WhenFull::Refuse && self.is_scarce(core) {
            self.pressed.notify_one();
        }
        self.full(core)
    }

    fn full(&self, core: &Core) -> Option<Full> {
        let used = core.journal.info().bytes;
        if used >= self.bytes_max {
            return Some(Full::Disk(used));
        }
        let bytes_max = core.routes.active().bytes_max?;
        let stored = core.journal.kept_bytes();
        (stored >= bytes_max).then_some(Full::Manifest(stored, bytes_max))
    }

    fn is_scarce(&self, core: &Core) -> bool {
        core.journal.kept_bytes() >= self.messages_bytes(core)
    }

    fn messages_bytes(&self, core: &Core) -> u64 {
        let manifest = core.routes.active().bytes_max;
        manifest.map_or(self.messages_bytes_max, |max| max.min(self.messages_bytes_max))
    }

    /// Makes room when it is called for; runs for ever.
    pub(super) async fn keep(&self, core: &Arc<Core>) {
        loop {
            self.pressed.notified().await;
            let step = (self.messages_bytes(core) / STEP_PART).clamp(STEP_MIN, STEP_MAX);
            // Fails only for streams of another journal.
            let trim = |stream| core.journal.trim_bytes(stream, step).unwrap_or(0);
            let went = give_up(self.policy, || self.is_scarce(core), || candidates(core), trim);
            if went == 0 {
                continue;
            }
            core.counters.made_room(went);
            tracing::warn!(messages = went, "the store is full; its oldest messages made room");
            let journal = core.journal.clone();
            // What the disk does not give back now it gives within a second.
            let _ = tokio::task::spawn_blocking(move || journal.maintain()).await;
        }
    }
}

fn candidates(core: &Core) -> Vec<Candidate<StreamId>> {
    let candidate = |(stream, name): (StreamId, String)| {
        if waiting(core, stream) == 0 {
            return None;
        }
        let priority = match name.parse::<Queue>() {
            Ok(queue) => Some(queue.priority),
            Err(_) if name == DEAD => None,
            Err(_) if name.starts_with(PARKED) => Some(PRIORITY_LAST),
            Err(_) => return None,
        };
        let oldest = core.journal.stream_info(stream).ok()?.first_time;
        Some(Candidate { stream, priority, oldest })
    };
    core.journal.stream_names().into_iter().filter_map(candidate).collect()
}

/// Segments of 4 MiB: the one being written, a spare, one that is being moved, and those whose dead
/// bytes are not worth moving.
const AROUND_BYTES: u64 = 20 << 20;
/// What goes at a time: this part of the bound, but not less than a message and not more than a
/// segment.
const STEP_PART: u64 = 16;
const STEP_MIN: u64 = 64 << 10;
const STEP_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues by name, with priority and the hour of their oldest message.
    fn check(policy: WhenFull, queues: &[(&'static str, Option<u32>, i64)], gives: Option<&str>) {
        let candidates: Vec<Candidate<&str>> = queues
            .iter()
            .map(|(name, priority, hour)| Candidate {
                stream: *name,
                priority: *priority,
                oldest: Timestamp::from_second(hour * 3600).ok(),
            })
            .collect();
        assert_eq!(victim(policy, &candidates), gives, "{policy:?} {queues:?}");
    }

    #[test]
    fn a_queue_that_gives_nothing_is_not_asked_for_ever() {
        let queues = || {
            let oldest = Timestamp::from_second(0).ok();
            vec![Candidate { stream: "data", priority: Some(PRIORITY_LAST), oldest }]
        };
        for (gives, scarce_until, went) in [
            (&[0][..], u64::MAX, 0),
            (&[5, 3, 0], u64::MAX, 8),
            (&[5, 3, 4, 0], 8, 8),
            (&[0], 0, 0),
        ] {
            let (given, mut asked) = (std::cell::Cell::new(0), gives.iter());
            let trim = |_| {
                let of_it = *asked.next().unwrap();
                given.set(given.get() + of_it);
                of_it
            };
            let is_scarce = || given.get() < scarce_until;
            assert_eq!(give_up(WhenFull::DropOldest, is_scarce, queues, trim), went, "{gives:?}");
        }
    }

    #[test]
    fn which_queue_makes_room() {
        use WhenFull::{DropLowestPriority, DropOldest, Refuse};
        let last = Some(PRIORITY_LAST);
        let usual =
            [("alarm", Some(0), 1), ("data", last, 3), ("spare", last, 2), ("log", Some(9), 0)];
        let dead = [("alarm", Some(0), 1), ("dead", None, 5), ("data", last, 3)];
        for (policy, queues, gives) in [
            (Refuse, &usual[..], None),
            (Refuse, &dead[..], None),
            (DropLowestPriority, &usual[..], Some("spare")),
            (DropLowestPriority, &usual[..2], Some("data")),
            (DropLowestPriority, &usual[..1], Some("alarm")),
            (DropLowestPriority, &dead[..], Some("dead")),
            (DropLowestPriority, &[], None),
            (DropOldest, &usual[..], Some("log")),
            (DropOldest, &usual[..3], Some("alarm")),
            (DropOldest, &dead[..], Some("dead")),
            (DropOldest, &[], None),
        ] {
            check(policy, queues, gives);
        }
    }
}
