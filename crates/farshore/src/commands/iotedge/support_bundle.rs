//! `iotedge support-bundle`: what helps others to find out what is wrong, in one ZIP file, without
//! secrets ([`redact`]).
//!
//! Every source has its time and its room; what did not fit or did not answer is said in the
//! bundle's `README.txt`. The bundle goes to a file or to standard output, never anywhere else.

mod logs;
mod redact;
mod zip;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use client::edge::ManagementClient;
use edge_daemon::Config;
use edge_daemon::config::DeviceCredential;
use host::clock::Clock;
use host::fs;
use host::http::{Client, Request};
use iot_proto::management::{Tail, moment};
use serde_json::{Value, json};

use super::failure::words;
use super::place::Place;
use super::{check, list, runtime, systemd};
use crate::commands::{Failure, USAGE};
use crate::output::print_bytes;
use redact::Secrets;
use zip::Zip;

/// Arguments of `iotedge support-bundle`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// From when on logs are taken: RFC 3339, Unix seconds, or how long ago
    #[arg(long, value_name = "TIME", default_value = "1 day")]
    since: String,
    /// Until when
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only so many of the last lines of each log
    #[arg(long, value_name = "LINES", default_value = "all", value_parser = super::logs::tail)]
    tail: Tail,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "support_bundle.zip")]
    output: PathBuf,
    /// Leave out the logs and containers of all modules but edgeAgent and edgeHub
    #[arg(short = 'e', long)]
    include_edge_runtime_only: bool,
    /// The hub's name for the checks, instead of that in the configuration
    #[arg(long, value_name = "NAME")]
    iothub_hostname: Option<String>,
    /// The device's configuration; that of the edge runtime that is found when not given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say nothing of the progress
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(
    place: impl Fn() -> Result<Place, Failure>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let clock = Clock::system();
    let now = clock.wall();
    for (name, text) in [("--since", Some(&arguments.since)), ("--until", arguments.until.as_ref())]
    {
        if let Some(text) = text {
            moment(name, text, now).map_err(|error| Failure::new(USAGE, error.to_string()))?;
        }
    }
    let bundle = Bundle::gather(&place, arguments, clock).await?;
    let quiet = arguments.quiet;
    let bytes = bundle.finish();
    if arguments.output.as_os_str() == "-" {
        return print_bytes(&bytes);
    }
    fs::write_atomic(&arguments.output, &bytes, FILE_MODE)?;
    if !quiet {
        eprintln!("The support bundle is in {}", arguments.output.display());
    }
    Ok(())
}

/// A bundle that is being gathered. Nothing goes in unscrubbed.
struct Bundle {
    secrets: Secrets,
    clock: Clock,
    zip: Zip,
    room: usize,
    /// What is missing, for the README.
    missing: Vec<String>,
    quiet: bool,
}

impl Bundle {
    async fn gather(
        place: &impl Fn() -> Result<Place, Failure>,
        arguments: &Arguments,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let mut bundle = Self {
            secrets: Secrets::default(),
            clock,
            zip: Zip::default(),
            room: BUNDLE_BYTES_MAX - OVERHEAD_BYTES,
            missing: Vec::new(),
            quiet: arguments.quiet,
        };
        let here = place()?;
        let management = ManagementClient::new(&here.management_socket);
        let config_path = arguments.config.as_ref().unwrap_or(&here.config);
        // First whatever tells what is secret; logs come last and get the room that is left.
        let config_text = fs::read_to_string(config_path);
        let config = match &config_text {
            Ok(text) => bundle.remember_files(text, config_path),
            Err(_) => None,
        };
        let names = bundle.modules(&management, arguments.include_edge_runtime_only).await;
        let uri = config.as_ref().map(|config| config.engine.uri.clone());
        let inspected = bundle.containers(uri.as_deref(), &names).await;
        match config_text {
            Ok(text) => match bundle.secrets.config(&text) {
                Some(text) => bundle.add("config.toml", &text),
                None => bundle.missing.push("config.toml is not TOML".to_owned()),
            },
            Err(error) => bundle.missing.push(format!("config.toml: {}", words(error).join(": "))),
        }
        for (name, shown) in inspected {
            bundle.add_json(&format!("inspect/{name}.json"), &shown);
        }
        bundle.machine(&management).await;
        bundle.check(place()?, arguments).await;
        bundle.runtime_log(&here, arguments).await;
        bundle.module_logs(&management, &names, arguments).await;
        Ok(bundle)
    }

