//! One route of the edge hub: `[SELECT *] FROM path [WHERE condition] INTO sink` (er §5.2).
//!
//! A source is a prefix of the message's source text ([`source`]); a sink is the hub upstream or an
//! input of a module on this device. The condition is [`query`]'s, by the rules of an edge hub; its
//! types are checked here, with the rest of the route.

mod lexer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use model::ModuleId;
use query::{Condition, Rules};

use crate::fields::shortened;
use lexer::{Token, tokens};

/// A parsed route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Lower case, beginning and ending with `/`.
    source_prefix: String,
    condition: Option<Condition>,
    sink: Sink,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sink {
    /// The hub, or the parent edge device: `$upstream`.
    Upstream,
    /// `BrokeredEndpoint("/modules/<module>/inputs/<input>")`.
    ModuleInput {
        /// The receiving module.
        module: ModuleId,
        /// Its input.
        input: String,
    },
}

/// Why a text is not a route. `at` counts characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The text is longer than [`ROUTE_BYTES_MAX`].
    #[error("the route is longer than {ROUTE_BYTES_MAX} bytes")]
    TooLong,
    /// There is nothing in it.
    #[error("the route is empty; write FROM <source> INTO <sink>")]
    Empty,
    /// Something else stands where the grammar wants this.
    #[error("expected {expected} at character {at}, found {found}")]
    Expected {
        /// What the grammar wants.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// Where.
        at: usize,
    },
    /// A quoted text has no end.
    #[error("the text that begins at character {at} has no closing quote")]
    Unterminated {
        /// Where it begins.
        at: usize,
    },
    /// The condition is wrong.
    #[error("the condition is wrong at character {at}: {problem}")]
    Condition {
        /// Where, in the whole route.
        at: usize,
        /// What is wrong.
        problem: query::Problem,
    },
    /// A sink that does not exist.
    #[error(
        "{found} is not a sink; use $upstream or BrokeredEndpoint(\"/modules/<m>/inputs/<i>\")"
    )]
    Sink {
        /// The text.
        found: String,
    },
    /// The argument of `BrokeredEndpoint` has another form.
    #[error("{found} does not name an input; write \"/modules/<module>/inputs/<input>\"")]
    Endpoint {
        /// The text.
        found: String,
    },
}

impl Route {
    /// Whether the route takes messages of this source.
    pub fn matches(&self, source: &str) -> bool {
        source
            .get(..self.source_prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(&self.source_prefix))
    }

    /// What else a message has to fulfil. None when there is nothing, or the word `true`.
    pub fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
    }

    /// Where the route leads.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// The source's prefix, lower case.
    pub fn source_prefix(&self) -> &str {
        &self.source_prefix
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FROM {}*", self.source_prefix)?;
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        write!(f, " INTO {}", self.sink)
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream => f.write_str(UPSTREAM),
            Self::ModuleInput { module, input } => {
                let path = format!("/modules/{module}/inputs/{input}");
                // As the grammar reads it back.
                let path = path.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "{BROKERED_ENDPOINT}(\"{path}\")")
            }
        }
    }
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        if text.len() > ROUTE_BYTES_MAX {
            return Err(RouteError::TooLong);
        }
        let tokens = tokens(text, 0)?;
        if tokens.is_empty() {
            return Err(RouteError::Empty);
        }
        Parser { text, tokens, next: 0 }.route()
    }
}

/// The source texts that messages are routed by (er §5.2, Sources).
pub mod source {
    use std::fmt::Display;

    /// Telemetry of a leaf device.
    pub const DEVICE_MESSAGES: &str = "/messages/";
    /// A change of somebody's reported properties.
    pub const TWIN_CHANGES: &str = "/twinChangeNotifications/";

    /// Telemetry of a module that names no output.
    pub fn module_messages(module: impl Display) -> String {
        format!("/messages/modules/{module}/")
    }

