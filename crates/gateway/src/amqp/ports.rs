//! Links that a room's own future serves: between its port and the machine.

use std::collections::HashMap;
use std::sync::Arc;

use amqp::connection::{Accept, CreditPolicy, Delivery, DeliveryId, LinkId};
use amqp::performative::{Attach, SenderSettleMode, condition};
use amqp::{DeliveryState, Error};

use super::core::{Core, Done};
use super::links::Link;
use super::nodes::{Nodes, Serve, Served, Terms};
use super::port::{Command, Port, PortEnd, PortEvent, PortNumber, Received, Sent};
use crate::auth::Identities;
use crate::backend::DeviceBackend;

/// A link with a port.
pub(super) struct PortLink {
    link: LinkId,
    end: PortEnd,
    /// What the client wants, until it is answered.
    attach: Option<Box<Attach>>,
    /// The node of whose answers it takes.
    replies: Option<&'static str>,
    /// Which right it takes, over what.
    access: Arc<super::nodes::Access>,
    /// The client takes everything as settled when it is sent.
    sends_settled: bool,
    sent: HashMap<DeliveryId, Sent>,
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// A link to an address that is none of a device's.
    pub(super) fn attach_port(&mut self, link: LinkId, attach: Box<Attach>) {
        let nodes = Arc::clone(&self.around.nodes);
        let (node, access) = match nodes.resolve(&attach, self.host.as_deref()) {
            Ok(resolved) => resolved,
            Err(error) => return self.machine.refuse_attach(link, *error),
        };
        let hosts = self.host_names();
        if !self.claims.allow(&hosts, &access, self.around.clock.wall()) {
            let text = "no valid token on this connection allows this";
            let error = Error::new(condition::UNAUTHORIZED_ACCESS, text);
            return self.machine.refuse_attach(link, error);
        }
        self.last_port += 1;
        let number = PortNumber(self.last_port);
        let (port, end) = Port::new(number, self.busy_ports.clone());
        let asked = attach.clone();
        let sends_settled = attach.snd_settle_mode == SenderSettleMode::Settled;
        let port_link = PortLink {
            link,
            end,
            attach: Some(attach),
            replies: None,
            access: Arc::new(access),
            sends_settled,
            sent: HashMap::new(),
        };
        self.ports.insert(number, port_link);
        self.links.insert(link, Link::Port(number));
        self.work.push(Box::pin(async move {
            let opened = nodes.open(node, &asked, port).await.map(Box::new);
            Done::Node { port: number, opened }
        }));
    }

    /// The names of this hub, the nodes' own included.
    fn host_names(&self) -> Vec<String> {
        let own = self.around.backend.host_names().iter();
        own.chain(self.around.nodes.host_names()).cloned().collect()
    }

    /// A node has decided about a link.
    pub(super) fn node_opened(
        &mut self,
        number: PortNumber,
        opened: Result<Box<Served>, Box<Error>>,
    ) {
        // Detached meanwhile: what was opened is dropped.
        let Some(port) = self.ports.get_mut(&number) else { return };
        let Some(attach) = port.attach.take() else { return };
        let link = port.link;
        let Served { terms, serve } = match opened {
            Ok(served) => *served,
            Err(error) => {
                self.machine.refuse_attach(link, *error);
                return self.drop_port(number);
            }
        };
        match serve {
            Serve::Replies(name) => {
                port.replies = Some(name);
                let target = attach.target.as_ref().and_then(|target| target.address.clone());
                self.replies.attach(name, link, target);
            }
            Serve::Run(serve) => {
                let (clock, claims) = (self.around.clock.clone(), self.claims.clone());
                let (hosts, access) = (self.host_names(), Arc::clone(&self.ports[&number].access));
                self.work.push(Box::pin(async move {
                    let error = tokio::select! {
                        error = serve => error,
                        () = claims.lapsed(&clock, &hosts, &access) => Some(Box::new(lapsed())),
                    };
                    Done::Served { port: number, error }
                }));
            }
        }
        self.machine.accept_attach(link, accept(&attach, terms));
        let credit = self.machine.credit(link);
        if let Some(port) = self.ports.get(&number) {
            port.end.set_credit(credit);
        }
    }

