//! The codec from outside: round trips of whatever can be built, bytes from real
//! clients, bytes from nobody, and what reading them costs. And the machine, as far as
//! it is played the same bytes from nobody.
//!
//! A binary of its own because it counts allocations, which takes a global allocator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod allocation;
mod arbitrary;
mod clients;
mod exercise;
mod mutations;
mod round_trip;
mod strangers;
