use futures_util::{StreamExt, TryStreamExt};

use super::super::output;
use super::*;
use crate::{LogFrame, LogOptions};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn append(log: &Log, second: i64, source: LogSource, is_full: bool, text: &str) {
    log.append(&Record { time: at(second), source, is_full, text: text.as_bytes() }).unwrap();
}

fn text(frames: &[LogFrame]) -> String {
    frames.iter().map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect()
}

async fn read(log: &Arc<Log>, options: LogOptions) -> String {
    let frames: Vec<_> = output::read(log.clone(), options).unwrap().try_collect().await.unwrap();
    text(&frames)
}

fn size(dir: &Path) -> u64 {
    host::fs::list(dir).unwrap().iter().map(|file| host::fs::facts(file).unwrap().size_bytes).sum()
}

#[tokio::test]
async fn a_log_answers_what_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::open(dir.path(), 1 << 20).unwrap());
    append(&log, 1, LogSource::Stdout, true, "one");
    append(&log, 2, LogSource::Stderr, true, "two");
    append(&log, 3, LogSource::Stdout, false, "thr");
    append(&log, 3, LogSource::Stdout, true, "ee");

    let all = LogOptions::default();
    assert_eq!(read(&log, all.clone()).await, "one\ntwo\nthree\n");
    assert_eq!(read(&log, LogOptions { tail: Some(0), ..all.clone() }).await, "");
    assert_eq!(read(&log, LogOptions { tail: Some(3), ..all.clone() }).await, "two\nthree\n");
    assert_eq!(read(&log, LogOptions { tail: Some(99), ..all.clone() }).await, "one\ntwo\nthree\n");
    assert_eq!(read(&log, LogOptions { since: Some(at(2)), ..all.clone() }).await, "two\nthree\n");
    let middle =
        LogOptions { since: Some(at(2)), until: Some(at(3)), timestamps: true, ..all.clone() };
    assert_eq!(read(&log, middle).await, "1970-01-01T00:00:02.000000000Z two\n");
    let last = LogOptions { since: Some(at(3)), timestamps: true, ..all.clone() };
    assert_eq!(read(&log, last).await, "1970-01-01T00:00:03.000000000Z three\n");

    let frames: Vec<_> = output::read(log, all).unwrap().try_collect().await.unwrap();
    assert_eq!(frames[1].source, LogSource::Stderr);
}

#[tokio::test]
async fn a_log_is_bounded_and_goes_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let segment_bytes_max = 1000;
    let log = Log::open(dir.path(), segment_bytes_max).unwrap();
    for number in 0..500 {
        append(&log, number, LogSource::Stdout, true, &format!("line {number}"));
        assert!(size(dir.path()) <= 2 * segment_bytes_max);
    }
    assert_eq!(host::fs::list(dir.path()).unwrap().len(), 2);
    drop(log);

    let log = Arc::new(Log::open(dir.path(), segment_bytes_max).unwrap());
    append(&log, 500, LogSource::Stdout, true, "line 500");
    let all = read(&log, LogOptions::default()).await;
    let numbers: Vec<u32> =
        all.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert!(numbers.len() > 20, "more than one segment");
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(numbers.last(), Some(&500));
}

#[tokio::test]
async fn torn_and_forged_lines_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let torn = b"1970-01-01T00:00:01Z oF whole\nnonsense\n\n2 oF x\n1970-01-01T00:00:02Z zF x\n1970-01-01T00:00:03Z o";
    host::fs::write_atomic(&dir.path().join("log.7"), torn, 0o600).unwrap();
    let log = Arc::new(Log::open(dir.path(), 1 << 20).unwrap());
    append(&log, 4, LogSource::Stdout, true, "after");
    assert_eq!(read(&log, LogOptions::default()).await, "whole\nafter\n");
}

#[tokio::test]
async fn a_follower_sees_every_line_also_over_rotations_and_ends_with_the_module() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::open(dir.path(), 300).unwrap());
    log.set_open(true);
    append(&log, 0, LogSource::Stdout, true, "line 0");
    let mut follower =
        output::read(log.clone(), LogOptions { follow: true, ..Default::default() }).unwrap();
    for number in 1..200 {
        let frame = follower.next().await.unwrap().unwrap();
        assert_eq!(frame.bytes, format!("line {}\n", number - 1));
        append(&log, number, LogSource::Stdout, true, &format!("line {number}"));
    }
    log.set_open(false);
    assert_eq!(follower.next().await.unwrap().unwrap().bytes, "line 199\n");
    assert!(follower.next().await.is_none());
}

#[tokio::test]
async fn output_is_cut_into_lines_and_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::open(dir.path(), 1 << 20).unwrap());
    let long = "x".repeat(40_000);
    let written = format!("a\n\n{long}\nno end");
    let clock = host::clock::Clock::manual(at(5));
    output::record(written.as_bytes(), LogSource::Stdout, log.clone(), clock).await;
    assert_eq!(read(&log, LogOptions::default()).await, format!("{written}\n"));
    let options = LogOptions { timestamps: true, ..Default::default() };
    let with_times = read(&log, options).await;
    assert_eq!(with_times.matches("1970-01-01T00:00:05").count(), 4);
}
