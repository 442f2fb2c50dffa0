//! Random operations against a model that keeps everything in a map. A failure
//! names its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::Retention;

#[derive(Default)]
struct Model {
    records: BTreeMap<u64, (i64, Vec<u8>)>,
    next: u64,
    oldest: u64,
}

/// SplitMix64, so that a seed is all there is to know.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn a_thousand_random_operations_a_seed_agree_with_the_model() {
    for seed in 0..12 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(dir.path(), small());
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    let mut time = 0_i64;
    let mut latest = i64::MIN;
    for operation in 0..1000 {
        let name = format!("stream-{}", random.below(5));
        let stream = journal.stream(&name).expect("made or known");
        let model = models.entry(name).or_default();
        match random.below(20) {
            0..=11 => {
                let mut records = Vec::new();
                for _ in 0..=random.below(8) {
                    // The clock of the senders jumps about.
                    time += random.below(40) as i64 - 10;
                    latest = latest.max(time);
                    let bytes = vec![random.below(256) as u8; random.below(3000) as usize];
                    records.push(record(stream, time, bytes.clone()));
                    model.records.insert(model.next, (latest, bytes));
                    model.next += 1;
                }
                let receipt = journal.append(records).expect("queued");
                receipt.wait_blocking().expect("durable");
            }
            12 | 13 => {
                let before = model.oldest + random.below(model.next - model.oldest + 3);
                journal.trim(stream, before).expect("known");
                model.trim(before);
            }
            14 => journal.maintain().expect("done"),
            15 => {
                let from = random.below(model.next + 3);
                model.check(&read_all(&journal, stream, From::Sequence(from)), from, i64::MIN);
            }
            16 => {
                let since = time - random.below(2000) as i64;
                let entries = read_all(&journal, stream, From::Time(at(since)));
                model.check(&entries, 0, since);
            }
            17 => {
                // A kill between trims and their storing: settle first.
                journal.maintain().expect("done");
                journal.leave_as_killed();
                let (again, report) = open(dir.path(), small());
                assert_eq!((report.lost_records, report.damaged_ranges), (0, 0), "seed {seed}");
                journal = again;
            }
            18 => {
                journal.close();
                journal = open(dir.path(), small()).0;
            }
            _ => {
                let keep = Retention { bytes: None, age: Some(Duration::from_secs(1 << 30)) };
                journal.stream_with(&format!("stream-{}", random.below(5)), keep).expect("kept");
            }
        }
        if operation % 100 == 99 {
            for (name, model) in &models {
                let stream = journal.stream(name).expect("known");
                let info = journal.stream_info(stream).expect("known");
                assert_eq!(
                    (info.oldest, info.next, info.lost_records),
                    (model.oldest, model.next, 0),
                    "seed {seed}"
                );
                model.check(&read_all(&journal, stream, From::Oldest), 0, i64::MIN);
            }
        }
    }
}

impl Model {
    fn trim(&mut self, before: u64) {
        let before = before.min(self.next);
        if before > self.oldest {
            self.oldest = before;
            self.records = self.records.split_off(&before);
        }
    }

    fn check(&self, entries: &[Entry], from: u64, since: i64) {
        let expected: Vec<_> = self
            .records
            .range(from..)
            .filter(|(_, (time, _))| *time >= since)
            .map(|(sequence, (time, bytes))| (*sequence, at(*time), bytes.clone()))
            .collect();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.sequence, entry.enqueued, entry.body.to_vec()))
            .collect();
        assert!(found == expected, "{} found, {} expected", found.len(), expected.len());
    }
}
