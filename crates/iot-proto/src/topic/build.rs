//! The texts of topics, for both ends: what a hub publishes and what an identity publishes.
//!
//! Spec: dp §3.5, §3.7, traps 7, 8 and 11.

use model::IdentityId;
use model::message::{Message, SystemProperty};

use super::{
    DESIRED_PATCH, METHOD_REQUEST, METHOD_RESPONSE, TWIN_GET, TWIN_PATCH_REPORTED, TWIN_RESPONSE,
    TopicSet,
};
use crate::{bag, percent, time};

impl TopicSet {
    /// Hub → identity: a cloud-to-device message. The bag always holds `%24.to`, because C# throws
    /// without a bag, and times have the form that C# demands; one that is no time is left out,
    /// because C# would drop the connection over it for as long as the message lives. So are
    /// properties without a value, over which Java throws (dp §3.5).
    pub fn cloud_to_device(&self, message: &Message) -> String {
        let to = self.cloud_to_device_address();
        let mut system = Vec::with_capacity(message.system.len() + 1);
        if message.system(SystemProperty::To).is_none_or(str::is_empty) {
            system.push((SystemProperty::To, to));
        }
        for (property, value) in &message.system {
            let is_time =
                matches!(property, SystemProperty::ExpiryTime | SystemProperty::CreationTime);
            let value = match time::parse(value) {
                Some(at) if is_time => time::round_trip(at),
                None if is_time => continue,
                _ => value.clone(),
            };
            system.push((*property, value));
        }
        let has_value = |(_, value): &&(String, String)| !value.is_empty();
        let properties: Vec<_> = message.properties.iter().filter(has_value).cloned().collect();
        let mut topic = format!("{}/", self.devicebound);
        bag::write(&system, &properties, &mut topic);
        topic
    }

    /// The value of `$.to` for a cloud-to-device message: `/devices/{d}/messages/deviceBound`.
    pub fn cloud_to_device_address(&self) -> String {
        device_bound_address(&self.identity)
    }

    /// Hub → module: a message for an input. The `/` after the name stands even before an empty
    /// bag; the bag should begin with the sender's ids, which the caller sets.
    pub fn module_input(&self, input: &str, message: &Message) -> String {
        let mut topic = self.inputs.clone();
        percent::encode_topic_level_into(input, &mut topic);
        topic.push('/');
        bag::write(&message.system, &message.properties, &mut topic);
        topic
    }

    /// Identity → hub: a message.
    pub fn telemetry(&self, message: &Message) -> String {
        let mut topic = format!("{}/", self.events);
        bag::write(&message.system, &message.properties, &mut topic);
        topic
    }

    /// Hub → identity: a direct method. Same for every identity.
    pub fn method_request(name: &str, rid: &str) -> String {
        let mut topic = METHOD_REQUEST.to_owned();
        percent::encode_topic_level_into(name, &mut topic);
        topic.push_str("/?$rid=");
        topic.push_str(rid);
        topic
    }

    /// Hub → identity: an answer to a twin request, with three status digits (Java needs them);
    /// `version` after a patch.
    pub fn twin_response(status: u16, rid: &str, version: Option<u64>) -> String {
        match version {
            Some(version) => format!("{TWIN_RESPONSE}{status:03}/?$rid={rid}&$version={version}"),
            None => format!("{TWIN_RESPONSE}{status:03}/?$rid={rid}"),
        }
    }

    /// Hub → identity: desired properties changed.
    pub fn desired_patch(version: u64) -> String {
        format!("{DESIRED_PATCH}/?$version={version}")
    }

    /// Identity → hub: it wants its twin.
    pub fn twin_get(rid: &str) -> String {
        format!("{TWIN_GET}/?$rid={rid}")
    }

    /// Identity → hub: it patches its reported properties.
    pub fn twin_patch_reported(rid: &str, version: Option<u64>) -> String {
        match version {
            Some(version) => format!("{TWIN_PATCH_REPORTED}/?$rid={rid}&$version={version}"),
            None => format!("{TWIN_PATCH_REPORTED}/?$rid={rid}"),
        }
    }

    /// Identity → hub: it answers a direct method.
    pub fn method_response(status: i32, rid: &str) -> String {
        format!("{METHOD_RESPONSE}{status}/?$rid={rid}")
    }
}

/// Where cloud-to-device messages go, `$.to` of theirs:
/// `/devices/{d}[/modules/{m}]/messages/deviceBound`.
pub fn device_bound_address(identity: &IdentityId) -> String {
    match &identity.module {
        None => format!("/devices/{}/messages/deviceBound", identity.device),
        Some(module) => {
            format!("/devices/{}/modules/{module}/messages/deviceBound", identity.device)
        }
    }
}
