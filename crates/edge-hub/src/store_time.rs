//! The store's own time, by which lives of stored messages are counted.
//!
//! The wall clock of a device may be wrong, and may be set while messages wait: by years, when there
//! is no battery and the time server was away. So the wall decides nothing while the edge hub runs:
//! the store's time goes on with the monotonic clock, and never back. The wall counts only for the
//! time that the device was off, and only where it can be believed. What the wall was ahead of the
//! store's time is kept in the database, so that the next start knows what was off and what was
//! only set. Where that cannot be told, the time off does not count: messages live longer then,
//! never shorter. Specification: GOALS R15, `security.md` §1 (7); for operators
//! `docs/operating/clock.md`.

use std::sync::Arc;
use std::time::Duration;

use host::clock::{Clock, Mono};
use jiff::{SignedDuration, Timestamp};
use journal::Journal;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::state::{State, StateError};

/// A clock for what lies in the store.
pub(crate) struct StoreTime {
    clock: Clock,
    /// The store's time when the monotonic clock showed `since`.
    began: Timestamp,
    since: Mono,
    /// The clock's `wall_at_origin` at the start.
    wall_at_start: Timestamp,
    is_doubtful: bool,
}

/// What the database keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// A moment of the store's time that has been.
    seen_ms: i64,
    /// What the wall was ahead of the store's time; none while the wall was not to be believed.
    ahead_ms: Option<i64>,
}

/// How the store's time begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begin {
    at: Timestamp,
    /// Why the time off is not counted, if it is not.
    doubt: Option<&'static str>,
}

impl StoreTime {
    /// Begins where the last run ended, and counts the time off as far as it is known.
    pub(crate) async fn open(
        clock: Clock,
        state: &State,
        journal: &Journal,
    ) -> Result<Self, StateError> {
        let text = state.meta(NAME).await?;
        let kept: Option<Kept> = text.and_then(|text| serde_json::from_str(&text).ok());
        let is_empty = journal.stream_names().into_iter().all(|(stream, _)| {
            journal.stream_info(stream).is_ok_and(|info| info.oldest >= info.next)
        });
        // The journal told the clock its newest record's time when it was opened.
        let begin = begin(&clock, kept, clock.newest_known(), is_empty);
        if let Some(reason) = begin.doubt {
            tracing::warn!(wall = %clock.wall(), reason, "time that the device was off does not count against stored messages");
        }
        let time = Self {
            began: begin.at,
            since: clock.now(),
            wall_at_start: clock.wall_at_origin(),
            is_doubtful: begin.doubt.is_some(),
            clock,
        };
        // Before the first message: a crash must not leave it with another run's difference. On a full
        // disk what waits has to be delivered all the same, or there never is space; `keep` tries again.
        if let Err(error) = time.keep_now(state, !time.is_doubtful).await {
            let error = host::logs::chain(&error);
            tracing::error!(%error, "cannot keep how the clock stands");
        }
        Ok(time)
    }

    /// The store's time now.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.clock.now().duration_since(self.since);
        self.began.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// What the wall would have shown at a moment of the store's time, as it is set now. To the
    /// second: a wall that was never set differs by no more than two readings of it do.
    pub(crate) fn on_the_wall(&self, moment: Timestamp) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead().as_secs_f64().round() as i64);
        moment.saturating_add(ahead).unwrap_or(moment)
    }

    /// Watches the wall clock; runs for ever.
    pub(crate) async fn keep(&self, core: &Arc<Core>) {
        let (mut is_doubtful, mut before) = (self.is_doubtful, self.wall_at_start);
        loop {
            let pause = if is_doubtful { DOUBT } else { KEEP_EVERY };
            if self.clock.sleep_unless_set(pause, before).await {
                let now = self.clock.wall_at_origin();
                let seconds = now.duration_since(before).as_secs();
                tracing::warn!(seconds, wall = %self.clock.wall(), "wall clock was set; stored messages live as long as they were to");
                before = now;
            }
            // Nobody has set it for long, or somebody has: it is what there is.
            is_doubtful = !self.clock.wall_is_plausible();
            if let Err(error) = self.keep_now(&core.state, !is_doubtful).await {
                let error = host::logs::chain(&error);
                tracing::error!(%error, "cannot keep how the clock stands");
            }
        }
    }

    async fn keep_now(&self, state: &State, is_believed: bool) -> Result<(), StateError> {
        let ahead_ms =
            is_believed.then(|| i64::try_from(self.ahead().as_millis()).unwrap_or_default());
        let kept = Kept { seen_ms: self.now().as_millisecond(), ahead_ms };
        state.set_meta(NAME, serde_json::to_string(&kept).unwrap_or_default()).await
    }

    fn ahead(&self) -> SignedDuration {
        let since = SignedDuration::try_from(self.since.since_origin()).unwrap_or_default();
        self.clock.wall_at_origin().duration_since(self.began) + since
    }
}

/// The store's time at a start: on from `newest`, the newest time in the journal.
fn begin(clock: &Clock, kept: Option<Kept>, newest: Option<Timestamp>, is_empty: bool) -> Begin {
    let wall = clock.wall();
    let seen = kept.and_then(|kept| Timestamp::from_millisecond(kept.seen_ms).ok());
    let Some(newest) = newest.max(seen) else {
        let doubt = (!clock.wall_is_plausible()).then_some(IMPLAUSIBLE);
        return Begin { at: wall, doubt };
    };
    let on_from_newest = |reason| Begin { at: newest, doubt: Some(reason) };
    if !clock.wall_is_plausible() {
        return on_from_newest(IMPLAUSIBLE);
    }
    if is_empty && wall >= newest {
        return Begin { at: wall, doubt: None };
    }
    // A store of before this was kept has the wall's time.
    let ahead_ms = kept.map_or(Some(0), |kept| kept.ahead_ms);
    let Some(ahead_ms) = ahead_ms else { return on_from_newest(UNKNOWN) };
    let at = wall.checked_sub(SignedDuration::from_millis(ahead_ms)).unwrap_or(newest);
    match at.duration_since(newest) {
        off if off < -SLACK => on_from_newest(BACK),
        off if off > OFF_MAX => on_from_newest(FAR),
        _ => Begin { at: at.max(newest), doubt: None },
    }
}

const IMPLAUSIBLE: &str = "wall clock shows a time before 2024: it is not set yet";
const UNKNOWN: &str = "wall clock was not set when messages were stored";
const BACK: &str = "wall clock shows a time before the last message";
const FAR: &str = "wall clock shows more than 400 days after the last run";

/// In the database.
const NAME: &str = "store_time";
/// A year off is possible, ten are a wrong clock.
const OFF_MAX: SignedDuration = SignedDuration::from_hours(400 * 24);
/// The wall may be behind by what a time server corrects in passing.
const SLACK: SignedDuration = SignedDuration::from_secs(10);
/// Seldom: it only matters to [`OFF_MAX`]. What changes when the wall is set is kept at once.
const KEEP_EVERY: Duration = Duration::from_secs(3600);
/// A clock that is wrong at the start is set soon after it, or nobody sets it.
const DOUBT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
