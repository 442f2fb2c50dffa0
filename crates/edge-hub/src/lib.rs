//! The edge hub: local gateway, routes, store and forward.
//!
//! It stands between an edge device's modules (and leaf devices) and the hub: a client of the hub
//! for each of them, a hub for all of them. It runs apart from the edge daemon, without the
//! engine's socket and the keys, and gets identity and certificate through the workload API like
//! any module. Specification: `edge-runtime.md` (er) §5; what differs on purpose stands at its
//! place.
//!
//! - `device`: what a local connection can do; the live sessions.
//! - `routing`: which queues a message goes to, from the desired properties of `$edgeHub`.
//! - `forward`: a queue per endpoint and priority in the journal, and the pumps that empty them.
//! - `twins`: passed through, cached, served offline.
//! - `scope`: who may connect, online and offline.
//! - `upstream`: one connection to the hub per identity.
//! - `operations`: metrics; `control`: dead letters, for the operator's command.
//! - `store_time`: how long messages have waited, whatever the wall clock shows.
//! - `report`: what the operator reads in the reported properties of `$edgeHub`.
//!
//! A message's walk: `gateway` → `device` → `routing` → journal; its PUBACK leaves when it is
//! durable there. Later a pump sends it upstream, in the order of its sender, and only the hub's
//! PUBACK lets the queue forget it. After a crash the last ones may be sent twice, none is lost.

mod certificate;
mod control;
mod core;
mod counters;
mod device;
mod forward;
mod hub;
mod operations;
mod refusal;
mod report;
mod routing;
mod scope;
mod settings;
mod state;
mod store_time;
mod twins;
mod upstream;

pub use certificate::CertificateError;
pub use control::{LETTERS_PATH, LetterJson, SOCKET as CONTROL_SOCKET};
pub use hub::{EdgeHub, Served, StartError};
pub use settings::{
    AMQP_PORT, HTTPS_PORT, Listen, METRICS_PORT, MQTT_PORT, STORE_BYTES, STORE_FULL, Settings,
    SettingsError, Sockets, UpstreamProtocol, WhenFull,
};
pub use state::{SealError, StateError};
