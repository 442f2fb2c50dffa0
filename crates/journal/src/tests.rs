//! The journal as its users see it, on a real disk and on failing ones.

#![allow(clippy::disallowed_methods, reason = "tests damage files behind the journal's back")]

mod basics;
mod crowd;
mod damage;
mod faults;
mod fixture;
mod format;
mod keeping;
mod model;

use std::path::Path;

use bytes::Bytes;
use host::clock::Clock;
use jiff::Timestamp;

use crate::{Entry, From, Journal, Record, RecoveryReport, Settings, StreamId};

/// Small segments, so that tests roll often.
fn small() -> Settings {
    Settings {
        segment_bytes: 256 << 10,
        first_segment_bytes: 256 << 10,
        record_bytes_max: 16 << 10,
        group_bytes_max: 32 << 10,
        queue_bytes_max: 1 << 20,
        ..Settings::default()
    }
}

fn clock() -> Clock {
    Clock::manual(at(0))
}

/// So many milliseconds after some day in 2026.
fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_780_000_000_000 + milliseconds).expect("a time in range")
}

fn open(dir: &Path, settings: Settings) -> (Journal, RecoveryReport) {
    Journal::open(dir, settings, clock()).expect("the journal opens")
}

fn record(stream: StreamId, milliseconds: i64, body: impl Into<Vec<u8>>) -> Record {
    Record { stream, enqueued: at(milliseconds), body: Bytes::from(body.into()) }
}

/// The body of the nth record of a stream, of some length that follows from both.
fn body(stream: u64, n: u64) -> Vec<u8> {
    let length = 16 + (n * 7919 + stream * 104_729) % 900;
    let mut bytes = format!("{stream}/{n}:").into_bytes();
    while bytes.len() < length as usize {
        bytes.push((bytes.len() as u64 * 31 + n + stream) as u8);
    }
    bytes
}

/// Everything that is there for a reader from `from` on.
fn read_all(journal: &Journal, stream: StreamId, from: From) -> Vec<Entry> {
    let mut reader = journal.reader(stream, from).expect("the stream exists");
    let mut all = Vec::new();
    loop {
        let entries = reader.try_next_batch(100, 64 << 10).expect("readable");
        if entries.is_empty() {
            return all;
        }
        all.extend(entries);
    }
}
