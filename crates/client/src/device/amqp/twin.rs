//! Operations on the twin: sent in their order when the hub takes them, answered by number.

use std::collections::{HashMap, VecDeque};

use amqp::connection::{LinkId, Outgoing};
use amqp::{Connection, Message};
use bytes::Bytes;
use iot_proto::amqp::twins::{self, Operation};
use iot_proto::payload::twin::DesiredPatch;
use iot_proto::topic::Subscription;
use tokio::sync::oneshot;

use super::links::Pair;
use crate::device::actor::{TwinAnswer, TwinRequest};
use crate::device::error::TwinError;
use crate::device::events::ClientEvent;
use crate::device::session::{Event, owned, twin_refused};

/// The links for the twin, with what waits on them.
pub(super) struct Twin {
    links: Pair,
    waiting: VecDeque<(u64, Operation)>,
    requests: HashMap<u64, oneshot::Sender<Result<TwinAnswer, TwinError>>>,
    /// The operation that asks for changes of desired properties.
    subscribing: Option<u64>,
    next_id: u64,
}

impl Twin {
    pub(super) fn new(links: Pair) -> Self {
        Self {
            links,
            waiting: VecDeque::new(),
            requests: HashMap::new(),
            subscribing: None,
            next_id: 1,
        }
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.links.has(link)
    }

    /// Asks for the twin, or patches it.
    pub(super) fn ask(&mut self, request: TwinRequest) {
        // Those whose time is up left their place.
        self.requests.retain(|_, reply| !reply.is_closed());
        let operation = match request.patch {
            None => Operation::Get,
            Some(body) => Operation::Report { expected: None, body },
        };
        let id = self.queue(operation);
        self.requests.insert(id, request.reply);
    }

    /// Asks for changes of desired properties.
    pub(super) fn subscribe(&mut self) {
        self.subscribing = Some(self.queue(Operation::Subscribe));
    }

    fn queue(&mut self, operation: Operation) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back((id, operation));
        id
    }

    /// Sends what the hub takes now.
    pub(super) fn send(&mut self, machine: &mut Connection) {
        while let Some((id, operation)) = self.waiting.front() {
            if machine.can_send(self.links.sender).is_err() {
                return;
            }
            let message = operation.message(&id.to_string()).to_bytes();
            let tag = id.to_be_bytes().to_vec().into();
            let outgoing = Outgoing { tag, message, format: 0, settled: true };
            if let Err(error) = machine.send(self.links.sender, outgoing) {
                // It will never fit; the asker's time runs out.
                tracing::warn!(%error, "cannot send a twin request");
            }
            self.waiting.pop_front();
        }
    }

    /// Reads an answer or a notification.
    pub(super) fn received(&mut self, message: &Message) -> Result<Option<Event>, String> {
        let body = message.body.to_bytes().ok_or("the body is neither data nor text")?;
        let Some(status) = twins::status(message) else {
            let DesiredPatch { patch, version } =
                DesiredPatch::read(&body).map_err(|e| e.to_string())?;
            return Ok(Some(Event::Tell(ClientEvent::Desired { patch, version })));
        };
        let id = twins::correlation(message).and_then(|id| id.parse::<u64>().ok());
        let Some(id) = id else { return Err("the answer has no id of ours".to_owned()) };
        let status = u16::try_from(status).unwrap_or(u16::MAX);
        if self.subscribing == Some(id) {
            self.subscribing = None;
            if (200..300).contains(&status) {
                return Ok(Some(Event::Granted(vec![Subscription::DesiredPatches])));
            }
            return Err(format!("changes of desired properties are refused with {status}"));
        }
        self.answered(id, status, twins::version(message), &body);
        Ok(None)
    }

    fn answered(&mut self, id: u64, status: u16, version: Option<i64>, body: &Bytes) {
        // Late answers have nobody waiting.
        let Some(reply) = self.requests.remove(&id) else { return };
        let version = version.and_then(|version| u64::try_from(version).ok());
        let answer = match status {
            200..=299 => Ok(TwinAnswer { body: owned(body), version }),
            _ => Err(twin_refused(status, body)),
        };
        let _ = reply.send(answer);
    }

    /// Fails what waits for an answer.
    pub(super) fn finish(&mut self) {
        self.waiting.clear();
        for (_, reply) in self.requests.drain() {
            // The asker may be gone.
            let _ = reply.send(Err(TwinError::Disconnected));
        }
    }
}
