//! The task behind a client: connect, drive the connection, come back.
//!
//! Everything that waits is here. While there is no connection it still takes orders: it notes
//! subscriptions and twin requests and lets itself be closed.

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use iot_proto::topic::Subscription;
use tokio::sync::{mpsc, oneshot, watch};

use super::backoff::Backoff;
use super::error::{ConnectError, TwinError};
use super::events::{ClientEvent, Outcome};
use super::session::{Event, Handles, Moved, Session, Ticket, open};
use super::{ConnectionState, Options, Outgoing};

/// An order to the task.
#[derive(Debug)]
pub(super) enum Control {
    Subscribe(Subscription),
    Twin(TwinRequest),
    Settle { epoch: u64, ticket: Ticket, outcome: Outcome },
    MethodReply { epoch: u64, call: String, status: i32, payload: Bytes },
    Close,
}

/// Asks for the twin, or patches its reported properties.
#[derive(Debug)]
pub(super) struct TwinRequest {
    pub(super) patch: Option<Bytes>,
    pub(super) reply: oneshot::Sender<Result<TwinAnswer, TwinError>>,
}

/// A twin request that the hub granted.
#[derive(Debug)]
pub(super) struct TwinAnswer {
    pub(super) body: Bytes,
    pub(super) version: Option<u64>,
}

/// What the task is connected to within the process.
pub(super) struct Ends {
    pub(super) options: Arc<Options>,
    pub(super) clock: Clock,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    pub(super) control: mpsc::UnboundedReceiver<Control>,
    /// Weak: handles must not keep the client alive.
    pub(super) control_sender: mpsc::WeakUnboundedSender<Control>,
    pub(super) events: mpsc::Sender<ClientEvent>,
    pub(super) state: watch::Sender<ConnectionState>,
}

pub(super) struct Actor {
    ends: Ends,
    wanted: BTreeSet<Subscription>,
    /// What the hub's session has of them.
    granted: BTreeSet<Subscription>,
    /// Messages of a lost connection, in order, before those of the queue.
    resend: VecDeque<Outgoing>,
    /// Twin requests that wait for a connection; as many as callers may have.
    twins: VecDeque<TwinRequest>,
    epoch: u64,
    /// What was told last: none of a connection, or whether the loss is permanent.
    told_loss: Option<bool>,
}

/// The client was closed.
struct Closed;

/// How a connection ended.
enum End {
    Closed,
    Renewal,
    Lost(Box<ConnectError>),
}

/// What a connection had to wait for.
enum Happened {
    Order(Option<Control>),
    Send(Outgoing),
    Moved(Moved),
    Timeout,
    Nothing,
}