    /// Secrets that `config.toml` points to.
    fn remember_files(&mut self, text: &str, path: &std::path::Path) -> Option<Config> {
        // Its values are remembered even when it is no good configuration.
        let _shown = self.secrets.config(text);
        let config = Config::parse(text, path).ok()?;
        if let DeviceCredential::KeyFile(file) = &config.provisioning.credential
            && let Ok(bytes) = fs::read(file)
        {
            use base64::Engine as _;
            self.secrets.remember(&base64::engine::general_purpose::STANDARD.encode(&bytes));
            if let Ok(text) = std::str::from_utf8(&bytes) {
                self.secrets.remember(text);
            }
        }
        Some(config)
    }

    /// The modules as `iotedge list` shows them, and their names.
    async fn modules(&mut self, management: &ManagementClient, runtime_only: bool) -> Vec<String> {
        self.say("modules");
        let asked = self.clock.timeout(SOURCE_TIME, Box::pin(management.modules())).await;
        let modules = match asked {
            Ok(Ok(modules)) => modules,
            Ok(Err(error)) => return self.lacks("list of modules", words(error)),
            Err(_) => return self.lacks("list of modules", too_slow()),
        };
        let env = modules.iter().flat_map(|module| &module.config.env);
        for variable in env.filter(|variable| !variable.key.eq_ignore_ascii_case("storageFolder")) {
            self.secrets.remember(&variable.value);
        }
        match serde_json::to_value(list::rows(&modules, self.clock.wall())) {
            Ok(rows) => self.add_json("list.json", &rows),
            Err(error) => self.missing.push(format!("list.json: {error}")),
        }
        let names = modules.into_iter().map(|module| module.name);
        let names = names.filter(|name| name != "edgeAgent");
        names.filter(|name| !runtime_only || name == "edgeHub").take(MODULES_MAX).collect()
    }

    /// What the engine says of the modules' containers, harmless as it is taken in.
    async fn containers(&mut self, uri: Option<&str>, names: &[String]) -> Vec<(String, Value)> {
        let path = uri.and_then(|uri| uri.strip_prefix("unix://"));
        let Some(path) = path else {
            return self.lacks("containers", vec!["no engine is known without config.toml".into()]);
        };
        self.say("containers");
        let client = Client::unix(path);
        let mut shown = Vec::new();
        for name in names {
            let path = format!("/containers/{}/json", iot_proto::percent::encode(name));
            let request =
                Request::get(path).deadline(SOURCE_TIME).response_bytes_max(INSPECT_BYTES_MAX);
            let told = match Box::pin(client.send(request)).await {
                Ok(answer) if answer.status.as_u16() == 404 => {
                    Err("the engine has no such container (modules may be processes)".to_owned())
                }
                Ok(answer) => {
                    serde_json::from_slice::<Value>(&answer.body).map_err(|error| error.to_string())
                }
                Err(error) => Err(words(error).join(": ")),
            };
            match told {
                Ok(told) => shown.push((name.clone(), self.secrets.container(&told))),
                Err(why) => self.missing.push(format!("container {name}: {why}")),
            }
        }
        shown
    }

