//! What a journal is told when it is opened. Each bound is named here once.

use std::time::Duration;

use host::disk::Disk;

use crate::OpenError;

/// Settings of one journal.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a pre-allocated segment file. Default 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of the very first segment, which is zeroed while the journal
    /// opens; small, so that a new journal is ready at once. Default 4 MiB.
    pub first_segment_bytes: u64,
    /// The longest body of a record. Default 1 MiB.
    pub record_bytes_max: usize,
    /// About how much goes into one write and one sync. Default 1 MiB.
    pub group_bytes_max: usize,
    /// Bytes of bodies that may wait for the disk; beyond it `append` says full. Default 8 MiB.
    pub queue_bytes_max: usize,
    /// Records that may wait for the disk. Default 65,536.
    pub queue_records_max: usize,
    /// How many streams there may be. Default 65,536.
    pub streams_max: usize,
    /// Bytes of segment files that the directory may hold; `None`: as many as the disk has.
    pub bytes_max: Option<u64>,
    /// What a new stream keeps when nothing else is said.
    pub retention: Retention,
    /// A sealed segment with less than this share alive is rewritten forward
    /// when dead bytes are the larger part of the journal. Default 50.
    pub compact_below_percent: u8,
    /// How often trims are made durable and retention is looked at. Default 1 s.
    pub maintenance_interval: Duration,
    /// The disk; tests hand in one with faults.
    pub disk: Disk,
}

/// What a stream keeps. Whatever passes either bound may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many bytes, frames included; `None`: no bound.
    pub bytes: Option<u64>,
    /// Records enqueued so recently; applied only while the clock is trusted.
    pub age: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            record_bytes_max: 1 << 20,
            group_bytes_max: 1 << 20,
            queue_bytes_max: 8 << 20,
            queue_records_max: 65_536,
            streams_max: 65_536,
            bytes_max: None,
            retention: Retention::default(),
            compact_below_percent: 50,
            maintenance_interval: Duration::from_secs(1),
            disk: Disk::real(),
        }
    }
}

impl Settings {
    /// Refuses settings that cannot work together.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |setting, rule| Err(OpenError::Setting { setting, rule });
        if !self.segment_bytes.is_multiple_of(4096) || self.segment_bytes > SEGMENT_BYTES_CEILING {
            return wrong("segment_bytes", "must be a multiple of 4096 and at most 1 GiB");
        }
        if !self.first_segment_bytes.is_multiple_of(4096)
            || self.first_segment_bytes < SEGMENT_BYTES_FLOOR
            || self.first_segment_bytes > self.segment_bytes
        {
            return wrong(
                "first_segment_bytes",
                "must be a multiple of 4096, at least 256 KiB and at most segment_bytes",
            );
        }
        if self.record_bytes_max == 0 || self.record_bytes_max as u64 > self.segment_bytes / 4 {
            return wrong("record_bytes_max", "must be at least 1 and at most segment_bytes / 4");
        }
        if self.group_bytes_max == 0 || self.group_bytes_max as u64 > self.segment_bytes / 4 {
            return wrong("group_bytes_max", "must be at least 1 and at most segment_bytes / 4");
        }
        if self.queue_bytes_max < self.record_bytes_max {
            return wrong("queue_bytes_max", "must be at least record_bytes_max");
        }
        if self.queue_records_max == 0 {
            return wrong("queue_records_max", "must be at least 1");
        }
        if self.compact_below_percent > 90 {
            return wrong("compact_below_percent", "must be at most 90");
        }
        if self.bytes_max.is_some_and(|bytes_max| bytes_max < 2 * self.segment_bytes) {
            return wrong("bytes_max", "must be at least two segments");
        }
        Ok(())
    }
}

/// Offsets in a segment are 32 bits in the index; 1 GiB leaves room to spare.
const SEGMENT_BYTES_CEILING: u64 = 1 << 30;
const SEGMENT_BYTES_FLOOR: u64 = 256 << 10;
