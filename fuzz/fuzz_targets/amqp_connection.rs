//! Any bytes through the AMQP machine, either end. The first three bytes choose how the
//! rest is cut, how the owner behaves, and whether the rest is bytes or bodies of frames.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/amqp/tests/codec/strangers.rs"]
mod strangers;

fuzz_target!(|data: &[u8]| {
    strangers::connection(data);
});
