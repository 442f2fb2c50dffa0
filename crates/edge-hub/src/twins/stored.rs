//! Twins and waiting patches in the database, sealed.

use client::device::DeviceTwin;
use model::IdentityId;
use model::twin::Object;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::documents;
use crate::state::{Seal, State, StateError};

/// A twin as it is known here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Copy {
    pub(super) desired: Object,
    pub(super) desired_version: u64,
    pub(super) reported: Object,
    pub(super) reported_version: u64,
}

impl Default for Copy {
    /// An empty twin; versions begin at 1.
    fn default() -> Self {
        Self {
            desired: Object::new(),
            desired_version: 1,
            reported: Object::new(),
            reported_version: 1,
        }
    }
}

impl From<DeviceTwin> for Copy {
    fn from(twin: DeviceTwin) -> Self {
        Self {
            desired: twin.desired,
            desired_version: twin.desired_version,
            reported: twin.reported,
            reported_version: twin.reported_version,
        }
    }
}

impl Copy {
    /// The document that the identity reads.
    pub(super) fn view(self) -> Value {
        let (mut desired, mut reported) = (self.desired, self.reported);
        desired.insert("$version".into(), self.desired_version.into());
        reported.insert("$version".into(), self.reported_version.into());
        json!({ "desired": desired, "reported": reported })
    }
}

/// The copy of a twin.
pub(super) async fn get(
    state: &State,
    seal: &Seal,
    id: &IdentityId,
) -> Result<Option<Copy>, StateError> {
    let key = id.to_string();
    let text = key.clone();
    let sealed: Option<String> = state
        .with(move |connection| {
            let sql = "SELECT sealed FROM twins WHERE id = ?";
            connection.prepare_cached(sql)?.query_row([text], |row| row.get(0)).optional()
        })
        .await?;
    Ok(sealed.and_then(|sealed| seal.open(TWINS, &key, &sealed)))
}

/// Replaces the copy of a twin.
pub(super) async fn put(
    state: &State,
    seal: &Seal,
    id: &IdentityId,
    copy: Copy,
) -> Result<(), StateError> {
    let id = id.to_string();
    let sealed = seal.seal(TWINS, &id, &copy);
    state.with(move |connection| put_sealed(connection, &id, &sealed)).await
}

fn put_sealed(connection: &Connection, id: &str, sealed: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO twins (id, sealed) VALUES (?1, ?2)
               ON CONFLICT (id) DO UPDATE SET sealed = ?2";
    connection.prepare_cached(sql)?.execute(params![id, sealed]).map(drop)
}

/// Stores a patch for the hub together with the copy that it made.
pub(super) async fn take_report(
    state: &State,
    seal: &Seal,
    id: &IdentityId,
    copy: Copy,
    patch: Object,
    join: bool,
) -> Result<(), StateError> {
    let (id, seal) = (id.to_string(), seal.clone());
    state
        .with(move |connection| {
            put_sealed(connection, &id, &seal.seal(TWINS, &id, &copy))?;
            let last: Option<(i64, String)> = connection
                .prepare_cached(
                    "SELECT number, sealed FROM reports WHERE id = ? ORDER BY number DESC LIMIT 1",
                )?
                .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let joined = last.filter(|_| join).and_then(|(number, sealed)| {
                let last: Object = seal.open(REPORTS, &id, &sealed)?;
                Some((number, documents::join(&last, &patch)?))
            });
            match joined {
                Some((number, joined)) => {
                    let sealed = seal.seal(REPORTS, &id, &joined);
                    let sql = "UPDATE reports SET sealed = ? WHERE number = ?";
                    connection.prepare_cached(sql)?.execute(params![sealed, number])
                }
                None => {
                    let sealed = seal.seal(REPORTS, &id, &patch);
                    let sql = "INSERT INTO reports (id, sealed) VALUES (?, ?)";
                    connection.prepare_cached(sql)?.execute(params![id, sealed])
                }
            }
            .map(drop)
        })
        .await
}

/// How many patches wait for the hub.
pub(super) async fn reports_waiting(state: &State, id: &IdentityId) -> Result<usize, StateError> {
    let id = id.to_string();
    let count: i64 = state
        .with(move |connection| {
            let sql = "SELECT count(*) FROM reports WHERE id = ?";
            connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))
        })
        .await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The patches that wait, in order. Those that cannot be opened any more are left out.
pub(super) async fn reports(
    state: &State,
    seal: &Seal,
    id: &IdentityId,
) -> Result<Vec<(i64, Object)>, StateError> {
    let key = id.to_string();
    let text = key.clone();
    let rows: Vec<(i64, String)> = state
        .with(move |connection| {
            let sql = "SELECT number, sealed FROM reports WHERE id = ? ORDER BY number";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([text], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .await?;
    let open = |(number, sealed): (i64, String)| Some((number, seal.open(REPORTS, &key, &sealed)?));
    Ok(rows.into_iter().filter_map(open).collect())
}

/// The first patch that waits; without its content when it cannot be opened any more.
pub(super) async fn first_report(
    state: &State,
    seal: &Seal,
    id: &IdentityId,
) -> Result<Option<(i64, Option<Object>)>, StateError> {
    let key = id.to_string();
    let text = key.clone();
    let row: Option<(i64, String)> = state
        .with(move |connection| {
            let sql = "SELECT number, sealed FROM reports WHERE id = ? ORDER BY number LIMIT 1";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            connection.prepare_cached(sql)?.query_row([text], row).optional()
        })
        .await?;
    Ok(row.map(|(number, sealed)| (number, seal.open(REPORTS, &key, &sealed))))
}

/// The hub has the patch.
pub(super) async fn remove_report(state: &State, number: i64) -> Result<(), StateError> {
    state
        .with(move |connection| {
            let sql = "DELETE FROM reports WHERE number = ?";
            connection.prepare_cached(sql)?.execute([number]).map(drop)
        })
        .await
}

const TWINS: &str = "twins";
const REPORTS: &str = "reports";
