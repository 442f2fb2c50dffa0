//! Why a text is not a condition, in words for its author.

use crate::value::Type;
use crate::{CONDITION_BYTES_MAX, DEPTH_MAX};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Error {
    /// The byte of the text at which it is wrong.
    pub at: usize,
    /// What is wrong.
    pub problem: Problem,
}

impl Error {
    pub(crate) fn new(at: usize, problem: Problem) -> Self {
        Self { at, problem }
    }
}

/// What may be wrong with a condition. Texts of the author's are shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is too long.
    #[error("the condition is longer than {CONDITION_BYTES_MAX} bytes")]
    TooLong,
    /// Parentheses, functions or signs stand too deep in each other.
    #[error("the condition is nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// There is nothing in it.
    #[error("there is no condition; write one, such as level = 'high', or true for all messages")]
    Empty,
    /// Something else stands where the grammar wants this.
    #[error("expected {expected}, found {found}{}", after(.hint))]
    Expected {
        /// What the grammar wants.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// What the author may have meant.
        hint: Option<String>,
    },
    /// A quoted text has no end.
    #[error("the text that begins here has no closing quote")]
    Unterminated,
    /// A backslash that begins nothing.
    #[error("{found} is not an escape; \\\", \\', \\\\, \\n, \\t and \\u0041 are")]
    Escape {
        /// The backslash and what follows.
        found: String,
    },
    /// A number that cannot be held.
    #[error("{found} is too large a number")]
    Number {
        /// The number.
        found: String,
    },
    /// A function that does not exist.
    #[error("{name} is not a function{}", after(.hint))]
    UnknownFunction {
        /// Its name.
        name: String,
        /// What the author may have meant.
        hint: Option<String>,
    },
    /// A function that exists elsewhere.
    #[error("{name} {reason}")]
    FunctionElsewhere {
        /// Its name.
        name: String,
        /// Where it exists.
        reason: &'static str,
    },
    /// A function is given too many or too few arguments.
    #[error("{function} takes {takes}, here it is given {given}")]
    ArgumentCount {
        /// The function.
        function: &'static str,
        /// How many it takes.
        takes: String,
        /// How many it is given.
        given: usize,
    },
    /// A function or operator does not take this type.
    #[error("{of} takes {takes}, and this is {given}{}", after(.hint))]
    Operand {
        /// The function or operator.
        of: &'static str,
        /// What it takes.
        takes: &'static str,
        /// What it is given.
        given: Type,
        /// How to write it.
        hint: Option<String>,
    },
    /// Two types that never compare.
    #[error("{operator} compares {left} with {right}{}", after(.hint))]
    Mixed {
        /// The operator.
        operator: &'static str,
        /// Type of the left side.
        left: Type,
        /// Type of the right side.
        right: Type,
        /// How to write it.
        hint: Option<String>,
    },
    /// The whole is no condition.
    #[error("this is {given}, and a condition is true or false{}", after(.hint))]
    NotACondition {
        /// Its type.
        given: Type,
        /// How to write it.
        hint: Option<String>,
    },
    /// A path into the body or twin that is none.
    #[error("{found} is not a path; write {example}")]
    Path {
        /// The path.
        found: String,
        /// One that is.
        example: &'static str,
    },
    /// `$twin` where there is none.
    #[error("an edge hub does not look into twins; $twin works in routes of a hub only")]
    Twin,
}

fn after(hint: &Option<String>) -> String {
    hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"))
}

/// The author's text in an error, shortened.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Characters of a text that an error repeats.
const SHOWN_CHARS_MAX: usize = 60;
