//! Consumer groups of the event log: names under which back ends read it side by side.
//!
//! Rules: `service-api.md` §8.1 and the Event Hubs documentation (1 to 50 characters; letters,
//! digits, `.`, `-`, `_`; compared without case). Every hub has `$Default`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// The name of a consumer group. Equal without regard to case, shown as it was given.
#[derive(Clone)]
pub struct ConsumerGroup(Arc<str>);

/// Why a text names no consumer group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a consumer group's name has 1 to {NAME_LENGTH_MAX} ASCII letters, digits and . - _")]
pub struct ConsumerGroupError;

/// Characters in a name (Event Hubs documentation).
pub const NAME_LENGTH_MAX: usize = 50;
/// The group that every hub has.
pub const DEFAULT: &str = "$Default";

impl ConsumerGroup {
    /// The group that every hub has.
    pub fn default_group() -> Self {
        Self(DEFAULT.into())
    }

    /// Whether it is the group that every hub has.
    pub fn is_default(&self) -> bool {
        self.0.eq_ignore_ascii_case(DEFAULT)
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConsumerGroup {
    type Err = ConsumerGroupError;

    fn from_str(text: &str) -> Result<Self, ConsumerGroupError> {
        if text.eq_ignore_ascii_case(DEFAULT) {
            return Ok(Self::default_group());
        }
        let fits = (1..=NAME_LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if fits { Ok(Self(text.into())) } else { Err(ConsumerGroupError) }
    }
}

impl PartialEq for ConsumerGroup {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ConsumerGroup {}

impl Hash for ConsumerGroup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl fmt::Display for ConsumerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConsumerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_checked() {
        for text in ["a", "$Default", "$default", "my-group_1.x", &"x".repeat(50)] {
            assert!(text.parse::<ConsumerGroup>().is_ok(), "{text}");
        }
        for text in ["", "$other", "a/b", "a b", "\u{e4}", "%24Default", &"x".repeat(51)] {
            assert!(text.parse::<ConsumerGroup>().is_err(), "{text}");
        }
    }

    #[test]
    fn case_does_not_tell_groups_apart() {
        let [one, other]: [ConsumerGroup; 2] = ["Alerts", "aLERTS"].map(|t| t.parse().unwrap());
        assert_eq!(one, other);
        assert_eq!(HashSet::from([one.clone(), other]).len(), 1);
        assert_eq!(one.as_str(), "Alerts");
        let default: ConsumerGroup = "$DEFAULT".parse().unwrap();
        assert!(default.is_default() && default.as_str() == "$Default");
        assert_ne!(one, default);
    }
}
