//! `GetModuleLogs` (er §4.8): which lines of which modules a caller gets, and in which form.
//!
//! Logs are read beside the loop, so that they can be had while something is being deployed. What
//! does not fit into a method's answer is refused, never cut. Filters are the original's: `tail` is
//! applied before `regex` and `loglevel`, and `loglevel` means equal (T-LOGLEVEL).

use client::edge::{ManagementClient, Source as LogSource};
use iot_proto::management::{LogsQuery, Tail};
use regex_lite::{Regex, RegexBuilder};
use serde_json::{Value, json};

use crate::error::chain;

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct LogsRequest {
    items: Vec<Item>,
    form: Form,
}

#[derive(Debug)]
struct Item {
    /// Which modules.
    id: Regex,
    query: LogsQuery,
    level: Option<u8>,
    pattern: Option<Regex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Where the lines come from, for their JSON form.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) hub: String,
    pub(crate) device: String,
}

/// Why there are no logs; the words are for the caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogsError {
    /// It asked for something that there is not.
    Request(String),
    /// Something went wrong here.
    Failed(String),
}

impl LogsRequest {
    /// Reads a call's payload; otherwise what is wrong with it.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let payload: Value = serde_json::from_slice(payload)
            .map_err(|_| format!("payload is not JSON; send {EXAMPLE}"))?;
        super::methods::check_schema(&payload)?;
        let word = |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default();
        match word("encoding").to_ascii_lowercase().as_str() {
            "" | "none" => {}
            "gzip" => return Err("encoding gzip is not served; leave it out".into()),
            _ => return Err("encoding has to be \"none\"".into()),
        }
        let form = match word("contentType").to_ascii_lowercase().as_str() {
            "" | "text" => Form::Text,
            "json" => Form::Json,
            _ => return Err("contentType has to be \"text\" or \"json\"".into()),
        };
        let items = match payload.get("items") {
            Some(Value::Array(items)) => items.iter().map(Item::parse).collect::<Result<_, _>>()?,
            Some(item @ Value::Object(_)) => vec![Item::parse(item)?],
            _ => return Err(format!("items is missing; send {EXAMPLE}")),
        };
        if Vec::len(&items) > ITEMS_MAX {
            return Err(format!("items has more than {ITEMS_MAX} entries"));
        }
        Ok(Self { items, form })
    }

    /// Reads the logs; the body of the answer.
    pub(crate) async fn answer(
        &self,
        management: &ManagementClient,
        origin: &Origin,
    ) -> Result<String, LogsError> {
        let modules = management.modules().await.map_err(|error| failed(&error))?;
        let mut answer = Vec::new();
        let mut length = 0;
        for item in &self.items {
            let mut matched = false;
            for module in modules.iter().filter(|module| item.id.is_match(&module.name)) {
                matched = true;
                let lines = item.read(management, &module.name).await?;
                let payload = self.form.render(&lines, &module.name, origin);
                length += payload.len();
                answer.push(json!({"id": module.name, "payload": payload}));
                if length > ANSWER_BYTES_MAX {
                    return Err(too_large());
                }
            }
            if !matched {
                let id = item.id.as_str();
                return Err(LogsError::Request(format!("no module has an id that matches {id:?}")));
            }
        }
        let body = Value::Array(answer).to_string();
        if body.len() > ANSWER_BYTES_MAX { Err(too_large()) } else { Ok(body) }
    }
}

impl Item {
    fn parse(item: &Value) -> Result<Self, String> {
        let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
        let all = id.eq_ignore_ascii_case("all");
        let id = match id {
            "" => return Err(format!("id of an item is missing; send {EXAMPLE}")),
            id => pattern("id", if all { "" } else { id })?,
        };
        let no_filter = Value::Null;
        let filter = item.get("filter").unwrap_or(&no_filter);
        let number = |name: &str| match filter.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(format!("filter.{name} is not a whole number")),
            },
        };
        let time = |name: &str| match filter.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            // Seconds since 1970.
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(format!("filter.{name} is not a time")),
        };
        let level = match number("loglevel")? {
            None => None,
            Some(level) => match u8::try_from(level) {
                Ok(level) if level <= 7 => Some(level),
                _ => return Err("filter.loglevel is not within 0 to 7".into()),
            },
        };
        let pattern = match filter.get("regex") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(pattern("filter.regex", text)?),
            Some(_) => return Err("filter.regex is not a text".into()),
        };
        let query = LogsQuery {
            follow: false,
            tail: number("tail")?.map_or(Tail::All, Tail::Lines),
            since: time("since")?,
            until: time("until")?,
            timestamps: true,
        };
        Ok(Self { id, query, level, pattern })
    }

    async fn read(
        &self,
        management: &ManagementClient,
        module: &str,
    ) -> Result<Vec<Line>, LogsError> {
        let mut stream = match management.logs(module, &self.query).await {
            Ok(stream) => stream,
            // The agent has no log of its own: that is the daemon's.
            Err(error) if error.status() == Some(404) && module == "edgeAgent" => {
                return Ok(Vec::new());
            }
            Err(error) if error.status() == Some(400) => {
                return Err(LogsError::Request(chain(&error)));
            }
            Err(error) => return Err(failed(&error)),
        };
        let mut lines = Lines::default();
        while let Some(chunk) = stream.next().await.map_err(|error| failed(&error))? {
            lines.push(chunk.source, &chunk.bytes);
            if lines.bytes > READ_BYTES_MAX {
                return Err(too_large());
            }
        }
        let keeps = |line: &Line| {
            self.level.is_none_or(|level| line.level() == level)
                && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.text))
        };
        Ok(lines.finish().into_iter().filter(keeps).collect())
    }
}

