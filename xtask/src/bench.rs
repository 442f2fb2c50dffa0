//! `cargo xtask bench`: figures beside a peer, in one run on one machine.

use crate::{Outcome, bench_journal};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The journal beside a bare append and fdatasync, SQLite and fjall
    Journal(bench_journal::Arguments),
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.what {
        What::Journal(arguments) => bench_journal::run(arguments),
    }
}
