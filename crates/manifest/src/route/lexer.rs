//! The words of a route. A word is anything between white space and the separators
//! `( ) < > @ , ; : \ " / [ ] ? = { }`, so `*` and `$upstream` are words too.

use std::fmt;

use super::{RouteError, character};
use crate::fields::shortened;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, keyword, number, `*` or `$name`.
    Word(String),
    /// A quoted text, without its quotes and escapes.
    Text(String),
    /// Any other character.
    Symbol(char),
}

impl Token {
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(&shortened(word)),
            Self::Text(text) => write!(f, "{:?}", shortened(text)),
            Self::Symbol(symbol) => write!(f, "{symbol:?}"),
        }
    }
}

/// The tokens from a byte on, with the byte where each begins; comments and white space are left
/// out. They end at `WHERE`, which is the last: what follows it has words of its own.
pub(super) fn tokens(text: &str, from: usize) -> Result<Vec<(usize, Token)>, RouteError> {
    let mut tokens = Vec::new();
    let mut at = from;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        let (length, token) = match first {
            ' ' | '\t' | '\r' | '\n' => (1, None),
            '/' => match comment_length(rest) {
                Some(length) => (length, None),
                None => (1, Some(Token::Symbol('/'))),
            },
            '"' | '\'' => {
                let (length, value) = quoted(rest, first)
                    .ok_or_else(|| RouteError::Unterminated { at: character(text, at) })?;
                (length, Some(Token::Text(value)))
            }
            separator if !is_word(separator) => {
                (separator.len_utf8(), Some(Token::Symbol(separator)))
            }
            _ => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (end, rest.get(..end).map(|word| Token::Word(word.to_owned())))
            }
        };
        tokens.extend(token.map(|token| (at, token)));
        if tokens.last().is_some_and(|(_, token)| token.is_keyword("WHERE")) {
            break;
        }
        at += length;
    }
    Ok(tokens)
}

/// `/*` opens a comment only when some later `*/` closes it: `/messages/*` alone is a path.
fn comment_length(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix("/*")?;
    inside.find("*/").map(|end| end + 4)
}

/// A quoted text and its length in the source.
fn quoted(rest: &str, quote: char) -> Option<(usize, String)> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((at + 1, value)),
            '\\' => match chars.next()?.1 {
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&digits, 16).ok()?;
                    value.push(char::from_u32(code)?);
                }
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

fn is_word(c: char) -> bool {
    !"()<>@,;:\\\"/[]?={} \t\n\r".contains(c)
}
