//! `schemaVersion`: a dotted version of two or three numbers (er §4.1, T-VERSION-STR).

use std::fmt;
use std::str::FromStr;

/// The version of a manifest's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number, 0 when it is left out.
    pub patch: u32,
}

/// The text is not two or three numbers with dots between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a version of two or three numbers, such as 1.1")]
pub struct InvalidSchemaVersion;

impl FromStr for SchemaVersion {
    type Err = InvalidSchemaVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Vec<u32> = text
            .trim()
            .split('.')
            .map(|part| {
                let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                if digits { part.parse().ok() } else { None }
            })
            .collect::<Option<_>>()
            .ok_or(InvalidSchemaVersion)?;
        match numbers.as_slice() {
            [major, minor] => Ok(Self { major: *major, minor: *minor, patch: 0 }),
            [major, minor, patch] => Ok(Self { major: *major, minor: *minor, patch: *patch }),
            _ => Err(InvalidSchemaVersion),
        }
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_or_three_numbers_are_a_version() {
        for (text, expected) in [("1.0", (1, 0, 0)), ("1.1", (1, 1, 0)), ("1.1.0", (1, 1, 0))] {
            let version: SchemaVersion = text.parse().unwrap();
            assert_eq!((version.major, version.minor, version.patch), expected);
        }
        for bad in ["", "1", "1.", "1.0.0.0", "a.b", "1.-1", "+1.0", "1.99999999999"] {
            assert!(bad.parse::<SchemaVersion>().is_err(), "{bad:?}");
        }
    }
}
