//! Being written.

use super::Failure;

/// Arguments.
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_arguments: Arguments) -> Result<(), Failure> {
    Err(Failure::new(super::FAILED, "not built yet"))
}
