//! The table of what clients see when something goes wrong: code, name, HTTP status, bodies,
//! MQTT refusals, AMQP conditions. Only the rim of the program knows numbers, and all of them are
//! here.
//!
//! Spec: sa §2.11, dp §3.2, §3.10, §4.9, §5.1, §11.2. Header `iothub-errorcode`, name and number in the
//! body must agree, or .NET reports `InvalidErrorCode`; Python shows the HTTP reason phrase.

mod catalogue;

use std::fmt;

use amqp::Symbol;
use http::StatusCode;
use jiff::Timestamp;
use model::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::time;

pub use catalogue::CODES;

/// The header that carries the code's name in an answer.
pub const ERROR_CODE_HEADER: &str = "iothub-errorcode";

/// A code of the service's catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The number; its first three digits are the HTTP status.
    pub number: u32,
    /// The name.
    pub name: &'static str,
    /// Whether the number is known, and not inferred from the order of a list.
    pub confirmed: bool,
}

impl Code {
    /// The code with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        CODES.binary_search_by_key(&number, |code| code.number).ok().map(|index| CODES[index])
    }

    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        CODES.iter().find(|code| code.name == name).copied()
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        u16::try_from(self.number / 1000)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The case of our own faults that has this code, if one has.
    pub fn kind(&self) -> Option<FaultKind> {
        KINDS.iter().find(|(_, number, _)| *number == self.number).map(|(kind, ..)| *kind)
    }
}

/// The code of a fault.
pub fn code(kind: FaultKind) -> Code {
    let number = KINDS.iter().find(|(k, ..)| *k == kind).map(|(_, number, _)| *number);
    number.and_then(Code::from_number).unwrap_or(SERVER_ERROR)
}

/// The HTTP status of a fault.
pub fn http_status(kind: FaultKind) -> StatusCode {
    code(kind).status()
}

/// The AMQP error condition of a fault.
pub fn amqp_condition(kind: FaultKind) -> Symbol {
    KINDS
        .iter()
        .find(|(k, ..)| *k == kind)
        .map_or(condition::INTERNAL_ERROR, |(_, _, condition)| condition.clone())
}

/// A fault as AMQP tells it. The description keeps the cloud's habit: readers of logs look for the
/// name and the tracking id.
pub fn amqp_error(fault: &Fault, tracking: Tracking<'_>) -> amqp::Error {
    let name = code(fault.kind).name;
    let description = format!("ErrorCode:{name};{} TrackingId:{}", fault.detail, tracking.id);
    let mut error = amqp::Error::new(amqp_condition(fault.kind), description);
    error.info.push(Symbol::from_static(INFO_TRACKING_ID), tracking.id);
    error
}

/// The reason phrase for a status line; Python shows it to its user.
pub fn reason_phrase(status: StatusCode) -> &'static str {
    match status.as_u16() {
        499 => "Client Closed Request",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

/// What tells one failed request from all others, in bodies and in the log.
#[derive(Debug, Clone, Copy)]
pub struct Tracking<'a> {
    /// An id without meaning, a GUID's digits.
    pub id: &'a str,
    /// When it happened.
    pub time: Timestamp,
}

/// The body of an HTTP answer: one of the service's two forms. What only direct methods meet is
/// told as JSON within the JSON (form b), everything else as `ErrorCode:{Name};{text}` (form a).
pub fn error_body(fault: &Fault, tracking: Tracking<'_>) -> String {
    let code = code(fault.kind);
    let body = if is_method_kind(fault.kind) {
        let inner = json!({
            "errorCode": code.number,
            "trackingId": tracking.id,
            "message": fault.detail,
            "info": {},
            "timestampUtc": time::round_trip(tracking.time),
        });
        json!({ "Message": inner.to_string(), "ExceptionMessage": "" })
    } else {
        json!({
            "Message": format!("ErrorCode:{};{}", code.name, fault.detail),
            "ExceptionMessage": format!(
                "Tracking ID:{}-G:0-TimeStamp:{}",
                tracking.id,
                time::tracking(tracking.time)
            ),
        })
    };
    body.to_string()
}

