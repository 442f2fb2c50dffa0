//! The database's schema: its version stands in `user_version`, and each step takes it one version
//! forward. Going back is refused.

use rusqlite::{Connection, OptionalExtension};

use super::cloud_to_device;

/// What [`migrate`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// An empty database.
    Nothing,
    /// This version, which is now the newest.
    Version(u32),
    /// A version that this program does not know; nothing was changed.
    Newer(u32),
}

/// The newest version.
pub(super) const NEWEST: u32 = STEPS.len() as u32;

/// Brings the schema forward to the newest version, each step in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Found> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > NEWEST {
        return Ok(Found::Newer(version));
    }
    for (before, step) in (0..NEWEST).zip(STEPS).skip(version as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        fill_in(&transaction, before + 1)?;
        transaction.pragma_update(None, "user_version", before + 1)?;
        transaction.commit()?;
    }
    Ok(if version == 0 { Found::Nothing } else { Found::Version(version) })
}

/// What SQL alone cannot do for the rows that a version was brought forward with.
fn fill_in(connection: &Connection, version: u32) -> rusqlite::Result<()> {
    match version {
        3 => cloud_to_device::note_acks(connection),
        _ => Ok(()),
    }
}

/// A value that belongs to the database as a whole.
pub(super) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    let sql = "SELECT value FROM meta WHERE name = ?";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

/// Sets a value that belongs to the database as a whole.
pub(super) fn set_meta(
    connection: &Connection,
    name: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.execute(sql, rusqlite::params![name, value]).map(drop)
}

/// Step n takes version n to n + 1. Steps are never changed once released, only added.
const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];
