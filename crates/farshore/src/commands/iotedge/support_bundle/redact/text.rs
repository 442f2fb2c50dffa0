//! One line of free text: what stands behind the name of a secret goes, and what looks like a key.

use super::REDACTED;

/// A line in pieces that are not too long: the search below takes the square of a line's length,
/// and a module may write lines without end.
pub(super) fn pieces(line: &str) -> impl Iterator<Item = Piece<'_>> {
    let logs_in =
        logs_in(&line[..line.floor_char_boundary(COMMAND_BYTES_MAX)].to_ascii_lowercase());
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = piece_end(rest, logs_in);
        let text;
        (text, rest) = rest.split_at(end);
        Some(Piece { text, logs_in })
    })
}

/// A part of a line.
pub(super) struct Piece<'t> {
    pub(super) text: &'t str,
    /// Whether the line is of a program that takes a password as `-p`.
    logs_in: bool,
}

/// Where the first piece ends: not within what looks like a key, nor between the name of a secret and
/// its value, as long as these are shorter than half a piece.
fn piece_end(line: &str, logs_in: bool) -> usize {
    if line.len() <= LINE_BYTES_MAX {
        return line.len();
    }
    let least = line.floor_char_boundary(LINE_BYTES_MAX / 2);
    let most = line.floor_char_boundary(LINE_BYTES_MAX);
    let before_key = line[..most].trim_end_matches(|c: char| is_key_char(c) || c == '=').len();
    let end = if before_key > least { before_key } else { most };
    // A name may reach over the end.
    let beyond = line.floor_char_boundary(end + NAME_BYTES_MAX);
    let tail = line[least..beyond].to_ascii_lowercase();
    let name = SECRET_NAMES.iter().filter_map(|name| tail.find(name)).min();
    // With the dashes that make an option of it.
    let name = name.map(|at| tail[..at].trim_end_matches(is_name_char).len());
    let short = if logs_in { tail.find("-p") } else { None };
    name.into_iter().chain(short).min().map_or(end, |at| end.min(least + at))
}

/// One piece, without what stands behind the name of a secret and what looks like a key.
pub(super) fn scrub(piece: &Piece<'_>, out: &mut String) {
    let line = piece.text;
    let lower = line.to_ascii_lowercase();
    let mut rest = 0;
    loop {
        let short = if piece.logs_in { next_short(&lower, rest) } else { None };
        let Some((start, end)) = next_named(&lower, rest).into_iter().chain(short).min() else {
            break;
        };
        keys_out(&line[rest..start], out);
        out.push_str(REDACTED);
        rest = end;
    }
    keys_out(&line[rest..], out);
}

/// The next value behind the name of a secret, as a range of bytes. Both ends are beside ASCII.
fn next_named(lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = SECRET_NAMES
            .iter()
            // A sign at a name's end belongs to what follows: it is looked for below.
            .filter_map(|name| {
                Some((at + lower[at..].find(name)?, name.trim_end_matches('=').len()))
            })
            .min_by_key(|(start, length)| (*start, std::cmp::Reverse(*length)));
        let (start, length) = found?;
        at = start + length;
        let name = &lower[start..at];
        let tail = &lower[at..];
        // A policy's name is none of its keys.
        if name == "sharedaccesskey" && tail.starts_with("name") {
            continue;
        }
        // A name may go on ("password_hash") or be quoted.
        let named = tail.trim_start_matches(|c: char| is_name_char(c) || "\"'\\".contains(c));
        let named = named.trim_start_matches(' ');
        let Some(value) = named.strip_prefix(['=', ':']) else {
            match is_option(lower, start).then(|| behind_option(lower, at)).flatten() {
                Some(value) => return Some(value),
                None => continue,
            }
        };
        let is_cookies = name == "cookie" && named.starts_with(':');
        let value = value.trim_start_matches(|c: char| c == ' ' || "\"'\\=".contains(c));
        let start = lower.len() - value.len();
        let quote = lower[..start].chars().next_back().filter(|c| "\"'".contains(*c));
        let until_line_end = tail_is_scheme(value);
        let length = value
            .find(|c: char| match quote {
                Some(quote) => c == quote || "\r\n".contains(c),
                None if is_cookies => "\r\n".contains(c),
                None if until_line_end => "\"'\r\n".contains(c),
                None => ends_value(c),
            })
            .unwrap_or(value.len());
        if length > 0 {
            return Some((start, start + length));
        }
        at = start;
        if at >= lower.len() {
            return None;
        }
    }
}

/// Whether the name at `at` is (the end of) an option of a command line, such as `--registry-password`.
fn is_option(lower: &str, at: usize) -> bool {
    let word = lower[..at].trim_end_matches(is_name_char).len();
    lower[word..].starts_with('-')
}

