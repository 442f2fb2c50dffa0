//! The links of one identity: their names, addresses and properties.

use amqp::connection::{BeginError, LinkId, NewLink, SessionId};
use amqp::performative::SenderSettleMode;
use amqp::{Connection, Map, Symbol};
use iot_proto::amqp as proto;
use iot_proto::amqp::address::{CBS, DeviceAddress, DeviceNode};
use iot_proto::connect::API_VERSION;

use crate::device::Options;

/// Two links that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// On which we send.
    pub(super) sender: LinkId,
    /// On which we receive.
    pub(super) receiver: LinkId,
}

impl Pair {
    pub(super) fn has(&self, link: LinkId) -> bool {
        self.sender == link || self.receiver == link
    }
}

/// Attaches links for one identity.
pub(super) struct Attacher<'a> {
    pub(super) machine: &'a mut Connection,
    pub(super) session: SessionId,
    pub(super) options: &'a Options,
}

impl Attacher<'_> {
    /// The links for tokens.
    pub(super) fn tokens(&mut self) -> Result<Pair, BeginError> {
        let sender = self.attach(NewLink::sender("cbs-sender", CBS))?;
        let receiver = self.attach(NewLink::receiver("cbs-receiver", CBS, REQUEST_WINDOW))?;
        Ok(Pair { sender, receiver })
    }

    /// The link for telemetry; attaching it shows that the hub knows and lets in the identity.
    pub(super) fn telemetry(&mut self) -> Result<LinkId, BeginError> {
        let mut link = NewLink::sender(self.name("telemetry"), self.address(DeviceNode::Events));
        link.snd_settle_mode = SenderSettleMode::Unsettled;
        link.properties = self.properties(None);
        self.attach(link)
    }

    /// A link on which messages come that are to be settled.
    pub(super) fn deliveries(&mut self, node: DeviceNode) -> Result<LinkId, BeginError> {
        let mut link = NewLink::receiver(self.name("deliveries"), self.address(node), WINDOW);
        link.properties = self.properties(None);
        self.attach(link)
    }

    /// The links for methods or for the twin. Node attaches the sender first, so hubs take that.
    pub(super) fn pair(&mut self, node: DeviceNode, kind: &str) -> Result<Pair, BeginError> {
        let correlation = format!("{kind}:{}", host::entropy::uuid_v4());
        let mut sender = NewLink::sender(format!("{correlation}:s"), self.address(node));
        sender.snd_settle_mode = SenderSettleMode::Settled;
        sender.properties = self.properties(Some(&correlation));
        let sender = self.attach(sender)?;
        let name = format!("{correlation}:r");
        let mut receiver = NewLink::receiver(name, self.address(node), REQUEST_WINDOW);
        receiver.properties = self.properties(Some(&correlation));
        let receiver = self.attach(receiver)?;
        Ok(Pair { sender, receiver })
    }

    fn attach(&mut self, link: NewLink) -> Result<LinkId, BeginError> {
        self.machine.attach(self.session, link)
    }

    fn address(&self, node: DeviceNode) -> String {
        DeviceAddress::new(self.options.identity.clone(), node).to_string()
    }

    fn name(&self, what: &str) -> String {
        format!("{what}:{}", host::entropy::uuid_v4())
    }

    fn properties(&self, correlation: Option<&str>) -> Map {
        let mut properties = Map::new();
        let mut push = |key, value: &str| properties.push(Symbol::from_static(key), value);
        push(proto::API_VERSION, API_VERSION);
        push(proto::CLIENT_VERSION, &self.options.client_type);
        if let Some(correlation) = correlation {
            push(proto::CHANNEL_CORRELATION_ID, correlation);
        }
        if let Some(model_id) = &self.options.model_id {
            push(proto::MODEL_ID, model_id);
        }
        if let Some(chain) = &self.options.auth_chain {
            push(proto::AUTH_CHAIN, &chain.to_string());
        }
        properties
    }
}

/// Deliveries that may be under way: enough to fill a connection, few enough that their locks at
/// the hub do not run out before a slow program comes to them.
const WINDOW: u32 = 16;
/// Requests and answers that may be under way, as edge hub and C# give (`device-protocol.md` §4.3).
const REQUEST_WINDOW: u32 = 50;
