//! What is counted while a load runs.

use std::time::Duration;

/// Answers, and how long they took.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) out_of_order: u64,
    pub(crate) latencies: Latencies,
}

impl Tally {
    /// Counts an answer to the message that was `place`th in the order of sending.
    pub(crate) fn add(&mut self, place: usize, latency: Duration) {
        self.out_of_order += u64::from(place != 0);
        self.latencies.add(latency);
        self.acknowledged += 1;
    }
}

/// A histogram with buckets 1/32 apart.
#[derive(Default)]
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let index = bucket(latency.as_nanos() as u64);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
    }

    /// The upper edge of the bucket that holds this share.
    pub(crate) fn percentile_us(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(index) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(FINE_BITS);
    (shift as usize) * FINE + (nanoseconds >> shift) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let shift = (bucket / FINE).saturating_sub(1);
    let rest = bucket - shift * FINE;
    ((rest as u64 + 1) << shift) - 1
}

/// Values up to 2^6 have a bucket each.
const FINE_BITS: u32 = 6;
const FINE: usize = 1 << (FINE_BITS - 1);
