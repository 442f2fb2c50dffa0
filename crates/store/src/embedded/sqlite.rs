//! Connections to the database, what its errors mean, and how times lie in it.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::StoreError;
use crate::error::Result;

/// Opens the connection of the writer; `path` exists.
pub(super) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // FULL: a commit returns after its part of the write-ahead log has been synced.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;",
    )?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// Opens a connection that can only read.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Self::Unavailable("the disk is full; free some space".into())
            }
            // A constraint that does not hold, a damaged page, a value of the wrong type.
            Some(
                ErrorCode::ConstraintViolation
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::TypeMismatch,
            )
            | None => Self::Corrupt(error.to_string()),
            Some(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// A time in 100 ns since 1970: what clients see, in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks(pub Timestamp);

impl ToSql for Ticks {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // Fits: the latest timestamp there is, of the year 9999, has 2.5e18 ticks.
        Ok((self.0.as_nanosecond().div_euclid(NANOSECONDS_PER_TICK) as i64).into())
    }
}

impl FromSql for Ticks {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let nanoseconds = i128::from(value.as_i64()?) * NANOSECONDS_PER_TICK;
        Timestamp::from_nanosecond(nanoseconds).map(Self).map_err(FromSqlError::other)
    }
}

/// A counter that never gets near 2^63.
pub(super) fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("a counter is negative".into()))
}

const NANOSECONDS_PER_TICK: i128 = 100;
/// Pages that the writer keeps in memory.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Pages that each reader keeps in memory.
const READER_CACHE_KIB: i64 = 2 * 1024;
/// What is left of the write-ahead log's file after a checkpoint.
const LOG_BYTES_KEPT: i64 = 64 << 20;
/// More than there are statements in this backend.
const STATEMENTS_CACHED: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_seven_digits() {
        let connection = Connection::open_in_memory().unwrap();
        for (text, kept) in [
            ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.1234567Z"),
            ("1969-12-31T23:59:59.99999995Z", "1969-12-31T23:59:59.9999999Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            let read: Ticks =
                connection.query_row("SELECT ?", [Ticks(time)], |row| row.get(0)).unwrap();
            assert_eq!(read.0, kept.parse().unwrap());
        }
    }
}
