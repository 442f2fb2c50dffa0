//! `iotedge dead-letter`: messages that the edge hub can never deliver.
//!
//! The edge hub answers at a socket in its store's directory. Where that is, its process tells: the
//! store of a container is reached through `/proc/<pid>/root`, so this works without a folder of
//! the host and without the engine, for root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge_hub::{CONTROL_SOCKET, LETTERS_PATH, LetterJson};
use host::http::{Client, HttpError, Request};
use serde_json::{Value, json};

use super::Form;
use crate::commands::{CONFLICT, FAILED, Failure, NOT_FOUND, UNREACHABLE};
use crate::output::{Table, print, print_json};

/// Which edge hub, and what to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The edge hub's store: StorageFolder, as this machine sees it
    ///
    /// Without it the running edge hub of this machine is looked for.
    #[arg(long, value_name = "DIR", global = true)]
    store: Option<PathBuf>,
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value = "text",
        global = true,
        value_name = "FORMAT"
    )]
    /// How to print what was found
    output: Form,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List messages that can never be delivered, with the reason
    List,
    /// Show one of them whole
    Show {
        /// Its number
        number: u64,
    },
    /// Put one at the end of its queue again
    Retry {
        /// Its number
        number: u64,
    },
    /// Forget one, or all
    Drop {
        /// Its number
        #[arg(required_unless_present = "all")]
        number: Option<u64>,
        /// Forget all of them
        #[arg(long, conflicts_with = "number")]
        all: bool,
    },
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = arguments.output;
    let socket = match &arguments.store {
        Some(store) => in_store(store),
        None => find()?,
    };
    let edge_hub = EdgeHub { client: Client::unix(&socket), socket };
    match &arguments.command {
        Command::List => list(&edge_hub.all().await?, output),
        Command::Show { number } => {
            let letter = edge_hub.ask(Request::get(at(*number))).await?;
            show(&serde_json::from_value(letter)?, output)
        }
        Command::Retry { number } => {
            edge_hub.ask(Request::post(format!("{}/retry", at(*number)))).await?;
            done(output, &format!("Dead letter {number} is in its queue again"))
        }
        Command::Drop { number: Some(number), .. } => {
            edge_hub.ask(Request::delete(at(*number))).await?;
            done(output, &format!("Dropped dead letter {number}"))
        }
        Command::Drop { number: None, .. } => {
            let mut dropped = 0;
            for letter in &edge_hub.all().await? {
                let answer = edge_hub.ask(Request::delete(at(letter.number))).await;
                dropped += u64::from(is_dropped(answer.map(drop))?);
            }
            done(output, &format!("Dropped {dropped} dead letters"))
        }
    }
}

struct EdgeHub {
    client: Client,
    socket: PathBuf,
}

impl EdgeHub {
    /// All letters; they come in parts.
    async fn all(&self) -> Result<Vec<LetterJson>, Failure> {
        let mut letters: Vec<LetterJson> = Vec::new();
        loop {
            let from = letters.last().map_or(0, |letter| letter.number + 1);
            let part = self.ask(Request::get(format!("{LETTERS_PATH}?from={from}"))).await?;
            let part: Vec<LetterJson> = serde_json::from_value(part)?;
            if part.is_empty() {
                return Ok(letters);
            }
            letters.extend(part);
        }
    }

    async fn ask(&self, request: Request) -> Result<Value, Failure> {
        let request = request.deadline(LIMIT).response_bytes_max(ANSWER_BYTES_MAX);
        let answer = self.client.send(request).await.map_err(|error| self.unreachable(&error))?;
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = match answer.status.as_u16() {
            200..=299 => return Ok(document),
            404 => NOT_FOUND,
            409 => CONFLICT,
            _ => FAILED,
        };
        let message = document["message"].as_str().unwrap_or("the edge hub refuses");
        Err(Failure::new(code, message))
    }

    fn unreachable(&self, error: &HttpError) -> Failure {
        let socket = self.socket.display();
        let why = host::logs::chain(error);
        Failure::new(
            UNREACHABLE,
            format!(
                "cannot ask the edge hub at {socket}: {why}\n  \
                 run this as root while edgeHub runs (iotedge list)"
            ),
        )
    }
}

