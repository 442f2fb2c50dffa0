//! Transfers that come, and the credit that we give for them.

use bytes::{Bytes, BytesMut};

use super::Session;
use crate::connection::event::{Delivery, Event};
use crate::connection::ids::DeliveryId;
use crate::connection::link::{Link, LinkState, Unfinished};
use crate::connection::link_settings::CreditPolicy;
use crate::connection::shared::{Fault, Shared};
use crate::connection::unsettled::is_after;
use crate::performative::{Flow, ReceiverSettleMode, Role, Transfer, condition};

/// A delivery that came and is not settled.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) link: u32,
    /// What of it counts as held by the owner.
    pub(super) held_bytes: usize,
    /// We told the outcome, and the sender has to settle first.
    pub(super) is_answered: bool,
    pub(super) rcv_settle_mode: ReceiverSettleMode,
}

impl Session {
    pub(super) fn peer_transfer(
        &mut self,
        transfer: Transfer,
        payload: Bytes,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        let Some(window) = self.incoming_window.checked_sub(1) else {
            let text = "transfer beyond the incoming window";
            return Err(Fault::session(condition::WINDOW_VIOLATION, text));
        };
        self.incoming_window = window;
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        if window <= shared.settings.incoming_window / 2 {
            self.put_flow(None, shared);
        }
        let Some(number) = self.handles.find(transfer.handle) else {
            let text = format!("transfer on handle {}, which is not attached", transfer.handle);
            return Err(Fault::session(condition::UNATTACHED_HANDLE, text));
        };
        // It crossed our detach.
        let Some(link) = self.links.get_mut(&number) else { return Ok(()) };
        if link.sends() {
            let text = "transfer against the direction of the link";
            return Err(Fault::link(number, condition::NOT_ALLOWED, text));
        }
        if let Some(unfinished) = &link.receiving.unfinished {
            check_continues(unfinished, &transfer)?;
        }
        let unfinished = match link.receiving.unfinished.take() {
            Some(begun) => {
                Unfinished { settled: begun.settled || transfer.settled == Some(true), ..*begun }
            }
            None => self.start_delivery(number, &transfer, shared)?,
        };
        match transfer.aborted {
            true => {
                shared.usage.unfinished_bytes -= unfinished.message.len();
                self.forget_delivery(unfinished.number, shared);
                self.top_up(number, shared);
                Ok(())
            }
            false => self.continue_delivery(number, unfinished, transfer.more, payload, shared),
        }
    }

    /// The first transfer of a delivery: it uses credit.
    fn start_delivery(
        &mut self,
        number: u32,
        transfer: &Transfer,
        shared: &mut Shared,
    ) -> Result<Unfinished, Fault> {
        let Some(delivery_id) = transfer.delivery_id else {
            let text = "first transfer of a delivery without delivery-id";
            return Err(Fault::session(condition::INVALID_FIELD, text));
        };
        if self.last_delivery_id.is_some_and(|last| !is_after(delivery_id, last)) {
            let text = format!("delivery-id {delivery_id} does not come after the last one");
            return Err(Fault::session(condition::INVALID_FIELD, text));
        }
        let tag = transfer.delivery_tag.clone().unwrap_or_default();
        if tag.len() > TAG_BYTES_MAX {
            let text = "delivery-tag is longer than 32 bytes";
            return Err(Fault::link(number, condition::INVALID_FIELD, text));
        }
        let Some(link) = self.links.get_mut(&number) else {
            return Err(Fault::link(number, condition::ILLEGAL_STATE, "link is gone"));
        };
        if !use_credit(link) {
            let text = "transfer without credit";
            return Err(Fault::link(number, condition::TRANSFER_LIMIT_EXCEEDED, text));
        }
        self.last_delivery_id = Some(delivery_id);
        let settled = transfer.settled == Some(true);
        if !settled {
            let rcv_settle_mode = match link.rcv_settle_mode {
                ReceiverSettleMode::First => ReceiverSettleMode::First,
                ReceiverSettleMode::Second => {
                    transfer.rcv_settle_mode.unwrap_or(link.rcv_settle_mode)
                }
            };
            link.receiving.unsettled += 1;
            let held_bytes = 0;
            let received =
                Received { link: number, held_bytes, is_answered: false, rcv_settle_mode };
            self.received.push(delivery_id, received);
            self.hold(delivery_id, DELIVERY_BYTES, shared);
        }
        let format = transfer.message_format.unwrap_or_default();
        Ok(Unfinished { number: delivery_id, tag, format, settled, message: BytesMut::new() })
    }

