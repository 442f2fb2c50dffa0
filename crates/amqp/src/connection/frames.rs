//! Frames that come: which session they are for, and what is lost by a wrong one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::event::{Cause, Closed, Event};
use super::handshake::Opening;
use super::ids::SessionId;
use super::numbers::NumberError;
use super::session::Session;
use super::shared::Fault;
use super::timers::Timer;
use super::{Connection, Stage};
use crate::frame::{Frame, FrameKind};
use crate::performative::{Begin, Close, End, Error, Performative, condition};

impl Connection {
    /// Takes one thing off the front of the input; false if it is not complete.
    pub(super) fn take(&mut self, now: Duration, input: &mut BytesMut) -> Result<bool, Fault> {
        match self.stage {
            Stage::Opening(step) => self.take_opening(now, step, input),
            Stage::Open | Stage::Closing => {
                self.take_frame(now, self.shared.settings.max_frame_size, input)
            }
            Stage::Deaf | Stage::Closed => Ok(false),
        }
    }

    pub(super) fn take_frame(
        &mut self,
        now: Duration,
        size_bytes_max: u32,
        input: &mut BytesMut,
    ) -> Result<bool, Fault> {
        let framing = |text: String| Fault::framing(condition::FRAMING_ERROR, text);
        let frame = Frame::take(input, size_bytes_max).map_err(|error| framing(text(&error)))?;
        let Some(frame) = frame else { return Ok(false) };
        if frame.kind != FrameKind::Amqp {
            return Err(framing("sasl frame after the sasl layer".to_owned()));
        }
        if frame.is_empty() {
            return Ok(true);
        }
        let (performative, payload) = frame
            .performative(&self.shared.settings.limits)
            .map_err(|error| Fault::connection(condition::DECODE_ERROR, text(&error)))?;
        self.handle(now, frame.channel, performative, payload)?;
        Ok(true)
    }

    /// Ends the connection for what the peer did.
    pub(super) fn fail(&mut self, now: Duration, fault: Fault) {
        let is_framing = matches!(fault, Fault::Framing(_));
        match fault {
            // Whoever cannot close properly is not waited for.
            _ if self.stage == Stage::Closing => self.finish(),
            Fault::Handshake(error) => {
                self.closed(Closed::Handshake(error));
                self.finish();
            }
            Fault::Framing(error)
            | Fault::Connection(error)
            | Fault::Session(error)
            | Fault::Link(_, error) => {
                self.put_close(now, Some(error.clone()));
                if is_framing {
                    self.stage = Stage::Deaf;
                }
                self.closed(Closed::Violation(error));
            }
        }
    }

    /// Our close, after which only the peer's is waited for.
    pub(super) fn put_close(&mut self, now: Duration, error: Option<Error>) {
        if let Stage::Opening(_) = self.stage {
            self.put_open();
        }
        self.shared.out.frame(0, &Performative::Close(Close { error }));
        self.forget_all();
        self.stage = Stage::Closing;
        let deadline = now.saturating_add(self.shared.settings.close_deadline);
        self.timers.set(Timer::Close, deadline);
    }

    fn handle(
        &mut self,
        now: Duration,
        channel: u16,
        performative: Performative,
        payload: Bytes,
    ) -> Result<(), Fault> {
        if channel > self.shared.settings.channel_max {
            let text = format!("channel {channel} is above {}", self.shared.settings.channel_max);
            return Err(Fault::connection(condition::FRAMING_ERROR, text));
        }
        match (self.stage, performative) {
            (Stage::Closing, Performative::Close(_)) => self.finish(),
            (Stage::Closing, _) => {}
            (Stage::Opening(Opening::Open), Performative::Open(open)) => self.opened(now, open)?,
            (_, Performative::Close(close)) => self.peer_close(now, close),
            (Stage::Open, Performative::Begin(begin)) => self.peer_begin(channel, &begin)?,
            (Stage::Open, Performative::End(end)) => self.peer_end(channel, end),
            (Stage::Open, Performative::Open(_)) | (Stage::Opening(_), _) => {
                let text = "an open is the first frame, and the only one";
                return Err(Fault::connection(condition::ILLEGAL_STATE, text));
            }
            (_, performative) => self.handle_in_session(channel, performative, payload)?,
        }
        Ok(())
    }