    /// Versions and facts of the machine.
    async fn machine(&mut self, management: &ManagementClient) {
        self.say("machine");
        let versions = json!({
            "farshore": env!("CARGO_PKG_VERSION"),
            "kernel": read("/proc/sys/kernel/osrelease"),
            "os": read("/etc/os-release"),
        });
        self.add_json("versions.json", &versions);
        let info = self.clock.timeout(SOURCE_TIME, Box::pin(management.system_info())).await;
        match info.map(|outcome| outcome.map(serde_json::to_value)) {
            Ok(Ok(Ok(info))) => self.add_json("system_info.json", &info),
            Ok(Ok(Err(error))) => self.missing.push(format!("system_info.json: {error}")),
            Ok(Err(error)) => self.lacks("system_info.json", words(error)),
            Err(_) => self.lacks("system_info.json", too_slow()),
        }
        let resources =
            self.clock.timeout(SOURCE_TIME, Box::pin(management.system_resources())).await;
        match resources.map(|outcome| outcome.map(serde_json::to_value)) {
            Ok(Ok(Ok(all))) => self.add_json("system_resources.json", &all),
            Ok(Ok(Err(error))) => self.missing.push(format!("system_resources.json: {error}")),
            Ok(Err(error)) => self.lacks("system_resources.json", words(error)),
            Err(_) => self.lacks("system_resources.json", too_slow()),
        }
    }

    async fn check(&mut self, place: Place, arguments: &Arguments) {
        self.say("checks");
        let (config, hub) = (arguments.config.clone(), arguments.iothub_hostname.clone());
        let checked = check::document(place, config, hub);
        // Boxed: it holds all that is looked at.
        match self.clock.timeout(CHECK_TIME, Box::pin(checked)).await {
            Ok(Ok(report)) => self.add_json("check.json", &report),
            Ok(Err(failure)) => {
                let why = failure.message().unwrap_or("failed").to_owned();
                let () = self.lacks("check.json", vec![why]);
            }
            Err(_) => self.lacks("check.json", too_slow()),
        }
    }

    /// The log of the runtime itself, which is the agent's too.
    async fn runtime_log(&mut self, place: &Place, arguments: &Arguments) {
        let Some(unit) = runtime::unit(place).await else {
            return self.lacks(
                "logs/edge-runtime.log",
                vec!["the runtime is no service here; its log is its standard error".into()],
            );
        };
        self.say("log of the runtime");
        let now = self.clock.wall();
        let mut options = Vec::new();
        for (name, text) in
            [("--since", Some(&arguments.since)), ("--until", arguments.until.as_ref())]
        {
            if let Some(moment) = text.and_then(|text| moment(name, text, now).ok()) {
                options.extend([name.to_owned(), format!("@{}", moment.as_second())]);
            }
        }
        let lines = match arguments.tail {
            Tail::Lines(lines) => lines.min(JOURNAL_LINES_MAX),
            _ => JOURNAL_LINES_MAX,
        };
        options.extend(["-n".to_owned(), lines.to_string()]);
        let mut kept = logs::Kept::new(JOURNAL_BYTES_MAX.min(self.room / 2));
        let read = match systemd::journal_program(unit, &options) {
            Ok(program) => {
                let filled = Box::pin(logs::fill_from(&mut kept, program));
                self.clock.timeout(SOURCE_TIME, filled).await
            }
            Err(failure) => Ok(Err(failure)),
        };
        let why = match read {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(vec![failure.message().unwrap_or("failed").to_owned()]),
            Err(_) => Some(too_slow()),
        };
        self.add_log("edge-runtime", kept, why);
    }

