//! Keys at rest: sealed under the master key and bound to their table and row, so that a row's
//! secret cannot be moved to another.

use std::path::Path;

use model::identity::{Authentication, SymmetricKeys};
use pki::seal::{self, MasterKey};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{OpenError, schema};
use crate::StoreError;
use crate::error::Result;

/// Seals and opens.
pub(super) struct Sealer {
    master: MasterKey,
}

/// Where a secret lies.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) id: &'a str,
}

impl Sealer {
    /// Takes the master key, if it is the one that this database was made with; a new database
    /// takes any.
    pub(super) fn new(
        master: MasterKey,
        connection: &Connection,
        directory: &Path,
    ) -> Result<Self, OpenError> {
        let sealer = Self { master };
        let database = |source| OpenError::Database { directory: directory.to_owned(), source };
        let check = Place { table: "meta", id: MASTER_CHECK };
        match schema::meta::<Vec<u8>>(connection, MASTER_CHECK).map_err(database)? {
            None => {
                let sealed = sealer.seal(check, b"");
                schema::set_meta(connection, MASTER_CHECK, sealed).map_err(database)?;
            }
            Some(sealed) => {
                seal::open(&sealer.master, &check.bytes(), &sealed).map_err(|source| {
                    OpenError::MasterKey { directory: directory.to_owned(), source }
                })?;
            }
        }
        Ok(sealer)
    }

    /// An authentication as the two columns hold it.
    pub(super) fn close_authentication(
        &self,
        place: Place<'_>,
        authentication: &Authentication,
    ) -> (i64, Option<Vec<u8>>) {
        match authentication {
            Authentication::None => (AUTH_NONE, None),
            Authentication::Sas(keys) => (AUTH_KEYS, Some(self.close_keys(place, keys))),
            Authentication::SelfSigned { primary, secondary } => {
                let pair = Pair { primary: primary.clone(), secondary: secondary.clone() };
                (AUTH_THUMBPRINTS, Some(pair.to_bytes()))
            }
            Authentication::CertificateAuthority => (AUTH_AUTHORITY, None),
        }
    }

    /// The authentication in the two columns.
    pub(super) fn open_authentication(
        &self,
        place: Place<'_>,
        kind: i64,
        data: Option<&[u8]>,
    ) -> Result<Authentication> {
        let data = || data.ok_or_else(|| place.corrupt("has no keys"));
        match kind {
            AUTH_NONE => Ok(Authentication::None),
            AUTH_KEYS => Ok(Authentication::Sas(self.open_keys(place, data()?)?)),
            AUTH_THUMBPRINTS => {
                let Pair { primary, secondary } = Pair::read(place, data()?)?;
                Ok(Authentication::SelfSigned { primary, secondary })
            }
            AUTH_AUTHORITY => Ok(Authentication::CertificateAuthority),
            _ => Err(place.corrupt("has an unknown authentication")),
        }
    }

    /// Keys, sealed.
    pub(super) fn close_keys(&self, place: Place<'_>, keys: &SymmetricKeys) -> Vec<u8> {
        let SymmetricKeys { primary, secondary } = keys.clone();
        let pair = Pair { primary: Some(primary), secondary: Some(secondary) };
        self.seal(place, &pair.to_bytes())
    }

    /// Sealed keys.
    pub(super) fn open_keys(&self, place: Place<'_>, sealed: &[u8]) -> Result<SymmetricKeys> {
        let opened = seal::open(&self.master, &place.bytes(), sealed)
            .map_err(|error| place.corrupt(&error.to_string()))?;
        let pair = Pair::read(place, &opened)?;
        match (pair.primary, pair.secondary) {
            (Some(primary), Some(secondary)) => Ok(SymmetricKeys { primary, secondary }),
            _ => Err(place.corrupt("has one key")),
        }
    }

    fn seal(&self, place: Place<'_>, secret: &[u8]) -> Vec<u8> {
        seal::seal(&self.master, host::entropy::bytes(), &place.bytes(), secret)
    }
}

impl Place<'_> {
    fn bytes(self) -> Vec<u8> {
        format!("{}/{}", self.table, self.id).into_bytes()
    }

    fn corrupt(self, what: &str) -> StoreError {
        StoreError::Corrupt(format!("{} in {}: {what}", self.id, self.table))
    }
}

/// Two keys or two thumbprints, as JSON.
#[derive(Serialize, Deserialize)]
struct Pair {
    primary: Option<String>,
    secondary: Option<String>,
}

impl Pair {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two texts are JSON")
    }

    fn read(place: Place<'_>, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| place.corrupt(&error.to_string()))
    }
}

const AUTH_NONE: i64 = 0;
const AUTH_KEYS: i64 = 1;
const AUTH_THUMBPRINTS: i64 = 2;
const AUTH_AUTHORITY: i64 = 3;
const MASTER_CHECK: &str = "master_check";
