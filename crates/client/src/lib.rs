//! The client end of a connection: device, module, service and management clients.
//!
//! Everything of ours that talks to a hub, an edge hub or the edge daemon does it through here:
//! connect, prove who we are, retry, reconnect. What a topic, token or REST body looks like is
//! `iot-proto`'s business, packets are `mqtt`'s, sockets are `host`'s. No decision about what to
//! send is made here.
//!
//! - [`device`]: the MQTT connection of one identity, which comes back for ever.
//! - [`service`]: a back end's REST calls with a policy key.
//! - [`registry`], [`scope`]: what an edge device asks a hub about its modules and its children.
//! - [`edge`]: the daemon's management and workload APIs over unix sockets.
//! - [`environment`]: how a module finds its daemon, its hub and its name.
//! - [`signer`]: whoever holds the key; tokens are made of what it signs.

pub mod device;
pub mod dial;
pub mod edge;
pub mod environment;
pub mod events;
pub mod registry;
pub mod scope;
pub mod service;
pub mod signer;

mod rest;

pub use device::{DeviceClient, Events};
pub use dial::Dial;
pub use signer::Signer;
