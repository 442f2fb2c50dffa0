//! Twins over AMQP (dp §4.7): operations and answers stand in the annotations.

use ::amqp::message::{Body, MessageId, Properties};
use ::amqp::{Message, Symbol, Value};
use bytes::Bytes;
use model::Fault;

use crate::status::{self, Tracking};

/// What an identity asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// The twin.
    Get,
    /// To merge into its reported properties.
    Report {
        /// The version that it expects, when it names one.
        expected: Option<u64>,
        /// The patch's JSON text.
        body: Bytes,
    },
    /// To hear of changes of desired properties.
    Subscribe,
    /// To hear no more.
    Unsubscribe,
}

/// Why a message on a twin link is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The operation is missing or does not fit the resource.
    #[error("the annotation `operation` must be GET, PATCH, PUT or DELETE and fit `resource`")]
    Operation,
    /// The expected version is no number.
    #[error("the annotation `version` must be a number from 0 on")]
    Version,
    /// The body is neither data nor text.
    #[error("the body is neither data nor text")]
    Body,
}

impl Operation {
    /// Reads an operation.
    pub fn parse(message: &Message) -> Result<Self, OperationError> {
        let text = |key| message.message_annotations.get(key).and_then(Value::as_text);
        let resource = text(RESOURCE).unwrap_or_default();
        let is = |known: &str| resource.eq_ignore_ascii_case(known);
        match text(OPERATION).map(str::to_ascii_uppercase).as_deref() {
            Some("GET") => Ok(Self::Get),
            Some("PATCH") if resource.is_empty() || is(REPORTED) => {
                let expected = match message.message_annotations.get(VERSION) {
                    None | Some(Value::Null) => None,
                    Some(version) => {
                        let version = version.as_i64().and_then(|v| u64::try_from(v).ok());
                        Some(version.ok_or(OperationError::Version)?)
                    }
                };
                let body = message.body.to_bytes().ok_or(OperationError::Body)?;
                Ok(Self::Report { expected, body })
            }
            Some("PUT") if is(NOTIFICATIONS) => Ok(Self::Subscribe),
            Some("DELETE") if is(NOTIFICATIONS) => Ok(Self::Unsubscribe),
            _ => Err(OperationError::Operation),
        }
    }

    /// The message of an operation.
    pub fn message(&self, correlation_id: &str) -> Message {
        let (operation, resource, body) = match self {
            Self::Get => ("GET", None, Body::Empty),
            Self::Report { body, .. } => ("PATCH", Some(REPORTED), Body::data(body.clone())),
            Self::Subscribe => ("PUT", Some(NOTIFICATIONS), Body::Empty),
            Self::Unsubscribe => ("DELETE", Some(NOTIFICATIONS), Body::Empty),
        };
        let mut message = with_correlation(Some(correlation_id.to_owned()), body);
        message.message_annotations.push(Symbol::from_static(OPERATION), operation);
        if let Some(resource) = resource {
            message.message_annotations.push(Symbol::from_static(RESOURCE), resource);
        }
        if let Self::Report { expected: Some(version), .. } = self {
            message.message_annotations.push(Symbol::from_static(VERSION), *version);
        }
        message
    }
}

/// The id of an operation as its answer must carry it: a string, whatever the client sent.
pub fn correlation(message: &Message) -> Option<String> {
    message.properties.correlation_id.as_ref().map(ToString::to_string)
}

/// The answer to a GET.
pub fn document_answer(correlation_id: Option<String>, document: impl Into<Bytes>) -> Message {
    answer(correlation_id, 200, Body::data(document))
}

/// The answer to an operation that gives nothing back but, for a patch, the new version. Java reads
/// the version as 32 bits.
pub fn done_answer(correlation_id: Option<String>, reported: Option<Option<u64>>) -> Message {
    let mut message = answer(correlation_id, 204, Body::data(Bytes::new()));
    if let Some(version) = reported {
        let annotations = &mut message.message_annotations;
        annotations.push(Symbol::from_static(RESOURCE), REPORTED);
        if let Some(version) = version {
            annotations.push(Symbol::from_static(VERSION), version_value(version));
        }
    }
    message
}

