//! What all REST clients here share: a call with a token, and its errors in words.

use std::time::Duration;

use host::clock::Clock;
use host::http::{Client, HttpError, Request, Response, StreamingResponse};
use iot_proto::etag::{IfMatch, quoted};
use iot_proto::status::{ERROR_CODE_HEADER, ErrorAnswer};
use serde::de::DeserializeOwned;

use crate::dial::{Dial, DialError};
use crate::signer::{Proof, SignError};

/// Why a REST call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// No token.
    #[error("cannot sign a token to ask {dial} with")]
    Sign {
        /// The server.
        dial: Dial,
        /// Why not.
        source: SignError,
    },
    /// Not reachable or not trusted.
    #[error(transparent)]
    Dial(Box<DialError>),
    /// The exchange broke.
    #[error("no answer from {dial}")]
    Http {
        /// The server.
        dial: Dial,
        /// How.
        source: Box<HttpError>,
    },
    /// The server said no.
    #[error("{dial} answered {answer}{}", tracking_text(tracking_id.as_deref()))]
    Answer {
        /// The server.
        dial: Dial,
        /// Status, code and words.
        answer: Box<ErrorAnswer>,
        /// What to look for in the server's log.
        tracking_id: Option<String>,
    },
    /// The server answered with something else.
    #[error("answer of {dial} is not what was asked for: {what}")]
    Malformed {
        /// The server.
        dial: Dial,
        /// What is wrong.
        what: String,
    },
    /// The request cannot be written.
    #[error("request cannot be sent: {0}")]
    Request(String),
}

impl RestError {
    /// The server's refusal, if it is one.
    pub fn answer(&self) -> Option<&ErrorAnswer> {
        match self {
            Self::Answer { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// The HTTP status of the server's refusal.
    pub fn status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status.as_u16())
    }

    /// The name of the server's error code, such as `DeviceNotFound`.
    pub fn code_name(&self) -> Option<&'static str> {
        self.answer().and_then(|answer| answer.code).map(|code| code.name)
    }

    /// Whether the server could not be asked, or could not answer, which another attempt may
    /// mend. Edge components take any 5xx as that (`device-protocol.md` §5.8).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sign { .. } | Self::Malformed { .. } | Self::Request(_) => false,
            Self::Dial(error) => {
                matches!(**error, DialError::Network { .. } | DialError::Proxy { .. })
            }
            Self::Http { .. } => true,
            Self::Answer { answer, .. } => {
                answer.status.is_server_error() || answer.status.as_u16() == TOO_MANY_REQUESTS
            }
        }
    }
}

fn tracking_text(tracking_id: Option<&str>) -> String {
    tracking_id.map(|id| format!(" (tracking id {id})")).unwrap_or_default()
}

/// One server and how we prove ourselves there.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    dial: Dial,
    client: Client,
    proof: Proof,
    clock: Clock,
}

impl Rest {
    pub(crate) fn new(dial: Dial, client: Client, proof: Proof, clock: Clock) -> Self {
        Self { dial, client, proof, clock }
    }

    /// Sends a request that must succeed.
    pub(crate) async fn call(&self, request: Request) -> Result<Response, RestError> {
        let request = self.authorized(request).await?;
        let response = self.client.send(request).await.map_err(|error| self.broken(error))?;
        if response.status.is_success() {
            return Ok(response);
        }
        let header = response.headers.get(ERROR_CODE_HEADER).and_then(|value| value.to_str().ok());
        Err(self.refused(response.status, header, &response.body))
    }

    /// Sends a request whose answer arrives bit by bit.
    pub(crate) async fn stream(&self, request: Request) -> Result<StreamingResponse, RestError> {
        let request = self.authorized(request).await?;
        let response = self.client.stream(request).await.map_err(|error| self.broken(error))?;
        if response.status.is_success() {
            return Ok(response);
        }
        let status = response.status;
        let header = response.headers.get(ERROR_CODE_HEADER).and_then(|value| value.to_str().ok());
        let header = header.map(str::to_owned);
        // A refusal without a readable body is one all the same.
        let body = response.rest(ERROR_BYTES_MAX, ERROR_LIMIT).await.unwrap_or_default();
        Err(self.refused(status, header.as_deref(), &body))
    }

