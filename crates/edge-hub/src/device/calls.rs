//! Direct methods on their way: called from upstream or by a module here, answered by a local client.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use client::device::MethodReply;
use host::clock::Mono;
use model::method::MethodResponse;
use model::{Fault, FaultKind, IdentityId, limits};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Calls without an answer.
#[derive(Default)]
pub(crate) struct Calls {
    open: Mutex<HashMap<Uuid, Call>>,
}

struct Call {
    callee: IdentityId,
    reply: Reply,
    since: Mono,
}

/// Who waits for the answer.
pub(crate) enum Reply {
    /// A back end, beyond the hub.
    Upstream(MethodReply),
    /// A module of this device, by HTTPS. When it is dropped the module went away.
    Local(oneshot::Sender<Result<MethodResponse, Fault>>),
}

impl Reply {
    /// As metrics name it.
    fn caller(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "upstream",
            Self::Local(_) => "module",
        }
    }

    fn answer(self, response: MethodResponse) {
        match self {
            Self::Upstream(reply) => reply.send(response.status, response.payload),
            // The module may have given up.
            Self::Local(reply) => drop(reply.send(Ok(response))),
        }
    }

    fn refuse(self, kind: FaultKind, message: &str) {
        match self {
            Self::Upstream(reply) => {
                let status = if kind == FaultKind::DeviceNotOnline { AWAY } else { TOO_MANY };
                reply.send(status, body(message));
            }
            Self::Local(reply) => drop(reply.send(Err(Fault::new(kind, message)))),
        }
    }
}

impl Calls {
    /// Notes a call and names it. One too many, or one that nobody takes, is answered at once.
    pub(crate) fn begin(&self, callee: &IdentityId, reply: Reply, now: Mono) -> Option<Uuid> {
        let mut open = self.open.lock();
        open.retain(|_, call| now.duration_since(call.since) < LIFE_MAX);
        let of_callee = open.values().filter(|call| call.callee == *callee).count();
        if of_callee >= limits::METHODS_IN_FLIGHT_MAX {
            drop(open);
            let kind = FaultKind::DeviceMaximumInflightMethodExceeded;
            reply.refuse(kind, "too many direct methods wait for this client");
            return None;
        }
        let call = host::entropy::uuid_v4();
        open.insert(call, Call { callee: callee.clone(), reply, since: now });
        Some(call)
    }

    /// The client's answer. Late ones, and those to another's call, are ignored. Gives who called,
    /// and when.
    pub(crate) fn answer(
        &self,
        callee: &IdentityId,
        call: Uuid,
        response: MethodResponse,
    ) -> Option<(&'static str, Mono)> {
        let mut open = self.open.lock();
        if open.get(&call).is_none_or(|known| known.callee != *callee) {
            return None;
        }
        let Call { reply, since, .. } = open.remove(&call)?;
        let caller = reply.caller();
        reply.answer(response);
        Some((caller, since))
    }

    /// Nobody takes this call.
    pub(crate) fn refuse(&self, call: Uuid) {
        if let Some(call) = self.open.lock().remove(&call) {
            let message = "client is not connected to the edge hub, or does not listen for methods";
            call.reply.refuse(FaultKind::DeviceNotOnline, message);
        }
    }

    /// Nobody waits for this call any more.
    pub(crate) fn forget(&self, call: Uuid) {
        self.open.lock().remove(&call);
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
            let message = "client disconnected before it answered";
            call.reply.refuse(FaultKind::DeviceNotOnline, message);
        }
    }
}

fn body(message: &str) -> Bytes {
    serde_json::json!({ "message": message }).to_string().into()
}

/// The original waits 5 min 30 s (er §5.8).
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(330);
/// The original answers 0, which tells nothing (T-METHOD-0).
const AWAY: i32 = 404;
const TOO_MANY: i32 = 429;
