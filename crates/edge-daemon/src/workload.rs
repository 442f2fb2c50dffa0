//! The workload API: what a module asks with its identity's keys (`edge-runtime.md` §2.2).
//!
//! A module may act as itself only. Which module calls is told by the socket, and the caller's
//! process must be one of that module's; for any doubt the answer is 403 `forbidden`. The
//! generation in a path is no proof and none is taken from it (T-GENID).

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use containers::{ModuleName, SharedRuntime};
use host::http::StatusCode;
use iot_proto::management::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, IdentityCertificateRequest,
    ServerCertificateRequest, SignRequest, SignResponse, TrustBundle, WorkloadRoute,
};
use model::id::{EDGE_AGENT, EDGE_HUB};
use model::{DeviceId, ModuleId};
use pki::AuthorityError;
use pki::authority::ModuleIdentityNames;

use crate::certs::EdgeCa;
use crate::http::{Answer, Api, Asked, Refusal, json};
use crate::identity::Identities;
use crate::keys::{Bound, Keys};
use crate::modules;
use crate::peer::Caller;

/// What all workload sockets share.
pub(crate) struct Workload {
    pub(crate) keys: Arc<Keys>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) edge_ca: Arc<EdgeCa>,
    pub(crate) runtime: SharedRuntime,
    pub(crate) agent: modules::BuiltinAgent,
    pub(crate) hub: String,
    pub(crate) device: DeviceId,
}

/// The workload API on one module's socket.
pub(crate) struct Door {
    workload: Arc<Workload>,
    name: ModuleName,
    /// The only identity that may be asked for here.
    identity: String,
}

impl Door {
    pub(crate) fn new(workload: Arc<Workload>, name: ModuleName) -> Self {
        let identity = identity_of(&name);
        Self { workload, name, identity }
    }

    /// The module's identity, when the caller may act as it.
    async fn identity(&self, caller: &Caller, named: &str) -> Result<ModuleId, Refusal> {
        let may = if self.name.as_str() == AGENT_NAME && caller.is_ourselves() {
            true
        } else {
            named == self.identity && caller.is_of(&*self.workload.runtime, &self.name).await
        };
        if !may || named != self.identity {
            tracing::warn!(module = %self.name, ?caller, "refused a caller at a workload socket");
            return Err(Refusal::forbidden());
        }
        named.parse().map_err(|_| Refusal::forbidden())
    }

    async fn sign(&self, module: &ModuleId, asked: Asked) -> Result<Answer, Refusal> {
        let request: SignRequest = asked.json().await?;
        let data = decode("data", &request.data)?;
        let generation = self.workload.identities.generation(module)?;
        let digest = self.workload.keys.sign(module, &generation, &data);
        Ok(json(StatusCode::OK, &SignResponse { digest: STANDARD.encode(digest) }))
    }

    async fn encrypt(
        &self,
        module: &str,
        generation: &str,
        asked: Asked,
    ) -> Result<Answer, Refusal> {
        let request: EncryptRequest = asked.json().await?;
        let plaintext = decode("plaintext", &request.plaintext)?;
        let vector = vector(&request.initialization_vector)?;
        let bound = Bound { module, generation, vector: &vector };
        let ciphertext = self.workload.keys.encrypt(bound, &plaintext);
        Ok(json(StatusCode::OK, &EncryptResponse { ciphertext: STANDARD.encode(ciphertext) }))
    }

