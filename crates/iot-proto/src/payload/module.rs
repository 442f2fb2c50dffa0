//! Module identities (sa §2.4).

use model::identity::ModuleIdentity;
use model::{DeviceId, Fault, ModuleId};
use serde::{Deserialize, Serialize};

use super::authentication::{self, AuthenticationInput};
use super::{Activity, AuthenticationJson, AuthenticationWrite, read};
use crate::{etag, time};

/// A module as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModuleJson {
    /// Its id within the device.
    pub module_id: String,
    /// Who manages it.
    pub managed_by: Option<String>,
    /// Its device.
    pub device_id: String,
    /// New on every create.
    pub generation_id: String,
    /// Without quotes.
    pub etag: String,
    /// `Connected` or `Disconnected`.
    pub connection_state: String,
    /// When the connection state changed.
    pub connection_state_updated_time: String,
    /// When the module was last heard of.
    pub last_activity_time: String,
    /// Always 0: modules get no such messages.
    pub cloud_to_device_message_count: u64,
    /// How it proves itself.
    pub authentication: AuthenticationJson,
}

impl ModuleJson {
    /// The answer for a module.
    pub fn new(module: &ModuleIdentity, activity: &Activity) -> Self {
        Self {
            module_id: module.id.to_string(),
            managed_by: module.managed_by.clone(),
            device_id: module.device.to_string(),
            generation_id: module.generation.to_string(),
            etag: etag::identity(module.etag),
            connection_state: activity.state().to_owned(),
            connection_state_updated_time: time::round_trip_or_never(activity.connected_updated),
            last_activity_time: time::round_trip_or_never(activity.last_activity),
            cloud_to_device_message_count: 0,
            authentication: (&module.authentication).into(),
        }
    }
}

/// What a client writes of a module. What it leaves out stays, or gets its default on create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleWrite {
    /// Who manages it.
    pub managed_by: Option<String>,
    /// How it shall prove itself.
    pub authentication: AuthenticationWrite,
}

impl ModuleWrite {
    /// Reads a PUT body; what cannot be written is ignored, and ids in it must be the path's.
    pub fn read(device: &DeviceId, module: &ModuleId, body: &[u8]) -> Result<Self, Fault> {
        let body: ModuleInput = read(body)?;
        if body.device_id.is_some_and(|named| named != device.as_str()) {
            return Err(Fault::argument("deviceId in the body is not the one in the path"));
        }
        if body.module_id.is_some_and(|named| named != module.as_str()) {
            return Err(Fault::argument("moduleId in the body is not the one in the path"));
        }
        let authentication = body.authentication.unwrap_or_default().check()?;
        Ok(Self { managed_by: body.managed_by, authentication })
    }

    /// The PUT body that says this: the client's end.
    pub fn to_body(&self, device: &DeviceId, module: &ModuleId) -> Vec<u8> {
        super::write(&ModuleOutput {
            module_id: module.as_str(),
            device_id: device.as_str(),
            managed_by: self.managed_by.as_deref(),
            authentication: authentication::to_body(&self.authentication),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleInput {
    module_id: Option<String>,
    device_id: Option<String>,
    managed_by: Option<String>,
    authentication: Option<AuthenticationInput>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModuleOutput<'a> {
    module_id: &'a str,
    device_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    managed_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<AuthenticationJson>,
}
