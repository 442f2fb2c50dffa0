//! `createOptions`: the engine's container-create JSON as a text, cut at 512 characters over
//! `createOptions`, `createOptions01` … `createOptions99` (er §4.1, T-CREATEOPTIONS).

use std::collections::BTreeMap;

use model::twin::Object;
use serde_json::Value;

use crate::fields::{FieldError, Fields, kind_of};

/// Joins the parts and reads them; absent or blank options are `{}`.
pub(super) fn parse(settings: &Fields<'_>) -> Result<Value, FieldError> {
    let mut parts = BTreeMap::new();
    for (key, value) in settings.entries() {
        let Some(number) = part_number(key) else { continue };
        let number = number.map_err(|problem| settings.error(key, problem))?;
        let text = match value {
            Value::String(text) => text.clone(),
            // The original's reader turns any other value into its text; only an object is one.
            Value::Object(_) => value.to_string(),
            other => {
                let problem =
                    format!("is {}; it has to be a text with a JSON object", kind_of(other));
                return Err(settings.error(key, problem));
            }
        };
        if parts.insert(number, text).is_some() {
            return Err(settings.error(key, "stands twice, in different case; keep one"));
        }
    }
    join(settings, &parts)
}

fn join(settings: &Fields<'_>, parts: &BTreeMap<usize, String>) -> Result<Value, FieldError> {
    for (expected, number) in parts.keys().enumerate() {
        if *number != expected {
            let problem = "is missing, but a later part is there; number the parts without gaps";
            return Err(settings.error(&part_name(expected), problem));
        }
    }
    let whole: String = parts.values().map(String::as_str).collect();
    let error = |problem: String| Err(settings.error("createOptions", problem));
    if whole.len() > CREATE_OPTIONS_BYTES_MAX {
        return error(format!("is longer than {CREATE_OPTIONS_BYTES_MAX} bytes; shorten it"));
    }
    if whole.trim().is_empty() {
        return Ok(Value::Object(Object::new()));
    }
    match serde_json::from_str(&whole) {
        Ok(options @ Value::Object(_)) => Ok(without_nulls(options)),
        Ok(Value::Null) => Ok(Value::Object(Object::new())),
        Ok(other) => error(format!("holds {}; it has to be a JSON object", kind_of(&other))),
        Err(cause) => error(format!("is not JSON: {cause}")),
    }
}

/// Which part a key names: the number, or what is wrong with it; `None` for another property.
fn part_number(key: &str) -> Option<Result<usize, &'static str>> {
    let (stem, suffix) = key.split_at_checked(NAME.len())?;
    if !stem.eq_ignore_ascii_case(NAME) || !suffix.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match (suffix.len(), suffix.parse::<usize>()) {
        (0, _) => Some(Ok(0)),
        (2, Ok(number)) if number > 0 => Some(Ok(number)),
        _ => Some(Err("is not a part; parts are createOptions, createOptions01 … createOptions99")),
    }
}

fn part_name(number: usize) -> String {
    if number == 0 { NAME.to_owned() } else { format!("{NAME}{number:02}") }
}

/// `null` in createOptions means "not given", so that it compares equal to nothing.
#[must_use]
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect::<Object>()
            .into(),
        other => other,
    }
}

/// The properties that carry these options in a twin, cut as the original cuts them.
pub fn chunked(options: &Value) -> Object {
    let text = options.to_string();
    let mut object = Object::new();
    let mut rest = text.as_str();
    let mut number = 0;
    while !rest.is_empty() {
        let cut = rest.char_indices().nth(PART_CHARS).map_or(rest.len(), |(at, _)| at);
        let (part, after) = rest.split_at(cut);
        object.insert(part_name(number), part.into());
        (rest, number) = (after, number + 1);
    }
    object
}

const NAME: &str = "createOptions";
/// Characters in one part (er §4.1).
const PART_CHARS: usize = 512;
/// More than the hub's 32 KiB of desired properties can carry.
const CREATE_OPTIONS_BYTES_MAX: usize = 100 * PART_CHARS;
