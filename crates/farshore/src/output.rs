//! What commands print: tables for people, JSON for programs.
//!
//! Data goes to standard output, everything else to standard error (`tools.md` §9.1). Text that
//! others wrote is made harmless for terminals here.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::commands::Failure;

#[cfg(test)]
mod tests;

/// How a command prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// One JSON document
    Json,
    /// One JSON document per line
    Ndjson,
}

/// The option that chooses a [`Format`].
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// How to print what was found
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value = "table",
        global = true,
        value_name = "FORMAT"
    )]
    output: Format,
}

impl Output {
    /// Prints a list: one row each, or all of it as JSON.
    pub(crate) fn list<T: Serialize>(
        self,
        items: &[T],
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match self.output {
            Format::Table => print(&table().to_text()),
            Format::Json => print_json(&items),
            Format::Ndjson => items.iter().try_for_each(print_line),
        }
    }

    /// Prints one thing: its fields in rows, or all of it as JSON.
    pub(crate) fn one<T: Serialize>(
        self,
        item: &T,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match self.output {
            Format::Table => print(&table().to_text()),
            Format::Json => print_json(item),
            Format::Ndjson => print_line(item),
        }
    }

    /// Prints what is a JSON document already; its table is the document, indented.
    pub(crate) fn document<T: Serialize>(self, document: &T) -> Result<(), Failure> {
        match self.output {
            Format::Table | Format::Json => print_json(document),
            Format::Ndjson => print_line(document),
        }
    }
}

/// Columns of text, as wide as they have to be.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Vec<Vec<String>>,
    column_width_min: usize,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self { lines: vec![headings.map(str::to_owned).into()], column_width_min: 0 }
    }

    /// Names and values of one thing, without headings.
    pub(crate) fn fields() -> Self {
        Self { lines: Vec::new(), column_width_min: 0 }
    }

    /// The same, with no column but the last narrower than this.
    pub(crate) fn with_column_width_min(mut self, width: usize) -> Self {
        self.column_width_min = width;
        self
    }

    /// Adds a row.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [&str; COLUMNS]) {
        self.lines.push(cells.map(|cell| harmless(cell).into_owned()).into());
    }

    /// The lines, without blanks at their ends.
    pub(crate) fn to_text(&self) -> String {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
            (widest + GAP).max(self.column_width_min)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in &self.lines {
            let mut row = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                row.push_str(&format!("{cell:<width$}"));
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text without the control characters that move a terminal's cursor, change its title or start a
/// new line: they are shown as escapes.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |c: char| {
        c.is_control()
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        match harms(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
        shown
    });
    Cow::Owned(shown)
}

/// Prints text to standard output. When the reader has gone away (`| head`), the command ends
/// without a word.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// The same for bytes.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        Err(error) => Err(error.into()),
    }
}

/// Prints a document, indented.
pub(crate) fn print_json<T: Serialize>(document: &T) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string_pretty(document)?))
}

/// Prints a document on one line.
pub(crate) fn print_line<T: Serialize>(document: &T) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string(document)?))
}

/// Blanks between two columns.
const GAP: usize = 2;
