//! What is kept and what goes: trims, retention by bytes and age, recycling,
//! compaction, search by time.

use std::time::Duration;

use super::*;
use crate::{Gap, GapCause, Retention};

/// Appends without waiting for each record; the sync of a later one serves all.
fn append(journal: &Journal, stream: StreamId, time: i64, body: Vec<u8>) {
    let receipt = journal.append(vec![record(stream, time, body)]).expect("queued");
    if time % 16 == 0 {
        receipt.wait_blocking().expect("durable");
    }
}

/// What was appended is durable: housekeeping comes after what is queued.
fn settle(journal: &Journal) {
    journal.maintain().expect("done");
}

#[test]
fn a_trim_holds_after_opening_again_and_frees_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    for n in 0..3000 {
        append(&journal, stream, n, body(0, n as u64));
    }
    settle(&journal);
    let before = journal.info();
    let mut reader = journal.reader(stream, From::Oldest).expect("exists");
    journal.trim(stream, 2500).expect("known");
    journal.maintain().expect("done");
    let after = journal.info();
    assert!(after.segments < before.segments / 2, "{before:?} {after:?}");
    let entries = reader.try_next_batch(1, 1).expect("readable");
    assert_eq!(entries[0].sequence, 2500);
    let gap = Gap { from: 0, to: 2500, cause: GapCause::Trimmed };
    assert_eq!(reader.take_gaps(), vec![gap]);
    journal.leave_as_killed();
    let (journal, report) = open(dir.path(), small());
    assert_eq!(report.lost_records, 0);
    let info = journal.stream_info(stream).expect("known");
    assert_eq!((info.oldest, info.next, info.lost_records), (2500, 3000, 0));
    assert_eq!(read_all(&journal, stream, From::Oldest).len(), 500);
}

#[test]
fn a_trim_that_was_not_stored_is_forgotten_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    for n in 0..10 {
        append(&journal, stream, n, body(0, n as u64));
    }
    journal.maintain().expect("done");
    journal.trim(stream, 5).expect("known");
    journal.leave_as_killed();
    let (journal, report) = open(dir.path(), small());
    assert_eq!(report.lost_records, 0);
    assert!(journal.stream_info(stream).expect("known").oldest <= 5);
}

#[test]
fn disk_use_stays_where_it_is_while_consumers_keep_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    let mut most = 0;
    for n in 0..6000_u64 {
        append(&journal, stream, n as i64, body(0, n));
        if n % 100 == 99 {
            journal.trim(stream, n).expect("known");
            journal.maintain().expect("done");
            most = most.max(journal.info().bytes);
        }
    }
    assert!(most <= 5 * small().segment_bytes, "{most}");
}

#[test]
fn retention_by_bytes_keeps_the_newest() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let keep = Retention { bytes: Some(400 << 10), age: None };
    let stream = journal.stream_with("a", keep).expect("made");
    let other = journal.stream("b").expect("made");
    append(&journal, other, 0, b"stays".to_vec());
    for n in 0..3000 {
        append(&journal, stream, n, vec![1; 500]);
    }
    journal.maintain().expect("done");
    let info = journal.stream_info(stream).expect("known");
    assert!((300 << 10..=400 << 10).contains(&info.bytes), "{info:?}");
    assert_eq!(info.next, 3000);
    assert_eq!(read_all(&journal, stream, From::Oldest)[0].sequence, info.oldest);
    assert_eq!(read_all(&journal, other, From::Oldest).len(), 1);
    // It is stored with the stream.
    journal.close();
    let (journal, _) = open(dir.path(), small());
    for n in 0..1000 {
        append(&journal, stream, 3000 + n, vec![1; 500]);
    }
    journal.maintain().expect("done");
    assert!(journal.stream_info(stream).expect("known").bytes <= 400 << 10);
}

#[test]
fn retention_by_age_waits_for_a_clock_that_is_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Clock::manual(at(0));
    let (journal, _) = Journal::open(dir.path(), small(), clock.clone()).expect("opens");
    let keep = Retention { bytes: None, age: Some(Duration::from_secs(60)) };
    let stream = journal.stream_with("a", keep).expect("made");
    for n in 0..1000 {
        append(&journal, stream, n * 100, vec![1; 500]);
    }
    // 1970: whatever that clock says, nothing is deleted.
    clock.set_wall(Timestamp::UNIX_EPOCH);
    journal.maintain().expect("done");
    assert_eq!(journal.stream_info(stream).expect("known").oldest, 0);
    clock.set_wall(at(100_000));
    journal.maintain().expect("done");
    let oldest = journal.stream_info(stream).expect("known").oldest;
    // 400 is the first that is not older than a minute; to the block.
    assert!((300..=400).contains(&oldest), "{oldest}");
    clock.advance(Duration::from_secs(3600));
    journal.maintain().expect("done");
    let info = journal.stream_info(stream).expect("known");
    assert_eq!((info.oldest, info.next, info.bytes), (1000, 1000, 0));
    assert_eq!(journal.info().segments, 1);
}

