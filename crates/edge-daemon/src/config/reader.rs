//! Reading a TOML document key by key, with the line of everything.
//!
//! Whoever reads a section takes the keys it knows; what is left over is unknown and a problem.
//! All problems are gathered, so that an operator sees them at once.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Note, Problem};

/// What was found wrong and what has no effect, for the whole document.
pub(super) struct Findings<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    notes: RefCell<Vec<Note>>,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: RefCell::default(), notes: RefCell::default() }
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn problem(&self, line: usize, key: &str, what: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { line, key: key.to_owned(), what: what.into() });
    }

    fn note(&self, line: usize, key: &str, what: &str) {
        self.notes.borrow_mut().push(Note { line, key: key.to_owned(), what: what.to_owned() });
    }

    /// Everything found, in the order of the lines.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Note>) {
        let (mut problems, mut notes) = (self.problems.into_inner(), self.notes.into_inner());
        problems.sort_by_key(|problem| problem.line);
        notes.sort_by_key(|note| note.line);
        (problems, notes)
    }
}

/// A value with the place where it stands.
#[derive(Clone)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) line: usize,
    pub(super) key: String,
}

impl<T> Found<T> {
    fn with<U>(&self, value: U) -> Found<U> {
        Found { value, line: self.line, key: self.key.clone() }
    }
}

/// One table of the document.
pub(super) struct Section<'d, 't> {
    path: String,
    pub(super) line: usize,
    table: &'d DeTable<'d>,
    taken: BTreeSet<&'static str>,
    findings: &'d Findings<'t>,
}

impl<'d, 't> Section<'d, 't> {
    /// The whole document.
    pub(super) fn root(table: &'d DeTable<'d>, findings: &'d Findings<'t>) -> Self {
        Self { path: String::new(), line: 1, table, taken: BTreeSet::new(), findings }
    }

