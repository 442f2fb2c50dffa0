//! The clients against servers that the tests play themselves: real TLS and real sockets, the
//! hub's end of MQTT step by step.

mod device;
mod edge;
mod fake_hub;
mod registry;
mod rest_server;
mod scope;
mod service;