    /// The logs, each with an equal part of the room that is left.
    async fn module_logs(
        &mut self,
        management: &ManagementClient,
        names: &[String],
        arguments: &Arguments,
    ) {
        let query = iot_proto::management::LogsQuery {
            follow: false,
            tail: arguments.tail,
            since: Some(arguments.since.clone()),
            until: arguments.until.clone(),
            timestamps: true,
        };
        for (done, name) in names.iter().enumerate() {
            self.say(&format!("log of {name}"));
            let room = self.room / (names.len() - done);
            let mut kept = logs::Kept::new(room);
            let filled = Box::pin(logs::fill(&mut kept, management, name, &query));
            let why = match self.clock.timeout(SOURCE_TIME, filled).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(words(error)),
                Err(_) => Some(too_slow()),
            };
            self.add_log(name, kept, why);
        }
    }

    /// A log's end, and what is said of what is not in it.
    fn add_log(&mut self, name: &str, kept: logs::Kept, why: Option<Vec<String>>) {
        if let Some(why) = why {
            let () = self.lacks(&format!("logs/{name}.log, in part"), why);
        }
        let (text, cut) = kept.into_text();
        if cut > 0 {
            self.missing.push(format!("logs/{name}.log: its first {cut} bytes, to stay small"));
        }
        self.add(&format!("logs/{name}.log"), &text);
    }

    fn add_json(&mut self, name: &str, value: &Value) {
        // Values are scrubbed one by one, so that what remains is JSON.
        let value = scrubbed(value, &self.secrets);
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.put(name, &text);
    }

    fn add(&mut self, name: &str, text: &str) {
        let text = self.secrets.scrub(text);
        self.put(name, &text);
    }

    /// Puts in what is scrubbed; too much of it loses its beginning.
    fn put(&mut self, name: &str, text: &str) {
        let over = text.len().saturating_sub(self.room.saturating_sub(ENTRY_BYTES));
        let mut start = over.min(text.len());
        while !text.is_char_boundary(start) {
            start += 1;
        }
        let (cut, kept) = text.split_at(start);
        if !cut.is_empty() {
            self.missing.push(format!("{name}: its first {} bytes, to stay small", cut.len()));
        }
        self.room = self.room.saturating_sub(kept.len() + ENTRY_BYTES);
        self.zip.add(name, kept.as_bytes(), self.time());
    }

    fn lacks<T: Default>(&mut self, what: &str, why: Vec<String>) -> T {
        self.missing.push(format!("{what}: {}", why.join(": ")));
        T::default()
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("Gathering {what}");
        }
    }

    fn time(&self) -> jiff::civil::DateTime {
        jiff::tz::Offset::UTC.to_datetime(self.clock.wall())
    }

    fn finish(mut self) -> Vec<u8> {
        let mut readme = format!("Support bundle of {}\n\n{README}\n", self.clock.wall());
        if self.missing.is_empty() {
            readme.push_str("Nothing is missing.\n");
        } else {
            readme.push_str("Missing:\n");
        }
        for missing in self.missing.iter().take(MISSING_MAX) {
            // Writing to a string cannot fail.
            let _ = writeln!(readme, "- {}", self.secrets.scrub(missing).replace('\n', " "));
        }
        let time = self.time();
        self.zip.add("README.txt", readme.as_bytes(), time);
        self.zip.finish()
    }
}

fn too_slow() -> Vec<String> {
    vec!["it did not answer in time".to_owned()]
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(std::path::Path::new(path)).ok()?;
    Some(text.trim().to_owned())
}

/// A document whose texts are without secrets.
fn scrubbed(value: &Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => secrets.scrub(text).into(),
        Value::Array(values) => values.iter().map(|value| scrubbed(value, secrets)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| (secrets.scrub(name), scrubbed(value, secrets))).collect()
        }
        other => other.clone(),
    }
}

const README: &str = "\
check.json            what `iotedge check` finds
config.toml           the device's configuration; values that are not known to be harmless are redacted
inspect/              the modules' containers, redacted
list.json             the modules and what they do
logs/                 logs; secrets that are known, and what looks like one, are redacted
system_*.json         the machine
versions.json         versions

Look through it before you send it to anybody: a program may have written a secret to its log that
nobody can recognise.
";

/// The whole file.
const BUNDLE_BYTES_MAX: usize = 32 << 20;
/// Of them for the README and the file's own structure.
const OVERHEAD_BYTES: usize = 512 << 10;
/// What an entry costs beside its content: two headers and its name.
const ENTRY_BYTES: usize = 1024;
/// What the runtime's own log may take at most: some days at its usual level.
const JOURNAL_BYTES_MAX: usize = 8 << 20;
/// The journal finds the newest lines without going through the others.
const JOURNAL_LINES_MAX: u64 = 100_000;
/// Per source.
const SOURCE_TIME: Duration = Duration::from_secs(30);
/// The checks ask several sources, each with a limit of its own.
const CHECK_TIME: Duration = Duration::from_secs(120);
/// As a manifest may have, and then some.
const MODULES_MAX: usize = 100;
const INSPECT_BYTES_MAX: usize = 4 << 20;
const MISSING_MAX: usize = 500;
/// Its owner decides who sees it.
const FILE_MODE: u32 = 0o600;
