//! Modules.

use gateway::backend::registry::Module;
use iot_proto::payload::module::ModuleWrite;
use model::id::{Etag, Precondition};
use model::identity::ModuleIdentity;
use model::{DeviceId, Fault, FaultKind, IdentityId, ModuleId};
use store::outbox::HubEventKind;
use store::signals::Signal;

use super::authentication;
use crate::{Hub, fault, outbox};

impl Hub {
    pub(super) async fn read_module(&self, id: &IdentityId) -> Result<Module, Fault> {
        self.stored_device(&id.device).await?;
        let identity = self.stored_module(id).await?.ok_or_else(|| not_found(id))?;
        self.with_module_facts(identity).await
    }

    pub(super) async fn list_modules(&self, device: &DeviceId) -> Result<Vec<Module>, Fault> {
        self.stored_device(device).await?;
        let identities =
            self.stores().registry.modules(device).await.map_err(super::unavailable)?;
        let mut modules = Vec::with_capacity(identities.len());
        for identity in identities {
            modules.push(self.with_module_facts(identity).await?);
        }
        Ok(modules)
    }

    pub(super) async fn write_module(
        &self,
        id: &IdentityId,
        input: ModuleWrite,
        precondition: Precondition,
    ) -> Result<Module, Fault> {
        self.stored_device(&id.device).await?;
        let identity = match self.stored_module(id).await? {
            None if precondition == Precondition::Absent => self.create_module(id, input).await?,
            None => return Err(not_found(id)),
            Some(stored) => self.change_module(stored, input, precondition).await?,
        };
        self.with_module_facts(identity).await
    }

    pub(crate) async fn create_module(
        &self,
        id: &IdentityId,
        input: ModuleWrite,
    ) -> Result<ModuleIdentity, Fault> {
        let module = module_of(id)?;
        let identity = ModuleIdentity {
            device: id.device.clone(),
            id: module.clone(),
            generation: self.next_generation(),
            etag: Etag(0),
            managed_by: input.managed_by,
            authentication: authentication::resolve(input.authentication, None),
        };
        let event = outbox::lifecycle(
            HubEventKind::IdentityCreated,
            &identity.device,
            Some(module),
            &identity.generation,
            self.now(),
        );
        self.put(identity, Precondition::Absent, vec![event]).await
    }

    async fn change_module(
        &self,
        stored: ModuleIdentity,
        input: ModuleWrite,
        precondition: Precondition,
    ) -> Result<ModuleIdentity, Fault> {
        if precondition == Precondition::Absent {
            let detail = format!(
                "A module with ID '{}' already exists on device '{}'.",
                stored.id, stored.device
            );
            return Err(Fault::new(FaultKind::ModuleAlreadyExistsOnDevice, detail));
        }
        let changed = ModuleIdentity {
            managed_by: input.managed_by.or_else(|| stored.managed_by.clone()),
            authentication: authentication::resolve(
                input.authentication,
                Some(&stored.authentication),
            ),
            ..stored.clone()
        };
        let must_prove_again = changed.authentication != stored.authentication;
        let precondition = match precondition {
            Precondition::Matches(etag) => Precondition::Matches(etag),
            _ => Precondition::Matches(stored.etag),
        };
        let written = self.put(changed, precondition, Vec::new()).await?;
        if must_prove_again {
            self.stores().signals.send(Signal::IdentityChanged(written.identity()));
        }
        Ok(written)
    }

    async fn put(
        &self,
        module: ModuleIdentity,
        precondition: Precondition,
        events: Vec<store::outbox::HubEvent>,
    ) -> Result<ModuleIdentity, Fault> {
        let id = module.identity();
        match self.stores().registry.put_module(module, precondition, events).await {
            Err(store::StoreError::Full { limit, .. }) => Err(Fault::new(
                FaultKind::TooManyModulesOnDevice,
                format!("device '{}' has {limit} modules already, which is the most", id.device),
            )),
            result => result.map_err(|error| fault(error, FaultKind::ModuleNotFound, &id)),
        }
    }

    pub(super) async fn remove_module(
        &self,
        id: &IdentityId,
        precondition: Precondition,
    ) -> Result<(), Fault> {
        self.stored_device(&id.device).await?;
        let stored = self.stored_module(id).await?.ok_or_else(|| not_found(id))?;
        let event = outbox::lifecycle(
            HubEventKind::IdentityDeleted,
            &stored.device,
            Some(&stored.id),
            &stored.generation,
            self.now(),
        );
        self.stores()
            .registry
            .delete_module(&stored.device, &stored.id, precondition, vec![event])
            .await
            .map_err(|error| fault(error, FaultKind::ModuleNotFound, id))?;
        self.stores().signals.send(Signal::IdentityChanged(id.clone()));
        Ok(())
    }

    pub(crate) async fn stored_module(
        &self,
        id: &IdentityId,
    ) -> Result<Option<ModuleIdentity>, Fault> {
        let found = self.stores().registry.module(&id.device, module_of(id)?).await;
        found.map_err(|error| fault(error, FaultKind::ModuleNotFound, id))
    }
}

fn module_of(id: &IdentityId) -> Result<&ModuleId, Fault> {
    id.module.as_ref().ok_or_else(|| Fault::argument(format!("{id} is a device; name a module")))
}

fn not_found(id: &IdentityId) -> Fault {
    Fault::new(FaultKind::ModuleNotFound, format!("The module '{id}' is not registered."))
}
