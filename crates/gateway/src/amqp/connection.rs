//! The loop of one connection: events of the machine up, what the backends do down.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use amqp::connection::{Closed, Event};
use amqp::performative::condition;
use futures_util::StreamExt;
use host::signals::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};

use super::core::{Around, Core, Done, Next, mono};
use super::devices::Seen;
use super::nodes::Nodes;
use crate::auth::Identities;
use crate::backend::DeviceBackend;
use crate::socket::{Io, Socket};

/// How a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The client closed it.
    #[error("client said goodbye")]
    Goodbye,
    /// The socket is gone.
    #[error("connection lost")]
    Lost,
    /// It was not let in.
    #[error("client was refused")]
    Refused,
    /// This server ends it; the machine still has to say so.
    #[error("closed by this server: {}", .0.condition)]
    Closing(Box<amqp::Error>),
    /// The machine has ended it.
    #[error("client broke a rule: {0}")]
    Violation(String),
}

/// What was under way at a connection's end may take this long.
const FINISH: Duration = Duration::from_secs(5);
/// How long the last bytes may take to leave when a connection ends, the client's close included.
const LINGER: Duration = Duration::from_secs(2);

/// Serves a connection until it ends.
pub(super) async fn run<S, B, N>(io: S, around: Around<B, N>, shutdown: &Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    B: DeviceBackend + Identities,
    N: Nodes,
{
    let mut wire = Socket::new(io, around.clock.clone());
    // In a box, and so is the end: the future of a connection that idles keeps a place for both.
    let mut core = Box::new(Core::new(Arc::new(around)));
    let ended = {
        let mut stop = std::pin::pin!(shutdown.wait());
        loop {
            let turn = core.turn(&mut wire);
            tokio::select! {
                biased;
                ended = turn => if let Err(ended) = ended { break ended },
                () = &mut stop => break Ended::Closing(Box::new(shutting_down())),
            }
        }
    };
    Box::pin(core.end(&mut wire, ended)).await;
}

fn shutting_down() -> amqp::Error {
    amqp::Error::new(condition::CONNECTION_FORCED, "this server stops; connect again")
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// One round: work off what is there, then wait for the next thing.
    async fn turn<S>(&mut self, wire: &mut Socket<S>) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handle_events()?;
        self.submit_telemetry();
        self.release_telemetry();
        self.work_ports();
        self.flush_devices();
        self.flush_replies();
        self.set_alarm();
        let next = poll_fn(|cx| {
            let reads = self.reads();
            match wire.poll(cx, &mut self.machine, reads) {
                Poll::Ready(Io::End) => return Poll::Ready(Err(Ended::Lost)),
                Poll::Ready(Io::Read | Io::Wrote) => return Poll::Ready(Ok(None)),
                Poll::Pending => {}
            }
            self.poll(cx).map(|next| Ok(Some(next)))
        });
        match next.await? {
            None | Some(Next::Ports) => Ok(()),
            Some(Next::Alarm) => self.handle_timeout(),
            Some(Next::Durable(result)) => {
                self.telemetry_durable(result);
                Ok(())
            }
            Some(Next::Done(done)) => self.handle_done(done),
            Some(Next::Seen(seen)) => self.handle_seen(seen),
        }
    }

    fn handle_events(&mut self) -> Result<(), Ended> {
        while self.reads() {
            let Some(event) = self.machine.poll_event() else {
                // Nobody is told of a refusal by SASL: it was ours.
                return if self.machine.is_closed() { Err(Ended::Refused) } else { Ok(()) };
            };
            match event {
                Event::SaslInit { mechanism, response, .. } => {
                    self.handle_sasl(mechanism.as_str(), &response);
                }
                Event::Open(open) => self.host = open.hostname.as_deref().map(Arc::from),
                Event::Attach { link, attach } => self.handle_attach(link, attach),
                Event::Delivery(delivery) => self.handle_delivery(delivery),
                Event::Settled { delivery, state, settled } => {
                    self.handle_settled(delivery, state, settled);
                }
                Event::Credit { link, credit, drain } => self.handle_credit(link, credit, drain),
                Event::Detached { link, .. } => self.handle_detached(link),
                Event::SessionEnded { session, .. } => self.handle_session_ended(session),
                Event::Closed(closed) => return Err(ended(closed)),
                // Windows that open are looked at in every turn; the rest never comes to a server
                // that attaches and drains nothing itself.
                _ => {}
            }
        }
        // What waits is looked at when there is room for it, also when the client is gone by then.
        Ok(())
    }

    fn handle_timeout(&mut self) -> Result<(), Ended> {
        let now = self.around.clock.now();
        self.telemetry.retry(now);
        self.machine.handle_timeout(now.since_origin());
        self.expire_devices(now)?;
        self.check_stranger(now)
    }

    /// Who has proven nothing for a while has to go.
    fn check_stranger(&mut self, now: host::clock::Mono) -> Result<(), Ended> {
        match self.stranger_until {
            Some(_) if !self.is_stranger() => {
                self.stranger_until = None;
                Ok(())
            }
            Some(until) if now >= until => Err(Ended::Closing(Box::new(amqp::Error::new(
                condition::UNAUTHORIZED_ACCESS,
                "no valid token came in time",
            )))),
            _ => Ok(()),
        }
    }

    /// Whether nothing was proven; what is still being looked at does not count.
    pub(super) fn is_stranger(&self) -> bool {
        !self.devices.has_open() && self.ports.is_empty() && self.claims.len() == 0
    }

    fn handle_done(&mut self, done: Done<B::Link>) -> Result<(), Ended> {
        match done {
            Done::Sasl { outcome, claim } => self.sasl_decided(outcome, claim),
            Done::Token(verdict) => return self.token_judged(*verdict),
            Done::Opened { device, opened } => self.device_opened(device, opened),
            Done::Request { device, finished } => self.request_finished(device, finished),
            Done::Closed => {}
            Done::Node { port, opened } => self.node_opened(port, opened),
            Done::Served { port, error } => self.node_served(port, error),
        }
        Ok(())
    }

    fn handle_seen(&mut self, seen: Seen) -> Result<(), Ended> {
        match seen {
            Seen::Closed { device, reason } => self.session_closed(device, reason),
            Seen::Downlink { device, queue, downlink } => {
                self.downlink(device, queue, downlink);
                Ok(())
            }
        }
    }

    /// Says goodbye, finishes what is under way, and tells the backends.
    async fn end<S>(mut self: Box<Self>, wire: &mut Socket<S>, ended: Ended)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = &self.around.peer;
        match &ended {
            Ended::Violation(_) => tracing::warn!(%peer, %ended, "connection closed"),
            _ => tracing::debug!(%peer, %ended, "connection closed"),
        }
        let graceful = matches!(ended, Ended::Goodbye);
        self.watches.clear();
        self.end_ports();
        self.close_all_devices(graceful);
        if let Ended::Closing(error) = ended {
            self.machine.close(self.now(), Some(*error));
        }
        self.wind_up(wire).await;
    }

    /// Writes the last bytes, waits for the client's close, and lets everything end that was begun;
    /// what comes of it is told to nobody any more.
    async fn wind_up<S>(&mut self, wire: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let clock = self.around.clock.clone();
        let (linger, give_up) = (clock.now() + LINGER, clock.now() + FINISH);
        let mut talks = true;
        loop {
            while self.machine.poll_event().is_some() {}
            talks &= !self.machine.is_closed() || !self.machine.output().is_empty();
            if !talks && self.work.is_empty() {
                break;
            }
            let timers = self.machine.poll_timeout().map(mono).filter(|_| talks);
            let until = timers.into_iter().fold(if talks { linger } else { give_up }, Ord::min);
            let step = poll_fn(|cx| {
                if talks && let Poll::Ready(io) = wire.poll(cx, &mut self.machine, true) {
                    return Poll::Ready(Last::Io(io));
                }
                match self.work.poll_next_unpin(cx) {
                    Poll::Ready(Some(done)) => Poll::Ready(Last::Done(done)),
                    _ => Poll::Pending,
                }
            });
            match clock.timeout_at(until, step).await {
                Ok(Last::Io(io)) => talks = io != Io::End,
                Ok(Last::Done(done)) => self.done_after_the_end(done),
                Err(_) if clock.now() >= give_up => {
                    tracing::warn!(peer = %self.around.peer, "the backend did not finish in time");
                    break;
                }
                Err(_) if clock.now() >= linger => talks = false,
                Err(_) => self.machine.handle_timeout(clock.now().since_origin()),
            }
        }
        let _ = clock.timeout(LINGER, wire.shut()).await;
    }

    fn done_after_the_end(&mut self, done: Done<B::Link>) {
        if let Err(ended) = self.handle_done(done) {
            tracing::debug!(%ended, "after the end");
        }
        self.close_all_devices(false);
        self.end_ports();
    }
}

/// What happens while a connection is wound up.
enum Last<L> {
    Io(Io),
    Done(Done<L>),
}

fn ended(closed: Closed) -> Ended {
    match closed {
        Closed::Peer(None) => Ended::Goodbye,
        Closed::Peer(Some(error)) => {
            tracing::debug!(condition = %error.condition, text = ?error.description, "client closed with an error");
            Ended::Goodbye
        }
        Closed::TimedOut(_) => Ended::Lost,
        Closed::Violation(error) => {
            let text = error.description.unwrap_or_default();
            Ended::Violation(format!("{}: {text:?}", error.condition))
        }
        Closed::Handshake(error) => Ended::Violation(error.to_string()),
        other => Ended::Violation(format!("{other:?}")),
    }
}