/// The body of an error answer to a twin request over MQTT. It is never empty: Node decides by
/// `errorCode` in the body and crashes without one (dp trap 6).
pub fn twin_error_body(fault: &Fault, tracking: Tracking<'_>) -> String {
    json!({
        "errorCode": code(fault.kind).number,
        "message": fault.detail,
        "trackingId": tracking.id,
        "timestampUtc": time::round_trip(tracking.time),
    })
    .to_string()
}

/// The body of an edge hub's answer to a module that calls a method (dp §5.7).
pub fn edge_method_error_body(fault: &Fault) -> String {
    json!({ "message": fault.detail }).to_string()
}

/// The MQTT refusals that we use. Never 4: C stops for good on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connack {
    /// 2: client id and user name are malformed or do not go together.
    IdentifierRejected = 2,
    /// 3: try again later.
    ServerUnavailable = 3,
    /// 5: not authorized, whatever the reason.
    NotAuthorized = 5,
}

/// How a fault refuses a CONNECT. What may pass is 3, because SDKs stop reconnecting on 5.
pub fn connack(kind: FaultKind) -> Connack {
    match http_status(kind).as_u16() {
        401 | 403 | 404 => Connack::NotAuthorized,
        400 => Connack::IdentifierRejected,
        _ => Connack::ServerUnavailable,
    }
}

/// An error answer as the client's end reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code, when the answer names one that we know.
    pub code: Option<Code>,
    /// The text for the user.
    pub message: String,
}

impl ErrorAnswer {
    /// Reads any of the forms: header, `Message` in both spellings, a twin error, and the edge
    /// runtime's `message`, `errorMessage` and `ErrorMessage`.
    pub fn read(status: StatusCode, header: Option<&str>, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let outer = MESSAGE_FIELDS.iter().find_map(|field| body.get(field)?.as_str());
        let inner: Option<Value> = outer.and_then(|text| serde_json::from_str(text).ok());
        let document = inner.as_ref().filter(|value| value.is_object()).unwrap_or(&body);
        let number = document.get("errorCode").and_then(Value::as_u64);
        let mut code = number.and_then(|number| Code::from_number(u32::try_from(number).ok()?));
        let mut message = document.get("message").and_then(Value::as_str).or(outer);
        if let Some((name, text)) =
            message.and_then(|text| text.strip_prefix("ErrorCode:")?.split_once(';'))
        {
            code = code.or_else(|| Code::from_name(name));
            message = Some(text);
        }
        let code = code.or_else(|| header.and_then(Code::from_name));
        let message = message.unwrap_or(reason_phrase(status));
        let message = message.chars().take(MESSAGE_LENGTH_MAX).collect();
        Self { status, code, message }
    }

    /// The case of our own faults, when the answer's code has one.
    pub fn kind(&self) -> Option<FaultKind> {
        self.code.and_then(|code| code.kind())
    }
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.as_u16();
        match self.code {
            Some(code) => write!(f, "{status} {}: {}", code.name, self.message),
            None => write!(f, "{status}: {}", self.message),
        }
    }
}

/// Whether only direct methods meet this case.
fn is_method_kind(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::DeviceNotOnline
            | FaultKind::GatewayTimeout
            | FaultKind::DeviceMaximumInflightMethodExceeded
    )
}

/// Where the text of an error stands, in the order of preference.
const MESSAGE_FIELDS: [&str; 4] = ["Message", "message", "errorMessage", "ErrorMessage"];

/// How much of a stranger's error text is kept.
const MESSAGE_LENGTH_MAX: usize = 1024;

const SERVER_ERROR: Code = Code { number: 500_001, name: "ServerError", confirmed: true };

/// The cloud's own AMQP error conditions, beside the standard's (dp §4.9).
pub mod condition {
    use amqp::Symbol;
    pub use amqp::performative::condition::*;

