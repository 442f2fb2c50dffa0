//! The engine's endless answers: logs and events.

use std::collections::HashMap;
use std::future::ready;

use bollard::container::LogOutput;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, LogsOptions};
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::create::{LABEL_OWNER, OWNER};
use super::engine::Engine;
use crate::{
    EventStream, LogFrame, LogOptions, LogSource, LogStream, ModuleEvent, ModuleEventKind,
};

/// The log of the container with this id.
pub(super) fn logs(engine: &Engine, id: &str, options: &LogOptions) -> LogStream {
    let engine = engine.clone();
    // podman does not end a log at a time, so that is done here.
    let end = options.until.filter(|_| engine.is_podman());
    let keeps_times = options.timestamps || end.is_none();
    let asked = LogOptions { timestamps: options.timestamps || end.is_some(), ..options.clone() };
    let frames = engine
        .with_query(log_query(&asked))
        .logs(id, Some(LogsOptions { stdout: true, ..Default::default() }))
        .map(move |frame| frame.map(log_frame).map_err(|source| engine.error(source)))
        .try_take_while(move |frame| ready(Ok(end.is_none_or(|end| !is_after(frame, end)))))
        .map_ok(move |frame| if keeps_times { frame } else { without_time(frame) });
    Box::pin(frames)
}

/// Whether a frame that begins with its time is later. Older podmans tell whole seconds.
fn is_after(frame: &LogFrame, end: Timestamp) -> bool {
    let time = frame.bytes.split(|byte| *byte == b' ').next();
    let time = time.and_then(|time| std::str::from_utf8(time).ok()?.parse::<Timestamp>().ok());
    time.is_some_and(|time| time > end)
}

fn without_time(frame: LogFrame) -> LogFrame {
    match frame.bytes.iter().position(|byte| *byte == b' ') {
        Some(space) => LogFrame { bytes: frame.bytes.slice(space + 1..), ..frame },
        None => frame,
    }
}

/// What happens to owned containers from `since` on. The request goes out when
/// the stream is first polled; the engine remembers what happened until then.
pub(super) fn events(engine: &Engine, since: Timestamp) -> EventStream {
    let mut filters: HashMap<&str, Vec<String>> =
        [("type", vec!["container".to_owned()]), ("label", vec![format!("{LABEL_OWNER}={OWNER}")])]
            .into();
    // podman filters by names that it does not say.
    if !engine.is_podman() {
        filters.insert("event", ["start", "die", "destroy"].map(str::to_owned).to_vec());
    }
    let options = EventsOptionsBuilder::new().since(&engine_time(since)).filters(&filters).build();
    let engine = engine.clone();
    let events = engine.docker().events(Some(options)).filter_map(move |event| {
        ready(event.map_err(|source| engine.error(source)).map(module_event).transpose())
    });
    Box::pin(events)
}

fn log_frame(output: LogOutput) -> LogFrame {
    match output {
        LogOutput::StdErr { message } => LogFrame { source: LogSource::Stderr, bytes: message },
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => LogFrame { source: LogSource::Stdout, bytes: message },
    }
}

pub(super) fn log_query(options: &LogOptions) -> String {
    let mut query = format!(
        "stdout=true&stderr=true&follow={}&timestamps={}&tail={}",
        options.follow,
        options.timestamps,
        options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
    );
    for (key, time) in [("since", options.since), ("until", options.until)] {
        if let Some(time) = time {
            query.push_str(&format!("&{key}={}", engine_time(time)));
        }
    }
    query
}

/// Seconds with nine decimals. Before 1970 is no bound to the engine either, and
/// its parser takes no sign there.
fn engine_time(time: Timestamp) -> String {
    let nanos = time.as_nanosecond().max(0);
    format!("{}.{:09}", nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND)
}

fn module_event(message: EventMessage) -> Option<ModuleEvent> {
    let kind = match message.action.as_deref() {
        Some("start") => ModuleEventKind::Started,
        Some("die") => ModuleEventKind::Ended,
        Some("destroy" | "remove") => ModuleEventKind::Removed,
        _ => return None,
    };
    let name = message.actor?.attributes?.get("name")?.parse().ok()?;
    Some(ModuleEvent { name, kind })
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;
