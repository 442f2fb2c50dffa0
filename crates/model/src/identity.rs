//! Device and module identities: what the registry keeps of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, Etag, GenerationId, IdentityId, ModuleId};

/// A device in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Its id.
    pub id: DeviceId,
    /// New on every create.
    pub generation: GenerationId,
    /// Moves with every change of the identity.
    pub etag: Etag,
    /// Whether it may connect.
    pub status: Status,
    /// Why it has that status, in the operator's words.
    pub status_reason: Option<String>,
    /// When the status changed; none before the first change.
    pub status_updated: Option<Timestamp>,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// Whether it runs the edge runtime.
    pub edge: bool,
    /// Its own scope when it is an edge device, its parent's when it is a leaf with one.
    pub scope: Option<String>,
    /// The scopes of its parents; at most one.
    pub parent_scopes: Vec<String>,
}

/// A module of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIdentity {
    /// The device it belongs to.
    pub device: DeviceId,
    /// Its id within the device.
    pub id: ModuleId,
    /// New on every create.
    pub generation: GenerationId,
    /// Moves with every change of the identity.
    pub etag: Etag,
    /// Who manages it, in free text; the edge runtime writes `IotEdge`.
    pub managed_by: Option<String>,
    /// How it proves who it is.
    pub authentication: Authentication,
}

impl ModuleIdentity {
    /// The identity as whoever connects.
    pub fn identity(&self) -> IdentityId {
        IdentityId::module(self.device.clone(), self.id.clone())
    }
}

/// Whether a device may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It may.
    Enabled,
    /// It may not, and its live connections end.
    Disabled,
}

/// How an identity proves who it is. Exactly one way each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// A token signed with one of two keys.
    Sas(SymmetricKeys),
    /// A certificate whose thumbprint is registered.
    SelfSigned {
        /// Hex digits; compared without case.
        primary: Option<String>,
        /// Hex digits; compared without case.
        secondary: Option<String>,
    },
    /// A certificate that chains to a registered authority.
    CertificateAuthority,
    /// No way: it cannot connect.
    None,
}

impl Authentication {
    /// The keys, when it has any.
    pub fn keys(&self) -> Option<&SymmetricKeys> {
        match self {
            Self::Sas(keys) => Some(keys),
            _ => None,
        }
    }
}

/// Two keys, so that one can be rolled while the other is in use. The exact Base64 text is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct SymmetricKeys {
    /// The first key, Base64.
    pub primary: String,
    /// The second key, Base64.
    pub secondary: String,
}

impl std::fmt::Debug for SymmetricKeys {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SymmetricKeys(..)")
    }
}

/// The scope of an edge device: `ms-azure-iot-edge://{id}-{generation}`.
pub fn edge_scope(device: &DeviceId, generation: &GenerationId) -> String {
    format!("{SCOPE_PREFIX}{device}-{generation}")
}

/// The device and generation that a scope names; the inverse of [`edge_scope`].
pub fn parse_edge_scope(scope: &str) -> Option<(DeviceId, GenerationId)> {
    let (device, generation) = scope.strip_prefix(SCOPE_PREFIX)?.rsplit_once('-')?;
    Some((device.parse().ok()?, GenerationId::from_text(generation)))
}

const SCOPE_PREFIX: &str = "ms-azure-iot-edge://";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_though_ids_hold_dashes() {
        let device: DeviceId = "edge-1-a".parse().unwrap();
        let generation = GenerationId::from_number(638_912_345_678_901_234);
        let scope = edge_scope(&device, &generation);
        assert_eq!(scope, "ms-azure-iot-edge://edge-1-a-638912345678901234");
        assert_eq!(parse_edge_scope(&scope), Some((device, generation)));
        assert_eq!(parse_edge_scope("edge-1"), None);
    }

    #[test]
    fn keys_do_not_show_in_debug_text() {
        let keys = SymmetricKeys { primary: "c2VjcmV0".into(), secondary: "c2VjcmV0".into() };
        assert!(!format!("{:?}", Authentication::Sas(keys)).contains("c2VjcmV0"));
    }
}
