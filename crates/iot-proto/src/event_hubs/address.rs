//! The addresses of back ends' links (sa §5.2, §5.3, §9.4, §9.5, §9.9).
//!
//! A bare path or a URI with host and port, fixed words in any case, segments encoded or not. The
//! log goes by two names: `messages/events` at the hub, and its entity name at the event endpoint.

use std::fmt;

use crate::amqp::address::Path;
use crate::percent;

/// A back end's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `/messages/devicebound`: cloud-to-device messages are sent there.
    CloudToDevice,
    /// `/messages/servicebound/feedback`
    Feedback,
    /// `/messages/servicebound/filenotifications`
    FileNotifications,
    /// A node of the event log.
    Events(EventsAddress),
}

/// A node of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsAddress {
    /// The name by which the log is meant.
    pub log: LogName,
    /// Which of its nodes.
    pub node: EventsNode,
}

/// How an address names the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogName {
    /// `messages/events`, as at the hub.
    MessagesEvents,
    /// Its entity name, as at the event endpoint.
    Entity(String),
    /// Not at all: `$management` alone.
    Unnamed,
}

/// The nodes of an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsNode {
    /// `…/$management`: what the log and its partitions hold.
    Management,
    /// `…/ConsumerGroups/{group}/Partitions/{partition}`: the events. The texts are decoded, and
    /// perhaps no names of anything.
    Partition {
        /// The consumer group's name.
        group: String,
        /// The partition's id.
        partition: String,
    },
    /// The log as a whole, or where senders would send: `…`, `…/Partitions/{partition}`,
    /// `…/Publishers/{publisher}`.
    Input,
}

impl Address {
    /// Reads the address of a link that is no device's; none when it is no back end's either.
    pub fn parse(path: &Path<'_>) -> Option<Self> {
        if !path.is_word(0, MESSAGES) {
            return events(path).map(Self::Events);
        }
        match path.len() {
            2 if path.is_word(1, "devicebound") => Some(Self::CloudToDevice),
            3 if path.is_word(1, "servicebound") => match () {
                () if path.is_word(2, "feedback") => Some(Self::Feedback),
                // The documentation has the longer word, the service the shorter one (sa §5.4).
                () if path.is_word(2, "filenotifications")
                    || path.is_word(2, "fileuploadnotifications") =>
                {
                    Some(Self::FileNotifications)
                }
                () => None,
            },
            length if length > 1 && path.is_word(1, EVENTS) => {
                let node = if length == 2 { EventsNode::Input } else { node(path, 2)? };
                Some(Self::Events(EventsAddress { log: LogName::MessagesEvents, node }))
            }
            _ => events(path).map(Self::Events),
        }
    }
}

impl EventsAddress {
    /// A receiver's address at the event endpoint.
    pub fn partition(entity: &str, group: &str, partition: u32) -> Self {
        Self {
            log: LogName::Entity(entity.to_owned()),
            node: EventsNode::Partition {
                group: group.to_owned(),
                partition: partition.to_string(),
            },
        }
    }
}

impl fmt::Display for Address {
    /// The bare path with encoded names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloudToDevice => f.write_str("/messages/devicebound"),
            Self::Feedback => f.write_str("/messages/servicebound/feedback"),
            Self::FileNotifications => f.write_str("/messages/servicebound/filenotifications"),
            Self::Events(events) => events.fmt(f),
        }
    }
}

impl fmt::Display for EventsAddress {
    /// The bare path: `{entity}/ConsumerGroups/$Default/Partitions/0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.log {
            LogName::MessagesEvents => f.write_str("messages/events")?,
            LogName::Entity(entity) => f.write_str(&percent::encode(entity))?,
            LogName::Unnamed => {}
        }
        if self.log != LogName::Unnamed && self.node != EventsNode::Input {
            f.write_str("/")?;
        }
        self.node.fmt(f)
    }
}

impl fmt::Display for EventsNode {
    /// What stands after the name of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Management => f.write_str(MANAGEMENT),
            Self::Partition { group, partition } => {
                // `$` as it is: Event Hubs clients write it so.
                let group = group.split('$').map(percent::encode).collect::<Vec<_>>().join("$");
                write!(f, "ConsumerGroups/{group}/Partitions/{}", percent::encode(partition))
            }
            Self::Input => Ok(()),
        }
    }
}

fn events(path: &Path<'_>) -> Option<EventsAddress> {
    if path.len() == 1 && path.is_word(0, MANAGEMENT) {
        return Some(EventsAddress { log: LogName::Unnamed, node: EventsNode::Management });
    }
    let entity = path.decoded(0)?.into_owned();
    if entity.is_empty() || entity.starts_with('$') {
        return None;
    }
    let node = if path.len() == 1 { EventsNode::Input } else { node(path, 1)? };
    Some(EventsAddress { log: LogName::Entity(entity), node })
}