    async fn decrypt(
        &self,
        module: &str,
        generation: &str,
        asked: Asked,
    ) -> Result<Answer, Refusal> {
        let request: DecryptRequest = asked.json().await?;
        let ciphertext = decode("ciphertext", &request.ciphertext)?;
        let vector = vector(&request.initialization_vector)?;
        let bound = Bound { module, generation, vector: &vector };
        let plaintext = self.workload.keys.decrypt(bound, &ciphertext).map_err(|_| {
            // Which part is wrong is nobody's business.
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "cannot decrypt: ciphertext, initialization vector, module and generation must be those of the encryption",
            )
        })?;
        Ok(json(StatusCode::OK, &DecryptResponse { plaintext: STANDARD.encode(&*plaintext) }))
    }

    async fn server_certificate(&self, module: &ModuleId, asked: Asked) -> Result<Answer, Refusal> {
        let request: ServerCertificateRequest = asked.json().await?;
        let issued = self.workload.edge_ca.server(module.as_str(), &request.common_name);
        Ok(json(StatusCode::CREATED, &issued.map_err(certificate_refusal)?))
    }

    async fn identity_certificate(
        &self,
        module: &ModuleId,
        asked: Asked,
    ) -> Result<Answer, Refusal> {
        let _ignored: Option<IdentityCertificateRequest> = asked.optional_json().await?;
        let names = ModuleIdentityNames {
            hub: &self.workload.hub,
            device: self.workload.device.as_str(),
            module: module.as_str(),
        };
        let issued = self.workload.edge_ca.identity(names);
        Ok(json(StatusCode::CREATED, &issued.map_err(certificate_refusal)?))
    }
}

impl Api for Door {
    async fn answer(&self, caller: &Caller, asked: Asked) -> Result<Answer, Refusal> {
        match WorkloadRoute::parse(&asked.method, &asked.path)? {
            WorkloadRoute::ListModules => {
                let list = modules::list(&*self.workload.runtime, &self.workload.agent).await?;
                Ok(json(StatusCode::OK, &list))
            }
            WorkloadRoute::TrustBundle => {
                let certificate = self.workload.edge_ca.trust_bundle();
                Ok(json(StatusCode::OK, &TrustBundle { certificate }))
            }
            // Signed manifests are not served: nobody's signature is trusted.
            WorkloadRoute::ManifestTrustBundle => {
                Ok(json(StatusCode::OK, &TrustBundle { certificate: String::new() }))
            }
            WorkloadRoute::Sign { module, .. } => {
                self.sign(&self.identity(caller, &module).await?, asked).await
            }
            WorkloadRoute::Encrypt { module, generation } => {
                self.identity(caller, &module).await?;
                self.encrypt(&module, &generation, asked).await
            }
            WorkloadRoute::Decrypt { module, generation } => {
                self.identity(caller, &module).await?;
                self.decrypt(&module, &generation, asked).await
            }
            WorkloadRoute::ServerCertificate { module, .. } => {
                self.server_certificate(&self.identity(caller, &module).await?, asked).await
            }
            WorkloadRoute::IdentityCertificate { module } => {
                self.identity_certificate(&self.identity(caller, &module).await?, asked).await
            }
        }
    }
}

/// The identity of the module with this name: system modules have a `$` before it.
pub(crate) fn identity_of(name: &ModuleName) -> String {
    match name.as_str() {
        AGENT_NAME => EDGE_AGENT.to_owned(),
        HUB_NAME => EDGE_HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// A name for a directory, when the module's own would make a socket's path too long.
pub(crate) fn short_name(module: &ModuleName) -> String {
    let digest = digest::digest(&digest::SHA256, module.as_str().as_bytes());
    digest.as_ref().iter().take(SHORT_NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn decode(field: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(text)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, format!("{field} is not Base64")))
}

fn vector(text: &str) -> Result<Vec<u8>, Refusal> {
    let vector = decode("initializationVector", text)?;
    match vector.is_empty() {
        true => Err(Refusal::new(StatusCode::BAD_REQUEST, "initializationVector is empty")),
        false => Ok(vector),
    }
}

fn certificate_refusal(error: AuthorityError) -> Refusal {
    let status = match error {
        AuthorityError::Name { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::of(status, &error)
}

/// `$edgeAgent` in the runtime.
pub(crate) const AGENT_NAME: &str = "edgeAgent";
/// `$edgeHub` in the runtime.
pub(crate) const HUB_NAME: &str = "edgeHub";
const SHORT_NAME_BYTES: usize = 6;
