//! Registered certificate authorities: from a file that somebody sends to a certificate, and back.

use ::http::Response;
use bytes::Bytes;
use iot_proto::etag;
use iot_proto::payload::certificate::{
    CertificateJson, CertificateParts, CertificateWrite, CertificatesJson, read_proof,
};
use iot_proto::rest::Route;
use model::{Fault, FaultKind};
use pki::Certificate;

use super::resources::{for_delete, for_put};
use super::{Body, Head, ServiceBackend, answer};
use crate::backend::authorities::Authority;

impl<B: ServiceBackend> Head<B> {
    /// The routes below `/certificates`.
    pub(super) async fn certificates(
        &self,
        route: Route,
        if_match: &etag::IfMatch,
        body: &Bytes,
    ) -> Result<Response<Body>, Fault> {
        let backend = &*self.backend;
        match route {
            Route::ListAuthorities => {
                let all = backend.registered_authorities().await?;
                Ok(answer::json(&CertificatesJson { value: all.iter().map(json).collect() }))
            }
            Route::GetAuthority(name) => Ok(shown(&backend.authority(&name).await?)),
            Route::PutAuthority(name) => {
                let CertificateWrite { certificate, is_verified } = CertificateWrite::read(body)?;
                let certificate = read("properties.certificate", &certificate)?;
                let precondition = for_put(if_match)?;
                Ok(shown(
                    &backend.put_authority(&name, certificate, is_verified, precondition).await?,
                ))
            }
            Route::DeleteAuthority(name) => {
                backend.delete_authority(&name, for_delete(if_match)?).await?;
                Ok(answer::no_content())
            }
            Route::GenerateVerificationCode(name) => {
                let precondition = for_delete(if_match)?;
                Ok(shown(&backend.generate_verification_code(&name, precondition).await?))
            }
            Route::VerifyAuthority(name) => {
                let proof = read("certificate", &read_proof(body)?)?;
                let precondition = for_delete(if_match)?;
                Ok(shown(&backend.verify_authority(&name, proof, precondition).await?))
            }
            _ => Err(Fault::new(FaultKind::GenericNotFound, "no resource has this path")),
        }
    }
}

/// One certificate, PEM or DER.
fn read(field: &str, file: &[u8]) -> Result<Certificate, Fault> {
    let refused = |reason: String| Fault::argument(format!("{field}: {reason}"));
    let text = std::str::from_utf8(file).ok().filter(|text| text.contains("-----BEGIN"));
    let Some(text) = text else {
        return Certificate::from_der(&file.into())
            .map_err(|error| refused(format!("{error}; PEM or DER is needed")));
    };
    let chain = Certificate::chain_from_pem(text).map_err(|error| refused(error.to_string()))?;
    match <[Certificate; 1]>::try_from(chain) {
        Ok([certificate]) => Ok(certificate),
        Err(chain) => Err(refused(format!(
            "it holds {} certificates; send only the one that is meant",
            chain.len()
        ))),
    }
}

fn shown(authority: &Authority) -> Response<Body> {
    answer::json_etag(&json(authority), &etag::identity(authority.etag))
}

fn json(authority: &Authority) -> CertificateJson {
    let certificate = &authority.certificate;
    CertificateJson::new(&CertificateParts {
        name: &authority.name,
        etag: authority.etag,
        subject: certificate.common_name.as_deref().unwrap_or_default(),
        expiry: certificate.not_after,
        thumbprint: &certificate.thumbprint_sha1(),
        is_verified: authority.is_verified,
        created: authority.created,
        updated: authority.updated,
        certificate: certificate.der(),
        verification_code: authority.verification_code.as_deref(),
    })
}
