//! Durable records a second and acknowledgement latency of the journal, beside
//! what the disk itself does and two embedded databases, on the same disk in
//! the same run. Started by `cargo xtask bench journal`.
//!
//! Each contender serves so many writers, each of which appends one record,
//! waits until it is durable, and appends the next:
//! - *bare*: one loop that overwrites a pre-allocated file with a batch of as
//!   many records as there are writers, then `fdatasync`; nothing else.
//! - *journal*: this crate, writers as tasks on one runtime thread.
//! - *sqlite*: one thread with a transaction for all who wait, WAL, synchronous=FULL.
//! - *fjall*: one thread with a batch for all who wait, then `persist(SyncAll)`.
//!
//! Arguments: `--seconds N` for each measurement (3), `--dir DIR` (a temporary
//! directory under target), `--json FILE`, `--only NAME`; or `--backlog`: what a
//! million stored records cost in memory, at opening and when they are read.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark's report; it may die")]

mod backlog;
mod contenders;

use std::path::{Path, PathBuf};
use std::time::Duration;

use contenders::{Figures, Load};

fn main() {
    let arguments = Arguments::parse();
    if arguments.backlog {
        backlog::run(&arguments.dir);
        return;
    }
    let mut rows = Vec::new();
    for record_bytes in [300, 1024] {
        for writers in [1, 32, 512] {
            let duration = arguments.duration / ROUNDS;
            let load = Load { writers, record_bytes, duration };
            rows.extend(measure(&arguments, &load));
            print_group(&rows, &load);
        }
    }
    if let Some(path) = &arguments.json {
        host::fs::write_atomic(path, to_json(&rows).as_bytes(), 0o644).unwrap();
    }
}

/// Runs all contenders in turns, so that a disk that changes its mood does so
/// to all of them.
fn measure(arguments: &Arguments, load: &Load) -> Vec<Row> {
    let chosen = contenders::ALL
        .iter()
        .filter(|(name, _)| arguments.only.as_deref().is_none_or(|only| only == *name));
    let mut contenders: Vec<_> = chosen
        .map(|(name, set_up)| {
            let dir = arguments.dir.join(name);
            host::fs::create_private_dir(&dir).unwrap();
            let row = Row { load: load.clone(), name, figures: Figures::default() };
            (set_up(&dir), row)
        })
        .collect();
    for _ in 0..ROUNDS {
        for (run, row) in &mut contenders {
            row.figures.add(run(load));
        }
    }
    let rows = contenders.into_iter().map(|(_, row)| row).collect();
    host::fs::remove_dir_all(&arguments.dir).unwrap();
    rows
}

struct Row {
    load: Load,
    name: &'static str,
    figures: Figures,
}

fn print_group(rows: &[Row], load: &Load) {
    let (writers, record_bytes) = (load.writers, load.record_bytes);
    let of_group: Vec<_> = rows
        .iter()
        .filter(|row| row.load.writers == writers && row.load.record_bytes == record_bytes)
        .collect();
    println!("\n{writers} writers, records of {record_bytes} bytes");
    println!(
        "  contender   records/s   to bare   ack p50 ms   p99 ms   p50 to bare   records/sync   cpu us/record"
    );
    let bare = of_group.iter().find(|row| row.name == "bare").map(|row| &row.figures);
    for row in &of_group {
        let figures = &row.figures;
        let rate = bare.map_or(f64::NAN, |bare| figures.rate() / bare.rate());
        let p50 = bare.map_or(f64::NAN, |bare| figures.quantile(50.0) / bare.quantile(50.0));
        println!(
            "  {:9} {:11.0} {:9.2} {:12.3} {:8.3} {:13.2} {:14.1} {:15.2}",
            row.name,
            figures.rate(),
            rate,
            figures.quantile(50.0) * 1e3,
            figures.quantile(99.0) * 1e3,
            p50,
            figures.records_a_sync(),
            figures.cpu_a_record() * 1e6,
        );
    }
}

fn to_json(rows: &[Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            format!(
                "{{\"contender\":\"{}\",\"writers\":{},\"record_bytes\":{},\"records_per_second\":{:.0},\
                 \"ack_p50_ms\":{:.4},\"ack_p99_ms\":{:.4},\"records_per_sync\":{:.1},\"cpu_us_per_record\":{:.2}}}",
                row.name,
                row.load.writers,
                row.load.record_bytes,
                row.figures.rate(),
                row.figures.quantile(50.0) * 1e3,
                row.figures.quantile(99.0) * 1e3,
                row.figures.records_a_sync(),
                row.figures.cpu_a_record() * 1e6,
            )
        })
        .collect();
    format!("[{}]\n", rows.join(",\n "))
}

struct Arguments {
    duration: Duration,
    dir: PathBuf,
    json: Option<PathBuf>,
    only: Option<String>,
    backlog: bool,
}

impl Arguments {
    fn parse() -> Self {
        let mut parsed = Self {
            duration: Duration::from_secs(3),
            dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("journal-bench"),
            json: None,
            only: None,
            backlog: false,
        };
        let words = host::env::args().into_iter().skip(1);
        let mut words = words.map(|word| word.into_string().unwrap());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--backlog" => parsed.backlog = true,
                "--seconds" => {
                    let seconds = words.next().and_then(|word| word.parse().ok());
                    parsed.duration = Duration::from_secs_f64(seconds.expect("--seconds NUMBER"));
                }
                "--dir" => {
                    parsed.dir = words.next().expect("--dir DIR").into();
                    parsed.dir.push("journal-bench");
                }
                "--json" => parsed.json = Some(words.next().expect("--json FILE").into()),
                "--only" => parsed.only = words.next(),
                // Cargo passes this to every benchmark.
                "--bench" => {}
                other => panic!("unknown argument {other}"),
            }
        }
        parsed
    }
}

/// How often the contenders take turns.
const ROUNDS: u32 = 10;
