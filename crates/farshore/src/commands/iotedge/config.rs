//! `iotedge config`: writing a first `config.toml`, converting one of the first IoT Edge, and bringing a
//! changed one into effect (`edge-runtime.md` §3.1, §3.3).

mod import;
mod yaml;

use std::path::{Path, PathBuf};

use edge_daemon::Config;
use edge_daemon::config::Minimal;
use host::fs;

use super::place::Place;
use super::runtime::{self, Done};
use crate::commands::{CONFLICT, FAILED, Failure, NOT_FOUND, USAGE};
use crate::output::print;

/// Commands about the device's configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write a config.toml for manual provisioning with a connection string
    Mp(Mp),
    /// Check a config.toml and bring it into effect
    Apply(Apply),
    /// Convert the config.yaml of IoT Edge 1.0 and 1.1
    Import(Import),
}

/// Arguments of `iotedge config mp`.
#[derive(Debug, clap::Args)]
pub(super) struct Mp {
    /// The device's connection string
    #[arg(long, value_name = "CONNECTION_STRING")]
    connection_string: String,
    /// Name under which modules and leaf devices reach this device; the machine's when not given
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Replace a file that is there
    #[arg(short, long)]
    force: bool,
    /// Where to write; the runtime's own configuration when not given
    #[arg(short = 'o', long = "out-config-file", visible_alias = "output", value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `iotedge config apply`.
#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// The file to apply; the runtime's own when not given
    #[arg(short, long = "config-file", visible_alias = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the runtime reads its configuration
    ///
    /// Without it, the installed runtime's or that of `farshore up`. A runtime named by --host
    /// is taken to read the file to apply itself.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
}

/// Arguments of `iotedge config import`.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The file to convert
    #[arg(
        short,
        long = "config-file",
        value_name = "FILE",
        default_value = "/etc/iotedge/config.yaml"
    )]
    config: PathBuf,
    /// Where to write
    #[arg(short = 'o', long = "out-config-file", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(place: &Place, command: Command) -> Result<(), Failure> {
    match command {
        Command::Mp(mp) => write_minimal(place, &mp),
        Command::Apply(arguments) => apply(place, &arguments).await,
        Command::Import(import) => import_old(place, &import),
    }
}

fn write_minimal(place: &Place, mp: &Mp) -> Result<(), Failure> {
    let path = mp.out.as_deref().unwrap_or(&place.config);
    refuse_to_replace(path, mp.force)?;
    let minimal = Minimal {
        connection_string: &mp.connection_string,
        hostname: mp.hostname.as_deref(),
        ..Minimal::default()
    };
    let text = minimal.to_toml();
    // What cannot work is not written.
    Config::parse(&text, path).map_err(|error| {
        let problems = error.problems().iter();
        let words = problems.map(|problem| format!("{} {}", problem.key, problem.what));
        Failure::new(USAGE, words.collect::<Vec<_>>().join("\n"))
    })?;
    write(path, &text)?;
    print(&format!(
        "The configuration has been written to {0}.\nBring it into effect with:\n\n    \
         sudo iotedge config apply -c '{0}'\n",
        path.display()
    ))
}

async fn apply(place: &Place, arguments: &Apply) -> Result<(), Failure> {
    let file = arguments.config.as_deref().unwrap_or(&place.config);
    let target = match &arguments.target {
        Some(target) => target,
        None if place.is_named => file,
        None => &place.config,
    };
    if !fs::exists(file)? {
        return Err(Failure::new(
            NOT_FOUND,
            format!(
                "there is no {}; write one with: iotedge config mp --connection-string …",
                file.display()
            ),
        ));
    }
    let text = fs::read_to_string(file)?;
    let config = Config::parse(&text, file)?;
    for note in &config.notes {
        eprintln!("note: {note}");
    }
    write(target, &text)?;
    let said = match runtime::restart(place).await? {
        Done::ByUnit(unit) => format!("{unit} was restarted with it"),
        Done::Asked => "the runtime begins anew with it".to_owned(),
        Done::NotRunning => {
            "the runtime does not run: it takes effect when it is started".to_owned()
        }
    };
    print(&format!("{} is good; {said}.\n", target.display()))
}

/// Writes a configuration, which holds a key: for its owner only. The owner is who it was, else
/// whoever has the directory (the runtime's user, in packages).
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let was_there = fs::exists(path)?;
    let owner = if was_there { Some(fs::facts(path)?) } else { None };
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::create_dir(directory)?;
    }
    let owner = match (owner, directory) {
        (Some(owner), _) => owner,
        (None, directory) => fs::facts(directory.unwrap_or(Path::new(".")))?,
    };
    fs::write_atomic(path, text.as_bytes(), MODE)?;
    let now = fs::facts(path)?;
    if gives_away(now.uid, was_there) && (now.uid, now.gid) != (owner.uid, owner.gid) {
        fs::set_owner(path, owner.uid, owner.gid)?;
    }
    Ok(())
}

/// Only root can give a file away. Another user's new file is that user's own, also in a directory
/// that belongs to somebody else, such as `/tmp`; in place of somebody else's it would be of no use.
fn gives_away(writer: u32, was_there: bool) -> bool {
    writer == ROOT || was_there
}

fn import_old(place: &Place, arguments: &Import) -> Result<(), Failure> {
    let old = &arguments.config;
    if !fs::exists(old)? {
        return Err(Failure::new(
            NOT_FOUND,
            format!("there is no {}; name the old file with -c", old.display()),
        ));
    }
    let path = arguments.out.as_deref().unwrap_or(&place.config);
    refuse_to_replace(path, arguments.force)?;
    let imported = import::convert(&fs::read_to_string(old)?)
        .map_err(|error| Failure::new(FAILED, each_line(&error.to_string(), old)))?;
    write(path, &imported.text)?;
    for note in &imported.notes {
        eprintln!("note: {}:{note}", old.display());
    }
    if fs::exists(Path::new(OLD_MASTER_KEY))? {
        eprintln!(
            "note: {OLD_MASTER_KEY} is not taken over: what modules had the old runtime encrypt \
             cannot be read here"
        );
    }
    let written = format!("The configuration has been written to {}.\n", path.display());
    print(&match Config::parse(&imported.text, path) {
        Ok(config) => {
            for note in &config.notes {
                eprintln!("note: {}: {note}", path.display());
            }
            format!(
                "{written}Bring it into effect with:\n\n    sudo iotedge config apply -c '{}'\n",
                path.display()
            )
        }
        Err(error) => format!("{written}Before it can be applied, change this:\n\n{error}\n"),
    })
}

fn each_line(text: &str, path: &Path) -> String {
    let lines = text.lines().map(|line| format!("{}:{line}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

fn refuse_to_replace(path: &Path, force: bool) -> Result<(), Failure> {
    if force || !fs::exists(path)? {
        return Ok(());
    }
    let text = format!("{} is there already; replace it with --force", path.display());
    Err(Failure::new(CONFLICT, text))
}

/// Where the first IoT Edge kept the key with which it encrypted for modules.
const OLD_MASTER_KEY: &str = "/var/lib/iotedge/hsm/enc_keys/edgelet-masterWt5mT2xpO72EPKlt2Tt0Sq4uJCrMvfl2rzzKRB3pnyo_.enc.key";
const ROOT: u32 = 0;
/// It holds the device's key.
const MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_root_keeps_what_is_new() {
        assert!(gives_away(ROOT, false) && gives_away(ROOT, true));
        assert!(gives_away(1000, true));
        assert!(!gives_away(1000, false));
    }
}