    /// A transfer's payload joins what came before it.
    fn continue_delivery(
        &mut self,
        number: u32,
        mut unfinished: Unfinished,
        more: bool,
        payload: Bytes,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        let Some(link) = self.links.get_mut(&number) else { return Ok(()) };
        let before = unfinished.message.len();
        let size_bytes = before + payload.len();
        if size_bytes as u64 > link.message_bytes_max {
            shared.usage.unfinished_bytes -= before;
            let text = format!("message is larger than {} bytes", link.message_bytes_max);
            return Err(Fault::link(number, condition::MESSAGE_SIZE_EXCEEDED, text));
        }
        if more {
            unfinished.message.extend_from_slice(&payload);
            link.receiving.unfinished = Some(Box::new(unfinished));
            shared.usage.unfinished_bytes += payload.len();
            return match shared.usage.unfinished_bytes > shared.settings.unfinished_bytes_max {
                true => {
                    let text = "too many bytes of unfinished deliveries";
                    Err(Fault::link(number, condition::RESOURCE_LIMIT_EXCEEDED, text))
                }
                false => Ok(()),
            };
        }
        let Unfinished { number: delivery_id, tag, format, settled, message: mut parts } =
            unfinished;
        shared.usage.unfinished_bytes -= before;
        let message = match before {
            // A slice of the input, not a copy: nearly every message is one transfer.
            0 => payload,
            _ => {
                parts.extend_from_slice(&payload);
                parts.freeze()
            }
        };
        match settled {
            true => self.forget_delivery(delivery_id, shared),
            false => self.hold(delivery_id, message.len(), shared),
        }
        let id = DeliveryId { link: self.link_id(number), number: delivery_id };
        shared.event(Event::Delivery(Delivery { id, tag, message, format, settled }));
        self.top_up(number, shared);
        Ok(())
    }

    /// Gives credit if enough of the window is free: not for every message.
    pub(super) fn top_up(&mut self, number: u32, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let CreditPolicy::Window(window) = link.receiving.policy else { return };
        if link.state != LinkState::Attached {
            return;
        }
        let credit = window.saturating_sub(link.receiving.unsettled);
        if credit.saturating_sub(link.credit) >= window.div_ceil(2).max(1) {
            link.credit = credit;
            self.put_flow(Some(number), shared);
        }
    }

    /// The owner's credit.
    pub(in crate::connection) fn grant(&mut self, number: u32, credit: u32, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.sends() {
            return;
        }
        let credit = match link.receiving.policy {
            CreditPolicy::Manual => credit,
            CreditPolicy::Window(_) => {
                link.receiving.policy = CreditPolicy::Window(credit);
                credit.saturating_sub(link.receiving.unsettled)
            }
        };
        if link.state != LinkState::Attached {
            return;
        }
        let taken_back = link.credit.saturating_sub(credit);
        link.receiving.overdraft = link.receiving.overdraft.saturating_add(taken_back);
        link.is_draining = false;
        link.credit = credit;
        self.put_flow(Some(number), shared);
    }

    /// The owner wants the credit used up.
    pub(in crate::connection) fn drain(&mut self, number: u32, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let is_manual = link.receiving.policy == CreditPolicy::Manual;
        if link.sends() || link.state != LinkState::Attached || !is_manual {
            return;
        }
        link.is_draining = true;
        self.put_flow(Some(number), shared);
    }

    /// A flow of the sender: its count, perhaps after a drain.
    pub(super) fn flow_of_sender(&mut self, number: u32, flow: &Flow, shared: &mut Shared) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let count = flow.delivery_count.unwrap_or(link.delivery_count);
        if is_after(count, link.delivery_count) {
            let advanced = count.wrapping_sub(link.delivery_count);
            link.credit = link.credit.saturating_sub(advanced);
            link.delivery_count = count;
        }
        if link.is_draining && link.credit == 0 {
            link.is_draining = false;
            shared.event(Event::Drained(self.link_id(number)));
        }
        self.top_up(number, shared);
    }

    /// Removes a delivery that came.
    pub(super) fn forget_delivery(&mut self, delivery: u32, shared: &mut Shared) {
        let Some(received) = self.received.remove(delivery) else { return };
        shared.usage.unsettled_bytes -= received.held_bytes;
        if let Some(link) = self.links.get_mut(&received.link) {
            link.receiving.unsettled = link.receiving.unsettled.saturating_sub(1);
        }
    }

    /// Removes all that came on a link that is gone.
    pub(super) fn forget_received(&mut self, number: u32, link: &Link, shared: &mut Shared) {
        if link.role != Role::Receiver {
            return;
        }
        if let Some(unfinished) = &link.receiving.unfinished {
            shared.usage.unfinished_bytes -= unfinished.message.len();
        }
        // A look at all of them is only worth it if there are some.
        if link.receiving.unsettled == 0 {
            return;
        }
        let usage = &mut shared.usage;
        self.received.remove_all(|received| {
            let is_gone = received.link == number;
            usage.unsettled_bytes -= if is_gone { received.held_bytes } else { 0 };
            is_gone
        });
    }

    fn hold(&mut self, delivery: u32, bytes: usize, shared: &mut Shared) {
        if let Some(received) = self.received.get_mut(delivery) {
            received.held_bytes += bytes;
            shared.usage.unsettled_bytes += bytes;
        }
    }
}

/// Takes one from the credit, if there is.
fn use_credit(link: &mut Link) -> bool {
    let credit = match link.credit {
        0 => &mut link.receiving.overdraft,
        _ => &mut link.credit,
    };
    let Some(left) = credit.checked_sub(1) else { return false };
    *credit = left;
    link.delivery_count = link.delivery_count.wrapping_add(1);
    true
}

/// Later transfers may repeat the id of the first one, not change it.
fn check_continues(unfinished: &Unfinished, transfer: &Transfer) -> Result<(), Fault> {
    match transfer.delivery_id {
        Some(other) if other != unfinished.number => Err(Fault::session(
            condition::INVALID_FIELD,
            format!("delivery {other} begins before {} has ended", unfinished.number),
        )),
        _ => Ok(()),
    }
}

/// Part 2 §2.8.7
pub(super) const TAG_BYTES_MAX: usize = 32;

/// What a delivery that is held costs beside its message.
const DELIVERY_BYTES: usize = 64;
