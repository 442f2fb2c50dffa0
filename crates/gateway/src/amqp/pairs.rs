//! Pairs of links for methods and twins: one up, one down, found together by the id that both
//! carry (dp §4.3). What goes down waits for its link and the credit on it.

use std::collections::VecDeque;

use amqp::Connection;
use amqp::connection::{LinkId, Outgoing, SendError};
use bytes::Bytes;

/// The pairs of one identity and kind.
#[derive(Default)]
pub(super) struct Pairs {
    pairs: Vec<Pair>,
    last_tag: u64,
}

struct Pair {
    correlation: Option<String>,
    up: Option<LinkId>,
    down: Option<LinkId>,
    /// Changes are told on it.
    subscribed: bool,
    waiting: VecDeque<Bytes>,
}

/// Which of a pair's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The client sends on it.
    Up,
    /// The client receives on it.
    Down,
}

/// An identity has as many pairs as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity may have at most {PAIRS_MAX} pairs of links of one kind")]
pub(super) struct TooManyPairs;

/// Pairs of one kind; SDKs have one, and an old one beside it while they reconnect.
const PAIRS_MAX: usize = 8;
/// What may wait on one pair for its link and credit; ours.
const WAITING_MAX: usize = 64;

impl Pairs {
    /// A link comes; says whether it completes a pair.
    pub(super) fn attach(
        &mut self,
        correlation: Option<&str>,
        direction: Direction,
        link: LinkId,
    ) -> Result<bool, TooManyPairs> {
        let free = self
            .pairs
            .iter_mut()
            .find(|pair| pair.correlation.as_deref() == correlation && pair.has_free(direction));
        if let Some(pair) = free {
            *pair.slot(direction) = Some(link);
            return Ok(pair.is_complete());
        }
        if self.pairs.len() >= PAIRS_MAX {
            return Err(TooManyPairs);
        }
        let mut pair = Pair {
            correlation: correlation.map(str::to_owned),
            up: None,
            down: None,
            subscribed: false,
            waiting: VecDeque::new(),
        };
        *pair.slot(direction) = Some(link);
        self.pairs.push(pair);
        Ok(false)
    }

    /// A link is gone; says whether the pair did something that it does not any more.
    pub(super) fn detach(&mut self, link: LinkId) -> bool {
        let of_it = |pair: &Pair| pair.up == Some(link) || pair.down == Some(link);
        let Some(index) = self.pairs.iter().position(of_it) else { return false };
        let pair = &mut self.pairs[index];
        let changed = pair.is_complete();
        for slot in [&mut pair.up, &mut pair.down] {
            if *slot == Some(link) {
                *slot = None;
            }
        }
        pair.subscribed = false;
        pair.waiting.clear();
        if pair.up.is_none() && pair.down.is_none() {
            self.pairs.remove(index);
        }
        changed
    }

    pub(super) fn has_complete(&self) -> bool {
        self.pairs.iter().any(Pair::is_complete)
    }

    pub(super) fn has_subscribed(&self) -> bool {
        self.pairs.iter().any(|pair| pair.subscribed)
    }

    /// Changes are told on the pair of this link, or not.
    pub(super) fn set_subscribed(&mut self, up: LinkId, subscribed: bool) {
        if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.up == Some(up)) {
            pair.subscribed = subscribed;
        }
    }

    /// Something for the newest complete pair; false when there is none.
    pub(super) fn call(&mut self, message: Bytes) -> bool {
        match self.pairs.iter_mut().rfind(|pair| pair.is_complete()) {
            Some(pair) => {
                pair.waiting.push_back(message);
                true
            }
            None => false,
        }
    }

    /// Something for every pair on which changes are told.
    pub(super) fn notify(&mut self, message: &Bytes) {
        for pair in self.pairs.iter_mut().filter(|pair| pair.subscribed) {
            pair.waiting.push_back(message.clone());
        }
    }

    /// An answer for the pair of this link, if it is still there; false when too many wait.
    pub(super) fn answer(&mut self, up: LinkId, message: Bytes) -> bool {
        let Some(pair) = self.pairs.iter_mut().find(|pair| pair.up == Some(up)) else {
            return true;
        };
        let has_room = pair.waiting.len() < WAITING_MAX;
        if has_room {
            pair.waiting.push_back(message);
        }
        has_room
    }

    /// What waits on all pairs.
    pub(super) fn waiting(&self) -> usize {
        self.pairs.iter().map(|pair| pair.waiting.len()).sum()
    }

    /// Sends what can be sent, in order.
    pub(super) fn flush(&mut self, machine: &mut Connection) {
        for pair in &mut self.pairs {
            let Some(link) = pair.down else { continue };
            while let Some(message) = pair.waiting.front() {
                let tag = Bytes::copy_from_slice(&self.last_tag.to_be_bytes());
                let outgoing = Outgoing { tag, message: message.clone(), format: 0, settled: true };
                match machine.send(link, outgoing) {
                    Ok(_) => self.last_tag += 1,
                    Err(SendError::MessageTooLarge { size_bytes, size_bytes_max }) => {
                        tracing::warn!(
                            size_bytes,
                            size_bytes_max,
                            "a client's link takes no message of this size; dropped"
                        );
                    }
                    Err(_) => break,
                }
                pair.waiting.pop_front();
            }
        }
    }
}

impl Pair {
    fn slot(&mut self, direction: Direction) -> &mut Option<LinkId> {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn has_free(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.up.is_none(),
            Direction::Down => self.down.is_none(),
        }
    }

    fn is_complete(&self) -> bool {
        self.up.is_some() && self.down.is_some()
    }
}
