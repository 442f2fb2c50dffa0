//! A backend that notes what it hears and answers as it is told.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::sas::TokenRequest;
use model::identity::{Authentication, Status, SymmetricKeys};
use model::message::Message;
use model::method::MethodResponse;
use model::twin::Object;
use model::{Fault, FaultKind, GenerationId, IdentityId};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Credential, Identities, PolicyCredential, Rights};
use crate::backend::{
    DeliveryKind, DeviceBackend, DeviceLink, Open, OpenError, Opened, Promise, Receipt, Settlement,
    SubmitError, Subscriptions,
};
use crate::session::{CloseReason, DeviceSession};

/// The backend.
#[derive(Default)]
pub(in crate::amqp) struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sessions: Vec<(IdentityId, DeviceSession)>,
    heard: Vec<String>,
    /// Receipts stay open.
    holds: bool,
    promises: Vec<Promise>,
    /// What the next submits are answered with.
    refusals: Vec<SubmitError>,
    lock_is_lost: bool,
    disabled: Vec<String>,
}

pub(in crate::amqp) struct FakeLink {
    id: IdentityId,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub(in crate::amqp) fn heard(&self) -> Vec<String> {
        self.state.lock().heard.clone()
    }

    /// The newest session of an identity.
    pub(in crate::amqp) fn session(&self, id: &str) -> DeviceSession {
        let state = self.state.lock();
        let found = state.sessions.iter().rev().find(|(of, _)| of.to_string() == id);
        found.map(|(_, session)| session.clone()).unwrap()
    }

    /// Receipts stay open from now on.
    pub(in crate::amqp) fn hold(&self) {
        self.state.lock().holds = true;
    }

    /// The oldest open receipt is through.
    pub(in crate::amqp) fn release(&self, result: Result<(), SubmitError>) {
        let promise = self.state.lock().promises.remove(0);
        promise.keep(result);
    }

    pub(in crate::amqp) fn refuse(&self, error: SubmitError) {
        self.state.lock().refusals.push(error);
    }

    pub(in crate::amqp) fn lose_locks(&self) {
        self.state.lock().lock_is_lost = true;
    }

    pub(in crate::amqp) fn disable(&self, id: &str) {
        self.state.lock().disabled.push(id.to_owned());
    }
}

impl FakeLink {
    fn note(&self, text: impl std::fmt::Display) {
        self.state.lock().heard.push(format!("{}: {text}", self.id));
    }
}

impl Identities for Fake {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        let name = id.to_string();
        let state = self.state.lock();
        let status = match state.disabled.contains(&name) {
            true => Status::Disabled,
            false => Status::Enabled,
        };
        let parent = name.starts_with("leaf").then(|| "edge1".parse().unwrap());
        let known = ["dev", "leaf", "edge1"].iter().any(|prefix| name.starts_with(prefix));
        Ok(known.then(|| Credential {
            generation: GenerationId::from_number(1),
            status,
            authentication: Authentication::Sas(keys()),
            parent,
        }))
    }

    async fn policy(&self, name: &str) -> Result<Option<PolicyCredential>, Fault> {
        let rights = match name {
            "device" => Rights { device_connect: true, ..Rights::default() },
            "service" => Rights { service_connect: true, ..Rights::default() },
            _ => return Ok(None),
        };
        Ok(Some(PolicyCredential { keys: keys(), rights }))
    }

    fn host_names(&self) -> &[String] {
        static HOSTS: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec![super::HOST.to_owned()]);
        &HOSTS
    }
}

impl DeviceBackend for Fake {
    type Link = FakeLink;

    async fn open(
        &self,
        open: Open,
        session: DeviceSession,
    ) -> Result<(Arc<FakeLink>, Opened), OpenError> {
        let id = open.principal.identity;
        let mut state = self.state.lock();
        let live = state.sessions.iter().filter(|(of, _)| *of == id);
        live.for_each(|(_, session)| session.close(CloseReason::TakenOver));
        state.heard.push(format!("{id}: open model={:?}", open.model_id.unwrap_or_default()));
        state.sessions.push((id.clone(), session));
        let state = Arc::clone(&self.state);
        Ok((Arc::new(FakeLink { id, state }), Opened::default()))
    }
}

impl DeviceLink for FakeLink {
    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError> {
        if let Some(refusal) = self.state.lock().refusals.pop() {
            return Err(refusal);
        }
        for message in batch.drain(..) {
            let body =
                String::from_utf8_lossy(&message.body[..message.body.len().min(40)]).into_owned();
            self.note(format!("telemetry {body} {:?}", message.properties));
        }
        let mut state = self.state.lock();
        if !state.holds {
            return Ok(Receipt::Done);
        }
        let (promise, receipt) = Receipt::promised();
        state.promises.push(promise);
        Ok(receipt)
    }

    async fn twin(&self) -> Result<Value, Fault> {
        self.note("twin");
        Ok(json!({"desired": {"$version": 1}, "reported": {"$version": 1}}))
    }

    async fn report(&self, patch: Object, expected: Option<u64>) -> Result<Option<u64>, Fault> {
        self.note(format!("report {} {expected:?}", Value::Object(patch)));
        match expected {
            Some(7) => Err(Fault::new(FaultKind::PreconditionFailed, "another version")),
            _ => Ok(Some(5)),
        }
    }

    async fn subscribed(&self, subscriptions: Subscriptions) -> Result<(), Fault> {
        let Subscriptions { desired, methods, cloud_to_device, inputs, .. } = subscriptions;
        self.note(format!("subscribed d={desired} m={methods} c={cloud_to_device} i={inputs}"));
        Ok(())
    }

    fn permit(&self, kind: DeliveryKind, total: u64) {
        self.note(format!("permit {kind:?} {total}"));
    }

    fn method_answer(&self, call: Uuid, response: MethodResponse) {
        let payload = String::from_utf8_lossy(&response.payload).into_owned();
        self.note(format!("answer {call} {} {payload}", response.status));
    }

    async fn settle(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        self.note(format!("settle {lock} {outcome:?}"));
        match self.state.lock().lock_is_lost {
            true => Err(Fault::new(FaultKind::DeviceMessageLockLost, "the lock has run out")),
            false => Ok(()),
        }
    }

    async fn close(&self, graceful: bool) {
        self.note(format!("close graceful={graceful}"));
    }
}

fn keys() -> SymmetricKeys {
    SymmetricKeys { primary: STANDARD.encode([7; 32]), secondary: STANDARD.encode([8; 32]) }
}

/// Signs with the primary key that everybody has here.
pub(in crate::amqp) fn finish(request: &TokenRequest, policy: Option<&str>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    let signature = hmac::sign(&key, request.string_to_sign().as_bytes());
    request.finish(signature.as_ref(), policy)
}
