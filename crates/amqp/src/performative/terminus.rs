//! The two ends of a link: where its messages come from and where they go to.
//! Part 3 §3.5.

use std::time::Duration;

use super::DeliveryState;
use crate::types::{Map, Symbol};

/// Where a link's messages come from. §3.5.3
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The node. Other than text is refused.
    pub address: Option<String>,
    /// What outlives the link.
    pub durable: Durability,
    /// When the terminus' time runs.
    pub expiry_policy: Symbol,
    /// How long it lasts then. Seconds on the wire.
    pub timeout: Duration,
    /// The node is to be made by the peer.
    pub dynamic: bool,
    /// What the node made has.
    pub dynamic_node_properties: Map,
    /// `move` or `copy`.
    pub distribution_mode: Option<Symbol>,
    /// Which messages are wished for.
    pub filter: Map,
    /// What becomes of deliveries that are settled without an outcome.
    pub default_outcome: Option<DeliveryState>,
    /// The outcomes that may occur.
    pub outcomes: Vec<Symbol>,
    /// Extensions.
    pub capabilities: Vec<Symbol>,
}

/// Where a link's messages go to. §3.5.4
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node. Other than text is refused.
    pub address: Option<String>,
    /// What outlives the link.
    pub durable: Durability,
    /// When the terminus' time runs.
    pub expiry_policy: Symbol,
    /// How long it lasts then. Seconds on the wire.
    pub timeout: Duration,
    /// The node is to be made by the peer.
    pub dynamic: bool,
    /// What the node made has.
    pub dynamic_node_properties: Map,
    /// Extensions.
    pub capabilities: Vec<Symbol>,
}

/// What of a terminus outlives the link. §3.5.5
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Nothing.
    #[default]
    None,
    /// That it exists, and its settings.
    Configuration,
    /// The state of unsettled deliveries, too.
    UnsettledState,
}

/// The standard's default for `expiry-policy`. §3.5.6
pub(super) const SESSION_END: Symbol = Symbol::from_static("session-end");

impl Default for Source {
    fn default() -> Source {
        Source {
            address: None,
            durable: Durability::None,
            expiry_policy: SESSION_END,
            timeout: Duration::ZERO,
            dynamic: false,
            dynamic_node_properties: Map::new(),
            distribution_mode: None,
            filter: Map::new(),
            default_outcome: None,
            outcomes: Vec::new(),
            capabilities: Vec::new(),
        }
    }
}

impl Default for Target {
    fn default() -> Target {
        Target {
            address: None,
            durable: Durability::None,
            expiry_policy: SESSION_END,
            timeout: Duration::ZERO,
            dynamic: false,
            dynamic_node_properties: Map::new(),
            capabilities: Vec::new(),
        }
    }
}

impl Source {
    /// A source with an address and defaults else.
    pub fn at(address: impl Into<String>) -> Source {
        Source { address: Some(address.into()), ..Source::default() }
    }
}

impl Target {
    /// A target with an address and defaults else.
    pub fn at(address: impl Into<String>) -> Target {
        Target { address: Some(address.into()), ..Target::default() }
    }
}
