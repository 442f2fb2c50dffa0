//! `farshore sensor`: the built-in simulated temperature sensor, told by its module environment.

use std::collections::BTreeMap;
use std::io::Write as _;

use host::clock::Clock;
use host::signals::Shutdown;
use simulator::console::Console;

use super::{FAILED, Failure};

/// `farshore sensor` has none.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Standard output. A reader that went away is no reason to stop measuring.
struct Stdout;

impl Console for Stdout {
    fn line(&mut self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

pub(crate) async fn run(_: Arguments) -> Result<(), Failure> {
    let env: BTreeMap<String, String> = host::env::vars().into_iter().collect();
    let shutdown = Shutdown::on_signals()?;
    match simulator::run(&env, &mut Stdout, Clock::system(), shutdown).await {
        Ok(_) => Ok(()),
        // The sensor has said it, in its own form.
        Err(_) => Err(Failure::silent(FAILED)),
    }
}
