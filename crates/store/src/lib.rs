//! Where the hub keeps things: one trait per resource, one conformance suite, and the embedded
//! backend (SQLite and the journal).
//!
//! A write names its precondition; there are no closure transactions, so that every backend can
//! offer the same. A write takes the events it causes and commits them with the change
//! ([`outbox`]). Acknowledged means durable: a future that resolves to `Ok` has reached the disk.

pub mod authorities;
pub mod cloud_to_device;
pub mod consumer_groups;
pub mod error;
pub mod events;
pub mod feedback;
pub mod leases;
pub mod outbox;
pub mod policies;
pub mod presence;
pub mod registry;
pub mod sessions;
pub mod signals;
pub mod twins;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;

pub use error::StoreError;

use std::sync::Arc;

/// Every store of a hub, as one value that is cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Device and module identities.
    pub registry: Arc<dyn registry::Registry>,
    /// Twins.
    pub twins: Arc<dyn twins::Twins>,
    /// Cloud-to-device messages.
    pub cloud_to_device: Arc<dyn cloud_to_device::CloudToDevice>,
    /// Feedback on them.
    pub feedback: Arc<dyn feedback::Feedback>,
    /// MQTT sessions.
    pub sessions: Arc<dyn sessions::Sessions>,
    /// Telemetry and the hub's own events.
    pub events: Arc<dyn events::Events>,
    /// Events that wait to be moved to the event log.
    pub outbox: Arc<dyn outbox::Outbox>,
    /// Shared access policies.
    pub policies: Arc<dyn policies::Policies>,
    /// Registered certificate authorities.
    pub authorities: Arc<dyn authorities::Authorities>,
    /// Who is connected where.
    pub presence: Arc<dyn presence::Presence>,
    /// Messages between the nodes of a hub.
    pub signals: Arc<dyn signals::Signals>,
    /// Which node does a chore.
    pub leases: Arc<dyn leases::Leases>,
    /// Consumer groups of the event log.
    pub consumer_groups: Arc<dyn consumer_groups::ConsumerGroups>,
}
