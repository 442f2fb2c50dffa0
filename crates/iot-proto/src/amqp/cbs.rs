//! The token exchange on `$cbs` (dp §4.2, sa §9.3).

use ::amqp::message::{Body, MessageId, Properties};
use ::amqp::{Message, Value};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Use this token from now on.
    PutToken {
        /// The audience that the client names. For information; the token's resource counts.
        name: String,
        /// The token.
        token: String,
    },
    /// Forget the token of this audience.
    DeleteToken {
        /// The audience.
        name: String,
    },
}

/// Why a message on `$cbs` is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no operation, or another one.
    #[error("the application property `operation` must be put-token or delete-token")]
    Operation,
    /// There is no token.
    #[error("the body must be a string with the token")]
    Token,
}

impl Request {
    /// Reads a request. The type of the token is not looked at: Node names one and sends the other
    /// (sa §1.3); the text tells.
    pub fn parse(message: &Message) -> Result<Self, RequestError> {
        let text = |key| message.application_properties.get(key).and_then(Value::as_text);
        let name = text(NAME).unwrap_or_default().to_owned();
        match text(OPERATION) {
            Some(PUT_TOKEN) => {
                let body = message.body.to_bytes().ok_or(RequestError::Token)?;
                let token = std::str::from_utf8(&body).map_err(|_| RequestError::Token)?;
                match token {
                    "" => Err(RequestError::Token),
                    token => Ok(Self::PutToken { name, token: token.to_owned() }),
                }
            }
            Some(DELETE_TOKEN) => Ok(Self::DeleteToken { name }),
            _ => Err(RequestError::Operation),
        }
    }

    /// The message of a request.
    pub fn message(&self, id: MessageId) -> Message {
        let (operation, name, body) = match self {
            Self::PutToken { name, token } => (PUT_TOKEN, name, Value::from(token.as_str())),
            Self::DeleteToken { name } => (DELETE_TOKEN, name, Value::Null),
        };
        let mut message = Message {
            properties: Properties {
                message_id: Some(id),
                to: Some(super::address::CBS.to_owned()),
                reply_to: Some("cbs".to_owned()),
                ..Properties::default()
            },
            body: Body::Value(body),
            ..Message::default()
        };
        message.application_properties.push(OPERATION, operation);
        message.application_properties.push(TYPE, TYPE_SAS);
        message.application_properties.push(NAME, name.as_str());
        message
    }
}

/// An answer to a request of a request-response node. The correlation id is the request's message
/// id in its own type, and the status an int: each SDK compares or casts one of them (dp §4.2).
pub fn answer(request_id: Option<MessageId>, status: u16, description: &str) -> Message {
    let mut message = Message {
        properties: Properties { correlation_id: request_id, ..Properties::default() },
        body: Body::Value(Value::Null),
        ..Message::default()
    };
    message.application_properties.push(STATUS_CODE, i32::from(status));
    message.application_properties.push(STATUS_DESCRIPTION, description);
    message
}

/// Reads an answer: status and description.
pub fn read_answer(message: &Message) -> Option<(i64, &str)> {
    let properties = &message.application_properties;
    let status = properties.get(STATUS_CODE)?.as_i64()?;
    Some((status, properties.get(STATUS_DESCRIPTION).and_then(Value::as_text).unwrap_or_default()))
}

const OPERATION: &str = "operation";
const PUT_TOKEN: &str = "put-token";
const DELETE_TOKEN: &str = "delete-token";
const TYPE: &str = "type";
const TYPE_SAS: &str = "servicebus.windows.net:sastoken";
const NAME: &str = "name";
const STATUS_CODE: &str = "status-code";
const STATUS_DESCRIPTION: &str = "status-description";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back() {
        for request in [
            Request::PutToken { name: "hub%2Fdevices%2Fd".into(), token: "SharedAccess".into() },
            Request::DeleteToken { name: "hub/devices/d".into() },
        ] {
            let message = request.message(MessageId::Ulong(1));
            assert_eq!(Request::parse(&message), Ok(request));
        }
        let mut nothing = Message::default();
        assert_eq!(Request::parse(&nothing), Err(RequestError::Operation));
        nothing.application_properties.push("operation", "put-token");
        assert_eq!(Request::parse(&nothing), Err(RequestError::Token));
        nothing.body = Body::Value(Value::Int(1));
        assert_eq!(Request::parse(&nothing), Err(RequestError::Token));
        nothing.body = Body::Value(Value::String("t".into()));
        assert_eq!(
            Request::parse(&nothing),
            Ok(Request::PutToken { name: String::new(), token: "t".into() })
        );
    }

    /// Trap 19: the id keeps its type, the status is an int.
    #[test]
    fn an_answer_keeps_the_type_of_the_id() {
        for id in [
            MessageId::Ulong(7),
            MessageId::Uuid([1; 16]),
            MessageId::String("7".into()),
            MessageId::Binary(vec![7].into()),
        ] {
            let answer = answer(Some(id.clone()), 200, "OK");
            assert_eq!(answer.properties.correlation_id, Some(id));
            assert_eq!(answer.application_properties.get("status-code"), Some(&Value::Int(200)));
            assert_eq!(read_answer(&answer), Some((200, "OK")));
        }
    }
}
