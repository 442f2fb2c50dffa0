//! Hard times by a clock of our own: days offline with kills and power cuts (`offline.rs`), and links
//! that break all the time (`flaky.rs`). Short here; as long as the goals ask for when told so:
//!
//! ```text
//! FARSHORE_OFFLINE_HOURS=72 cargo test -p edge-hub --test hard_times offline -- --nocapture
//! FARSHORE_PARTITIONS=1000 cargo test -p edge-hub --test hard_times flaky -- --nocapture
//! ```

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]
#![allow(clippy::print_stdout, reason = "the long forms tell their figures")]

mod flaky;
mod link;
mod offline;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use host::clock::Clock;
use tokio::task::JoinHandle;

/// Lets the time of a manual clock pass faster than it does.
struct Passing(JoinHandle<()>);

impl Passing {
    fn of(clock: &Clock, times: u32) -> Self {
        let clock = clock.clone();
        Self(tokio::spawn(async move {
            let real = Clock::system();
            loop {
                real.sleep(STEP).await;
                clock.advance(STEP * times);
            }
        }))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A number that the environment may say.
fn number(name: &str, default: u32) -> u32 {
    match host::env::var(name).unwrap() {
        Some(text) => text.parse().unwrap(),
        None => default,
    }
}

/// SplitMix64: a run from a seed.
struct Random(u64);

impl Random {
    /// By the seed that the environment says, or one of its own; which one is printed.
    fn new(name: &str) -> Self {
        let seed = number(name, host::entropy::below(1 << 31) as u32);
        println!("{name}={seed}");
        Self(u64::from(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

const STEP: Duration = Duration::from_millis(3);
