//! Etags and `If-Match`: how a version is spelled and what a writer demands of it.
//!
//! Rules: sa §2.6. `W/` and quotes are optional, a star means any version in both spellings. Only
//! the header decides; an `etag` within a body is noise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Etag;

/// What an `If-Match` header demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// There is no such header.
    Absent,
    /// Any version, but it must exist.
    Any,
    /// This text, without its quotes.
    Tag(String),
}

impl IfMatch {
    /// Reads the header's value, or its absence.
    pub fn parse(header: Option<&str>) -> Self {
        let Some(text) = header.map(str::trim).filter(|text| !text.is_empty()) else {
            return Self::Absent;
        };
        let text = text.strip_prefix("W/").unwrap_or(text);
        let text = text.strip_prefix('"').unwrap_or(text);
        let text = text.strip_suffix('"').unwrap_or(text);
        if text == "*" { Self::Any } else { Self::Tag(text.to_owned()) }
    }

    /// Whether a stored version with this etag text meets the demand.
    pub fn allows(&self, stored: &str) -> bool {
        match self {
            Self::Absent | Self::Any => true,
            Self::Tag(text) => text == stored,
        }
    }
}

/// The quoted form for an `ETag` or `If-Match` header.
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// An identity's or configuration's etag: Base64 of a decimal counter.
pub fn identity(etag: Etag) -> String {
    STANDARD.encode(etag.0.to_string())
}

/// Reads back what [`identity`] wrote.
pub fn parse_identity(text: &str) -> Option<Etag> {
    let digits = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok().map(Etag) } else { None }
}

/// A twin's etag: Base64 of eight bytes, big end first; the first is `AAAAAAAAAAE=` (sa §3.2).
pub fn twin(etag: Etag) -> String {
    STANDARD.encode(etag.0.to_be_bytes())
}

/// Reads back what [`twin`] wrote.
pub fn parse_twin(text: &str) -> Option<Etag> {
    let bytes: [u8; 8] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Etag(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_in_every_spelling_of_the_clients() {
        for (header, demand) in [
            (None, IfMatch::Absent),
            (Some(""), IfMatch::Absent),
            (Some("*"), IfMatch::Any),
            (Some("\"*\""), IfMatch::Any),
            (Some("W/\"*\""), IfMatch::Any),
            (Some("MQ=="), IfMatch::Tag("MQ==".into())),
            (Some("\"MQ==\""), IfMatch::Tag("MQ==".into())),
            (Some("W/\"MQ==\""), IfMatch::Tag("MQ==".into())),
            (Some(" \"AAAAAAAAAAE=\" "), IfMatch::Tag("AAAAAAAAAAE=".into())),
        ] {
            assert_eq!(IfMatch::parse(header), demand, "{header:?}");
        }
        assert!(!IfMatch::Tag("MQ==".into()).allows("Mg=="));
        assert!(IfMatch::Any.allows("Mg=="));
    }

    #[test]
    fn etags_are_spelled_as_the_service_does() {
        assert_eq!(identity(Etag(1)), "MQ==");
        assert_eq!(identity(Etag(746_214_439)), "NzQ2MjE0NDM5");
        assert_eq!(twin(Etag(1)), "AAAAAAAAAAE=");
        for number in [0, 1, 9, u64::MAX] {
            assert_eq!(parse_identity(&identity(Etag(number))), Some(Etag(number)));
            assert_eq!(parse_twin(&twin(Etag(number))), Some(Etag(number)));
        }
        assert_eq!(parse_identity("*"), None);
        assert_eq!(parse_identity("KzE="), None, "+1 is not how we spell 1");
        assert_eq!(parse_twin("MQ=="), None);
    }
}
