//! A few connections that only read. A read begins after everything that was acknowledged before
//! it was asked for, because the writer commits before it answers.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::sqlite;
use crate::StoreError;
use crate::error::Result;

/// The connections; whoever comes when all are busy waits.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Opens the connections; the database exists and has its schema.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let idle = (0..READERS).map(|_| sqlite::open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Mutex::new(idle), permits: Arc::new(Semaphore::new(READERS)) })
    }

    /// Reads on a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || StoreError::Unavailable("the store is closing".into());
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| stopped())?;
        let readers = self.clone();
        let read = move || {
            let borrowed = Borrowed::take(&readers);
            let outcome = borrowed.connection.as_ref().map_or_else(|| Err(stopped()), operation);
            drop(borrowed);
            drop(permit);
            outcome
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| stopped())?
    }
}

/// Goes back to the others when dropped, also by a panic.
struct Borrowed<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl<'a> Borrowed<'a> {
    /// There is one for every permit.
    fn take(readers: &'a Readers) -> Self {
        Self { readers, connection: readers.idle.lock().pop() }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.readers.idle.lock().extend(self.connection.take());
    }
}

/// Reads at the same time: most are point look-ups in memory.
const READERS: usize = 4;
