//! What authentication reads of the registry.

use std::sync::Arc;

use gateway::auth::{Credential, Identities, PolicyCredential, Rights};
use model::{Fault, FaultKind, IdentityId};
use pki::ChainAnchor;

use crate::{Hub, fault};

impl Identities for Hub {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        let device = self.stores().registry.device(&id.device).await;
        let Some(device) = device.map_err(|error| fault(error, FaultKind::DeviceNotFound, id))?
        else {
            return Ok(None);
        };
        let (generation, authentication) = match &id.module {
            None => (device.generation.clone(), device.authentication.clone()),
            Some(_) => match self.stored_module(id).await? {
                Some(module) => (module.generation, module.authentication),
                None => return Ok(None),
            },
        };
        Ok(Some(Credential {
            generation,
            status: device.status,
            authentication,
            parent: Self::acting_parent(&device),
        }))
    }

    async fn policy(&self, name: &str) -> Result<Option<PolicyCredential>, Fault> {
        let policies = self.stores().policies.policies().await;
        let policies =
            policies.map_err(|error| fault(error, FaultKind::IotHubUnauthorized, &"policy"))?;
        Ok(policies.into_iter().find(|policy| policy.name == name).map(|policy| PolicyCredential {
            keys: policy.keys,
            rights: Rights {
                registry_read: policy.rights.registry_read || policy.rights.registry_write,
                registry_write: policy.rights.registry_write,
                service_connect: policy.rights.service_connect,
                device_connect: policy.rights.device_connect,
            },
        }))
    }

    async fn authorities(&self) -> Result<Arc<[ChainAnchor]>, Fault> {
        self.anchors().await
    }

    fn host_names(&self) -> &[String] {
        &self.inner.settings.host_names
    }
}