    fn peer_close(&mut self, now: Duration, close: Close) {
        self.put_close(now, None);
        self.finish();
        self.closed(Closed::Peer(close.error));
    }

    fn peer_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), Fault> {
        match begin.remote_channel {
            Some(ours) => self.begin_answered(channel, ours, begin),
            None => self.begin_asked(channel, begin),
        }
    }

    fn begin_answered(&mut self, channel: u16, ours: u16, begin: &Begin) -> Result<(), Fault> {
        match self.channels.answer(u32::from(ours), u32::from(channel)) {
            Ok(id) => {
                if let Some(session) = self.sessions.get_mut(&SessionId(id)) {
                    session.begun(begin, &mut self.shared);
                }
                Ok(())
            }
            Err(NumberError::InUse) => Err(channel_in_use(channel)),
            Err(NumberError::Unexpected | NumberError::Full) => Err(Fault::connection(
                condition::ILLEGAL_STATE,
                format!("begin answers channel {ours}, which did not ask"),
            )),
        }
    }

    fn begin_asked(&mut self, channel: u16, begin: &Begin) -> Result<(), Fault> {
        let too_many =
            || Fault::connection(condition::RESOURCE_LIMIT_EXCEEDED, "peer takes no more channels");
        let id = self.next_session_id().ok_or_else(too_many)?;
        let channel_max = u32::from(self.shared.peer.channel_max);
        let ours = match self.channels.accept(u32::from(channel), id.0, channel_max) {
            Ok(ours) => u16::try_from(ours).map_err(|_| too_many())?,
            Err(NumberError::InUse) => return Err(channel_in_use(channel)),
            Err(NumberError::Full | NumberError::Unexpected) => return Err(too_many()),
        };
        let mut session = Session::new(id, ours, &self.shared.settings);
        session.put_begin(Some(channel), &mut self.shared);
        if self.sessions.len() >= self.shared.settings.sessions_max {
            let error = Error::new(condition::RESOURCE_LIMIT_EXCEEDED, "too many sessions");
            session.put_end(Some(error), &mut self.shared);
            return Ok(());
        }
        session.begun(begin, &mut self.shared);
        self.sessions.insert(id, Box::new(session));
        Ok(())
    }

    /// An end on a channel without session comes from an untidy client: nothing is lost.
    fn peer_end(&mut self, channel: u16, end: End) {
        let Some(id) = self.channels.release(u32::from(channel)) else { return };
        // Otherwise it answers our end.
        if let Some(session) = self.sessions.remove(&SessionId(id)) {
            session.put_end(None, &mut self.shared);
            session.release(&mut self.shared);
            let cause = Cause::Peer(end.error);
            self.shared.event(Event::SessionEnded { session: SessionId(id), cause });
        }
    }

    fn handle_in_session(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: Bytes,
    ) -> Result<(), Fault> {
        let Some(id) = self.channels.find(u32::from(channel)).map(SessionId) else {
            return match performative {
                // Clients end a session, then detach its links (service-api.md §9.7 #6).
                Performative::Detach(_) | Performative::Disposition(_) | Performative::Flow(_) => {
                    Ok(())
                }
                other => Err(Fault::connection(
                    condition::ILLEGAL_STATE,
                    format!("{} on channel {channel}, which has no session", other.name()),
                )),
            };
        };
        // We ended it, and the peer doesn't know yet.
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        if matches!(performative, Performative::Attach(_)) {
            self.timers.stop_deadline();
        }
        match session.handle(performative, payload, &mut self.shared) {
            Err(Fault::Link(link, error)) => session.fail_link(link, error, &mut self.shared),
            Err(Fault::Session(error)) => {
                self.end(id, Some(error.clone()));
                let cause = Cause::Violation(error);
                self.shared.event(Event::SessionEnded { session: id, cause });
            }
            other => return other,
        }
        Ok(())
    }
}

fn channel_in_use(channel: u16) -> Fault {
    let text = format!("channel {channel} is in use");
    Fault::connection(condition::ILLEGAL_STATE, text)
}

/// An error with all that led to it: the peer's developers have nothing else.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
