//! Twins, as back ends read and write them.

use gateway::backend::twins::{TwinBackend, TwinOf};
use model::twin::TwinChange;
use model::{Etag, Fault, FaultKind, IdentityId};
use store::StoreError;
use store::signals::Signal;
use store::twins::{Mutation, TwinWrite};
use tokio::sync::Mutex;

use crate::{Hub, fault};

/// Keeps notifications in version order: a write and its signal are one step per identity. Sharded,
/// so that writes to different identities still share commits.
#[derive(Default)]
pub(crate) struct OrderLocks {
    shards: [Mutex<()>; SHARDS],
}

const SHARDS: usize = 32;

impl OrderLocks {
    fn of(&self, id: &IdentityId) -> &Mutex<()> {
        let hash = crate::routing::partition(&id.device, SHARDS as u32);
        &self.shards[hash as usize]
    }
}

impl TwinBackend for Hub {
    async fn twin(&self, id: &IdentityId) -> Result<TwinOf, Fault> {
        self.twin_of(id).await
    }

    async fn patch_twin(
        &self,
        id: &IdentityId,
        change: TwinChange,
        expected: Option<Etag>,
    ) -> Result<TwinOf, Fault> {
        self.write_twin(id, Mutation::Patch(change, expected)).await?;
        self.twin_of(id).await
    }

    async fn replace_twin(
        &self,
        id: &IdentityId,
        change: TwinChange,
        expected: Option<Etag>,
    ) -> Result<TwinOf, Fault> {
        self.write_twin(id, Mutation::Replace(change, expected)).await?;
        self.twin_of(id).await
    }
}

impl Hub {
    pub(crate) async fn write_twin(
        &self,
        id: &IdentityId,
        mutation: Mutation,
    ) -> Result<(), Fault> {
        let write = TwinWrite { id: id.clone(), mutation, now: self.now() };
        let _in_order = self.inner.twin_order.of(id).lock().await;
        let written = match self.stores().twins.write(vec![write]).await.into_iter().next() {
            Some(result) => result.map_err(|error| fault(error, kind(id), id))?,
            None => return Err(Fault::unavailable("the store gave no answer")),
        };
        if let Some(patch) = written.changed.and_then(|changed| changed.desired_patch) {
            let version = written.twin.desired.version;
            self.stores().signals.send(Signal::Desired { id: id.clone(), patch, version });
        }
        Ok(())
    }

    async fn twin_of(&self, id: &IdentityId) -> Result<TwinOf, Fault> {
        use gateway::backend::registry::RegistryBackend;
        let device = self.device(&id.device).await?;
        let module = match id.module {
            Some(_) => Some(self.module(id).await?),
            None => None,
        };
        let record =
            self.stores().twins.twin(id).await.map_err(|error| fault(error, kind(id), id))?;
        let record = record.ok_or_else(|| fault(StoreError::NotFound, kind(id), id))?;
        Ok(TwinOf { device, module, twin: record.twin, model_id: record.model_id })
    }
}

fn kind(id: &IdentityId) -> FaultKind {
    if id.module.is_some() { FaultKind::ModuleNotFound } else { FaultKind::DeviceNotFound }
}
