//! Any bytes as JSON of devices and back ends: twins, method calls, messages.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/iot-proto/tests/texts/exercise.rs"]
#[expect(dead_code, reason = "each target uses its part")]
mod exercise;

fuzz_target!(|data: &[u8]| {
    exercise::bodies(data);
});