    /// The future of a link has ended.
    pub(super) fn node_served(&mut self, number: PortNumber, error: Option<Box<Error>>) {
        if let Some(port) = self.ports.get(&number) {
            let link = port.link;
            // What it still wanted to do comes first.
            self.work_port(number);
            self.machine.detach(link, error.map(|error| *error));
            self.drop_port(number);
        }
    }

    /// Does what ports ask for.
    pub(super) fn work_ports(&mut self) {
        for number in self.busy_ports.take() {
            if !self.work_port(number) {
                self.stalled_ports.push(number);
            }
        }
        for number in std::mem::take(&mut self.stalled_ports) {
            if !self.work_port(number) {
                self.stalled_ports.push(number);
            }
        }
    }

    /// False when something is left that has no room now.
    fn work_port(&mut self, number: PortNumber) -> bool {
        loop {
            let Some(port) = self.ports.get_mut(&number) else { return true };
            let link = port.link;
            let may_send = self.machine.can_send(link).is_ok();
            let Some(command) = port.end.command(may_send) else {
                return may_send || port.end.is_idle();
            };
            match command {
                Command::Settle { id, state } => self.machine.settle(id, state),
                Command::Reply { node, reply_to, message } => {
                    self.reply(link.session(), node, reply_to.as_deref(), &message);
                }
                Command::Send { sent, outgoing } if outgoing.settled => {
                    if let Err(error) = self.machine.send(link, outgoing) {
                        tracing::debug!(%error, ?sent, "a message cannot be sent; dropped");
                    }
                }
                Command::Send { sent, outgoing } => match self.machine.send(link, outgoing) {
                    Ok(_) if port.sends_settled => {
                        let state = Some(DeliveryState::Accepted);
                        port.end.happened(PortEvent::Settled { sent, state });
                    }
                    Ok(delivery) => drop(port.sent.insert(delivery, sent)),
                    Err(error) => {
                        tracing::debug!(%error, "a message cannot be sent; given back");
                        let state = Some(DeliveryState::Released);
                        port.end.happened(PortEvent::Settled { sent, state });
                    }
                },
            }
        }
    }

    pub(super) fn port_received(&mut self, number: PortNumber, delivery: Delivery) {
        if let Some(port) = self.ports.get(&number) {
            let Delivery { id, message, format, .. } = delivery;
            port.end.happened(PortEvent::Received(Received { id, message, format }));
        }
    }

    pub(super) fn port_settled(
        &mut self,
        number: PortNumber,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
    ) {
        if let Some(port) = self.ports.get_mut(&number)
            && let Some(sent) = port.sent.remove(&delivery)
        {
            port.end.happened(PortEvent::Settled { sent, state });
        }
    }

    pub(super) fn port_credit(&mut self, number: PortNumber, credit: u32, drain: bool) {
        let Some(port) = self.ports.get(&number) else { return };
        port.end.set_credit(credit);
        if drain {
            // What the node has handed over goes out first; it has no more for now.
            let link = port.link;
            self.work_port(number);
            self.machine.drained(link);
            if let Some(port) = self.ports.get(&number) {
                port.end.set_credit(self.machine.credit(link));
            }
        }
    }

    /// The link is gone.
    pub(super) fn drop_port(&mut self, number: PortNumber) {
        if let Some(port) = self.ports.remove(&number) {
            port.end.end();
            self.links.remove(&port.link);
            if let Some(name) = port.replies {
                self.replies.detach(name, port.link);
            }
        }
    }

    pub(super) fn end_ports(&mut self) {
        let numbers: Vec<_> = self.ports.keys().copied().collect();
        for number in numbers {
            self.drop_port(number);
        }
    }
}

fn lapsed() -> Error {
    Error::new(condition::UNAUTHORIZED_ACCESS, "the token has expired and was not renewed")
}

fn accept(attach: &Attach, terms: Terms) -> Accept {
    let mut accept = Accept::echo(attach, terms.credit);
    accept.credit = CreditPolicy::Window(terms.credit);
    accept.settles_first = true;
    accept.source = terms.source.or(accept.source);
    accept.target = terms.target.or(accept.target);
    accept.offered_capabilities = terms.offered_capabilities;
    accept.properties = terms.properties;
    accept.max_message_size = Some(iot_proto::amqp::MESSAGE_BYTES_MAX);
    accept
}
