//! Percent-encoding as the device and service SDKs do it: a space is `%20`, a `+` means plus.
//!
//! Two ways to decode. [`decode`] is lenient, for property bags and user names: some clients do
//! not encode at all (dp §3.5), so text that is no valid encoding is kept as it stands.
//! [`decode_exact`] is for paths and tokens, where a doubtful text must not pass for another one.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Encodes everything but the unreserved characters of RFC 3986 (letters, digits, `-._~`), with
/// upper-case hex.
pub fn encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

/// Appends the encoding of a text to a buffer.
pub fn encode_into(text: &str, out: &mut String) {
    out.extend(utf8_percent_encode(text, RESERVED));
}

/// Decodes leniently: a `%` without two hex digits stays, and a text that would not decode to
/// UTF-8 stays as a whole.
pub fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

/// Decodes a text that must decode to UTF-8; a `%` without two hex digits stays.
pub fn decode_exact(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// Appends a text so that it fits in one level of an MQTT topic: only what would change the
/// topic's structure is encoded, because receivers compare the rest as it is.
pub fn encode_topic_level_into(text: &str, out: &mut String) {
    for character in text.chars() {
        let mut bytes = [0; 4];
        let character: &str = character.encode_utf8(&mut bytes);
        if character.is_ascii() {
            out.extend(utf8_percent_encode(character, TOPIC_LEVEL));
        } else {
            out.push_str(character);
        }
    }
}

/// Everything but the unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Separators, wildcards and controls.
const TOPIC_LEVEL: &AsciiSet =
    &percent_encoding::CONTROLS.add(b'/').add(b'?').add(b'#').add(b'+').add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_the_sdks_do() {
        for (text, encoded) in [
            ("", ""),
            ("plain-._~09", "plain-._~09"),
            ("id 1", "id%201"),
            ("v&=/ü", "v%26%3D%2F%C3%BC"),
            ("d 2+#%$", "d%202%2B%23%25%24"),
        ] {
            assert_eq!(encode(text), encoded);
            assert_eq!(decode(encoded), text);
            assert_eq!(decode_exact(encoded).as_deref(), Some(text));
        }
    }

    #[test]
    fn lenient_decoding_keeps_what_is_no_encoding() {
        for (text, decoded) in [
            ("100%", "100%"),
            ("%zz%41", "%zzA"),
            ("a+b", "a+b"),
            ("%2f%2F", "//"),
            ("%ff", "%ff"),
            ("%ffA%41", "%ffA%41"),
        ] {
            assert_eq!(decode(text), decoded);
        }
        assert_eq!(decode_exact("%ff"), None);
    }
}
