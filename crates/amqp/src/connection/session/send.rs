//! Transfers that go, and the credit and windows that we have for them.

use bytes::{Buf, Bytes};

use super::Session;
use super::receive::TAG_BYTES_MAX;
use crate::connection::error::SendError;
use crate::connection::event::Event;
use crate::connection::ids::DeliveryId;
use crate::connection::link::{FIRST_DELIVERY_COUNT, Link, LinkState};
use crate::connection::link_settings::Outgoing;
use crate::connection::shared::Shared;
use crate::connection::unsettled::is_after;
use crate::performative::{Flow, SenderSettleMode, Transfer};

/// A delivery that we sent and that is not settled.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) link: u32,
    /// The owner knows the outcome.
    pub(super) is_told: bool,
}

/// A delivery of which a part is out.
#[derive(Debug)]
pub(super) struct Waiting {
    link: u32,
    transfer: Transfer,
    rest: Bytes,
}

impl Session {
    /// Whether a small message can go now.
    pub(in crate::connection) fn can_send(
        &mut self,
        number: u32,
        shared: &Shared,
    ) -> Result<(), SendError> {
        let settled = match self.sendable(number)?.snd_settle_mode {
            SenderSettleMode::Settled => true,
            SenderSettleMode::Unsettled | SenderSettleMode::Mixed => false,
        };
        self.check_room(number, settled, shared)
    }

    /// Sends a message, or as much of it as the window takes.
    pub(in crate::connection) fn send(
        &mut self,
        number: u32,
        outgoing: Outgoing,
        shared: &mut Shared,
    ) -> Result<DeliveryId, SendError> {
        let link = self.sendable(number)?;
        let settled = match link.snd_settle_mode {
            SenderSettleMode::Settled => true,
            SenderSettleMode::Unsettled => false,
            SenderSettleMode::Mixed => outgoing.settled,
        };
        let (size_bytes, size_bytes_max) = (outgoing.message.len(), link.message_bytes_max);
        if size_bytes as u64 > size_bytes_max {
            return Err(SendError::MessageTooLarge { size_bytes, size_bytes_max });
        }
        if outgoing.tag.len() > TAG_BYTES_MAX {
            return Err(SendError::TagTooLong);
        }
        self.check_room(number, settled, shared)?;

        let delivery = self.next_delivery_id;
        self.next_delivery_id = delivery.wrapping_add(1);
        let link = self.links.get_mut(&number).ok_or(SendError::NotSendable)?;
        link.credit = link.credit.saturating_sub(1);
        link.delivery_count = link.delivery_count.wrapping_add(1);
        let transfer = Transfer {
            handle: link.handle,
            delivery_id: Some(delivery),
            delivery_tag: Some(outgoing.tag),
            message_format: Some(outgoing.format),
            settled: Some(settled),
            ..Transfer::default()
        };
        if !settled {
            link.sent_unsettled += 1;
            shared.usage.sent_unsettled += 1;
            self.sent.push(delivery, Sent { link: number, is_told: false });
        }
        self.put_transfers(Waiting { link: number, transfer, rest: outgoing.message }, shared);
        Ok(DeliveryId { link: self.link_id(number), number: delivery })
    }

    /// The credit of a link on which we send.
    pub(in crate::connection) fn credit(&self, number: u32) -> u32 {
        self.sendable(number).map(|link| link.credit).unwrap_or_default()
    }

    /// A flow of the receiver: how much it takes.
    pub(super) fn flow_of_receiver(&mut self, number: u32, flow: &Flow, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let (credit_before, drain_before) = (link.credit, link.is_draining);
        if let Some(credit) = flow.link_credit {
            // Before it saw our attach, the receiver counts from what that will say; one
            // that counts more than was sent has nothing under way. §2.6.7
            let seen = flow.delivery_count.unwrap_or(FIRST_DELIVERY_COUNT);
            let under_way = match is_after(seen, link.delivery_count) {
                true => 0,
                false => link.delivery_count.wrapping_sub(seen),
            };
            link.credit = credit.saturating_sub(under_way);
        }
        link.is_draining = flow.drain;
        let (credit, drain) = (link.credit, link.is_draining);
        let is_news = credit != credit_before || drain || drain_before;
        if is_news && link.state == LinkState::Attached {
            shared.event(Event::Credit { link: self.link_id(number), credit, drain });
        }
    }

