//! The daemon from outside: real HTTP over its sockets, a runtime that remembers what it was told,
//! and a hub with TLS that knows the device's key. `docker` needs a container engine.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

mod another;
mod docker;
mod identities;
mod lifecycle;
mod management;
mod support;
mod workload;
