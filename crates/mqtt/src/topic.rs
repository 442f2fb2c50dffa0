//! Topic names: where a PUBLISH goes. MQTT 3.1.1 §4.7.
//!
//! A name is a slice of the packet it came in, checked once. What the levels
//! mean is `iot-proto`'s business.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::codec::{STRING_BYTES_MAX, bounded_text};

/// A topic name: 1 to 65,535 bytes of UTF-8, without U+0000 and wildcards.
///
/// Cheap to clone. A topic that came from the wire keeps the read buffer it
/// lies in alive; whoever stores it for long makes a `String` of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Bytes);

impl Topic {
    /// Checks `text` and makes a topic name of it.
    pub fn new(text: impl Into<String>) -> Result<Topic, TopicError> {
        Topic::from_bytes(Bytes::from(text.into().into_bytes()))
    }

    /// Checks `bytes` and makes a topic name of them, without copying.
    pub fn from_bytes(bytes: Bytes) -> Result<Topic, TopicError> {
        if bytes.is_empty() {
            return Err(TopicError::Empty);
        }
        if bytes.len() > STRING_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        // One pass without early exit, so that it runs on vectors: this is per message.
        let (wildcard, nul) = bytes.iter().fold((false, false), |(wildcard, nul), &byte| {
            (wildcard | (byte == b'+') | (byte == b'#'), nul | (byte == 0))
        });
        if wildcard {
            return Err(TopicError::Wildcard);
        }
        if nul {
            return Err(TopicError::Nul);
        }
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Topic(bytes)),
            Err(_) => Err(TopicError::NotUtf8),
        }
    }

    /// The name as text. Looks at every byte again (some nanoseconds): keep the
    /// result rather than call it in a loop.
    #[must_use]
    pub fn as_str(&self) -> &str {
        bounded_text(&self.0)
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq<str> for Topic {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Topic {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl TryFrom<&str> for Topic {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Topic, TopicError> {
        Topic::new(text)
    }
}

impl TryFrom<String> for Topic {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Topic, TopicError> {
        Topic::new(text)
    }
}

/// Why a text is no topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// `[MQTT-4.7.3-1]`
    #[error("topic name is empty")]
    Empty,
    /// `[MQTT-4.7.3-3]`
    #[error("topic name is longer than 65535 bytes")]
    TooLong,
    /// `[MQTT-3.3.2-2]`
    #[error("topic name contains a wildcard (`+` or `#`)")]
    Wildcard,
    /// `[MQTT-4.7.3-2]`
    #[error("topic name contains U+0000")]
    Nul,
    /// `[MQTT-3.3.2-1]`
    #[error("topic name is not UTF-8")]
    NotUtf8,
}
