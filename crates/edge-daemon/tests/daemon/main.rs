//! The daemon from outside: real HTTP over its sockets, a runtime that remembers what it was told,
//! and a hub with TLS that knows the device's key.

mod another;
mod identities;
mod lifecycle;
mod management;
mod support;
mod workload;
