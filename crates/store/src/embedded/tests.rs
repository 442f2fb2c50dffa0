//! The suite, and what is the embedded backend's own: it survives, and it refuses.

use host::clock::Clock;
use pki::seal::MasterKey;
use tempfile::TempDir;

use super::*;
use crate::Stores;
use crate::conformance::Fixture;

mod migrate;
mod queues;
mod reopen;

mod conformance {
    crate::conformance_tests!(crate::embedded::tests::fixture);
}

const KEY: [u8; 32] = [42; 32];

/// An empty hub in a directory of its own.
async fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let clock = clock();
    let (stores, _) = open_in(&directory, &clock).unwrap();
    Fixture { stores, clock, guard: Box::new(directory) }
}

fn clock() -> Clock {
    Clock::manual("2026-01-02T03:04:05.123456Z".parse().unwrap())
}

/// Small files, so that a test does not write 64 MiB of zeros.
fn settings() -> Settings {
    let journal = journal::Settings {
        segment_bytes: 8 << 20,
        first_segment_bytes: 1 << 20,
        ..Settings::default().journal
    };
    Settings { journal, ..Settings::default() }
}

fn open_in(directory: &TempDir, clock: &Clock) -> Result<(Stores, OpenReport), OpenError> {
    open(directory.path(), settings(), MasterKey::new(KEY), clock.clone())
}
