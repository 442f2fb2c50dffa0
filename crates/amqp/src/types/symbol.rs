//! Symbols: short ASCII names from a bounded vocabulary.

use std::borrow::Cow;
use std::fmt;

/// A symbolic value, such as `amqp:not-found` or an annotation's key.
///
/// Symbols are ASCII. One known when the program is written costs no memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Cow<'static, str>);

/// A symbol was asked for from text that is not ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a symbol has characters outside of ascii: keep to ascii")]
pub struct NotAscii;

impl Symbol {
    /// A symbol from the program's text. Panics when that is not ASCII, at compile
    /// time for a constant.
    pub const fn from_static(text: &'static str) -> Symbol {
        assert!(text.is_ascii(), "a symbol is ascii");
        Symbol(Cow::Borrowed(text))
    }

    /// The symbol's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The symbol's text, without a copy when the symbol came from a peer.
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl TryFrom<String> for Symbol {
    type Error = NotAscii;

    fn try_from(text: String) -> Result<Symbol, NotAscii> {
        if text.is_ascii() { Ok(Symbol(Cow::Owned(text))) } else { Err(NotAscii) }
    }
}

impl TryFrom<&str> for Symbol {
    type Error = NotAscii;

    fn try_from(text: &str) -> Result<Symbol, NotAscii> {
        Symbol::try_from(text.to_owned())
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl PartialEq<str> for Symbol {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Symbol {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}
