//! The operator's commands: what a person asks of a hub.
//!
//! Each is a thin layer over `client::service::HubClient`: read arguments, call, print. Every one
//! finds its hub by [`connection::Connection`]; failures get their exit codes in `failure.rs`.

mod c2d;
mod certificates;
mod confirm;
pub(crate) mod connection;
mod consumer_groups;
mod deployments;
mod devices;
mod failure;
mod input;
mod methods;
mod modules;
mod monitor;
mod proof;
mod statistics;
mod twins;

#[cfg(test)]
mod tests;

use super::Failure;

/// Operator commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create, show and delete devices
    Device(devices::Arguments),
    /// Create, show and delete modules of a device
    Module(modules::Arguments),
    /// Show and change device and module twins
    Twin(twins::Arguments),
    /// Call direct methods
    Method(methods::Arguments),
    /// Register the certificate authorities that devices prove themselves by
    Certificate(certificates::Arguments),
    /// Send messages to a device
    C2d(c2d::Arguments),
    /// Deploy modules to an edge device
    Deployment(deployments::Arguments),
    /// Watch messages as they arrive at the hub
    Monitor(monitor::Arguments),
    /// List, create and delete consumer groups of the event log
    ConsumerGroup(consumer_groups::Arguments),
    /// Count devices and connections
    Statistics(statistics::Arguments),
}

pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Device(arguments) => devices::run(arguments).await,
        Command::Module(arguments) => modules::run(arguments).await,
        Command::Twin(arguments) => twins::run(arguments).await,
        Command::Method(arguments) => methods::run(arguments).await,
        Command::Certificate(arguments) => certificates::run(arguments).await,
        Command::C2d(arguments) => c2d::run(arguments).await,
        Command::Deployment(arguments) => deployments::run(arguments).await,
        Command::Monitor(arguments) => monitor::run(arguments).await,
        Command::ConsumerGroup(arguments) => consumer_groups::run(arguments).await,
        Command::Statistics(arguments) => statistics::run(arguments).await,
    }
}
