use std::path::Path;

use journal::{Record, Retention, StreamId};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOON: &str = "2026-11-25T12:00:00Z";
const EPOCH: &str = "1970-01-01T00:00:10Z";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a start makes of what is known; `off` is how far the store's time is after the newest.
#[track_caller]
fn check(wall: &str, ahead: Option<i64>, off: Option<i64>) {
    let newest = at(NOON);
    let kept = Kept { seen_ms: newest.as_millisecond(), ahead_ms: ahead.map(|s| s * 1000) };
    let begin = begin(&Clock::manual(at(wall)), Some(kept), None, false);
    let counted = begin.at.duration_since(newest).as_secs();
    assert_eq!((counted, begin.doubt.is_none()), (off.unwrap_or(0), off.is_some()), "{begin:?}");
}

#[test]
fn time_off_counts_only_where_it_is_known() {
    let hours = |hours: i64| Some(hours * 3600);
    for (wall, ahead, off) in [
        // The usual: off for two hours, for a year.
        ("2026-11-25T14:00:00Z", Some(0), hours(2)),
        ("2027-11-25T12:00:00Z", Some(0), hours(365 * 24)),
        // A clock that is behind by a breath.
        ("2026-11-25T11:59:55Z", Some(0), Some(0)),
        // Back by an hour, in 2016, in 1970, at an image's date; forward by ten years.
        ("2026-11-25T11:00:00Z", Some(0), None),
        ("2016-11-25T12:00:00Z", Some(0), None),
        (EPOCH, Some(0), None),
        ("2025-06-01T00:00:00Z", Some(0), None),
        ("2036-11-25T12:00:00Z", Some(0), None),
        // The same ten years, set while it ran: off for an hour only.
        ("2036-11-25T13:00:00Z", Some((at("2036-11-25T12:00:00Z") - at(NOON)).as_secs()), hours(1)),
        // Set back by an hour while it ran.
        ("2026-11-25T12:00:00Z", Some(-3600), hours(1)),
        // Stored before the clock was set.
        ("2026-11-25T14:00:00Z", None, None),
    ] {
        check(wall, ahead, off);
    }
}

#[test]
fn an_empty_or_new_store_begins_by_the_wall() {
    let clock = Clock::manual(at("2040-01-01T00:00:00Z"));
    let kept = Kept { seen_ms: at(EPOCH).as_millisecond(), ahead_ms: None };
    for kept in [None, Some(kept)] {
        let begin = begin(&clock, kept, None, true);
        assert_eq!(begin, Begin { at: clock.wall(), doubt: None });
    }
    // A store of an earlier version has the wall's time.
    let begin = begin(&Clock::manual(at("2026-11-25T13:00:00Z")), None, Some(at(NOON)), false);
    assert_eq!(begin, Begin { at: at("2026-11-25T13:00:00Z"), doubt: None });
}

/// A device whose edge hub is started again and again over one store.
struct Device {
    dir: tempfile::TempDir,
    clock: Clock,
}

struct Run {
    state: State,
    journal: Journal,
    stream: StreamId,
    time: StoreTime,
}

impl Device {
    fn new(wall: &str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: Clock::manual(at(wall)) }
    }

    /// A new process at this time of the wall.
    async fn start(&mut self, wall: &str) -> Run {
        self.clock = Clock::manual(at(wall));
        self.open(self.dir.path()).await
    }

    async fn open(&self, dir: &Path) -> Run {
        let state = State::open(dir).unwrap();
        let settings = journal::Settings::default();
        let (journal, _) = Journal::open(&dir.join("q"), settings, self.clock.clone()).unwrap();
        let stream = journal.stream_with("s", Retention::default()).unwrap();
        let time = StoreTime::open(self.clock.clone(), &state, &journal).await.unwrap();
        Run { state, journal, stream, time }
    }
}

impl Run {
    /// Stores a message and gives its time.
    async fn store(&self) -> Timestamp {
        let enqueued = self.time.now();
        let record = Record { stream: self.stream, enqueued, body: "m".into() };
        self.journal.append(vec![record]).unwrap().wait().await.unwrap();
        enqueued
    }

    /// What `keep` does when it has looked.
    async fn look(&self) {
        self.time.keep_now(&self.state, self.time.clock.wall_is_plausible()).await.unwrap();
    }

    fn age(&self, stored: Timestamp) -> Duration {
        self.time.now().duration_since(stored).try_into().unwrap()
    }

    fn end(self) {
        self.journal.close();
    }
}

#[tokio::test]
async fn a_wall_that_is_set_ages_nothing() {
    let device = Device::new(NOON);
    let run = device.open(device.dir.path()).await;
    let stored = run.store().await;
    for wall in ["2036-11-25T12:00:00Z", "2016-11-25T12:00:00Z", EPOCH, "2026-11-25T11:00:00Z"] {
        let before = run.age(stored);
        device.clock.set_wall(at(wall));
        device.clock.advance(HOUR);
        assert_eq!(run.age(stored), before + HOUR, "{wall}");
        let shown = run.time.on_the_wall(run.time.now());
        assert_eq!(shown, at(wall) + HOUR);
    }
    run.end();
}

#[tokio::test]
async fn a_start_in_1970_and_a_crash_around_the_sync_age_nothing() {
    let mut device = Device::new(EPOCH);
    let run = device.start(EPOCH).await;
    let stored = run.store().await;
    device.clock.advance(HOUR);
    device.clock.set_wall(at(NOON));
    assert_eq!(run.age(stored), HOUR);
    // Killed before anybody noticed that the wall was set: the half hour off cannot be told.
    run.end();
    let run = device.start("2026-11-25T12:30:00Z").await;
    assert!(run.time.is_doubtful);
    assert!(run.age(stored) <= HOUR);
    let before = run.age(stored);
    // Nobody sets it any more, so it is believed after a while; from then on time off counts.
    device.clock.advance(HOUR);
    run.look().await;
    run.end();
    let run = device.start("2026-11-25T15:30:00Z").await;
    assert!(!run.time.is_doubtful);
    assert_eq!(run.age(stored), before + 3 * HOUR);
    run.end();
    // Off for three days, and the clock is not set at the start.
    let run = device.start(EPOCH).await;
    assert!(run.age(stored) <= before + 3 * HOUR);
    run.end();
}

#[tokio::test]
async fn a_wrong_clock_that_is_corrected_leaves_no_trace() {
    let mut device = Device::new(NOON);
    let run = device.start(NOON).await;
    let stored = run.store().await;
    device.clock.set_wall(at("2036-11-25T12:00:00Z"));
    run.look().await;
    // Restarted while it is wrong, and corrected then.
    run.end();
    let run = device.start("2036-11-25T13:00:00Z").await;
    assert_eq!(run.age(stored), HOUR);
    device.clock.set_wall(at("2026-11-25T13:00:00Z"));
    run.look().await;
    run.end();
    let run = device.start("2026-11-26T13:00:00Z").await;
    assert_eq!(run.age(stored), HOUR + DAY);
    assert!(!run.time.is_doubtful);
    run.end();
}

#[tokio::test]
async fn a_store_without_messages_forgets_a_wrong_clock() {
    let mut device = Device::new(EPOCH);
    let run = device.start(EPOCH).await;
    run.end();
    let run = device.start(NOON).await;
    assert_eq!(run.time.now(), at(NOON));
    assert!(!run.time.is_doubtful);
    run.end();
}
