//! Deployment content for one device (`service-api.md` §7.7): module identities that are missing,
//! then the desired properties of each module named.

use gateway::backend::configurations::ConfigurationBackend;
use iot_proto::payload::AuthenticationWrite;
use iot_proto::payload::module::ModuleWrite;
use manifest::content::{self, TwinReplacement};
use model::twin::TwinChange;
use model::{DeviceId, Fault, FaultKind, IdentityId};
use serde_json::Value;
use store::twins::Mutation;

use crate::{Hub, fault};

impl ConfigurationBackend for Hub {
    async fn apply_content(&self, device: &DeviceId, content: Value) -> Result<(), Fault> {
        let invalid = |why: &dyn std::fmt::Display| {
            Fault::new(
                FaultKind::InvalidConfigurationContent,
                format!("the deployment manifest is wrong: {why}"),
            )
        };
        let stored = self.stored_device(device).await?;
        if !stored.edge {
            return Err(Fault::new(
                FaultKind::InvalidOperation,
                format!("'{device}' is not an edge device; create it with capabilities.iotEdge"),
            ));
        }
        let Value::Object(content) = content else {
            return Err(invalid(&"it is not a JSON object"));
        };
        let mut plan =
            content::plan_apply(&content).map_err(|error| invalid(&host::logs::chain(&error)))?;
        // The agent acts on its own twin, so that comes last: what it then creates finds its
        // identity, desired properties and routes in place.
        plan.sort_by_key(|replacement| {
            (replacement.module.is_system(), replacement.module.as_str() == "$edgeAgent")
        });
        // Everything is checked before anything is written.
        let mut writes = Vec::with_capacity(plan.len());
        for replacement in plan {
            let id = IdentityId::module(device.clone(), replacement.module.clone());
            let desired = self.resulting_desired(&id, &replacement).await?;
            writes.push((id, desired));
        }
        for (id, desired) in writes {
            self.ensure_module(&id).await?;
            let change = TwinChange { tags: None, desired: Some(desired) };
            let mutation = self.replacing_desired(&id, change).await?;
            self.write_twin(&id, mutation).await?;
        }
        Ok(())
    }
}

impl Hub {
    async fn resulting_desired(
        &self,
        id: &IdentityId,
        replacement: &TwinReplacement,
    ) -> Result<model::twin::Object, Fault> {
        let record = self
            .stores()
            .twins
            .twin(id)
            .await
            .map_err(|e| fault(e, FaultKind::ModuleNotFound, id))?;
        let current = record.map(|record| record.twin.desired.properties).unwrap_or_default();
        replacement.resulting_desired(&current).map_err(|error| {
            let detail = format!("the deployment manifest is wrong: {}", host::logs::chain(&error));
            Fault::new(FaultKind::InvalidConfigurationContent, detail)
        })
    }

    /// A replacement of the desired section that leaves the tags as they are.
    async fn replacing_desired(
        &self,
        id: &IdentityId,
        change: TwinChange,
    ) -> Result<Mutation, Fault> {
        let record = self
            .stores()
            .twins
            .twin(id)
            .await
            .map_err(|e| fault(e, FaultKind::ModuleNotFound, id))?;
        let tags = record.map(|record| record.twin.tags);
        Ok(Mutation::Replace(TwinChange { tags, ..change }, None))
    }

    async fn ensure_module(&self, id: &IdentityId) -> Result<(), Fault> {
        if self.stored_module(id).await?.is_some() {
            return Ok(());
        }
        let input = ModuleWrite {
            managed_by: Some("IotEdge".into()),
            authentication: AuthenticationWrite::Keep,
        };
        match self.create_module(id, input).await {
            // Somebody else was quicker.
            Err(fault) if fault.kind == FaultKind::ModuleAlreadyExistsOnDevice => Ok(()),
            result => result.map(drop),
        }
    }
}
