//! Certificate authorities to which devices and modules may chain, as operators manage them.

use std::future::Future;

use jiff::Timestamp;
use model::id::Precondition;
use model::{AuthorityName, Etag, Fault};
use pki::Certificate;

/// The registered authorities.
pub trait AuthorityBackend: Send + Sync + 'static {
    /// All of them, in the order of their names.
    fn registered_authorities(&self) -> impl Future<Output = Result<Vec<Authority>, Fault>> + Send;

    /// One authority.
    fn authority(
        &self,
        name: &AuthorityName,
    ) -> impl Future<Output = Result<Authority, Fault>> + Send;

    /// Registers an authority, or gives it another certificate. `is_verified` says that the caller
    /// answers for its key; else somebody has to show it ([`Self::verify_authority`]). The same
    /// certificate again stays verified.
    fn put_authority(
        &self,
        name: &AuthorityName,
        certificate: Certificate,
        is_verified: bool,
        precondition: Precondition,
    ) -> impl Future<Output = Result<Authority, Fault>> + Send;

    /// Deletes an authority; ends the connections of those who chain to it.
    fn delete_authority(
        &self,
        name: &AuthorityName,
        precondition: Precondition,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Makes a new code that a certificate must have as its common name to show that somebody holds
    /// the authority's key.
    fn generate_verification_code(
        &self,
        name: &AuthorityName,
        precondition: Precondition,
    ) -> impl Future<Output = Result<Authority, Fault>> + Send;

    /// Takes the certificate that was asked for; the authority is verified from then on.
    fn verify_authority(
        &self,
        name: &AuthorityName,
        proof: Certificate,
        precondition: Precondition,
    ) -> impl Future<Output = Result<Authority, Fault>> + Send;
}

/// A registered authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its name.
    pub name: AuthorityName,
    /// Its certificate.
    pub certificate: Certificate,
    /// Whether devices may chain to it.
    pub is_verified: bool,
    /// The code that was made last, until it is used.
    pub verification_code: Option<String>,
    /// Its version.
    pub etag: Etag,
    /// When it was registered.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}
