//! One event as one line of text, in each of the formats.

use std::fmt::Write;

use jiff::Timestamp;
use tracing::Level;

use super::severity;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `time=... level=info msg="..." key=value`.
    Logfmt,
    /// One JSON object per line.
    Json,
    /// `<6> 2026-11-23 09:08:03.123 +00:00 [INF] - text key=value`: what the IoT
    /// Edge modules write and what log filters of that world parse.
    EdgePrio,
}

/// An event, ready to be written.
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) is_fatal: bool,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: &'a [(&'static str, String)],
}

impl Line<'_> {
    /// The line with its end.
    pub(super) fn text(&self, format: Format) -> String {
        let mut text = match format {
            Format::Logfmt => self.logfmt(),
            Format::Json => self.json(),
            Format::EdgePrio => self.edge_prio(),
        };
        text.push('\n');
        text
    }

    fn logfmt(&self) -> String {
        let mut text = format!(
            "time={} level={} target={} msg=",
            rfc3339(self.time),
            self.level_name(),
            self.target
        );
        push_quoted(&mut text, self.message);
        self.push_fields(&mut text);
        text
    }

    fn json(&self) -> String {
        let mut text = format!(
            r#"{{"time":"{}","level":"{}","target":"#,
            rfc3339(self.time),
            self.level_name()
        );
        push_quoted(&mut text, self.target);
        text.push_str(r#","msg":"#);
        push_quoted(&mut text, self.message);
        for (name, value) in self.fields {
            text.push(',');
            push_quoted(&mut text, name);
            text.push(':');
            push_quoted(&mut text, value);
        }
        text.push('}');
        text
    }

    fn edge_prio(&self) -> String {
        let (priority, name) = severity(self.level, self.is_fatal);
        let mut text = format!(
            "<{priority}> {} +00:00 [{name}] - ",
            self.time.strftime("%Y-%m-%d %H:%M:%S.%3f")
        );
        push_escaped(&mut text, self.message, false);
        self.push_fields(&mut text);
        text
    }

    fn push_fields(&self, text: &mut String) {
        for (name, value) in self.fields {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            let is_plain = !value.is_empty()
                && value.chars().all(|char| {
                    !char.is_whitespace() && !char.is_control() && !"\"=\\".contains(char)
                });
            match is_plain {
                true => text.push_str(value),
                false => push_quoted(text, value),
            }
        }
    }

    fn level_name(&self) -> &'static str {
        match self.level {
            _ if self.is_fatal => "fatal",
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        }
    }
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    push_escaped(text, value, true);
    text.push('"');
}

/// Escapes as JSON does: control characters (C1 and the Unicode line ends too,
/// which some terminals obey), and in quotes also `"` and `\`.
fn push_escaped(text: &mut String, value: &str, in_quotes: bool) {
    for char in value.chars() {
        match char {
            '"' | '\\' if in_quotes => {
                text.push('\\');
                text.push(char);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(char));
            }
            char => text.push(char),
        }
    }
}
