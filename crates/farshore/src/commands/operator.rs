//! Being written.

use super::Failure;

/// Operator commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {}

pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {}
}
