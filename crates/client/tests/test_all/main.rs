//! The clients against servers that the tests play themselves: real TLS and real sockets, the
//! hub's end of MQTT step by step.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

mod amqp;
mod device;
mod edge;
mod fake_amqp_hub;
mod fake_hub;
mod registry;
mod rest_server;
mod scope;
mod service;