    /// Sends a request and reads its answer as JSON.
    pub(crate) async fn call_for<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<T, RestError> {
        let response = self.call(request).await?;
        self.parse(&response.body)
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, RestError> {
        serde_json::from_slice(body).map_err(|error| self.malformed(error))
    }

    pub(crate) fn malformed(&self, what: impl ToString) -> RestError {
        RestError::Malformed { dial: self.dial.clone(), what: what.to_string() }
    }

    pub(crate) fn broken(&self, error: HttpError) -> RestError {
        let dial = self.dial.clone();
        match error {
            HttpError::Connect(source) => {
                RestError::Dial(Box::new(DialError::Network { dial, source }))
            }
            HttpError::Connector(source) => match source.downcast::<DialError>() {
                Ok(error) => RestError::Dial(error),
                Err(source) => {
                    RestError::Http { dial, source: Box::new(HttpError::Connector(source)) }
                }
            },
            HttpError::Tls(source) => RestError::Dial(Box::new(DialError::Tls { dial, source })),
            source => RestError::Http { dial, source: Box::new(source) },
        }
    }

    async fn authorized(&self, request: Request) -> Result<Request, RestError> {
        let token = self.proof.token(&self.clock).await;
        let token = token.map_err(|source| RestError::Sign { dial: self.dial.clone(), source })?;
        Ok(match token {
            Some(token) => request.header("authorization", token),
            None => request,
        })
    }

    fn refused(
        &self,
        status: host::http::StatusCode,
        header: Option<&str>,
        body: &[u8],
    ) -> RestError {
        RestError::Answer {
            dial: self.dial.clone(),
            answer: Box::new(ErrorAnswer::read(status, header, body)),
            tracking_id: tracking_id(body),
        }
    }
}

/// Adds `If-Match`, unless nothing is demanded.
pub(crate) fn if_match(request: Request, demand: &IfMatch) -> Request {
    match demand {
        IfMatch::Absent => request,
        IfMatch::Any => request.header("if-match", "*"),
        IfMatch::Tag(tag) => request.header("if-match", quoted(tag)),
    }
}

/// `Tracking ID:…-TimeStamp:…` in `ExceptionMessage`, or `trackingId` in one of the documents
/// (`service-api.md` §2.11).
fn tracking_id(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("Tracking ID:").or_else(|| text.split_once("trackingId"))?;
    let id: String = rest
        .trim_start_matches(['\\', '"', ':', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':'))
        .take(TRACKING_ID_LENGTH_MAX)
        .collect();
    let id = id.split("-TimeStamp").next().unwrap_or_default();
    if id.is_empty() { None } else { Some(id.to_owned()) }
}

const TOO_MANY_REQUESTS: u16 = 429;
/// An error's body is one line; more of it is not read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
const ERROR_LIMIT: Duration = Duration::from_secs(10);
const TRACKING_ID_LENGTH_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tracking_id_in_both_forms() {
        for (body, id) in [
            (
                r#"{"Message":"ErrorCode:DeviceNotFound;x","ExceptionMessage":"Tracking ID:e4cb4b6c-G:11-TimeStamp:07/16/2016 00:12:41"}"#,
                Some("e4cb4b6c-G:11"),
            ),
            (r#"{"errorCode":400004,"trackingId":"abc-1","message":"m"}"#, Some("abc-1")),
            (r#"{"Message":"{\"errorCode\":404103,\"trackingId\":\"abc-2\"}"}"#, Some("abc-2")),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(tracking_id(body.as_bytes()).as_deref(), id, "{body}");
        }
    }
}
