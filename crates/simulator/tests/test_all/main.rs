//! The sensor as a module: started with an environment, a workload socket and an edge hub, all
//! real but played by the tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

#[path = "../../../client/tests/test_all/fake_hub.rs"]
#[expect(dead_code, reason = "shared with the client's tests, which use all of it")]
mod fake_hub;
mod sensor;
mod workload;
