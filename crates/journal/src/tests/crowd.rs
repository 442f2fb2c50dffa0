//! Many writers and readers at once, and bounds under pressure.

use std::time::Duration;

use super::*;
use crate::{AppendError, JournalError};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn writers_and_readers_at_once_see_order_and_nothing_twice() {
    const WRITERS: u64 = 40;
    const EACH: u64 = 150;
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let streams: Vec<_> = (0..4).map(|n| journal.stream(&format!("p{n}")).expect("made")).collect();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (journal, stream) = (journal.clone(), streams[(writer % 4) as usize]);
        writers.push(tokio::spawn(async move {
            let mut waiting = std::collections::VecDeque::new();
            for n in 0..EACH {
                let body = format!("{writer}:{n}").into_bytes();
                let receipt = loop {
                    match journal.append(vec![record(stream, n as i64, body.clone())]) {
                        Ok(receipt) => break receipt,
                        Err(AppendError::Full) => journal.wait_for_space().await,
                        Err(error) => panic!("{error}"),
                    }
                };
                waiting.push_back(receipt);
                // Four in flight, acknowledged in order.
                if waiting.len() == 4 {
                    waiting.pop_front().expect("four").wait().await.expect("durable");
                }
            }
            for receipt in waiting {
                receipt.wait().await.expect("durable");
            }
        }));
    }
    let mut readers = Vec::new();
    for stream in streams.clone() {
        let mut reader = journal.reader(stream, From::Oldest).expect("exists");
        readers.push(tokio::spawn(async move {
            let mut next = std::collections::BTreeMap::new();
            let mut count = 0;
            while count < WRITERS / 4 * EACH {
                for entry in reader.next_batch(64, 8192).await.expect("readable") {
                    assert_eq!(entry.sequence, count);
                    count += 1;
                    let text = String::from_utf8(entry.body.to_vec()).expect("text");
                    let (writer, n) = text.split_once(':').expect("two numbers");
                    let expected = next.entry(writer.to_owned()).or_insert(0);
                    assert_eq!(n.parse(), Ok(*expected), "of {writer}");
                    *expected += 1;
                }
            }
        }));
    }
    for task in writers.into_iter().chain(readers) {
        task.await.expect("no panic");
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_tells_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { queue_bytes_max: 16 << 10, queue_records_max: 100, ..small() };
    let (journal, _) = open(dir.path(), settings);
    let stream = journal.stream("a").expect("made");
    let mut kept = vec![record(stream, 1, vec![0; 10_000])];
    let mut receipts = Vec::new();
    let error = loop {
        let mut records = kept.clone();
        match journal.append_from(&mut records) {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => {
                assert_eq!(records.len(), 1, "given back");
                kept = records;
                break error;
            }
        }
    };
    assert!(matches!(error, AppendError::Full), "{error}");
    journal.wait_for_space().await;
    receipts.push(journal.append(kept).expect("there is room"));
    for receipt in receipts {
        receipt.wait().await.expect("durable");
    }
    let many = vec![record(stream, 1, "x"); 101];
    assert!(matches!(journal.append(many), Err(AppendError::BatchTooLarge)));
    let large = vec![record(stream, 1, vec![0; 16 << 10]); 2];
    assert!(matches!(journal.append(large), Err(AppendError::BatchTooLarge)));
    let too_large = vec![record(stream, 1, vec![0; (16 << 10) + 1])];
    assert!(matches!(journal.append(too_large), Err(AppendError::RecordTooLarge { .. })));
    let unknown = StreamId(99);
    assert!(matches!(
        journal.append(vec![record(unknown, 1, "x")]),
        Err(AppendError::UnknownStream)
    ));
}

#[test]
fn names_and_numbers_of_streams_are_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), Settings { streams_max: 3, ..small() });
    for name in ["", &"x".repeat(256)] {
        assert!(matches!(journal.stream(name), Err(JournalError::Name { .. })));
    }
    for name in ["a", "b", "c", "a"] {
        journal.stream(name).expect("within the bound");
    }
    assert!(matches!(journal.stream("d"), Err(JournalError::TooManyStreams { streams: 3 })));
    assert_eq!(journal.stream_names().len(), 3);
    assert!(journal.reader(StreamId(3), From::Oldest).is_err());
}

#[tokio::test]
async fn closing_ends_those_who_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    let mut reader = journal.reader(stream, From::Oldest).expect("exists");
    let waiting = tokio::spawn(async move { reader.next_batch(1, 1).await });
    tokio::task::yield_now().await;
    let receipt = journal.append(vec![record(stream, 1, "last")]).expect("queued");
    let closing = journal.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.expect("no panic");
    receipt.wait().await.expect("what was queued is written");
    let entries = waiting.await.expect("no panic").expect("the last one");
    assert_eq!(entries[0].body, "last");
    let mut reader = journal.reader(stream, From::Newest).expect("exists");
    assert!(reader.next_batch(1, 1).await.is_err());
}

#[tokio::test]
async fn a_dropped_wait_leaves_no_place_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = open(dir.path(), small());
    let stream = journal.stream("a").expect("made");
    let mut reader = journal.reader(stream, From::Oldest).expect("exists");
    for _ in 0..1000 {
        let clock = Clock::system();
        let waited = clock.timeout(Duration::ZERO, reader.next_batch(1, 1)).await;
        assert!(waited.is_err(), "nothing to read");
    }
    assert!(journal.shared.streams.by_id(0).expect("made").waiters.places() <= 1);
    let receipt = journal.append(vec![record(stream, 1, "x")]).expect("queued");
    for _ in 0..100 {
        let mut wait = Box::pin(receipt.wait());
        let _ = futures_poll(&mut wait);
    }
    receipt.wait().await.expect("durable");
    assert_eq!(reader.next_batch(1, 1).await.expect("readable").len(), 1);
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    let waker = std::task::Waker::noop();
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(waker))
}
