//! The edge daemon: provisioning, keys, certificates, workload and management APIs.
//!
//! One [`Daemon`] is one edge device. [`config`] reads its settings, `provision` says which device
//! it is, `identity` keeps its modules' identities at the hub, `keys` and `certs` what they prove
//! themselves with. Modules ask on sockets of their own (`workload`, `sockets`), the agent and
//! people on one (`management`); `modules` drives the runtime, `storage` keeps and moves what its system
//! modules store, `images` removes what it needs no more. What runs and why is decided by the
//! agent, in `edge-agent`. Specification: `edge-runtime.md` §1–3.

pub mod config;

mod certs;
mod daemon;
mod http;
mod identity;
mod images;
mod keys;
mod lifecycle;
mod management;
mod modules;
mod peer;
mod provision;
mod sockets;
mod storage;
mod volumes;
mod workload;

pub use certs::{CertsError, EdgeCaFacts};
pub use config::Config;
pub use daemon::{AtEnd, Daemon, DaemonError, DaemonSettings};
pub use identity::{BackupError, IdentityError};
pub use keys::KeysError;
pub use management::OwnerRequest;
pub use provision::{DeviceFacts, HubDial, ProvisionError};
pub use sockets::SocketError;
