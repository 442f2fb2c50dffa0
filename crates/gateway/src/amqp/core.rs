//! What one connection is made of besides its socket, and what happens next to it.
//!
//! Three kinds of things wait here: receipts of telemetry, in order (`telemetry.rs`); work that must
//! be finished even when the connection ends (`work`); and watches over sessions, which end with it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use amqp::Connection;
use amqp::connection::LinkId;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use host::clock::{Clock, Mono};
use jiff::Timestamp;

use super::Settings;
use super::cbs::Verdict;
use super::claims::{Claim, Claims};
use super::devices::{DeviceKey, Devices, Opened, Seen};
use super::links::Link;
use super::nodes::{Nodes, Served};
use super::port::{Busy, PortNumber};
use super::ports::PortLink;
use super::replies::Replies;
use super::requests::Finished;
use super::telemetry::Telemetry;
use crate::auth::Identities;
use crate::backend::{DeviceBackend, SubmitError};
use crate::peer::Peer;
use crate::proof_end::ProofEnd;

/// What stands around a connection.
pub(super) struct Around<B, N> {
    pub(super) backend: Arc<B>,
    pub(super) nodes: Arc<N>,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    pub(super) peer: Peer,
}

/// A connection without its socket.
pub(super) struct Core<B: DeviceBackend, N> {
    pub(super) around: Arc<Around<B, N>>,
    pub(super) machine: Connection,
    pub(super) claims: Claims,
    /// What the client called us.
    pub(super) host: Option<Arc<str>>,
    pub(super) links: HashMap<LinkId, Link>,
    pub(super) devices: Devices<B::Link>,
    pub(super) ports: HashMap<PortNumber, PortLink>,
    pub(super) busy_ports: Busy,
    /// Ports whose messages have no room now.
    pub(super) stalled_ports: Vec<PortNumber>,
    pub(super) last_port: u64,
    pub(super) replies: Replies,
    pub(super) telemetry: Telemetry,
    /// What must be finished even when the connection ends.
    pub(super) work: FuturesUnordered<Work<B::Link>>,
    /// What ends with the connection.
    pub(super) watches: FuturesUnordered<Watch>,
    /// By when somebody must have proven something.
    pub(super) stranger_until: Option<Mono>,
    alarm: Option<Alarm>,
}

/// Something under way.
pub(super) type Work<L> = Pin<Box<dyn Future<Output = Done<L>> + Send>>;
/// A look at a session.
pub(super) type Watch = Pin<Box<dyn Future<Output = Seen> + Send>>;

/// What came of it.
pub(super) enum Done<L> {
    /// SASL is decided.
    Sasl { outcome: amqp::sasl::Outcome, claim: Option<Claim> },
    /// A token was looked at.
    Token(Box<Verdict>),
    /// A session was asked for.
    Opened { device: DeviceKey, opened: Result<Box<Opened<L>>, Box<amqp::Error>> },
    /// A device's request was carried out.
    Request { device: DeviceKey, finished: Finished },
    /// A session was closed.
    Closed,
    /// A node has said whether it takes a link.
    Node { port: PortNumber, opened: Result<Box<Served>, Box<amqp::Error>> },
    /// The future of a link has ended.
    Served { port: PortNumber, error: Option<Box<amqp::Error>> },
}

/// What happened next.
pub(super) enum Next<L> {
    Alarm,
    Durable(Result<(), SubmitError>),
    Done(Done<L>),
    Seen(Seen),
    /// Ports have something to do.
    Ports,
}

/// Identities that may be looked at together: their attaches are kept meanwhile, and whoever sent them
/// may have proven nothing. Ours; a hub looks at thousands a second.
const OPENING_MAX: usize = 64;

/// A wake-up at a deadline or before; see `mqtt::connection`.
struct Alarm {
    at: Mono,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    pub(super) fn new(around: Arc<Around<B, N>>) -> Self {
        let now = around.clock.now();
        let machine = Connection::server(now.since_origin(), Arc::clone(&around.settings.machine));
        Self {
            machine,
            claims: Claims::default(),
            host: None,
            links: HashMap::new(),
            devices: Devices::default(),
            ports: HashMap::new(),
            busy_ports: Busy::default(),
            stalled_ports: Vec::new(),
            last_port: 0,
            replies: Replies::default(),
            telemetry: Telemetry::default(),
            work: FuturesUnordered::new(),
            watches: FuturesUnordered::new(),
            stranger_until: Some(now + around.settings.stranger_deadline),
            alarm: None,
            around,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.around.clock.now().since_origin()
    }

    /// Whether more may be read: not while the store is behind, nor while too much is under way.
    pub(super) fn reads(&self) -> bool {
        !self.telemetry.is_busy()
            && self.devices.requests() < self.around.settings.requests_max
            && self.devices.opening() < OPENING_MAX
            && self.work.len() < self.around.settings.work_max
    }

    /// What happens next, the socket aside.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<B::Link>> {
        if let Poll::Ready(result) = self.telemetry.poll(cx) {
            return Poll::Ready(Next::Durable(result));
        }
        if let Poll::Ready(Some(done)) = self.work.poll_next_unpin(cx) {
            return Poll::Ready(Next::Done(done));
        }
        if !self.busy_ports.is_empty() {
            return Poll::Ready(Next::Ports);
        }
        if let Poll::Ready(Some(seen)) = self.watches.poll_next_unpin(cx) {
            return Poll::Ready(Next::Seen(seen));
        }
        if let Some(alarm) = &mut self.alarm
            && alarm.sleep.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            return Poll::Ready(Next::Alarm);
        }
        Poll::Pending
    }

    /// Sees to it that [`Next::Alarm`] comes at the next deadline.
    pub(super) fn set_alarm(&mut self) {
        let machine = self.machine.poll_timeout().map(mono);
        let deadlines =
            [machine, self.devices.next_expiry(), self.telemetry.retry_at(), self.stranger_until];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return };
        if self.alarm.as_ref().is_some_and(|alarm| alarm.at <= deadline) {
            return;
        }
        let clock = self.around.clock.clone();
        let sleep = Box::pin(async move { clock.sleep_until(deadline).await });
        self.alarm = Some(Alarm { at: deadline, sleep });
    }

    /// When a proof runs out.
    pub(super) fn end_of(&self, expires: Timestamp) -> ProofEnd {
        ProofEnd::new(&self.around.clock, expires)
    }

    /// The error for a fault, with an id of its own.
    pub(super) fn error(&self, fault: &model::Fault) -> amqp::Error {
        super::fault::error(fault, &self.around.clock)
    }
}

/// The machine's time as the clock's.
pub(super) fn mono(since_origin: Duration) -> Mono {
    Mono::ZERO + since_origin
}
