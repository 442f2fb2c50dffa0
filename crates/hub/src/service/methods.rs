//! Direct methods: a call, a wait for the identity, a wait for its answer.

use std::collections::HashMap;
use std::pin::pin;

use gateway::backend::methods::MethodBackend;
use host::clock::Mono;
use host::signals::Shutdown;
use model::method::{MethodRequest, MethodResponse};
use model::{Fault, FaultKind, IdentityId, limits};
use parking_lot::Mutex;
use store::signals::Signal;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Hub;

type Outcome = Result<MethodResponse, Fault>;

/// The calls of this node that wait for an answer.
#[derive(Default)]
pub(crate) struct Calls {
    waiting: Mutex<HashMap<Uuid, Waiting>>,
    /// The hub stops: nobody will answer any more.
    closed: Shutdown,
}

struct Waiting {
    id: IdentityId,
    answer: oneshot::Sender<Outcome>,
}

impl Calls {
    /// Answers a call; late and unknown answers are dropped.
    pub(crate) fn answer(&self, call: Uuid, outcome: Outcome) {
        match self.waiting.lock().remove(&call) {
            Some(waiting) => drop(waiting.answer.send(outcome)),
            None => tracing::debug!(%call, "method answer came too late"),
        }
    }

    /// No call will be answered any more; all who wait hear it at once.
    pub(crate) fn close(&self) {
        self.closed.trigger();
        self.waiting.lock().clear();
    }

    fn begin(&self, id: &IdentityId) -> Result<(Uuid, oneshot::Receiver<Outcome>), Fault> {
        let mut waiting = self.waiting.lock();
        if self.closed.is_triggered() {
            return Err(stopping());
        }
        if waiting.values().filter(|other| other.id == *id).count() >= limits::METHODS_IN_FLIGHT_MAX
        {
            let detail = format!(
                "{id} has {} direct methods waiting; try again later",
                limits::METHODS_IN_FLIGHT_MAX
            );
            return Err(Fault::new(FaultKind::DeviceMaximumInflightMethodExceeded, detail));
        }
        let (answer, receiver) = oneshot::channel();
        let call = host::entropy::uuid_v4();
        waiting.insert(call, Waiting { id: id.clone(), answer });
        Ok((call, receiver))
    }
}

/// Takes the call off the table however the caller goes away.
struct Pending<'a> {
    calls: &'a Calls,
    call: Uuid,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.calls.waiting.lock().remove(&self.call);
    }
}

impl MethodBackend for Hub {
    async fn invoke(&self, id: &IdentityId, request: MethodRequest) -> Outcome {
        // Unknown identities are told apart from absent ones.
        self.stored_device(&id.device).await?;
        if id.module.is_some() && self.stored_module(id).await?.is_none() {
            return Err(Fault::new(
                FaultKind::ModuleNotFound,
                format!("The module '{id}' is not registered."),
            ));
        }
        let connect_by = self.inner.clock.now() + request.connect_timeout;
        loop {
            let listener = pin!(self.inner.sessions.next_method_listener());
            match self.call_once(id, &request).await {
                Err(fault) if fault.kind == FaultKind::DeviceNotOnline => {
                    if !self.wait_for(listener, connect_by).await {
                        return Err(fault);
                    }
                }
                outcome => return outcome.map(json_payload),
            }
        }
    }
}

impl Hub {
    async fn call_once(&self, id: &IdentityId, request: &MethodRequest) -> Outcome {
        let calls = &self.inner.calls;
        let (call, answer) = calls.begin(id)?;
        let _pending = Pending { calls, call };
        self.stores().signals.send(Signal::MethodRequest {
            id: id.clone(),
            call,
            request: request.clone(),
        });
        match self.inner.clock.timeout(request.response_timeout, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Fault::new(
                FaultKind::GatewayTimeout,
                "Timed out waiting for the response from device.",
            )),
        }
    }

    /// Waits until somebody begins to listen for methods; whether that came in time. A hub that
    /// stops waits no longer.
    async fn wait_for(&self, listener: impl Future<Output = ()>, until: Mono) -> bool {
        let either = async {
            tokio::select! {
                () = listener => {}
                () = self.inner.calls.closed.wait() => {}
            }
        };
        self.inner.clock.timeout_at(until, either).await.is_ok()
    }
}

fn stopping() -> Fault {
    Fault::unavailable("this hub is stopping; call again")
}

/// Back ends parse the payload as JSON: what is none is handed on as a JSON text.
fn json_payload(mut response: MethodResponse) -> MethodResponse {
    if !response.payload.is_empty()
        && serde_json::from_slice::<serde::de::IgnoredAny>(&response.payload).is_err()
    {
        let text = String::from_utf8_lossy(&response.payload);
        response.payload = serde_json::Value::from(text.as_ref()).to_string().into();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_json_becomes_a_text() {
        for (payload, expected) in
            [("{\"a\":1}", "{\"a\":1}"), ("", ""), ("plain \"x\"", "\"plain \\\"x\\\"\"")]
        {
            let response = MethodResponse { status: 200, payload: payload.to_owned().into() };
            assert_eq!(json_payload(response).payload, expected);
        }
    }
}
