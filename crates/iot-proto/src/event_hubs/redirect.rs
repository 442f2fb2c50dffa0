//! The way from the hub's host name to the event endpoint's (sa §9.9).
//!
//! Clients read two things: `hostname`, and from `address` the entity, which is what stands between
//! the first and the second slash after the scheme; Microsoft's JavaScript sample wants
//! `:{port}/{entity}/$management` there.

use ::amqp::performative::{Error, condition};
use ::amqp::{Symbol, Value};

use super::address::EventsNode;

/// Where the event log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The event endpoint's host name.
    pub host_name: String,
    /// Its port.
    pub port: u16,
    /// The log's name there.
    pub entity: String,
}

impl Redirect {
    /// The error that sends a link elsewhere; `node` is what it asked for.
    pub fn to_error(&self, node: &EventsNode) -> Error {
        let Self { host_name, port, entity } = self;
        let tail = match node {
            EventsNode::Input => EventsNode::Management.to_string(),
            node => node.to_string(),
        };
        let address = format!("amqps://{host_name}:{port}/{entity}/{tail}");
        let mut error = Error::new(
            condition::LINK_REDIRECT,
            format!("events are read at {address}; connect there"),
        );
        for (key, value) in [
            (HOST_NAME, Value::from(host_name.as_str())),
            (NETWORK_HOST, Value::from(host_name.as_str())),
            // Large ports are no shorts.
            (PORT, Value::from(i32::from(*port))),
            (ADDRESS, Value::from(address)),
        ] {
            error.info.push(Symbol::from_static(key), value);
        }
        error
    }

    /// Reads it: the client's end. None when the error is no redirect.
    pub fn from_error(error: &Error) -> Option<Self> {
        if error.condition != condition::LINK_REDIRECT {
            return None;
        }
        let text = |key| error.info.get(key).and_then(Value::as_text);
        let address = text(ADDRESS)?;
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let mut segments = rest.split('/');
        let (host, entity) = (segments.next()?, segments.next().filter(|text| !text.is_empty())?);
        let in_address = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = error.info.get(PORT).and_then(|port| match port.as_text() {
            Some(text) => text.parse().ok(),
            None => port.as_i64().and_then(|port| u16::try_from(port).ok()),
        });
        Some(Self {
            host_name: text(HOST_NAME).unwrap_or(host).to_owned(),
            port: port.or(in_address).unwrap_or(AMQPS_PORT),
            entity: entity.to_owned(),
        })
    }
}

/// Where AMQP over TLS is spoken.
pub const AMQPS_PORT: u16 = 5671;
const HOST_NAME: &str = "hostname";
const NETWORK_HOST: &str = "network-host";
const PORT: &str = "port";
const ADDRESS: &str = "address";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_what_clients_take_apart() {
        let redirect = Redirect { host_name: "eh.test".into(), port: 5671, entity: "hub".into() };
        let receiver = EventsNode::Partition { group: "$Default".into(), partition: "1".into() };
        for (node, address) in [
            (EventsNode::Input, "amqps://eh.test:5671/hub/$management"),
            (EventsNode::Management, "amqps://eh.test:5671/hub/$management"),
            (receiver, "amqps://eh.test:5671/hub/ConsumerGroups/$Default/Partitions/1"),
        ] {
            let error = redirect.to_error(&node);
            assert_eq!(error.condition, condition::LINK_REDIRECT);
            assert_eq!(error.info.get("address").and_then(Value::as_text), Some(address));
            assert_eq!(error.info.get("hostname"), Some(&Value::from("eh.test")));
            assert_eq!(error.info.get("network-host"), Some(&Value::from("eh.test")));
            assert_eq!(error.info.get("port"), Some(&Value::Int(5671)));
            assert!(error.info.iter().all(|(key, _)| matches!(key, Value::Symbol(_))));
            assert_eq!(Redirect::from_error(&error), Some(redirect.clone()));
        }
    }

    #[test]
    fn another_service_may_say_less() {
        let mut error = Error::new(condition::LINK_REDIRECT, "");
        assert_eq!(Redirect::from_error(&error), None);
        error.info.push(Symbol::from_static(ADDRESS), "amqps://ns.test:443/entity/$management");
        let read = Redirect::from_error(&error).unwrap();
        assert_eq!((read.port, read.entity.as_str()), (443, "entity"));
        error.info.push(Symbol::from_static(PORT), "5671");
        assert_eq!(Redirect::from_error(&error).unwrap().port, 5671);
        assert_eq!(Redirect::from_error(&Error::new(condition::NOT_FOUND, "")), None);
    }
}
