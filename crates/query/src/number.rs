//! Numbers: how they are written in a condition, and which texts `as_number` takes for one.

/// A number as a word of a condition: decimal with or without fraction and exponent, or `0x…`.
/// `None` if the word is a name; `Some(None)` if the number is too large to be held.
pub(crate) fn literal(word: &str) -> Option<Option<f64>> {
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        let is_hex = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        // As the original, 64 bits; more digits than a double holds are rounded.
        return is_hex.then(|| i64::from_str_radix(digits, 16).ok().map(|number| number as f64));
    }
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let whole = word.len() - rest.len();
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(digits) => {
            let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            (digits.len() - rest.len(), rest)
        }
        None => (0, rest),
    };
    let ends_in_point = fraction == 0 && word.get(whole..whole + 1) == Some(".");
    if whole + fraction == 0 || ends_in_point || !is_exponent_or_empty(rest) {
        return None;
    }
    word.parse().ok().map(Some)
}

/// The number that a text stands for: what .NET's invariant culture takes (er §5.2). White space
/// around it, a sign before or after it, parentheses as a minus, and commas between digits are
/// taken; what is too large is infinite.
pub(crate) fn from_text(text: &str) -> Option<f64> {
    let text = text.trim_matches(['\t', '\n', '\u{b}', '\u{c}', '\r', ' ']);
    match text.trim_start_matches(['+', '-']) {
        "Infinity" | "∞" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        _ => {}
    }
    let (text, parentheses) = match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(inside) => (inside.trim(), true),
        None => (text, false),
    };
    let (text, minus) = without_sign(text);
    if parentheses && minus.is_some() {
        return None;
    }
    let (digits, rest) = text.split_at(text.find(['.', 'e', 'E']).unwrap_or(text.len()));
    if digits.starts_with(',') || !digits.bytes().all(|c| c.is_ascii_digit() || c == b',') {
        return None;
    }
    let fraction_end = match rest.strip_prefix('.') {
        Some(after) => rest.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len(),
        None => 0,
    };
    let (fraction, exponent) = rest.split_at(fraction_end);
    let has_digits = !digits.is_empty() || fraction.len() > 1;
    if !has_digits || !is_exponent_or_empty(exponent) {
        return None;
    }
    let plain = format!("{}{fraction}{exponent}", digits.replace(',', ""));
    let number: f64 = plain.parse().ok()?;
    Some(if parentheses || minus == Some(true) { -number } else { number })
}

/// Without its sign, and whether that is a minus. At most one sign.
fn without_sign(text: &str) -> (&str, Option<bool>) {
    if let Some(rest) = text.strip_prefix(['+', '-']) {
        return (rest.trim_start(), Some(text.starts_with("-")));
    }
    if let Some(rest) = text.strip_suffix(['+', '-'])
        && !rest.ends_with(['e', 'E'])
    {
        return (rest.trim_end(), Some(text.ends_with("-")));
    }
    (text, None)
}

fn is_exponent_or_empty(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(['e', 'E']) else { return text.is_empty() };
    let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}
