//! Appending, reading, waiting, opening again.

use super::*;
use crate::{AppendError, OpenError};

#[test]
fn what_is_acknowledged_is_read_now_and_after_opening_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = Vec::new();
    {
        let (journal, report) = open(dir.path(), small());
        assert_eq!(report.lost_records, 0);
        let stream = journal.stream("a").expect("created");
        for n in 0..2000 {
            let receipt =
                journal.append(vec![record(stream, n, body(0, n as u64))]).expect("queued");
            receipt.wait_blocking().expect("durable");
            assert_eq!(receipt.first_sequence(), Some(n as u64));
            expected.push((n as u64, at(n), body(0, n as u64)));
        }
        check(&read_all(&journal, stream, From::Oldest), &expected);
        journal.close();
    }
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges, report.torn_bytes), (0, 0, 0));
    assert!(report.segments > 3, "{report:?}");
    assert_eq!(report.scanned_segments, 1);
    let stream = journal.stream("a").expect("known");
    check(&read_all(&journal, stream, From::Oldest), &expected);
    check(&read_all(&journal, stream, From::Sequence(777)), &expected[777..]);
    check(&read_all(&journal, stream, From::Time(at(1234))), &expected[1234..]);
    assert_eq!(read_all(&journal, stream, From::Newest), vec![]);
    assert_eq!(read_all(&journal, stream, From::Time(at(5000))), vec![]);
}

fn check(entries: &[Entry], expected: &[(u64, Timestamp, Vec<u8>)]) {
    let found: Vec<_> =
        entries.iter().map(|entry| (entry.sequence, entry.enqueued, entry.body.to_vec())).collect();
    assert!(found == expected, "{} found, {} expected", found.len(), expected.len());
}

#[tokio::test]
async fn a_reader_waits_for_what_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("created");
    let mut reader = journal.reader(stream, From::Newest).expect("exists");
    let waiting = tokio::spawn(async move { reader.next_batch(10, 1000).await });
    tokio::task::yield_now().await;
    let receipt = journal.append(vec![record(stream, 1, "x")]).expect("queued");
    receipt.wait().await.expect("durable");
    let entries = waiting.await.expect("no panic").expect("readable");
    assert_eq!(entries[0].body, "x");
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let error = Journal::open(dir.path(), small(), clock()).expect_err("locked");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    let stream = journal.stream("a").expect("created");
    journal.close();
    let error = journal.append(vec![record(stream, 1, "x")]).expect_err("closed");
    assert!(matches!(error, AppendError::Closed), "{error}");
    open(dir.path(), small());
}
