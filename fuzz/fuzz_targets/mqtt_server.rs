//! Any bytes through the MQTT server machine. The first two bytes choose how the
//! rest is cut and how the owner behaves.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/mqtt/tests/test_all/exercise.rs"]
#[expect(dead_code, reason = "each target uses its part")]
mod exercise;

fuzz_target!(|data: &[u8]| {
    exercise::server(data);
});
