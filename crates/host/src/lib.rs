//! The doors to the outside world: clock, entropy, sockets, TLS, HTTP, files, signals.
//!
//! Everything that makes a program's behaviour depend on the machine it runs on
//! comes through here, so that the rest can be read, tested and simulated without
//! it. `clippy.toml` at the workspace's root bans the direct ways, with reasons.
//! There is no protocol of ours in this crate and no policy: callers hand in
//! limits and deadlines.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is the door that the bans point to"
)]

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod env;
pub mod fs;
pub mod http;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod process;
pub mod signals;
pub mod tls;
pub mod ws;
