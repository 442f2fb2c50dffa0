//! Direct methods on their way: called from upstream, answered by a local client.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use client::device::MethodReply;
use host::clock::Mono;
use model::method::MethodResponse;
use model::{IdentityId, limits};
use parking_lot::Mutex;
use uuid::Uuid;

/// Calls without an answer.
#[derive(Default)]
pub(crate) struct Calls {
    open: Mutex<HashMap<Uuid, Call>>,
}

struct Call {
    callee: IdentityId,
    reply: MethodReply,
    since: Mono,
}

impl Calls {
    /// Notes a call and names it. One too many, or one that nobody takes, is answered at once.
    pub(crate) fn begin(&self, callee: &IdentityId, reply: MethodReply, now: Mono) -> Option<Uuid> {
        let mut open = self.open.lock();
        open.retain(|_, call| now.duration_since(call.since) < LIFE_MAX);
        let of_callee = open.values().filter(|call| call.callee == *callee).count();
        if of_callee >= limits::METHODS_IN_FLIGHT_MAX {
            drop(open);
            reply.send(STATUS_TOO_MANY, body("too many direct methods wait for this client"));
            return None;
        }
        let call = host::entropy::uuid_v4();
        open.insert(call, Call { callee: callee.clone(), reply, since: now });
        Some(call)
    }

    /// The client's answer. Late ones, and those to another's call, are ignored.
    pub(crate) fn answer(&self, callee: &IdentityId, call: Uuid, response: MethodResponse) {
        let mut open = self.open.lock();
        if open.get(&call).is_some_and(|known| known.callee == *callee)
            && let Some(known) = open.remove(&call)
        {
            known.reply.send(response.status, response.payload);
        }
    }

    /// Nobody takes this call.
    pub(crate) fn refuse(&self, call: Uuid) {
        if let Some(call) = self.open.lock().remove(&call) {
            call.reply.send(
                STATUS_AWAY,
                body("client is not connected to the edge hub, or does not listen for methods"),
            );
        }
    }

    /// The client is gone: its calls are answered.
    pub(crate) fn hang_up(&self, callee: &IdentityId) {
        let gone: Vec<Call> = self
            .open
            .lock()
            .extract_if(|_, call| call.callee == *callee)
            .map(|(_, call)| call)
            .collect();
        for call in gone {
            call.reply.send(STATUS_AWAY, body("client disconnected before it answered"));
        }
    }
}

fn body(message: &str) -> Bytes {
    serde_json::json!({ "message": message }).to_string().into()
}

/// The original waits 5 min 30 s (er §5.8).
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(330);
/// The original answers 0, which tells nothing (T-METHOD-0).
const STATUS_AWAY: i32 = 404;
const STATUS_TOO_MANY: i32 = 429;
