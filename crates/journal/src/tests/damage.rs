//! Damage of every kind at every place: always noticed, never more lost than
//! what was hit, never a wrong byte handed out.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::{Gap, GapCause, OpenError};

/// A journal on disk and what was acknowledged in it: (stream, sequence) → body.
struct Written {
    dir: tempfile::TempDir,
    acknowledged: BTreeMap<(u64, u64), Vec<u8>>,
}

/// Two streams, groups of three records, in one or more segments.
fn write(groups: u64, close: bool) -> Written {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = BTreeMap::new();
    let (journal, _) = open(dir.path(), small());
    let streams = [journal.stream("a").expect("made"), journal.stream("b").expect("made")];
    let mut next = [0, 0];
    for group in 0..groups {
        let mut records = Vec::new();
        for index in 0..3 {
            let which = (group + index) % 2;
            let n = next[which as usize];
            next[which as usize] += 1;
            records.push(record(streams[which as usize], group as i64, body(which, n)));
            acknowledged.insert((which, n), body(which, n));
        }
        journal.append(records).expect("queued").wait_blocking().expect("durable");
    }
    if close {
        journal.close();
    } else {
        // As a killed process leaves it, but for what the kernel still has.
        journal.leave_as_killed();
    }
    Written { dir, acknowledged }
}

impl Written {
    fn segment(&self, number: u64) -> PathBuf {
        self.dir.path().join(crate::keeper::segment_name(number))
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        std::fs::read(self.segment(number)).expect("a segment")
    }

    fn put(&self, number: u64, at: u64, bytes: &[u8]) {
        let file = std::fs::OpenOptions::new().write(true).open(self.segment(number));
        file.expect("a segment").write_all_at(bytes, at).expect("written");
    }

