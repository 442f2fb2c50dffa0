//! One AMQP connection: sessions, links and deliveries, for either end.
//!
//! The machine keeps the order of frames, channels, handles, windows, credit,
//! settlement and timers. Who the peer is, what an address means and what is stored is
//! its owner's business, reported as [`Event`]s. The two ends differ in how they open;
//! after that both may do everything.
//!
//! The owner's loop:
//!
//! ```text
//! read into `input` while wants_input()
//! loop { handle_input(now, &mut input); act on every poll_event(); until !wants_resume() }
//! write output(), advance_output(n)
//! sleep until poll_timeout(), then handle_timeout(now)
//! until is_closed() and the output is written
//! ```
//!
//! Calls of the owner go out in their order: a delivery that is settled before an
//! answer is sent has its disposition written before that answer, which uamqp needs
//! (service-api.md §9.7 #3). Settlements with the same outcome and consecutive ids
//! become one disposition.
//!
//! A session and a connection are answered by the machine, a link by the owner. Links
//! are not resumed: an `unsettled` map is ignored, a suspended link is gone.
//!
//! Specification: OASIS AMQP 1.0 part 2 (transport), part 5 (security) §5.3;
//! device-protocol.md §4, service-api.md §9; what attackers send: security.md §2, B17–B21.

mod error;
mod event;
mod frames;
mod handshake;
mod ids;
mod link;
mod link_settings;
mod numbers;
mod outbox;
mod session;
mod settings;
mod shared;
mod timers;
mod unsettled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use self::handshake::{Opening, Side};
use self::numbers::Numbers;
use self::session::Session;
use self::shared::Shared;
use self::timers::{Timer, Timers};
use crate::performative::{DeliveryState, Error, condition};

pub use error::{BeginError, SendError};
pub use event::{Cause, Closed, Delivery, Event, HandshakeError, Timeout};
pub use ids::{DeliveryId, LinkId, SessionId};
pub use link_settings::{Accept, CreditPolicy, NewLink, Outgoing};
pub use settings::{Credentials, Settings};

/// One end of one connection.
#[derive(Debug)]
pub struct Connection {
    side: Side,
    stage: Stage,
    shared: Shared,
    timers: Timers,
    sessions: BTreeMap<SessionId, Box<Session>>,
    channels: Numbers,
    next_session: u32,
    /// When the last frame came.
    last_frame: Duration,
    /// We stopped reading since the last frame, so silence proves nothing yet.
    has_grace: bool,
    /// Some of the output was written since the idle timer was last set.
    was_written: bool,
    /// The last input ended at a bound, not at the end of the bytes.
    left_input: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening(Opening),
    Open,
    /// Our close is out; only the peer's counts.
    Closing,
    /// The same, but what comes cannot be understood.
    Deaf,
    Closed,
}

impl Connection {
    /// The server's end of a connection that was opened at `now`; the client has to
    /// begin, with SASL or without.
    #[must_use]
    pub fn server(now: Duration, settings: Arc<Settings>) -> Connection {
        Connection::new(now, settings, Side::Server, Opening::FirstHeader)
    }

    /// The client's end of a connection that was opened at `now`.
    #[must_use]
    pub fn client(now: Duration, settings: Arc<Settings>, credentials: Credentials) -> Connection {
        let side = Side::Client(credentials);
        let mut client = Connection::new(now, settings, side, Opening::AmqpHeader);
        client.start_client();
        client
    }

    fn new(now: Duration, settings: Arc<Settings>, side: Side, step: Opening) -> Connection {
        let mut timers = Timers::default();
        timers.set(Timer::Open, now.saturating_add(settings.open_deadline));
        Connection {
            side,
            stage: Stage::Opening(step),
            shared: Shared::new(settings),
            timers,
            sessions: BTreeMap::new(),
            channels: Numbers::default(),
            next_session: 0,
            last_frame: now,
            has_grace: false,
            was_written: false,
            left_input: false,
        }
    }

