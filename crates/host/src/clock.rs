//! Time: a monotonic clock, the wall clock, and sleeping on either of them.
//!
//! A [`Clock`] is handed to whoever needs time. The system's clock follows the
//! machine; a manual one stands still until a test advances it, and wakes the
//! sleepers that it passes. Time zones and calendars are `jiff`'s business.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The wall clock is not believed before this moment (2024-01-01T00:00:00Z): a
/// machine without a battery starts in 1970 or at its image's date, and this
/// program is younger than that.
const TRUSTED_SINCE_SECONDS: i64 = 1_704_067_200;

/// How soon it is noticed that the wall clock was set: what depends on it is made anew within 30 s.
const LOOK_AT_WALL_EVERY: Duration = Duration::from_secs(10);

/// Less is drift, which time servers correct all the while.
const SET_BY_MIN: SignedDuration = SignedDuration::from_secs(5);

/// A moment of the monotonic clock. Comparable within one process (and, for a
/// manual clock, within that clock); it means nothing on disk or on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(Duration);

impl Mono {
    /// The clock's origin.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The time since `earlier`, zero when that lies in the future.
    pub fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time since the clock's origin.
    pub fn since_origin(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Mono> for Mono {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mono({:?})", self.0)
    }
}

/// A deadline passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

/// A source of time; cloning gives another handle to the same clock.
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    /// The newest moment that the caller knows has been, in milliseconds.
    not_before: AtomicI64,
}

