//! Topic filters: what a subscription asks for. MQTT 3.1.1 §4.7.1.
//!
//! Matching walks both texts once, level by level, without recursion and
//! without memory: a filter of 32,768 levels costs no more than its bytes.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use crate::codec::STRING_BYTES_MAX;

/// A topic filter: well-formed, 1 to 65,535 bytes, wildcards only as whole levels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Box<str>);

impl Filter {
    /// Checks `text` and makes a filter of it; at most `levels_max` levels.
    pub fn with_levels_max(text: &str, levels_max: usize) -> Result<Filter, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > STRING_BYTES_MAX {
            return Err(FilterError::TooLong);
        }
        if text.contains('\0') {
            return Err(FilterError::Nul);
        }
        let mut levels = text.split('/').enumerate().peekable();
        while let Some((index, level)) = levels.next() {
            if index >= levels_max {
                return Err(FilterError::TooManyLevels { limit: levels_max });
            }
            let is_last = levels.peek().is_none();
            match level {
                "+" => {}
                "#" if is_last => {}
                _ if level.contains(['+', '#']) => return Err(FilterError::Wildcard),
                _ => {}
            }
        }
        Ok(Filter(text.into()))
    }

    /// Whether a message published to `topic` belongs to this subscription.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        matches(&self.0, topic)
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The filter as owned text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into()
    }
}

/// Whether `filter` selects `topic`. Both are taken as well-formed.
///
/// A leading wildcard doesn't select topics that begin with `$` `[MQTT-4.7.2-1]`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut filter_levels = filter.split('/');
    let mut topic_levels = topic.split('/');
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            // `a/#` selects `a` too: the `#` may meet the end of the topic.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

impl Deref for Filter {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Filter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Filter, FilterError> {
        Filter::with_levels_max(text, usize::MAX)
    }
}

impl PartialEq<str> for Filter {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Filter {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

/// Why a text is no topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// `[MQTT-4.7.3-1]`
    #[error("topic filter is empty")]
    Empty,
    /// `[MQTT-4.7.3-3]`
    #[error("topic filter is longer than 65535 bytes")]
    TooLong,
    /// `[MQTT-4.7.3-2]`
    #[error("topic filter contains U+0000")]
    Nul,
    /// `[MQTT-4.7.1-2]`, `[MQTT-4.7.1-3]`
    #[error(
        "topic filter has a wildcard that is not a whole level, or a `#` before the last level"
    )]
    Wildcard,
    /// More levels than the limit handed in.
    #[error("topic filter has more than {limit} levels")]
    TooManyLevels {
        /// The limit handed in.
        limit: usize,
    },
}
