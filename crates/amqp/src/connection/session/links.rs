//! Links come and go.

use crate::performative::{
    Attach, Detach, Error, Performative, ReceiverSettleMode, Role, condition,
};

use super::{HANDLE_MAX, Session};
use crate::connection::error::BeginError;
use crate::connection::event::{Cause, Event};
use crate::connection::ids::LinkId;
use crate::connection::link::{FIRST_DELIVERY_COUNT, Link, LinkState, size_bound};
use crate::connection::link_settings::{Accept, CreditPolicy, NewLink};
use crate::connection::shared::{Fault, Shared};

impl Session {
    /// The peer's attach: of a link of its own, or the answer to ours.
    pub(super) fn peer_attach(
        &mut self,
        attach: Box<Attach>,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        if attach.handle > HANDLE_MAX {
            // Part 2 §2.7.2, handle-max.
            let text = format!("handle {} is above {HANDLE_MAX}", attach.handle);
            return Err(Fault::connection(condition::FRAMING_ERROR, text));
        }
        if self.handles.find(attach.handle).is_some() {
            let text = format!("handle {} is in use", attach.handle);
            return Err(Fault::session(condition::HANDLE_IN_USE, text));
        }
        shared.usage.handles += 1;
        if shared.usage.handles > HANDLES_PER_LINK * shared.settings.links_max {
            let text = "too many links are attached or not detached";
            return Err(Fault::connection(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let role = attach.role.opposite();
        let asking = self.links.iter().find(|(_, link)| {
            link.name == attach.name
                && link.role == role
                && matches!(link.state, LinkState::Asking | LinkState::Abandoned)
        });
        match asking.map(|(&number, _)| number) {
            Some(number) => self.attach_answered(number, attach, shared),
            None => self.attach_asked(attach, shared),
        }
    }

    fn attach_asked(&mut self, attach: Box<Attach>, shared: &mut Shared) -> Result<(), Fault> {
        let number = self.next_number();
        let accepted = number.map(|number| {
            (number, self.handles.accept(attach.handle, number, self.peer_handle_max))
        });
        let Some((number, Ok(handle))) = accepted else {
            let text = "peer takes no more handles, or has used up link numbers";
            return Err(Fault::session(condition::RESOURCE_LIMIT_EXCEEDED, text));
        };
        let link = Link::asked(&attach, handle);
        let refusal = if attach.coordinator {
            Some((condition::NOT_IMPLEMENTED, "there are no transactions"))
        } else if attach.name.len() > NAME_BYTES_MAX {
            Some((condition::INVALID_FIELD, "name of the link is too long"))
        } else if shared.usage.links >= shared.settings.links_max {
            Some((condition::RESOURCE_LIMIT_EXCEEDED, "too many links"))
        } else {
            None
        };
        if let Some((condition, text)) = refusal {
            self.put_refusal(&link, Error::new(condition, text), shared);
            return Ok(());
        }
        // A second attach of a name takes the link over. Part 2 §2.6.1
        if let Some(old) = self.named(&link.name, link.role) {
            let error = Error::new(condition::STOLEN, "the link was attached again");
            self.fail_link(old, error, shared);
        }
        shared.usage.links += 1;
        self.links.insert(number, Box::new(link));
        shared.event(Event::Attach { link: self.link_id(number), attach });
        Ok(())
    }

    fn attach_answered(
        &mut self,
        number: u32,
        attach: Box<Attach>,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        let id = self.link_id(number);
        let Some(link) = self.links.get_mut(&number) else { return Ok(()) };
        if self.handles.answer(link.handle, attach.handle).is_err() {
            return Err(Fault::session(condition::HANDLE_IN_USE, "link is attached already"));
        }
        if link.state == LinkState::Abandoned {
            self.remove_link(number, shared);
            return Ok(());
        }
        // The terminus of the other side is its to give. Without, a detach follows.
        let is_refused = match attach.role {
            Role::Sender => attach.source.is_none(),
            Role::Receiver => attach.target.is_none(),
        };
        if is_refused {
            link.state = LinkState::Refused;
            return Ok(());
        }
        link.state = LinkState::Attached;
        link.snd_settle_mode = attach.snd_settle_mode;
        link.rcv_settle_mode = attach.rcv_settle_mode;
        match link.role {
            Role::Sender => link.message_bytes_max = size_bound(attach.max_message_size),
            Role::Receiver => {
                link.delivery_count = attach.initial_delivery_count.unwrap_or_default();
            }
        }
        shared.event(Event::Attached { link: id, attach });
        self.start_credit(number, shared);
        Ok(())
    }

    /// The owner's attach.
    pub(in crate::connection) fn attach(
        &mut self,
        new: NewLink,
        shared: &mut Shared,
    ) -> Result<LinkId, BeginError> {
        if self.named(&new.name, new.role).is_some() {
            return Err(BeginError::NameInUse);
        }
        if shared.usage.links >= shared.settings.links_max {
            return Err(BeginError::TooMany);
        }
        let number = self.next_number().ok_or(BeginError::TooMany)?;
        let handle = self.handles.open(number, self.peer_handle_max).ok_or(BeginError::TooMany)?;
        let max_message_size = new.max_message_size.unwrap_or(shared.settings.message_bytes_max);
        let attach = Attach {
            snd_settle_mode: new.snd_settle_mode,
            rcv_settle_mode: new.rcv_settle_mode,
            source: Some(Box::new(new.source)),
            target: Some(Box::new(new.target)),
            initial_delivery_count: (new.role == Role::Sender).then_some(FIRST_DELIVERY_COUNT),
            max_message_size: Some(max_message_size),
            desired_capabilities: new.desired_capabilities,
            properties: new.properties,
            ..Attach::new(new.name, handle, new.role)
        };
        let mut link = Link::asked(&Attach { role: new.role.opposite(), ..attach.clone() }, handle);
        link.state = LinkState::Asking;
        link.settles_back = new.settles_back;
        link.receiving.policy = new.credit;
        link.message_bytes_max = max_message_size;
        shared.usage.links += 1;
        self.links.insert(number, Box::new(link));
        shared.out.frame(self.channel, &Performative::Attach(Box::new(attach)));
        Ok(self.link_id(number))
    }

    /// The owner's answer.
    pub(in crate::connection) fn accept_attach(
        &mut self,
        number: u32,
        accept: Accept,
        shared: &mut Shared,
    ) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.state != LinkState::Asked {
            return;
        }
        let max_message_size = accept.max_message_size.unwrap_or(shared.settings.message_bytes_max);
        link.state = LinkState::Attached;
        link.settles_back = accept.settles_back;
        if accept.settles_first && link.role == Role::Receiver {
            link.rcv_settle_mode = ReceiverSettleMode::First;
        }
        link.receiving.policy = accept.credit;
        if link.role == Role::Receiver {
            link.message_bytes_max = max_message_size;
        }
        let attach = Attach {
            snd_settle_mode: link.snd_settle_mode,
            rcv_settle_mode: link.rcv_settle_mode,
            source: accept.source,
            target: accept.target,
            initial_delivery_count: link.sends().then_some(link.delivery_count),
            max_message_size: Some(max_message_size),
            offered_capabilities: accept.offered_capabilities,
            properties: accept.properties,
            ..Attach::new(link.name.clone(), link.handle, link.role)
        };
        shared.out.frame(self.channel, &Performative::Attach(Box::new(attach)));
        self.start_credit(number, shared);
    }

    /// The owner's refusal.
    pub(in crate::connection) fn refuse_attach(
        &mut self,
        number: u32,
        error: Error,
        shared: &mut Shared,
    ) {
        let is_asked = self.links.get(&number).is_some_and(|link| link.state == LinkState::Asked);
        if is_asked && let Some(link) = self.remove_link(number, shared) {
            self.put_refusal(&link, error, shared);
        }
    }

    /// The owner's detach.
    pub(in crate::connection) fn detach(
        &mut self,
        number: u32,
        error: Option<Error>,
        shared: &mut Shared,
    ) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let handle = link.handle;
        match link.state {
            LinkState::Abandoned => {}
            LinkState::Asked => {
                let error = error.unwrap_or_else(|| {
                    Error::new(condition::DETACH_FORCED, "the link is not wanted any more")
                });
                self.refuse_attach(number, error, shared);
            }
            LinkState::Asking => {
                link.state = LinkState::Abandoned;
                self.put_detach(handle, error, shared);
            }
            LinkState::Attached | LinkState::Refused => {
                self.remove_link(number, shared);
                self.put_detach(handle, error, shared);
            }
        }
    }

    /// The peer's detach. One for a handle that means nothing crossed ours, or comes
    /// from an untidy client (service-api.md §9.7 #6).
    pub(super) fn peer_detach(&mut self, detach: Detach, shared: &mut Shared) {
        let Some(number) = self.handles.release(detach.handle) else { return };
        shared.usage.handles = shared.usage.handles.saturating_sub(1);
        let Some(link) = self.remove_link(number, shared) else { return };
        if link.state == LinkState::Asked {
            // It did not wait for our answer, so that has to come first.
            self.put_attach_without_ends(&link, shared);
        }
        let answer = Detach { handle: link.handle, closed: detach.closed, error: None };
        shared.out.frame(self.channel, &Performative::Detach(answer));
        let id = self.link_id(number);
        let cause = Cause::Peer(detach.error);
        shared.event(Event::Detached { link: id, cause, closed: detach.closed });
    }

    /// Detaches a link for what the peer did.
    pub(in crate::connection) fn fail_link(
        &mut self,
        number: u32,
        error: Error,
        shared: &mut Shared,
    ) {
        if !self.links.get(&number).is_some_and(|link| link.is_known()) {
            return;
        }
        self.detach(number, Some(error.clone()), shared);
        let cause = Cause::Violation(error);
        shared.event(Event::Detached { link: self.link_id(number), cause, closed: true });
    }

    /// Forgets a link and its deliveries.
    pub(super) fn remove_link(&mut self, number: u32, shared: &mut Shared) -> Option<Box<Link>> {
        let link = self.links.remove(&number)?;
        shared.usage.links = shared.usage.links.saturating_sub(1);
        self.forget_received(number, &link, shared);
        self.forget_sent(number, &link, shared);
        Some(link)
    }

    /// The first credit of a link that is attached now.
    fn start_credit(&mut self, number: u32, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        match (link.role, link.receiving.policy) {
            (Role::Receiver, CreditPolicy::Window(window)) => {
                link.credit = window;
                self.put_flow(Some(number), shared);
            }
            (Role::Receiver, CreditPolicy::Manual) => {}
            // What the peer gave before it had our answer.
            (Role::Sender, _) if link.credit > 0 || link.is_draining => {
                let (credit, drain) = (link.credit, link.is_draining);
                shared.event(Event::Credit { link: self.link_id(number), credit, drain });
            }
            (Role::Sender, _) => {}
        }
    }

    fn put_refusal(&self, link: &Link, error: Error, shared: &mut Shared) {
        self.put_attach_without_ends(link, shared);
        self.put_detach(link.handle, Some(error), shared);
    }

    /// The answer to an attach that says that there will be no link. Part 2 §2.6.3
    fn put_attach_without_ends(&self, link: &Link, shared: &mut Shared) {
        let attach = Attach {
            snd_settle_mode: link.snd_settle_mode,
            rcv_settle_mode: link.rcv_settle_mode,
            initial_delivery_count: link.sends().then_some(FIRST_DELIVERY_COUNT),
            max_message_size: Some(shared.settings.message_bytes_max),
            ..Attach::new(link.name.clone(), link.handle, link.role)
        };
        shared.out.frame(self.channel, &Performative::Attach(Box::new(attach)));
    }

    fn put_detach(&self, handle: u32, error: Option<Error>, shared: &mut Shared) {
        let detach = Detach { handle, closed: true, error };
        shared.out.frame(self.channel, &Performative::Detach(detach));
    }

    fn named(&self, name: &str, role: Role) -> Option<u32> {
        let mut links = self.links.iter();
        let found =
            links.find(|(_, link)| link.role == role && link.name == name && link.is_known());
        found.map(|(&number, _)| number)
    }

    /// None after 2³² links: no number is used twice.
    fn next_number(&mut self) -> Option<u32> {
        let number = self.next_link;
        self.next_link = number.checked_add(1)?;
        Some(number)
    }
}

/// A peer may be as many detaches behind as there may be links.
const HANDLES_PER_LINK: usize = 2;

/// Longest name of a link: the standard has no bound, and clients use less than 300.
const NAME_BYTES_MAX: usize = 1024;
