//! The one door for chores. `cargo xtask test` installs what the tests need and runs them all;
//! CI runs the same. Each chore is a file.

#![allow(
    clippy::disallowed_methods,
    reason = "chores run outside of the product: files, processes and environment are theirs"
)]
#![allow(clippy::disallowed_types, reason = "chores run outside of the product")]
#![allow(clippy::print_stdout, reason = "chores talk to people")]
#![allow(clippy::print_stderr, reason = "chores talk to people")]

mod bench;
mod bench_journal;
mod crash;
mod fuzz;
mod generate;
mod needs;
mod package;
mod run;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, for people.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Farshore repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the tests need, then run them all
    Test(test::Arguments),
    /// Check what the compiler does not: imports, module comments, file sizes, generated files
    Tidy,
    /// Write the generated files anew
    Gen,
    /// Measure, beside a peer in the same run
    Bench(bench::Arguments),
    /// Kill writers and cut the power under the journal, and check a ledger
    Crash(crash::Arguments),
    /// Run the fuzz targets
    Fuzz(fuzz::Arguments),
    /// Build the Debian package
    Package(package::Arguments),
    /// Make the Debian system in which the package is tested, unless it is there
    PackageRoot,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Tidy => tidy::run(),
        Chore::Gen => generate::run(),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Crash(arguments) => crash::run(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Package(arguments) => package::run_package(&arguments),
        Chore::PackageRoot => package::root::make(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}
