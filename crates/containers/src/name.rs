//! The name of a module inside a runtime: its module id without the `$`.
//!
//! Module ids at the hub may hold characters that engines and file systems do
//! not take (`edge-runtime.md` §1.6, `security.md` B34), so the narrower rule
//! of the engines (`[a-zA-Z0-9][a-zA-Z0-9_.-]+`) holds for every runtime.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A checked module name: safe as container name, file name and argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(Arc<str>);

/// Why a text is not a module name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "module name {text:?} cannot be used: 2 to 128 of letters, digits, '_', '.' and '-', \
     beginning with a letter or digit"
)]
pub struct InvalidModuleName {
    /// The offending text, shortened.
    pub text: String,
}

impl ModuleName {
    /// The name for a module id: `$edgeAgent` gives `edgeAgent`.
    pub fn from_module_id(module_id: &str) -> Result<Self, InvalidModuleName> {
        module_id.strip_prefix('$').unwrap_or(module_id).parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleName {
    type Err = InvalidModuleName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let begins_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let holds_well = bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
        if begins_well && holds_well && (2..=NAME_CHARS_MAX).contains(&bytes.len()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidModuleName { text: text.chars().take(ERROR_CHARS_MAX).collect() })
        }
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ModuleName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The hub's bound for module ids.
const NAME_CHARS_MAX: usize = 128;
/// What an error repeats of a bad text.
const ERROR_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollar_is_taken_off_once() {
        assert_eq!(ModuleName::from_module_id("$edgeAgent").unwrap().as_str(), "edgeAgent");
        assert!(ModuleName::from_module_id("$$edgeAgent").is_err());
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(129);
        for bad in [
            "",
            "a",
            "..",
            "../../etc",
            "--privileged",
            "x;rm -rf",
            "a/b",
            "a\nb",
            "a b",
            ".hidden",
            "ä1",
            &long,
        ] {
            assert!(bad.parse::<ModuleName>().is_err(), "{bad:?}");
        }
        for good in ["edgeHub", "SimulatedTemperatureSensor", "a.b-c_d", "a..b", "0x"] {
            assert!(good.parse::<ModuleName>().is_ok(), "{good:?}");
        }
    }
}
