//! MQTT topics and filters, for the server's end and the client's.
//!
//! Spec: dp §3.6–3.13, er §5.10. A [`TopicSet`] is made once per connection from the identity that
//! proved itself; topics are then read by position against its own texts, because ids may hold
//! `?`, `#`, `+`, `%` and `&`. The common case, telemetry, is one prefix compare and allocates
//! nothing. Whose topic a publish names is decided here and nowhere else: there is no way to read
//! another identity's name out of a topic.

use model::IdentityId;

mod build;
mod subscription;

pub use build::device_bound_address;
pub use subscription::{FilterError, Subscription, filter_matches};

/// The topics of one identity.
#[derive(Debug, Clone)]
pub struct TopicSet {
    identity: IdentityId,
    /// `devices/{d}` or `devices/{d}/modules/{m}`.
    root: String,
    /// `{root}/messages/events`.
    events: String,
    /// `{root}/messages/devicebound`.
    devicebound: String,
    /// `{root}/inputs/`.
    inputs: String,
}

/// What an identity publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTopic<'a> {
    /// A message; `bag` is for [`crate::bag::Bag::parse`].
    Telemetry {
        /// The property bag's text.
        bag: &'a str,
    },
    /// It wants its twin.
    TwinGet {
        /// Request id, to be echoed as it is.
        rid: &'a str,
    },
    /// It patches its reported properties.
    TwinPatchReported {
        /// Request id, to be echoed as it is.
        rid: &'a str,
        /// The version it expects, when it names one.
        version: Option<u64>,
    },
    /// It answers a direct method.
    MethodResponse {
        /// The status of its choice.
        status: i32,
        /// Id of the request.
        rid: &'a str,
    },
}

/// What a hub publishes to an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubTopic<'a> {
    /// A cloud-to-device message.
    CloudToDevice {
        /// The property bag's text.
        bag: &'a str,
    },
    /// A direct method.
    MethodRequest {
        /// The method's name, decoded.
        name: std::borrow::Cow<'a, str>,
        /// Request id, to be echoed as it is.
        rid: &'a str,
    },
    /// An answer to a twin request.
    TwinResponse {
        /// HTTP-like status.
        status: u16,
        /// Id of the request.
        rid: &'a str,
        /// The new version of the reported section, after a patch.
        version: Option<u64>,
    },
    /// Desired properties changed.
    DesiredPatch {
        /// Their new version.
        version: Option<u64>,
    },
    /// A message for an input of a module.
    ModuleInput {
        /// The input's name, decoded.
        input: std::borrow::Cow<'a, str>,
        /// The property bag's text.
        bag: &'a str,
    },
}

/// Why a topic is not one to publish to. On all of them the connection is closed (dp §3.13).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It belongs to another identity.
    #[error("topic belongs to another identity")]
    NotOwn,
    /// No such topic is documented.
    #[error("topic is not one of this protocol")]
    Unknown,
    /// A documented topic with a wrong part.
    #[error("topic has a wrong or missing {0}")]
    Malformed(&'static str),
}

impl TopicSet {
    /// The topics of this identity.
    pub fn new(identity: IdentityId) -> Self {
        let root = match &identity.module {
            None => format!("devices/{}", identity.device),
            Some(module) => format!("devices/{}/modules/{module}", identity.device),
        };
        Self {
            events: format!("{root}/messages/events"),
            devicebound: format!("{root}/messages/devicebound"),
            inputs: format!("{root}/inputs/"),
            root,
            identity,
        }
    }

    /// The identity.
    pub fn identity(&self) -> &IdentityId {
        &self.identity
    }

