//! A part of the old file: keys are taken out one by one, and what is left is named.

use std::cell::RefCell;
use std::fmt;

use iot_proto::percent;

use crate::commands::iotedge::config::yaml::{Node, Value};

/// Something about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Remark {
    /// The line, from 1.
    pub(in super::super) line: usize,
    /// The key, with its sections, and what is with it. Never its value, which may be a key.
    pub(in super::super) what: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// What was found on the way.
#[derive(Default)]
pub(super) struct Findings {
    problems: RefCell<Vec<Remark>>,
    notes: RefCell<Vec<Remark>>,
}

impl Findings {
    pub(super) fn problem(&self, line: usize, key: &str, what: &str) {
        self.problems.borrow_mut().push(Remark { line, what: format!("{key} {what}") });
    }

    fn note(&self, line: usize, key: &str, what: &str) {
        self.notes.borrow_mut().push(Remark { line, what: format!("{key} {what}") });
    }

    /// Problems and notes, in the order of the lines.
    pub(super) fn into_parts(self) -> (Vec<Remark>, Vec<Remark>) {
        let (mut problems, mut notes) = (self.problems.into_inner(), self.notes.into_inner());
        problems.sort_by_key(|remark| remark.line);
        notes.sort_by_key(|remark| remark.line);
        (problems, notes)
    }
}

/// A scalar and its line.
pub(super) struct Text<'a> {
    pub(super) value: &'a str,
    pub(super) line: usize,
}

/// A map whose keys are taken one by one.
pub(super) struct Section<'a> {
    /// Where it begins.
    pub(super) line: usize,
    path: String,
    left: Vec<(&'a str, &'a Node)>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    pub(super) fn root(entries: &'a [(String, Node)], findings: &'a Findings) -> Self {
        Self::new(1, String::new(), entries, findings)
    }

    fn new(
        line: usize,
        path: String,
        entries: &'a [(String, Node)],
        findings: &'a Findings,
    ) -> Self {
        let left = entries.iter().map(|(name, node)| (name.as_str(), node)).collect();
        Self { line, path, left, findings }
    }

    /// Whatever stands there.
    pub(super) fn any(&mut self, key: &str) -> Option<&'a Node> {
        let place = self.left.iter().position(|(name, _)| *name == key)?;
        Some(self.left.remove(place).1)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<Text<'a>> {
        let node = self.any(key)?;
        match &node.value {
            Value::Scalar { text, .. } => Some(Text { value: text, line: node.line }),
            Value::Null => None,
            Value::List(_) | Value::Map(_) => {
                self.problem(node.line, key, "is not a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, key: &str) -> Option<&'a str> {
        let is_there =
            self.left.iter().any(|(name, node)| *name == key && !matches!(node.value, Value::Null));
        if !is_there {
            self.lacks(key);
        }
        self.text(key).map(|text| text.value)
    }

    pub(super) fn number(&mut self, key: &str) -> Option<u32> {
        let text = self.text(key)?;
        let number = text.value.parse().ok();
        if number.is_none() {
            self.problem(text.line, key, "is not a number");
        }
        number
    }

    pub(super) fn truth(&mut self, key: &str) -> Option<bool> {
        let text = self.text(key)?;
        match text.value {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => {
                self.problem(text.line, key, "is neither true nor false");
                None
            }
        }
    }

    /// A file, as a URI; the old form also took a path.
    pub(super) fn file(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        match text.value {
            uri if uri.starts_with("file://") => Some(uri.to_owned()),
            path if path.starts_with('/') => {
                let parts: Vec<_> = path.split('/').map(percent::encode).collect();
                Some(format!("file://{}", parts.join("/")))
            }
            _ => {
                self.problem(
                    text.line,
                    key,
                    "is neither a path nor a file URI; write file:///path",
                );
                None
            }
        }
    }

    pub(super) fn needed_file(&mut self, key: &str) -> Option<String> {
        if !self.left.iter().any(|(name, _)| *name == key) {
            self.lacks(key);
        }
        self.file(key)
    }

    pub(super) fn section(&mut self, key: &str) -> Option<Section<'a>> {
        let node = self.any(key)?;
        match &node.value {
            Value::Map(entries) => {
                Some(Section::new(node.line, self.named(key), entries, self.findings))
            }
            Value::Null => None,
            Value::Scalar { .. } | Value::List(_) => {
                self.problem(node.line, key, "is not a list of keys and values");
                None
            }
        }
    }

    /// All of its entries, where names are free.
    pub(super) fn texts(mut self) -> Vec<(&'a str, &'a str)> {
        let names: Vec<_> = self.left.iter().map(|(name, _)| *name).collect();
        names.into_iter().filter_map(|name| Some((name, self.text(name)?.value))).collect()
    }

    fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn problem(&self, line: usize, key: &str, what: &str) {
        self.findings.problem(line, &self.named(key), what);
    }

    pub(super) fn note(&self, line: usize, key: &str, what: &str) {
        self.findings.note(line, &self.named(key), what);
    }

    pub(super) fn lacks(&self, key: &str) {
        self.problem(self.line, key, "is missing");
    }

    /// Takes the rest: another problem makes it meaningless.
    pub(super) fn forget(&mut self) {
        self.left.clear();
    }

    /// Names what nobody has taken.
    pub(super) fn finish(self) {
        for (name, node) in &self.left {
            self.note(node.line, name, "is left out: it is not a key of config.yaml");
        }
    }
}
