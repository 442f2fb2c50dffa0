//! `GetModuleLogs` and the logs of `UploadModuleLogs` (er §4.8): which lines of which modules a caller gets, and in which form.
//!
//! Logs are read beside the loop, so that they can be had while something is being deployed. What
//! does not fit into a method's answer is refused, never cut. Filters are the original's: `tail` is
//! applied before `regex` and `loglevel`, and `loglevel` means equal (T-LOGLEVEL).

mod lines;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::edge::ManagementClient;
use flate2::Compression;
use flate2::write::GzEncoder;
use iot_proto::management::{LogsQuery, Tail};
use regex_lite::{Regex, RegexBuilder};
use serde_json::{Value, json};

use crate::error::chain;
pub(crate) use lines::Origin;
use lines::{Form, Line, Lines};

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct LogsRequest {
    items: Vec<Item>,
    form: Form,
    encoding: Encoding,
}

/// Modules, and which of their lines.
#[derive(Debug)]
pub(crate) struct Item {
    /// Which modules.
    id: Regex,
    query: LogsQuery,
    level: Option<u8>,
    pattern: Option<Regex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    None,
    Gzip,
}

/// The log of a module as it was asked for.
pub(crate) struct ModuleLog {
    /// The module.
    pub(crate) module: String,
    /// Its lines, packed if that was asked for.
    pub(crate) bytes: Vec<u8>,
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
        let encoding = match word("encoding").to_ascii_lowercase().as_str() {
            "" | "none" => Encoding::None,
            "gzip" => Encoding::Gzip,
            _ => return Err("encoding has to be \"none\" or \"gzip\"".into()),
        };
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
        Ok(Self { items, form, encoding })
    }

    /// Reads the logs; the body of the answer.
    pub(crate) async fn answer(
        &self,
        management: &ManagementClient,
        origin: &Origin,
    ) -> Result<String, LogsError> {
        let mut answer = Vec::new();
        let mut length = 0;
        for (item, module) in self.matches(management).await? {
            let log = self.read(item, &module, management, origin).await?;
            let entry = match self.encoding {
                // It was made of text.
                Encoding::None => {
                    json!({"id": module, "payload": String::from_utf8_lossy(&log.bytes)})
                }
                Encoding::Gzip => {
                    json!({"id": module, "payloadBytes": STANDARD.encode(&log.bytes)})
                }
            };
            length += log.bytes.len();
            answer.push(entry);
            if length > ANSWER_BYTES_MAX {
                return Err(too_large());
            }
        }
        let body = Value::Array(answer).to_string();
        if body.len() > ANSWER_BYTES_MAX { Err(too_large()) } else { Ok(body) }
    }

    /// The modules whose logs are wanted, each with the item that wants it.
    pub(crate) async fn matches(
        &self,
        management: &ManagementClient,
    ) -> Result<Vec<(&Item, String)>, LogsError> {
        let modules = management.modules().await.map_err(|error| failed(&error))?;
        let mut matches = Vec::new();
        for item in &self.items {
            let before = matches.len();
            let names = modules.iter().map(|module| &module.name);
            let wanted = names.filter(|name| item.id.is_match(name));
            matches.extend(wanted.map(|name| (item, name.clone())));
            if matches.len() == before {
                let id = item.id.as_str();
                return Err(LogsError::Request(format!("no module has an id that matches {id:?}")));
            }
        }
        Ok(matches)
    }

    /// Reads one module's log.
    pub(crate) async fn read(
        &self,
        item: &Item,
        module: &str,
        management: &ManagementClient,
        origin: &Origin,
    ) -> Result<ModuleLog, LogsError> {
        let lines = item.read(management, module).await?;
        let text = self.form.render(&lines, module, origin).into_bytes();
        let bytes = match self.encoding {
            Encoding::None => text,
            Encoding::Gzip => gzip(&text).map_err(|error| LogsError::Failed(error.to_string()))?,
        };
        Ok(ModuleLog { module: module.to_owned(), bytes })
    }

    /// How a file of such a log ends (er §4.8).
    pub(crate) fn file_ending(&self) -> &'static str {
        match (self.form, self.encoding) {
            (Form::Text, Encoding::None) => "log",
            (Form::Text, Encoding::Gzip) => "log.gz",
            (Form::Json, Encoding::None) => "json",
            (Form::Json, Encoding::Gzip) => "json.gz",
        }
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

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
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
            (r#"{"items":[{"id":"a"}],"encoding":"zip"}"#, "encoding has to be"),
            (r#"{"items":[{"id":"a"}],"contentType":"xml"}"#, "contentType has to be"),
        ] {
            let message = LogsRequest::parse(payload.as_bytes()).unwrap_err();
            assert!(message.starts_with(expected), "{payload}: {message}");
        }
    }

    #[test]
    fn what_is_packed_is_what_gzip_unpacks() {
        let text = "a line of a log\n".repeat(1000);
        let packed = gzip(text.as_bytes()).unwrap();
        assert!(packed.starts_with(&[0x1f, 0x8b, 8]) && packed.len() < text.len() / 20);
        let mut unpacked = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&packed[..]);
        std::io::Read::read_to_string(&mut decoder, &mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }

    #[test]
    fn files_end_as_the_originals() {
        for (more, expected) in [
            ("", "log"),
            (r#","encoding":"GZip""#, "log.gz"),
            (r#","contentType":"json""#, "json"),
            (r#","contentType":"json","encoding":"gzip""#, "json.gz"),
        ] {
            let payload = format!(r#"{{"items":{{"id":"a"}}{more}}}"#);
            assert_eq!(LogsRequest::parse(payload.as_bytes()).unwrap().file_ending(), expected);
        }
    }
}
