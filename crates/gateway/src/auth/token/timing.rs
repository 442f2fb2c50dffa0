//! Whether the time that a refusal takes tells how wrong a token was (GOALS S6): Welch's t over many
//! refusals, as dudect does it. A measurement, for a quiet machine:
//!
//! ```text
//! cargo test --release -p gateway --lib -- --ignored --nocapture timing
//! ```

use std::hint::black_box;
use std::time::Instant;

use iot_proto::percent;

use super::*;

/// Refusals of each kind, about.
const ROUNDS: usize = 1_000_000;
const COPIES: usize = 64;

#[test]
#[ignore = "a measurement"]
fn the_time_of_a_refusal_tells_nothing() {
    let key = STANDARD.encode([7; 32]);
    let keys = SymmetricKeys { primary: key.clone(), secondary: STANDARD.encode([8; 32]) };
    let right = signature(&key);
    let changed = |byte: usize| {
        let mut wrong = right.clone();
        wrong[byte] ^= 1;
        token(&wrong)
    };
    // Many of each, so that no place in memory stands for one of them.
    let many = |byte: usize| (0..COPIES).map(|_| changed(byte)).collect::<Vec<_>>();
    let (first, last) = (many(0), many(31));
    assert!(check_signature(&token(&right), Some(&keys), NOW).is_ok(), "the right one is accepted");
    for (what, one, other) in [
        ("first byte wrong, last byte wrong", (&first, Some(&keys)), (&last, Some(&keys))),
        ("wrong key, no such identity", (&first, Some(&keys)), (&first, None)),
        ("twice the same", (&first, Some(&keys)), (&first, Some(&keys))),
    ] {
        let (difference_ns, t) = compare(one, other);
        println!("{what}: {difference_ns:.1} ns apart, |t| = {:.2}", t.abs());
    }
}

/// Tokens, and what is registered.
type Case<'a> = (&'a Vec<SasToken>, Option<&'a SymmetricKeys>);

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn text(signature: &[u8]) -> String {
    let mut text = "SharedAccessSignature sr=hub%2Fdevices%2Fd&sig=".to_owned();
    percent::encode_into(&STANDARD.encode(signature), &mut text);
    text + "&se=4102444800"
}

fn token(signature: &[u8]) -> SasToken {
    SasToken::parse(&text(signature)).expect("well formed")
}

fn signature(key: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(key).expect("base64"));
    hmac::sign(&key, token(&[0; 32]).string_to_sign().as_bytes()).as_ref().to_vec()
}

/// In an order that nothing can predict, so that whatever the machine does it does to both.
fn compare(one: Case<'_>, other: Case<'_>) -> (f64, f64) {
    let (mut ones, mut others) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    let order: Vec<u8> = (0..2 * ROUNDS / 16).flat_map(|_| host::entropy::bytes::<16>()).collect();
    for byte in order {
        let copy = usize::from(byte >> 1) % COPIES;
        if byte & 1 == 0 {
            ones.push(time(&one.0[copy], one.1));
        } else {
            others.push(time(&other.0[copy], other.1));
        }
    }
    welch(&mut ones, &mut others)
}

/// One piece of code for all, so that only the data can make a difference.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
fn time(token: &SasToken, keys: Option<&SymmetricKeys>) -> f64 {
    let begin = Instant::now();
    let _ = black_box(check_signature(black_box(token), black_box(keys), NOW));
    begin.elapsed().as_nanos() as f64
}

/// How far apart the means are, and Welch's t.
fn welch(ones: &mut [f64], others: &mut [f64]) -> (f64, f64) {
    let ((mean, spread), (other_mean, other_spread)) = (facts(ones), facts(others));
    let difference = mean - other_mean;
    (difference, difference / (spread + other_spread).sqrt())
}

/// Mean, and variance divided by the number; the slowest tenth is the machine's doing.
fn facts(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let kept = &times[..times.len() / 10 * 9];
    let count = kept.len() as f64;
    let mean = kept.iter().sum::<f64>() / count;
    let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}
