//! Being written.

use super::Failure;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_arguments: Arguments) -> Result<(), Failure> {
    Err(Failure::new(super::FAILED, "not built yet"))
}
