//! Twins: the service's document, changes that back ends write, and the device's messages.
//!
//! Spec: sa §3.2, §3.3, dp §3.9–3.11.

use model::identity::{Authentication, DeviceIdentity, ModuleIdentity};
use model::twin::{Object, Twin, TwinChange, TwinError};
use model::{Fault, FaultKind};
use serde_json::{Map, Value, json};

use super::device::status_name;
use super::{Activity, authentication, object};
use crate::{etag, time};

/// A twin with all that the service shows beside it.
#[derive(Debug, Clone, Copy)]
pub struct TwinParts<'a> {
    /// The device.
    pub device: &'a DeviceIdentity,
    /// The module, when it is a module's twin.
    pub module: Option<&'a ModuleIdentity>,
    /// The connection of whoever the twin belongs to.
    pub activity: &'a Activity,
    /// Messages that wait for the device.
    pub waiting_messages: u64,
    /// The twin.
    pub twin: &'a Twin,
    /// The DTDL model that was announced.
    pub model_id: Option<&'a str>,
}

impl TwinParts<'_> {
    /// The document that back ends read. Every field is there, as nulls or empty objects if need
    /// be; scopes and capabilities only for devices.
    pub fn document(&self) -> Object {
        let device = self.device;
        let mut document = Map::new();
        let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
        set("deviceId", device.id.as_str().into());
        let (own_etag, proof) = match self.module {
            Some(module) => {
                set("moduleId", module.id.as_str().into());
                (module.etag, &module.authentication)
            }
            None => (device.etag, &device.authentication),
        };
        set("etag", etag::twin(self.twin.etag).into());
        set("deviceEtag", etag::identity(own_etag).into());
        set("status", status_name(device.status).into());
        set("statusReason", device.status_reason.clone().into());
        set("statusUpdateTime", time::round_trip_or_never(device.status_updated).into());
        set("connectionState", self.activity.state().into());
        set("lastActivityTime", time::round_trip_or_never(self.activity.last_activity).into());
        let waiting = if self.module.is_some() { 0 } else { self.waiting_messages };
        set("cloudToDeviceMessageCount", waiting.into());
        set("authenticationType", authentication::type_name(proof).into());
        set("x509Thumbprint", thumbprints(proof));
        set("modelId", self.model_id.unwrap_or_default().into());
        set("version", self.twin.version.into());
        set("tags", Value::Object(self.twin.tags.clone()));
        set(
            "properties",
            json!({
                "desired": self.twin.desired.service_view(),
                "reported": self.twin.reported.service_view(),
            }),
        );
        if self.module.is_none() {
            set("capabilities", json!({ "iotEdge": device.edge }));
            if let Some(scope) = &device.scope {
                set("deviceScope", scope.as_str().into());
            }
            set("parentScopes", device.parent_scopes.clone().into());
        }
        document
    }
}

fn thumbprints(proof: &Authentication) -> Value {
    let (primary, secondary) = match proof {
        Authentication::SelfSigned { primary, secondary } => (primary.as_ref(), secondary.as_ref()),
        _ => (None, None),
    };
    json!({ "primaryThumbprint": primary, "secondaryThumbprint": secondary })
}

/// Reads what a back end writes by PATCH or PUT: `tags` and `properties.desired`. All other fields
/// are ignored: clients send whole twins back.
pub fn read_change(body: &[u8]) -> Result<TwinChange, Fault> {
    let mut body = object(body)?;
    let tags = section(body.shift_remove("tags"), "tags")?;
    let properties = section(body.shift_remove("properties"), "properties")?;
    let desired = properties.and_then(|mut properties| properties.shift_remove("desired"));
    Ok(TwinChange { tags, desired: section(desired, "properties.desired")? })
}

/// The body that says this change: the client's end.
pub fn change_body(change: &TwinChange) -> Vec<u8> {
    let mut body = Map::new();
    if let Some(tags) = &change.tags {
        body.insert("tags".to_owned(), Value::Object(tags.clone()));
    }
    if let Some(desired) = &change.desired {
        body.insert("properties".to_owned(), json!({ "desired": desired }));
    }
    super::write(&body)
}

/// What is wrong with a twin, as a fault.
pub fn twin_fault(error: &TwinError) -> Fault {
    Fault::new(FaultKind::ArgumentInvalid, error.to_string())
}

/// A section that is there and an object; null is as good as absent.
fn section(value: Option<Value>, name: &str) -> Result<Option<Object>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Fault::argument(format!("{name} is not a JSON object"))),
    }
}

/// The twin as the identity itself reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceTwin {
    /// What it shall be, without `$version`.
    pub desired: Object,
    /// The version of that.
    pub desired_version: u64,
    /// What it said it is, without `$version`.
    pub reported: Object,
    /// The version of that.
    pub reported_version: u64,
}

impl DeviceTwin {
    /// Reads the answer to a twin get: the client's end.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut body = object(body)?;
        let mut take = |name: &str| {
            let section = section(body.shift_remove(name), name)?.unwrap_or_default();
            versioned(section, name)
        };
        let (desired, desired_version) = take("desired")?;
        let (reported, reported_version) = take("reported")?;
        Ok(Self { desired, desired_version, reported, reported_version })
    }

    /// The answer's body, with `$version` in both sections: Python throws without.
    pub fn to_body(&self) -> Vec<u8> {
        super::write(&json!({
            "desired": with_version(&self.desired, self.desired_version),
            "reported": with_version(&self.reported, self.reported_version),
        }))
    }
}

/// A change of desired properties as the identity is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredPatch {
    /// The patch, without `$version`; null deletes.
    pub patch: Object,
    /// The version after it.
    pub version: u64,
}

impl DesiredPatch {
    /// Reads a notification: the client's end.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let (patch, version) = versioned(object(body)?, "the patch")?;
        Ok(Self { patch, version })
    }

    /// The notification's body.
    pub fn to_body(&self) -> Vec<u8> {
        super::write(&with_version(&self.patch, self.version))
    }
}

fn versioned(mut section: Object, name: &str) -> Result<(Object, u64), Fault> {
    section.shift_remove("$metadata");
    let version = section.shift_remove("$version").and_then(|version| version.as_u64());
    let version = version.ok_or_else(|| Fault::argument(format!("{name} has no $version")))?;
    Ok((section, version))
}

fn with_version(section: &Object, version: u64) -> Object {
    let mut section = section.clone();
    section.insert("$version".to_owned(), version.into());
    section
}
