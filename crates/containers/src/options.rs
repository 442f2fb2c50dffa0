//! Reading and changing createOptions as the engine will read them.
//!
//! The engines decode JSON with Go's `encoding/json`: keys match without regard
//! to case, the last of two spellings wins, and some non-ASCII letters fold into
//! ASCII ones. So a key is looked up in that way too, two spellings of one key
//! are refused, and non-ASCII keys are refused where they could stand for a key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A JSON object of the engine's API, with a path for messages.
pub(crate) struct Options<'a> {
    path: &'static str,
    map: &'a mut Map<String, Value>,
}

impl<'a> Options<'a> {
    /// The outermost object.
    pub(crate) fn root(map: &'a mut Map<String, Value>) -> Result<Self, String> {
        Self::checked("", map)
    }

    fn checked(path: &'static str, map: &'a mut Map<String, Value>) -> Result<Self, String> {
        let mut seen = BTreeMap::new();
        for key in map.keys() {
            if !key.is_ascii() {
                return Err(format!("key {key:?} is not ASCII"));
            }
            if let Some(other) = seen.insert(key.to_ascii_lowercase(), key) {
                return Err(format!(
                    "keys {other:?} and {key:?} are the same to the engine: keep one"
                ));
            }
        }
        Ok(Self { path, map })
    }

    /// Takes a value out; `null` counts as absent, as it does for the engine.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        let spelled = self.spelled(key)?;
        // `shift_remove` keeps the order of the rest.
        self.map.shift_remove(&spelled).filter(|value| !value.is_null())
    }

    /// A value, `null` counting as absent.
    pub(crate) fn find(&self, key: &str) -> Option<&Value> {
        let spelled = self.spelled(key)?;
        self.map.get(&spelled).filter(|value| !value.is_null())
    }

    /// Sets a value, replacing any spelling of the key.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.take(key);
        self.map.insert(key.to_owned(), value);
    }

    /// The object under a key, created when it isn't there.
    pub(crate) fn object(&mut self, key: &'static str) -> Result<Options<'_>, String> {
        let value = match self.take(key) {
            None => Value::Object(Map::new()),
            Some(value @ Value::Object(_)) => value,
            Some(_) => return Err(format!("{} is not an object", self.named(key))),
        };
        match self.map.entry(key).or_insert(value) {
            Value::Object(map) => Options::checked(key, map),
            _ => Err(format!("{key} is not an object")),
        }
    }

    /// Takes an array of strings out.
    pub(crate) fn take_strings(&mut self, key: &str) -> Result<Vec<String>, String> {
        let wrong = format!("{} is not an array of strings", self.named(key));
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong.clone()),
                })
                .collect(),
            Some(_) => Err(wrong),
        }
    }

    /// The keys that hold something, as the user spelled them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.map.iter().filter(|(_, value)| !is_empty(value)).map(|(key, _)| key.as_str())
    }

    /// A key with the path before it.
    pub(crate) fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn spelled(&self, key: &str) -> Option<String> {
        self.map.keys().find(|other| other.eq_ignore_ascii_case(key)).cloned()
    }
}

/// The environment of a module, as `NAME=value`. createOptions win (T-ENV-WINS);
/// a name without value there counts too.
pub(crate) fn environment(
    from_options: Vec<String>,
    from_spec: &BTreeMap<String, String>,
) -> Vec<String> {
    let name_of = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let taken: BTreeSet<String> = from_options.iter().map(|entry| name_of(entry)).collect();
    let ours = from_spec
        .iter()
        .filter(|(name, _)| !taken.contains(name.as_str()))
        .map(|(name, value)| format!("{name}={value}"));
    from_options.into_iter().chain(ours).collect()
}

/// Whether a value asks for nothing.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
