//! One session: its windows, and the links in it.
//!
//! [`links`]: attach and detach; [`receive`]: transfers that come, credit that we give;
//! [`send`]: transfers that go, credit that we have; [`settle`]: dispositions, both ways.

mod links;
mod receive;
mod send;
mod settle;

use std::collections::BTreeMap;

use super::event::Event;
use super::ids::{LinkId, SessionId};
use super::link::Link;
use super::numbers::Numbers;
use super::settings::Settings;
use super::shared::{Fault, Shared};
use super::unsettled::{Unsettled, is_after};
use crate::performative::{Begin, End, Error, Flow, Performative, Role, condition};

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    /// Our number for it on the wire.
    channel: u16,
    /// The peer has begun too.
    is_begun: bool,
    links: BTreeMap<u32, Box<Link>>,
    handles: Numbers,
    next_link: u32,
    /// Our highest number for a link that the peer takes.
    peer_handle_max: u32,

    next_outgoing_id: u32,
    /// Transfers that the peer takes from there on.
    outgoing_window: u32,
    /// The owner wanted to send and could not.
    is_blocked: bool,
    next_delivery_id: u32,
    sent: Unsettled<send::Sent>,
    /// What is left of a message when the window closed in its middle.
    waiting: Option<Box<send::Waiting>>,

    next_incoming_id: u32,
    /// Transfers that the peer may still send before we say more.
    incoming_window: u32,
    last_delivery_id: Option<u32>,
    received: Unsettled<receive::Received>,
}

impl Session {
    pub(super) fn new(id: SessionId, channel: u16, settings: &Settings) -> Session {
        Session {
            id,
            channel,
            is_begun: false,
            links: BTreeMap::new(),
            handles: Numbers::default(),
            next_link: 0,
            // What the peer takes is unknown before its begin.
            peer_handle_max: HANDLE_MAX,
            next_outgoing_id: FIRST_TRANSFER_ID,
            outgoing_window: 0,
            is_blocked: false,
            next_delivery_id: FIRST_DELIVERY_ID,
            sent: Unsettled::default(),
            waiting: None,
            next_incoming_id: 0,
            incoming_window: settings.incoming_window,
            last_delivery_id: None,
            received: Unsettled::default(),
        }
    }

    /// Begins, or answers the peer's begin on `remote_channel`.
    pub(super) fn put_begin(&self, remote_channel: Option<u16>, shared: &mut Shared) {
        let begin = begin(remote_channel, &shared.settings);
        shared.out.frame(self.channel, &Performative::Begin(begin));
    }

    /// The peer's begin.
    pub(super) fn begun(&mut self, begin: &Begin, shared: &mut Shared) {
        self.is_begun = true;
        self.peer_handle_max = begin.handle_max;
        self.next_incoming_id = begin.next_outgoing_id;
        self.outgoing_window = begin.incoming_window;
        shared.event(Event::SessionBegun(self.id));
        self.unblock(shared);
    }

    /// Says that the session is over; the rest of it is dropped.
    pub(super) fn put_end(&self, error: Option<Error>, shared: &mut Shared) {
        shared.out.frame(self.channel, &Performative::End(End { error }));
    }

    /// Gives back what the session used of the connection's bounds.
    pub(super) fn release(mut self, shared: &mut Shared) {
        while let Some((&number, _)) = self.links.first_key_value() {
            self.remove_link(number, shared);
        }
        shared.usage.handles = shared.usage.handles.saturating_sub(self.handles.len());
    }

    /// The peer's frames, but for begin and end.
    pub(super) fn handle(
        &mut self,
        performative: Performative,
        payload: bytes::Bytes,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        match performative {
            Performative::Attach(attach) => self.peer_attach(attach, shared),
            Performative::Flow(flow) => self.peer_flow(&flow, shared),
            Performative::Transfer(transfer) => self.peer_transfer(transfer, payload, shared),
            Performative::Disposition(disposition) => self.peer_disposition(disposition, shared),
            Performative::Detach(detach) => {
                self.peer_detach(detach, shared);
                Ok(())
            }
            other @ (Performative::Open(_)
            | Performative::Begin(_)
            | Performative::End(_)
            | Performative::Close(_)) => Err(Fault::connection(
                condition::ILLEGAL_STATE,
                format!("{} is not for a session", other.name()),
            )),
        }
    }

    fn peer_flow(&mut self, flow: &Flow, shared: &mut Shared) -> Result<(), Fault> {
        // Before the peer saw our begin, it counts from what that will say. §2.5.6
        let seen = flow.next_incoming_id.unwrap_or(FIRST_TRANSFER_ID);
        if is_after(seen, self.next_outgoing_id) {
            return Err(Fault::session(
                condition::INVALID_FIELD,
                format!(
                    "next-incoming-id {seen} is later than the next transfer, {}",
                    self.next_outgoing_id
                ),
            ));
        }
        self.next_incoming_id = flow.next_outgoing_id;
        let under_way = self.next_outgoing_id.wrapping_sub(seen);
        self.outgoing_window = flow.incoming_window.saturating_sub(under_way);
        self.unblock(shared);
        // A flow for a link that is gone crossed our detach, or comes from an untidy
        // client (service-api.md §9.7 #6): only what it says of the session counts.
        let link = flow
            .handle
            .and_then(|handle| self.handles.find(handle))
            .and_then(|number| self.links.get(&number).map(|link| (number, link.role)));
        match link {
            Some((number, Role::Sender)) => self.flow_of_receiver(number, flow, shared),
            Some((number, Role::Receiver)) => self.flow_of_sender(number, flow, shared),
            None => {}
        }
        if flow.echo {
            self.put_flow(link.map(|(number, _)| number), shared);
        }
        Ok(())
    }

    /// Tells our side of the session, and of a link if one is named.
    fn put_flow(&mut self, link: Option<u32>, shared: &mut Shared) {
        self.incoming_window = shared.settings.incoming_window;
        let mut flow = Flow {
            next_incoming_id: self.is_begun.then_some(self.next_incoming_id),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: OUTGOING_WINDOW,
            ..Flow::default()
        };
        if let Some(link) = link.and_then(|link| self.links.get(&link)) {
            flow.handle = Some(link.handle);
            flow.delivery_count = Some(link.delivery_count);
            flow.link_credit = Some(link.credit);
            flow.available = link.sends().then_some(0);
            flow.drain = link.is_draining;
        }
        shared.out.frame(self.channel, &Performative::Flow(flow));
    }

    fn link_id(&self, number: u32) -> LinkId {
        LinkId { session: self.id, number }
    }
}

/// Our begin; `remote_channel` is the peer's if this answers.
pub(super) fn begin(remote_channel: Option<u16>, settings: &Settings) -> Begin {
    Begin {
        remote_channel,
        next_outgoing_id: FIRST_TRANSFER_ID,
        incoming_window: settings.incoming_window,
        outgoing_window: OUTGOING_WINDOW,
        handle_max: HANDLE_MAX,
        ..Begin::default()
    }
}

/// Our first transfer id, which may be any.
const FIRST_TRANSFER_ID: u32 = 0;
/// Our first delivery id, which may be any.
const FIRST_DELIVERY_ID: u32 = 0;
/// How many transfers we may have under way: what the peer takes is the bound. Fits
/// what some peers read as a signed number.
const OUTGOING_WINDOW: u32 = i32::MAX.unsigned_abs();
/// Highest handle of a peer: the C SDK has all its devices in one session.
const HANDLE_MAX: u32 = 8191;
