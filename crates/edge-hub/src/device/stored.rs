//! Sessions that outlive their connection: the subscriptions of clients with CleanSession 0.

use model::{Fault, IdentityId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::state::{State, StateError};

/// The filters of a stored session; without one, an empty one begins.
pub(super) async fn load_or_begin(
    state: &State,
    id: &IdentityId,
) -> Result<Option<Vec<(String, u8)>>, Fault> {
    let key = id.to_string();
    let stored = state
        .with(move |connection| {
            let sql = "SELECT filters FROM sessions WHERE id = ?";
            let found: Option<String> =
                connection.prepare_cached(sql)?.query_row([&key], |row| row.get(0)).optional()?;
            if found.is_none() {
                put(connection, &key, "[]")?;
            }
            Ok(found)
        })
        .await
        .map_err(|error| unavailable(&error))?;
    // A damaged row is a lost session: the client is told so and subscribes again.
    Ok(stored.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Stores the filters; durable when this returns.
pub(super) async fn save(
    state: &State,
    id: &IdentityId,
    filters: &[(String, u8)],
) -> Result<(), Fault> {
    let (key, text) = (id.to_string(), serde_json::to_string(filters).unwrap_or_default());
    let stored = state.with(move |connection| put(connection, &key, &text)).await;
    stored.map_err(|error| unavailable(&error))
}

/// Ends a stored session.
pub(crate) async fn forget(state: &State, id: &IdentityId) -> Result<(), Fault> {
    let key = id.to_string();
    let deleted = state
        .with(move |connection| {
            let sql = "DELETE FROM sessions WHERE id = ?";
            connection.prepare_cached(sql)?.execute([&key]).map(drop)
        })
        .await;
    deleted.map_err(|error| unavailable(&error))
}

fn put(connection: &Connection, key: &str, filters: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO sessions (id, filters) VALUES (?1, ?2)
               ON CONFLICT (id) DO UPDATE SET filters = ?2";
    connection.prepare_cached(sql)?.execute(params![key, filters]).map(drop)
}

/// What a client is told when the database refuses; the log has the reason.
pub(crate) fn unavailable(error: &StateError) -> Fault {
    tracing::error!(error = %host::logs::chain(error), "the edge hub's database refuses");
    Fault::unavailable("the edge hub's store is not available; try again later")
}
