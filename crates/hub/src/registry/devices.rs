//! Devices.

use gateway::backend::registry::Device;
use iot_proto::payload::device::DeviceWrite;
use model::id::{Etag, Precondition};
use model::identity::{self, DeviceIdentity, ModuleIdentity, Status};
use model::limits;
use model::{DeviceId, Fault, FaultKind, IdentityId, ModuleId};
use store::outbox::HubEventKind;
use store::signals::Signal;

use super::authentication;
use crate::{Hub, fault, outbox};

impl Hub {
    pub(super) async fn read_device(&self, id: &DeviceId) -> Result<Device, Fault> {
        let identity = self.stored_device(id).await?;
        self.with_device_facts(identity).await
    }

    pub(super) async fn list_devices(&self, limit: usize) -> Result<Vec<Device>, Fault> {
        let limit = if (1..=limits::LIST_PAGE_MAX).contains(&limit) {
            limit
        } else {
            limits::LIST_PAGE_MAX
        };
        let identities =
            self.stores().registry.devices(None, limit).await.map_err(super::unavailable)?;
        let mut devices = Vec::with_capacity(identities.len());
        for identity in identities {
            devices.push(self.with_device_facts(identity).await?);
        }
        Ok(devices)
    }

    pub(super) async fn write_device(
        &self,
        id: &DeviceId,
        input: DeviceWrite,
        precondition: Precondition,
    ) -> Result<Device, Fault> {
        let stored = self.stores().registry.device(id).await;
        let identity = match stored.map_err(|error| fault(error, FaultKind::DeviceNotFound, id))? {
            None if precondition == Precondition::Absent => self.create_device(id, input).await?,
            None => return Err(not_found(id)),
            Some(stored) => self.change_device(stored, input, precondition).await?,
        };
        self.with_device_facts(identity).await
    }

    async fn create_device(
        &self,
        id: &DeviceId,
        input: DeviceWrite,
    ) -> Result<DeviceIdentity, Fault> {
        let generation = self.next_generation();
        let edge = input.edge.unwrap_or(false);
        let (scope, parent_scopes) = self.scopes(id, &input, edge, &generation).await?;
        let device = DeviceIdentity {
            id: id.clone(),
            generation,
            etag: Etag(0),
            status: input.status.unwrap_or(Status::Enabled),
            status_reason: input.status_reason.filter(|reason| !reason.is_empty()),
            status_updated: None,
            authentication: authentication::resolve(input.authentication, None),
            edge,
            scope,
            parent_scopes,
        };
        let now = self.now();
        let event = outbox::lifecycle(
            HubEventKind::IdentityCreated,
            &device.id,
            None,
            &device.generation,
            now,
        );
        let modules = if edge { self.system_modules(&device) } else { Vec::new() };
        self.stores()
            .registry
            .put_device(device, modules, Precondition::Absent, vec![event])
            .await
            .map_err(|error| fault(error, FaultKind::DeviceNotFound, id))
    }

    async fn change_device(
        &self,
        stored: DeviceIdentity,
        input: DeviceWrite,
        precondition: Precondition,
    ) -> Result<DeviceIdentity, Fault> {
        if precondition == Precondition::Absent {
            let detail = format!("A device with ID '{}' is already registered.", stored.id);
            return Err(Fault::new(FaultKind::DeviceAlreadyExists, detail));
        }
        if input.edge.is_some_and(|edge| edge != stored.edge) {
            return Err(Fault::new(
                FaultKind::InvalidOperation,
                "capabilities.iotEdge cannot be changed; delete the device and create it again",
            ));
        }
        let (scope, parent_scopes) = match (&input.scope, &input.parent_scopes) {
            (None, None) => (stored.scope.clone(), stored.parent_scopes.clone()),
            _ => self.scopes(&stored.id, &input, stored.edge, &stored.generation).await?,
        };
        let status = input.status.unwrap_or(stored.status);
        let status_updated =
            if status == stored.status { stored.status_updated } else { Some(self.now()) };
        let changed = DeviceIdentity {
            status,
            status_updated,
            status_reason: input.status_reason.filter(|reason| !reason.is_empty()),
            authentication: authentication::resolve(
                input.authentication,
                Some(&stored.authentication),
            ),
            scope,
            parent_scopes,
            ..stored.clone()
        };
        let must_prove_again = changed.status != stored.status
            || changed.authentication != stored.authentication
            || changed.parent_scopes != stored.parent_scopes;
        let id = changed.id.clone();
        // Without If-Match this was a create; with `*` the version that was just read is demanded,
        // so that two changes at once cannot overwrite each other's half.
        let precondition = match precondition {
            Precondition::Matches(etag) => Precondition::Matches(etag),
            _ => Precondition::Matches(stored.etag),
        };
        let written = self
            .stores()
            .registry
            .put_device(changed, Vec::new(), precondition, Vec::new())
            .await
            .map_err(|error| fault(error, FaultKind::DeviceNotFound, &id))?;
        if must_prove_again {
            self.stores().signals.send(Signal::IdentityChanged(IdentityId::device(id)));
        }
        Ok(written)
    }

    pub(super) async fn remove_device(
        &self,
        id: &DeviceId,
        precondition: Precondition,
    ) -> Result<(), Fault> {
        let stored = self.stored_device(id).await?;
        let event = outbox::lifecycle(
            HubEventKind::IdentityDeleted,
            id,
            None,
            &stored.generation,
            self.now(),
        );
        self.stores()
            .registry
            .delete_device(id, precondition, vec![event])
            .await
            .map_err(|error| fault(error, FaultKind::DeviceNotFound, id))?;
        self.stores().signals.send(Signal::IdentityChanged(IdentityId::device(id.clone())));
        Ok(())
    }

    pub(crate) async fn stored_device(&self, id: &DeviceId) -> Result<DeviceIdentity, Fault> {
        let found = self.stores().registry.device(id).await;
        found
            .map_err(|error| fault(error, FaultKind::DeviceNotFound, id))?
            .ok_or_else(|| not_found(id))
    }

    /// Every edge device has these two from its first moment.
    fn system_modules(&self, device: &DeviceIdentity) -> Vec<ModuleIdentity> {
        [ModuleId::edge_agent(), ModuleId::edge_hub()]
            .into_iter()
            .map(|id| ModuleIdentity {
                device: device.id.clone(),
                id,
                generation: self.next_generation(),
                etag: Etag(0),
                managed_by: Some("IotEdge".into()),
                authentication: identity::Authentication::Sas(authentication::new_keys()),
            })
            .collect()
    }
}

fn not_found(id: &DeviceId) -> Fault {
    Fault::new(FaultKind::DeviceNotFound, format!("The device '{id}' is not registered."))
}