    /// Opens it and reads everything: which acknowledged records are missing.
    /// Checks that nothing is wrong, invented, out of order or lost untold.
    fn missing(&self, settings: Settings) -> (Vec<(u64, u64)>, RecoveryReport) {
        let (journal, report) = open(self.dir.path(), settings);
        let mut missing = Vec::new();
        let mut told_by_readers = 0;
        for (which, name) in [(0, "a"), (1, "b")] {
            let stream = journal.stream(name).expect("known");
            let mut reader = journal.reader(stream, From::Oldest).expect("exists");
            let mut found = BTreeMap::new();
            let mut gaps: Vec<Gap> = Vec::new();
            loop {
                let entries = reader.try_next_batch(50, 10_000).expect("readable");
                gaps.extend(reader.take_gaps());
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    assert_eq!(entry.body, body(which, entry.sequence), "wrong bytes");
                    let last = found.last_key_value().map(|(sequence, _)| *sequence);
                    assert!(last.is_none_or(|last| last < entry.sequence), "out of order");
                    found.insert(entry.sequence, ());
                }
            }
            let lost: Vec<_> = self
                .acknowledged
                .keys()
                .filter(|(of, sequence)| *of == which && !found.contains_key(sequence))
                .copied()
                .collect();
            let invented =
                found.keys().find(|sequence| !self.acknowledged.contains_key(&(which, **sequence)));
            assert_eq!(invented, None);
            let info = journal.stream_info(stream).expect("known");
            for (_, sequence) in &lost {
                let told = gaps.iter().any(|gap| {
                    gap.cause == GapCause::Lost && (gap.from..gap.to).contains(sequence)
                });
                // Past the end only a torn tail may be missing, or a reader is told.
                assert!(told || *sequence >= info.next, "{which}/{sequence} is missing untold");
            }
            let counted: u64 = gaps.iter().map(|gap| gap.to - gap.from).sum();
            assert_eq!(info.lost_records, counted);
            told_by_readers += counted;
            missing.extend(lost);
            // Life goes on, with a sequence that nobody had before.
            let receipt = journal.append(vec![record(stream, 1 << 20, "on")]).expect("queued");
            receipt.wait_blocking().expect("durable");
            assert_eq!(receipt.first_sequence(), Some(info.next));
        }
        assert!(report.lost_records <= told_by_readers);
        (missing, report)
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_at_most_the_record_it_is_in() {
    let written = write(12, true);
    let whole = written.bytes(0);
    let end = whole.iter().rposition(|byte| *byte != 0).expect("not empty") as u64 + 1;
    let (mut lossless, mut lossy) = (0, 0);
    // A step that is no divisor of anything walks through all classes of bytes.
    for at in (0..end).step_by(37) {
        let copy = Written { dir: copy(&written), acknowledged: written.acknowledged.clone() };
        copy.put(0, at, &[whole[at as usize] ^ (1 << (at % 8))]);
        let (missing, report) = copy.missing(small());
        assert!(missing.len() <= 1, "bit in byte {at} cost {missing:?}");
        assert_eq!(report.lost_records as usize, missing.len(), "byte {at}: {report:?}");
        match missing.len() {
            0 => lossless += 1,
            _ => lossy += 1,
        }
    }
    assert!(lossless > 50 && lossy > 50, "{lossless} {lossy}");
}

#[test]
fn a_damaged_block_costs_the_records_it_touches() {
    let written = write(60, true);
    let whole = written.bytes(0);
    let end = whole.iter().rposition(|byte| *byte != 0).expect("not empty") as u64 + 1;
    for at in (0..end).step_by(4096) {
        let copy = Written { dir: copy(&written), acknowledged: written.acknowledged.clone() };
        copy.put(0, at, &[0; 4096]);
        let (missing, _) = copy.missing(small());
        // 4096 bytes hold parts of at most so many records of this size.
        assert!(missing.len() <= 14, "block at {at} cost {}: {missing:?}", missing.len());
        // The headers hold no records, the last block need not.
        if at + 4096 < end {
            let is_record = at >= crate::format::DATA_START;
            assert_eq!(!missing.is_empty(), is_record, "block at {at}");
        }
    }
}

#[test]
fn damage_in_sealed_segments_is_found_by_readers_and_by_scans() {
    let written = write(700, true);
    let whole = written.bytes(1);
    let mut costs = Vec::new();
    for at in (0..whole.len() as u64).step_by(9973) {
        let copy = Written { dir: copy(&written), acknowledged: written.acknowledged.clone() };
        copy.put(1, at, &[whole[at as usize] ^ 0x10]);
        let (missing, _) = copy.missing(small());
        assert!(missing.len() <= 1, "bit in byte {at} cost {missing:?}");
        costs.push(missing.len());
    }
    assert!(costs.contains(&1) && costs.contains(&0), "{costs:?}");
}

#[test]
fn without_an_index_a_segment_is_scanned() {
    let written = write(700, true);
    let capacity = small().segment_bytes;
    written.put(1, capacity - 512, &[0; 512]);
    let (missing, report) = written.missing(small());
    assert_eq!(missing, vec![]);
    assert_eq!(report.scanned_segments, 2);
    assert_eq!(report.lost_records, 0);
}

#[test]
fn a_truncated_last_segment_costs_what_is_cut_off() {
    let written = write(12, true);
    let whole = written.bytes(0);
    let end = whole.iter().rposition(|byte| *byte != 0).expect("not empty") as u64 + 1;
    for length in (crate::format::DATA_START..end).step_by(101) {
        let copy = Written { dir: copy(&written), acknowledged: written.acknowledged.clone() };
        let file = std::fs::OpenOptions::new().write(true).open(copy.segment(0));
        file.expect("a segment").set_len(length).expect("cut");
        let (missing, _) = copy.missing(small());
        let kept = written.acknowledged.len() - missing.len();
        // Between the whole group before the cut and all records before it.
        let before: usize = whole[..length as usize].windows(2).filter(|two| two == b"/").count();
        assert!(kept <= before.max(written.acknowledged.len()));
        for which in [0, 1] {
            let sequences: Vec<_> = missing.iter().filter(|(of, _)| *of == which).collect();
            let first = sequences.first().map_or(u64::MAX, |(_, sequence)| *sequence);
            let later = written.acknowledged.keys().filter(|(of, n)| *of == which && *n >= first);
            assert_eq!(sequences.len(), later.count(), "a hole before the cut at {length}");
        }
    }
}

#[test]
fn a_truncated_old_segment_costs_what_is_cut_off() {
    let written = write(700, true);
    let file = std::fs::OpenOptions::new().write(true).open(written.segment(0));
    file.expect("a segment").set_len(100_000).expect("cut");
    let (missing, report) = written.missing(small());
    assert!(missing.len() > 100, "{}", missing.len());
    assert_eq!(report.lost_records as usize, missing.len());
    // The rest of the first segment, and nothing of the others.
    let last = missing.iter().filter(|(of, _)| *of == 0).map(|(_, n)| *n).max();
    let first = missing.iter().filter(|(of, _)| *of == 0).map(|(_, n)| *n).min();
    let of_one = missing.iter().filter(|(of, _)| *of == 0).count() as u64;
    assert_eq!(last.expect("some") - first.expect("some") + 1, of_one);
}

#[test]
fn a_missing_segment_costs_its_records() {
    let written = write(700, true);
    std::fs::remove_file(written.segment(1)).expect("removed");
    let (missing, report) = written.missing(small());
    assert!(missing.len() > 100);
    assert_eq!(report.lost_records as usize, missing.len());
}

#[test]
fn a_last_segment_that_is_gone_is_noticed_and_no_sequence_is_given_twice() {
    let written = write(700, true);
    let last = (0..8).rev().find(|number| {
        written.segment(*number).exists() && written.bytes(*number).iter().any(|byte| *byte != 0)
    });
    let last = last.expect("a segment");
    let size = small().segment_bytes as usize;
    let data_start = crate::format::DATA_START;
    for damage in 0..3 {
        let copy = Written { dir: copy(&written), acknowledged: written.acknowledged.clone() };
        match damage {
            0 => std::fs::remove_file(copy.segment(last)).expect("removed"),
            1 => copy.put(last, 0, &vec![0; size]),
            // Its headers are there, so it looks as if it had never begun.
            _ => copy.put(last, data_start, &vec![0; size - data_start as usize]),
        }
        // Checks that each missing one is told, and that the next is a new one.
        let (missing, report) = copy.missing(small());
        assert!(missing.len() > 10, "{damage}: {}", missing.len());
        assert!(report.damaged_ranges > 0, "{damage}");
    }
}

#[test]
fn a_segment_of_garbage_is_set_aside() {
    let written = write(700, true);
    let size = small().segment_bytes as usize;
    written.put(1, 0, &vec![0xa5; size]);
    let (missing, report) = written.missing(small());
    assert!(!missing.is_empty());
    assert_eq!(report.unreadable_files.len(), 1);
    assert!(report.unreadable_files[0].exists());
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let written = write(3, true);
    let mut sector = written.bytes(0)[..512].to_vec();
    sector[8] = 9;
    sector[12..16].fill(0);
    let crc = crate::format::checksum(&sector);
    sector[12..16].copy_from_slice(&crc.to_le_bytes());
    written.put(0, 0, &sector);
    let error = Journal::open(written.dir.path(), small(), clock()).expect_err("refused");
    let OpenError::NewerVersion { path, found, known } = &error else { panic!("{error}") };
    assert_eq!((path.as_path(), *found, *known), (written.dir.path(), 9, 1));
    let text = error.to_string();
    assert!(
        text.contains(&written.dir.path().display().to_string()) && text.contains('9'),
        "{text}"
    );
}

#[test]
fn what_a_sender_writes_into_a_body_is_never_taken_for_a_frame() {
    // The whole segment as the body of a record of another journal's, and as
    // one of its own: neither has this life's tag at the right place and a
    // group that is not over yet.
    let written = write(12, true);
    let donor = written.bytes(0);
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { record_bytes_max: 64 << 10, ..small() };
    let (journal, _) = open(dir.path(), settings.clone());
    let stream = journal.stream("a").expect("made");
    for _ in 0..3 {
        let forged = record(stream, 1, donor[8192..20_000].to_vec());
        journal.append(vec![forged]).expect("queued").wait_blocking().expect("durable");
    }
    journal.close();
    let path = dir.path().join(crate::keeper::segment_name(0));
    let whole = std::fs::read(&path).expect("a segment");
    // Damage the length of the second record, so that its body is searched.
    let records: Vec<usize> = (8192..whole.len() - 40)
        .step_by(8)
        .filter(|at| {
            whole[at + 8] == 2 && whole[at + 12..at + 16] == (20_000_u32 - 8192).to_le_bytes()
        })
        .collect();
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a segment");
    file.write_all_at(&[0xff], records[1] as u64 + 13).expect("written");
    let (journal, report) = open(dir.path(), settings);
    assert_eq!(report.lost_records, 1);
    let entries = read_all(&journal, stream, From::Oldest);
    let sequences: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, vec![0, 2]);
}