    /// Something took too long.
    pub const TIMEOUT: Symbol = Symbol::from_static("com.microsoft:timeout");
    /// Too much at once.
    pub const THROTTLED: Symbol = Symbol::from_static("com.microsoft:device-container-throttled");
    /// An argument is wrong.
    pub const ARGUMENT_ERROR: Symbol = Symbol::from_static("com.microsoft:argument-error");
    /// A lock has run out.
    pub const MESSAGE_LOCK_LOST: Symbol = Symbol::from_static("com.microsoft:message-lock-lost");
    /// The stored version is another one.
    pub const VERSION_MISMATCH: Symbol = Symbol::from_static("com.microsoft:precondition-failed");
    /// The device exists already.
    pub const DEVICE_ALREADY_EXISTS: Symbol =
        Symbol::from_static("com.microsoft:device-already-exists");
    /// Something else exists already.
    pub const ENTITY_ALREADY_EXISTS: Symbol =
        Symbol::from_static("com.microsoft:entity-already-exists");
}

/// The key of an AMQP error's info map that holds the tracking id.
const INFO_TRACKING_ID: &str = "com.microsoft:tracking-id";

/// Our cases, their numbers and their AMQP conditions.
const KINDS: &[(FaultKind, u32, Symbol)] = &[
    (FaultKind::InvalidProtocolVersion, 400_001, condition::ARGUMENT_ERROR),
    (FaultKind::InvalidOperation, 400_003, condition::NOT_ALLOWED),
    (FaultKind::ArgumentInvalid, 400_004, condition::ARGUMENT_ERROR),
    (FaultKind::ArgumentNull, 400_005, condition::ARGUMENT_ERROR),
    (FaultKind::IotHubFormatError, 400_006, condition::ARGUMENT_ERROR),
    (FaultKind::InvalidDeviceScope, 400_028, condition::ARGUMENT_ERROR),
    (FaultKind::InvalidConfigurationContent, 400_402, condition::ARGUMENT_ERROR),
    (FaultKind::IotHubUnauthorizedAccess, 401_002, condition::UNAUTHORIZED_ACCESS),
    (FaultKind::IotHubUnauthorized, 401_003, condition::UNAUTHORIZED_ACCESS),
    (FaultKind::SystemModuleModifyUnauthorizedAccess, 401_100, condition::UNAUTHORIZED_ACCESS),
    (FaultKind::DeviceMaximumQueueDepthExceeded, 403_004, condition::RESOURCE_LIMIT_EXCEEDED),
    (FaultKind::InvalidMessageExpiryTime, 403_009, condition::ARGUMENT_ERROR),
    (FaultKind::DeviceDisabled, 403_012, condition::UNAUTHORIZED_ACCESS),
    (FaultKind::DeviceMaximumInflightMethodExceeded, 403_800, condition::RESOURCE_LIMIT_EXCEEDED),
    (FaultKind::GenericNotFound, 404_000, condition::NOT_FOUND),
    (FaultKind::DeviceNotFound, 404_001, condition::NOT_FOUND),
    (FaultKind::ModuleNotFound, 404_010, condition::NOT_FOUND),
    (FaultKind::DeviceNotOnline, 404_103, condition::NOT_FOUND),
    (FaultKind::GenericMethodNotAllowed, 405_000, condition::NOT_ALLOWED),
    (FaultKind::DeviceAlreadyExists, 409_001, condition::DEVICE_ALREADY_EXISTS),
    (FaultKind::ModuleAlreadyExistsOnDevice, 409_301, condition::ENTITY_ALREADY_EXISTS),
    (FaultKind::PreconditionFailed, 412_001, condition::VERSION_MISMATCH),
    (FaultKind::DeviceMessageLockLost, 412_002, condition::MESSAGE_LOCK_LOST),
    (FaultKind::MessageTooLarge, 413_001, condition::MESSAGE_SIZE_EXCEEDED),
    (FaultKind::TooManyModulesOnDevice, 413_003, condition::RESOURCE_LIMIT_EXCEEDED),
    (FaultKind::ThrottlingException, 429_001, condition::THROTTLED),
    (FaultKind::ServerError, 500_001, condition::INTERNAL_ERROR),
    (FaultKind::ServiceUnavailable, 503_001, condition::INTERNAL_ERROR),
    (FaultKind::PartitionNotFound, 503_003, condition::NOT_FOUND),
    (FaultKind::GatewayTimeout, 504_101, condition::TIMEOUT),
];

#[cfg(test)]
mod tests;
