//! Between our texts and AMQP's types.

use ::amqp::{Symbol, Value};
use jiff::Timestamp;

/// A text or a whole number as text, where peers mix them up.
pub(super) fn text(value: &Value) -> Option<String> {
    match value.as_text() {
        Some(text) => Some(text.to_owned()),
        None => value.as_i64().map(|number| number.to_string()),
    }
}

/// A time of the wire; none for one that our calendar has not.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(milliseconds) => Timestamp::from_millisecond(*milliseconds).ok(),
        _ => None,
    }
}

/// A text of ours where AMQP wants a symbol, which is ASCII: what is not becomes `?`.
pub(super) fn symbol(text: &str) -> Option<Symbol> {
    match Symbol::try_from(text) {
        Ok(symbol) => Some(symbol),
        Err(_) => {
            let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            Symbol::try_from(ascii).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_numbers_and_times_are_read() {
        for (value, expected) in [
            (Value::from("a"), Some("a")),
            (Value::from(Symbol::from_static("s")), Some("s")),
            (Value::from(-5_i32), Some("-5")),
            (Value::Null, None),
            (Value::from(true), None),
        ] {
            assert_eq!(text(&value).as_deref(), expected, "{value:?}");
        }
        assert_eq!(time(&Value::Timestamp(0)), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(time(&Value::Timestamp(i64::MAX)), None);
        assert_eq!(time(&Value::from(0_i64)), None);
        assert_eq!(symbol("text/\u{e4}").unwrap(), "text/?");
    }
}
