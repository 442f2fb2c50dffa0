//! What may stand in a twin: parsing with duplicates refused, keys, depths, sizes.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::Object;
use crate::limits;

/// Why a twin document or patch is refused. `path` names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TwinError {
    /// The text is not JSON, or not an object.
    #[error("the body is not a JSON object: {0}")]
    NotAnObject(String),
    /// A section of the document is not an object.
    #[error("{0} is not a JSON object")]
    SectionNotAnObject(String),
    /// A key that the rules forbid.
    #[error("key {key:?} at {path} {reason}")]
    Key {
        /// Where.
        path: String,
        /// The key, shortened.
        key: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A value that the rules forbid.
    #[error("value at {path} {reason}")]
    Value {
        /// Where.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The section would be larger than it may be.
    #[error("{section} would have {size_bytes} bytes; at most {limit_bytes} are allowed")]
    TooLarge {
        /// Which section.
        section: &'static str,
        /// Its size after the change.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The section would hold more values that count nothing than is sensible. The bound is ours.
    #[error("{section} would have more than {limit} empty values, arrays and objects")]
    TooMany {
        /// Which section.
        section: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// Reads a JSON object; a key that stands twice, a number that does not fit and a lone surrogate
/// are refused.
pub fn parse_object(text: &[u8]) -> Result<Object, TwinError> {
    match serde_json::from_slice::<Strict>(text) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err(TwinError::NotAnObject("it is another kind of value".into())),
        Err(error) => Err(TwinError::NotAnObject(error.to_string())),
    }
}

/// Drops `$metadata` and `$version`, which clients echo; any other `$` key is refused later by
/// [`check_section`].
pub(super) fn strip_read_only(
    mut patch: Object,
    section: &'static str,
) -> Result<Object, TwinError> {
    patch.shift_remove("$metadata");
    patch.shift_remove("$version");
    // The depth is checked before anything walks the patch, so that no walk is deep.
    check_object(section, &patch, 1)?;
    Ok(patch)
}

/// Whether a whole section obeys the limits.
pub(super) fn check_section(
    section: &'static str,
    object: &Object,
    limit_bytes: usize,
) -> Result<(), TwinError> {
    check_object(section, object, 1)?;
    let Size { size_bytes, free } = Size::of(object);
    if size_bytes > limit_bytes {
        return Err(TwinError::TooLarge { section, size_bytes, limit_bytes });
    }
    if free > limit_bytes {
        return Err(TwinError::TooMany { section, limit: limit_bytes });
    }
    Ok(())
}

fn check_object(path: &str, object: &Object, depth: usize) -> Result<(), TwinError> {
    for (key, value) in object {
        check_key(path, key)?;
        check_value(path, key, value, depth)?;
    }
    Ok(())
}

fn check_key(path: &str, key: &str) -> Result<(), TwinError> {
    let reason = if key.is_empty() {
        "is empty"
    } else if key.len() > limits::TWIN_KEY_BYTES_MAX {
        "is longer than 1024 bytes"
    } else if key.chars().any(char::is_control) {
        "holds a control character"
    } else if key.contains(['.', '$', ' ']) {
        "holds '.', '$' or a space"
    } else {
        return Ok(());
    };
    let key = key.chars().take(40).collect();
    Err(TwinError::Key { path: path.to_owned(), key, reason })
}

fn check_value(path: &str, key: &str, value: &Value, depth: usize) -> Result<(), TwinError> {
    let refuse = |reason| Err(TwinError::Value { path: format!("{path}.{key}"), reason });
    match value {
        Value::Object(_) | Value::Array(_) if depth >= limits::TWIN_DEPTH_MAX => {
            refuse("is nested deeper than 10 levels")
        }
        Value::Object(object) => check_object(&format!("{path}.{key}"), object, depth + 1),
        Value::Array(items) => {
            let path = format!("{path}.{key}");
            items.iter().enumerate().try_for_each(|(index, item)| {
                check_value(&path, &index.to_string(), item, depth + 1)
            })
        }
        Value::String(text) if text.len() > limits::TWIN_TEXT_BYTES_MAX => {
            refuse("is a text longer than 4096 bytes")
        }
        Value::Number(number) => {
            let max = limits::TWIN_INTEGER_MAX;
            let fits = match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => (-max - 1..=max).contains(&integer),
                (None, Some(_)) => false,
                (None, None) => true,
            };
            if fits { Ok(()) } else { refuse("is an integer outside of ±2^52") }
        }
        _ => Ok(()),
    }
}

/// How large a section is: UTF-8 bytes of keys and texts, 8 for a number, 4 for a boolean
/// (`device-protocol.md` §7.1). What counts nothing is counted apart, or an array of nulls could
/// grow without end.
#[derive(Default)]
struct Size {
    size_bytes: usize,
    /// Nulls, empty texts, and arrays and objects whatever is in them.
    free: usize,
}

impl Size {
    fn of(section: &Object) -> Self {
        let mut size = Self::default();
        size.add_object(section);
        size
    }

    fn add_object(&mut self, object: &Object) {
        for (key, value) in object {
            self.size_bytes += key.len();
            self.add(value);
        }
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Bool(_) => self.size_bytes += 4,
            Value::Number(_) => self.size_bytes += 8,
            Value::String(text) if !text.is_empty() => self.size_bytes += text.len(),
            Value::Null | Value::String(_) => self.free += 1,
            Value::Array(items) => {
                self.free += 1;
                items.iter().for_each(|item| self.add(item));
            }
            Value::Object(object) => {
                self.free += 1;
                self.add_object(object);
            }
        }
    }
}

/// A JSON value in which no key stands twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format_args!("key {key:?} stands twice")));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
