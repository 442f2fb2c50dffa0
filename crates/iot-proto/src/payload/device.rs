//! Device identities (sa §2.3).

use model::identity::{DeviceIdentity, Status};
use model::{DeviceId, Fault, limits};
use serde::{Deserialize, Serialize};

use super::authentication::{self, AuthenticationInput};
use super::{Activity, AuthenticationJson, AuthenticationWrite, read};
use crate::{etag, time};

/// A device as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceJson {
    /// Its id.
    pub device_id: String,
    /// New on every create.
    pub generation_id: String,
    /// Without quotes.
    pub etag: String,
    /// `Connected` or `Disconnected`.
    pub connection_state: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// Why.
    pub status_reason: Option<String>,
    /// When the connection state changed.
    pub connection_state_updated_time: String,
    /// When the status changed.
    pub status_updated_time: String,
    /// When the device was last heard of.
    pub last_activity_time: String,
    /// Messages that wait for it.
    pub cloud_to_device_message_count: u64,
    /// How it proves itself.
    pub authentication: AuthenticationJson,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its own scope or its parent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes of its parents.
    pub parent_scopes: Vec<String>,
}

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// Whether it runs the edge runtime.
    pub iot_edge: bool,
}

impl DeviceJson {
    /// The answer for a device.
    pub fn new(device: &DeviceIdentity, activity: &Activity, waiting_messages: u64) -> Self {
        Self {
            device_id: device.id.to_string(),
            generation_id: device.generation.to_string(),
            etag: etag::identity(device.etag),
            connection_state: activity.state().to_owned(),
            status: status_name(device.status).to_owned(),
            status_reason: device.status_reason.clone(),
            connection_state_updated_time: time::round_trip_or_never(activity.connected_updated),
            status_updated_time: time::round_trip_or_never(device.status_updated),
            last_activity_time: time::round_trip_or_never(activity.last_activity),
            cloud_to_device_message_count: waiting_messages,
            authentication: (&device.authentication).into(),
            capabilities: Capabilities { iot_edge: device.edge },
            device_scope: device.scope.clone(),
            parent_scopes: device.parent_scopes.clone(),
        }
    }
}

/// What a client writes of a device. What it leaves out stays, or gets its default on create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceWrite {
    /// Whether it may connect.
    pub status: Option<Status>,
    /// Why; the empty text removes it.
    pub status_reason: Option<String>,
    /// How it shall prove itself.
    pub authentication: AuthenticationWrite,
    /// Whether it runs the edge runtime.
    pub edge: Option<bool>,
    /// The scope, which for a leaf names its parent; the empty text removes it.
    pub scope: Option<String>,
    /// The scopes of its parents.
    pub parent_scopes: Option<Vec<String>>,
}

impl Default for DeviceWrite {
    fn default() -> Self {
        Self {
            status: None,
            status_reason: None,
            authentication: AuthenticationWrite::Keep,
            edge: None,
            scope: None,
            parent_scopes: None,
        }
    }
}

impl DeviceWrite {
    /// Reads a PUT body. Fields that cannot be written are ignored, whatever they hold: clients
    /// echo a whole answer. An id in the body must be the path's.
    pub fn read(id: &DeviceId, body: &[u8]) -> Result<Self, Fault> {
        let body: DeviceInput = read(body)?;
        if body.device_id.is_some_and(|named| named != id.as_str()) {
            return Err(Fault::argument("deviceId in the body is not the one in the path"));
        }
        let status = match body.status.as_deref() {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("enabled") => Some(Status::Enabled),
            Some(text) if text.eq_ignore_ascii_case("disabled") => Some(Status::Disabled),
            Some(_) => return Err(Fault::argument("status is not enabled or disabled")),
        };
        let reason = body.status_reason.as_deref().unwrap_or_default();
        if reason.chars().count() > limits::STATUS_REASON_LENGTH_MAX {
            return Err(Fault::argument("statusReason has more than 128 characters"));
        }
        Ok(Self {
            status,
            status_reason: body.status_reason,
            authentication: body.authentication.unwrap_or_default().check()?,
            edge: body.capabilities.map(|capabilities| capabilities.iot_edge),
            scope: body.device_scope,
            parent_scopes: body.parent_scopes,
        })
    }

    /// The PUT body that says this: the client's end.
    pub fn to_body(&self, id: &DeviceId) -> Vec<u8> {
        let body = DeviceOutput {
            device_id: id.as_str(),
            status: self.status.map(status_name),
            status_reason: self.status_reason.as_deref(),
            authentication: authentication::to_body(&self.authentication),
            capabilities: self.edge.map(|iot_edge| Capabilities { iot_edge }),
            device_scope: self.scope.as_deref(),
            parent_scopes: self.parent_scopes.as_deref(),
        };
        super::write(&body)
    }
}

/// `enabled` or `disabled`.
pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Enabled => "enabled",
        Status::Disabled => "disabled",
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceInput {
    device_id: Option<String>,
    status: Option<String>,
    status_reason: Option<String>,
    authentication: Option<AuthenticationInput>,
    capabilities: Option<Capabilities>,
    device_scope: Option<String>,
    parent_scopes: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceOutput<'a> {
    device_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<AuthenticationJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Capabilities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_scopes: Option<&'a [String]>,
}
