//! Shared access policies of the hub (`service-api.md` §1.1).

use async_trait::async_trait;
use model::identity::SymmetricKeys;

use crate::error::Result;

/// The policies. Few and read often: a backend keeps them in memory too.
#[async_trait]
pub trait Policies: Send + Sync {
    /// All policies.
    async fn policies(&self) -> Result<Vec<Policy>>;

    /// Creates or changes a policy.
    async fn put_policy(&self, policy: Policy) -> Result<()>;
}

/// A shared access policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name, `skn` in tokens.
    pub name: String,
    /// Its keys; the exact text is kept, because Event Hubs tokens need it.
    pub keys: SymmetricKeys,
    /// What it may do.
    pub rights: Rights,
}

/// What a policy may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// Read identities.
    pub registry_read: bool,
    /// Write identities; includes reading them.
    pub registry_write: bool,
    /// Twins, methods, cloud-to-device messages, reading events.
    pub service_connect: bool,
    /// Act as any device.
    pub device_connect: bool,
}
