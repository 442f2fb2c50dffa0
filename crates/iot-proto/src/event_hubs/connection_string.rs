//! Connection strings of the event endpoint (sa §9.1):
//! `Endpoint=sb://{host}[:{port}]/;SharedAccessKeyName={policy};SharedAccessKey={key};EntityPath={entity}`.
//!
//! Keys keep their exact text: Event Hubs clients sign with the text itself.

use std::fmt;
use std::str::FromStr;

use crate::connection_string::{ConnectionStringError, LENGTH_MAX, SharedKey};

/// What Event Hubs clients connect with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConnectionString {
    /// The event endpoint's name, with `:port` when given.
    pub host_name: String,
    /// The policy's name.
    pub policy: String,
    /// The key.
    pub key: SharedKey,
    /// The log's name there.
    pub entity: Option<String>,
}

impl EventsConnectionString {
    /// Whether a text is meant to be one of these, and not a hub's.
    pub fn is_meant_by(text: &str) -> bool {
        fields(text).any(|(name, _)| name.eq_ignore_ascii_case(ENDPOINT))
    }
}

impl FromStr for EventsConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        if text.len() > LENGTH_MAX {
            return Err(ConnectionStringError::TooLong(text.len()));
        }
        let field = |wanted: &'static str| {
            let mut found = fields(text).filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            let first = found.next().map(|(_, value)| value).filter(|value| !value.is_empty());
            match found.next() {
                Some(_) => Err(ConnectionStringError::Duplicate(wanted)),
                None => Ok(first),
            }
        };
        let required = |wanted| {
            field(wanted)?.ok_or(ConnectionStringError::Missing(wanted)).map(str::to_owned)
        };
        let endpoint = required(ENDPOINT)?;
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        if host.is_empty() {
            return Err(ConnectionStringError::Missing(ENDPOINT));
        }
        Ok(Self {
            host_name: host.to_owned(),
            policy: required(KEY_NAME)?,
            key: SharedKey::new(required(KEY)?),
            entity: field(ENTITY)?.map(str::to_owned),
        })
    }
}

impl fmt::Display for EventsConnectionString {
    /// The whole string, secret included: for the owner's eyes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{ENDPOINT}=sb://{}/;{KEY_NAME}={};{KEY}={}",
            self.host_name,
            self.policy,
            self.key.as_str()
        )?;
        match &self.entity {
            Some(entity) => write!(f, ";{ENTITY}={entity}"),
            None => Ok(()),
        }
    }
}

/// Name and value of each part; a part without `=` is left out.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|part| part.split_once('=').map(|(name, value)| (name.trim(), value.trim())))
}

const ENDPOINT: &str = "Endpoint";
const KEY_NAME: &str = "SharedAccessKeyName";
const KEY: &str = "SharedAccessKey";
const ENTITY: &str = "EntityPath";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        for text in [
            "Endpoint=sb://eh.test/;SharedAccessKeyName=service;SharedAccessKey=a2V5Cg==;EntityPath=hub",
            "Endpoint=sb://eh.test:15671/;SharedAccessKeyName=p;SharedAccessKey=a2V5Cg==",
        ] {
            let read: EventsConnectionString = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            assert!(EventsConnectionString::is_meant_by(text));
        }
        let text = "endpoint=sb://h; sharedaccesskeyname=p ;SharedAccessKey=k=;Other=1;";
        let read: EventsConnectionString = text.parse().unwrap();
        assert_eq!((read.host_name.as_str(), read.policy.as_str()), ("h", "p"));
        assert_eq!((read.key.as_str(), read.entity), ("k=", None));
        assert!(!EventsConnectionString::is_meant_by("HostName=h;SharedAccessKeyName=p"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, names) in [
            ("HostName=h;SharedAccessKeyName=p;SharedAccessKey=k", "Endpoint"),
            ("Endpoint=sb:///;SharedAccessKeyName=p;SharedAccessKey=k", "Endpoint"),
            ("Endpoint=sb://h/;SharedAccessKey=k", "SharedAccessKeyName"),
            ("Endpoint=sb://h/;SharedAccessKeyName=p;SharedAccessKey=", "SharedAccessKey"),
            ("Endpoint=sb://h/;Endpoint=sb://i/", "twice"),
        ] {
            let error = text.parse::<EventsConnectionString>().unwrap_err().to_string();
            assert!(error.contains(names), "{text}: {error}");
        }
        assert!("x".repeat(LENGTH_MAX + 1).parse::<EventsConnectionString>().is_err());
    }
}
