//! The addresses of devices' and modules' links (dp §4.3).
//!
//! Clients write them as bare paths or as URIs, with or without a port, encoded or not, and the
//! fixed words in either case. Ids may hold `%` and not be encoded by the client, so a text can be
//! read in two ways: [`DeviceAddress::literal`] is the other one.

use std::borrow::Cow;
use std::fmt;

use model::{DeviceId, IdentityId, ModuleId};

use crate::percent;

/// An address without scheme, host and port, taken apart at its slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    /// The host that a URI names; none in a bare path.
    pub host: Option<&'a str>,
    segments: Vec<&'a str>,
}

/// The most segments an address may have; the longest known one has six.
pub const SEGMENTS_MAX: usize = 16;
/// The longest address: a host and two ids in threefold encoding fit well.
pub const ADDRESS_BYTES_MAX: usize = 2048;

impl<'a> Path<'a> {
    /// Takes an address apart; none when it is longer than any that means something. Slashes at
    /// both ends count for nothing.
    pub fn parse(address: &'a str) -> Option<Self> {
        if address.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        let (host, path) = SCHEMES
            .iter()
            .find_map(|scheme| {
                let head = address.get(..scheme.len())?;
                head.eq_ignore_ascii_case(scheme).then(|| &address[scheme.len()..])
            })
            .map_or((None, address), |rest| {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                (Some(host), path)
            });
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<_> = path.split('/').take(SEGMENTS_MAX + 1).collect();
        (segments.len() <= SEGMENTS_MAX).then_some(Self { host, segments })
    }

    /// How many segments it has; at least one.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether it has only an empty segment.
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.is_empty())
    }

    /// Whether the segment at this place is this word, without case.
    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.decoded(index).is_some_and(|text| text.eq_ignore_ascii_case(word))
    }

    /// The segment at this place, decoded; none when there is none or it does not decode.
    pub fn decoded(&self, index: usize) -> Option<Cow<'a, str>> {
        percent::decode_exact(self.segments.get(index)?)
    }

    /// The segment at this place as it stands.
    pub fn raw(&self, index: usize) -> Option<&'a str> {
        self.segments.get(index).copied()
    }
}

/// A link's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address<'a> {
    /// `$cbs`: tokens.
    Cbs,
    /// A device's or module's own.
    Device(DeviceAddress),
    /// None of these; perhaps a back end's.
    Other(Path<'a>),
}

/// A device's or module's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAddress {
    /// Whose it is.
    pub identity: IdentityId,
    /// Whose it is when the client did not encode the ids and they hold `%`.
    pub literal: Option<IdentityId>,
    /// Which of its nodes.
    pub node: DeviceNode,
}

/// What an identity can attach to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceNode {
    /// Sending: telemetry. Receiving: messages to a module's inputs.
    Events,
    /// Cloud-to-device messages.
    DeviceBound,
    /// Direct methods, a pair of links.
    Methods,
    /// The twin, a pair of links.
    Twin,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is none.
    #[error("the link has no address")]
    Missing,
    /// It is longer than any that means something.
    #[error("the address has more than {ADDRESS_BYTES_MAX} bytes or {SEGMENTS_MAX} segments")]
    TooLong,
    /// It names an identity by a text that is no id.
    #[error("the address holds a text that is no device or module id")]
    Id,
}

impl<'a> Address<'a> {
    /// Reads the address of a link.
    pub fn parse(text: &'a str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Missing);
        }
        let path = Path::parse(text).ok_or(AddressError::TooLong)?;
        if path.len() == 1 && path.is_word(0, CBS) {
            return Ok(Self::Cbs);
        }
        let (node, has_module) = match path.len() {
            3 | 4 if path.is_word(0, DEVICES) => (device_node(&path, 2), false),
            5 | 6 if path.is_word(0, DEVICES) && path.is_word(2, MODULES) => {
                (device_node(&path, 4), true)
            }
            _ => (None, false),
        };
        let Some(node) = node else { return Ok(Self::Other(path)) };
        let module = has_module.then_some(3);
        let id = |of: &dyn Fn(usize) -> Option<Cow<'a, str>>| identity(of, module);
        let decoded = id(&|index| path.decoded(index));
        let literal = id(&|index| path.raw(index).map(Cow::Borrowed));
        let (identity, literal) = match (decoded, literal) {
            (Some(decoded), literal) => {
                let literal = literal.filter(|literal| *literal != decoded);
                (decoded, literal)
            }
            (None, Some(literal)) => (literal, None),
            (None, None) => return Err(AddressError::Id),
        };
        Ok(Self::Device(DeviceAddress { identity, literal, node }))
    }
}

impl DeviceAddress {
    /// The address of an identity's node.
    pub fn new(identity: IdentityId, node: DeviceNode) -> Self {
        Self { identity, literal: None, node }
    }
}

impl fmt::Display for DeviceAddress {
    /// The bare path with encoded ids, as Node writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{DEVICES}/{}", percent::encode(self.identity.device.as_str()))?;
        if let Some(module) = &self.identity.module {
            write!(f, "/{MODULES}/{}", percent::encode(module.as_str()))?;
        }
        f.write_str(match self.node {
            DeviceNode::Events => "/messages/events",
            DeviceNode::DeviceBound => "/messages/devicebound",
            DeviceNode::Methods => "/methods/devicebound",
            DeviceNode::Twin => "/twin",
        })
    }
}

