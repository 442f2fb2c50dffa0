//! What the checks found, for people and for programs.

use serde_json::{Map, Value, json};

use super::table::{Check, Section};

/// What a check found. Texts are a message and then its causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well.
    Ok,
    /// It works, but will not for ever.
    Warning(Vec<String>),
    /// It does not matter on this device; shown as well.
    Ignored(Option<String>),
    /// It is not looked at in this version; it says nothing about the device.
    NotMade(&'static str),
    /// It could not be looked at, because this other check failed.
    Skipped(&'static str),
    /// It does not work.
    Error(Vec<String>),
    /// Nothing else can be looked at either.
    Fatal(Vec<String>),
}

impl Outcome {
    /// A warning in one sentence.
    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self::Warning(vec![text.into()])
    }

    /// An error in one sentence.
    pub(super) fn error(text: impl Into<String>) -> Self {
        Self::Error(vec![text.into()])
    }

    /// It does not matter here, because.
    pub(super) fn ignored(why: impl Into<String>) -> Self {
        Self::Ignored(Some(why.into()))
    }

    /// As the JSON document has it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning(_) => "warning",
            Self::Ignored(_) => "ignored",
            Self::NotMade(_) | Self::Skipped(_) => "skipped",
            Self::Error(_) => "error",
            Self::Fatal(_) => "fatal",
        }
    }

    fn details(&self) -> Vec<String> {
        match self {
            Self::Ok => Vec::new(),
            Self::Ignored(why) => why.iter().cloned().collect(),
            Self::NotMade(why) => vec![(*why).to_owned()],
            Self::Skipped(id) => vec![format!("because {id} failed")],
            Self::Warning(texts) | Self::Error(texts) | Self::Fatal(texts) => texts.clone(),
        }
    }

    /// Glyph and word; none when only `--verbose` shows it.
    fn mark(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ok | Self::Ignored(_) => Some(("√", "OK")),
            Self::Warning(_) => Some(("‼", "Warning")),
            Self::Error(_) | Self::Fatal(_) => Some(("×", "Error")),
            Self::NotMade(_) => Some(("?", "Not checked")),
            Self::Skipped(_) => None,
        }
    }
}

/// Whether lines have colours; words and glyphs say the same without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colored,
}

impl Paint {
    /// A line in the colour of its glyph.
    pub(super) fn line(self, glyph: &str, line: &str) -> String {
        let color = match (self, glyph) {
            (Self::Plain, _) => return format!("{line}\n"),
            (Self::Colored, "√") => "32",
            (Self::Colored, "×") => "31",
            (Self::Colored, _) => "33",
        };
        format!("\x1b[{color}m{line}\x1b[0m\n")
    }
}

/// The outcomes in the order of the checks.
#[derive(Default)]
pub(super) struct Report {
    lines: Vec<Line>,
}

struct Line {
    id: &'static str,
    description: &'static str,
    section: Section,
    outcome: Outcome,
}

impl Report {
    pub(super) fn add(&mut self, check: &Check, outcome: Outcome) {
        let Check { id, description, section, .. } = *check;
        self.lines.push(Line { id, description, section, outcome });
    }

    /// Whether the command ends with a failure.
    pub(super) fn has_failed(&self, warnings_too: bool) -> bool {
        self.lines.iter().any(|line| match line.outcome {
            Outcome::Error(_) | Outcome::Fatal(_) => true,
            Outcome::Warning(_) => warnings_too,
            _ => false,
        })
    }

    /// Sections with a line per check, then how many came out how.
    pub(super) fn to_text(&self, verbose: bool, paint: Paint) -> String {
        let mut text = String::new();
        for section in Section::ALL {
            let heading = section.heading();
            text.push_str(&format!("\n{heading}\n{}\n", "-".repeat(heading.len())));
            for line in self.lines.iter().filter(|line| line.section == section) {
                line.write(verbose, paint, &mut text);
            }
        }
        text.push('\n');
        self.write_summary(verbose, &mut text);
        text.trim_start().to_owned()
    }

    fn write_summary(&self, verbose: bool, text: &mut String) {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.lines.iter().filter(|line| wanted(&line.outcome)).count()
        };
        let hint = if verbose { "" } else { " Re-run with --verbose for more details." };
        let succeeded = count(|outcome| matches!(outcome, Outcome::Ok | Outcome::Ignored(_)));
        text.push_str(&format!("{succeeded} check(s) succeeded.\n"));
        for (number, what) in [
            (count(|outcome| matches!(outcome, Outcome::Warning(_))), "raised warnings"),
            (
                count(|outcome| matches!(outcome, Outcome::Error(_) | Outcome::Fatal(_))),
                "raised errors",
            ),
            (
                count(|outcome| matches!(outcome, Outcome::Skipped(_))),
                "were skipped due to errors from other checks",
            ),
            (
                count(|outcome| matches!(outcome, Outcome::NotMade(_))),
                "are not made by this version",
            ),
        ] {
            if number > 0 {
                text.push_str(&format!("{number} check(s) {what}.{hint}\n"));
            }
        }
    }

    /// `{"additional_info": …, "checks": {"<id>": {"result": {"result": …, "details": […]}}}}`.
    pub(super) fn to_json(&self, additional_info: &Value) -> Value {
        let checks: Map<String, Value> = self
            .lines
            .iter()
            .map(|line| {
                let mut result = Map::new();
                result.insert("result".to_owned(), line.outcome.name().into());
                let details = line.outcome.details();
                if !details.is_empty() {
                    result.insert("details".to_owned(), details.into());
                }
                (line.id.to_owned(), json!({ "result": result, "additional_info": {} }))
            })
            .collect();
        json!({ "additional_info": additional_info, "checks": checks })
    }
}

impl Line {
    fn write(&self, verbose: bool, paint: Paint, text: &mut String) {
        let Some((glyph, word)) = self.outcome.mark().or(verbose.then_some(("‼", "Skipped")))
        else {
            return;
        };
        let line = format!("{glyph} {} - {word}", self.description);
        text.push_str(&paint.line(glyph, &line));
        let details = self.outcome.details();
        let told = match self.outcome {
            // Whoever wants to know why nothing was looked at asks for it.
            Outcome::Ignored(_) | Outcome::NotMade(_) if !verbose => &[],
            _ if verbose => details.as_slice(),
            _ => details.get(..1).unwrap_or_default(),
        };
        for (index, detail) in told.iter().enumerate() {
            let cause = if index == 0 { "" } else { "caused by: " };
            for (number, line) in detail.lines().enumerate() {
                let cause = if number == 0 { cause } else { "" };
                text.push_str(&format!("    {cause}{line}\n"));
            }
        }
    }
}
