//! Direct methods over AMQP (dp §4.6).

use ::amqp::message::{Body, MessageId, Properties};
use ::amqp::{Message, Value};
use model::method::{MethodRequest, MethodResponse};
use uuid::Uuid;

/// Why a message is no answer to a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// No correlation id, or none of ours.
    #[error("the correlation id is not that of a request")]
    CorrelationId,
    /// No status.
    #[error("the application property `{STATUS}` must be a 32-bit number")]
    Status,
    /// The body is neither data nor text.
    #[error("the body is neither data nor text")]
    Body,
}

/// A call on its way to the identity. The id is a uuid, which C demands; the data section stands
/// there even when it is empty.
pub fn request(call: Uuid, request: &MethodRequest) -> Message {
    let mut message = Message {
        properties: Properties {
            correlation_id: Some(MessageId::Uuid(call.into_bytes())),
            ..Properties::default()
        },
        body: Body::data(request.payload.clone()),
        ..Message::default()
    };
    message.application_properties.push(NAME, request.name.as_str());
    message
}

/// Reads an identity's answer. Node returns the id as a string, so its text counts.
pub fn read_response(message: &Message) -> Result<(Uuid, MethodResponse), ResponseError> {
    let id = message.properties.correlation_id.as_ref().ok_or(ResponseError::CorrelationId)?;
    let call = match id {
        MessageId::Uuid(bytes) => Uuid::from_bytes(*bytes),
        id => id.to_string().parse().map_err(|_| ResponseError::CorrelationId)?,
    };
    let status = message
        .application_properties
        .get(STATUS)
        .and_then(Value::as_i64)
        .and_then(|status| i32::try_from(status).ok())
        .ok_or(ResponseError::Status)?;
    let payload = message.body.to_bytes().ok_or(ResponseError::Body)?;
    Ok((call, MethodResponse { status, payload }))
}

/// An identity's answer, as a client sends it.
pub fn response(call: MessageId, response: &MethodResponse) -> Message {
    let mut message = Message {
        properties: Properties { correlation_id: Some(call), ..Properties::default() },
        body: Body::data(response.payload.clone()),
        ..Message::default()
    };
    message.application_properties.push(STATUS, response.status);
    message
}

/// The name of a call in its application properties.
pub fn name(message: &Message) -> Option<&str> {
    message.application_properties.get(NAME).and_then(Value::as_text)
}

const NAME: &str = "IoThub-methodname";
const STATUS: &str = "IoThub-status";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Traps 20 and 25.
    #[test]
    fn a_call_has_what_every_sdk_looks_for() {
        let call = Uuid::from_u128(0x0011_2233_4455);
        let request = request(
            call,
            &MethodRequest {
                name: "Reboot".into(),
                payload: Default::default(),
                response_timeout: Duration::ZERO,
                connect_timeout: Duration::ZERO,
            },
        );
        assert_eq!(name(&request), Some("Reboot"));
        assert_eq!(request.properties.correlation_id, Some(MessageId::Uuid(call.into_bytes())));
        assert_eq!(request.body, Body::Data(vec![Default::default()]));
    }

    #[test]
    fn an_answer_is_matched_by_the_text_of_its_id() {
        let call = Uuid::from_u128(5);
        let answer = MethodResponse { status: -7, payload: "{}".into() };
        for id in [
            MessageId::Uuid(call.into_bytes()),
            MessageId::String(call.to_string()),
            MessageId::String(call.to_string().to_uppercase()),
        ] {
            assert_eq!(read_response(&response(id, &answer)), Ok((call, answer.clone())));
        }
        let mut other = response(MessageId::Ulong(1), &answer);
        assert_eq!(read_response(&other), Err(ResponseError::CorrelationId));
        other.properties.correlation_id = Some(MessageId::Uuid(call.into_bytes()));
        other.application_properties = Default::default();
        assert_eq!(read_response(&other), Err(ResponseError::Status));
        for status in [Value::Ubyte(200), Value::Long(200)] {
            other.application_properties = [(STATUS, status)].into_iter().collect();
            assert_eq!(read_response(&other).unwrap().1.status, 200);
        }
        other.application_properties = [(STATUS, Value::Long(1 << 40))].into_iter().collect();
        assert_eq!(read_response(&other), Err(ResponseError::Status));
    }
}