#[test]
fn enqueued_time_never_goes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    append(&journal, stream, 5000, b"x".to_vec());
    append(&journal, stream, 1000, b"y".to_vec());
    journal.close();
    let (journal, _) = open(dir.path(), small());
    append(&journal, stream, 2000, b"z".to_vec());
    settle(&journal);
    let times: Vec<_> =
        read_all(&journal, stream, From::Oldest).iter().map(|entry| entry.enqueued).collect();
    assert_eq!(times, vec![at(5000), at(5000), at(5000)]);
}

#[test]
fn any_time_finds_its_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    let other = journal.stream("b").expect("made");
    for n in 0..2000_i64 {
        // Runs of equal times, and steps.
        append(&journal, stream, n / 3 * 10, vec![1; (n % 700) as usize]);
        append(&journal, other, n / 3 * 10, vec![2; 50]);
    }
    journal.close();
    let (journal, _) = open(dir.path(), small());
    for time in (-10..6700).step_by(7) {
        let entries = {
            let mut reader = journal.reader(stream, From::Time(at(time))).expect("exists");
            reader.try_next_batch(1, 1).expect("readable")
        };
        let expected = if time <= 0 { 0 } else { (time + 9) / 10 * 3 };
        let found = entries.first().map(|entry| entry.sequence as i64);
        assert_eq!(found, (expected < 2000).then_some(expected), "time {time}");
    }
}

#[test]
fn one_slow_stream_does_not_pin_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let slow = journal.stream("slow").expect("made");
    let fast = journal.stream("fast").expect("made");
    let mut slow_count = 0;
    for n in 0..8000_u64 {
        if n % 50 == 0 {
            append(&journal, slow, n as i64, body(7, slow_count));
            slow_count += 1;
        }
        append(&journal, fast, n as i64, body(0, n));
        if n % 500 == 499 {
            journal.trim(fast, n).expect("known");
            journal.maintain().expect("done");
        }
    }
    let bytes = journal.info().bytes;
    assert!(bytes <= 8 * small().segment_bytes, "{bytes} of some 17 segments written");
    let check = |journal: &Journal| {
        let entries = read_all(journal, slow, From::Oldest);
        let sequences: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, (0..slow_count).collect::<Vec<_>>());
        for entry in &entries {
            assert_eq!(entry.body, body(7, entry.sequence));
            assert_eq!(entry.enqueued, at(entry.sequence as i64 * 50));
        }
        let found = read_all(journal, slow, From::Time(at(3000)));
        assert_eq!(found[0].sequence, 60);
        assert_eq!(journal.stream_info(slow).expect("known").lost_records, 0);
    };
    check(&journal);
    journal.leave_as_killed();
    let (journal, report) = open(dir.path(), small());
    assert_eq!((report.lost_records, report.damaged_ranges), (0, 0));
    check(&journal);
    // What was moved is trimmed like anything else.
    journal.trim(slow, 100).expect("known");
    assert_eq!(read_all(&journal, slow, From::Oldest)[0].sequence, 100);
}

#[test]
fn a_reader_of_an_old_segment_is_not_disturbed_by_recycling() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    for n in 0..4000_u64 {
        append(&journal, stream, n as i64, body(0, n));
    }
    std::thread::scope(|scope| {
        let journal = &journal;
        let reading = scope.spawn(move || {
            let mut reader = journal.reader(stream, From::Oldest).expect("exists");
            let mut last = None;
            while last != Some(5999) {
                for entry in reader.try_next_batch(7, 5000).expect("readable") {
                    assert_eq!(entry.body, body(0, entry.sequence));
                    last = Some(entry.sequence);
                }
                assert!(reader.take_gaps().iter().all(|gap| gap.cause == GapCause::Trimmed));
            }
        });
        for n in 4000..6000_u64 {
            append(journal, stream, n as i64, body(0, n));
            if n % 20 == 0 {
                journal.trim(stream, n - 3000).expect("known");
                journal.maintain().expect("done");
            }
        }
        reading.join().expect("no panic");
    });
    assert_eq!(journal.stream_info(stream).expect("known").lost_records, 0);
}