#[test]
fn any_mixture_of_damage_is_survived_and_told() {
    let written = write(700, true);
    for seed in 0..60 {
        let mut random = super::model::Random::new(seed);
        let copy = Written { dir: copy(&written), acknowledged: written.acknowledged.clone() };
        let segments = small().segment_bytes;
        let mut hit = 0;
        for _ in 0..=random.below(4) {
            let number = random.below(3);
            let whole = copy.bytes(number);
            let at = random.below(segments - 8192);
            let block = at / 4096 * 4096;
            let bytes = match random.below(5) {
                0 => vec![whole[at as usize] ^ (1 << random.below(8))],
                1 => vec![0; 1 + random.below(20_000) as usize],
                2 => (0..4096).map(|_| random.below(256) as u8).collect(),
                // Written to a wrong place, of this segment and of another.
                3 => whole[block as usize..block as usize + 4096].to_vec(),
                _ => copy.bytes((number + 1) % 3)[block as usize..block as usize + 4096].to_vec(),
            };
            let at =
                if bytes.len() == 4096 { random.below(segments / 4096 - 2) * 4096 } else { at };
            let length = bytes.len().min((segments - at) as usize);
            copy.put(number, at, &bytes[..length]);
            hit += length as u64 / 100 + 20;
        }
        let (missing, _) = copy.missing(small());
        assert!(missing.len() as u64 <= hit, "seed {seed} cost {} of {hit}", missing.len());
    }
}

fn copy(written: &Written) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(written.dir.path()).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    copy
}
