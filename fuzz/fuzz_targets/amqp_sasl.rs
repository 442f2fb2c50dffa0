//! Any bytes as the body of a SASL frame; what is accepted must survive a round trip.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/amqp/tests/codec/exercise.rs"]
#[expect(dead_code, reason = "each target uses its part")]
mod exercise;

fuzz_target!(|data: &[u8]| {
    exercise::sasl(data);
});
