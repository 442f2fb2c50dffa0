//! What survives a restart beside the messages: identities, twins, sessions, the last good routes.
//!
//! One SQLite database, one connection, every commit synced: an edge hub writes here seldom. Keys
//! and twins lie sealed ([`Seal`]); messages do not, as in the original (er §5.4). Rows that were
//! sealed with a key that is gone count as absent.

mod secrets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

pub use secrets::SealError;
pub(crate) use secrets::{Seal, open_seal, patiently};

/// The database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct State {
    connection: Arc<Mutex<Connection>>,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be made or opened.
    #[error(transparent)]
    File(#[from] host::fs::FsError),
    /// A newer program wrote it.
    #[error(
        "{} has version {found}, this program knows up to {SCHEMA_VERSION}; run the newer version, or another StorageFolder",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// SQLite says no.
    #[error("cannot use the edge hub's database")]
    Database(#[from] rusqlite::Error),
    /// The program ends.
    #[error("the edge hub is ending")]
    Ending,
}

impl State {
    /// Opens the database in `dir`, which exists.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join("state.db");
        host::fs::create_new(&path, b"", 0o600)?;
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF;
             PRAGMA wal_autocheckpoint = 64;",
        )?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => connection.execute_batch(include_str!("state/schema.sql"))?,
            SCHEMA_VERSION => {}
            found => return Err(StateError::Newer { path, found }),
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in one transaction on a thread that may wait for the disk.
    pub(crate) async fn with<T, F>(&self, work: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock();
            let transaction = connection.transaction()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok::<T, rusqlite::Error>(value)
        });
        Ok(task.await.map_err(|_| StateError::Ending)??)
    }

    /// A text that belongs to the whole.
    pub(crate) async fn meta(&self, name: &'static str) -> Result<Option<String>, StateError> {
        self.with(move |connection| {
            let sql = "SELECT value FROM meta WHERE name = ?";
            connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()
        })
        .await
    }

    /// Sets a text that belongs to the whole.
    pub(crate) async fn set_meta(
        &self,
        name: &'static str,
        value: String,
    ) -> Result<(), StateError> {
        self.with(move |connection| {
            let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)
                       ON CONFLICT (name) DO UPDATE SET value = ?2";
            connection.prepare_cached(sql)?.execute(params![name, value]).map(drop)
        })
        .await
    }
}

const SCHEMA_VERSION: u32 = 1;
/// Rows are few and small.
const CACHE_KIB: i64 = 128;
/// What the write-ahead log may keep after a checkpoint.
const LOG_BYTES_KEPT: i64 = 256 * 1024;
const STATEMENTS_CACHED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_set_is_there_after_a_restart_and_newer_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.set_meta("routes", "a".into()).await.unwrap();
        state.set_meta("routes", "b".into()).await.unwrap();
        drop(state);
        let state = State::open(dir.path()).unwrap();
        assert_eq!(state.meta("routes").await.unwrap().as_deref(), Some("b"));
        assert_eq!(state.meta("other").await.unwrap(), None);
        state.with(|connection| connection.pragma_update(None, "user_version", 2)).await.unwrap();
        drop(state);
        assert!(matches!(State::open(dir.path()), Err(StateError::Newer { found: 2, .. })));
    }
}
