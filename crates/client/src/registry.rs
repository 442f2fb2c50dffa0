//! Module identities at a hub, kept by the device with its own key or certificate.
//!
//! What identityd does (`edge-runtime.md` §2.5): tokens of 30 s for the lower-cased resource of
//! the device, an API version of its own, and creating a module is two PUTs, because its keys are
//! derived from the generation that the first one gives.

use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::http::Request;
use host::tls::ClientTls;
use iot_proto::etag::IfMatch;
use iot_proto::payload::AuthenticationWrite;
use iot_proto::payload::module::{ModuleJson, ModuleWrite};
use iot_proto::rest::{API_VERSION_IDENTITY, Route};
use iot_proto::sas::identity_resource;
use model::identity::SymmetricKeys;
use model::{DeviceId, GenerationId, IdentityId, ModuleId};

use crate::dial::Dial;
use crate::rest::{Rest, if_match};
use crate::signer::{Proof, Signer, TokenRecipe};

pub use crate::rest::RestError;

/// The registry of one device's modules.
#[derive(Debug, Clone)]
pub struct DeviceRegistryClient {
    rest: Rest,
    device: DeviceId,
}

impl DeviceRegistryClient {
    /// A client for `device` at the hub named `host_name`, dialling `dial` (the hub or a parent
    /// edge hub). `signer` has the device's key; without one the certificate that `tls` carries is
    /// the proof.
    pub fn new(
        host_name: &str,
        dial: Dial,
        tls: ClientTls,
        device: DeviceId,
        signer: Option<Arc<dyn Signer>>,
        clock: Clock,
    ) -> Self {
        let resource = identity_resource(host_name, &IdentityId::device(device.clone()));
        let token = TokenRecipe {
            // Whole and before signing, as identityd does.
            resource: resource.to_ascii_lowercase(),
            key_name: None,
            lifetime: TOKEN_LIFETIME,
        };
        let client = dial.https(tls);
        let proof = match signer {
            Some(signer) => Proof::Token { signer, recipe: token },
            None => Proof::Certificate,
        };
        Self { rest: Rest::new(dial, client, proof, clock), device }
    }

    /// All modules of the device.
    pub async fn modules(&self) -> Result<Vec<ModuleJson>, RestError> {
        self.rest.call_for(request(&Route::ListModules(self.device.clone()))).await
    }

    /// One module.
    pub async fn module(&self, module: &ModuleId) -> Result<ModuleJson, RestError> {
        let route = Route::GetModule(self.device.clone(), module.clone());
        self.rest.call_for(request(&route)).await
    }

    /// Creates a module, or takes over one that exists, and gives it the keys that `derive` makes
    /// of its generation.
    pub async fn create(
        &self,
        module: &ModuleId,
        managed_by: Option<&str>,
        derive: impl FnOnce(&GenerationId) -> SymmetricKeys + Send,
    ) -> Result<ModuleJson, RestError> {
        let managed_by = managed_by.map(str::to_owned);
        let bare = ModuleWrite {
            managed_by: managed_by.clone(),
            authentication: AuthenticationWrite::Keep,
        };
        let created = match self.put(module, &bare, &IfMatch::Absent).await {
            Err(error) if error.code_name() == Some(ALREADY_EXISTS) => self.module(module).await?,
            outcome => outcome?,
        };
        let keys = derive(&GenerationId::from_text(&created.generation_id));
        self.update(module, managed_by.as_deref(), keys).await
    }

    /// Gives a module its keys.
    pub async fn update(
        &self,
        module: &ModuleId,
        managed_by: Option<&str>,
        keys: SymmetricKeys,
    ) -> Result<ModuleJson, RestError> {
        let write = ModuleWrite {
            managed_by: managed_by.map(str::to_owned),
            authentication: AuthenticationWrite::Keys(keys),
        };
        self.put(module, &write, &IfMatch::Any).await
    }

    /// Deletes a module. One that is not there is as good as deleted.
    pub async fn delete(&self, module: &ModuleId) -> Result<(), RestError> {
        let route = Route::DeleteModule(self.device.clone(), module.clone());
        match self.rest.call(if_match(request(&route), &IfMatch::Any)).await {
            Err(error) if error.code_name() == Some(NOT_FOUND) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn put(
        &self,
        module: &ModuleId,
        write: &ModuleWrite,
        demand: &IfMatch,
    ) -> Result<ModuleJson, RestError> {
        let route = Route::PutModule(self.device.clone(), module.clone());
        let request = request(&route).json(write.to_body(&self.device, module));
        self.rest.call_for(if_match(request, demand)).await
    }
}

fn request(route: &Route) -> Request {
    let path = route.path_and_query(API_VERSION_IDENTITY, &[]);
    Request::new(route.method(), path).deadline(DEADLINE)
}

/// identityd's (`edge-runtime.md` §2.5).
const TOKEN_LIFETIME: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(70);
const ALREADY_EXISTS: &str = "ModuleAlreadyExistsOnDevice";
const NOT_FOUND: &str = "ModuleNotFound";
