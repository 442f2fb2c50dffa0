//! The service manager, where there is one: whether it runs the edge runtime, and what it does then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::clock::Clock;
use host::process::{Exit, Program};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::commands::{FAILED, Failure};

/// The unit that runs this machine's runtime, if the service manager knows one.
pub(super) async fn unit() -> Option<&'static str> {
    for unit in UNITS {
        let shown = run("systemctl", &["show", "-p", "LoadState", "--value", unit]).await?;
        if shown.exit == Exit::Code(0) && shown.output.trim() == "loaded" {
            return Some(unit);
        }
    }
    None
}

/// `restart` or `stop` of a unit.
pub(super) async fn act(verb: &str, unit: &str) -> Result<(), Failure> {
    match run("systemctl", &[verb, unit]).await {
        Some(done) if done.exit == Exit::Code(0) => Ok(()),
        Some(done) => Err(Failure::new(
            FAILED,
            format!("systemctl {verb} {unit} failed: {}", done.errors.trim()),
        )),
        None => Err(Failure::new(FAILED, format!("systemctl {verb} {unit} did not end in time"))),
    }
}

/// The program that writes what a unit logged, with the arguments of journalctl; it may go on until the
/// user has enough.
pub(super) fn journal_program(unit: &str, arguments: &[String]) -> Result<Program, Failure> {
    let path = find("journalctl").ok_or_else(|| {
        Failure::new(FAILED, "there is no journalctl on this machine: the log cannot be read")
    })?;
    let mut program = Program::new(path);
    program.args = vec!["-u".to_owned(), unit.to_owned(), "--no-pager".to_owned()];
    program.args.extend(arguments.iter().cloned());
    program.env = host::env::vars();
    Ok(program)
}

/// How a short program ended, and what it said.
struct Done {
    exit: Exit,
    output: String,
    errors: String,
}

async fn run(name: &str, arguments: &[&str]) -> Option<Done> {
    let mut program = Program::new(find(name)?);
    program.args = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    program.env = host::env::vars();
    let mut child = program.spawn().await.ok()?;
    let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
    let work = async {
        let (output, errors) = tokio::join!(all_of(stdout), all_of(stderr));
        Some(Done { exit: child.wait().await.ok()?, output, errors })
    };
    Clock::system().timeout(DEADLINE, work).await.ok().flatten()
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // What was read before an error is still worth showing.
    let _ = stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn find(name: &str) -> Option<PathBuf> {
    let places = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let paths = places.map(|place| Path::new(place).join(name));
    paths.into_iter().find(|path| host::fs::exists(path).unwrap_or(false))
}

/// Under which names the runtime is installed: by packages, which keep the original's, and by hand.
const UNITS: [&str; 2] = ["aziot-edged.service", "farshore-edge.service"];
/// Stopping all modules takes a while.
const DEADLINE: Duration = Duration::from_secs(120);
/// More than the service manager says of one unit.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