/// A line of a log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    source: LogSource,
    /// When the engine got it.
    time: String,
    text: String,
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
    fn level(&self) -> u8 {
        let number = self.text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let number = number.and_then(|(number, _)| number.parse::<u8>().ok());
        number.filter(|level| *level <= 7).unwrap_or(LEVEL_INFO)
    }
}

/// Puts lines together from pieces of either stream.
#[derive(Default)]
struct Lines {
    output: Vec<u8>,
    error: Vec<u8>,
    lines: Vec<Line>,
    bytes: usize,
}

impl Lines {
    fn push(&mut self, source: LogSource, bytes: &[u8]) {
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

    fn finish(mut self) -> Vec<Line> {
        for (source, rest) in [(LogSource::Output, self.output), (LogSource::Error, self.error)] {
            if !rest.is_empty() {
                self.lines.push(Line::of(source, &rest));
            }
        }
        self.lines
    }
}

impl Form {
    fn render(self, lines: &[Line], module: &str, origin: &Origin) -> String {
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

fn pattern(name: &str, text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("{name} is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    RegexBuilder::new(text)
        .case_insensitive(true)
        .build()
        .map_err(|error| format!("{name} is not a regular expression: {error}"))
}

fn failed(error: &client::edge::EdgeError) -> LogsError {
    LogsError::Failed(chain(error))
}

fn too_large() -> LogsError {
    LogsError::Request(format!(
        "the logs are larger than an answer may be ({ANSWER_BYTES_MAX} bytes); ask for fewer lines \
         with filter.tail, or for fewer modules"
    ))
}

/// What the original answers at most (T-LOGLEVEL).
const ANSWER_BYTES_MAX: usize = 127_000;
/// Read before filters; a hundred times what can be answered.
const READ_BYTES_MAX: usize = 100 * ANSWER_BYTES_MAX;
/// As many as a device has modules at most, and some.
const ITEMS_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 1024;
/// The level of a line that names none.
const LEVEL_INFO: u8 = 6;
const EXAMPLE: &str =
    "{\"schemaVersion\":\"1.0\",\"items\":[{\"id\":\"<module>\",\"filter\":{\"tail\":100}}]}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_wrong_ones_named() {
        let one = br#"{"schemaVersion":"1.0","items":{"id":"^edge","filter":{"tail":7,"since":"1d","until":1700000000,"loglevel":3,"regex":"x"}},"contentType":"JSON"}"#;
        let request = LogsRequest::parse(one).unwrap();
        let item = &request.items[0];
        assert!(item.id.is_match("EdgeHub") && !item.id.is_match("myedge"));
        assert_eq!((item.query.tail, item.level), (Tail::Lines(7), Some(3)));
        assert_eq!(item.query.since.as_deref(), Some("1d"));
        assert_eq!(item.query.until.as_deref(), Some("1700000000"));
        assert_eq!(request.form, Form::Json);
        let all = LogsRequest::parse(br#"{"items":[{"id":"all"}]}"#).unwrap();
        assert!(all.items[0].id.is_match("anything"));
        for (payload, expected) in [
            ("", "payload is not JSON"),
            ("{}", "items is missing"),
            (r#"{"schemaVersion":"2","items":[]}"#, "schemaVersion has to be"),
            (r#"{"items":[{}]}"#, "id of an item is missing"),
            (r#"{"items":[{"id":"("}]}"#, "id is not a regular expression"),
            (r#"{"items":[{"id":"a","filter":{"tail":-1}}]}"#, "filter.tail is not a whole number"),
            (r#"{"items":[{"id":"a","filter":{"loglevel":8}}]}"#, "filter.loglevel is not within"),
            (r#"{"items":[{"id":"a","filter":{"regex":1}}]}"#, "filter.regex is not a text"),
            (r#"{"items":[{"id":"a"}],"encoding":"gzip"}"#, "encoding gzip is not served"),
            (r#"{"items":[{"id":"a"}],"contentType":"xml"}"#, "contentType has to be"),
        ] {
            let message = LogsRequest::parse(payload.as_bytes()).unwrap_err();
            assert!(message.starts_with(expected), "{payload}: {message}");
        }
    }

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
