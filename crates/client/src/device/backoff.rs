//! How long to wait before the next attempt to connect. Pure: randomness is an argument.
//!
//! After an established connection is lost the next attempt follows at once, as SDKs do
//! (`device-protocol.md` §11.4); but two programs with one identity throw each other out for ever
//! (trap 14), so a connection counts as established only after some time.

use std::time::Duration;

/// The waits between attempts: doubling from [`FIRST`] to [`LONGEST`], half of it by chance, so
/// that a thousand devices do not come back in one instant.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

/// Longest wait in normal use.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// Wait after a refusal that only an operator can lift.
pub(super) const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// From here on a connection counts as established.
pub(super) const STABLE: Duration = Duration::from_secs(10);
/// First wait after a failed attempt.
const FIRST: Duration = Duration::from_millis(500);

impl Backoff {
    /// The wait after an attempt that never connected. `random` is uniform in 0..=u32::MAX.
    pub(super) fn after_failure(&mut self, random: u32) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        jittered(full, random)
    }

    /// The wait after a refusal.
    pub(super) fn after_refusal(&mut self, random: u32) -> Duration {
        self.failures = self.failures.saturating_add(1);
        jittered(AFTER_REFUSAL, random)
    }

    /// The wait after a connection that lived for `lived`: none, unless connections keep ending
    /// soon after they began.
    pub(super) fn after_loss(&mut self, lived: Duration, random: u32) -> Duration {
        if lived >= STABLE {
            self.failures = 0;
        }
        match self.failures {
            0 => {
                self.failures = 1;
                Duration::ZERO
            }
            _ => self.after_failure(random),
        }
    }

    /// The wait after a reconnect of our own wish.
    pub(super) fn after_renewal(&mut self) -> Duration {
        self.failures = 0;
        Duration::ZERO
    }
}

/// Between half of `full` and all of it.
fn jittered(full: Duration, random: u32) -> Duration {
    let half = full / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let mut backoff = Backoff::default();
        let waits: Vec<f64> =
            (0..9).map(|_| backoff.after_failure(u32::MAX).as_secs_f64()).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        for _ in 0..100 {
            assert_eq!(backoff.after_failure(0), LONGEST / 2);
        }
    }

    #[test]
    fn a_lost_connection_is_tried_again_at_once_unless_that_goes_on() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after_loss(STABLE, 0), Duration::ZERO);
        assert_eq!(backoff.after_loss(STABLE, 0), Duration::ZERO);
        // Thrown out at once again and again: somebody else has our identity.
        let fight: Vec<Duration> =
            (0..8).map(|_| backoff.after_loss(Duration::ZERO, u32::MAX)).collect();
        assert!(fight[0] >= Duration::from_secs(1), "{fight:?}");
        assert_eq!(fight[7], LONGEST);
        assert_eq!(backoff.after_loss(STABLE, 0), Duration::ZERO);
        assert_eq!(backoff.after_renewal(), Duration::ZERO);
    }
}
