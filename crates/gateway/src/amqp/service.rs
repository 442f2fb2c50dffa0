//! What back ends attach to: cloud-to-device messages, their feedback, and the event log
//! (`service-api.md` §5.2, §5.3, §9). All of it takes the right ServiceConnect.
//!
//! Addresses are `iot-proto`'s, what they do has a file per resource. The hub's host name answers for
//! the event log with the way to the event endpoint.

mod cloud_to_device;
mod feedback;

use std::sync::Arc;

use amqp::performative::{Attach, condition};
use amqp::{Error, Role};
use host::clock::Clock;
use iot_proto::amqp::address::Path;
use iot_proto::event_hubs::address::{Address, EventsAddress, EventsNode, LogName, MANAGEMENT};
use iot_proto::event_hubs::redirect::Redirect;

use super::events;
use super::nodes::{Access, Nodes, Serve, Served, Terms};
use super::port::Port;
use crate::auth::Rights;
use crate::backend::cloud_to_device::CloudToDeviceBackend;
use crate::backend::events::EventsBackend;
use crate::backend::feedback::FeedbackBackend;
use crate::site::Site;

/// The back ends' nodes of a hub.
pub struct ServiceNodes<B> {
    backend: Arc<B>,
    site: Arc<Site>,
    clock: Clock,
}

/// What a back end's address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Messages to devices are sent here.
    CloudToDevice,
    /// Feedback on them comes from here.
    Feedback,
    /// Questions about the event log.
    ManagementRequests,
    /// The answers to them.
    ManagementAnswers,
    /// Events of a partition; the texts of the address.
    Events {
        /// The consumer group's name.
        group: String,
        /// The partition's id.
        partition: String,
    },
    /// The event log, asked for where it is not.
    Elsewhere(EventsNode),
}

impl<B> ServiceNodes<B> {
    /// The nodes of this backend.
    pub fn new(backend: Arc<B>, site: Arc<Site>, clock: Clock) -> Self {
        Self { backend, site, clock }
    }

    fn node(&self, address: Address, role: Role, host: Option<&str>) -> Result<Node, Box<Error>> {
        let services = self.site.services(host).map_err(|e| not_found(e.to_string()))?;
        let address = match (address, role) {
            (Address::Events(address), role) => {
                return self.events_node(address, role, services.hub, services.events);
            }
            (address, _) if !services.hub => {
                return Err(not_found(format!(
                    "{address} is not here, but at {}",
                    self.site.hub_name()
                )));
            }
            (address, role) => (address, role),
        };
        match address {
            (Address::CloudToDevice, Role::Sender) => Ok(Node::CloudToDevice),
            (Address::Feedback, Role::Receiver) => Ok(Node::Feedback),
            (Address::FileNotifications, _) => Err(Box::new(Error::new(
                condition::NOT_IMPLEMENTED,
                "this hub has no file upload, so there are no notifications about it",
            ))),
            (address, _) => Err(Box::new(Error::new(
                condition::NOT_ALLOWED,
                format!("{address} cannot be used in this direction"),
            ))),
        }
    }

    fn events_node(
        &self,
        address: EventsAddress,
        role: Role,
        is_hub: bool,
        is_events: bool,
    ) -> Result<Node, Box<Error>> {
        let EventsAddress { log, node } = address;
        match &log {
            // At a name that is the event endpoint's alone there is nowhere else to go.
            LogName::MessagesEvents if is_hub => return Ok(Node::Elsewhere(node)),
            LogName::Entity(name) if !self.site.is_entity(name) => {
                return Err(not_found(format!("there is no event log {name:?} here")));
            }
            _ if !is_events => return Ok(Node::Elsewhere(node)),
            _ => {}
        }
        match (node, role) {
            (EventsNode::Management, Role::Sender) => Ok(Node::ManagementRequests),
            (EventsNode::Management, Role::Receiver) => Ok(Node::ManagementAnswers),
            (EventsNode::Partition { group, partition }, Role::Receiver) => {
                Ok(Node::Events { group, partition })
            }
            (EventsNode::Partition { .. } | EventsNode::Input, Role::Sender) => {
                Err(Box::new(Error::new(
                    condition::UNAUTHORIZED_ACCESS,
                    "the hub's event log is only read; devices write it",
                )))
            }
            (EventsNode::Input, Role::Receiver) => Err(not_found(
                "name a consumer group and a partition: \
                 {entity}/ConsumerGroups/{group}/Partitions/{partition}",
            )),
        }
    }

