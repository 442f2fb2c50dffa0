//! `cargo xtask test`: everything, with one line at the end.

use std::process::Command;

use crate::needs::{self, Group};
use crate::run::{cargo, is_there, watched};
use crate::{Outcome, crash, package, tidy};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave a group of tests out, by name
    #[arg(long, value_enum, value_name = "GROUP")]
    without: Vec<Group>,
}

/// How many tests passed and failed.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    broken: Vec<&'static str>,
}

/// Installs, runs, counts.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let without = &arguments.without;
    for group in Group::ALL {
        if without.contains(&group) {
            println!("left out by request: {}", group.name());
        } else {
            group.prepare()?;
        }
    }
    let debian = (!leaves_out_packages(without)).then(|| std::thread::spawn(make_debian));
    let mut tally = Tally::default();
    tally.step("tidy", tidy::run());
    rust_tests(&mut tally, without)?;
    tally.step("crash", crash::run(&crash::Arguments::short(!without.contains(&Group::PowerCut))));
    if let Some(debian) = debian {
        let made = debian.join().unwrap_or_else(|_| Err("its thread has panicked".to_owned()));
        tally.step("the Debian system of the package tests", made.map_err(Into::into));
    }
    if !without.contains(&Group::Sdk) {
        sdk_tests(&mut tally, without)?;
    }
    for broken in &tally.broken {
        println!("failed: {broken}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { Ok(()) } else { Err("not everything passed".into()) }
}

fn leaves_out_packages(without: &[Group]) -> bool {
    [Group::Packages, Group::Docker, Group::Sdk].iter().any(|group| without.contains(group))
}

/// Mostly waits for a mirror and a disk, so it goes along with the builds.
fn make_debian() -> Result<(), String> {
    package::root::make().map_err(|error| error.to_string())
}

impl Tally {
    fn step(&mut self, name: &'static str, outcome: Outcome) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{name}: {error}");
                self.fail(name);
            }
        }
    }

    fn fail(&mut self, name: &'static str) {
        self.failed += 1;
        self.broken.push(name);
    }
}

/// The Rust tests of the whole workspace. Everything is built in one go, so that each dependency is
/// built once, with one set of features; the binary with it, because tests start it.
fn rust_tests(tally: &mut Tally, without: &[Group]) -> Outcome {
    crate::run::run(cargo().args(["build", "--workspace", "--bins", "--tests", "--examples"]))?;
    let left_out: Vec<_> = without.iter().map(|group| group.name()).collect();
    let nextest = is_there("cargo-nextest");
    let mut command = cargo();
    command.env("FARSHORE_TEST_WITHOUT", left_out.join(","));
    if nextest {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        // Nextest reports on standard error.
        command.args(["--color", "never"]);
        let mut shell = Command::new("sh");
        shell.env("FARSHORE_TEST_WITHOUT", left_out.join(","));
        shell.args([
            "-c",
            "cargo nextest run --workspace --no-fail-fast --color never --status-level fail 2>&1",
        ]);
        let ok = watched(&mut shell, |line| count_nextest(line, tally))?;
        if !ok {
            tally.broken.push("rust tests");
            tally.failed += u64::from(tally.failed == 0);
        }
        return Ok(());
    }
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if !watched(&mut command, |line| count_libtest(line, tally))? {
        tally.broken.push("rust tests");
        tally.failed += u64::from(tally.failed == 0);
    }
    Ok(())
}

/// `test result: ok. 12 passed; 0 failed; …`
fn count_libtest(line: &str, tally: &mut Tally) {
    if let Some(result) = line.trim().strip_prefix("test result: ") {
        tally.passed += number_before(result, " passed");
        tally.failed += number_before(result, " failed");
    }
}

/// `     Summary [  12.3s] 12 tests run: 11 passed, 1 failed, 0 skipped`
fn count_nextest(line: &str, tally: &mut Tally) {
    if line.trim_start().starts_with("Summary") {
        tally.passed += number_before(line, " passed");
        tally.failed += number_before(line, " failed");
    }
}

/// The SDK tests: real clients against the real program.
fn sdk_tests(tally: &mut Tally, without: &[Group]) -> Outcome {
    let binary = crate::run::target_dir()?.join("debug/farshore");
    let mut command = Command::new(needs::python());
    command.env("FARSHORE_BINARY", binary).args([
        "-m",
        "pytest",
        "-q",
        "-ra",
        "--color=no",
        "tests",
    ]);
    if without.contains(&Group::Docker) {
        command.args(["-m", "not docker"]);
    } else {
        if without.contains(&Group::Packages) {
            command.args(["-m", "not packages"]);
        }
        // Everything runs, so the tables of what works with which client have to be true.
        command.arg("--matrix=check");
    }
    let ok = watched(&mut command, |line| {
        // `12 passed, 1 failed in 3.21s`, the last line.
        if line.contains(" in ")
            && (line.contains(" passed") || line.contains(" failed") || line.contains(" error"))
        {
            tally.passed += number_before(line, " passed");
            tally.failed += number_before(line, " failed") + number_before(line, " error");
        }
    })?;
    if !ok {
        tally.broken.push("sdk tests");
        tally.failed += u64::from(tally.failed == 0);
    }
    Ok(())
}

/// The number that stands before a word; 0 when there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let Some(end) = text.find(word) else { return 0 };
    let digits = text[..end].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted() {
        let mut tally = Tally::default();
        count_libtest(
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured",
            &mut tally,
        );
        count_nextest(
            "     Summary [   1.2s] 14 tests run: 11 passed (1 slow), 3 failed, 0 skipped",
            &mut tally,
        );
        assert_eq!((tally.passed, tally.failed), (23, 5));
        assert_eq!(number_before("3 failed, 120 passed in 2.0s", " passed"), 120);
        assert_eq!(number_before("no tests ran in 0.01s", " passed"), 0);
    }
}
