//! The workload API: what a module asks the daemon with its identity's keys.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::management::{
    CertificateResponse, DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse,
    IdentityCertificateRequest, ModuleDetails, ModuleList, ServerCertificateRequest, SignRequest,
    SignResponse, TrustBundle, WorkloadRoute,
};
use iot_proto::payload;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{EdgeError, Socket, request};

/// The workload API for one module.
#[derive(Debug, Clone)]
pub struct WorkloadClient {
    socket: Socket,
    module: String,
    generation: String,
}

impl WorkloadClient {
    /// A client at `socket` for a module and its generation.
    pub fn new(socket: &Path, module: impl Into<String>, generation: impl Into<String>) -> Self {
        Self { socket: Socket::new(socket), module: module.into(), generation: generation.into() }
    }

    /// Every module of the device.
    pub async fn modules(&self) -> Result<Vec<ModuleDetails>, EdgeError> {
        let list: ModuleList = self.get(&WorkloadRoute::ListModules).await?;
        Ok(list.modules)
    }

    /// The HMAC-SHA256 of `data` with the module's key.
    pub async fn sign(&self, data: &[u8]) -> Result<Vec<u8>, EdgeError> {
        let route = WorkloadRoute::Sign {
            module: self.module.clone(),
            generation: self.generation.clone(),
        };
        let body = SignRequest {
            key_id: Some("primary".to_owned()),
            algo: Some("HMACSHA256".to_owned()),
            data: STANDARD.encode(data),
        };
        let response: SignResponse = self.post(&route, &body).await?;
        decode(&response.digest)
    }

    /// Encrypts with the device's key, bound to the module and its generation.
    pub async fn encrypt(&self, plaintext: &[u8], vector: &[u8]) -> Result<Vec<u8>, EdgeError> {
        let route = WorkloadRoute::Encrypt {
            module: self.module.clone(),
            generation: self.generation.clone(),
        };
        let body = EncryptRequest {
            plaintext: STANDARD.encode(plaintext),
            initialization_vector: STANDARD.encode(vector),
        };
        let response: EncryptResponse = self.post(&route, &body).await?;
        decode(&response.ciphertext)
    }

    /// Decrypts what [`Self::encrypt`] gave.
    pub async fn decrypt(&self, ciphertext: &[u8], vector: &[u8]) -> Result<Vec<u8>, EdgeError> {
        let route = WorkloadRoute::Decrypt {
            module: self.module.clone(),
            generation: self.generation.clone(),
        };
        let body = DecryptRequest {
            ciphertext: STANDARD.encode(ciphertext),
            initialization_vector: STANDARD.encode(vector),
        };
        let response: DecryptResponse = self.post(&route, &body).await?;
        decode(&response.plaintext)
    }

    /// A server certificate for a name that clients dial, with its key.
    pub async fn server_certificate(
        &self,
        common_name: &str,
    ) -> Result<CertificateResponse, EdgeError> {
        let route = WorkloadRoute::ServerCertificate {
            module: self.module.clone(),
            generation: self.generation.clone(),
        };
        let body =
            ServerCertificateRequest { common_name: common_name.to_owned(), expiration: None };
        self.post(&route, &body).await
    }

    /// The module's identity certificate, with its key.
    pub async fn identity_certificate(&self) -> Result<CertificateResponse, EdgeError> {
        let route = WorkloadRoute::IdentityCertificate { module: self.module.clone() };
        self.post(&route, &IdentityCertificateRequest::default()).await
    }

    /// Whom modules trust, PEM; empty when there is no bundle.
    pub async fn trust_bundle(&self) -> Result<String, EdgeError> {
        match self.get::<TrustBundle>(&WorkloadRoute::TrustBundle).await {
            Ok(bundle) => Ok(bundle.certificate),
            Err(error) if error.status() == Some(NOT_FOUND) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Who signs manifests, PEM; empty when nobody does.
    pub async fn manifest_trust_bundle(&self) -> Result<String, EdgeError> {
        let bundle: TrustBundle = self.get(&WorkloadRoute::ManifestTrustBundle).await?;
        Ok(bundle.certificate)
    }

    async fn get<T: DeserializeOwned>(&self, route: &WorkloadRoute) -> Result<T, EdgeError> {
        self.socket.call_for(request(route.method(), &route.path(), &[])).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        route: &WorkloadRoute,
        body: &impl Serialize,
    ) -> Result<T, EdgeError> {
        let request = request(route.method(), &route.path(), &[]).json(payload::write(body));
        self.socket.call_for(request).await
    }
}

fn decode(text: &str) -> Result<Vec<u8>, EdgeError> {
    STANDARD.decode(text).map_err(|_| EdgeError::Malformed("no Base64".to_owned()))
}

const NOT_FOUND: u16 = 404;
