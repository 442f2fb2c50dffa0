//! Directories of every format version that ever was: they must open, hold what
//! they held, and go on. `fixtures/README.md` says what is in them.

use std::path::PathBuf;

use super::*;
use crate::Retention;

fn fixture(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/v{version}"))
}

#[test]
fn version_1_opens_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(fixture(1)).expect("the fixture") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
    }
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges, report.torn_bytes), (0, 0, 0));
    assert_eq!((report.segments, report.scanned_segments), (3, 1));
    let names: Vec<_> = journal.stream_names().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["telemetry/0", "c2d"]);

    let telemetry = journal.stream("telemetry/0").expect("known");
    let info = journal.stream_info(telemetry).expect("known");
    assert_eq!((info.oldest, info.next, info.lost_records), (100, 500, 0));
    let entries = read_all(&journal, telemetry, From::Oldest);
    assert_eq!(entries.len(), 400);
    for (entry, sequence) in entries.iter().zip(100..) {
        assert_eq!((entry.sequence, entry.enqueued), (sequence, at(sequence as i64 * 10)));
        assert_eq!(entry.body, body(1, sequence));
    }
    let c2d = journal.stream("c2d").expect("known");
    let bodies: Vec<_> =
        read_all(&journal, c2d, From::Oldest).into_iter().map(|entry| entry.body).collect();
    assert_eq!(bodies, ["zero", "one", "two"]);

    let receipt = journal.append(vec![record(c2d, 9000, "three")]).expect("queued");
    receipt.wait_blocking().expect("durable");
    assert_eq!(receipt.first_sequence(), Some(3));
}

/// Run by hand for a new version of the format, never for an old one:
/// `cargo test -p journal write_the_fixture -- --ignored`.
#[test]
#[ignore = "writes the fixture of the current version"]
fn write_the_fixture() {
    let dir = fixture(crate::format::VERSION);
    assert!(!dir.exists(), "a fixture is written once");
    let (journal, _) = open(&dir, small());
    let telemetry = journal.stream("telemetry/0").expect("made");
    let keep = Retention { bytes: Some(1 << 30), age: None };
    let c2d = journal.stream_with("c2d", keep).expect("made");
    for n in 0..500 {
        let mut records = vec![record(telemetry, n * 10, body(1, n as u64))];
        if n % 200 == 0 {
            records.push(record(c2d, n * 10, ["zero", "one", "two"][n as usize / 200]));
        }
        journal.append(records).expect("queued").wait_blocking().expect("durable");
    }
    journal.trim(telemetry, 100).expect("known");
    journal.maintain().expect("done");
    journal.close();
    std::fs::remove_file(dir.join("LOCK")).expect("removed");
}
