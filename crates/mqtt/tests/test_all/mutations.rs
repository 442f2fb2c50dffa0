//! Valid conversations, damaged at random from a fixed seed: nothing panics,
//! nothing grows. The quick cousin of the fuzz targets, for every test run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mqtt::client;
use mqtt::server::Event;

use crate::arbitrary::{encoded, examples};
use crate::exercise;

const CASES: usize = 200_000;

#[test]
fn damaged_packets_through_the_decoder() {
    let mut random = Random::new(1);
    let mut decoded = 0;
    for _ in 0..CASES {
        decoded += run(&random.mutant(), exercise::decode);
    }
    // Damage that everything survives, or nothing, would show nothing.
    assert!((CASES / 10..CASES).contains(&decoded), "{decoded}");
}

#[test]
fn damaged_conversations_through_the_server() {
    let mut random = Random::new(2);
    let connect = encoded(&examples()[0]);
    let (mut violations, mut goodbyes, mut timeouts, mut alive) = (0, 0, 0, 0);
    for _ in 0..CASES {
        let mut bytes = vec![random.byte(), random.byte()];
        // Mostly past CONNECT, for the machine behind it is larger.
        if random.below(8) != 0 {
            bytes.extend_from_slice(&connect);
        }
        for _ in 0..=random.below(6) {
            match random.below(4) {
                0 => bytes.extend_from_slice(&random.mutant()),
                _ => bytes.extend_from_slice(&random.example()),
            }
        }
        match run(&bytes, exercise::server) {
            Some(Event::Violation(_)) => violations += 1,
            Some(Event::Disconnected) => goodbyes += 1,
            Some(Event::TimedOut(_)) => timeouts += 1,
            _ => alive += 1,
        }
    }
    let ends = [violations, goodbyes, timeouts, alive];
    assert!(ends.iter().all(|count| *count > CASES / 200), "{ends:?}");
}

#[test]
fn damaged_answers_through_the_client() {
    let mut random = Random::new(3);
    let connack = encoded(&examples()[2]);
    let (mut violations, mut refusals, mut timeouts, mut alive) = (0, 0, 0, 0);
    for _ in 0..CASES {
        let mut bytes = vec![random.byte(), random.byte()];
        if random.below(8) != 0 {
            bytes.extend_from_slice(&connack);
        }
        for _ in 0..=random.below(6) {
            bytes.extend_from_slice(&random.mutant());
        }
        match run(&bytes, exercise::client) {
            Some(client::Event::Violation(_)) => violations += 1,
            Some(client::Event::Connack(_)) => refusals += 1,
            Some(client::Event::TimedOut(_)) => timeouts += 1,
            _ => alive += 1,
        }
    }
    let ends = [violations, refusals, timeouts, alive];
    assert!(ends.iter().all(|count| *count > CASES / 2000), "{ends:?}");
}

/// A failure shows its bytes: they belong into `fuzz/corpus`.
fn run<T>(bytes: &[u8], exercise: fn(&[u8]) -> T) -> T {
    match catch_unwind(AssertUnwindSafe(|| exercise(bytes))) {
        Ok(value) => value,
        Err(_) => panic!("failed on {bytes:02x?}"),
    }
}

/// xorshift64*, enough to damage bytes with, and the same on every machine.
pub(crate) struct Random {
    state: u64,
    examples: Vec<Vec<u8>>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Short ones: damage should hit headers, not payload.
        let examples = examples().iter().map(encoded).filter(|bytes| bytes.len() < 250).collect();
        Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, examples }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    fn example(&mut self) -> Vec<u8> {
        let index = self.below(self.examples.len());
        self.examples[index].clone()
    }

    /// A valid packet with one to four wounds.
    pub(crate) fn mutant(&mut self) -> Vec<u8> {
        const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'#', b'+', 2];
        let mut bytes = self.example();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.byte(),
                2 => bytes[at] = TELLING[self.below(TELLING.len())],
                3 => bytes.truncate(at.max(1)),
                4 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
                5 if bytes.len() > 1 => drop(bytes.remove(at)),
                6 => {
                    let other = self.example();
                    bytes.truncate(at.max(1));
                    bytes.extend_from_slice(&other[self.below(other.len())..]);
                }
                // The length again right, so that the damage behind it is reached.
                _ if bytes.len() > 2 && bytes.len() < 130 => bytes[1] = (bytes.len() - 2) as u8,
                _ => {}
            }
        }
        bytes
    }
}