/// Whether a letter was dropped by this: one that somebody else dropped or sent again meanwhile is
/// gone, as all are to be.
fn is_dropped(answer: Result<(), Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(()) => Ok(true),
        Err(failure) if failure.code == NOT_FOUND => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn at(number: u64) -> String {
    format!("{LETTERS_PATH}/{number}")
}

fn in_store(folder: &Path) -> PathBuf {
    folder.join("edgeHub").join(CONTROL_SOCKET)
}

/// The socket of the edge hub that runs on this machine.
fn find() -> Result<PathBuf, Failure> {
    let mut denied = false;
    for process in host::fs::list(Path::new("/proc"))? {
        let is_process = process.file_name().is_some_and(|name| {
            name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        });
        if !is_process {
            continue;
        }
        match host::fs::read(&process.join("environ")) {
            Ok(environ) => {
                if let Some(socket) = socket_of(&process, &environ)
                    && host::fs::exists(&socket).unwrap_or(false)
                {
                    return Ok(socket);
                }
            }
            Err(error) => denied |= !error.is_not_found(),
        }
    }
    let hint = if denied { "; run this as root, or name its store with --store" } else { "" };
    Err(Failure::new(UNREACHABLE, format!("no edge hub runs on this machine{hint}")))
}

/// The socket of a process that is an edge hub, as this machine sees it.
fn socket_of(process: &Path, environ: &[u8]) -> Option<PathBuf> {
    let variables: BTreeMap<String, &str> = environ
        .split(|byte| *byte == 0)
        .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    if *variables.get("iotedge_moduleid")? != "$edgeHub" {
        return None;
    }
    let folder = match variables.get("storagefolder").filter(|folder| !folder.trim().is_empty()) {
        Some(folder) => process.join("root").join(folder.trim().trim_start_matches('/')),
        // A process keeps its store where it was started, a container in its own /tmp.
        None if variables.contains_key("farshore_edge_listen") => process.join("cwd"),
        None => process.join("root/tmp"),
    };
    Some(in_store(&folder))
}

fn list(letters: &[LetterJson], output: Form) -> Result<(), Failure> {
    match output {
        Form::Json => print_json(&letters),
        Form::Text if letters.is_empty() => print("No dead letters\n"),
        Form::Text => {
            let mut table = Table::new(["NUMBER", "TIME", "SENDER", "QUEUE", "BYTES", "REASON"]);
            for letter in letters {
                let (number, bytes) = (letter.number.to_string(), letter.bytes.to_string());
                let LetterJson { time, sender, queue, reason, .. } = letter;
                table.row([&number, time, sender, queue, &bytes, reason]);
            }
            print(&table.to_text())
        }
    }
}

fn show(letter: &LetterJson, output: Form) -> Result<(), Failure> {
    if output == Form::Json {
        return print_json(letter);
    }
    let mut table = Table::fields();
    table.row(["Number", &letter.number.to_string()]);
    table.row(["Time", &letter.time]);
    table.row(["Sender", &letter.sender]);
    table.row(["Queue", &letter.queue]);
    table.row(["Reason", &letter.reason]);
    for (name, value) in &letter.properties {
        table.row([name, value]);
    }
    let body = letter.body.as_deref().unwrap_or_default();
    let body = STANDARD.decode(body).unwrap_or_default();
    match std::str::from_utf8(&body) {
        Ok(text) => table.row(["Body", text]),
        Err(_) => table.row(["Body", &format!("{} bytes; see -o json", body.len())]),
    }
    print(&table.to_text())
}

fn done(output: Form, text: &str) -> Result<(), Failure> {
    match output {
        Form::Text => print(&format!("{text}\n")),
        Form::Json => print_json(&json!({ "done": text })),
    }
}

const LIMIT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_is_gone_already_does_not_stop_the_dropping_of_all() {
        let answered = |code| is_dropped(Err(Failure::new(code, "no dead letter 7")));
        assert!(matches!(is_dropped(Ok(())), Ok(true)));
        assert!(matches!(answered(NOT_FOUND), Ok(false)));
        assert!(answered(CONFLICT).is_err());
        assert!(answered(FAILED).is_err());
    }

    #[test]
    fn the_socket_is_where_the_process_keeps_its_store() {
        let socket = |environ: &str| {
            let found = socket_of(Path::new("/proc/7"), environ.replace(' ', "\0").as_bytes());
            found.map(|path| path.display().to_string()).unwrap_or_default()
        };
        for (environ, expected) in [
            ("A=b IOTEDGE_MODULEID=sensor StorageFolder=/x", ""),
            ("IOTEDGE_MODULEID=$edgeHub", "/proc/7/root/tmp/edgeHub/control.sock"),
            (
                "IOTEDGE_MODULEID=$edgeHub storagefolder=/iotedge/storage",
                "/proc/7/root/iotedge/storage/edgeHub/control.sock",
            ),
            (
                "IOTEDGE_MODULEID=$edgeHub FARSHORE_EDGE_LISTEN=127.0.0.2:8883",
                "/proc/7/cwd/edgeHub/control.sock",
            ),
        ] {
            assert_eq!(socket(environ), expected);
        }
    }
}
