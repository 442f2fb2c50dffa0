//! Registered certificate authorities: a table, and the same in memory.

use std::sync::Arc;

use async_trait::async_trait;
use model::AuthorityName;
use model::Etag;
use model::id::Precondition;
use parking_lot::RwLock;
use rusqlite::{Connection, params};

use super::Embedded;
use super::sqlite::Ticks;
use super::writer::Group;
use crate::StoreError;
use crate::authorities::{Authorities, AuthorityWrite, StoredAuthority};
use crate::error::Result;

#[async_trait]
impl Authorities for Embedded {
    async fn authorities(&self) -> Result<Arc<[StoredAuthority]>> {
        Ok(self.authorities.read().clone())
    }

    async fn put_authority(
        &self,
        authority: AuthorityWrite,
        precondition: Precondition,
        limit: usize,
    ) -> Result<StoredAuthority> {
        let name = authority.name.clone();
        let put = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let stored = read(connection)?;
            write(connection, &authority, precondition, limit, &stored)?;
            read(connection)
        };
        let all = self.writer.write_then(put, self.install()).await?;
        let written = all.iter().find(|authority| authority.name == name);
        written.cloned().ok_or_else(|| StoreError::Corrupt("the written authority is gone".into()))
    }

    async fn delete_authority(
        &self,
        name: &AuthorityName,
        precondition: Precondition,
    ) -> Result<()> {
        let name = name.clone();
        let delete = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let stored = read(connection)?;
            let stored = stored.iter().find(|stored| stored.name == name);
            let stored = stored.ok_or(StoreError::NotFound)?;
            check(precondition, Some(stored))?;
            let sql = "DELETE FROM authorities WHERE name = ?";
            connection.prepare_cached(sql)?.execute([name.as_str()])?;
            read(connection)
        };
        self.writer.write_then(delete, self.install()).await.map(drop)
    }
}

impl Embedded {
    /// Puts what was committed into memory.
    fn install(&self) -> impl FnOnce(&Arc<[StoredAuthority]>) + Send + 'static {
        let cached = self.authorities.clone();
        move |all| *cached.write() = all.clone()
    }
}

/// The authorities in memory.
pub(super) type Cached = Arc<RwLock<Arc<[StoredAuthority]>>>;

fn write(
    connection: &Connection,
    write: &AuthorityWrite,
    precondition: Precondition,
    limit: usize,
    all: &[StoredAuthority],
) -> Result<()> {
    let stored = all.iter().find(|stored| stored.name == write.name);
    check(precondition, stored)?;
    let is_anothers = |other: &StoredAuthority| {
        other.name != write.name && other.certificate == write.certificate
    };
    if all.iter().any(is_anothers) {
        return Err(StoreError::Exists);
    }
    if stored.is_none() && all.len() >= limit {
        return Err(StoreError::Full { what: "the list of certificate authorities", limit });
    }
    let created = stored.map_or(write.now, |stored| stored.created);
    let sql = "INSERT INTO authorities
                   (name, certificate, verified, verification_code, etag, created, updated)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (name) DO UPDATE SET certificate = ?2, verified = ?3,
                   verification_code = ?4, etag = ?5, updated = ?7";
    connection.prepare_cached(sql)?.execute(params![
        write.name.as_str(),
        &*write.certificate,
        write.is_verified,
        write.verification_code,
        next_etag(write, stored),
        Ticks(created),
        Ticks(write.now),
    ])?;
    Ok(())
}

/// The time, so that one that is registered anew goes on from there; or the next number, when that
/// has not moved.
fn next_etag(write: &AuthorityWrite, stored: Option<&StoredAuthority>) -> i64 {
    let after = stored.map_or(1, |stored| stored.etag.0.cast_signed() + 1);
    write.now.as_microsecond().max(after)
}

fn check(precondition: Precondition, stored: Option<&StoredAuthority>) -> Result<()> {
    match (precondition, stored) {
        (Precondition::Absent, Some(_)) => Err(StoreError::Exists),
        (Precondition::Exists | Precondition::Matches(_), None) => Err(StoreError::NotFound),
        (Precondition::Matches(etag), Some(stored)) if etag != stored.etag => {
            Err(StoreError::Precondition)
        }
        _ => Ok(()),
    }
}

/// All authorities in the database.
pub(super) fn read(connection: &Connection) -> Result<Arc<[StoredAuthority]>> {
    let sql = "SELECT name, certificate, verified, verification_code, etag, created, updated
               FROM authorities ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut authorities = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let corrupt = |error| StoreError::Corrupt(format!("authority {name:?}: {error}"));
        let certificate: Vec<u8> = row.get(1)?;
        let etag: i64 = row.get(4)?;
        let (Ticks(created), Ticks(updated)) = (row.get(5)?, row.get(6)?);
        authorities.push(StoredAuthority {
            name: name.parse().map_err(corrupt)?,
            certificate: certificate.into(),
            is_verified: row.get(2)?,
            verification_code: row.get(3)?,
            etag: Etag(etag.cast_unsigned()),
            created,
            updated,
        });
    }
    Ok(authorities.into())
}
