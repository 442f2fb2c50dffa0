//! The language of conditions: what stands after `WHERE` in a route of the edge hub, and in a
//! message route of the hub.
//!
//! A text becomes tokens (`lexer`), an expression (`parser`, `syntax`), and, when names,
//! functions and types are right (`check`), a program (`program`) that is evaluated on a
//! [`Subject`] in three-valued logic (`evaluate`). Lexer, parser and functions know nothing of
//! messages, so that the language of twin queries can stand on them.
//!
//! Spec: `edge-runtime.md` (er) §5.2 for routes of the edge hub, `service-api.md` (sa) §4.3 for the
//! hub's. They are one language with a few differences, which are named in [`Rules`].
//!
//! Bounds: a condition has at most [`CONDITION_BYTES_MAX`] bytes and is at most [`DEPTH_MAX`] deep,
//! and one evaluation works through at most [`WORK_BYTES_MAX`] bytes of texts.

mod check;
mod error;
mod evaluate;
mod function;
mod lexer;
mod message;
mod number;
mod parser;
mod program;
mod subject;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::sync::Arc;

use program::Program;

pub use error::{Error, Problem};
pub use message::{Arrival, MessageSubject};
pub use subject::Subject;
pub use value::Type;

/// A condition that was checked, ready to be evaluated. Cheap to clone.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    rules: Rules,
    program: Arc<Program>,
}

/// Whose conditions they are. What differs:
///
/// | | edge hub | hub |
/// |---|---|---|
/// | a path of the body that leads nowhere | null | undefined |
/// | an object or array of the body | undefined | tested by `is_object`, `is_array`, `is_primitive` |
/// | values of the body of two types | compared by their types: booleans, numbers, texts, null | undefined |
/// | `= null` | true for null | never true |
/// | `is_null` of the body | true for all that is there | true for null |
/// | `$name` | the application property `$name`, then the system property | the system property, then the application property `name` |
/// | `$twin` | refused | the sender's twin |
/// | content type of a body | `application/json` | `application/json`, with parameters too |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rules {
    /// A route of an edge hub (er §5.2, §9).
    Edge,
    /// A message route of a hub (sa §4.3).
    Hub,
}

/// What a condition says of a message. Only `True` lets it through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be said: something that it asks for is not there, or of another type.
    Undefined,
}

impl Condition {
    /// Parses and checks a condition.
    pub fn parse(text: &str, rules: Rules) -> Result<Self, Error> {
        let (condition, _) = Self::parse_until(text, None, rules)?;
        Ok(condition)
    }

    /// The same for a condition that is followed by a keyword; also gives the byte where the
    /// keyword begins, or the text's length when there is none.
    pub fn parse_before(text: &str, keyword: &str, rules: Rules) -> Result<(Self, usize), Error> {
        Self::parse_until(text, Some(keyword), rules)
    }

    fn parse_until(
        text: &str,
        keyword: Option<&str>,
        rules: Rules,
    ) -> Result<(Self, usize), Error> {
        let (tokens, end) = lexer::tokens(text, keyword)?;
        let syntax = parser::parse(&tokens, end)?;
        let program = check::condition(text, &syntax, rules)?;
        let written = text.get(..end).unwrap_or(text).trim_matches(lexer::BLANKS);
        Ok((Self { text: written.into(), rules, program: Arc::new(program) }, end))
    }

    /// Whether the condition holds for a subject.
    pub fn matches(&self, subject: &impl Subject) -> bool {
        self.evaluate(subject) == Verdict::True
    }

    /// What the condition says of a subject.
    pub fn evaluate(&self, subject: &impl Subject) -> Verdict {
        evaluate::verdict(&self.program, subject, self.rules)
    }

    /// The condition as it was written, without the space around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is the word `true`, so that it holds for everything.
    pub fn is_always(&self) -> bool {
        self.program.is_true()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.rules == other.rules
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?}, {:?})", self.text, self.rules)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Bytes of a condition; as many as a query has characters (sa §4.2).
pub const CONDITION_BYTES_MAX: usize = 8192;
/// How deep parentheses, functions and signs may stand in each other.
pub const DEPTH_MAX: usize = 64;
/// Bytes of texts that one evaluation reads and makes: sixteen times the largest message
/// (`device-protocol.md` §7.1). Beyond, everything is undefined.
pub const WORK_BYTES_MAX: usize = 16 * model::limits::TELEMETRY_BYTES_MAX;