/// The answer to an operation that failed. Node reads the body as JSON.
pub fn fault_answer(
    correlation_id: Option<String>,
    fault: &Fault,
    tracking: Tracking<'_>,
) -> Message {
    let status = status::http_status(fault.kind).as_u16();
    answer(correlation_id, status, Body::data(status::twin_error_body(fault, tracking)))
}

/// Tells of changed desired properties: without a correlation id, or C and Java take it for an
/// answer. `patch` holds `$version`.
pub fn desired_patch(patch: impl Into<Bytes>, version: u64) -> Message {
    let mut message = with_correlation(None, Body::data(patch));
    message.message_annotations.push(Symbol::from_static(RESOURCE), DESIRED);
    message.message_annotations.push(Symbol::from_static(VERSION), version_value(version));
    message
}

/// The status of an answer; none for a notification.
pub fn status(message: &Message) -> Option<i64> {
    message.message_annotations.get(STATUS).and_then(Value::as_i64)
}

/// The version that an answer or a notification carries.
pub fn version(message: &Message) -> Option<i64> {
    message.message_annotations.get(VERSION).and_then(Value::as_i64)
}

fn answer(correlation_id: Option<String>, status: u16, body: Body) -> Message {
    let mut message = with_correlation(correlation_id, body);
    message.message_annotations.push(Symbol::from_static(STATUS), i32::from(status));
    message
}

fn with_correlation(correlation_id: Option<String>, body: Body) -> Message {
    Message {
        properties: Properties {
            correlation_id: correlation_id.map(MessageId::String),
            ..Properties::default()
        },
        body,
        ..Message::default()
    }
}

/// AMQP's long.
fn version_value(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

const OPERATION: &str = "operation";
const RESOURCE: &str = "resource";
const VERSION: &str = "version";
const STATUS: &str = "status";
const REPORTED: &str = "/properties/reported";
const DESIRED: &str = "/properties/desired";
const NOTIFICATIONS: &str = "/notifications/twin/properties/desired";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back() {
        for operation in [
            Operation::Get,
            Operation::Report { expected: None, body: "{}".into() },
            Operation::Report { expected: Some(7), body: "{}".into() },
            Operation::Subscribe,
            Operation::Unsubscribe,
        ] {
            let message = operation.message("id");
            assert_eq!(Operation::parse(&message), Ok(operation));
            assert_eq!(correlation(&message).as_deref(), Some("id"));
        }
        let mut message = Operation::Get.message("id");
        message.message_annotations = Default::default();
        assert_eq!(Operation::parse(&message), Err(OperationError::Operation));
        for (resource, version, error) in [
            ("/properties/desired", Value::Null, OperationError::Operation),
            ("/properties/reported", Value::Int(-1), OperationError::Version),
            ("/properties/reported", "1".into(), OperationError::Version),
        ] {
            message.message_annotations = [
                (OPERATION, Value::from("PATCH")),
                (RESOURCE, resource.into()),
                (VERSION, version),
            ]
            .into_iter()
            .collect();
            assert_eq!(Operation::parse(&message), Err(error));
        }
    }

    /// Traps 20, 21 and 26.
    #[test]
    fn answers_have_the_types_that_sdks_read() {
        let document = document_answer(Some("a".into()), "{}");
        assert_eq!(document.message_annotations.get("status"), Some(&Value::Int(200)));
        assert_eq!(document.properties.correlation_id, Some(MessageId::String("a".into())));
        let done = done_answer(Some("a".into()), Some(Some(5)));
        assert_eq!(done.message_annotations.get("version"), Some(&Value::Long(5)));
        assert_eq!(status(&done), Some(204));
        assert_eq!(version(&done_answer(None, Some(None))), None);
        let patch = desired_patch("{}", 9);
        assert_eq!(patch.properties.correlation_id, None);
        assert_eq!(
            patch.message_annotations.get("resource"),
            Some(&Value::from("/properties/desired"))
        );
        assert_eq!((status(&patch), version(&patch)), (None, Some(9)));
    }

    #[test]
    fn a_failure_has_a_body_that_names_its_code() {
        let tracking = Tracking { id: "t", time: "2026-01-01T00:00:00Z".parse().unwrap() };
        let answer = fault_answer(Some("a".into()), &Fault::argument("no object"), tracking);
        assert_eq!(status(&answer), Some(400));
        let body = answer.body.to_bytes().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errorCode"], 400_004);
        assert_eq!(body["message"], "no object");
    }
}
