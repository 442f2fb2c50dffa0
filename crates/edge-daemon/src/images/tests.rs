//! The golden table of what may go, the record and the schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use containers::LocalImage;
use host::fs::Space;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::plan::{Facts, is_pressed, is_relieved, plan};
use super::schedule::Schedule;
use super::uses::{self, Uses};
use crate::config::GarbageCollection;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

/// What becomes of an image that was used last so long ago.
fn fate(last_use: Option<Timestamp>, kind: &str, age: i64) -> &'static str {
    let id = "sha256:1".to_owned();
    let images = match kind {
        "not here" => Vec::new(),
        _ => vec![LocalImage {
            id: id.clone(),
            names: vec!["a:1".into()],
            size_bytes: 1,
            is_used: kind == "container",
            is_builtin: kind == "built in",
        }],
    };
    let uses: BTreeMap<_, _> =
        last_use.into_iter().map(|last_use| (id.clone(), last_use)).collect();
    let deployed: BTreeSet<_> = (kind == "deployed").then_some(id).into_iter().collect();
    let age = Duration::from_secs(age.unsigned_abs());
    let names = uses::Names::new();
    let facts =
        Facts { images: &images, uses: &uses, names: &names, deployed: &deployed, now: now(), age };
    let plan = plan(&facts);
    match (plan.remove.len(), plan.used.len(), plan.gone.len()) {
        (1, 0, 0) => "removed",
        (0, 1, 0) => "used now",
        (0, 0, 1) => "forgotten",
        (0, 0, 0) => "kept",
        _ => panic!("one image has one fate: {plan:?}"),
    }
}

#[test]
fn the_golden_table() {
    let week = 7 * DAY;
    for (last_use, kind, age, expected) in [
        // Never pulled or used by this runtime: never touched, however it is used.
        (None, "unused", week, "kept"),
        (None, "unused", HOUR, "kept"),
        (None, "container", week, "kept"),
        (None, "deployed", week, "kept"),
        // Unused: by age.
        (Some(ago(week - 1)), "unused", week, "kept"),
        (Some(ago(week)), "unused", week, "removed"),
        (Some(ago(week + 1)), "unused", week, "removed"),
        // Under pressure the age is an hour.
        (Some(ago(HOUR - 1)), "unused", HOUR, "kept"),
        (Some(ago(HOUR)), "unused", HOUR, "removed"),
        // Needed, by whomever: kept at any age, and the use is noted at most every hour.
        (Some(ago(HOUR - 1)), "container", week, "kept"),
        (Some(ago(100 * DAY)), "container", week, "used now"),
        (Some(ago(100 * DAY)), "container", HOUR, "used now"),
        (Some(ago(100 * DAY)), "deployed", week, "used now"),
        (Some(ago(100 * DAY)), "deployed", HOUR, "used now"),
        (Some(ago(100 * DAY)), "built in", HOUR, "used now"),
        // Written while the clock was wrong: counts from now.
        (Some(ago(-DAY)), "unused", HOUR, "used now"),
        (Some(Timestamp::UNIX_EPOCH), "unused", HOUR, "used now"),
        (Some("2023-12-31T23:59:59Z".parse().unwrap()), "unused", week, "used now"),
        (Some("2024-01-01T00:00:00Z".parse().unwrap()), "unused", week, "removed"),
        // Removed by somebody else.
        (Some(ago(0)), "not here", week, "forgotten"),
    ] {
        assert_eq!(fate(last_use, kind, age), expected, "{last_use:?} {kind} {age}");
    }
}

#[test]
fn the_longest_unused_goes_first() {
    let image = |id: &str| LocalImage {
        id: id.into(),
        names: Vec::new(),
        size_bytes: 1,
        is_used: false,
        is_builtin: false,
    };
    let images = [image("a"), image("b"), image("c")];
    let uses =
        [("a".into(), ago(8 * DAY)), ("b".into(), ago(10 * DAY)), ("c".into(), ago(9 * DAY))];
    let (uses, none) = (uses.into(), BTreeSet::new());
    let names = uses::Names::new();
    let plan = plan(&Facts {
        images: &images,
        uses: &uses,
        names: &names,
        deployed: &none,
        now: now(),
        age: Duration::from_secs(7 * 24 * 3600),
    });
    let order: Vec<&str> = plan.remove.iter().map(|image| image.id.as_str()).collect();
    assert_eq!(order, ["b", "c", "a"]);
}

#[test]
fn an_image_of_several_names_goes_when_all_of_them_are_ours() {
    let id = "sha256:1".to_owned();
    let goes = |here: &[&str], ours: &[&str]| {
        let image = LocalImage {
            id: id.clone(),
            names: here.iter().map(|name| (*name).to_owned()).collect(),
            size_bytes: 1,
            is_used: false,
            is_builtin: false,
        };
        let (images, none) = ([image], BTreeSet::new());
        let ours = ours.iter().map(|name| (*name).to_owned()).collect();
        let names = uses::Names::from([(id.clone(), ours)]);
        let uses = BTreeMap::from([(id.clone(), ago(8 * DAY))]);
        let facts = Facts {
            images: &images,
            uses: &uses,
            names: &names,
            deployed: &none,
            now: now(),
            age: Duration::from_secs(7 * 24 * 3600),
        };
        !plan(&facts).remove.is_empty()
    };
    assert!(goes(&["r.test/a:1", "r.test/a:latest"], &["r.test/a", "r.test/a:1"]));
    assert!(goes(&["docker.io/library/a:1", "docker.io/b/a:1"], &["a:1", "b/a:1"]));
    // One of them is somebody else's.
    assert!(!goes(&["r.test/a:1", "keep:1"], &["r.test/a:1"]));
    assert!(!goes(&["a:1", "b:1"], &[]));
    // A single name, or none, is as ever.
    assert!(goes(&["a:1"], &[]));
    assert!(goes(&[], &["a:1"]));
}