    /// Takes complete frames off the front of `input`, until there is none or a bound
    /// is reached; see [`Self::wants_resume`]. A closed connection discards all.
    pub fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
        while self.may_process() {
            match self.take(now, input) {
                Ok(false) => break,
                Ok(true) => {
                    self.last_frame = now;
                    self.has_grace = false;
                }
                Err(fault) => self.fail(now, fault),
            }
        }
        if matches!(self.stage, Stage::Deaf | Stage::Closed) {
            input.clear();
        }
        self.left_input = !input.is_empty() && !self.may_process();
        self.has_grace |= !self.may_process();
    }

    /// The next thing for the owner.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due. Moves rarely: not with every frame.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Acts on the timers that have fired at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Open => {
                    self.closed(Closed::TimedOut(Timeout::Open));
                    self.finish();
                }
                Timer::Attach => {
                    let error = Error::new(condition::CONNECTION_FORCED, "no link was attached");
                    self.put_close(now, Some(error));
                    self.closed(Closed::TimedOut(Timeout::Attach));
                }
                Timer::Close => self.finish(),
                Timer::Idle => self.check_silence(now),
                Timer::Heartbeat => {
                    self.shared.out.heartbeat();
                    if let Some(interval) = self.shared.peer.heartbeat {
                        self.timers.set(Timer::Heartbeat, now.saturating_add(interval));
                    }
                }
            }
        }
    }

    /// Whether the owner should read from the peer. If not, something waits for the
    /// owner's answer, or the peer does not read its own input.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.may_process()
    }

    /// Whether bytes that the last [`Self::handle_input`] left can go on now: call it
    /// again, else they would wait for the next byte from the peer.
    #[must_use]
    pub fn wants_resume(&self) -> bool {
        self.left_input && self.may_process()
    }

    /// Whether the connection has ended: write what is in the output, then close.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Bytes to write.
    pub fn output(&mut self) -> &[u8] {
        self.shared.out.as_slice()
    }

    /// Forgets the first `count` bytes of the output: they were written.
    pub fn advance_output(&mut self, count: usize) {
        self.was_written |= count > 0;
        self.shared.out.advance(count);
    }

    /// Moves the output to the end of `into` and returns how many bytes that were.
    pub fn poll_transmit(&mut self, into: &mut BytesMut) -> usize {
        let count = self.shared.out.drain_into(into);
        self.was_written |= count > 0;
        count
    }

    /// Begins a session. Links can be attached to it at once; [`Event::SessionBegun`]
    /// tells when the peer has answered.
    pub fn begin(&mut self) -> Result<SessionId, BeginError> {
        if self.stage != Stage::Open {
            return Err(BeginError::NotOpen);
        }
        if self.sessions.len() >= self.shared.settings.sessions_max {
            return Err(BeginError::TooMany);
        }
        let id = self.next_session_id().ok_or(BeginError::TooMany)?;
        let channel_max = u32::from(self.shared.peer.channel_max);
        let channel = self.channels.open(id.0, channel_max);
        let channel = channel.and_then(|channel| u16::try_from(channel).ok());
        let session = Session::new(id, channel.ok_or(BeginError::TooMany)?, &self.shared.settings);
        session.put_begin(None, &mut self.shared);
        self.sessions.insert(id, Box::new(session));
        Ok(id)
    }

    /// Ends a session and all its links. No event follows for them.
    pub fn end(&mut self, session: SessionId, error: Option<Error>) {
        if let Some(session) = self.sessions.remove(&session) {
            session.put_end(error, &mut self.shared);
            session.release(&mut self.shared);
        }
    }

    /// Attaches a link of our own; [`Event::Attached`] or [`Event::Detached`] follows. A
    /// peer may keep it waiting for ever: how long that may be is the owner's business.
    pub fn attach(&mut self, session: SessionId, link: NewLink) -> Result<LinkId, BeginError> {
        let session = self.sessions.get_mut(&session).ok_or(BeginError::NotOpen)?;
        session.attach(link, &mut self.shared)
    }

    /// Answers [`Event::Attach`]: the link is there, and has its first credit. Does
    /// nothing for a link that is gone or has been answered.
    pub fn accept_attach(&mut self, link: LinkId, accept: Accept) {
        self.on(link, |session, shared| session.accept_attach(link.number, accept, shared));
    }

    /// Answers [`Event::Attach`] with an attach without source and target, and a detach
    /// that says why. No event follows for the link.
    pub fn refuse_attach(&mut self, link: LinkId, error: Error) {
        self.on(link, |session, shared| session.refuse_attach(link.number, error, shared));
    }

    /// Detaches a link for good. No event follows for it.
    pub fn detach(&mut self, link: LinkId, error: Option<Error>) {
        self.on(link, |session, shared| session.detach(link.number, error, shared));
    }

    /// Sets the credit of a link on which we receive: so many from now on. A link of
    /// [`CreditPolicy::Window`] has that as its window from now on.
    pub fn grant(&mut self, link: LinkId, credit: u32) {
        self.on(link, |session, shared| session.grant(link.number, credit, shared));
    }

    /// Asks the peer to use up the credit of a link of [`CreditPolicy::Manual`] now, or
    /// to give it back; [`Event::Drained`] follows.
    pub fn drain(&mut self, link: LinkId) {
        self.on(link, |session, shared| session.drain(link.number, shared));
    }

    /// Gives back what is left of the credit of a link on which we send, after
    /// [`Event::Credit`] with `drain`.
    pub fn drained(&mut self, link: LinkId) {
        self.on(link, |session, shared| session.drained(link.number, shared));
    }

    /// Sends a message, in as many transfers as the peer's frame size makes of it. An
    /// error leaves nothing behind.
    pub fn send(&mut self, link: LinkId, outgoing: Outgoing) -> Result<DeliveryId, SendError> {
        let sent = self.on(link, |session, shared| session.send(link.number, outgoing, shared));
        self.has_grace |= self.shared.is_output_full();
        sent.unwrap_or(Err(SendError::NotSendable))
    }

    /// Whether [`Self::send`] would take a small message now.
    pub fn can_send(&mut self, link: LinkId) -> Result<(), SendError> {
        let can = self.on(link, |session, shared| session.can_send(link.number, shared));
        can.unwrap_or(Err(SendError::NotSendable))
    }

    /// The credit that is left on a link on which we send.
    #[must_use]
    pub fn credit(&self, link: LinkId) -> u32 {
        let session = self.sessions.get(&link.session);
        session.map(|session| session.credit(link.number)).unwrap_or_default()
    }

    /// Settles a delivery that came, or answers [`Event::Settled`] that waits for it.
    /// Does nothing for a delivery that is settled or gone: calling it is never wrong.
    pub fn settle(&mut self, delivery: DeliveryId, state: DeliveryState) {
        let DeliveryId { link, number } = delivery;
        self.on(link, |session, shared| session.settle(link.number, number, state, shared));
    }

    /// Closes the connection. What was put out before goes out; [`Self::is_closed`]
    /// turns true when the peer has answered or the close deadline is over. No event
    /// follows.
    pub fn close(&mut self, now: Duration, error: Option<Error>) {
        match self.stage {
            Stage::Opening(Opening::Open) => self.put_close(now, error),
            Stage::Opening(_) => self.finish(),
            Stage::Open => self.put_close(now, error),
            Stage::Closing | Stage::Deaf | Stage::Closed => {}
        }
        self.shared.events.clear();
    }

    fn on<T>(
        &mut self,
        link: LinkId,
        call: impl FnOnce(&mut Session, &mut Shared) -> T,
    ) -> Option<T> {
        let session = self.sessions.get_mut(&link.session)?;
        Some(call(session, &mut self.shared))
    }

    /// None after 2³² sessions: no id is used twice.
    fn next_session_id(&mut self) -> Option<SessionId> {
        let id = self.next_session;
        self.next_session = id.checked_add(1)?;
        Some(SessionId(id))
    }

    /// One and a half times what we say that we allow.
    fn silence_max(&self) -> Duration {
        self.shared.settings.idle_time_out.saturating_mul(3) / 2
    }

    /// The idle timer fired: the frames since it was set move it.
    fn check_silence(&mut self, now: Duration) {
        let due = self.last_frame.saturating_add(self.silence_max());
        if due > now {
            return self.timers.set(Timer::Idle, due);
        }
        // While the owner is late, or we had stopped to read, silence proves nothing. A peer that
        // takes some of what waits for it is slow; one that takes none in all that time is gone.
        let is_stalled = self.shared.is_output_full();
        let excused = match is_stalled {
            true => self.was_written,
            false => !self.may_process() || !self.shared.events.is_empty() || self.has_grace,
        };
        self.has_grace = false;
        self.was_written = false;
        if excused {
            return self.timers.set(Timer::Idle, now.saturating_add(self.silence_max()));
        }
        let text = match is_stalled {
            true => "nothing of what waits was read within one and a half times the idle time-out",
            false => "nothing came within one and a half times the idle time-out",
        };
        let error = Error::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
        self.put_close(now, Some(error));
        self.closed(Closed::TimedOut(Timeout::Idle));
    }

    /// Whether one more frame may be taken. Every queue of this machine is behind one
    /// of these bounds, or behind a number in the settings.
    fn may_process(&self) -> bool {
        match self.stage {
            Stage::Closing | Stage::Deaf => true,
            Stage::Closed | Stage::Opening(Opening::Decision) => false,
            Stage::Opening(_) | Stage::Open => {
                self.shared.events.len() < EVENTS_MAX
                    && !self.shared.is_output_full()
                    && self.shared.usage.unsettled_bytes < self.shared.settings.unsettled_bytes_max
            }
        }
    }

    /// Tells the owner that it is over.
    fn closed(&mut self, closed: Closed) {
        self.shared.event(Event::Closed(closed));
    }

    /// Nothing is waited for any more.
    fn finish(&mut self) {
        self.stage = Stage::Closed;
        self.forget_all();
    }

    fn forget_all(&mut self) {
        self.timers.stop_all();
        self.sessions = BTreeMap::new();
        self.channels = Numbers::default();
        self.shared.usage = shared::Usage::default();
    }
}

/// Events that wait for the owner: with that many, handling stops and can be resumed.
/// A frame that brings many, a disposition, ends deliveries of which there are only so many.
const EVENTS_MAX: usize = 64;
