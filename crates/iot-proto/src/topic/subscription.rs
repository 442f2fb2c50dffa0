//! Filters: what an identity may subscribe to.
//!
//! Spec: dp §3.12, §3.13. Wildcards are only a `#` at the end. Narrower filters than the
//! documented ones are allowed, and so are the wider ones of the identity's own tree that samples
//! and SDKs use (`devices/{d}/#`, `devices/{d}/modules/{m}/#`).

use super::{DESIRED_PATCH, METHOD_REQUEST, TWIN_RESPONSE, TopicSet};

/// A kind of message that a hub sends to those who subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subscription {
    /// Cloud-to-device messages. Modules may ask for them (Java does), but get none.
    CloudToDevice,
    /// Direct methods.
    Methods,
    /// Answers to twin requests. They are delivered without it, too (dp trap 3).
    TwinResponses,
    /// Changes of desired properties.
    DesiredPatches,
    /// Messages for the inputs of a module.
    ModuleInputs,
}

impl Subscription {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::CloudToDevice,
        Self::Methods,
        Self::TwinResponses,
        Self::DesiredPatches,
        Self::ModuleInputs,
    ];
}

/// Why a filter grants nothing (SUBACK 0x80, the connection stays).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// It belongs to another identity.
    #[error("topic filter belongs to another identity")]
    NotOwn,
    /// No such filter is documented.
    #[error("topic filter is not one of this protocol")]
    Unknown,
}

impl TopicSet {
    /// What a filter subscribes to.
    pub fn parse_filter(&self, filter: &str) -> Result<Subscription, FilterError> {
        let prefix = filter
            .strip_suffix('#')
            .filter(|prefix| prefix.ends_with('/'))
            .ok_or_else(|| self.foreign_or_unknown(filter))?;
        for (root, subscription) in [
            (METHOD_REQUEST, Subscription::Methods),
            (TWIN_RESPONSE, Subscription::TwinResponses),
            (DESIRED_PATCH, Subscription::DesiredPatches),
            (&self.devicebound, Subscription::CloudToDevice),
        ] {
            if is_below(prefix, root) {
                return Ok(subscription);
            }
        }
        let is_module = self.identity.module.is_some();
        if is_module && is_below(prefix, &self.inputs) {
            return Ok(Subscription::ModuleInputs);
        }
        match prefix.strip_prefix(self.root.as_str()) {
            Some("/") if is_module => Ok(Subscription::ModuleInputs),
            Some("/" | "/messages/") => Ok(Subscription::CloudToDevice),
            _ => Err(self.foreign_or_unknown(filter)),
        }
    }

    /// The documented filter for a kind: the client's end.
    pub fn filter(&self, subscription: Subscription) -> String {
        match subscription {
            Subscription::CloudToDevice => format!("{}/#", self.devicebound),
            Subscription::Methods => format!("{METHOD_REQUEST}#"),
            Subscription::TwinResponses => format!("{TWIN_RESPONSE}#"),
            Subscription::DesiredPatches => format!("{DESIRED_PATCH}/#"),
            Subscription::ModuleInputs => format!("{}#", self.inputs),
        }
    }

    fn foreign_or_unknown(&self, filter: &str) -> FilterError {
        let own = filter.strip_prefix(self.root.as_str());
        match own {
            // What lies below a device's own root and begins with `modules` is a module's.
            Some(rest) if rest.starts_with('/') && !rest.starts_with("/modules/") => {
                FilterError::Unknown
            }
            _ if filter.starts_with("devices/") => FilterError::NotOwn,
            _ => FilterError::Unknown,
        }
    }
}

/// Whether a topic falls under a filter that is exact or ends with `/#`: the only wildcard that
/// [`TopicSet::parse_filter`] lets in.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    match filter.strip_suffix('#') {
        Some(prefix) => topic.starts_with(prefix) || prefix.strip_suffix('/') == Some(topic),
        None => filter == topic,
    }
}

/// Whether a prefix that ends in `/` lies at or below a root. What narrows it further has no
/// wildcards; the root may, because ids may hold `#` and `+`.
fn is_below(prefix: &str, root: &str) -> bool {
    let root = root.strip_suffix('/').unwrap_or(root);
    let rest = prefix.strip_prefix(root);
    rest.is_some_and(|rest| rest.starts_with('/') && !rest.contains(['#', '+']))
}