/// The node that the segments from `start` on name.
fn device_node(path: &Path<'_>, start: usize) -> Option<DeviceNode> {
    match path.len() - start {
        1 if path.is_word(start, "twin") => Some(DeviceNode::Twin),
        2 if path.is_word(start, "messages") && path.is_word(start + 1, "events") => {
            Some(DeviceNode::Events)
        }
        2 if path.is_word(start + 1, "devicebound") => {
            if path.is_word(start, "messages") {
                Some(DeviceNode::DeviceBound)
            } else {
                path.is_word(start, "methods").then_some(DeviceNode::Methods)
            }
        }
        _ => None,
    }
}

fn identity<'a>(
    segment: &dyn Fn(usize) -> Option<Cow<'a, str>>,
    module: Option<usize>,
) -> Option<IdentityId> {
    let device: DeviceId = segment(1)?.parse().ok()?;
    match module {
        None => Some(IdentityId::device(device)),
        Some(index) => {
            let module: ModuleId = segment(index)?.parse().ok()?;
            Some(IdentityId::module(device, module))
        }
    }
}

/// The node for tokens.
pub const CBS: &str = "$cbs";
const DEVICES: &str = "devices";
const MODULES: &str = "modules";
const SCHEMES: [&str; 4] = ["amqps://", "amqp://", "sb://", "https://"];

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> (String, DeviceNode) {
        match Address::parse(text) {
            Ok(Address::Device(address)) => (address.identity.to_string(), address.node),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_the_table_is_read() {
        use DeviceNode::{DeviceBound, Events, Methods, Twin};
        for (text, identity, node) in [
            ("/devices/d/messages/events", "d", Events),
            ("devices/d/messages/events/", "d", Events),
            ("/devices/d/modules/m/messages/events", "d/m", Events),
            ("/devices/d/messages/devicebound", "d", DeviceBound),
            ("/devices/d/messages/deviceBound", "d", DeviceBound),
            ("/devices/d/modules/m/messages/devicebound", "d/m", DeviceBound),
            ("/devices/d/methods/devicebound", "d", Methods),
            ("/devices/d/modules/m/methods/deviceBound", "d/m", Methods),
            ("/devices/d/twin", "d", Twin),
            ("/devices/d/modules/m/twin", "d/m", Twin),
            ("amqps://hub.test/devices/d/messages/events", "d", Events),
            ("amqps://hub.test:5671/devices/d/modules/%24edgeHub/twin", "d/$edgeHub", Twin),
            ("AMQPS://HUB/Devices/D/Messages/Events", "D", Events),
            ("/devices/a%23%3Fb/messages/events", "a#?b", Events),
            ("/devices/a#?b/messages/events", "a#?b", Events),
            ("/devices/twin/twin", "twin", Twin),
            ("/devices/modules/modules/twin/twin", "modules/twin", Twin),
        ] {
            assert_eq!(device(text), (identity.to_owned(), node), "{text}");
        }
        assert_eq!(Address::parse("$cbs"), Ok(Address::Cbs));
        assert_eq!(Address::parse("amqps://hub.test/$cbs"), Ok(Address::Cbs));
        assert_eq!(Address::parse("%24cbs"), Ok(Address::Cbs));
    }

    #[test]
    fn what_is_built_is_read_back() {
        for id in ["d", "d/m", "a%23/$edgeHub", "x+%/a?b", "%24cbs"] {
            for node in
                [DeviceNode::Events, DeviceNode::DeviceBound, DeviceNode::Methods, DeviceNode::Twin]
            {
                let address = DeviceAddress::new(id.parse().unwrap(), node);
                assert_eq!(device(&address.to_string()), (id.to_owned(), node));
            }
        }
    }

    /// C writes ids as they are, so that one with `%` can be read in two ways.
    #[test]
    fn an_id_with_a_percent_sign_has_a_second_reading() {
        let Ok(Address::Device(address)) = Address::parse("/devices/a%41/messages/events") else {
            panic!("no device address");
        };
        assert_eq!(address.identity.to_string(), "aA");
        assert_eq!(address.literal.map(|id| id.to_string()).as_deref(), Some("a%41"));
        // Decoded it is no id, so only the literal reading is left.
        assert_eq!(device("/devices/a%2Fb/messages/events").0, "a%2Fb");
    }

    #[test]
    fn everything_else_is_somebody_elses_or_nobodys() {
        for text in [
            "/messages/devicebound",
            "hub/ConsumerGroups/$Default/Partitions/0",
            "$management",
            "/devices/d/messages/else",
            "/devices/d/modules/m",
            "/devices/d/methods/events",
            "/devices",
        ] {
            assert!(matches!(Address::parse(text), Ok(Address::Other(_))), "{text}");
        }
        let long = "x/".repeat(SEGMENTS_MAX + 1);
        for (text, error) in [
            ("", AddressError::Missing),
            (long.as_str(), AddressError::TooLong),
            ("/devices/ä/messages/events", AddressError::Id),
            ("/devices//messages/events", AddressError::Id),
            ("/devices/d/modules//twin", AddressError::Id),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
        let path = Path::parse("sb://eh.test:5671/Hub/x").unwrap();
        assert_eq!((path.host, path.len()), (Some("eh.test:5671"), 2));
        assert!(path.is_word(0, "hub"));
    }
}