#[test]
fn names_are_recorded_with_uses_and_outlive_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gc/image_use");
    let uses = Uses::open(&path).unwrap();
    assert!(uses.is_news("sha256:a", "a:1", now()));
    uses.record_name("sha256:a", "a:1", ago(HOUR)).unwrap();
    // What was recorded a moment ago under that name needs no writing.
    assert!(!uses.is_news("sha256:a", "a:1", ago(1)));
    assert!(uses.is_news("sha256:a", "a:1", now()));
    assert!(uses.is_news("sha256:a", "a:2", ago(1)));
    uses.record_name("sha256:a", "a:2", ago(1)).unwrap();
    uses.record_name("sha256:b", "b:1", ago(1)).unwrap();
    drop(uses);
    let again = Uses::open(&path).unwrap();
    let both: BTreeSet<String> = ["a:1".to_owned(), "a:2".to_owned()].into();
    assert_eq!(again.names()["sha256:a"], both);
    assert_eq!(again.all()["sha256:a"], ago(1));
    again.record(&[], &["sha256:a".to_owned()], now()).unwrap();
    let names = Uses::open(&path).unwrap().names();
    assert_eq!(names.keys().collect::<Vec<_>>(), ["sha256:b"]);
}

#[test]
fn pressure_begins_and_ends_at_different_marks() {
    let space = |free_bytes| Space { free_bytes, total_bytes: 1000 };
    let marks = [0, 99, 100, 149, 150, 1000];
    let states = marks.map(|free| (is_pressed(space(free)), is_relieved(space(free))));
    let (full, between, roomy) = ((true, false), (false, false), (false, true));
    assert_eq!(states, [full, full, between, between, roomy, roomy]);
    // A file system that tells no size is taken for a full one, as it has nothing free.
    assert!(is_pressed(Space { free_bytes: 0, total_bytes: 0 }));
}

#[test]
fn the_record_is_the_originals_and_outlives_bad_lines() {
    let text = "sha256:aa 1764072000\n\nsha256:bb x\nnonsense\nsha256:cc 99999999999999999\nsha256:dd 1764072001\r\n";
    let (read, bad) = uses::parse(text);
    assert_eq!(bad, 3);
    assert_eq!(uses::print(&read), "sha256:aa 1764072000\nsha256:dd 1764072001\n");
}

#[test]
fn the_record_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gc/image_use");
    let uses = Uses::open(&path).unwrap();
    let ids = ["sha256:a".to_owned(), "sha256:b".to_owned()];
    uses.record(&ids, &[], ago(DAY)).unwrap();
    uses.record(&ids[..1], &ids[1..], now()).unwrap();
    drop(uses);
    let again = Uses::open(&path).unwrap();
    assert_eq!(again.all(), [("sha256:a".to_owned(), now())].into());
}

#[test]
fn the_record_has_a_bound_and_forgets_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let uses = Uses::open(&dir.path().join("image_use")).unwrap();
    let ids = |range: std::ops::Range<u32>| -> Vec<String> {
        range.map(|number| format!("sha256:{number:05}")).collect()
    };
    uses.record(&ids(0..10), &[], ago(DAY)).unwrap();
    uses.record(&ids(10..4101), &[], now()).unwrap();
    let all = uses.all();
    assert_eq!(all.len(), 4096);
    assert!(!all.contains_key("sha256:00004") && all.contains_key("sha256:00010"));
}

fn schedule(days: u64, at: u64, zone: TimeZone, now: &str) -> Schedule {
    let collection = GarbageCollection {
        enabled: true,
        recurrence: Duration::from_secs(days * 24 * 3600),
        age: Duration::ZERO,
        at: Duration::from_secs(at),
    };
    Schedule::new(collection, zone, now.parse().unwrap())
}

/// When it is due, looking every ten minutes for so many days.
fn times(mut schedule: Schedule, from: &str, days: i64) -> Vec<String> {
    let from: Timestamp = from.parse().unwrap();
    let mut times = Vec::new();
    for look in 0..days * DAY / 600 {
        let now = Timestamp::from_second(from.as_second() + look * 600).unwrap();
        if schedule.is_due(now) {
            schedule.done(now);
            times.push(now.to_string());
        }
    }
    times
}

#[test]
fn it_comes_at_its_time_of_the_day_by_local_time() {
    let start = "2026-11-25T12:00:00Z";
    let daily = schedule(1, 0, TimeZone::UTC, start);
    assert_eq!(times(daily, start, 2), ["2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"]);
    // 13:30 here is 12:30 UTC: still today.
    let zone = TimeZone::fixed(Offset::constant(1));
    let every_second = schedule(2, 13 * 3600 + 1800, zone, start);
    assert_eq!(times(every_second, start, 4), ["2026-11-25T12:30:00Z", "2026-11-27T12:30:00Z"]);
}

#[test]
fn a_clock_set_back_does_not_put_it_off() {
    let mut schedule = schedule(1, 0, TimeZone::UTC, "2030-01-01T12:00:00Z");
    assert!(!schedule.is_due("2026-11-25T12:00:00Z".parse().unwrap()));
    assert!(schedule.is_due("2026-11-26T00:00:00Z".parse().unwrap()));
}
