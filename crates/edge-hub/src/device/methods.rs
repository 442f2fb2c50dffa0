//! Direct methods that a module of this device calls on a client of this edge hub.
//!
//! Spec: `edge-runtime.md` §5.8. They are not passed on: the callee is here, or it is not.

use gateway::backend::methods::MethodBackend;
use gateway::session::Downlink;
use model::method::{MethodRequest, MethodResponse};
use model::{Fault, FaultKind, IdentityId};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Backend;
use super::calls::{Calls, Reply};
use crate::core::Core;

impl MethodBackend for Backend {
    async fn invoke(
        &self,
        id: &IdentityId,
        request: MethodRequest,
    ) -> Result<MethodResponse, Fault> {
        let core = &self.0;
        // Before the first look, so that nobody who comes in between is missed.
        let mut changed = core.sessions.watch();
        let listens = async {
            while !core.sessions.info(id).is_some_and(|(subscriptions, _)| subscriptions.methods) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if core.clock.timeout(request.connect_timeout, listens).await.is_err() {
            return Err(away(id));
        }
        call(core, id, request).await
    }
}

async fn call(
    core: &Core,
    id: &IdentityId,
    request: MethodRequest,
) -> Result<MethodResponse, Fault> {
    let (reply, answer) = oneshot::channel();
    let limit = request.response_timeout;
    core.counters.method("module", id);
    let begun = core.calls.begin(id, Reply::Local(reply), core.clock.now());
    if let Some(call) = begun {
        let _pending = Pending { calls: &core.calls, call };
        let downlink = Downlink::Method { call, request };
        if !core.sessions.send(id, |subscriptions| subscriptions.methods, downlink) {
            core.calls.refuse(call);
        }
        return match core.clock.timeout(limit, answer).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(away(id))),
            Err(_) => Err(Fault::new(
                FaultKind::GatewayTimeout,
                format!("{id} did not answer within {} seconds", limit.as_secs()),
            )),
        };
    }
    // One too many: the refusal is there already.
    answer.await.unwrap_or_else(|_| Err(away(id)))
}

fn away(id: &IdentityId) -> Fault {
    let message = format!("{id} is not connected to this edge hub, or does not listen for methods");
    Fault::new(FaultKind::DeviceNotOnline, message)
}

/// Takes the call off the table however the caller goes away.
struct Pending<'a> {
    calls: &'a Calls,
    call: Uuid,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.calls.forget(self.call);
    }
}
