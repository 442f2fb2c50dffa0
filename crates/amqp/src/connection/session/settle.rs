//! Dispositions, of either end.

use super::Session;
use crate::connection::event::Event;
use crate::connection::ids::DeliveryId;
use crate::connection::shared::{Fault, Shared};
use crate::connection::unsettled::is_after;
use crate::performative::{DeliveryState, Disposition, ReceiverSettleMode, Role, condition};

impl Session {
    pub(super) fn peer_disposition(
        &mut self,
        disposition: Disposition,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        let Disposition { role, first, last, settled, state, .. } = disposition;
        let last = last.unwrap_or(first);
        if is_after(first, last) {
            let text = format!("disposition from {first} to {last}");
            return Err(Fault::session(condition::INVALID_FIELD, text));
        }
        match role {
            Role::Receiver => self.sent_ends(first, last, settled, state, shared),
            // An outcome that the sender proposes is of no use to us.
            Role::Sender if settled => self.received_ends(first, last, state.as_ref(), shared),
            Role::Sender => {}
        }
        Ok(())
    }

    /// The owner settles.
    pub(in crate::connection) fn settle(
        &mut self,
        link: u32,
        delivery: u32,
        state: DeliveryState,
        shared: &mut Shared,
    ) {
        match self.links.get(&link).map(|link| link.role) {
            Some(Role::Receiver) => self.settle_received(link, delivery, state, shared),
            Some(Role::Sender) => {
                let is_here = self.sent.get_mut(delivery).is_some_and(|sent| sent.link == link);
                if is_here {
                    self.forget_one_sent(delivery, shared);
                    shared.out.settle(self.channel, Role::Sender, delivery, true, state);
                }
            }
            None => {}
        }
    }

    fn settle_received(
        &mut self,
        link: u32,
        delivery: u32,
        state: DeliveryState,
        shared: &mut Shared,
    ) {
        let Some(received) = self.received.get_mut(delivery) else { return };
        if received.link != link || received.is_answered {
            return;
        }
        let settled = match received.rcv_settle_mode {
            ReceiverSettleMode::First => true,
            ReceiverSettleMode::Second => {
                received.is_answered = true;
                shared.usage.unsettled_bytes -= std::mem::take(&mut received.held_bytes);
                false
            }
        };
        shared.out.settle(self.channel, Role::Receiver, delivery, settled, state);
        if settled {
            self.forget_delivery(delivery, shared);
            self.top_up(link, shared);
        }
    }

    /// The peer tells what became of what we sent.
    fn sent_ends(
        &mut self,
        first: u32,
        last: u32,
        settled: bool,
        state: Option<DeliveryState>,
        shared: &mut Shared,
    ) {
        let is_outcome = state.as_ref().is_some_and(DeliveryState::is_outcome);
        if !settled && !is_outcome {
            return;
        }
        for delivery in self.sent.numbers(first, last) {
            let Some(sent) = self.sent.get_mut(delivery) else { continue };
            let number = sent.link;
            let settles_back =
                !settled && self.links.get(&number).is_some_and(|link| link.settles_back);
            if !settled && !settles_back && std::mem::replace(&mut sent.is_told, true) {
                continue;
            }
            if settled || settles_back {
                self.forget_one_sent(delivery, shared);
            }
            if settles_back && let Some(state) = &state {
                shared.out.settle(self.channel, Role::Sender, delivery, true, state.clone());
            }
            shared.event(Event::Settled {
                delivery: DeliveryId { link: self.link_id(number), number: delivery },
                state: state.clone(),
                settled: settled || settles_back,
            });
        }
    }

    /// The peer has settled what it sent.
    fn received_ends(
        &mut self,
        first: u32,
        last: u32,
        state: Option<&DeliveryState>,
        shared: &mut Shared,
    ) {
        let mut links = Vec::new();
        for delivery in self.received.numbers(first, last) {
            let Some(received) = self.received.get_mut(delivery) else { continue };
            links.push(received.link);
            if received.is_answered {
                let link = received.link;
                shared.event(Event::Settled {
                    delivery: DeliveryId { link: self.link_id(link), number: delivery },
                    state: state.cloned(),
                    settled: true,
                });
            }
            self.forget_delivery(delivery, shared);
        }
        links.sort_unstable();
        links.dedup();
        for link in links {
            self.top_up(link, shared);
        }
    }
}
