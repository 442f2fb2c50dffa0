//! The words of a condition.
//!
//! A name is anything between white space and the separators `( ) < > @ , ; : \ " / ? = { }`, and
//! also ends before `!=` and `||`; so `iothub-interface-id` and `30-5` are names, and operators want
//! white space or a separator before them. Names that begin with `$` may hold `[` and `]`.
//! Comments are between `/*` and `*/`.

use std::fmt;

use crate::error::{Error, Problem, shortened};
use crate::syntax::Operator;
use crate::{CONDITION_BYTES_MAX, number};

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Name(String),
    Dollar(String),
    Text(String),
    Number(f64),
    True,
    False,
    Null,
    Undefined,
    Not,
    Operator(Operator),
    Open,
    Close,
    BraceOpen,
    BraceClose,
    Comma,
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) token: Token,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::Dollar(name) => f.write_str(&shortened(name)),
            Self::Text(text) => write!(f, "{:?}", shortened(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Null => f.write_str("null"),
            Self::Undefined => f.write_str("undefined"),
            Self::Not => f.write_str("NOT"),
            Self::Operator(operator) => f.write_str(operator.text()),
            Self::Open => f.write_str("("),
            Self::Close => f.write_str(")"),
            Self::BraceOpen => f.write_str("{"),
            Self::BraceClose => f.write_str("}"),
            Self::Comma => f.write_str(","),
        }
    }
}

/// The tokens up to a keyword (in any case) or the end, and the byte where that is.
pub(crate) fn tokens(text: &str, keyword: Option<&str>) -> Result<(Vec<Placed>, usize), Error> {
    if text.len() > CONDITION_BYTES_MAX {
        return Err(Error::new(0, Problem::TooLong));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let skipped = blank_length(rest);
        if skipped > 0 {
            at += skipped;
            continue;
        }
        let (length, token) = token(rest, at)?;
        if let (Token::Name(name), Some(keyword)) = (&token, keyword)
            && name.eq_ignore_ascii_case(keyword)
        {
            return Ok((tokens, at));
        }
        tokens.push(Placed { at, end: at + length, token });
        at += length;
    }
    Ok((tokens, text.len()))
}

/// White space or a comment at the start. `/*` opens a comment only if some `*/` closes it.
fn blank_length(rest: &str) -> usize {
    if let Some(inside) = rest.strip_prefix("/*")
        && let Some(end) = inside.find("*/")
    {
        return end + 4;
    }
    rest.len() - rest.trim_start_matches(BLANKS).len()
}

/// The token at the start, and its length.
fn token(rest: &str, at: usize) -> Result<(usize, Token), Error> {
    if let Some((text, token)) = SYMBOLS.iter().find(|(text, _)| rest.starts_with(text)) {
        return Ok((text.len(), token.clone()));
    }
    match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (length, text) = quoted(rest, quote, at)?;
            Ok((length, Token::Text(text)))
        }
        Some('$') => {
            let word = word(rest, true);
            Ok((word.len(), Token::Dollar(word.to_owned())))
        }
        Some(first) => {
            let word = word(rest, false);
            if word.is_empty() || matches!(first, '!' | '|') {
                return Err(unexpected(first, at));
            }
            Ok((word.len(), named(word, at)?))
        }
        None => Err(Error::new(at, Problem::Empty)),
    }
}

fn unexpected(first: char, at: usize) -> Error {
    let hint = match first {
        '!' => Some("write NOT".to_owned()),
        '|' => Some("write OR, or || to join texts".to_owned()),
        _ => None,
    };
    let expected = "a name, value or operator";
    Error::new(at, Problem::Expected { expected, found: format!("{first:?}"), hint })
}

/// `true`, `false`, `null` and `undefined` are words in lower case only (er §5.2).
fn named(word: &str, at: usize) -> Result<Token, Error> {
    let keyword = |keyword: &str| word.eq_ignore_ascii_case(keyword);
    Ok(match word {
        "true" => Token::True,
        "false" => Token::False,
        "null" => Token::Null,
        "undefined" => Token::Undefined,
        _ if keyword("AND") => Token::Operator(Operator::And),
        _ if keyword("OR") => Token::Operator(Operator::Or),
        _ if keyword("NOT") => Token::Not,
        _ => match number::literal(word) {
            Some(Some(number)) => Token::Number(number),
            Some(None) => {
                return Err(Error::new(at, Problem::Number { found: shortened(word) }));
            }
            None => Token::Name(word.to_owned()),
        },
    })
}

fn word(rest: &str, with_brackets: bool) -> &str {
    let ends = |(at, c): &(usize, char)| {
        SEPARATORS.contains(*c)
            || (!with_brackets && matches!(c, '[' | ']'))
            || rest.get(*at..).is_some_and(|rest| rest.starts_with("!=") || rest.starts_with("||"))
    };
    let end = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
    rest.get(..end).unwrap_or(rest)
}

/// A quoted text and its length in the source.
fn quoted(rest: &str, quote: char, start: usize) -> Result<(usize, String), Error> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((at + 1, value)),
            '\\' => {
                let after = rest.get(at..).unwrap_or_default();
                let Some((length, escaped)) = escape(after) else {
                    let found = after.chars().take(ESCAPE_CHARS_MAX).collect();
                    return Err(Error::new(start + at, Problem::Escape { found }));
                };
                value.push(escaped);
                // All escapes are of ASCII characters.
                for _ in 1..length {
                    chars.next();
                }
            }
            c => value.push(c),
        }
    }
    Err(Error::new(start, Problem::Unterminated))
}

/// The escape at the start: its length and what it stands for.
fn escape(text: &str) -> Option<(usize, char)> {
    let escaped = match text.chars().nth(1)? {
        same @ ('"' | '\'' | '\\' | '/') => same,
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return unicode(text),
        _ => return None,
    };
    Some((2, escaped))
}

/// `\u0041`, or two of them for a character beyond the first 65536.
fn unicode(text: &str) -> Option<(usize, char)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let first = unit(text)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((6, c));
    }
    let second = unit(text.get(6..)?)?;
    char::decode_utf16([first, second]).next()?.ok().map(|c| (12, c))
}

/// Longer ones first. Those that may also stand within a name count only at its start.
const SYMBOLS: [(&str, Token); 19] = [
    ("||", Token::Operator(Operator::Concat)),
    ("??", Token::Operator(Operator::Coalesce)),
    ("!=", Token::Operator(Operator::NotEqual)),
    ("<>", Token::Operator(Operator::NotEqual)),
    ("<=", Token::Operator(Operator::LessEqual)),
    (">=", Token::Operator(Operator::GreaterEqual)),
    ("<", Token::Operator(Operator::Less)),
    (">", Token::Operator(Operator::Greater)),
    ("=", Token::Operator(Operator::Equal)),
    ("+", Token::Operator(Operator::Add)),
    ("-", Token::Operator(Operator::Subtract)),
    ("*", Token::Operator(Operator::Multiply)),
    ("/", Token::Operator(Operator::Divide)),
    ("%", Token::Operator(Operator::Remainder)),
    ("(", Token::Open),
    (")", Token::Close),
    ("{", Token::BraceOpen),
    ("}", Token::BraceClose),
    (",", Token::Comma),
];
/// White space; other such characters are part of names (er §5.2).
pub(crate) const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
/// What ends a name, with white space (er §5.2).
const SEPARATORS: &str = "()<>@,;:\\\"/?={} \t\r\n";
/// Characters of a wrong escape that an error repeats: as many as `\u0041` has.
const ESCAPE_CHARS_MAX: usize = 6;
