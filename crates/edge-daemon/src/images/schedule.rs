//! When images are collected: at a time of the day, every so many days. Pure but for the zone.

use std::path::Path;

use host::fs;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::config::GarbageCollection;

/// The next time.
pub(super) struct Schedule {
    collection: GarbageCollection,
    zone: TimeZone,
    next: Timestamp,
}

impl Schedule {
    /// The first time is the next one that the clock shows `cleanup_time`.
    pub(super) fn new(collection: GarbageCollection, zone: TimeZone, now: Timestamp) -> Self {
        let mut schedule = Self { collection, zone, next: now };
        schedule.next = schedule.after(now, 1);
        schedule
    }

    /// Whether it is time. A clock that was set back by days does not put it off by as much.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let latest = self.after(now, self.days());
        self.next = self.next.min(latest);
        now >= self.next
    }

    /// It was done now.
    pub(super) fn done(&mut self, now: Timestamp) {
        self.next = self.after(now, self.days());
    }

    fn days(&self) -> i64 {
        i64::try_from(self.collection.recurrence.as_secs() / DAY_SECONDS).unwrap_or(1)
    }

    /// The time of the day when it comes for the `count`th time after `now`, by the calendar of
    /// this place: a day of daylight saving may have 23 or 25 hours.
    fn after(&self, now: Timestamp, count: i64) -> Timestamp {
        let at = |days: i64| {
            let date = self.zone.to_datetime(now).date();
            let date = date.checked_add(Span::new().try_days(days).ok()?).ok()?;
            let seconds = i64::try_from(self.collection.at.as_secs()).ok()?;
            let time = date.at(0, 0, 0, 0).checked_add(Span::new().try_seconds(seconds).ok()?);
            self.zone.to_timestamp(time.ok()?).ok()
        };
        let is_today = at(0).is_some_and(|today| today > now);
        // Past the end of the calendar it never comes.
        at(if is_today { count - 1 } else { count }).unwrap_or(Timestamp::MAX)
    }
}

/// This machine's zone; UTC when it has none.
pub(super) fn local_zone() -> TimeZone {
    let read = fs::read(Path::new(LOCAL_TIME)).ok();
    read.and_then(|data| TimeZone::tzif("local", &data).ok()).unwrap_or(TimeZone::UTC)
}

const DAY_SECONDS: u64 = 24 * 3600;

/// `localtime(5)`.
const LOCAL_TIME: &str = "/etc/localtime";
