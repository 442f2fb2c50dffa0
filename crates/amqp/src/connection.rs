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
mod ids;
mod link_settings;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::performative::{DeliveryState, Error};
use crate::sasl::Outcome;

pub use error::{BeginError, SendError};
pub use event::{Cause, Closed, Delivery, Event, HandshakeError, Timeout};
pub use ids::{DeliveryId, LinkId, SessionId};
pub use link_settings::{Accept, CreditPolicy, NewLink, Outgoing};
pub use settings::{Credentials, Settings};

/// One end of one connection.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
}

impl Connection {
    /// The server's end of a connection that was opened at `now`; the client has to
    /// begin, with SASL or without.
    #[must_use]
    pub fn server(now: Duration, settings: Arc<Settings>) -> Connection {
        let _ = now;
        Connection { settings }
    }

    /// The client's end of a connection that was opened at `now`.
    #[must_use]
    pub fn client(now: Duration, settings: Arc<Settings>, credentials: Credentials) -> Connection {
        let _ = (now, credentials);
        Connection { settings }
    }

    /// Takes complete frames off the front of `input`, until there is none or a bound
    /// is reached; see [`Self::wants_resume`]. A closed connection discards all.
    pub fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
        unimplemented!("{now:?} {input:?}")
    }

    /// The next thing for the owner.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// When [`Self::handle_timeout`] is due. Moves rarely: not with every frame.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        unimplemented!()
    }

    /// Acts on the timers that have fired at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        unimplemented!("{now:?}")
    }

    /// Whether the owner should read from the peer. If not, something waits for the
    /// owner's answer, or the peer does not read its own input.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        unimplemented!()
    }

    /// Whether bytes that the last [`Self::handle_input`] left can go on now: call it
    /// again, else they would wait for the next byte from the peer.
    #[must_use]
    pub fn wants_resume(&self) -> bool {
        unimplemented!()
    }

    /// Whether the connection has ended: write what is in the output, then close.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        unimplemented!()
    }

    /// Bytes to write.
    pub fn output(&mut self) -> &[u8] {
        unimplemented!()
    }

    /// Forgets the first `count` bytes of the output: they were written.
    pub fn advance_output(&mut self, count: usize) {
        unimplemented!("{count}")
    }

    /// Moves the output to the end of `into` and returns how many bytes that were.
    pub fn poll_transmit(&mut self, into: &mut BytesMut) -> usize {
        unimplemented!("{into:?}")
    }

    /// Answers [`Event::SaslInit`]. Anything but [`Outcome::Ok`] ends the connection.
    pub fn sasl_outcome(&mut self, outcome: Outcome) {
        unimplemented!("{outcome:?}")
    }

    /// Begins a session. Links can be attached to it at once; [`Event::SessionBegun`]
    /// tells when the peer has answered.
    pub fn begin(&mut self) -> Result<SessionId, BeginError> {
        unimplemented!()
    }

    /// Ends a session and all its links. No event follows for them.
    pub fn end(&mut self, session: SessionId, error: Option<Error>) {
        unimplemented!("{session:?} {error:?}")
    }

    /// Attaches a link of our own; [`Event::Attached`] or [`Event::Detached`] follows.
    pub fn attach(&mut self, session: SessionId, link: NewLink) -> Result<LinkId, BeginError> {
        unimplemented!("{session:?} {link:?}")
    }

    /// Answers [`Event::Attach`]: the link is there, and has its first credit. Does
    /// nothing for a link that is gone or has been answered.
    pub fn accept_attach(&mut self, link: LinkId, accept: Accept) {
        unimplemented!("{link:?} {accept:?}")
    }

    /// Answers [`Event::Attach`] with an attach without source and target, and a detach
    /// that says why. No event follows for the link.
    pub fn refuse_attach(&mut self, link: LinkId, error: Error) {
        unimplemented!("{link:?} {error:?}")
    }

    /// Detaches a link for good. No event follows for it.
    pub fn detach(&mut self, link: LinkId, error: Option<Error>) {
        unimplemented!("{link:?} {error:?}")
    }

    /// Sets the credit of a link on which we receive: so many from now on. A link of
    /// [`CreditPolicy::Window`] has that as its window from now on.
    pub fn grant(&mut self, link: LinkId, credit: u32) {
        unimplemented!("{link:?} {credit}")
    }

    /// Asks the peer to use up the credit of a link of [`CreditPolicy::Manual`] now, or
    /// to give it back; [`Event::Drained`] follows.
    pub fn drain(&mut self, link: LinkId) {
        unimplemented!("{link:?}")
    }

    /// Gives back what is left of the credit of a link on which we send, after
    /// [`Event::Credit`] with `drain`.
    pub fn drained(&mut self, link: LinkId) {
        unimplemented!("{link:?}")
    }

    /// Sends a message, in as many transfers as the peer's frame size makes of it. An
    /// error leaves nothing behind.
    pub fn send(&mut self, link: LinkId, outgoing: Outgoing) -> Result<DeliveryId, SendError> {
        unimplemented!("{link:?} {outgoing:?}")
    }

    /// Whether [`Self::send`] would take a small message now.
    pub fn can_send(&mut self, link: LinkId) -> Result<(), SendError> {
        unimplemented!("{link:?}")
    }

    /// The credit that is left on a link on which we send.
    #[must_use]
    pub fn credit(&self, link: LinkId) -> u32 {
        unimplemented!("{link:?}")
    }

    /// Settles a delivery that came, or answers [`Event::Settled`] that waits for it.
    /// Does nothing for a delivery that is settled or gone: calling it is never wrong.
    pub fn settle(&mut self, delivery: DeliveryId, state: DeliveryState) {
        unimplemented!("{delivery:?} {state:?}")
    }

    /// Closes the connection. What was put out before goes out; [`Self::is_closed`]
    /// turns true when the peer has answered or the close deadline is over. No event
    /// follows.
    pub fn close(&mut self, now: Duration, error: Option<Error>) {
        unimplemented!("{now:?} {error:?} {:?}", self.settings)
    }
}
