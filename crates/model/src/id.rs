//! Identifiers as newtypes, so that two kinds cannot be mixed.
//!
//! Rules: `device-protocol.md` §2.3, `service-api.md` §2.2 (1 to 128 characters of a fixed ASCII
//! set; case-sensitive). A value that exists obeys them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("{0} is empty; give 1 to 128 characters")]
    Empty(&'static str),
    /// The text is longer than [`limits::ID_LENGTH_MAX`].
    #[error("{0} has {1} characters; at most 128 are allowed")]
    TooLong(&'static str, usize),
    /// The text holds a character outside the allowed set.
    #[error(
        "{0} holds {1:?}; allowed are ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"
    )]
    Character(&'static str, char),
}

fn check(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty(what));
    }
    if let Some(bad) = text.chars().find(|c| !is_id_char(*c)) {
        return Err(IdError::Character(what, bad));
    }
    if text.len() > limits::ID_LENGTH_MAX {
        return Err(IdError::TooLong(what, text.len()));
    }
    Ok(())
}

fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c)
}

macro_rules! id_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id_newtype!(
    /// A device's identifier.
    DeviceId,
    "device id"
);
id_newtype!(
    /// A module's identifier within its device.
    ModuleId,
    "module id"
);

impl ModuleId {
    /// The edge runtime's agent, `$edgeAgent`.
    pub fn edge_agent() -> Self {
        Self(EDGE_AGENT.into())
    }

    /// The edge runtime's hub, `$edgeHub`.
    pub fn edge_hub() -> Self {
        Self(EDGE_HUB.into())
    }

    /// Whether this is `$edgeHub`.
    pub fn is_edge_hub(&self) -> bool {
        self.as_str() == EDGE_HUB
    }

    /// Whether this is one of the two modules that come and go with an edge device.
    pub fn is_system(&self) -> bool {
        matches!(self.as_str(), EDGE_AGENT | EDGE_HUB)
    }
}

/// The module id of the edge agent.
pub const EDGE_AGENT: &str = "$edgeAgent";
/// The module id of the edge hub.
pub const EDGE_HUB: &str = "$edgeHub";

/// A device, or a module of a device: whoever can connect.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId {
    /// The device.
    pub device: DeviceId,
    /// The module, when the identity is one.
    pub module: Option<ModuleId>,
}

impl IdentityId {
    /// The identity of a device itself.
    pub fn device(device: DeviceId) -> Self {
        Self { device, module: None }
    }

    /// The identity of a module.
    pub fn module(device: DeviceId, module: ModuleId) -> Self {
        Self { device, module: Some(module) }
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "{}/{module}", self.device),
            None => write!(f, "{}", self.device),
        }
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl FromStr for IdentityId {
    type Err = IdError;

    /// Reads `device` or `device/module`; `/` is not legal within either.
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once('/') {
            Some((device, module)) => Ok(Self::module(device.parse()?, module.parse()?)),
            None => Ok(Self::device(text.parse()?)),
        }
    }
}

/// Tells a deleted and re-created identity from its predecessor: a decimal text, new on every
/// create. It never holds a `-`, because scopes are taken apart at the last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GenerationId(Arc<str>);

impl GenerationId {
    /// The generation with this number.
    pub fn from_number(number: u64) -> Self {
        Self(number.to_string().into())
    }

    /// A generation as another hub or the store spelled it.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version of a resource for optimistic concurrency: a counter; the wire shows it as Base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Etag(pub u64);

/// What a writer demands of the stored version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// No demand: create it or change it.
    None,
    /// It must not exist yet.
    Absent,
    /// It must exist, in whatever version.
    Exists,
    /// It must exist in this version.
    Matches(Etag),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_the_whole_documented_set_and_nothing_else() {
        let all = "azAZ09-:.+%_#*?!(),=@;$'";
        assert_eq!(all.parse::<DeviceId>().unwrap().as_str(), all);
        for (text, error) in [
            ("", IdError::Empty("device id")),
            ("a/b", IdError::Character("device id", '/')),
            ("a b", IdError::Character("device id", ' ')),
            ("ä", IdError::Character("device id", 'ä')),
            ("a\0", IdError::Character("device id", '\0')),
        ] {
            assert_eq!(text.parse::<DeviceId>(), Err(error));
        }
        assert!("x".repeat(128).parse::<DeviceId>().is_ok());
        assert_eq!("x".repeat(129).parse::<DeviceId>(), Err(IdError::TooLong("device id", 129)));
    }

    #[test]
    fn identity_text_reads_back() {
        for text in ["d", "d/m", "edge1/$edgeHub", "a#?%/b+$"] {
            assert_eq!(text.parse::<IdentityId>().unwrap().to_string(), text);
        }
        assert!("a/b/c".parse::<IdentityId>().is_err());
        assert!("a/".parse::<IdentityId>().is_err());
    }
}
