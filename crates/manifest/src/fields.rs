//! Reading a JSON object as the original's .NET parser does: property names in any case, numbers
//! written as texts and texts as numbers, unknown properties ignored, `null` as absent
//! (er §4.1). Every error carries the path.

use std::fmt;

use model::twin::Object;
use serde_json::Value;

/// A property that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, such as `modules.sensor.settings.image`.
    pub path: String,
    /// What is wrong and how to fix it; reads on after the path.
    pub problem: String,
}

impl FieldError {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.problem)
    }
}

impl std::error::Error for FieldError {}

/// An object and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    path: String,
    object: &'a Object,
}

impl<'a> Fields<'a> {
    /// The top of a document.
    pub(crate) fn root(object: &'a Object) -> Self {
        Self { path: String::new(), object }
    }

    /// The path of a property.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// An error about a property.
    pub(crate) fn error(&self, name: &str, problem: impl Into<String>) -> FieldError {
        FieldError::new(self.path_of(name), problem)
    }

    /// All properties as they stand, `null`s left out.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.object
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), value))
    }

    /// All properties as they stand.
    pub(crate) fn raw_entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.object.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A property: the exact name wins over one in another case.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.object.get(name).or_else(|| {
            let mut others = self.object.iter();
            others.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, FieldError> {
        self.get(name).map(|value| self.child(name, value)).transpose()
    }

    /// An object that has to be there.
    pub(crate) fn required_object(&self, name: &str) -> Result<Fields<'a>, FieldError> {
        self.object(name)?.ok_or_else(|| self.error(name, "is missing; add the object"))
    }

    /// One of this object's values as an object.
    pub(crate) fn child(&self, name: &str, value: &'a Value) -> Result<Fields<'a>, FieldError> {
        match value {
            Value::Object(object) => Ok(Fields { path: self.path_of(name), object }),
            other => {
                Err(self.error(name, format!("is {}; it has to be an object", kind_of(other))))
            }
        }
    }

    /// A text; numbers and booleans are taken as they are spelled.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, FieldError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(scalar.to_string())),
            Some(other) => {
                Err(self.error(name, format!("is {}; it has to be a text", kind_of(other))))
            }
        }
    }

    /// A text that has to be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<String, FieldError> {
        self.text(name)?.ok_or_else(|| self.error(name, "is missing; add it"))
    }

    /// An integer, as a number or as a text.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, FieldError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(name, "is not an integer; write one, such as 7200")),
        }
    }

    /// One of a few words, in any case.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&'static str, T)],
    ) -> Result<Option<T>, FieldError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let problem =
                    format!("is {:?}; it has to be {}", shortened(&text), allowed.join(", or "));
                Err(self.error(name, problem))
            }
        }
    }
}

/// What kind of JSON value it is, for people.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// What an error repeats of somebody's text.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(ERROR_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Characters of a bad text that an error repeats.
const ERROR_CHARS_MAX: usize = 80;
