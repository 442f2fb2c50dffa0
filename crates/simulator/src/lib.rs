//! The simulated temperature sensor: a module with the contract of the well-known sample.
//!
//! The same JSON, properties, console lines, twin settings, method and control messages
//! (`tools.md` §3), so that guides and manifests written for the original work. It differs where
//! the original hurts: bad twin values are reported and not fatal, what is in force is reported
//! from the start, the humidity setting counts, `Seed` makes runs repeatable, the network may come
//! and go, and SIGTERM ends it at once. It speaks MQTT only: a manifest that asks for AMQP is told
//! so.
//!
//! Nothing here touches the process: environment, console, clock and the signal to end are
//! arguments.

pub mod body;
pub mod console;
pub mod control;
pub mod settings;
pub mod twin;
pub mod walk;

mod error;
mod run;
mod sensor;
mod timespan;

pub use console::{Console, Level};
pub use error::SensorError;
pub use run::{ExitReason, run};
