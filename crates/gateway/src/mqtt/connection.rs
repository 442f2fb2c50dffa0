//! One connected client: events of the machine up, downlinks of the backend down.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use host::clock::Mono;
use iot_proto::topic::{DeviceTopic, FilterError, TopicSet};
use model::IdentityId;
use model::message::Message;
use model::method::MethodResponse;
use mqtt::packet::{PacketId, Publish, QoS, SubackCode, Subscribe, Unsubscribe};
use mqtt::server::Event;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Settings;
use super::deliveries::Deliveries;
use super::io::{Wire, mono};
use super::requests::{Done, Request, Requests};
use super::uplink;
use crate::auth::Principal;
use crate::backend::{DeviceLink, Receipt, Settlement, SubmitError};
use crate::proof_end::ProofEnd;
use crate::session::{CloseReason, Downlink, SessionEnd};
use crate::socket::Io;

/// A session that was opened, before its connection runs.
pub(super) struct Opening<L> {
    pub(super) link: Arc<L>,
    pub(super) principal: Principal,
    pub(super) topics: TopicSet,
    pub(super) end: SessionEnd,
    pub(super) session_present: bool,
    pub(super) subscriptions: Vec<(String, u8)>,
    pub(super) will: Option<Message>,
}

/// A running connection.
pub(super) struct Connection<S, L> {
    wire: Wire<S>,
    link: Arc<L>,
    topics: TopicSet,
    end: SessionEnd,
    settings: Settings,
    expires: ProofEnd,
    will: Option<Message>,
    deliveries: Deliveries,
    requests: Requests<L>,
    /// Telemetry read but not yet taken by the backend.
    batch: Vec<Message>,
    batch_ids: Vec<PacketId>,
    /// Telemetry taken but not yet durable, in order.
    receipts: VecDeque<(Receipt, Vec<PacketId>)>,
    /// The wait for the first of them.
    durable: Option<Durable>,
    retry_at: Option<Mono>,
    alarm: Option<Alarm>,
}

/// Resolves when a batch is durable, or certainly not.
type Durable = Pin<Box<dyn Future<Output = Result<(), SubmitError>> + Send>>;

/// A wake-up at a deadline or before. It is kept while deadlines only move away, as they do with
/// almost every turn: a timer costs two locks, and the turn that it wakes for nothing costs less.
struct Alarm {
    at: Mono,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What happened next.
enum Next {
    Alarm,
    Closing(CloseReason),
    Io(Io),
    Durable(Result<(), SubmitError>),
    Downlink(Option<Downlink>),
    Done(Done),
}

/// How a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("client said goodbye")]
    Goodbye,
    #[error("connection lost")]
    Lost,
    #[error("closed by this server: {0:?}")]
    Closed(CloseReason),
    #[error("client broke a rule: {0}")]
    Violation(String),
    #[error("cannot serve: {0}")]
    Failed(String),
}

/// What was under way at a connection's end may take this long.
const FINISH: Duration = Duration::from_secs(5);
/// A journal whose queue is full has room again within a commit or two.
const RETRY_BUSY: Duration = Duration::from_millis(2);

impl<S, L> Connection<S, L>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    L: DeviceLink,
{
    /// Takes over from the handshake and restores the stored subscriptions.
    pub(super) async fn begin(wire: Wire<S>, opening: Opening<L>, settings: Settings) -> Box<Self> {
        let mut deliveries = Deliveries::new();
        for (filter, qos) in &opening.subscriptions {
            if let Ok(subscription) = opening.topics.parse_filter(filter) {
                deliveries.grant(filter, subscription, *qos);
            }
        }
        let clock = wire.clock.clone();
        let expires = ProofEnd::new(&clock, opening.principal.expires);
        let connection = Box::new(Self {
            requests: Requests::new(Arc::clone(&opening.link), clock),
            wire,
            link: opening.link,
            topics: opening.topics,
            end: opening.end,
            settings,
            expires,
            will: opening.will,
            deliveries,
            batch: Vec::new(),
            batch_ids: Vec::new(),
            receipts: VecDeque::new(),
            durable: None,
            retry_at: None,
            alarm: None,
        });
        if connection.deliveries.filter_count() > 0 {
            let subscriptions = connection.deliveries.subscriptions(true);
            if let Err(fault) = connection.link.subscribed(subscriptions).await {
                tracing::warn!(id = %connection.id(), %fault, "cannot restore subscriptions");
            }
        }
        connection
    }

