//! A disk that fails, fills up or loses power: what is acknowledged stays, what
//! is refused stays away, and serving goes on when it can.

use std::sync::Arc;
use std::time::Duration;

use host::disk::{Disk, FaultError, Faults};

use super::*;
use crate::{AppendError, OpenError};

fn faulty() -> (Arc<Faults>, Settings) {
    let faults = Arc::new(Faults::new());
    let settings = Settings { disk: Disk::faulty(faults.clone()), ..small() };
    (faults, settings)
}

/// What was acknowledged and what was refused of one stream, by body number.
#[derive(Default)]
struct Ledger {
    sent: u64,
    acknowledged: Vec<u64>,
    refused: Vec<u64>,
}

impl Ledger {
    /// Appends the next record and waits for what becomes of it.
    fn send(&mut self, journal: &Journal, stream: StreamId) -> Result<(), AppendError> {
        let n = self.sent;
        self.sent += 1;
        let outcome = journal
            .append(vec![record(stream, n as i64, body(0, n))])
            .and_then(|receipt| receipt.wait_blocking());
        match &outcome {
            Ok(()) => self.acknowledged.push(n),
            Err(_) => self.refused.push(n),
        }
        outcome
    }

    /// Everything acknowledged is there in order, nothing else.
    fn check(&self, journal: &Journal, stream: StreamId) {
        let entries = read_all(journal, stream, From::Oldest);
        let found: Vec<_> = entries.iter().map(|entry| entry.body.to_vec()).collect();
        let expected: Vec<_> = self.acknowledged.iter().map(|n| body(0, *n)).collect();
        assert!(found == expected, "{} found, {} expected", found.len(), expected.len());
        let sequences: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, (0..expected.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_failed_sync_is_told_to_whom_it_concerns_and_nothing_of_it_comes_back() {
    for nth in 1..12 {
        let dir = tempfile::tempdir().expect("a directory");
        let (faults, settings) = faulty();
        let (journal, _) = open(dir.path(), settings);
        let stream = journal.stream("a").expect("made");
        // The keeper syncs its spare; what fails below is a group's sync.
        wait_for_spare(&journal);
        let mut ledger = Ledger::default();
        faults.fail_syncs(nth, 1, FaultError::Io);
        let mut errors = Vec::new();
        for _ in 0..20 {
            errors.extend(ledger.send(&journal, stream).err());
        }
        assert_eq!(errors.len(), 1, "nth {nth}: {errors:?}");
        assert!(matches!(errors[0], AppendError::Disk { .. }), "{:?}", errors[0]);
        assert_eq!(ledger.refused, vec![nth - 1]);
        ledger.check(&journal, stream);
        journal.leave_as_killed();
        let (journal, report) = open(dir.path(), small());
        assert_eq!((report.lost_records, report.damaged_ranges), (0, 0), "nth {nth}");
        ledger.check(&journal, stream);
    }
}

#[test]
fn a_failed_or_short_write_is_like_a_failed_sync() {
    for written in [0, 300, 990] {
        let dir = tempfile::tempdir().expect("a directory");
        let (faults, settings) = faulty();
        let (journal, _) = open(dir.path(), settings);
        let stream = journal.stream("a").expect("made");
        wait_for_spare(&journal);
        let mut ledger = Ledger::default();
        faults.fail_writes(4, 1, written, FaultError::Io);
        for _ in 0..10 {
            let _ = ledger.send(&journal, stream);
        }
        assert_eq!(ledger.refused, vec![3]);
        journal.leave_as_killed();
        let (journal, report) = open(dir.path(), small());
        assert_eq!((report.lost_records, report.damaged_ranges), (0, 0));
        ledger.check(&journal, stream);
    }
}

#[test]
fn a_second_disk_error_makes_the_journal_read_only_until_it_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    wait_for_spare(&journal);
    let mut ledger = Ledger::default();
    ledger.send(&journal, stream).expect("durable");
    faults.fail_syncs(1, 1, FaultError::Io);
    ledger.send(&journal, stream).expect_err("failed");
    ledger.send(&journal, stream).expect("durable again");
    wait_for_spare(&journal);
    faults.fail_syncs(1, 1, FaultError::Io);
    let error = ledger.send(&journal, stream).expect_err("failed");
    assert!(matches!(error, AppendError::ReadOnly), "{error:?}");
    let error = ledger.send(&journal, stream).expect_err("read-only");
    assert!(matches!(error, AppendError::ReadOnly), "{error:?}");
    // Reading and trimming still work.
    ledger.check(&journal, stream);
    journal.trim(stream, 1).expect("known");
    assert_eq!(read_all(&journal, stream, From::Oldest).len(), 1);
    journal.maintain().expect("does nothing");
    journal.close();
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges), (0, 0));
    let entries = read_all(&journal, stream, From::Oldest);
    let bodies: Vec<_> = entries.iter().map(|entry| entry.body.to_vec()).collect();
    assert_eq!(bodies, vec![body(0, 0), body(0, 2)], "a trim that was not stored is forgotten");
    ledger.send(&journal, stream).expect("durable after the restart");
}

