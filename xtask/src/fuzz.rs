//! `cargo xtask fuzz`: the targets of `fuzz/`, on stable Rust (how: `fuzz/Cargo.toml`).

use crate::run::{cargo, run as run_command};
use crate::{Outcome, root};

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target
    target: Option<String>,
}

/// Builds and runs each target, on a scratch copy of its kept corpus.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        if let Some(name) = entry?.path().file_stem() {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    for target in
        targets.iter().filter(|target| arguments.target.as_ref().is_none_or(|only| only == *target))
    {
        println!("fuzzing {target} for {} s", arguments.seconds);
        let scratch = root().join("fuzz/target/corpus").join(target);
        std::fs::create_dir_all(&scratch)?;
        let kept = root().join("fuzz/corpus").join(target);
        let mut command = cargo();
        command.env("RUSTFLAGS", COVERAGE).args([
            "run",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--profile",
            "fuzz",
        ]);
        command.args(["--bin", target, "--"]).arg(&scratch).arg(&kept);
        run_command(command.arg(format!("-max_total_time={}", arguments.seconds)))?;
    }
    Ok(())
}

/// Coverage for libFuzzer on a stable compiler; `fuzz/Cargo.toml` says why each is needed.
const COVERAGE: &str = "--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares -C panic=abort";
