//! The process that `cargo xtask crash` kills: appends to a journal, says on
//! standard output what was acknowledged, and when it starts again checks the
//! journal against the ledger that was made of those lines. Not shipped.
//!
//! - `run JOURNAL LEDGER SEED`: check, then write until killed.
//! - `check JOURNAL LEDGER`: check only.
//! - `power-cut MOUNT_POINT`: shuts the filesystem there down as a power cut would.
//!
//! Lines: `ack WRITER N` after record N of a writer became durable, `trim STREAM
//! BEFORE` before a consumer lets go of a stream's records, `ready` once, when
//! the check is over and writing begins. The ledger is these lines, of all lives.
//!
//! What is checked of each writer: its records are `0, 1, 2, ...` up to some
//! number, none twice, none missing (but for trimmed ones), each with the bytes
//! that writer and number make; and every acknowledged one is among them.

#![allow(clippy::print_stdout, reason = "standard output is how this program talks to its parent")]
#![allow(clippy::unwrap_used, reason = "dying is what this program is for")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use host::clock::Clock;
use journal::{AppendError, From, GapCause, Journal, Record, Settings, StreamId};
use parking_lot::Mutex;

fn main() {
    let words = host::env::args();
    let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str().unwrap()).collect();
    match words[..] {
        ["run", dir, ledger, seed] => run(Path::new(dir), Path::new(ledger), seed.parse().unwrap()),
        ["check", dir, ledger] => {
            let (journal, _) = open(Path::new(dir));
            check(&journal, &Ledger::read(Path::new(ledger)));
            journal.close();
        }
        ["power-cut", mount_point] => {
            host::disk::shut_filesystem_down(Path::new(mount_point)).unwrap();
        }
        _ => panic!(
            "usage: crash_writer run JOURNAL LEDGER SEED | check JOURNAL LEDGER | power-cut MOUNT"
        ),
    }
}

/// Small segments, so that kills fall into rolling, recycling and compacting.
fn open(dir: &Path) -> (Journal, Vec<StreamId>) {
    let settings = Settings {
        segment_bytes: 1 << 20,
        first_segment_bytes: 256 << 10,
        record_bytes_max: 64 << 10,
        group_bytes_max: 128 << 10,
        maintenance_interval: std::time::Duration::from_millis(10),
        ..Settings::default()
    };
    let (journal, report) = Journal::open(dir, settings, Clock::system()).unwrap();
    assert_eq!(report.lost_records, 0, "{report:?}");
    assert_eq!(report.damaged_ranges, 0, "{report:?}");
    assert_eq!(report.nameless_streams, 0, "{report:?}");
    let streams = (0..STREAMS).map(|n| journal.stream(&format!("stream-{n}")).unwrap()).collect();
    (journal, streams)
}

#[derive(Default)]
struct Ledger {
    /// By writer: the first number that was not acknowledged.
    acknowledged: BTreeMap<u64, u64>,
    /// By stream: what a consumer may have let go of.
    trimmed: BTreeMap<u64, u64>,
}

impl Ledger {
    fn read(path: &Path) -> Self {
        let mut ledger = Self::default();
        for line in host::fs::read_to_string(path).unwrap().lines() {
            let mut words = line.split(' ');
            let (kind, first, second) = (words.next(), words.next(), words.next());
            let mut numbers =
                [first, second].into_iter().flatten().map(|word| word.parse().unwrap());
            match (kind, numbers.next(), numbers.next()) {
                (Some("ack"), Some(writer), Some(n)) => {
                    let next = ledger.acknowledged.entry(writer).or_default();
                    *next = (*next).max(n + 1);
                }
                (Some("trim"), Some(stream), Some(before)) => {
                    let trimmed = ledger.trimmed.entry(stream).or_default();
                    *trimmed = (*trimmed).max(before);
                }
                (Some("ready"), ..) => {}
                other => panic!("ledger line {line}: {other:?}"),
            }
        }
        ledger
    }
}

/// Reads everything; returns each writer's next number.
fn check(journal: &Journal, ledger: &Ledger) -> BTreeMap<u64, u64> {
    let mut next_numbers: BTreeMap<u64, u64> = BTreeMap::new();
    let mut records = 0;
    for stream in 0..STREAMS {
        let id = journal.stream(&format!("stream-{stream}")).unwrap();
        let mut reader = journal.reader(id, From::Sequence(0)).unwrap();
        let trimmed = ledger.trimmed.get(&stream).copied().unwrap_or(0);
        let mut expected_sequence = None;
        loop {
            let entries = reader.try_next_batch(1000, 1 << 20).unwrap();
            for gap in reader.take_gaps() {
                assert_eq!(gap.cause, GapCause::Trimmed, "stream {stream}: {gap:?}");
                assert!(gap.to <= trimmed, "stream {stream}: {gap:?} over {trimmed}");
            }
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let expected = expected_sequence.unwrap_or(entry.sequence);
                assert_eq!(entry.sequence, expected, "stream {stream}");
                expected_sequence = Some(entry.sequence + 1);
                let (writer, n) = parse(&entry.body);
                assert_eq!(writer % STREAMS, stream, "a record in another's stream");
                assert_eq!(entry.body, body(writer, n), "invented or damaged: {writer} {n}");
                // Where nothing was trimmed, a writer's first record must be there.
                let first = if trimmed == 0 { 0 } else { n };
                let next = next_numbers.entry(writer).or_insert(first);
                assert_eq!(n, *next, "writer {writer} out of order");
                *next = n + 1;
                records += 1;
            }
        }
    }
    for (writer, acknowledged) in &ledger.acknowledged {
        let trimmed = ledger.trimmed.contains_key(&(writer % STREAMS));
        let found = next_numbers.get(writer).copied();
        let found = if trimmed { found.unwrap_or(*acknowledged) } else { found.unwrap_or(0) };
        assert!(
            found >= *acknowledged,
            "writer {writer}: {found} found, {acknowledged} acknowledged"
        );
    }
    eprintln_stats(records, ledger);
    next_numbers
}