    /// Reads what the identity publishes (the topic of its Will, too).
    pub fn parse_from_device<'a>(&self, topic: &'a str) -> Result<DeviceTopic<'a>, TopicError> {
        if let Some(rest) = topic.strip_prefix(self.events.as_str()) {
            return match rest.strip_prefix('/') {
                Some(bag) => Ok(DeviceTopic::Telemetry { bag }),
                None if rest.is_empty() => Ok(DeviceTopic::Telemetry { bag: rest }),
                None => Err(TopicError::Unknown),
            };
        }
        if let Some(rest) = topic.strip_prefix(TWIN_GET) {
            return Ok(DeviceTopic::TwinGet { rid: Parameters::read(rest)?.rid()? });
        }
        if let Some(rest) = topic.strip_prefix(TWIN_PATCH_REPORTED) {
            let parameters = Parameters::read(rest)?;
            let version = parameters.version()?;
            return Ok(DeviceTopic::TwinPatchReported { rid: parameters.rid()?, version });
        }
        if let Some(rest) = topic.strip_prefix(METHOD_RESPONSE) {
            let (status, rest) = split_level(rest);
            let status = status.parse().map_err(|_| TopicError::Malformed("status"))?;
            return Ok(DeviceTopic::MethodResponse { status, rid: Parameters::read(rest)?.rid()? });
        }
        Err(foreign_or_unknown(topic, &["/messages/events"]))
    }

    /// Reads what a hub publishes to the identity: the client's end.
    pub fn parse_from_hub<'a>(&self, topic: &'a str) -> Result<HubTopic<'a>, TopicError> {
        if let Some(rest) = topic.strip_prefix(TWIN_RESPONSE) {
            let (status, rest) = split_level(rest);
            let status = status.parse().map_err(|_| TopicError::Malformed("status"))?;
            let parameters = Parameters::read(rest)?;
            let version = parameters.version()?;
            return Ok(HubTopic::TwinResponse { status, rid: parameters.rid()?, version });
        }
        if let Some(rest) = topic.strip_prefix(DESIRED_PATCH) {
            return Ok(HubTopic::DesiredPatch { version: Parameters::read(rest)?.version()? });
        }
        if let Some(rest) = topic.strip_prefix(METHOD_REQUEST) {
            let (name, rest) = split_level(rest);
            let rid = Parameters::read(rest)?.rid()?;
            return Ok(HubTopic::MethodRequest { name: crate::percent::decode(name), rid });
        }
        if let Some(rest) = topic.strip_prefix(self.devicebound.as_str()) {
            return match rest.strip_prefix('/') {
                Some(bag) => Ok(HubTopic::CloudToDevice { bag }),
                None if rest.is_empty() => Ok(HubTopic::CloudToDevice { bag: rest }),
                None => Err(TopicError::Unknown),
            };
        }
        if self.identity.module.is_some()
            && let Some(rest) = topic.strip_prefix(self.inputs.as_str())
        {
            let (input, bag) = rest.split_once('/').unwrap_or((rest, ""));
            return Ok(HubTopic::ModuleInput { input: crate::percent::decode(input), bag });
        }
        Err(foreign_or_unknown(topic, &["/messages/devicebound", "/inputs/"]))
    }
}

/// The text up to the next `/` or `?`, and the rest from there.
fn split_level(text: &str) -> (&str, &str) {
    let end = text.find(['/', '?']).unwrap_or(text.len());
    text.split_at(end)
}

/// A topic with the shape of another identity's is told apart from one that nobody has.
fn foreign_or_unknown(topic: &str, shapes: &[&str]) -> TopicError {
    let of_a_device = topic.starts_with("devices/");
    if of_a_device && shapes.iter().any(|shape| topic.contains(shape)) {
        TopicError::NotOwn
    } else {
        TopicError::Unknown
    }
}

/// `/?$rid=…&$version=…` at the end of twin and method topics. The `/` may be missing or stand
/// at the end once more (er §5.10).
#[derive(Default)]
struct Parameters<'a> {
    rid: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn read(text: &'a str) -> Result<Self, TopicError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_prefix('?').ok_or(TopicError::Malformed("`?$rid=`"))?;
        let text = text.strip_suffix('/').unwrap_or(text);
        let mut parameters = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "$rid" | "%24rid" => parameters.rid = Some(value),
                "$version" | "%24version" => parameters.version = Some(value),
                _ => {}
            }
        }
        Ok(parameters)
    }

    fn rid(&self) -> Result<&'a str, TopicError> {
        let fits = |rid: &&str| !rid.is_empty() && rid.len() <= REQUEST_ID_BYTES_MAX;
        self.rid.filter(fits).ok_or(TopicError::Malformed("request id"))
    }

    fn version(&self) -> Result<Option<u64>, TopicError> {
        let parse = |text: &str| text.parse().map_err(|_| TopicError::Malformed("version"));
        self.version.filter(|text| !text.is_empty()).map(parse).transpose()
    }
}

/// The longest topic that MQTT can carry. A bag grows when it is encoded: whoever takes a message
/// for later delivery looks before whether its topic will fit.
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// The longest request id, so that the answer's topic fits. SDKs use a GUID or less; the bound is
/// ours.
pub const REQUEST_ID_BYTES_MAX: usize = 256;

const TWIN_GET: &str = "$iothub/twin/GET";
const TWIN_PATCH_REPORTED: &str = "$iothub/twin/PATCH/properties/reported";
const TWIN_RESPONSE: &str = "$iothub/twin/res/";
const DESIRED_PATCH: &str = "$iothub/twin/PATCH/properties/desired";
const METHOD_REQUEST: &str = "$iothub/methods/POST/";
const METHOD_RESPONSE: &str = "$iothub/methods/res/";

#[cfg(test)]
mod tests;
