//! The identities for which an edge device may act: scope calls (er §5.5).
//!
//! Plain keys travel in these answers: they let the edge authenticate its devices offline.

use model::identity::{DeviceIdentity, ModuleIdentity, Status};
use model::{Etag, Fault, GenerationId};
use serde::{Deserialize, Serialize};

use super::AuthenticationJson;
use super::device::{Capabilities, status_name};

/// The body of `devicesAndModulesInTargetDeviceScope`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeRequest {
    /// Identities in one answer.
    #[serde(default = "page_size_default")]
    pub page_size: usize,
    /// Where the last answer ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation_link: Option<String>,
    /// Whose scope, and who asks.
    pub auth_chain: String,
}

/// The body of `getDeviceAndModuleOnBehalfOf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeIdentityRequest {
    /// The device.
    pub target_device_id: String,
    /// The module, when one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_module_id: Option<String>,
    /// From the target to who asks.
    pub auth_chain: String,
}

/// The answer of every scope call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeResult {
    /// Devices.
    pub devices: Vec<ScopeDevice>,
    /// Modules.
    pub modules: Vec<ScopeModule>,
    /// Where the next answer begins; null at the end.
    pub continuation_link: Option<String>,
}

/// A device in a scope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeDevice {
    /// Its id.
    pub device_id: String,
    /// Its generation.
    pub generation_id: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// How it proves itself.
    pub authentication: AuthenticationJson,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its own scope or its parent's.
    pub device_scope: Option<String>,
    /// The scopes of its parents.
    pub parent_scopes: Vec<String>,
}

/// A module in a scope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeModule {
    /// Its id within the device.
    pub module_id: String,
    /// Its device.
    pub device_id: String,
    /// Its generation.
    pub generation_id: String,
    /// How it proves itself.
    pub authentication: AuthenticationJson,
}

/// Identities in one answer when the caller names no number; the number is edge hub's own.
pub const PAGE_SIZE_DEFAULT: usize = 10;
/// Identities in one answer at most (ours).
pub const PAGE_SIZE_MAX: usize = 100;

fn page_size_default() -> usize {
    PAGE_SIZE_DEFAULT
}

impl From<&DeviceIdentity> for ScopeDevice {
    fn from(device: &DeviceIdentity) -> Self {
        Self {
            device_id: device.id.to_string(),
            generation_id: device.generation.to_string(),
            status: status_name(device.status).to_owned(),
            authentication: (&device.authentication).into(),
            capabilities: Capabilities { iot_edge: device.edge },
            device_scope: device.scope.clone(),
            parent_scopes: device.parent_scopes.clone(),
        }
    }
}

impl From<&ModuleIdentity> for ScopeModule {
    fn from(module: &ModuleIdentity) -> Self {
        Self {
            module_id: module.id.to_string(),
            device_id: module.device.to_string(),
            generation_id: module.generation.to_string(),
            authentication: (&module.authentication).into(),
        }
    }
}

impl ScopeDevice {
    /// The identity, as far as the answer tells of it: etag and status' time are not in it.
    pub fn to_model(&self) -> Result<DeviceIdentity, Fault> {
        Ok(DeviceIdentity {
            id: self.device_id.parse().map_err(id_fault)?,
            generation: GenerationId::from_text(&self.generation_id),
            etag: Etag(0),
            status: if self.status.eq_ignore_ascii_case("enabled") {
                Status::Enabled
            } else {
                Status::Disabled
            },
            status_reason: None,
            status_updated: None,
            authentication: self.authentication.to_model()?,
            edge: self.capabilities.iot_edge,
            scope: self.device_scope.clone(),
            parent_scopes: self.parent_scopes.clone(),
        })
    }
}

impl ScopeModule {
    /// The identity, as far as the answer tells of it.
    pub fn to_model(&self) -> Result<ModuleIdentity, Fault> {
        Ok(ModuleIdentity {
            device: self.device_id.parse().map_err(id_fault)?,
            id: self.module_id.parse().map_err(id_fault)?,
            generation: GenerationId::from_text(&self.generation_id),
            etag: Etag(0),
            managed_by: None,
            authentication: self.authentication.to_model()?,
        })
    }
}

fn id_fault(error: model::id::IdError) -> Fault {
    Fault::argument(error.to_string())
}
