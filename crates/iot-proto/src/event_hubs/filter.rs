//! Where a receiver begins: the filter of its source (sa §9.5).
//!
//! `amqp.annotation.{name} > '{value}'` with `>` or `>=`, the value quoted or not. Offsets are the
//! sequence numbers as texts, times milliseconds since 1970; a time is compared with what the
//! event's annotation says, which has milliseconds, too.

use ::amqp::{Map, Symbol, Value};
use jiff::Timestamp;

use crate::rest::EventStart;

/// Why a filter cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// It is no text.
    #[error("the filter {NAME} is not a text")]
    NotText,
    /// It is longer than any that means something.
    #[error("the filter has {0} characters; at most {LENGTH_MAX} are allowed")]
    TooLong(usize),
    /// It is not `amqp.annotation.{name} > {value}`.
    #[error("the filter is not `amqp.annotation.{{name}} > {{value}}`, with > or >=")]
    Shape,
    /// It compares something that cannot be compared with.
    #[error(
        "the filter compares an unknown annotation; take x-opt-offset, x-opt-sequence-number or \
         x-opt-enqueued-time"
    )]
    Annotation,
    /// The value is no number, or out of bounds.
    #[error("the filter's value is not a number that an event can have")]
    Value,
}

/// The filter's name in the map, and its descriptor.
pub const NAME: &str = "apache.org:selector-filter:string";
/// Its descriptor as a number, as JavaScript sends it.
pub const DESCRIPTOR: u64 = 0x0000_468c_0000_0004;
/// Longer than any filter that clients build.
const LENGTH_MAX: usize = 256;

/// Where a receiver with this filter begins. Without one it begins at the oldest event.
pub fn start(filter: &Map) -> Result<EventStart, FilterError> {
    match filter.get(NAME) {
        None | Some(Value::Null) => Ok(EventStart::Start),
        Some(Value::Described(described)) => match described.value.as_text() {
            Some(text) => parse(text),
            None => Err(FilterError::NotText),
        },
        Some(value) => value.as_text().map_or(Err(FilterError::NotText), parse),
    }
}

/// What the answer says was followed: the one filter that is understood, as it was sent.
pub fn followed(filter: &Map) -> Map {
    filter.iter().filter(|(name, _)| name.as_text() == Some(NAME)).cloned().collect()
}

/// Reads a filter's text.
pub fn parse(text: &str) -> Result<EventStart, FilterError> {
    if text.len() > LENGTH_MAX {
        return Err(FilterError::TooLong(text.len()));
    }
    let text = text.trim();
    let rest = text
        .get(..PREFIX.len())
        .filter(|head| head.eq_ignore_ascii_case(PREFIX))
        .map(|_| &text[PREFIX.len()..])
        .ok_or(FilterError::Shape)?;
    let (annotation, value) = rest.split_once('>').ok_or(FilterError::Shape)?;
    let (inclusive, value) = match value.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, value),
    };
    let value = unquoted(value.trim()).ok_or(FilterError::Shape)?;
    match annotation.trim().to_ascii_lowercase().as_str() {
        "x-opt-offset" if value.eq_ignore_ascii_case("@latest") => Ok(EventStart::End),
        "x-opt-offset" | "x-opt-sequence-number" => from_number(value, inclusive),
        "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => from_time(value, inclusive),
        _ => Err(FilterError::Annotation),
    }
}

/// The filter that begins there, for a client.
pub fn build(start: EventStart) -> Map {
    let text = match start {
        EventStart::Start => format!("{PREFIX}x-opt-offset > '-1'"),
        EventStart::End => format!("{PREFIX}x-opt-offset > '@latest'"),
        EventStart::Sequence(number) => format!("{PREFIX}x-opt-sequence-number >= '{number}'"),
        EventStart::Time(time) => {
            format!("{PREFIX}x-opt-enqueued-time >= '{}'", time.as_millisecond())
        }
    };
    let name = Symbol::from_static(NAME);
    [(name.clone(), Value::described(name, text))].into_iter().collect()
}

fn unquoted(text: &str) -> Option<&str> {
    match text.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\''),
        None => Some(text),
    }
}

/// `> '-1'` is what clients say for the beginning.
fn from_number(value: &str, inclusive: bool) -> Result<EventStart, FilterError> {
    let number: i64 = value.parse().map_err(|_| FilterError::Value)?;
    match u64::try_from(number) {
        Err(_) => Ok(EventStart::Start),
        Ok(number) => Ok(EventStart::Sequence(if inclusive { number } else { number + 1 })),
    }
}

