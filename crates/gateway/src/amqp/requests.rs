//! What an identity asks for and waits for, one at a time and in its order: the second patch of a
//! twin never overtakes the first.

use std::collections::VecDeque;
use std::sync::Arc;

use amqp::connection::{Accept, DeliveryId, LinkId};
use amqp::{DeliveryState, Message};
use bytes::Bytes;
use iot_proto::amqp::twins;
use iot_proto::status::Tracking;
use model::{Fault, FaultKind, twin};
use uuid::Uuid;

use super::core::{Core, Done};
use super::devices::DeviceKey;
use super::nodes::Nodes;
use crate::auth::Identities;
use crate::backend::{DeviceBackend, DeviceLink, Settlement, Subscriptions};

/// Something to do for an identity.
pub(super) enum Request {
    /// Read its twin.
    TwinGet { up: LinkId, correlation: Option<String> },
    /// Patch its reported properties.
    Report { up: LinkId, correlation: Option<String>, expected: Option<u64>, body: Bytes },
    /// It listens to changes of desired properties from now on, or does not.
    Desired { up: LinkId, correlation: Option<String>, subscriptions: Subscriptions },
    /// It listens to something else: a link comes or has gone.
    Subscribe { accept: Option<(LinkId, Box<Accept>)>, subscriptions: Subscriptions },
    /// It has settled a delivery, and perhaps waits for us to do so.
    Settle { lock: Uuid, outcome: Settlement, back: Option<(DeliveryId, DeliveryState)> },
}

/// What came of it.
pub(super) enum Finished {
    /// Send this on the pair of this link.
    Answer { up: LinkId, message: Box<Message> },
    /// Let the link in, or refuse it.
    Accept { link: LinkId, accept: Result<Box<Accept>, Fault> },
    /// Settle the delivery, too.
    SettleBack { delivery: DeliveryId, state: DeliveryState },
    /// Nothing more.
    Nothing,
}

/// The queue of one identity.
#[derive(Default)]
pub(super) struct Requests {
    waiting: VecDeque<Request>,
    running: bool,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// What the identity has settled.
    pub(super) fn into_settlements(self) -> Vec<(Uuid, Settlement)> {
        let settle = |request| match request {
            Request::Settle { lock, outcome, .. } => Some((lock, outcome)),
            _ => None,
        };
        self.waiting.into_iter().filter_map(settle).collect()
    }
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// Does this after what was asked for before.
    pub(super) fn request(&mut self, key: DeviceKey, request: Request) {
        let Some(device) = self.devices.get(key) else { return };
        device.requests.waiting.push_back(request);
        self.devices.count_requests(1, 0);
        self.start_request(key);
    }

    fn start_request(&mut self, key: DeviceKey) {
        let Some(device) = self.devices.get(key) else { return };
        if device.requests.running {
            return;
        }
        let Some(request) = device.requests.waiting.pop_front() else { return };
        device.requests.running = true;
        let (link, around) = (Arc::clone(&device.link), Arc::clone(&self.around));
        self.devices.count_requests(0, 1);
        self.work.push(Box::pin(async move {
            let id = host::entropy::uuid_v4().to_string();
            let tracking = Tracking { id: &id, time: around.clock.wall() };
            let finished = carry_out(&*link, request, tracking).await;
            Done::Request { device: key, finished }
        }));
    }

    /// A request is through; the next one begins.
    pub(super) fn request_finished(&mut self, key: DeviceKey, finished: Finished) {
        let Some(device) = self.devices.get(key) else {
            return self.closing_request_finished(key);
        };
        device.requests.running = false;
        match finished {
            Finished::Answer { up, message } => self.twin_answer(key, up, &message),
            Finished::Accept { link, accept } => self.let_in(key, link, accept),
            Finished::SettleBack { delivery, state } => self.machine.settle(delivery, state),
            Finished::Nothing => {}
        }
        self.start_request(key);
    }
}

async fn carry_out(link: &impl DeviceLink, request: Request, tracking: Tracking<'_>) -> Finished {
    let answer = |up, message| Finished::Answer { up, message: Box::new(message) };
    match request {
        Request::TwinGet { up, correlation } => {
            let message = match link.twin().await {
                Ok(twin) => twins::document_answer(correlation, twin.to_string()),
                Err(fault) => twins::fault_answer(correlation, &fault, tracking),
            };
            answer(up, message)
        }
        Request::Report { up, correlation, expected, body } => {
            let reported = match twin::parse_object(&body) {
                Ok(patch) => link.report(patch, expected).await,
                Err(error) => Err(Fault::argument(error.to_string())),
            };
            let message = match reported {
                Ok(version) => twins::done_answer(correlation, Some(version)),
                Err(fault) => twins::fault_answer(correlation, &fault, tracking),
            };
            answer(up, message)
        }
        Request::Desired { up, correlation, subscriptions } => {
            let message = match link.subscribed(subscriptions).await {
                Ok(()) => twins::done_answer(correlation, None),
                Err(fault) => twins::fault_answer(correlation, &fault, tracking),
            };
            answer(up, message)
        }
        Request::Subscribe { accept, subscriptions } => {
            let subscribed = link.subscribed(subscriptions).await;
            match (accept, subscribed) {
                (Some((link, accept)), subscribed) => {
                    Finished::Accept { link, accept: subscribed.map(|()| accept) }
                }
                (None, Ok(())) => Finished::Nothing,
                (None, Err(fault)) => {
                    tracing::warn!(%fault, "cannot tell the backend that a link has gone");
                    Finished::Nothing
                }
            }
        }
        Request::Settle { lock, outcome, back } => {
            let settled = link.settle(lock, outcome).await;
            if let Err(fault) = &settled {
                tracing::debug!(%fault, "cannot settle a delivery");
            }
            match (back, settled) {
                (None, _) => Finished::Nothing,
                (Some((delivery, state)), Ok(())) => Finished::SettleBack { delivery, state },
                (Some((delivery, _)), Err(fault)) => {
                    let fault = match fault.kind {
                        FaultKind::DeviceMessageLockLost => fault,
                        _ => Fault::unavailable(fault.detail),
                    };
                    let error = iot_proto::status::amqp_error(&fault, tracking);
                    let state = DeliveryState::Rejected(Some(error));
                    Finished::SettleBack { delivery, state }
                }
            }
        }
    }
}