#[test]
fn a_failed_sync_on_a_full_disk_is_refused_for_good_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    let mut ledger = Ledger::default();
    ledger.send(&journal, stream).expect("durable");
    // No segment to cut with: the failed group is overwritten instead.
    faults.limit_space(Some(0));
    faults.fail_syncs(1, 1, FaultError::Io);
    let error = ledger.send(&journal, stream).expect_err("failed");
    assert!(matches!(error, AppendError::Disk { .. }), "{error:?}");
    let error = ledger.send(&journal, stream).expect_err("no space");
    assert!(matches!(error, AppendError::DiskFull { .. }), "{error:?}");
    journal.leave_as_killed();
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges), (0, 0));
    ledger.check(&journal, stream);
}

#[test]
fn a_spare_that_cannot_be_made_is_a_disk_error_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    let mut ledger = Ledger::default();
    ledger.send(&journal, stream).expect("durable");
    // The first failure is the keeper's, whose spare the cut needs.
    faults.fail_syncs(1, 1000, FaultError::Io);
    let error = ledger.send(&journal, stream).expect_err("failed");
    assert!(matches!(error, AppendError::ReadOnly), "{error:?}");
    ledger.check(&journal, stream);
}

#[test]
fn when_the_new_segment_fails_too_the_journal_is_read_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    wait_for_spare(&journal);
    let mut ledger = Ledger::default();
    ledger.send(&journal, stream).expect("durable");
    faults.fail_syncs(1, 1000, FaultError::Io);
    let error = ledger.send(&journal, stream).expect_err("failed");
    assert!(matches!(error, AppendError::ReadOnly), "{error:?}");
    ledger.check(&journal, stream);
    faults.fail_syncs(1, 0, FaultError::Io);
    journal.close();
    let (journal, _) = open(dir.path(), small());
    let entries = read_all(&journal, stream, From::Oldest);
    // The one that waited at that moment may be there; see `AppendError::ReadOnly`.
    assert!((1..=2).contains(&entries.len()), "{}", entries.len());
    assert_eq!(entries[0].body, body(0, 0));
}

#[test]
fn a_full_disk_refuses_at_once_and_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    let segment_bytes = settings.segment_bytes;
    faults.limit_space(Some(4 * segment_bytes));
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    let mut ledger = Ledger::default();
    let error = loop {
        if let Err(error) = ledger.send(&journal, stream) {
            break error;
        }
    };
    assert!(matches!(error, AppendError::DiskFull { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("disk full") && text.contains(&dir.path().display().to_string()),
        "{text}"
    );
    assert!(journal.info().refusal.is_some());
    // Reads still work, and so does a restart.
    ledger.check(&journal, stream);
    let acknowledged = ledger.acknowledged.len();
    assert!(acknowledged > 700, "{acknowledged}");
    // Space comes back from outside.
    faults.limit_space(Some(2 * segment_bytes));
    wait_until_accepting(&journal);
    ledger.send(&journal, stream).expect("durable");
    ledger.check(&journal, stream);
    // And again from inside: trimming frees segments even on a full disk.
    faults.limit_space(Some(0));
    while ledger.send(&journal, stream).is_ok() {}
    let next = journal.stream_info(stream).expect("known").next;
    journal.trim(stream, next - 5).expect("known");
    wait_until_accepting(&journal);
    ledger.send(&journal, stream).expect("durable");
    journal.leave_as_killed();
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges), (0, 0));
    let entries = read_all(&journal, stream, From::Oldest);
    let last = ledger.acknowledged.len() - entries.len();
    let expected: Vec<_> = ledger.acknowledged[last..].iter().map(|n| body(0, *n)).collect();
    let found: Vec<_> = entries.iter().map(|entry| entry.body.to_vec()).collect();
    assert!(found == expected);
    assert_eq!(entries.len(), 6);
}