fn run(dir: &Path, ledger: &Path, seed: u64) {
    let (journal, streams) = open(dir);
    let ledger = Ledger::read(ledger);
    let next_numbers = check(&journal, &ledger);
    let say = Arc::new(Mutex::new(std::io::stdout()));
    line(&say, "ready");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let stream = streams[(writer % STREAMS) as usize];
            let known = next_numbers.get(&writer).copied().unwrap_or(0);
            let next = known.max(ledger.acknowledged.get(&writer).copied().unwrap_or(0));
            let (journal, say) = (journal.clone(), say.clone());
            tasks.push(tokio::spawn(write(journal, stream, writer, next, say, seed)));
        }
        // Stream 0 is slow and never trimmed, so that it must be compacted.
        for (number, stream) in streams.iter().enumerate().skip(1) {
            tasks.push(tokio::spawn(consume(journal.clone(), *stream, number, say.clone())));
        }
        for task in tasks {
            // Ends only by an error, which is a power cut's.
            let _ = task.await;
        }
    });
}

/// Appends in small batches, a few in flight, acknowledged in order.
async fn write(
    journal: Journal,
    stream: StreamId,
    writer: u64,
    mut next: u64,
    say: Arc<Mutex<std::io::Stdout>>,
    seed: u64,
) {
    let clock = Clock::system();
    let mut waiting = std::collections::VecDeque::new();
    loop {
        let count = 1 + (next + seed + writer) % 4;
        let records: Vec<_> = (next..next + count)
            .map(|n| Record { stream, enqueued: clock.wall(), body: body(writer, n) })
            .collect();
        match journal.append(records) {
            Ok(receipt) => waiting.push_back((next + count - 1, receipt)),
            Err(AppendError::Full) => {
                journal.wait_for_space().await;
                continue;
            }
            Err(_) => return,
        }
        next += count;
        let in_flight = if writer.is_multiple_of(STREAMS) { 1 } else { 4 };
        while waiting.len() >= in_flight {
            let Some((n, receipt)) = waiting.pop_front() else { break };
            if receipt.wait().await.is_err() {
                return;
            }
            line(&say, &format!("ack {writer} {n}"));
        }
        if writer.is_multiple_of(STREAMS) {
            clock.sleep(std::time::Duration::from_millis(3)).await;
        }
    }
}

/// Follows a stream and lets go of what lies a while back.
async fn consume(
    journal: Journal,
    stream: StreamId,
    number: usize,
    say: Arc<Mutex<std::io::Stdout>>,
) {
    let Ok(mut reader) = journal.reader(stream, From::Oldest) else { return };
    let mut trimmed = 0;
    while let Ok(entries) = reader.next_batch(200, 256 << 10).await {
        for entry in &entries {
            let (writer, n) = parse(&entry.body);
            assert_eq!(entry.body, body(writer, n));
        }
        let before = reader.position().saturating_sub(KEPT);
        if before >= trimmed + KEPT / 4 {
            line(&say, &format!("trim {number} {before}"));
            journal.trim(stream, before).unwrap();
            trimmed = before;
        }
    }
}

fn line(say: &Mutex<std::io::Stdout>, line: &str) {
    let mut say = say.lock();
    // One write a line, so that a kill leaves whole lines.
    let _ = say.write_all(format!("{line}\n").as_bytes());
    let _ = say.flush();
}

/// The nth record of a writer: both numbers, then bytes that follow from them.
fn body(writer: u64, n: u64) -> Bytes {
    let length = 24 + (n * 7919 + writer * 104_729) % 1500;
    let mut bytes = format!("{writer} {n} ").into_bytes();
    let mut mixed =
        writer.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    while bytes.len() < length as usize {
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb).wrapping_add(1);
        bytes.extend_from_slice(&mixed.to_le_bytes());
    }
    bytes.into()
}

fn parse(body: &[u8]) -> (u64, u64) {
    let mut words = body.split(|byte| *byte == b' ');
    let mut number = || -> u64 {
        let word = words.next().unwrap();
        std::str::from_utf8(word).unwrap().parse().unwrap()
    };
    (number(), number())
}

#[expect(clippy::print_stderr, reason = "for whoever watches a long run")]
fn eprintln_stats(records: u64, ledger: &Ledger) {
    if host::env::var("CRASH_VERBOSE").unwrap().is_some() {
        let acknowledged: u64 = ledger.acknowledged.values().sum();
        eprintln!("{records} records are there, {acknowledged} were acknowledged in all");
    }
}

const STREAMS: u64 = 4;
const WRITERS: u64 = 12;

/// How many records a consumer leaves behind it.
const KEPT: u64 = 2000;
