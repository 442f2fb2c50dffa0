//! `iotedge logs`: what a module wrote, each of its two outputs to ours.

use std::io::Write;

use bytes::BytesMut;
use client::edge::{LogChunk, ManagementClient, Source};
use iot_proto::management::{LogsQuery, Tail};
use serde_json::json;

use super::failure::failed;
use super::{Form, Output};
use crate::commands::Failure;
use crate::output::{print_bytes, print_line};

/// Arguments of `iotedge logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Module name, such as edgeHub
    module: String,
    /// Go on with new lines until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines
    #[arg(long, value_name = "LINES", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// From when on: RFC 3339, Unix seconds, or how long ago
    #[arg(long, value_name = "TIME", default_value = "1 day")]
    since: String,
    /// Until when
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Put each line's time before it
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Arguments {
    pub(super) fn query(&self) -> LogsQuery {
        LogsQuery {
            follow: self.follow,
            tail: self.tail,
            since: Some(self.since.clone()),
            until: self.until.clone(),
            timestamps: self.timestamps,
        }
    }
}

pub(super) fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Lines).map_err(|_| "write a number, or all".to_owned()),
    }
}

pub(super) async fn run(
    management: &ManagementClient,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let mut log = management.logs(&arguments.module, &arguments.query()).await.map_err(failed)?;
    let mut lines = Lines::default();
    while let Some(chunk) = log.next().await.map_err(failed)? {
        match arguments.output.form {
            Form::Text => write(&chunk)?,
            Form::Json => lines.push(&chunk).into_iter().try_for_each(print_log_line)?,
        }
    }
    lines.rest().into_iter().try_for_each(print_log_line)
}

fn write(chunk: &LogChunk) -> Result<(), Failure> {
    match chunk.source {
        Source::Output => print_bytes(&chunk.bytes),
        Source::Error => {
            let mut stderr = std::io::stderr().lock();
            Ok(stderr.write_all(&chunk.bytes).and_then(|()| stderr.flush())?)
        }
    }
}

fn print_log_line((source, line): (Source, String)) -> Result<(), Failure> {
    let stream = match source {
        Source::Output => "stdout",
        Source::Error => "stderr",
    };
    print_line(&json!({ "stream": stream, "line": line }))
}

/// Puts lines together again that were cut on their way, per output.
#[derive(Default)]
pub(super) struct Lines {
    output: BytesMut,
    error: BytesMut,
}

impl Lines {
    /// Takes a piece; gives the lines that are whole now.
    pub(super) fn push(&mut self, chunk: &LogChunk) -> Vec<(Source, String)> {
        let buffer = match chunk.source {
            Source::Output => &mut self.output,
            Source::Error => &mut self.error,
        };
        buffer.extend_from_slice(&chunk.bytes);
        let mut lines = Vec::new();
        loop {
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
            // A line without end is cut, so that it cannot fill the memory.
            let end = end.or((buffer.len() >= LINE_BYTES_MAX).then_some(buffer.len()));
            let Some(end) = end else { return lines };
            let line = buffer.split_to(end);
            lines.push((chunk.source, text(&line)));
        }
    }

    /// What stands without a line end at the end.
    pub(super) fn rest(self) -> Vec<(Source, String)> {
        let rest = [(Source::Output, self.output), (Source::Error, self.error)];
        let rest = rest.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        rest.map(|(source, bytes)| (source, text(&bytes))).collect()
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned()
}

/// Engines cut lines at 16 KiB themselves.
const LINE_BYTES_MAX: usize = 64 * 1024;