    /// Telemetry of a module to one of its outputs.
    pub fn module_output(module: impl Display, output: impl Display) -> String {
        format!("/messages/modules/{module}/outputs/{output}/")
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<(usize, Token)>,
    next: usize,
}

impl Parser<'_> {
    fn route(mut self) -> Result<Route, RouteError> {
        if self.takes_keyword("SELECT") {
            self.expect(&Token::Word("*".into()), "* after SELECT")?;
        }
        if !self.takes_keyword("FROM") {
            return Err(self.expected("FROM"));
        }
        let source_prefix = self.path()?;
        let condition = if self.takes_keyword("WHERE") { self.condition()? } else { None };
        if !self.takes_keyword("INTO") {
            return Err(self.expected("INTO"));
        }
        let sink = self.sink()?;
        if self.peek().is_some() {
            return Err(self.expected("the end of the route"));
        }
        Ok(Route { source_prefix, condition, sink })
    }

    /// `("/" ("*" | ident))+`, as the prefix that it means.
    fn path(&mut self) -> Result<String, RouteError> {
        let mut path = String::new();
        while self.takes(&Token::Symbol('/')) {
            let Some(Token::Word(part)) = self.peek() else {
                return Err(self.expected("a name or * after /"));
            };
            path.push('/');
            path.push_str(part);
            self.next += 1;
        }
        if path.is_empty() {
            return Err(self.expected("a source such as /messages/*"));
        }
        let mut prefix = path.trim_end_matches(['*', '/']).to_ascii_lowercase();
        prefix.push('/');
        Ok(prefix)
    }

    /// The condition after `WHERE`, which was taken; the tokens go on at `INTO`.
    fn condition(&mut self) -> Result<Option<Condition>, RouteError> {
        let start = self.tokens.last().map_or(0, |(at, _)| at + "WHERE".len());
        let rest = self.text.get(start..).unwrap_or_default();
        let (condition, length) =
            Condition::parse_before(rest, "INTO", Rules::Edge).map_err(|error| {
                let at = character(self.text, start + error.at);
                RouteError::Condition { at, problem: error.problem }
            })?;
        self.tokens = tokens(self.text, start + length)?;
        self.next = 0;
        Ok(Some(condition).filter(|condition| !condition.is_always()))
    }

    fn sink(&mut self) -> Result<Sink, RouteError> {
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return Err(self.expected("a sink such as $upstream"));
        };
        self.next += 1;
        if name.eq_ignore_ascii_case(UPSTREAM) {
            return Ok(Sink::Upstream);
        }
        if !name.eq_ignore_ascii_case(BROKERED_ENDPOINT) {
            return Err(RouteError::Sink { found: shortened(&name) });
        }
        self.expect(&Token::Symbol('('), "( after BrokeredEndpoint")?;
        let Some(Token::Text(argument)) = self.peek().cloned() else {
            return Err(self.expected("a quoted text such as \"/modules/<m>/inputs/<i>\""));
        };
        self.next += 1;
        let sink = endpoint(&argument)?;
        self.expect(&Token::Symbol(')'), ") after the endpoint")?;
        Ok(sink)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn takes(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_keyword(keyword));
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token, expected: &'static str) -> Result<(), RouteError> {
        if self.takes(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> RouteError {
        let (at, found) = match self.tokens.get(self.next) {
            Some((at, token)) => (*at, token.to_string()),
            None => (self.text.len(), "the end".to_owned()),
        };
        RouteError::Expected { expected, found, at: character(self.text, at) }
    }
}

/// Which character of a text begins at a byte, counted from 1.
fn character(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).chars().count() + 1
}

/// Exactly four segments; the words `modules` and `inputs` are not verified (er §5.2).
fn endpoint(argument: &str) -> Result<Sink, RouteError> {
    let refuse = || RouteError::Endpoint { found: format!("{:?}", shortened(argument)) };
    let segments: Vec<&str> = argument.split('/').filter(|part| !part.is_empty()).collect();
    let [_, module, _, input] = segments.as_slice() else { return Err(refuse()) };
    let module = module.parse().map_err(|_| refuse())?;
    Ok(Sink::ModuleInput { module, input: (*input).to_owned() })
}

/// A text value in a twin is at most 4 KiB (`device-protocol.md` §7.1).
pub const ROUTE_BYTES_MAX: usize = model::limits::TWIN_TEXT_BYTES_MAX;
const UPSTREAM: &str = "$upstream";
const BROKERED_ENDPOINT: &str = "BrokeredEndpoint";
