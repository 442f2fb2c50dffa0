//! Feedback over HTTPS: one message per request, with its lock in the `ETag` (sa §5.3).

use ::http::header::ETAG;
use ::http::{HeaderValue, Response, StatusCode};
use iot_proto::payload::feedback::{self, FEEDBACK};
use iot_proto::time;
use model::Fault;

use super::{Body, Head, ServiceBackend, answer};

impl<B: ServiceBackend> Head<B> {
    /// The oldest message that waits, locked; 204 when none does. The headers are those of a
    /// message to a device (dp §5.5).
    pub(super) async fn receive_feedback(&self) -> Result<Response<Body>, Fault> {
        let Some(message) = self.backend.lock_feedback(1).await?.pop() else {
            return Ok(answer::no_content());
        };
        let body = feedback::body(&message.records);
        let mut response = answer::bytes(StatusCode::OK, body, FEEDBACK);
        for (name, value) in [
            (ETAG.as_str(), format!("\"{}\"", message.lock)),
            ("iothub-messageid", message.id.to_string()),
            ("iothub-enqueuedtime", time::round_trip(message.enqueued)),
            ("iothub-deliverycount", message.delivery_count.to_string()),
            ("iothub-contenttype", FEEDBACK.to_owned()),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}
