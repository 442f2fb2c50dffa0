//! Running other programs and seeing how they end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::root;

/// Runs a command with its output on ours; an error names it.
pub(crate) fn run(command: &mut Command) -> crate::Outcome {
    command.current_dir(root());
    let text = format!("{command:?}");
    let status = command.status().map_err(|error| format!("cannot start {text}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{text} ended with {status}").into()) }
}

/// Runs a command and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    command.current_dir(root()).stderr(Stdio::inherit());
    let text = format!("{command:?}");
    let output = command.output().map_err(|error| format!("cannot start {text}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{text} ended with {}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, shows its standard output line by line, and gives it to `see` too. Whether it
/// ended well.
pub(crate) fn watched(
    command: &mut Command,
    mut see: impl FnMut(&str),
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut child = command.current_dir(root()).stdout(Stdio::piped()).spawn()?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            see(&line);
        }
    }
    Ok(child.wait()?.success())
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a program is on the path.
pub(crate) fn is_there(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// The directory of the target that `.cargo/config.toml` names: `target/<triple>`.
pub(crate) fn target_dir() -> Result<std::path::PathBuf, Box<dyn std::error::Error>> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let dir =
        metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    Ok(std::path::Path::new(dir).join(host.trim()))
}