/// The node that the segments from `start` on name.
fn node(path: &Path<'_>, start: usize) -> Option<EventsNode> {
    match path.len() - start {
        1 if path.is_word(start, MANAGEMENT) => Some(EventsNode::Management),
        2 if path.is_word(start, PARTITIONS) || path.is_word(start, "publishers") => {
            Some(EventsNode::Input)
        }
        4 if path.is_word(start, "consumergroups") && path.is_word(start + 2, PARTITIONS) => {
            Some(EventsNode::Partition {
                group: path.decoded(start + 1)?.into_owned(),
                partition: path.decoded(start + 3)?.into_owned(),
            })
        }
        _ => None,
    }
}

/// The node for questions about the log.
pub const MANAGEMENT: &str = "$management";
const MESSAGES: &str = "messages";
const EVENTS: &str = "events";
const PARTITIONS: &str = "partitions";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Address> {
        Address::parse(&Path::parse(text).unwrap())
    }

    fn events(log: LogName, node: EventsNode) -> Option<Address> {
        Some(Address::Events(EventsAddress { log, node }))
    }

    fn partition(group: &str, partition: &str) -> EventsNode {
        EventsNode::Partition { group: group.into(), partition: partition.into() }
    }

    #[test]
    fn every_spelling_of_the_clients_is_read() {
        let hub = || LogName::Entity("hub".into());
        for text in [
            "/messages/devicebound",
            "/messages/deviceBound",
            "amqps://h/messages/devicebound",
            "amqps://h:5671/messages/deviceBound",
        ] {
            assert_eq!(parse(text), Some(Address::CloudToDevice), "{text}");
        }
        for text in [
            "/messages/servicebound/feedback",
            "messages/serviceBound/Feedback",
            "amqps://h:5671/messages/serviceBound/feedback",
        ] {
            assert_eq!(parse(text), Some(Address::Feedback), "{text}");
        }
        for text in [
            "/messages/servicebound/filenotifications",
            "messages/serviceBound/fileUploadNotifications",
        ] {
            assert_eq!(parse(text), Some(Address::FileNotifications), "{text}");
        }
        for text in ["$management", "$Management", "amqps://h/$management", "%24management"] {
            assert_eq!(parse(text), events(LogName::Unnamed, EventsNode::Management), "{text}");
        }
        for text in ["hub/$management", "sb://h:5671/hub/$management"] {
            assert_eq!(parse(text), events(hub(), EventsNode::Management), "{text}");
        }
        for text in [
            "hub/ConsumerGroups/$Default/Partitions/3",
            "/hub/consumergroups/%24Default/partitions/3",
            "amqps://h:15671/hub/ConsumerGroups/$Default/Partitions/3",
        ] {
            assert_eq!(parse(text), events(hub(), partition("$Default", "3")), "{text}");
        }
        let hubs = || LogName::MessagesEvents;
        for (text, node) in [
            ("/messages/events", EventsNode::Input),
            ("amqps://h/messages/events/$management", EventsNode::Management),
            ("messages/events/ConsumerGroups/g/Partitions/0", partition("g", "0")),
        ] {
            assert_eq!(parse(text), events(hubs(), node), "{text}");
        }
        for text in ["hub", "hub/Partitions/1", "amqps://h/hub/publishers/p"] {
            assert_eq!(parse(text), events(hub(), EventsNode::Input), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_address() {
        for text in [
            "/",
            "$cbs2",
            "messages/servicebound",
            "messages/servicebound/else",
            "messages/events/else",
            "hub/ConsumerGroups/g",
            "hub/ConsumerGroups/g/Partitions/0/x",
            "hub/$management/x",
            "hub/%ff/g/Partitions/0",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_built_is_read_back() {
        let read_back = |address: Address| {
            assert_eq!(parse(&address.to_string()), Some(address.clone()), "{address}");
        };
        for address in [Address::CloudToDevice, Address::Feedback, Address::FileNotifications] {
            read_back(address);
        }
        for log in [LogName::MessagesEvents, LogName::Entity("a b".into())] {
            for node in [EventsNode::Management, EventsNode::Input, partition("a$b%", "x/y")] {
                read_back(Address::Events(EventsAddress { log: log.clone(), node }));
            }
        }
        let address = EventsAddress::partition("hub", "$Default", 2);
        assert_eq!(address.to_string(), "hub/ConsumerGroups/$Default/Partitions/2");
    }
}
