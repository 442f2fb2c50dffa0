//! Any bytes through the MQTT decoder; what it accepts must survive a round trip.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/mqtt/tests/test_all/exercise.rs"]
#[expect(dead_code, reason = "each target uses its part")]
mod exercise;

fuzz_target!(|data: &[u8]| {
    exercise::decode(data);
});
