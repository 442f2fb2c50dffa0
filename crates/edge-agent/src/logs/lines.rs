//! From pieces of two streams to lines, and from lines to text or JSON. Pure.

use client::edge::Source as LogSource;
use serde_json::{Value, json};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the module wrote them.
    Text,
    /// An array of objects.
    Json,
}

/// Where the lines come from, for their JSON form.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) hub: String,
    pub(crate) device: String,
}

/// A line of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    source: LogSource,
    /// When the engine got it.
    time: String,
    pub(super) text: String,
}

impl Line {
    fn of(source: LogSource, raw: &[u8]) -> Self {
        let raw = String::from_utf8_lossy(raw);
        let raw = raw.trim_end_matches(['\n', '\r']);
        let (time, text) = match raw.split_once(' ') {
            Some((time, text)) if time.parse::<jiff::Timestamp>().is_ok() => (time, text),
            _ => ("", raw),
        };
        Self { source, time: time.to_owned(), text: text.to_owned() }
    }

    /// The number that a line may begin with, as syslog has it: `<6> ...`.
    pub(super) fn level(&self) -> u8 {
        let number = self.text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let number = number.and_then(|(number, _)| number.parse::<u8>().ok());
        number.filter(|level| *level <= 7).unwrap_or(LEVEL_INFO)
    }
}

/// Puts lines together from pieces of either stream.
#[derive(Default)]
pub(super) struct Lines {
    output: Vec<u8>,
    error: Vec<u8>,
    lines: Vec<Line>,
    /// Bytes that came in.
    pub(super) bytes: usize,
}

impl Lines {
    pub(super) fn push(&mut self, source: LogSource, bytes: &[u8]) {
        self.bytes += bytes.len();
        let rest = match source {
            LogSource::Output => &mut self.output,
            LogSource::Error => &mut self.error,
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.lines.push(Line::of(source, rest));
                rest.clear();
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<Line> {
        for (source, rest) in [(LogSource::Output, self.output), (LogSource::Error, self.error)] {
            if !rest.is_empty() {
                self.lines.push(Line::of(source, &rest));
            }
        }
        self.lines
    }
}

impl Form {
    pub(super) fn render(self, lines: &[Line], module: &str, origin: &Origin) -> String {
        match self {
            Self::Text => lines.iter().map(|line| format!("{}\n", line.text)).collect(),
            Self::Json => {
                let entry = |line: &Line| {
                    json!({
                        "iothub": origin.hub,
                        "device": origin.device,
                        "id": module,
                        "stream": match line.source {
                            LogSource::Output => "stdout",
                            LogSource::Error => "stderr",
                        },
                        "loglevel": line.level(),
                        "text": line.text,
                        "timestamp": line.time,
                    })
                };
                Value::Array(lines.iter().map(entry).collect()).to_string()
            }
        }
    }
}

/// The level of a line that names none.
const LEVEL_INFO: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_their_levels_read() {
        let mut lines = Lines::default();
        lines.push(LogSource::Output, b"2026-11-25T00:00:00.5Z <3> ba");
        lines.push(LogSource::Error, b"2026-11-25T00:00:01Z plain\r\n");
        lines.push(LogSource::Output, b"d\nno time");
        let lines = lines.finish();
        let seen: Vec<_> = lines
            .iter()
            .map(|line| (line.time.as_str(), line.text.as_str(), line.level()))
            .collect();
        assert_eq!(
            seen,
            [
                ("2026-11-25T00:00:01Z", "plain", 6),
                ("2026-11-25T00:00:00.5Z", "<3> bad", 3),
                ("", "no time", 6),
            ]
        );
        let origin = Origin { hub: "h".into(), device: "d".into() };
        assert_eq!(Form::Text.render(&lines[..2], "m", &origin), "plain\n<3> bad\n");
        let json: Value =
            serde_json::from_str(&Form::Json.render(&lines[..1], "m", &origin)).unwrap();
        assert_eq!(
            json,
            json!([{"iothub": "h", "device": "d", "id": "m", "stream": "stderr", "loglevel": 6,
                "text": "plain", "timestamp": "2026-11-25T00:00:01Z"}])
        );
    }
}
