//! What a client asks for and waits for, one at a time and in its order: the second patch of a twin
//! never overtakes the first.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use iot_proto::status::{self, Tracking};
use iot_proto::topic::TopicSet;
use model::Fault;
use model::twin;
use mqtt::packet::{PacketId, SubackCode};
use uuid::Uuid;

use crate::backend::{DeviceLink, Settlement, Subscriptions};

/// Something to do for the client.
pub(super) enum Request {
    TwinGet { rid: String, packet_id: Option<PacketId> },
    Report { rid: String, expected: Option<u64>, body: Bytes, packet_id: Option<PacketId> },
    Subscribe { packet_id: PacketId, codes: Vec<SubackCode>, subscriptions: Subscriptions },
    Unsubscribe { packet_id: PacketId, subscriptions: Subscriptions },
    Settle { lock: Uuid, outcome: Settlement },
}

/// What came of it.
pub(super) enum Done {
    /// Publish this answer, then acknowledge the request.
    Answer {
        topic: String,
        body: Bytes,
        packet_id: Option<PacketId>,
        ok: bool,
    },
    Subscribed {
        packet_id: PacketId,
        codes: Vec<SubackCode>,
    },
    Unsubscribed {
        packet_id: PacketId,
    },
    Settled,
    /// The store refuses; the client has to connect again.
    Failed(Fault),
}

/// The queue of one connection.
pub(super) struct Requests<L> {
    link: Arc<L>,
    clock: Clock,
    waiting: VecDeque<Request>,
    running: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// SUBSCRIBEs that are not answered yet.
    subscribes: usize,
    /// How long the next failing twin read is held back: a client that is refused asks again at
    /// once, in a tight loop (`device-protocol.md` §17, 4).
    hold_back: Duration,
}

const HOLD_BACK_FIRST: Duration = Duration::from_secs(1);
const HOLD_BACK_MAX: Duration = Duration::from_secs(30);

impl<L: DeviceLink> Requests<L> {
    pub(super) fn new(link: Arc<L>, clock: Clock) -> Self {
        Self {
            link,
            clock,
            waiting: VecDeque::new(),
            running: None,
            subscribes: 0,
            hold_back: HOLD_BACK_FIRST,
        }
    }

    pub(super) fn push(&mut self, request: Request) {
        self.subscribes += usize::from(matches!(request, Request::Subscribe { .. }));
        self.waiting.push_back(request);
    }

    /// Whether a SUBSCRIBE is not answered yet: what it asked for comes after its answer, though
    /// MQTT would allow it before. Clients set up their handlers between.
    pub(super) fn is_subscribing(&self) -> bool {
        self.subscribes > 0
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Works on the oldest one; pending while there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        loop {
            if let Some(running) = &mut self.running {
                let Poll::Ready(done) = running.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                self.running = None;
                match done {
                    Done::Answer { ok: true, .. } => self.hold_back = HOLD_BACK_FIRST,
                    Done::Subscribed { .. } => self.subscribes -= 1,
                    _ => {}
                }
                return Poll::Ready(done);
            }
            match self.waiting.pop_front() {
                Some(request) => self.running = Some(self.start(request)),
                None => return Poll::Pending,
            }
        }
    }

    /// Ends in order when the connection has ended: what is under way may hold something of the
    /// backend's, and what the client has acknowledged must not come again.
    pub(super) async fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            running.await;
        }
        while let Some(request) = self.waiting.pop_front() {
            if matches!(request, Request::Settle { .. }) {
                self.start(request).await;
            }
        }
    }

    fn start(&mut self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send>> {
        let link = Arc::clone(&self.link);
        match request {
            Request::TwinGet { rid, packet_id } => {
                let (clock, hold_back) = (self.clock.clone(), self.hold_back);
                self.hold_back = (hold_back * 2).min(HOLD_BACK_MAX);
                Box::pin(async move {
                    let twin = link.twin().await;
                    let ok = twin.is_ok();
                    if !ok {
                        clock.sleep(hold_back).await;
                    }
                    let (topic, body) = twin_answer(&rid, twin, &clock);
                    Done::Answer { topic, body, packet_id, ok }
                })
            }
            Request::Report { rid, expected, body, packet_id } => {
                let clock = self.clock.clone();
                Box::pin(async move {
                    let reported = match twin::parse_object(&body) {
                        Ok(patch) => link.report(patch, expected).await,
                        Err(error) => Err(Fault::argument(error.to_string())),
                    };
                    let ok = reported.is_ok();
                    let (topic, body) = report_answer(&rid, reported, &clock);
                    Done::Answer { topic, body, packet_id, ok }
                })
            }
            Request::Subscribe { packet_id, codes, subscriptions } => Box::pin(async move {
                match link.subscribed(subscriptions).await {
                    Ok(()) => Done::Subscribed { packet_id, codes },
                    Err(fault) => Done::Failed(fault),
                }
            }),
            Request::Unsubscribe { packet_id, subscriptions } => Box::pin(async move {
                match link.subscribed(subscriptions).await {
                    Ok(()) => Done::Unsubscribed { packet_id },
                    Err(fault) => Done::Failed(fault),
                }
            }),
            Request::Settle { lock, outcome } => Box::pin(async move {
                if let Err(fault) = link.settle(lock, outcome).await {
                    // MQTT has no way to say so; the message comes again.
                    tracing::debug!(%fault, "cannot settle a delivery");
                }
                Done::Settled
            }),
        }
    }
}

fn twin_answer(
    rid: &str,
    twin: Result<serde_json::Value, Fault>,
    clock: &Clock,
) -> (String, Bytes) {
    match twin {
        Ok(twin) => (TopicSet::twin_response(200, rid, None), twin.to_string().into()),
        Err(fault) => error_answer(rid, &fault, clock),
    }
}

fn report_answer(
    rid: &str,
    reported: Result<Option<u64>, Fault>,
    clock: &Clock,
) -> (String, Bytes) {
    match reported {
        Ok(version) => (TopicSet::twin_response(204, rid, version), Bytes::new()),
        Err(fault) => error_answer(rid, &fault, clock),
    }
}

/// Never with an empty body: Node decides by the `errorCode` in it, and crashes without one.
fn error_answer(rid: &str, fault: &Fault, clock: &Clock) -> (String, Bytes) {
    let id = host::entropy::uuid_v4().simple().to_string();
    let body = status::twin_error_body(fault, Tracking { id: &id, time: clock.wall() });
    (TopicSet::twin_response(status::http_status(fault.kind).as_u16(), rid, None), body.into())
}
