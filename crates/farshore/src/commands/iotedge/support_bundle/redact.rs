//! Taking secrets out of what leaves the machine.
//!
//! Structured documents (`config.toml`, containers) keep what is on a list of harmless things;
//! everything else is taken out of them, and its text is remembered. Then every text of the bundle,
//! also logs, loses what is remembered, what stands behind the name of a secret, and what looks
//! like a key.

mod lists;
mod text;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use lists::{CONTAINER_FIELDS, FILE_KEYS, HARMLESS_VARIABLES, HARMLESS_WORDS, PLAIN_PARTS, SHOWN};

/// What stands where a secret was.
pub(super) const REDACTED: &str = "<redacted>";

/// Texts that must not leave the machine.
#[derive(Default)]
pub(super) struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Remembers a text; of a connection string its secret parts on their own.
    pub(super) fn remember(&mut self, text: &str) {
        self.insert(text);
        for (name, value) in text.split(';').filter_map(|part| part.split_once('=')) {
            if PLAIN_PARTS.iter().all(|plain| !plain.eq_ignore_ascii_case(name.trim())) {
                self.insert(value);
            }
        }
    }

    fn insert(&mut self, text: &str) {
        for secret in [text.trim(), text.trim().trim_end_matches('=')] {
            if secret.len() >= SECRET_BYTES_MIN && !HARMLESS_WORDS.contains(&secret) {
                self.0.insert(secret.to_owned());
            }
        }
    }

    /// `config.toml` with its harmless values alone; none when it is not TOML.
    pub(super) fn config(&mut self, text: &str) -> Option<String> {
        let mut table: toml::Table = text.parse().ok()?;
        let mut path = Vec::new();
        for (key, value) in &mut table {
            path.push(key.clone());
            self.config_value(&mut path, value);
            path.pop();
        }
        Some(self.scrub(&toml::to_string(&table).ok()?))
    }

    fn config_value(&mut self, path: &mut Vec<String>, value: &mut toml::Value) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    path.push(key.clone());
                    self.config_value(path, value);
                    path.pop();
                }
            }
            toml::Value::Array(values) => {
                for value in values {
                    self.config_value(path, value);
                }
            }
            // Numbers and switches of an engine's options may mean anything, too.
            value if is_shown(path, value) => {}
            toml::Value::String(text) => {
                self.remember(text);
                REDACTED.clone_into(text);
            }
            value => *value = REDACTED.into(),
        }
    }

    /// What an engine tells of a container, as far as it is harmless.
    pub(super) fn container(&mut self, inspected: &Value) -> Value {
        let mut shown = Map::new();
        for path in CONTAINER_FIELDS {
            if let Some(value) = inspected.pointer(path) {
                shown.insert(path.trim_start_matches('/').replace('/', "."), value.clone());
            }
        }
        let env = inspected.pointer("/Config/Env").and_then(Value::as_array);
        let env = env.into_iter().flatten().filter_map(Value::as_str);
        let env = env.map(|entry| self.variable(entry));
        shown.insert("Config.Env".to_owned(), env.collect());
        // They hold createOptions and environment once more.
        let labels = inspected.pointer("/Config/Labels").and_then(Value::as_object);
        let names: Vec<&String> = labels.into_iter().flat_map(Map::keys).collect();
        shown.insert("Config.Labels (names)".to_owned(), json!(names));
        shown.into()
    }

    /// `NAME=value`, with the value of harmless names alone.
    fn variable(&mut self, entry: &str) -> String {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if is_harmless_variable(name) {
            return entry.to_owned();
        }
        self.remember(value);
        format!("{name}={REDACTED}")
    }

    /// A text without secrets.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut known = text.to_owned();
        // Long ones first: a short one may be a part of them.
        let mut secrets: Vec<&String> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if known.contains(secret.as_str()) {
                known = known.replace(secret.as_str(), REDACTED);
            }
        }
        let mut scrubbed = String::with_capacity(known.len());
        let mut in_key = false;
        for piece in known.split_inclusive('\n').flat_map(text::pieces) {
            let line = piece.text;
            // A private key over several lines goes as a whole, whatever stands before each.
            if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
                scrubbed.push_str(REDACTED);
                scrubbed.push('\n');
                in_key = !line.contains("-----END");
            } else if in_key {
                in_key = !line.contains("-----END");
            } else {
                text::scrub(&piece, &mut scrubbed);
            }
        }
        scrubbed
    }
}

/// Whether a value of `config.toml` may be shown.
fn is_shown(path: &[String], value: &toml::Value) -> bool {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["agent", "env", name] = names.as_slice() {
        return is_harmless_variable(name);
    }
    let matches = |pattern: &str| {
        let pattern: Vec<&str> = pattern.split('.').collect();
        match pattern.as_slice() {
            [start @ .., "**"] => names.starts_with(start),
            pattern => pattern == names,
        }
    };
    match value {
        // A URI into hardware may hold a PIN.
        toml::Value::String(text) if text.starts_with("pkcs11:") => false,
        // Where a secret is, is none; what it is, may be written in the same place.
        toml::Value::String(text) if FILE_KEYS.contains(names.last().unwrap_or(&"")) => {
            text.starts_with("file://")
        }
        _ => SHOWN.iter().any(|pattern| matches(pattern)),
    }
}

fn is_harmless_variable(name: &str) -> bool {
    HARMLESS_VARIABLES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Shorter texts would take half of every log with them.
const SECRET_BYTES_MIN: usize = 5;
