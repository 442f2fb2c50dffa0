//! What a link is for, by its address and its role, and the events of links by what they are for
//! (dp §4.3).

use amqp::connection::{Accept, Delivery, DeliveryId, LinkId, SessionId};
use amqp::performative::{Attach, SenderSettleMode, condition};
use amqp::{DeliveryState, Error, Limits, Role, Value};
use iot_proto::amqp::address::{Address, DeviceAddress, DeviceNode};
use iot_proto::amqp::{CHANNEL_CORRELATION_ID, MESSAGE_BYTES_MAX};
use model::{Fault, IdentityId};

use super::cbs;
use super::claims::Subject;
use super::core::Core;
use super::devices::DeviceKey;
use super::nodes::Nodes;
use super::pairs::{Direction, TooManyPairs};
use super::port::PortNumber;
use super::requests::Request;
use crate::auth::Identities;
use crate::backend::{DeviceBackend, DeviceLink, Settlement};

/// What a link is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    /// The client sends requests to `$cbs`.
    CbsRequests,
    /// It takes the answers of `$cbs`.
    CbsAnswers,
    /// One of an identity.
    Device(DeviceKey, Use),
    /// One that a future serves.
    Port(PortNumber),
}

/// What a link of an identity is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It sends telemetry.
    Telemetry,
    /// It takes cloud-to-device messages.
    CloudToDevice,
    /// A module takes messages to its inputs.
    Inputs,
    /// It takes direct methods.
    MethodCalls,
    /// It answers them.
    MethodAnswers,
    /// It asks about its twin.
    TwinOperations,
    /// It takes answers and notifications about its twin.
    TwinAnswers,
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// The client wants a link.
    pub(super) fn handle_attach(&mut self, link: LinkId, attach: Box<Attach>) {
        if attach.coordinator {
            let error = Error::new(condition::NOT_IMPLEMENTED, "there are no transactions here");
            return self.machine.refuse_attach(link, error);
        }
        let address = match attach.role {
            Role::Sender => attach.target.as_ref().and_then(|target| target.address.as_deref()),
            Role::Receiver => attach.source.as_ref().and_then(|source| source.address.as_deref()),
        };
        match Address::parse(address.unwrap_or_default()) {
            Ok(Address::Cbs) => self.attach_cbs(link, &attach),
            Ok(Address::Device(address)) => {
                match usage(address.node, attach.role, &address.identity) {
                    Some(usage) => {
                        let id = self.identity_meant(address);
                        self.attach_device(id, usage, link, attach);
                    }
                    None => {
                        let text = "the address cannot be used in this direction by this identity";
                        let error = Error::new(condition::NOT_ALLOWED, text);
                        self.machine.refuse_attach(link, error);
                    }
                }
            }
            Ok(Address::Other(_)) => self.attach_port(link, attach),
            Err(error) => {
                let error = Error::new(condition::NOT_FOUND, error.to_string());
                self.machine.refuse_attach(link, error);
            }
        }
    }

    /// An address with `%` can be read in two ways; what was proven tells which is meant.
    fn identity_meant(&self, address: DeviceAddress) -> IdentityId {
        let proven = |id: &IdentityId| {
            self.claims.find(|claim| claim.subject == Subject::Identity(id.clone())).is_some()
        };
        match address.literal {
            Some(literal) if proven(&literal) && !proven(&address.identity) => literal,
            _ => address.identity,
        }
    }

    fn attach_cbs(&mut self, link: LinkId, attach: &Attach) {
        if self.is_stranger() && self.links.len() >= cbs::STRANGER_LINKS_MAX {
            let text = "put a valid token before attaching more links to $cbs";
            let error = Error::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
            return self.machine.refuse_attach(link, error);
        }
        let mut accept = Accept::echo(attach, cbs::CREDIT);
        accept.max_message_size = Some(cbs::REQUEST_BYTES_MAX);
        match attach.role {
            Role::Sender => self.links.insert(link, Link::CbsRequests),
            Role::Receiver => {
                let target = attach.target.as_ref().and_then(|target| target.address.clone());
                self.replies.attach(cbs::NAME, link, target);
                self.links.insert(link, Link::CbsAnswers)
            }
        };
        self.machine.accept_attach(link, accept);
    }

    /// A link of an identity whose session is open.
    pub(super) fn attach_use(
        &mut self,
        key: DeviceKey,
        usage: Use,
        link: LinkId,
        attach: Box<Attach>,
    ) {
        let window = self.around.settings.telemetry_window;
        let Some(device) = self.devices.get(key) else { return };
        let mut accept = Accept::echo(&attach, window);
        accept.max_message_size = Some(MESSAGE_BYTES_MAX);
        device.links.push(link);
        self.links.insert(link, Link::Device(key, usage));
        let correlation = attach.properties.get(CHANNEL_CORRELATION_ID).and_then(Value::as_text);
        let completes = match usage {
            Use::Telemetry => Ok(false),
            Use::CloudToDevice | Use::Inputs => {
                // Settled back only when the outcome is durable.
                accept.settles_back = false;
                let settled = attach.snd_settle_mode == SenderSettleMode::Settled;
                let deliveries = match usage {
                    Use::Inputs => &mut device.inputs,
                    _ => &mut device.cloud_to_device,
                };
                let (before, kind, total) = deliveries.attach(link, settled);
                device.link.permit(kind, total);
                if let Some(before) = before {
                    let text = "the identity attached another link to the same address";
                    let error = Error::new(condition::STOLEN, text);
                    device.links.retain(|known| *known != before);
                    self.links.remove(&before);
                    self.machine.detach(before, Some(error));
                }
                Ok(true)
            }
            Use::MethodCalls => device.methods.attach(correlation, Direction::Down, link),
            Use::MethodAnswers => device.methods.attach(correlation, Direction::Up, link),
            // Changes are told after a request on the pair, not because it is there.
            Use::TwinAnswers => {
                device.twins.attach(correlation, Direction::Down, link).map(|_| false)
            }
            Use::TwinOperations => {
                device.twins.attach(correlation, Direction::Up, link).map(|_| false)
            }
        };
        match completes {
            Ok(false) => self.machine.accept_attach(link, accept),
            Ok(true) => {
                let accept = Some((link, Box::new(accept)));
                self.subscribe(key, accept);
            }
            Err(error @ TooManyPairs) => {
                let error = Error::new(condition::RESOURCE_LIMIT_EXCEEDED, error.to_string());
                self.refuse_use(key, link, error);
            }
        }
    }

    /// Tells the backend what the identity listens to now; then lets the link in.
    pub(super) fn subscribe(&mut self, key: DeviceKey, accept: Option<(LinkId, Box<Accept>)>) {
        let Some(device) = self.devices.get(key) else { return };
        let subscriptions = device.subscriptions();
        self.request(key, Request::Subscribe { accept, subscriptions });
    }

    /// The backend knows that a link is there.
    pub(super) fn let_in(
        &mut self,
        key: DeviceKey,
        link: LinkId,
        accept: Result<Box<Accept>, Fault>,
    ) {
        match accept {
            Ok(accept) => self.machine.accept_attach(link, *accept),
            Err(fault) => {
                let error = self.error(&fault);
                self.refuse_use(key, link, error);
            }
        }
    }

    fn refuse_use(&mut self, key: DeviceKey, link: LinkId, error: Error) {
        self.machine.refuse_attach(link, error);
        if let Some(Link::Device(_, usage)) = self.links.remove(&link) {
            self.device_detached(key, usage, link);
        }
    }

    /// A link of an identity is gone, and others of it stay.
    pub(super) fn release_use(&mut self, key: DeviceKey, usage: Use, link: LinkId) {
        let Some(device) = self.devices.get(key) else { return };
        let changed = match usage {
            Use::Telemetry => false,
            Use::CloudToDevice | Use::Inputs => {
                let deliveries = match usage {
                    Use::Inputs => &mut device.inputs,
                    _ => &mut device.cloud_to_device,
                };
                let Some((locks, kind, total)) = deliveries.detach(link) else { return };
                device.link.permit(kind, total);
                for lock in locks {
                    let outcome = Settlement::Abandon;
                    self.request(key, Request::Settle { lock, outcome, back: None });
                }
                true
            }
            Use::MethodCalls | Use::MethodAnswers => device.methods.detach(link),
            Use::TwinAnswers | Use::TwinOperations => device.twins.detach(link),
        };
        if changed {
            self.subscribe(key, None);
        }
    }

    /// A message came.
    pub(super) fn handle_delivery(&mut self, delivery: Delivery) {
        match self.links.get(&delivery.id.link()).copied() {
            Some(Link::Device(key, Use::Telemetry)) => self.telemetry(key, &delivery),
            Some(Link::Device(key, Use::MethodAnswers)) => self.method_answer(key, &delivery),
            Some(Link::Device(key, Use::TwinOperations)) => self.twin_operation(key, &delivery),
            Some(Link::CbsRequests) => self.handle_cbs(&delivery),
            Some(Link::Port(port)) => self.port_received(port, delivery),
            _ => self.machine.settle(delivery.id, DeliveryState::Released),
        }
    }

    /// The client has settled a message of ours.
    pub(super) fn handle_settled(
        &mut self,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        match self.links.get(&delivery.link()).copied() {
            Some(Link::Device(key, usage @ (Use::CloudToDevice | Use::Inputs))) => {
                self.delivery_settled(key, usage, delivery, state, settled);
            }
            Some(Link::Port(port)) => self.port_settled(port, delivery, state),
            _ => {}
        }
    }

    /// The client takes so many messages of ours.
    pub(super) fn handle_credit(&mut self, link: LinkId, credit: u32, drain: bool) {
        match self.links.get(&link).copied() {
            Some(Link::Port(port)) => return self.port_credit(port, credit, drain),
            Some(Link::CbsAnswers) => self.flush_replies(),
            Some(Link::Device(key, usage)) => {
                if let Some(device) = self.devices.get(key) {
                    let deliveries = match usage {
                        Use::CloudToDevice => Some(&device.cloud_to_device),
                        Use::Inputs => Some(&device.inputs),
                        _ => None,
                    };
                    if let Some(deliveries) = deliveries {
                        // What is drained is given back at once.
                        let (kind, total) = deliveries.permits(if drain { 0 } else { credit });
                        device.link.permit(kind, total);
                    }
                }
                self.flush_device(key);
            }
            _ => {}
        }
        if drain {
            self.machine.drained(link);
        }
    }

    /// A link is gone.
    pub(super) fn handle_detached(&mut self, link: LinkId) {
        match self.links.remove(&link) {
            Some(Link::Device(key, usage)) => self.device_detached(key, usage, link),
            Some(Link::Port(port)) => self.drop_port(port),
            Some(Link::CbsAnswers) => self.replies.detach(cbs::NAME, link),
            Some(Link::CbsRequests) | None => {}
        }
    }

    /// A session is gone with its links.
    pub(super) fn handle_session_ended(&mut self, session: SessionId) {
        let links: Vec<_> =
            self.links.keys().copied().filter(|link| link.session() == session).collect();
        for link in links {
            self.handle_detached(link);
        }
        self.replies.end_session(session);
    }

    /// A message that cannot be read.
    pub(super) fn reject_malformed(&mut self, delivery: DeliveryId, text: &str) {
        let error = Error::new(condition::DECODE_ERROR, text);
        self.machine.settle(delivery, DeliveryState::Rejected(Some(error)));
    }

    /// How deep and wide what clients send may be.
    pub(super) fn machine_limits(&self) -> Limits {
        self.around.settings.machine.limits
    }
}

/// What a link to a node is for; none when it makes no sense. `role` is the client's.
fn usage(node: DeviceNode, role: Role, id: &IdentityId) -> Option<Use> {
    match (node, role) {
        (DeviceNode::Events, Role::Sender) => Some(Use::Telemetry),
        (DeviceNode::Events, Role::Receiver) => id.module.is_some().then_some(Use::Inputs),
        (DeviceNode::DeviceBound, Role::Receiver) => Some(Use::CloudToDevice),
        (DeviceNode::DeviceBound, Role::Sender) => None,
        (DeviceNode::Methods, Role::Receiver) => Some(Use::MethodCalls),
        (DeviceNode::Methods, Role::Sender) => Some(Use::MethodAnswers),
        (DeviceNode::Twin, Role::Receiver) => Some(Use::TwinAnswers),
        (DeviceNode::Twin, Role::Sender) => Some(Use::TwinOperations),
    }
}