    fn access(&self, node: &Node) -> Access {
        let entity = self.site.entity();
        let segments: Vec<&str> = match node {
            Node::CloudToDevice => vec!["messages", "devicebound"],
            Node::Feedback => vec!["messages", "servicebound", "feedback"],
            Node::ManagementRequests | Node::ManagementAnswers => vec![entity, MANAGEMENT],
            Node::Events { group, partition } => {
                vec![entity, "ConsumerGroups", group, "Partitions", partition]
            }
            Node::Elsewhere(_) => vec!["messages", "events"],
        };
        Access {
            segments: segments.into_iter().map(str::to_owned).collect(),
            rights: Rights { service_connect: true, ..Rights::default() },
        }
    }
}

impl<B> Nodes for ServiceNodes<B>
where
    B: CloudToDeviceBackend + FeedbackBackend + EventsBackend,
{
    type Node = Node;

    fn resolve(&self, attach: &Attach, host: Option<&str>) -> Result<(Node, Access), Box<Error>> {
        let text = match attach.role {
            Role::Sender => attach.target.as_ref().and_then(|target| target.address.as_deref()),
            Role::Receiver => attach.source.as_ref().and_then(|source| source.address.as_deref()),
        };
        let address = Path::parse(text.unwrap_or_default()).and_then(|path| Address::parse(&path));
        let address = address
            .ok_or_else(|| not_found("the address is none of a device's or a back end's"))?;
        let node = self.node(address, attach.role, host)?;
        let access = self.access(&node);
        Ok((node, access))
    }

    async fn open(&self, node: Node, attach: &Attach, port: Port) -> Result<Served, Box<Error>> {
        let (backend, clock) = (Arc::clone(&self.backend), self.clock.clone());
        match node {
            Node::CloudToDevice => Ok(Served {
                terms: Terms { credit: cloud_to_device::CREDIT, ..Terms::default() },
                serve: Serve::Run(Box::pin(cloud_to_device::serve(backend, clock, port))),
            }),
            Node::Feedback => {
                let hub_name = self.site.entity().to_owned();
                Ok(Served {
                    terms: Terms::default(),
                    serve: Serve::Run(Box::pin(feedback::serve(backend, clock, port, hub_name))),
                })
            }
            Node::ManagementRequests => {
                let site = Arc::clone(&self.site);
                let serve = events::management::serve(backend, site, port);
                Ok(Served {
                    terms: Terms { credit: events::management::CREDIT, ..Terms::default() },
                    serve: Serve::Run(Box::pin(serve)),
                })
            }
            Node::ManagementAnswers => Ok(Served {
                terms: Terms::default(),
                serve: Serve::Replies(events::management::NAME),
            }),
            Node::Events { group, partition } => {
                let place = events::Place { group, partition };
                events::open(backend, clock, place, attach, port).await
            }
            Node::Elsewhere(node) => {
                let redirect = Redirect {
                    host_name: self.site.event_name().to_owned(),
                    port: self.site.amqp_port(),
                    entity: self.site.entity().to_owned(),
                };
                Err(Box::new(redirect.to_error(&node)))
            }
        }
    }

    fn host_names(&self) -> &[String] {
        self.site.event_names()
    }
}

fn not_found(text: impl Into<String>) -> Box<Error> {
    Box::new(Error::new(condition::NOT_FOUND, text))
}
