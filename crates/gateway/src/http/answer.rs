//! Answers: JSON with the headers that clients expect, and faults in their two forms.

use ::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use iot_proto::payload::{self, JSON};
use iot_proto::status::{self, Tracking};
use jiff::Timestamp;
use model::{Fault, FaultKind};
use serde::Serialize;

use super::Body;

/// 200 with a JSON body.
pub(super) fn json<T: Serialize>(body: &T) -> Response<Body> {
    bytes(StatusCode::OK, payload::write(body), JSON)
}

/// 200 with a JSON text that is written already.
pub(super) fn json_bytes(body: Vec<u8>) -> Response<Body> {
    bytes(StatusCode::OK, body, JSON)
}

/// The same with an `ETag`.
pub(super) fn json_etag<T: Serialize>(body: &T, etag: &str) -> Response<Body> {
    let mut response = json(body);
    if let Ok(value) = HeaderValue::from_str(&iot_proto::etag::quoted(etag)) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// 204.
pub(super) fn no_content() -> Response<Body> {
    let mut response = bytes(StatusCode::NO_CONTENT, Vec::new(), JSON);
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// A short text, for what is not part of the service interface.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    bytes(status, format!("{text}\n").into_bytes(), "text/plain; charset=utf-8")
}

/// A fault as the service reports it: body, `iothub-errorcode`, and the status' own reason phrase,
/// which Python shows to its user.
pub(super) fn fault(fault: &Fault, now: Timestamp) -> Response<Body> {
    let id = host::entropy::uuid_v4().simple().to_string();
    let body = status::error_body(fault, Tracking { id: &id, time: now });
    let mut response = bytes(status::http_status(fault.kind), body.into_bytes(), JSON);
    let headers = response.headers_mut();
    if let Ok(name) = HeaderValue::from_str(status::code(fault.kind).name) {
        headers.insert(status::ERROR_CODE_HEADER, name);
    }
    match fault.kind {
        FaultKind::IotHubUnauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("SharedAccessSignature"));
        }
        FaultKind::ThrottlingException | FaultKind::ServiceUnavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

pub(super) fn bytes(
    status: StatusCode,
    body: Vec<u8>,
    content_type: &'static str,
) -> Response<Body> {
    let mut response = Response::new(Full::from(body).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&host::entropy::uuid_v4().to_string()) {
        headers.insert("x-ms-request-id", id);
    }
    response
}