#[test]
fn no_space_for_bytes_that_were_allocated_is_no_broken_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    wait_for_spare(&journal);
    let mut ledger = Ledger::default();
    for round in 0..5 {
        ledger.send(&journal, stream).expect("durable");
        if round % 2 == 0 {
            faults.fail_writes(1, 1, 700, FaultError::NoSpace);
        } else {
            faults.fail_syncs(1, 1, FaultError::NoSpace);
        }
        let error = ledger.send(&journal, stream).expect_err("full");
        assert!(matches!(error, AppendError::DiskFull { .. }), "{error:?}");
        wait_until_accepting(&journal);
    }
    ledger.send(&journal, stream).expect("durable");
    ledger.check(&journal, stream);
    journal.leave_as_killed();
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges), (0, 0));
    ledger.check(&journal, stream);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told_at_the_opening() {
    let dir = tempfile::tempdir().expect("a directory");
    let (faults, settings) = faulty();
    faults.limit_space(Some(1000));
    let error = Journal::open(dir.path(), settings, clock()).expect_err("no space");
    assert!(matches!(error, OpenError::NoSpace { .. }), "{error}");
    let left = std::fs::read_dir(dir.path()).expect("a directory").count();
    assert_eq!(left, 1, "only the lock");
}

#[test]
fn the_journals_own_bound_refuses_like_a_full_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { bytes_max: Some(3 * (256 << 10)), ..small() };
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    let mut ledger = Ledger::default();
    let error = loop {
        if let Err(error) = ledger.send(&journal, stream) {
            break error;
        }
    };
    assert!(matches!(error, AppendError::BoundReached { .. }), "{error:?}");
    assert!(journal.info().bytes <= 3 * (256 << 10));
    journal.trim(stream, u64::MAX).expect("known");
    wait_until_accepting(&journal);
    ledger.send(&journal, stream).expect("durable");
}

#[test]
fn power_cuts_at_any_moment_lose_nothing_that_was_acknowledged() {
    for seed in 0..150 {
        let dir = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::default();
        // Three lives over one directory.
        for life in 0..3 {
            let (faults, settings) = faulty();
            let (journal, report) = open(dir.path(), settings);
            assert_eq!((report.lost_records, report.damaged_ranges), (0, 0), "seed {seed}");
            let stream = journal.stream("a").expect("made");
            let found = read_all(&journal, stream, From::Oldest);
            let numbers: Vec<u64> = found.iter().map(|entry| number(&entry.body)).collect();
            for n in &ledger.acknowledged {
                assert!(numbers.contains(n), "seed {seed}: {n} is lost");
            }
            assert!(numbers.is_sorted(), "seed {seed}");
            for entry in &found {
                assert_eq!(entry.body, body(0, number(&entry.body)), "seed {seed}");
            }
            for _ in 0..(seed * 7 + life * 13) % 40 {
                ledger.send(&journal, stream).expect("durable");
            }
            // Records under way when the power goes.
            let count = 1 + seed % 5;
            let batch = (ledger.sent..ledger.sent + count)
                .map(|n| record(stream, n as i64, body(0, n)))
                .collect();
            ledger.sent += count;
            // The sync fails as on a machine that is going down, so that what
            // the group wrote is there and not synced.
            faults.fail_syncs(1, 1000, FaultError::Io);
            let receipt = journal.append(batch).expect("queued");
            let _ = receipt.wait_blocking();
            faults.power_cut(seed * 31 + life).expect("cut");
            journal.leave_as_killed();
        }
    }
}

fn number(body: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(body);
    let number = text.split(['/', ':']).nth(1).and_then(|number| number.parse().ok());
    number.expect("a body made by `body`")
}

/// Waits until the keeper has a segment ready, so that it leaves the disk alone.
fn wait_for_spare(journal: &Journal) {
    journal.shared.keeper.want_spare();
    poll(|| journal.shared.keeper.has_spare());
}

fn wait_until_accepting(journal: &Journal) {
    poll(|| journal.info().refusal.is_none());
}

/// Looks again and again; a test that waits in vain fails by the runner's limit
/// rather than by a guess about this machine.
fn poll(done: impl Fn() -> bool) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    while !done() {
        let _ = never.recv_timeout(Duration::from_millis(1));
    }
}
