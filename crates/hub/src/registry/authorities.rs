//! Registered certificate authorities (`service-api.md` §8.1): who may register one, and whose
//! certificates then let devices and modules in.

use std::fmt::Write as _;
use std::sync::Arc;

use gateway::backend::authorities::{Authority, AuthorityBackend};
use model::id::Precondition;
use model::limits::AUTHORITIES_MAX;
use model::{AuthorityName, Fault, FaultKind};
use parking_lot::Mutex;
use pki::{Certificate, ChainAnchor, chain};
use store::StoreError;
use store::authorities::{AuthorityWrite, StoredAuthority};
use store::signals::Signal;

use crate::Hub;

impl AuthorityBackend for Hub {
    async fn registered_authorities(&self) -> Result<Vec<Authority>, Fault> {
        let stored = self.stores().authorities.authorities().await.map_err(failed)?;
        stored.iter().map(read).collect()
    }

    async fn authority(&self, name: &AuthorityName) -> Result<Authority, Fault> {
        read(&self.stored_authority(name).await?)
    }

    async fn put_authority(
        &self,
        name: &AuthorityName,
        certificate: Certificate,
        is_verified: bool,
        precondition: Precondition,
    ) -> Result<Authority, Fault> {
        // Whether it can be one at all.
        let refused = |error| Fault::argument(format!("properties.certificate: {error}"));
        let anchor = ChainAnchor::new(certificate).map_err(refused)?;
        let certificate = anchor.certificate();
        if !certificate.is_valid_at(self.now()) {
            return Err(Fault::argument(format!(
                "properties.certificate: it is valid from {} to {} only",
                certificate.not_before, certificate.not_after
            )));
        }
        let der: Arc<[u8]> = Arc::from(&certificate.der()[..]);
        let before = match precondition {
            Precondition::Absent => None,
            _ => self.stored_authority(name).await.ok(),
        };
        let was_verified =
            before.is_some_and(|before| before.certificate == der && before.is_verified);
        self.write_authority(
            AuthorityWrite {
                name: name.clone(),
                certificate: der,
                is_verified: is_verified || was_verified,
                verification_code: None,
                now: self.now(),
            },
            precondition,
        )
        .await
    }

    async fn delete_authority(
        &self,
        name: &AuthorityName,
        precondition: Precondition,
    ) -> Result<(), Fault> {
        let deleted = self.stores().authorities.delete_authority(name, precondition).await;
        deleted.map_err(|error| fault(error, name))?;
        self.stores().signals.send(Signal::AuthoritiesChanged);
        Ok(())
    }

    async fn generate_verification_code(
        &self,
        name: &AuthorityName,
        precondition: Precondition,
    ) -> Result<Authority, Fault> {
        let stored = self.stored_authority(name).await?;
        demand(precondition, &stored)?;
        let code = host::entropy::bytes::<CODE_BYTES>().iter().fold(
            String::with_capacity(2 * CODE_BYTES),
            |mut code, byte| {
                let _ = write!(code, "{byte:02X}");
                code
            },
        );
        let write = AuthorityWrite { verification_code: Some(code), ..self.rewrite(&stored) };
        self.write_authority(write, Precondition::Matches(stored.etag)).await
    }

    async fn verify_authority(
        &self,
        name: &AuthorityName,
        proof: Certificate,
        precondition: Precondition,
    ) -> Result<Authority, Fault> {
        let stored = self.stored_authority(name).await?;
        demand(precondition, &stored)?;
        let code = stored.verification_code.as_deref().ok_or_else(|| {
            Fault::new(
                FaultKind::InvalidOperation,
                "no verification code was made since the last change; generate one first",
            )
        })?;
        let authority = read(&stored)?.certificate;
        chain::verify_possession(&proof, &authority, code, self.now())
            .map_err(|error| Fault::argument(format!("certificate: {error}")))?;
        let write =
            AuthorityWrite { is_verified: true, verification_code: None, ..self.rewrite(&stored) };
        self.write_authority(write, Precondition::Matches(stored.etag)).await
    }
}

