//! Direct methods over HTTPS (sa §5.1, dp §5.7, §8).

use std::time::Duration;

use bytes::Bytes;
use model::method::{MethodRequest, MethodResponse};
use model::{Fault, FaultKind, limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::read;

/// Reads a call. Time-outs are numbers or numeric texts (the CLI sends texts), `timeout` stands
/// for the response's (the C SDK of modules). An absent payload and a null one are delivered as
/// `null`, an empty text as `""`.
pub fn read_request(body: &[u8]) -> Result<MethodRequest, Fault> {
    let body: RequestInput<'_> = read(body)?;
    let name = body.method_name.unwrap_or_default();
    if name.is_empty() {
        return Err(Fault::new(FaultKind::ArgumentNull, "methodName is missing or empty"));
    }
    if name.chars().count() > limits::METHOD_NAME_LENGTH_MAX {
        return Err(Fault::argument("methodName has more than 100 characters"));
    }
    if name.chars().any(char::is_control) {
        return Err(Fault::argument("methodName holds a control character"));
    }
    let payload = body.payload.map_or("null", RawValue::get);
    if payload.len() > limits::METHOD_PAYLOAD_BYTES_MAX {
        return Err(Fault::new(
            FaultKind::MessageTooLarge,
            "payload is larger than 131072 bytes (128 KB)",
        ));
    }
    let response_s = seconds(body.response_timeout_in_seconds.or(body.timeout))
        .ok_or_else(|| not_seconds("responseTimeoutInSeconds"))?
        .unwrap_or(limits::METHOD_RESPONSE_TIMEOUT_DEFAULT_S);
    if !limits::METHOD_RESPONSE_TIMEOUT_S.contains(&response_s) {
        return Err(Fault::argument("responseTimeoutInSeconds is not between 5 and 300"));
    }
    let connect_s = seconds(body.connect_timeout_in_seconds)
        .ok_or_else(|| not_seconds("connectTimeoutInSeconds"))?
        .unwrap_or(0);
    if connect_s > limits::METHOD_CONNECT_TIMEOUT_MAX_S {
        return Err(Fault::argument("connectTimeoutInSeconds is not between 0 and 300"));
    }
    Ok(MethodRequest {
        name,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        response_timeout: Duration::from_secs(response_s),
        connect_timeout: Duration::from_secs(connect_s),
    })
}

/// The body of a call: the client's end. A payload that is no JSON is an error of the caller.
pub fn request_body(request: &MethodRequest) -> Result<Vec<u8>, Fault> {
    let payload = json_or_null(&request.payload)
        .ok_or_else(|| Fault::argument("the method's payload is not JSON"))?;
    Ok(super::write(&RequestOutput {
        method_name: &request.name,
        payload,
        response_timeout_in_seconds: request.response_timeout.as_secs(),
        connect_timeout_in_seconds: request.connect_timeout.as_secs(),
    }))
}

/// The body of an answer. A payload that is empty becomes null, one that is no JSON becomes a
/// text (dp §8): .NET and the CLI break on anything else.
pub fn response_body(response: &MethodResponse) -> Vec<u8> {
    let status = response.status;
    match json_or_null(&response.payload) {
        Some(payload) => super::write(&ResponseOutput { status, payload }),
        None => {
            let payload = String::from_utf8_lossy(&response.payload);
            super::write(&ResponseOutput { status, payload })
        }
    }
}

/// Reads an answer: the client's end.
pub fn read_response(body: &[u8]) -> Result<MethodResponse, Fault> {
    let body: ResponseInput<'_> = read(body)?;
    let payload = body.payload.map_or("null", RawValue::get);
    Ok(MethodResponse { status: body.status, payload: Bytes::copy_from_slice(payload.as_bytes()) })
}

/// The text as it is when it is JSON (no number in it is rounded), `null` when there is none.
fn json_or_null(payload: &[u8]) -> Option<&RawValue> {
    let text = std::str::from_utf8(payload).ok()?.trim();
    serde_json::from_str(if text.is_empty() { "null" } else { text }).ok()
}

/// A whole number of seconds, as a number or as text; none when nothing is given.
fn seconds(value: Option<Value>) -> Option<Option<u64>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::Number(number)) => number.as_u64().map(Some),
        Some(Value::String(text)) => text.trim().parse().ok().map(Some),
        Some(_) => None,
    }
}

fn not_seconds(field: &str) -> Fault {
    Fault::argument(format!("{field} is not a whole number of seconds"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestInput<'a> {
    method_name: Option<String>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    response_timeout_in_seconds: Option<Value>,
    connect_timeout_in_seconds: Option<Value>,
    timeout: Option<Value>,
}

#[derive(Deserialize)]
struct ResponseInput<'a> {
    status: i32,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestOutput<'a> {
    method_name: &'a str,
    payload: &'a RawValue,
    response_timeout_in_seconds: u64,
    connect_timeout_in_seconds: u64,
}

#[derive(Serialize)]
struct ResponseOutput<P> {
    status: i32,
    payload: P,
}
