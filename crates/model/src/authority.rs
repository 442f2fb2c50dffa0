//! Registered certificate authorities: the names that an operator gave them.
//!
//! Rule: the `certificates` resource of the service's management interface (1 to 64 letters, digits
//! and `.`, `-`, `_`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a registered certificate authority.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthorityName(Arc<str>);

/// Why a text names no certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a certificate's name has 1 to {NAME_LENGTH_MAX} ASCII letters, digits and . - _")]
pub struct AuthorityNameError;

/// Characters in a name.
pub const NAME_LENGTH_MAX: usize = 64;

impl AuthorityName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AuthorityName {
    type Err = AuthorityNameError;

    fn from_str(text: &str) -> Result<Self, AuthorityNameError> {
        let fits = (1..=NAME_LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if fits { Ok(Self(text.into())) } else { Err(AuthorityNameError) }
    }
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for text in ["a", "Plant-7_ca.2026", &"x".repeat(64)] {
            assert_eq!(text.parse::<AuthorityName>().unwrap().as_str(), text);
        }
        for text in ["", "a/b", "a b", "\u{e4}", "$a", &"x".repeat(65)] {
            assert_eq!(text.parse::<AuthorityName>(), Err(AuthorityNameError), "{text}");
        }
    }
}