enum Source {
    System,
    Manual {
        now: watch::Sender<Mono>,
        /// What the wall showed when `now` was [`Mono::ZERO`].
        wall_at_origin: Mutex<Timestamp>,
    },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        origin();
        Self::from_source(Source::System)
    }

    /// A clock that stands still at `wall` until it is advanced; for tests.
    pub fn manual(wall: Timestamp) -> Self {
        let (now, _) = watch::channel(Mono::ZERO);
        Self::from_source(Source::Manual { now, wall_at_origin: Mutex::new(wall) })
    }

    fn from_source(source: Source) -> Self {
        Self { inner: Arc::new(Inner { source, not_before: AtomicI64::new(i64::MIN) }) }
    }

    /// The monotonic time.
    pub fn now(&self) -> Mono {
        match &self.inner.source {
            Source::System => Mono(origin().elapsed()),
            Source::Manual { now, .. } => *now.borrow(),
        }
    }

    /// The wall clock's time. It may jump either way; see [`Clock::wall_is_trusted`].
    pub fn wall(&self) -> Timestamp {
        match &self.inner.source {
            Source::System => Timestamp::now(),
            Source::Manual { now, wall_at_origin } => {
                let elapsed =
                    SignedDuration::try_from(now.borrow().0).unwrap_or(SignedDuration::MAX);
                wall_at_origin.lock().checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// What the wall would have shown at [`Mono::ZERO`]. It changes when the wall clock is set, and
    /// hardly otherwise, so two looks at it tell by how much that was.
    pub fn wall_at_origin(&self) -> Timestamp {
        let wall = match &self.inner.source {
            Source::System => Timestamp::now(),
            Source::Manual { wall_at_origin, .. } => return *wall_at_origin.lock(),
        };
        let elapsed = SignedDuration::try_from(self.now().0).unwrap_or(SignedDuration::MAX);
        wall.checked_sub(elapsed).unwrap_or(Timestamp::MIN)
    }

    /// Waits for `duration`, or until ten seconds after the wall clock was set at the latest: then
    /// it is `true`. For whoever waits because of what the wall showed while
    /// [`Clock::wall_at_origin`] was `before`.
    pub async fn sleep_unless_set(&self, duration: Duration, before: Timestamp) -> bool {
        let deadline = self.now() + duration;
        loop {
            self.sleep_until(deadline.min(self.now() + LOOK_AT_WALL_EVERY)).await;
            if self.was_set_since(before) {
                return true;
            }
            if self.now() >= deadline {
                return false;
            }
        }
    }

    /// Whether the wall clock was set since [`Clock::wall_at_origin`] was `before`.
    pub fn was_set_since(&self, before: Timestamp) -> bool {
        self.wall_at_origin().duration_since(before).abs() >= SET_BY_MIN
    }

    /// Tells the clock a moment that has certainly been, such as the newest time
    /// found on disk. Only the newest one told counts.
    pub fn not_before(&self, moment: Timestamp) {
        self.inner.not_before.fetch_max(moment.as_millisecond(), Ordering::Relaxed);
    }

    /// The newest moment that [`Clock::not_before`] was told.
    pub fn newest_known(&self) -> Option<Timestamp> {
        let moment = self.inner.not_before.load(Ordering::Relaxed);
        (moment != i64::MIN).then(|| Timestamp::from_millisecond(moment).ok()).flatten()
    }

    /// Whether the wall shows a date that this program can see: 2024 or later.
    pub fn wall_is_plausible(&self) -> bool {
        is_plausible(self.wall())
    }

    /// Whether the wall clock can be right: it shows 2024 or later, and nothing
    /// earlier than what [`Clock::not_before`] was told. While it cannot, expiry
    /// times must not be judged by it.
    pub fn wall_is_trusted(&self) -> bool {
        self.wall_is_plausible()
            && self.wall().as_millisecond() >= self.inner.not_before.load(Ordering::Relaxed)
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Waits until the monotonic clock shows `deadline`.
    pub async fn sleep_until(&self, deadline: Mono) {
        match &self.inner.source {
            Source::System => {
                let Some(instant) = origin().checked_add(deadline.0) else {
                    return std::future::pending().await;
                };
                tokio::time::sleep_until(instant.into()).await;
            }
            Source::Manual { now, .. } => {
                let mut now = now.subscribe();
                // The sender lives as long as `self`, so this cannot fail.
                let _ = now.wait_for(|now| *now >= deadline).await;
            }
        }
    }

    /// Runs `work` for at most `limit`; dropped when the time is over.
    pub async fn timeout<F: Future>(&self, limit: Duration, work: F) -> Result<F::Output, Elapsed> {
        self.timeout_at(self.now() + limit, work).await
    }

    /// Runs `work` until `deadline` at most; dropped when the time is over.
    pub async fn timeout_at<F: Future>(
        &self,
        deadline: Mono,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = self.sleep_until(deadline) => Err(Elapsed),
        }
    }

    /// Moves a manual clock (monotonic and wall) forward and wakes whom it passes.
    ///
    /// # Panics
    /// On the system's clock: no program may move that.
    pub fn advance(&self, duration: Duration) {
        match &self.inner.source {
            Source::System => panic!("only a manual clock can be advanced"),
            Source::Manual { now, .. } => now.send_modify(|now| *now = *now + duration),
        }
    }

    /// Lets a manual clock's wall jump to `wall`; the monotonic time stays.
    ///
    /// # Panics
    /// On the system's clock: no program may move that.
    pub fn set_wall(&self, wall: Timestamp) {
        match &self.inner.source {
            Source::System => panic!("only a manual clock can be set"),
            Source::Manual { now, wall_at_origin } => {
                let elapsed =
                    SignedDuration::try_from(now.borrow().0).unwrap_or(SignedDuration::MAX);
                *wall_at_origin.lock() = wall.checked_sub(elapsed).unwrap_or(Timestamp::MIN);
            }
        }
    }

    /// How many tasks sleep on a manual clock; lets a test wait until the code
    /// under test has gone to sleep. Always 0 on the system's clock.
    pub fn sleepers(&self) -> usize {
        match &self.inner.source {
            Source::System => 0,
            Source::Manual { now, .. } => now.receiver_count(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.inner.source {
            Source::System => "system",
            Source::Manual { .. } => "manual",
        };
        write!(f, "Clock({kind})")
    }
}

/// Whether a clock that shows this moment can be right: it is 2024 or later.
pub fn is_plausible(moment: Timestamp) -> bool {
    moment.as_second() >= TRUSTED_SINCE_SECONDS
}

/// The system clocks' common origin, so that their moments compare.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests;