impl Actor {
    pub(super) fn new(ends: Ends) -> Self {
        Self {
            wanted: ends.options.subscriptions.iter().copied().collect(),
            granted: BTreeSet::new(),
            resend: VecDeque::new(),
            twins: VecDeque::new(),
            epoch: 0,
            told_loss: None,
            ends,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        // Ends only by `Closed`: everything else is tried again.
        loop {
            // A token that a wrong clock made is refused until the clock is set, no longer.
            let wall = self.ends.clock.wall_at_origin();
            let Ok(wait) = self.once(&mut backoff).await else { break };
            let pause = self.ends.clock.clone();
            let slept = async move { pause.sleep_unless_set(wait, wall).await };
            if self.meanwhile(slept).await.is_err() {
                break;
            }
        }
        self.ends.outgoing.close();
        self.ends.state.send_replace(ConnectionState::Closed);
    }

    /// Connects, stays connected for as long as it goes, and says how long to wait then.
    async fn once(&mut self, backoff: &mut Backoff) -> Result<Duration, Closed> {
        // On the heap, so that an idle client does not carry the room of a handshake.
        let open = Box::pin(open(self.ends.options.clone(), self.ends.clock.clone()));
        let error = match self.meanwhile(open).await? {
            Err(error) => error,
            Ok(mut session) => {
                self.epoch += 1;
                let since = self.ends.clock.now();
                let end = self.drive(&mut *session).await;
                let lived = self.ends.clock.now() - since;
                self.take_back(session, matches!(end, End::Closed | End::Renewal)).await;
                match end {
                    End::Closed => return Err(Closed),
                    End::Renewal => return Ok(backoff.after_renewal()),
                    End::Lost(error) => {
                        self.tell_loss(&error).await?;
                        return Ok(backoff.after_loss(lived, random()));
                    }
                }
            }
        };
        self.tell_loss(&error).await?;
        Ok(match error.permanent_refusal() {
            Some(_) => backoff.after_refusal(random()),
            None => backoff.after_failure(random()),
        })
    }

    /// Does `work` and takes orders meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Closed> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                order = self.ends.control.recv() => match order {
                    None | Some(Control::Close) => return Err(Closed),
                    Some(order) => self.note(order),
                },
                done = work.as_mut() => return Ok(done),
            }
        }
    }

    /// An order for which there is no connection. Handles of an earlier one are void.
    fn note(&mut self, order: Control) {
        match order {
            Control::Subscribe(kind) => {
                self.wanted.insert(kind);
            }
            Control::Twin(request) => {
                self.twins.retain(|waiting| !waiting.reply.is_closed());
                self.twins.push_back(request);
            }
            Control::Settle { .. } | Control::MethodReply { .. } | Control::Close => {}
        }
    }

    /// Keeps what the connection did not finish, and lets it go.
    async fn take_back(&mut self, mut session: Box<dyn Session>, graceful: bool) {
        for outgoing in session.finish().into_iter().rev() {
            self.resend.push_front(outgoing);
        }
        if graceful {
            session.goodbye(GOODBYE_LIMIT).await;
        }
    }

    /// Tells of a lost connection or failed attempt, once until that changes.
    async fn tell_loss(&mut self, error: &ConnectError) -> Result<(), Closed> {
        let reason: Arc<str> = crate::dial::chain(error).into();
        let refusal = error.permanent_refusal();
        self.ends.state.send_replace(match refusal.cloned() {
            Some(refusal) => ConnectionState::Refused { refusal, reason: reason.clone() },
            None => ConnectionState::Connecting { reason: Some(reason.clone()) },
        });
        let permanent = refusal.is_some();
        let identity = &self.ends.options.identity;
        if self.told_loss == Some(permanent) {
            tracing::debug!(%identity, %reason, "still not connected");
            return Ok(());
        }
        tracing::warn!(%identity, %reason, "not connected");
        self.told_loss = Some(permanent);
        self.tell(ClientEvent::Disconnected { reason, permanent }).await
    }

    /// Hands an event over; waits while the reader is behind, and with it the next attempt.
    async fn tell(&mut self, event: ClientEvent) -> Result<(), Closed> {
        let events = self.ends.events.clone();
        // An error means that nobody listens.
        self.meanwhile(async move { drop(events.send(event).await) }).await
    }
}