fn from_time(value: &str, inclusive: bool) -> Result<EventStart, FilterError> {
    let at: i64 = value.parse().map_err(|_| FilterError::Value)?;
    let first = if inclusive { at } else { at.saturating_add(1) };
    // Before all times there are is before all events; beyond them there will never be one.
    match Timestamp::from_millisecond(first) {
        Ok(time) => Ok(EventStart::Time(time)),
        Err(_) if first < 0 => Ok(EventStart::Start),
        Err(_) => Err(FilterError::Value),
    }
}

const PREFIX: &str = "amqp.annotation.";

#[cfg(test)]
mod tests {
    use super::*;

    fn time(ms: i64) -> EventStart {
        EventStart::Time(Timestamp::from_millisecond(ms).unwrap())
    }

    /// The spellings of sa §9.5, and those near them.
    #[test]
    fn every_spelling_of_the_clients_is_followed() {
        use EventStart::{End, Sequence, Start};
        for (text, start) in [
            ("amqp.annotation.x-opt-offset > '-1'", Start),
            ("amqp.annotation.x-opt-offset >= '-1'", Start),
            ("amqp.annotation.x-opt-offset > '@latest'", End),
            ("amqp.annotation.x-opt-offset > '@LATEST'", End),
            ("amqp.annotation.x-opt-offset >= '17'", Sequence(17)),
            ("amqp.annotation.x-opt-offset > '17'", Sequence(18)),
            ("amqp.annotation.x-opt-sequence-number > '5'", Sequence(6)),
            ("amqp.annotation.x-opt-sequence-number >= '5'", Sequence(5)),
            ("amqp.annotation.x-opt-sequence-number > '-1'", Start),
            ("amqp.annotation.x-opt-sequence-number > 9223372036854775807", Sequence(1 << 63)),
            ("amqp.annotation.x-opt-enqueued-time > '1704067200000'", time(1_704_067_200_001)),
            ("amqp.annotation.x-opt-enqueued-time >= '1704067200000'", time(1_704_067_200_000)),
            ("amqp.annotation.x-opt-enqueuedtimeutc > 1795450071890", time(1_795_450_071_891)),
            ("amqp.annotation.x-opt-enqueuedtimeutc > 0", time(1)),
            ("amqp.annotation.x-opt-enqueued-time > '-99999999999999999'", Start),
            ("  AMQP.Annotation.X-Opt-Offset>='1'  ", Sequence(1)),
        ] {
            assert_eq!(parse(text), Ok(start), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        use FilterError::{Annotation, Shape, TooLong, Value};
        let long = format!("amqp.annotation.x-opt-offset > '{}'", "1".repeat(300));
        for (text, error) in [
            ("", Shape),
            ("x-opt-offset > '1'", Shape),
            ("amqp.annotation.x-opt-offset < '1'", Shape),
            ("amqp.annotation.x-opt-offset > '1", Shape),
            ("amqp.annotation.x-opt-offset > ''", Value),
            ("amqp.annotation.x-opt-offset > 'a'", Value),
            ("amqp.annotation.x-opt-offset > '1' OR 1=1", Shape),
            ("amqp.annotation.x-opt-sequence-number > '@latest'", Value),
            ("amqp.annotation.x-opt-sequence-number > '9223372036854775808'", Value),
            ("amqp.annotation.x-opt-enqueued-time > '9223372036854775807'", Value),
            ("amqp.annotation.x-opt-partition-key > '1'", Annotation),
            (&long, TooLong(long.len())),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_map_holds_it_described_by_a_name_or_a_number() {
        let text = "amqp.annotation.x-opt-offset > '4'";
        let map = |value: Value| -> Map {
            [(Symbol::from_static(NAME), value), (Symbol::from_static("other"), true.into())]
                .into_iter()
                .collect()
        };
        for value in [
            Value::described(Symbol::from_static(NAME), text),
            Value::described(DESCRIPTOR, text),
            Value::from(text),
        ] {
            let filter = map(value.clone());
            assert_eq!(start(&filter), Ok(EventStart::Sequence(5)));
            let echo = followed(&filter);
            assert_eq!((echo.len(), echo.get(NAME)), (1, Some(&value)));
        }
        assert_eq!(start(&Map::new()), Ok(EventStart::Start));
        assert_eq!(start(&map(Value::Null)), Ok(EventStart::Start));
        for value in [Value::from(4_i64), Value::described(DESCRIPTOR, 4_i64)] {
            assert_eq!(start(&map(value)), Err(FilterError::NotText));
        }
    }

    #[test]
    fn what_is_built_is_read_back() {
        for from in [EventStart::Start, EventStart::End, EventStart::Sequence(0), time(1_704)] {
            assert_eq!(start(&build(from)), Ok(from));
        }
    }
}
