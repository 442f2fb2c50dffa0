//! Scopes: which edge device may act for whom (`service-api.md` §2.5, `edge-runtime.md` §5.5).
//! One level: an edge device, its modules, its leaves and theirs.

use gateway::backend::registry::ScopePage;
use iot_proto::payload::device::DeviceWrite;
use model::identity::{self, DeviceIdentity};
use model::{DeviceId, Fault, FaultKind, GenerationId, IdentityId};

use crate::Hub;

/// Devices in one page of a scope, at most.
const SCOPE_PAGE_MAX: usize = 100;

impl Hub {
    /// The scope and parent scopes of a device that is written: an edge device has its own scope
    /// for ever, a leaf has its parent's.
    pub(super) async fn scopes(
        &self,
        id: &DeviceId,
        input: &DeviceWrite,
        edge: bool,
        generation: &GenerationId,
    ) -> Result<(Option<String>, Vec<String>), Fault> {
        let named = match (&input.parent_scopes, &input.scope) {
            (Some(scopes), _) if scopes.len() > 1 => {
                return Err(Fault::new(
                    FaultKind::InvalidDeviceScope,
                    "parentScopes holds more than one scope",
                ));
            }
            (Some(scopes), scope) => match scopes.first() {
                Some(parent) => Some(parent),
                // A leaf's scope alone still names its parent; an edge device's names itself.
                None if !edge => scope.as_ref(),
                None => None,
            },
            (None, Some(scope)) if !edge => Some(scope),
            (None, _) => None,
        };
        let parent = match named.filter(|scope| !scope.is_empty()) {
            Some(scope) => Some(self.checked_parent(id, scope).await?),
            None => None,
        };
        let own = if edge { Some(identity::edge_scope(id, generation)) } else { parent.clone() };
        Ok((own, parent.into_iter().collect()))
    }

    async fn checked_parent(&self, child: &DeviceId, scope: &str) -> Result<String, Fault> {
        let invalid =
            |why: &str| Fault::new(FaultKind::InvalidDeviceScope, format!("scope '{scope}' {why}"));
        let (parent, _) = identity::parse_edge_scope(scope)
            .ok_or_else(|| invalid("does not name an edge device"))?;
        if parent == *child {
            return Err(invalid("is the device's own"));
        }
        let parent = self.stores().registry.device(&parent).await.map_err(super::unavailable)?;
        match parent {
            Some(parent) if parent.edge && parent.scope.as_deref() == Some(scope) => {
                Ok(scope.to_owned())
            }
            _ => Err(invalid("is not the scope of a registered edge device")),
        }
    }

    /// The device that may act for a device: itself when it runs the edge runtime, else its parent.
    pub(crate) fn acting_parent(device: &DeviceIdentity) -> Option<DeviceId> {
        if device.edge {
            return Some(device.id.clone());
        }
        device
            .parent_scopes
            .first()
            .and_then(|scope| identity::parse_edge_scope(scope))
            .map(|(parent, _)| parent)
    }

    pub(super) async fn scope_page(
        &self,
        edge: &DeviceId,
        page_size: usize,
        continuation: Option<&str>,
    ) -> Result<ScopePage, Fault> {
        let edge = self.edge_device(edge).await?;
        let after = match continuation {
            Some(text) => Some(
                text.parse().map_err(|_| Fault::argument("continuationLink is not one of ours"))?,
            ),
            None => None,
        };
        let page_size = page_size.clamp(1, SCOPE_PAGE_MAX);
        let mut devices = Vec::new();
        if after.is_none() {
            devices.push(edge.clone());
        }
        let scope = edge.scope.clone().unwrap_or_default();
        let children =
            self.stores().registry.devices_in_scope(&scope, after.as_ref(), page_size).await;
        let children = children.map_err(super::unavailable)?;
        let continuation = (children.len() == page_size)
            .then(|| children.last().map(|child| child.id.to_string()))
            .flatten();
        // A child that is an edge device acts for its own; it is named, its modules are not.
        devices.extend(children.into_iter().filter(|child| child.id != edge.id));
        let mut modules = Vec::new();
        for device in &devices {
            if Self::acting_parent(device).as_ref() == Some(&edge.id) {
                modules.extend(
                    self.stores().registry.modules(&device.id).await.map_err(super::unavailable)?,
                );
            }
        }
        Ok(ScopePage { devices, modules, continuation })
    }

    pub(super) async fn scope_one(
        &self,
        edge: &DeviceId,
        target: &IdentityId,
    ) -> Result<ScopePage, Fault> {
        let edge = self.edge_device(edge).await?;
        let device = self.stored_device(&target.device).await?;
        if Self::acting_parent(&device).as_ref() != Some(&edge.id) {
            let detail = format!("{target} is not in the scope of '{}'", edge.id);
            return Err(Fault::new(FaultKind::IotHubUnauthorizedAccess, detail));
        }
        let modules = match target.module {
            Some(_) => vec![self.stored_module(target).await?.ok_or_else(|| {
                Fault::new(
                    FaultKind::ModuleNotFound,
                    format!("The module '{target}' is not registered."),
                )
            })?],
            None => Vec::new(),
        };
        Ok(ScopePage { devices: vec![device], modules, continuation: None })
    }

    async fn edge_device(&self, id: &DeviceId) -> Result<DeviceIdentity, Fault> {
        let device = self.stored_device(id).await?;
        if device.edge {
            Ok(device)
        } else {
            Err(Fault::new(FaultKind::InvalidOperation, format!("'{id}' is not an edge device")))
        }
    }
}
