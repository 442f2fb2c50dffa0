//! Log lines on stderr, one per event: logfmt, JSON, or the IoT Edge form.
//!
//! Times are UTC in RFC 3339. Everything that comes from outside is escaped, so
//! that a peer cannot start a line of its own. The level can be changed while
//! the program runs (SIGHUP). What is logged at which level is in STYLE.md.

use std::error::Error as StdError;
use std::fmt;
use std::io::Write;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

mod line;

pub use self::line::Format;
use self::line::Line;

/// The logs could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The level is not understood.
    #[error(
        "log level {text:?} is not understood; use error, warn, info, debug or trace, \
         or a list such as info,hub=debug"
    )]
    Level {
        /// What was given.
        text: String,
    },
    /// A subscriber is installed already.
    #[error("logging is set up already")]
    Twice,
}

/// Changes the level of running logs.
#[derive(Clone)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Starts logging to stderr for the whole process. `level` is a level or a list
/// like `info,hub=debug`.
pub fn init(format: Format, level: &str) -> Result<Logs, LogError> {
    let (filter, handle) = reload::Layer::new(parse_level(level)?);
    tracing_subscriber::registry()
        .with(filter)
        .with(Lines::new(format, Stderr))
        .try_init()
        .map_err(|_| LogError::Twice)?;
    Ok(Logs { filter: handle })
}

impl Logs {
    /// Changes the level from now on.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        // Fails only if the subscriber is gone, and then nobody logs.
        let _ = self.filter.reload(filter);
        Ok(())
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

fn parse_level(text: &str) -> Result<EnvFilter, LogError> {
    // The other names are the IoT Edge runtime's own (`RuntimeLogLevel`).
    let directives = match text.trim().to_ascii_lowercase().as_str() {
        "fatal" => "error".to_owned(),
        "warning" => "warn".to_owned(),
        "information" => "info".to_owned(),
        "verbose" => "trace".to_owned(),
        _ => text.trim().to_owned(),
    };
    let refused = || LogError::Level { text: text.to_owned() };
    // A bare word is taken for a target by the parser; here it is a mistake.
    let all_have_levels = !directives.is_empty()
        && directives.split(',').all(|directive| {
            let level = directive.rsplit('=').next().unwrap_or(directive);
            level.parse::<tracing::level_filters::LevelFilter>().is_ok()
        });
    match all_have_levels {
        true => EnvFilter::try_new(directives).map_err(|_| refused()),
        false => Err(refused()),
    }
}

/// Where whole lines go.
trait Sink: Send + Sync + 'static {
    fn line(&self, line: &str);
}

struct Stderr;

impl Sink for Stderr {
    fn line(&self, line: &str) {
        // One write, so that lines of several processes do not mix. If stderr
        // is gone there is nowhere to tell it.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// The layer: collects an event's fields and those of the spans around it.
struct Lines<S> {
    format: Format,
    sink: S,
}

impl<S> Lines<S> {
    fn new(format: Format, sink: S) -> Self {
        Self { format, sink }
    }
}

impl<C, S> Layer<C> for Lines<S>
where
    C: Subscriber + for<'a> LookupSpan<'a>,
    S: Sink,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, C>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, C>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, C>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.values.extend(outer.values.iter().cloned());
            }
        }
        let line = Line {
            time: Timestamp::now(),
            level: *event.metadata().level(),
            is_fatal: fields.is_fatal,
            target: event.metadata().target(),
            message: &fields.message,
            fields: &fields.values,
        };
        self.sink.line(&line.text(self.format));
    }
}

/// Fields as text, in order. A boolean field `fatal` marks the last words of a
/// process that cannot go on; it is shown as the level, not as a field.
#[derive(Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, String)>,
    is_fatal: bool,
}

impl Fields {
    fn push(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            name => self.values.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "fatal" => self.is_fatal = value,
            _ => self.push(field, value.to_string()),
        }
    }

    /// The whole chain of causes.
    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.push(field, chain(value));
    }
}

/// An error with its sources, as one text: `cannot read x: permission denied`.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers say the same again.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The severity of an event, as syslog numbers it (RFC 5424 §6.2.1).
fn severity(level: Level, is_fatal: bool) -> (u8, &'static str) {
    match level {
        _ if is_fatal => (0, "FTL"),
        Level::ERROR => (3, "ERR"),
        Level::WARN => (4, "WRN"),
        Level::INFO => (6, "INF"),
        Level::DEBUG => (7, "DBG"),
        Level::TRACE => (7, "VRB"),
    }
}

#[cfg(test)]
mod tests;
