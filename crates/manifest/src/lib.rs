//! Deployment manifests: what an edge agent and an edge hub are told to do.
//!
//! - [`agent`]: the desired properties of `$edgeAgent` (which modules, how they run).
//! - [`hub_config`]: the desired properties of `$edgeHub` (routes, time to live).
//! - [`route`]: the text of one route, and which messages it takes.
//! - [`content`]: a whole manifest (`modulesContent`) as the twin changes that it means.
//!
//! Parsing only: the crate runs nothing and knows no files, sockets or clocks. It reads as
//! leniently as the original (names in any case, numbers as texts, unknown properties ignored) and
//! refuses with the path and the fix. Specification: `edge-runtime.md` (er) §4.1, 4.3, 5.1, 5.2,
//! `service-api.md` (sa) §7.6, 7.7.

// Everything in this crate reads what somebody else wrote.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::panic, clippy::expect_used))]

pub mod agent;
pub mod content;
pub mod hub_config;
pub mod image;
pub mod route;
pub mod version;

mod fields;

pub use agent::{AgentConfig, AgentConfigError};
pub use fields::FieldError;

pub use hub_config::{HubConfig, HubConfigError};
pub use image::Image;
pub use route::Route;

pub use version::SchemaVersion;