impl Hub {
    /// The verified authorities, read once for as long as they stay the same.
    pub(crate) async fn anchors(&self) -> Result<Arc<[ChainAnchor]>, Fault> {
        let stored = self.stores().authorities.authorities().await.map_err(failed)?;
        let mut cached = self.inner.anchors.0.lock();
        if let Some(made) = &*cached
            && Arc::ptr_eq(&made.of, &stored)
        {
            return Ok(made.anchors.clone());
        }
        let verified = stored.iter().filter(|stored| stored.is_verified);
        let anchors = verified.map(anchor).collect::<Result<Arc<[_]>, _>>()?;
        *cached = Some(Made { of: stored, anchors: anchors.clone() });
        Ok(anchors)
    }

    async fn stored_authority(&self, name: &AuthorityName) -> Result<StoredAuthority, Fault> {
        let stored = self.stores().authorities.authorities().await.map_err(failed)?;
        let found = stored.iter().find(|stored| stored.name == *name).cloned();
        found.ok_or_else(|| fault(StoreError::NotFound, name))
    }

    fn rewrite(&self, stored: &StoredAuthority) -> AuthorityWrite {
        AuthorityWrite {
            name: stored.name.clone(),
            certificate: stored.certificate.clone(),
            is_verified: stored.is_verified,
            verification_code: stored.verification_code.clone(),
            now: self.now(),
        }
    }

    async fn write_authority(
        &self,
        write: AuthorityWrite,
        precondition: Precondition,
    ) -> Result<Authority, Fault> {
        let name = write.name.clone();
        let written =
            self.stores().authorities.put_authority(write, precondition, AUTHORITIES_MAX).await;
        let written = written.map_err(|error| fault(error, &name))?;
        self.stores().signals.send(Signal::AuthoritiesChanged);
        read(&written)
    }
}

/// The verified authorities, as they were read last.
#[derive(Default)]
pub(crate) struct Anchors(Mutex<Option<Made>>);

struct Made {
    of: Arc<[StoredAuthority]>,
    anchors: Arc<[ChainAnchor]>,
}

/// Random bytes of a verification code; the service's has 24 as well, in hex.
const CODE_BYTES: usize = 24;

fn demand(precondition: Precondition, stored: &StoredAuthority) -> Result<(), Fault> {
    match precondition {
        Precondition::Matches(etag) if etag != stored.etag => {
            Err(fault(StoreError::Precondition, &stored.name))
        }
        _ => Ok(()),
    }
}

fn read(stored: &StoredAuthority) -> Result<Authority, Fault> {
    Ok(Authority {
        name: stored.name.clone(),
        certificate: certificate(stored)?,
        is_verified: stored.is_verified,
        verification_code: stored.verification_code.clone(),
        etag: stored.etag,
        created: stored.created,
        updated: stored.updated,
    })
}

fn anchor(stored: &StoredAuthority) -> Result<ChainAnchor, Fault> {
    ChainAnchor::new(certificate(stored)?).map_err(|error| corrupt(stored, &error))
}

fn certificate(stored: &StoredAuthority) -> Result<Certificate, Fault> {
    let der = stored.certificate[..].into();
    Certificate::from_der(&der).map_err(|error| corrupt(stored, &error))
}

/// It was read before it was stored.
fn corrupt(stored: &StoredAuthority, error: &dyn std::fmt::Display) -> Fault {
    failed(StoreError::Corrupt(format!("certificate authority {}: {error}", stored.name)))
}

fn failed(error: StoreError) -> Fault {
    crate::fault(error, FaultKind::GenericNotFound, &"certificate authorities")
}

fn fault(error: StoreError, name: &AuthorityName) -> Fault {
    match error {
        StoreError::NotFound => Fault::new(
            FaultKind::GenericNotFound,
            format!("certificate authority {name} is not registered"),
        ),
        StoreError::Exists => Fault::new(
            FaultKind::PreconditionFailed,
            format!(
                "the name {name} or this certificate is registered already; to change {name}, send \
                 its etag in If-Match"
            ),
        ),
        StoreError::Full { limit, .. } => Fault::new(
            FaultKind::ArgumentInvalid,
            format!("{limit} certificate authorities are registered already; delete one first"),
        ),
        error => crate::fault(error, FaultKind::GenericNotFound, name),
    }
}
