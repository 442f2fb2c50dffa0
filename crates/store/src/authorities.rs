//! Registered certificate authorities (`service-api.md` §8.1): whose certificates devices and modules
//! may chain to.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use model::id::Precondition;
use model::{AuthorityName, Etag};

use crate::error::Result;

/// The authorities. Few, and read at every connection: a backend keeps them in memory too.
#[async_trait]
pub trait Authorities: Send + Sync {
    /// All of them, in the order of their names. The same value until one is written, so that what
    /// was made of it can be kept.
    async fn authorities(&self) -> Result<Arc<[StoredAuthority]>>;

    /// Creates or changes one, if there are then at most `limit`; gives it as it is stored. A
    /// certificate can be registered once.
    async fn put_authority(
        &self,
        authority: AuthorityWrite,
        precondition: Precondition,
        limit: usize,
    ) -> Result<StoredAuthority>;

    /// Deletes one.
    async fn delete_authority(
        &self,
        name: &AuthorityName,
        precondition: Precondition,
    ) -> Result<()>;
}

/// What is written of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityWrite {
    /// Its name.
    pub name: AuthorityName,
    /// Its certificate, DER.
    pub certificate: Arc<[u8]>,
    /// Whether somebody has shown that he holds its key, or answers for it.
    pub is_verified: bool,
    /// What a certificate of its must have as common name to show that.
    pub verification_code: Option<String>,
    /// When it is written.
    pub now: Timestamp,
}

/// A registered authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuthority {
    /// Its name.
    pub name: AuthorityName,
    /// Its certificate, DER.
    pub certificate: Arc<[u8]>,
    /// Whether devices may chain to it.
    pub is_verified: bool,
    /// What a certificate of its must have as common name to show that somebody holds its key.
    pub verification_code: Option<String>,
    /// Moves with every write; one that is registered anew does not repeat it.
    pub etag: Etag,
    /// When it was registered.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
}