/// One connection.
impl Actor {
    /// Stays connected until it is over.
    async fn drive(&mut self, session: &mut dyn Session) -> End {
        let identity = &self.ends.options.identity;
        let session_present = session.is_resumed();
        tracing::debug!(%identity, session_present, "connected");
        self.told_loss = None;
        self.ends.state.send_replace(ConnectionState::Connected);
        if self.tell(ClientEvent::Connected { session_present }).await.is_err() {
            return End::Closed;
        }
        // Hubs keep the subscriptions of a session; one from before this process may lack some.
        if !session_present || self.epoch == 1 {
            self.granted.clear();
        }
        let missing: Vec<Subscription> = self.wanted.difference(&self.granted).copied().collect();
        session.subscribe(&missing);
        loop {
            match self.turn(session).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(source) => {
                    let dial = self.ends.options.dial.clone();
                    return End::Lost(Box::new(ConnectError::Broken { dial, source }));
                }
            }
        }
    }

    /// Does what can be done at once, then waits for one thing to happen.
    async fn turn(&mut self, session: &mut dyn Session) -> io::Result<Option<End>> {
        let held = match self.take_events(session) {
            Ok(held) => held,
            Err(end) => return Ok(Some(end)),
        };
        self.ask_twins(session);
        self.fill(session);
        let deadline = session.deadline();
        let clock = self.ends.clock.clone();
        let timeout = async move {
            match deadline {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let has_room = session.has_room();
        let happened = tokio::select! {
            biased;
            order = self.ends.control.recv() => Happened::Order(order),
            Some(outgoing) = self.ends.outgoing.recv(), if has_room => Happened::Send(outgoing),
            _ = self.ends.events.reserve(), if held => Happened::Nothing,
            moved = poll_fn(|cx| session.poll_exchange(cx)) => Happened::Moved(moved?),
            () = timeout => Happened::Timeout,
        };
        match happened {
            Happened::Order(order) => return Ok(self.obey(session, order)),
            Happened::Send(outgoing) => {
                if let Err(outgoing) = session.publish(outgoing) {
                    self.resend.push_back(outgoing);
                }
            }
            Happened::Moved(Moved::Ended) => {
                let dial = self.ends.options.dial.clone();
                return Ok(Some(End::Lost(Box::new(ConnectError::Closed { dial }))));
            }
            Happened::Moved(_) | Happened::Nothing => {}
            Happened::Timeout => session.handle_timeout(),
        }
        Ok(None)
    }

    /// Takes the connection's events. True when some are left because the reader is behind.
    fn take_events(&mut self, session: &mut dyn Session) -> Result<bool, End> {
        let Some(control) = self.ends.control_sender.upgrade() else { return Ok(false) };
        let handles = Handles { control, epoch: self.epoch };
        loop {
            // Nobody else sends, so room that is there stays there.
            if self.ends.events.capacity() == 0 && !self.ends.events.is_closed() {
                return Ok(true);
            }
            let Some(event) = session.poll_event(&handles) else { return Ok(false) };
            match event {
                // Fails only when nobody listens.
                Event::Tell(event) => drop(self.ends.events.try_send(event)),
                Event::Granted(kinds) => self.granted.extend(kinds),
                Event::Renewal => return Err(End::Renewal),
                Event::Lost(error) => return Err(End::Lost(Box::new(error))),
            }
        }
    }

    /// Sends twin requests that wait. Answers need their subscription on hubs other than ours.
    fn ask_twins(&mut self, session: &mut dyn Session) {
        if !session.takes_requests() {
            return;
        }
        while let Some(request) = self.twins.pop_front() {
            if request.reply.is_closed() {
                continue;
            }
            if self.wanted.insert(Subscription::TwinResponses) {
                session.subscribe(&[Subscription::TwinResponses]);
            }
            if let Err(request) = session.ask_twin(request) {
                self.twins.push_front(request);
                return;
            }
        }
    }

    /// Sends messages for as long as there are some and there is room: first those again that a
    /// lost connection left.
    fn fill(&mut self, session: &mut dyn Session) {
        while session.has_room() {
            let next = self.resend.pop_front().or_else(|| self.ends.outgoing.try_recv().ok());
            let Some(outgoing) = next else { return };
            if let Err(outgoing) = session.publish(outgoing) {
                self.resend.push_front(outgoing);
                return;
            }
        }
    }

    fn obey(&mut self, session: &mut dyn Session, order: Option<Control>) -> Option<End> {
        match order {
            None | Some(Control::Close) => return Some(End::Closed),
            Some(Control::Subscribe(kind)) => {
                if self.wanted.insert(kind) {
                    session.subscribe(&[kind]);
                }
            }
            Some(Control::Settle { epoch, ticket, outcome }) if epoch == self.epoch => {
                session.settle(ticket, outcome);
            }
            Some(Control::MethodReply { epoch, call, status, payload }) if epoch == self.epoch => {
                session.answer_method(&call, status, payload);
            }
            Some(order) => self.note(order),
        }
        None
    }
}

fn random() -> u32 {
    u32::from_le_bytes(host::entropy::bytes())
}

/// How long the last bytes may take; a program that ends must not hang here.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use host::tls::ClientTls;

    use super::*;
    use crate::dial::Dial;
    use crate::signer::KeySigner;

    /// An edge hub has a client for each of its modules and devices; together the idle runtime
    /// must stay below 25 MB.
    #[test]
    fn an_idle_client_is_small() {
        let options = Options::new(
            "hub",
            Dial::new("hub", 8883),
            ClientTls::new(&[]).unwrap(),
            "d".parse().unwrap(),
            Arc::new(KeySigner::from_bytes(b"key")),
        );
        #[expect(clippy::disallowed_methods, reason = "the client's own queue")]
        let (control_sender, control) = mpsc::unbounded_channel();
        let actor = Actor::new(Ends {
            options: Arc::new(options),
            clock: Clock::system(),
            outgoing: mpsc::channel(1).1,
            control,
            control_sender: control_sender.downgrade(),
            events: mpsc::channel(1).0,
            state: watch::channel(ConnectionState::Closed).0,
        });
        let bytes = size_of_val(&actor.run());
        assert!(bytes < 8 * 1024, "the task of a client has {bytes} bytes");
    }
}
