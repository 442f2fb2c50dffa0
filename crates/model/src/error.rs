//! What can go wrong, named for what it is and whose fault it is.
//!
//! A [`Fault`] travels from a service to the rim of the program; only the rim knows the numbers
//! that clients see (`iot-proto::status`).

use std::fmt;

/// Something that was asked for cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which case it is.
    pub kind: FaultKind,
    /// What exactly, for the person who reads it: names the field or id and the fix.
    pub detail: String,
}

impl Fault {
    /// A fault of this kind with its explanation.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// An argument is wrong.
    pub fn argument(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::ArgumentInvalid, detail)
    }

    /// The store or another part of this server failed; the detail is for the caller, the cause
    /// belongs in the log.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::ServiceUnavailable, detail)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Fault {}

/// The cases of a [`Fault`]. The names are those of the service's error catalogue
/// (`service-api.md` §2.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The request has no `api-version`.
    InvalidProtocolVersion,
    /// The operation does not fit the resource.
    InvalidOperation,
    /// An argument is wrong.
    ArgumentInvalid,
    /// An argument is missing.
    ArgumentNull,
    /// The body is not what its format demands.
    IotHubFormatError,
    /// The deployment content is wrong.
    InvalidConfigurationContent,
    /// The scope of a device does not exist.
    InvalidDeviceScope,
    /// No credentials, or ones that do not hold.
    IotHubUnauthorized,
    /// The credentials hold, but the right is missing.
    IotHubUnauthorizedAccess,
    /// A system module cannot be changed by hand.
    SystemModuleModifyUnauthorizedAccess,
    /// The cloud-to-device queue of the device is full.
    DeviceMaximumQueueDepthExceeded,
    /// A cloud-to-device message asks for a life out of bounds.
    InvalidMessageExpiryTime,
    /// The device is disabled.
    DeviceDisabled,
    /// Too many direct methods wait for this identity.
    DeviceMaximumInflightMethodExceeded,
    /// No such path.
    GenericNotFound,
    /// No such device.
    DeviceNotFound,
    /// No such module.
    ModuleNotFound,
    /// The device is not connected, or does not listen for methods.
    DeviceNotOnline,
    /// The path exists, the method does not.
    GenericMethodNotAllowed,
    /// The device exists already.
    DeviceAlreadyExists,
    /// The module exists already.
    ModuleAlreadyExistsOnDevice,
    /// The stored version is another one.
    PreconditionFailed,
    /// A lock token is unknown or has run out.
    DeviceMessageLockLost,
    /// A message or body is too large.
    MessageTooLarge,
    /// The device has as many modules as it may.
    TooManyModulesOnDevice,
    /// Too much at once.
    ThrottlingException,
    /// A fault of this server.
    ServerError,
    /// The store cannot be used now; trying again later may work.
    ServiceUnavailable,
    /// No such partition.
    PartitionNotFound,
    /// The device did not answer in time.
    GatewayTimeout,
}