/// The value of an option whose name was found to reach to `at` or beyond: the next word, also of a list
/// in JSON. An option may follow instead.
fn behind_option(lower: &str, at: usize) -> Option<(usize, usize)> {
    let after = lower[at..].trim_start_matches(is_name_char);
    let option_end = lower.len() - after.len();
    // Its value comes from elsewhere.
    if lower[at..option_end].ends_with("-stdin") {
        return None;
    }
    next_word(lower, option_end).filter(|(start, _)| *start > option_end)
}

/// The next `-p word` or `-pword` of a line that logs in somewhere.
fn next_short(lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let start = at + lower[at..].find("-p")?;
        at = start + 2;
        let before = lower[..start].chars().next_back();
        if before.is_none_or(|c| !is_name_char(c) && c != '/')
            && let Some(word) = next_word(lower, at)
        {
            return Some(word);
        }
    }
}

/// The word after quotes, commas and spaces; none when the line ends or it is an option.
fn next_word(lower: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &lower[from..];
    let word = rest.trim_start_matches(|c: char| " \t\"',=\\".contains(c));
    let start = lower.len() - word.len();
    let quote = rest[..rest.len() - word.len()].chars().next_back();
    let quote = quote.filter(|c| "\"'".contains(*c));
    let length =
        word.find(|c: char| quote.map_or_else(|| ends_value(c), |quote| c == quote || c == '\n'));
    let end = start + length.unwrap_or(word.len());
    (end > start && !word.starts_with('-')).then_some((start, end))
}

/// Whether a line is of a command that takes a password as `-p`.
fn logs_in(lower: &str) -> bool {
    COMMANDS_THAT_LOG_IN.iter().any(|command| lower.contains(command))
}

/// `Bearer …`, `Basic …`, `SharedAccessSignature …`: the secret is behind the scheme.
fn tail_is_scheme(value: &str) -> bool {
    ["bearer ", "basic ", "digest ", "sharedaccesssignature "]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

fn ends_value(c: char) -> bool {
    c.is_whitespace() || "\"';,&)}]<\\".contains(c)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-".contains(c)
}

/// Replaces what looks like a key or token in Base64, and users in URLs.
fn keys_out(text: &str, out: &mut String) {
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !is_key_char(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        let padded = after.len() - after.trim_start_matches('=').len();
        if looks_like_key(run) {
            out.push_str(REDACTED);
            rest = &after[padded..];
            continue;
        }
        out.push_str(run);
        if run.is_empty() {
            if let Some(after_user) = user_of_url(after, out) {
                out.push_str("://");
                out.push_str(REDACTED);
                rest = after_user;
                continue;
            }
            let length = after.chars().next().map_or(0, char::len_utf8);
            out.push_str(&after[..length]);
            rest = &after[length..];
        } else {
            rest = after;
        }
    }
}

/// What follows `://user:password` in a text that begins so; `out` ends with a scheme.
fn user_of_url<'t>(text: &'t str, out: &str) -> Option<&'t str> {
    let authority = text.strip_prefix("://")?;
    if !out.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let end = authority.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c));
    let authority_only = &authority[..end.unwrap_or(authority.len())];
    let at = authority_only.rfind('@')?;
    Some(&authority[at..])
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/-_".contains(c)
}

/// Long, and of all kinds of letters: digests and ids in hex are not, words and paths hardly.
fn looks_like_key(run: &str) -> bool {
    run.len() >= KEY_CHARS_MIN
        && run.contains(|c: char| c.is_ascii_uppercase())
        && run.contains(|c: char| c.is_ascii_lowercase())
        && run.contains(|c: char| c.is_ascii_digit())
}

/// Longer than most lines, and than most keys on one line.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// A key of 30 bytes in Base64.
const KEY_CHARS_MIN: usize = 40;

/// Longer than each of them.
const NAME_BYTES_MAX: usize = 32;

/// Where a command's name is looked for in a line.
const COMMAND_BYTES_MAX: usize = 64 * 1024;

const COMMANDS_THAT_LOG_IN: [&str; 4] = ["login", "sshpass", "mysql", "mosquitto_"];

/// What secrets are called; a sign at the end belongs to the name.
const SECRET_NAMES: [&str; 25] = [
    "sharedaccesskey",
    "sharedaccesssignature",
    "accountkey",
    "access_key",
    "accesskey",
    "primarykey",
    "secondarykey",
    "primary_key",
    "secondary_key",
    "symmetric_key",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "api-key",
    "sig=",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "credential",
    "cookie",
];
