//! What a connection tells its owner.

use bytes::Bytes;

use super::ids::{DeliveryId, LinkId, SessionId};
use crate::frame::{HeaderError, ProtocolHeader};
use crate::performative::{Attach, DeliveryState, Error, Open};
use crate::sasl::Outcome;
use crate::types::Symbol;

/// What the owner must know or decide.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Server: a client chose a mechanism. Nothing goes on until
    /// [`super::Connection::sasl_outcome`].
    SaslInit {
        /// One of those offered.
        mechanism: Symbol,
        /// The mechanism's first message; empty when there is none.
        response: Bytes,
        /// The host that the client means.
        hostname: Option<String>,
    },
    /// The peer has opened. Ours is in the output: whoever does not like what the peer
    /// says uses [`super::Connection::close`].
    Open(Box<Open>),
    /// The peer has begun a session, or answered our begin.
    SessionBegun(SessionId),
    /// A session is gone, with all its links: no event follows for those.
    SessionEnded {
        /// Which one.
        session: SessionId,
        /// Who ended it, and why.
        cause: Cause,
    },
    /// The peer wants a link: answer with [`super::Connection::accept_attach`] or
    /// [`super::Connection::refuse_attach`]. `attach.role` is the peer's: a peer that is
    /// [`crate::Role::Sender`] wants to send to us.
    Attach {
        /// Its name from now on.
        link: LinkId,
        /// What the peer said.
        attach: Box<Attach>,
    },
    /// The peer answered our attach, and did not refuse it.
    Attached {
        /// Which link.
        link: LinkId,
        /// What the peer said.
        attach: Box<Attach>,
    },
    /// The peer detached a link, or we did for what it had done. Ours is in the output.
    Detached {
        /// Which link.
        link: LinkId,
        /// Who detached it, and why.
        cause: Cause,
        /// The link is gone for good, not only suspended. Here it is gone in either case.
        closed: bool,
    },
    /// How many messages the peer will take on a link on which we send.
    Credit {
        /// Which link.
        link: LinkId,
        /// That many more from now on.
        credit: u32,
        /// The peer wants to have them now, or else the credit back: send what there is,
        /// then call [`super::Connection::drained`].
        drain: bool,
    },
    /// A session in which [`super::SendError::WindowFull`] was the answer takes transfers again.
    WindowOpened(SessionId),
    /// A message came.
    Delivery(Delivery),
    /// The peer has given back the credit of a link that was drained.
    Drained(LinkId),
    /// What became of a message that we sent unsettled; or, on a link that settles second, what
    /// the sender says to our outcome of a message that came.
    Settled {
        /// Which message.
        delivery: DeliveryId,
        /// How it ended. The link's default outcome if absent.
        state: Option<DeliveryState>,
        /// Nothing is left to do. If not, the peer waits for
        /// [`super::Connection::settle`]; only on links that do not settle back by themselves.
        settled: bool,
    },
    /// The connection is over. Go on with reading and writing until
    /// [`super::Connection::is_closed`].
    Closed(Closed),
}

/// A message that came on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name for [`super::Connection::settle`], which may be called in any case.
    pub id: DeliveryId,
    /// The sender's name for it.
    pub tag: Bytes,
    /// The encoded message: see [`crate::message`]. A slice of the input: whoever keeps
    /// it for long copies it, or keeps all that was read with it.
    pub message: Bytes,
    /// 0, or that of a batch.
    pub format: u32,
    /// The sender expects no answer.
    pub settled: bool,
}

/// Who ended a session or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The peer, perhaps for a reason.
    Peer(Option<Error>),
    /// We, for what the peer did: this was it told.
    Violation(Error),
}

/// How a connection ended, if not by our own [`super::Connection::close`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The peer closed, perhaps for a reason.
    Peer(Option<Error>),
    /// We closed, for what the peer did: this was it told.
    Violation(Error),
    /// The peer kept silent.
    TimedOut(Timeout),
    /// Client: the server refused our credentials.
    SaslRefused(Outcome),
    /// Client: the server does not offer the mechanism of our credentials.
    MechanismNotOffered(Vec<Symbol>),
    /// The peer broke the rules before it opened, or speaks something else. It was told
    /// no more than the header that we expect.
    Handshake(HandshakeError),
}

/// What a peer did before it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// No protocol header of AMQP 1.0.
    #[error(transparent)]
    WrongHeader(#[from] HeaderError),
    /// A protocol header that may not stand here.
    #[error("protocol header for {0:?} cannot stand here")]
    UnexpectedHeader(ProtocolHeader),
    /// What should be a SASL frame is none.
    #[error("malformed sasl frame")]
    MalformedSasl,
    /// A SASL frame that the peer may not send here.
    #[error("sasl frame out of order")]
    UnexpectedSasl,
    /// A mechanism that was not offered.
    #[error("sasl mechanism was not offered")]
    UnknownMechanism,
}

/// What a peer was too late for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// No open within the deadline.
    #[error("no open within the deadline")]
    Open,
    /// No attach within the deadline.
    #[error("no attach within the deadline")]
    Attach,
    /// Nothing within one and a half times the idle time-out.
    #[error("no frame within 1.5 times the idle time-out")]
    Idle,
}
