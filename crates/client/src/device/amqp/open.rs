//! Opening a connection: TCP, TLS, SASL, open, a token, and the link for telemetry. The deadline is
//! the caller's.

use std::sync::Arc;

use amqp::Connection;
use amqp::connection::{Cause, Credentials, Event, LinkId, SessionId, Settings};
use host::clock::Clock;

use super::cbs::{Step, Tokens};
use super::links::Attacher;
use super::session::AmqpSession;
use super::{closed, condition};
use crate::device::Options;
use crate::device::error::{ConnectError, Refusal};
use crate::device::link::Link;
use crate::device::session::{CONNECT_LIMIT, Moved, Session};
use crate::device::transport::connect;

/// Opens a connection and gets in.
pub(in crate::device) async fn open(
    options: Arc<Options>,
    clock: Clock,
) -> Result<Box<dyn Session>, ConnectError> {
    let token = options.proof.token(&clock).await.map_err(ConnectError::Sign)?;
    let connected = connect(options.transport, &options.dial, &options.tls, CONNECT_LIMIT);
    let stream = connected.await?;
    // A certificate is asked for by EXTERNAL; with a token the connection itself is anonymous.
    let credentials = match token {
        Some(_) => Credentials::Anonymous,
        None => Credentials::External,
    };
    let now = clock.now().since_origin();
    let machine = Connection::client(now, Arc::new(settings(&options)), credentials);
    let link = Link::new(stream, machine, clock.clone());
    let mut opening = Opening { link, options, clock };
    opening.opened().await?;
    let session = opening.link.machine.begin().map_err(|error| opening.violation(error))?;
    let tokens = match token {
        Some(token) => Some(opening.put_token(session, token).await?),
        None => None,
    };
    let telemetry = opening.attach(session).telemetry();
    let telemetry = telemetry.map_err(|error| opening.violation(error))?;
    opening.attached(telemetry).await?;
    Ok(Box::new(AmqpSession::new(opening.link, opening.options, session, telemetry, tokens)))
}

/// A connection on its way.
struct Opening {
    link: Link<Connection>,
    options: Arc<Options>,
    clock: Clock,
}

impl Opening {
    async fn opened(&mut self) -> Result<(), ConnectError> {
        loop {
            if let Event::Open(_) = self.next().await? {
                return Ok(());
            }
        }
    }

    async fn put_token(
        &mut self,
        session: SessionId,
        token: String,
    ) -> Result<Tokens, ConnectError> {
        let links = self.attach(session).tokens().map_err(|error| self.violation(error))?;
        let mut tokens = Tokens::new(links, self.options.clone(), self.clock.clone(), token);
        loop {
            tokens.send(&mut self.link.machine);
            if let Event::Delivery(delivery) = self.next().await? {
                match tokens.received(&mut self.link.machine, &delivery) {
                    Step::Taken => return Ok(tokens),
                    Step::Refused(refusal) => return Err(self.refused(refusal)),
                    Step::Nothing | Step::Silent => {}
                }
            }
        }
    }

    async fn attached(&mut self, wanted: LinkId) -> Result<(), ConnectError> {
        loop {
            if let Event::Attached { link, .. } = self.next().await?
                && link == wanted
            {
                return Ok(());
            }
        }
    }

    fn attach(&mut self, session: SessionId) -> Attacher<'_> {
        Attacher { machine: &mut self.link.machine, session, options: &self.options }
    }

    /// The next event that is not the end of something.
    async fn next(&mut self) -> Result<Event, ConnectError> {
        loop {
            let dial = || self.options.dial.clone();
            match self.link.poll_event() {
                Some(Event::Closed(how)) => {
                    let identity = self.options.identity.to_string();
                    return Err(closed(&self.options.dial, &identity, how));
                }
                Some(
                    Event::SessionEnded { cause: Cause::Peer(error), .. }
                    | Event::Detached { cause: Cause::Peer(error), .. },
                ) => return Err(self.refused(condition(error))),
                Some(
                    Event::SessionEnded { cause: Cause::Violation(error), .. }
                    | Event::Detached { cause: Cause::Violation(error), .. },
                ) => {
                    let what = error.to_string();
                    return Err(ConnectError::AmqpViolation { dial: dial(), what });
                }
                Some(event) => return Ok(event),
                None => match self.link.exchange().await {
                    Ok(Moved::Ended) => return Err(ConnectError::Closed { dial: dial() }),
                    Ok(Moved::Read | Moved::Written) => {}
                    Err(source) => return Err(ConnectError::Broken { dial: dial(), source }),
                },
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> ConnectError {
        let dial = self.options.dial.clone();
        ConnectError::Refused { dial, identity: self.options.identity.to_string(), refusal }
    }

    fn violation(&self, error: impl ToString) -> ConnectError {
        ConnectError::AmqpViolation { dial: self.options.dial.clone(), what: error.to_string() }
    }
}

/// A connection of one identity: one session and few links. What it costs is bounded by what the
/// client's queues let be under way.
fn settings(options: &Options) -> Settings {
    Settings {
        container_id: options.identity.to_string(),
        hostname: Some(options.host_name.clone()),
        idle_time_out: options.keep_alive,
        sessions_max: 1,
        links_max: LINKS_MAX,
        incoming_window: INCOMING_WINDOW,
        unsettled_max: options.queues.in_flight_max + UNSETTLED_BESIDES,
        ..Settings::default()
    }
}

/// Tokens, telemetry, deliveries, methods and twin need eight.
const LINKS_MAX: usize = 12;
/// More than all of our links' windows together.
const INCOMING_WINDOW: u32 = 256;
/// Deliveries of the hub that wait for the program, beside what we send.
const UNSETTLED_BESIDES: usize = 160;
