//! When what let an identity in runs out, on the monotonic clock.
//!
//! A wall clock that is set later changes nothing for who is in: a proof holds for as long as it said
//! when it was shown. But a clock that is not set yet (before 2024) cannot tell how long that is, so
//! it is looked at again until it can. A proof that such a clock made itself is taken at its word.

use std::time::Duration;

use host::clock::{Clock, Mono, is_plausible};
use jiff::Timestamp;

/// The end of a proof.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProofEnd {
    expires: Timestamp,
    deadline: Mono,
    /// Whether the deadline is only to look again.
    is_look: bool,
}

impl ProofEnd {
    pub(crate) fn new(clock: &Clock, expires: Timestamp) -> Self {
        let left = Duration::try_from(expires.duration_since(clock.wall()));
        let left = left.unwrap_or(Duration::ZERO).min(LIFE_MAX);
        let is_look = !clock.wall_is_plausible() && is_plausible(expires) && left > LOOK_AGAIN;
        let wait = if is_look { LOOK_AGAIN } else { left };
        Self { expires, deadline: clock.now() + wait, is_look }
    }

    /// When to ask [`Self::is_over`].
    pub(crate) fn deadline(&self) -> Mono {
        self.deadline
    }

    /// Whether it has run out; otherwise there may be another deadline.
    pub(crate) fn is_over(&mut self, clock: &Clock) -> bool {
        if clock.now() >= self.deadline && self.is_look {
            *self = Self::new(clock, self.expires);
        }
        clock.now() >= self.deadline
    }
}

/// What expired by the right time is cut soon after it is known.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Tokens without a real end still get a deadline that fits into the clock.
const LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_wall_that_is_set_does_not_end_what_was_shown_before() {
        let clock = Clock::manual(at("2026-11-25T12:00:00Z"));
        let mut end = ProofEnd::new(&clock, clock.wall() + HOUR);
        for wall in ["2036-11-25T12:00:00Z", "2016-11-25T12:00:00Z", "1970-01-01T00:00:00Z"] {
            clock.set_wall(at(wall));
            assert!(!end.is_over(&clock), "{wall}");
        }
        clock.advance(HOUR);
        assert!(end.is_over(&clock));
    }

    #[test]
    fn what_was_shown_before_the_clock_was_set_is_judged_then() {
        for (expires, is_over) in [("2026-11-25T13:00:00Z", false), ("2025-01-01T00:00:00Z", true)]
        {
            let clock = Clock::manual(at("1970-01-01T00:00:10Z"));
            let mut end = ProofEnd::new(&clock, at(expires));
            clock.advance(10 * HOUR);
            assert!(!end.is_over(&clock), "nobody knows yet");
            clock.set_wall(at("2026-11-25T12:00:00Z"));
            clock.advance(LOOK_AGAIN);
            assert_eq!(end.is_over(&clock), is_over, "{expires}");
            clock.advance(HOUR);
            assert!(end.is_over(&clock));
        }
        // Made by the same clock that is not set: it holds for as long as it says.
        let clock = Clock::manual(at("1970-01-01T00:00:10Z"));
        let mut end = ProofEnd::new(&clock, clock.wall() + HOUR);
        clock.set_wall(at("2026-11-25T12:00:00Z"));
        clock.advance(HOUR / 2);
        assert!(!end.is_over(&clock));
        clock.advance(HOUR / 2);
        assert!(end.is_over(&clock));
    }
}
