//! Tests of the `mqtt` crate through its public API.

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