    pub(super) fn id(&self) -> &IdentityId {
        self.topics.identity()
    }

    /// Serves the client until the connection ends.
    pub(super) async fn run(&mut self) {
        let ended = loop {
            if let Err(ended) = self.turn().await {
                break ended;
            }
        };
        match &ended {
            Ended::Violation(_) | Ended::Failed(_) => {
                tracing::warn!(id = %self.id(), %ended, "connection closed");
            }
            _ => tracing::debug!(id = %self.id(), %ended, "connection closed"),
        }
        let graceful = matches!(ended, Ended::Goodbye);
        // What a client published right before it said goodbye counts, though nobody waits for its
        // acknowledgement any more. Who goes without a goodbye leaves a will instead.
        let last = if graceful {
            std::mem::take(&mut self.batch)
        } else {
            self.will.take().into_iter().collect()
        };
        self.leave(last).await;
        if matches!(ended, Ended::Goodbye | Ended::Closed(_)) {
            self.wire.finish().await;
        }
        let clock = self.wire.clock.clone();
        if clock.timeout(FINISH, self.requests.finish()).await.is_err() {
            tracing::warn!(id = %self.id(), "the backend did not finish in time");
        }
        self.link.close(graceful).await;
    }

    /// One round: work off what is there, then wait for the next thing.
    async fn turn(&mut self) -> Result<(), Ended> {
        self.handle_events()?;
        self.submit()?;
        self.release()?;
        for (lock, outcome) in self.deliveries.flush(&mut self.wire.machine) {
            self.requests.push(Request::Settle { lock, outcome });
        }
        if let Some(reason) = self.end.close_reason() {
            return Err(Ended::Closed(reason));
        }
        self.set_alarm();
        match poll_fn(|cx| self.poll_next(cx)).await {
            Next::Alarm => self.handle_timeout(),
            Next::Closing(reason) => Err(Ended::Closed(reason)),
            Next::Io(Io::End) => Err(Ended::Lost),
            Next::Io(_) => Ok(()),
            Next::Durable(result) => self.durable(result),
            Next::Downlink(Some(downlink)) => {
                if let Some(lock) = self.deliveries.downlink(&self.topics, downlink) {
                    self.requests.push(Request::Settle { lock, outcome: Settlement::Abandon });
                }
                Ok(())
            }
            Next::Downlink(None) => {
                let reason = self.end.close_reason().unwrap_or(CloseReason::Shutdown);
                Err(Ended::Closed(reason))
            }
            Next::Done(done) => self.handle_done(done),
        }
    }

    fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Next> {
        let reads = self.batch.is_empty() && self.requests.len() < self.settings.requests_max;
        if let Poll::Ready(io) = self.wire.poll(cx, reads) {
            return Poll::Ready(Next::Io(io));
        }
        if let Some(durable) = &mut self.durable
            && let Poll::Ready(result) = durable.as_mut().poll(cx)
        {
            self.durable = None;
            return Poll::Ready(Next::Durable(result));
        }
        if let Poll::Ready(done) = self.requests.poll(cx) {
            return Poll::Ready(Next::Done(done));
        }
        if !self.requests.is_subscribing()
            && self.deliveries.has_room(&self.wire.machine)
            && let Poll::Ready(downlink) = self.end.queue.poll_recv(cx)
        {
            return Poll::Ready(Next::Downlink(downlink));
        }
        // Last, because every turn begins with a look at it: here it only has to wake us.
        if let Poll::Ready(reason) = self.end.poll_closed(cx) {
            return Poll::Ready(Next::Closing(reason));
        }
        if let Some(alarm) = &mut self.alarm
            && alarm.sleep.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            return Poll::Ready(Next::Alarm);
        }
        Poll::Pending
    }

    fn set_alarm(&mut self) {
        let deadline = self.deadline();
        if self.alarm.as_ref().is_some_and(|alarm| alarm.at <= deadline) {
            return;
        }
        let clock = self.wire.clock.clone();
        let sleep = Box::pin(async move { clock.sleep_until(deadline).await });
        self.alarm = Some(Alarm { at: deadline, sleep });
    }

    fn deadline(&self) -> Mono {
        let expires = self.expires.deadline();
        let machine = self.wire.machine.poll_timeout().map_or(expires, mono);
        let first = machine.min(expires);
        self.retry_at.map_or(first, |retry| retry.min(first))
    }

    fn handle_timeout(&mut self) -> Result<(), Ended> {
        let now = self.wire.clock.now();
        if self.expires.is_over(&self.wire.clock) {
            return Err(Ended::Closed(CloseReason::TokenExpired));
        }
        self.wire.machine.handle_timeout(now.since_origin());
        Ok(())
    }

    fn handle_events(&mut self) -> Result<(), Ended> {
        while self.requests.len() < self.settings.requests_max {
            let Some(event) = self.wire.machine.poll_event() else {
                return Ok(());
            };
            match event {
                Event::Publish(publish) => self.handle_publish(publish)?,
                Event::Acknowledged(packet_id) => {
                    if let Some(lock) = self.deliveries.acknowledged(packet_id) {
                        self.requests.push(Request::Settle { lock, outcome: Settlement::Complete });
                    }
                }
                Event::Subscribe(subscribe) => self.handle_subscribe(subscribe),
                Event::Unsubscribe(unsubscribe) => self.handle_unsubscribe(&unsubscribe),
                Event::Pinged => {}
                Event::Disconnected => return Err(Ended::Goodbye),
                Event::Violation(violation) => return Err(Ended::Violation(violation.to_string())),
                Event::TimedOut(_) => return Err(Ended::Lost),
                Event::Connect(_) | Event::UnsupportedProtocol { .. } => {
                    return Err(Ended::Violation("a second CONNECT".into()));
                }
            }
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: Publish) -> Result<(), Ended> {
        let Publish { topic, payload, packet_id, retain, .. } = publish;
        let violation = |reason: &dyn std::fmt::Display| Ended::Violation(reason.to_string());
        match self.topics.parse_from_device(topic.as_str()).map_err(|reason| violation(&reason))? {
            DeviceTopic::Telemetry { bag } => {
                let message =
                    uplink::message(bag, payload, retain).map_err(|reason| violation(&reason))?;
                self.batch.push(message);
                self.batch_ids.extend(packet_id);
            }
            DeviceTopic::TwinGet { rid } => {
                self.requests.push(Request::TwinGet { rid: rid.into(), packet_id });
            }
            DeviceTopic::TwinPatchReported { rid, version } => {
                let request = Request::Report {
                    rid: rid.into(),
                    expected: version,
                    body: payload,
                    packet_id,
                };
                self.requests.push(request);
            }
            DeviceTopic::MethodResponse { status, rid } => {
                let response = MethodResponse { status, payload };
                self.method_answer(rid, response);
                self.puback(packet_id)?;
            }
        }
        Ok(())
    }

    /// Unknown, late and oversized answers are acknowledged and dropped; the caller hears of a
    /// time-out.
    fn method_answer(&mut self, rid: &str, response: MethodResponse) {
        let Some(call) = self.deliveries.call(rid) else {
            return tracing::debug!(id = %self.id(), rid, "method answer fits no call");
        };
        let size = response.payload.len();
        if size > model::limits::METHOD_PAYLOAD_BYTES_MAX {
            return tracing::warn!(id = %self.id(), size, "method answer is larger than 128 KiB; dropped");
        }
        self.link.method_answer(call, response);
    }

    fn handle_subscribe(&mut self, subscribe: Subscribe) {
        let Subscribe { packet_id, filters } = subscribe;
        let mut codes = Vec::with_capacity(filters.len());
        for (filter, qos) in filters {
            let code = match self.topics.parse_filter(filter.as_str()) {
                Ok(_) if self.has_no_room_for(filter.as_str()) => {
                    tracing::warn!(id = %self.id(), "too many subscriptions; the filter is refused");
                    SubackCode::Failure
                }
                Ok(subscription) => {
                    let granted = u8::from(qos != QoS::AtMostOnce);
                    self.deliveries.grant(filter.as_str(), subscription, granted);
                    SubackCode::Granted(if granted == 0 {
                        QoS::AtMostOnce
                    } else {
                        QoS::AtLeastOnce
                    })
                }
                Err(reason) => {
                    self.refused_filter(filter.as_str(), &reason);
                    SubackCode::Failure
                }
            };
            codes.push(code);
        }
        let subscriptions = self.deliveries.subscriptions(false);
        self.requests.push(Request::Subscribe { packet_id, codes, subscriptions });
    }

    fn has_no_room_for(&self, filter: &str) -> bool {
        let full = self.deliveries.filter_count() >= self.settings.subscriptions_max;
        full && !self.deliveries.has(filter)
    }

    fn refused_filter(&self, filter: &str, reason: &FilterError) {
        tracing::warn!(id = %self.id(), ?filter, %reason, "subscription refused");
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        for filter in &unsubscribe.filters {
            self.deliveries.revoke(filter.as_str());
        }
        let subscriptions = self.deliveries.subscriptions(false);
        self.requests
            .push(Request::Unsubscribe { packet_id: unsubscribe.packet_id, subscriptions });
    }

    /// Hands the batch to the backend; while that is busy, nothing more is read.
    fn submit(&mut self) -> Result<(), Ended> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match self.link.submit(&mut self.batch) {
            Ok(receipt) => {
                self.retry_at = None;
                self.receipts.push_back((receipt, std::mem::take(&mut self.batch_ids)));
                Ok(())
            }
            Err(SubmitError::Busy) => {
                self.retry_at = Some(self.wire.clock.now() + RETRY_BUSY);
                Ok(())
            }
            Err(error) => Err(Ended::Failed(error.to_string())),
        }
    }

    /// Acknowledges what is durable, in order, and waits for the rest.
    fn release(&mut self) -> Result<(), Ended> {
        while self.durable.is_none()
            && let Some((receipt, _)) = self.receipts.front()
        {
            match receipt.poll_ready() {
                Some(result) => self.durable(result)?,
                None => {
                    let receipt = receipt.clone();
                    self.durable = Some(Box::pin(async move { receipt.wait().await }));
                }
            }
        }
        Ok(())
    }

    fn durable(&mut self, result: Result<(), SubmitError>) -> Result<(), Ended> {
        result.map_err(|error| Ended::Failed(error.to_string()))?;
        if let Some((_, packet_ids)) = self.receipts.pop_front() {
            for packet_id in packet_ids {
                self.puback(Some(packet_id))?;
            }
        }
        Ok(())
    }

    fn handle_done(&mut self, done: Done) -> Result<(), Ended> {
        let machine = &mut self.wire.machine;
        match done {
            Done::Answer { topic, body, packet_id, .. } => {
                self.deliveries.respond(topic, body);
                self.puback(packet_id)
            }
            Done::Subscribed { packet_id, codes } => machine.suback(packet_id, codes).map_err(ours),
            Done::Unsubscribed { packet_id } => machine.unsuback(packet_id).map_err(ours),
            Done::Settled => Ok(()),
            Done::Failed(fault) => Err(Ended::Failed(fault.to_string())),
        }
    }

    fn puback(&mut self, packet_id: Option<PacketId>) -> Result<(), Ended> {
        match packet_id {
            Some(packet_id) => self.wire.machine.puback(packet_id).map_err(ours),
            None => Ok(()),
        }
    }

    /// Hands over the last messages; while the backend is busy, it is asked again.
    async fn leave(&mut self, mut last: Vec<Message>) {
        if last.is_empty() {
            return;
        }
        let clock = self.wire.clock.clone();
        let submit = async {
            loop {
                match self.link.submit(&mut last) {
                    Err(SubmitError::Busy) => clock.sleep(RETRY_BUSY).await,
                    other => return other.map(drop),
                }
            }
        };
        let submitted = clock.timeout(FINISH, submit).await.unwrap_or(Err(SubmitError::Busy));
        if let Err(error) = submitted {
            tracing::warn!(id = %self.id(), %error, "cannot store a client's last messages");
        }
    }
}

/// An answer that fits no request is a mistake of ours; the connection ends rather than to go on
/// with a machine that disagrees.
fn ours(error: mqtt::AckError) -> Ended {
    Ended::Failed(error.to_string())
}
