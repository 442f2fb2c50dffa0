//! Tests of the `mqtt` crate through its public API.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod arbitrary;
mod client;
mod differential;
mod exercise;
mod filter;
mod mutations;
mod pair;
mod refusals;
mod round_trip;
mod server;
mod vectors;