    /// The path of a key of this section.
    pub(super) fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn entry(&self, key: &str) -> Option<(&'d Spanned<DeValue<'d>>, usize)> {
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key)?;
        Some((value, self.findings.line(name.span().start)))
    }

    /// A value of whatever type.
    pub(super) fn any(&mut self, key: &'static str) -> Option<Found<&'d DeValue<'d>>> {
        self.taken.insert(key);
        let (value, line) = self.entry(key)?;
        Some(Found { value: value.get_ref(), line, key: self.named(key) })
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    ) -> Option<Found<T>> {
        let found = self.any(key)?;
        match read(found.value) {
            Some(value) => Some(found.with(value)),
            None => {
                let what = format!("is of type {}; write {expected}", found.value.type_str());
                self.findings.problem(found.line, &found.key, what);
                None
            }
        }
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<Found<&'d str>> {
        self.typed(key, "a quoted string", DeValue::as_str)
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Found<bool>> {
        self.typed(key, "true or false without quotes", DeValue::as_bool)
    }

    pub(super) fn integer(&mut self, key: &'static str) -> Option<Found<i64>> {
        self.typed(key, "a whole number without quotes", |value| {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<i64>,
    ) -> Option<Found<u32>> {
        let found = self.integer(key)?;
        let fits = bounds.contains(&found.value);
        match u32::try_from(found.value) {
            Ok(number) if fits => Some(found.with(number)),
            _ => {
                let what = format!(
                    "is {}; write a number from {} to {}",
                    found.value,
                    bounds.start(),
                    bounds.end()
                );
                self.findings.problem(found.line, &found.key, what);
                None
            }
        }
    }

    /// A list of strings, each with the line of the list; empty when it is not there.
    pub(super) fn strings(&mut self, key: &'static str, max: usize) -> Vec<Found<&'d str>> {
        let Some(found) = self.typed(key, "a list of quoted strings", DeValue::as_array) else {
            return Vec::new();
        };
        let texts: Option<Vec<&str>> =
            found.value.iter().map(|entry| entry.get_ref().as_str()).collect();
        match texts {
            Some(texts) if texts.len() <= max => {
                texts.into_iter().map(|text| found.with(text)).collect()
            }
            _ => {
                self.wrong(&found, format!("is not a list of up to {max} quoted strings"));
                Vec::new()
            }
        }
    }

    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'d, 't>> {
        let found = self.typed(key, "a table", DeValue::as_table)?;
        Some(Section {
            path: found.key,
            line: found.line,
            table: found.value,
            taken: BTreeSet::new(),
            findings: self.findings,
        })
    }

    /// A table with the path and line at which it was found.
    pub(super) fn at(found: &Found<&'d DeTable<'d>>, findings: &'d Findings<'t>) -> Self {
        Self {
            path: found.key.clone(),
            line: found.line,
            table: found.value,
            taken: BTreeSet::new(),
            findings,
        }
    }

    /// A table that was found elsewhere, for example in an array.
    pub(super) fn inner(&self, key: &str, found: &Found<&'d DeTable<'d>>) -> Section<'d, 't> {
        Section {
            path: self.named(key),
            line: found.line,
            table: found.value,
            taken: BTreeSet::new(),
            findings: self.findings,
        }
    }

    /// Whether a key is there and holds a table.
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|(value, _)| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// Whether a key is there, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Where problems go, for whoever gives the section away.
    pub(super) fn reporter(&self) -> &'d Findings<'t> {
        self.findings
    }

    /// All entries of a section whose keys are free.
    pub(super) fn entries(self) -> Vec<Found<&'d DeValue<'d>>> {
        let entries = self.table.iter().map(|(name, value)| Found {
            value: value.get_ref(),
            line: self.findings.line(name.span().start),
            key: name.get_ref().to_string(),
        });
        entries.collect()
    }

    /// Reports a problem at a value.
    pub(super) fn wrong<T>(&self, found: &Found<T>, what: impl Into<String>) {
        self.findings.problem(found.line, &found.key, what);
    }

    /// Reports a problem at the section itself.
    pub(super) fn lacks(&self, key: &str, what: &str) {
        self.findings.problem(self.line, &self.named(key), what);
    }

    /// Reports a problem with the section as a whole.
    pub(super) fn complain(&self, what: &str) {
        self.findings.problem(self.line, &self.path, what);
    }

    /// A key that would change what the daemon does, if it were served.
    pub(super) fn refuse(&mut self, key: &'static str, what: &str) {
        if let Some(found) = self.any(key) {
            self.findings.problem(found.line, &found.key, what);
        }
    }

    /// A key without effect that does no harm.
    pub(super) fn note(&mut self, key: &'static str, what: &str) {
        if let Some(found) = self.any(key) {
            self.findings.note(found.line, &found.key, what);
        }
    }

    /// Says something of a value that was found.
    pub(super) fn remark<T>(&self, found: &Found<T>, what: &str) {
        self.findings.note(found.line, &found.key, what);
    }

    /// Keys that belong here and are looked at elsewhere, or not at all.
    pub(super) fn known(&mut self, keys: &[&'static str]) {
        self.taken.extend(keys);
    }

    /// Whatever nobody asked for is unknown.
    pub(super) fn finish(self) {
        for (name, _) in self.table {
            let name_text: &str = name.get_ref();
            if !self.taken.contains(name_text) {
                let line = self.findings.line(name.span().start);
                let shown: String = name_text.chars().take(KEY_CHARS_SHOWN).collect();
                let what = self.advice(name_text);
                self.findings.problem(
                    line,
                    &self.named(&shown),
                    format!("is not a key of config.toml here; {what}"),
                );
            }
        }
    }

    /// What the writer of an unknown key may have meant.
    fn advice(&self, name: &str) -> String {
        match nearest(name, self.taken.iter().copied()) {
            Some(known) => format!("did you mean {known}?"),
            None if !self.path.is_empty() && TOP_KEYS.contains(&name) => {
                "it belongs above the first [section] of the file".to_owned()
            }
            None => "check its spelling and the [section] above it".to_owned(),
        }
    }
}

/// The known name that is most like a name, if any is like it at all.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // No key is that long, and the comparison is quadratic.
    if name.len() > KEY_CHARS_SHOWN {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let with_distance = known.map(|known| (distance(&name, &known.to_ascii_lowercase()), known));
    let (distance, known) = with_distance.min()?;
    (distance <= known.len() / LIKENESS).then_some(known)
}

/// How many letters must be put in, taken out or replaced to come from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// One letter in three may be wrong.
const LIKENESS: usize = 3;
/// Keys of the top that many write below a section, where TOML takes them for its own.
const TOP_KEYS: [&str; 12] = [
    "hostname",
    "parent_hostname",
    "local_gateway_hostname",
    "trust_bundle_cert",
    "allow_elevated_docker_permissions",
    "auto_reprovisioning_mode",
    "prefer_module_identity_cache",
    "cloud_timeout_sec",
    "cloud_retries",
    "additional_info",
    "iotedge_max_requests",
    "aziot_max_requests",
];
const KEY_CHARS_SHOWN: usize = 64;