    /// The owner has nothing more to send on a link that is drained.
    pub(in crate::connection) fn drained(&mut self, number: u32, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if !link.sends() || link.state != LinkState::Attached || !link.is_draining {
            return;
        }
        link.delivery_count = link.delivery_count.wrapping_add(link.credit);
        link.credit = 0;
        self.put_flow(Some(number), shared);
        if let Some(link) = self.links.get_mut(&number) {
            link.is_draining = false;
        }
    }

    /// The window may be open again: goes on with what waits for it.
    pub(super) fn unblock(&mut self, shared: &mut Shared) {
        if self.outgoing_window == 0 {
            return;
        }
        if let Some(waiting) = self.waiting.take() {
            shared.usage.waiting_bytes -= waiting.rest.len();
            self.put_transfers(*waiting, shared);
        }
        if self.is_blocked && self.outgoing_window > 0 {
            self.is_blocked = false;
            shared.event(Event::WindowOpened(self.id));
        }
    }

    /// Removes all that went out on a link that is gone.
    pub(super) fn forget_sent(&mut self, number: u32, link: &Link, shared: &mut Shared) {
        // A look at all of them is only worth it if there are some.
        if link.sent_unsettled > 0 {
            let gone = self.sent.remove_all(|sent| sent.link == number);
            shared.usage.sent_unsettled -= gone;
        }
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.link == number) {
            shared.usage.waiting_bytes -= waiting.rest.len();
        }
    }

    /// Removes a delivery that went out.
    pub(super) fn forget_one_sent(&mut self, delivery: u32, shared: &mut Shared) {
        let Some(sent) = self.sent.remove(delivery) else { return };
        shared.usage.sent_unsettled -= 1;
        if let Some(link) = self.links.get_mut(&sent.link) {
            link.sent_unsettled -= 1;
        }
    }

    fn put_transfers(&mut self, mut waiting: Waiting, shared: &mut Shared) {
        let frame_bytes_max = shared.peer.max_frame_size;
        while self.outgoing_window > 0 {
            // Each transfer repeats id, tag and format: the standard allows it, and
            // simple receivers look at the last one.
            let Waiting { transfer, rest, .. } = &mut waiting;
            let taken = shared.out.transfer(self.channel, transfer, rest, frame_bytes_max);
            self.outgoing_window -= 1;
            self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
            rest.advance(taken);
            if rest.is_empty() {
                return;
            }
        }
        shared.usage.waiting_bytes += waiting.rest.len();
        self.waiting = Some(Box::new(waiting));
    }

    fn sendable(&self, number: u32) -> Result<&Link, SendError> {
        match self.links.get(&number) {
            Some(link) if link.sends() && link.state == LinkState::Attached => Ok(link),
            _ => Err(SendError::NotSendable),
        }
    }

    fn check_room(&mut self, number: u32, settled: bool, shared: &Shared) -> Result<(), SendError> {
        if self.sendable(number)?.credit == 0 {
            return Err(SendError::NoCredit);
        }
        if shared.is_sending_full() {
            return Err(SendError::OutputFull);
        }
        if self.outgoing_window == 0 || self.waiting.is_some() {
            self.is_blocked = true;
            return Err(SendError::WindowFull);
        }
        if !settled && shared.usage.sent_unsettled >= shared.settings.unsettled_max {
            return Err(SendError::UnsettledFull);
        }
        Ok(())
    }
}
