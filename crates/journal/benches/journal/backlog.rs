//! A million records of 1 KiB nobody has read yet: storing them, the memory that
//! takes, opening the journal again, reading them all.

use std::path::Path;

use bytes::Bytes;
use host::clock::Clock;
use journal::{AppendError, From, Journal, Record, Settings};

pub(crate) fn run(dir: &Path) {
    let clock = Clock::system();
    host::fs::create_private_dir(dir).unwrap();
    let (journal, _) = Journal::open(dir, Settings::default(), clock.clone()).unwrap();
    let streams: Vec<_> =
        (0..4).map(|n| journal.stream(&format!("partition-{n}")).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = Bytes::from(vec![7; 1024]);
    let began = clock.now();
    runtime.block_on(async {
        let mut last = None;
        for n in 0..RECORDS / 64 {
            let stream = streams[n % 4];
            let record = Record { stream, enqueued: clock.wall(), body: body.clone() };
            let mut batch = vec![record; 64];
            while let Err(error) =
                journal.append_from(&mut batch).map(|receipt| last = Some(receipt))
            {
                assert!(matches!(error, AppendError::Full), "{error}");
                journal.wait_for_space().await;
            }
        }
        last.unwrap().wait().await.unwrap();
    });
    tell("store", clock.now() - began);
    println!("  resident memory: {} KiB", resident_kib());
    journal.close();

    let began = clock.now();
    let (journal, report) = Journal::open(dir, Settings::default(), clock.clone()).unwrap();
    let opened = clock.now() - began;
    println!(
        "  open: {:.1} ms, {} segments, {} scanned",
        opened.as_secs_f64() * 1e3,
        report.segments,
        report.scanned_segments
    );

    let began = clock.now();
    let mut count = 0;
    for stream in &streams {
        let mut reader = journal.reader(*stream, From::Oldest).unwrap();
        loop {
            let entries = reader.try_next_batch(256, 256 << 10).unwrap();
            if entries.is_empty() {
                break;
            }
            count += entries.len();
        }
    }
    assert_eq!(count, RECORDS / 64 * 64);
    tell("read, stream by stream", clock.now() - began);
    println!("  resident memory: {} KiB", resident_kib());
    journal.close();
    host::fs::remove_dir_all(dir).unwrap();
}

fn tell(what: &str, took: std::time::Duration) {
    println!("  {what}: {:.0} records/s", RECORDS as f64 / took.as_secs_f64());
}

fn resident_kib() -> u64 {
    let status = host::fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const RECORDS: usize = 1_000_000;
