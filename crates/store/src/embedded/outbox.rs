//! Events that wait in a table until they are in the event log.

use async_trait::async_trait;
use model::{GenerationId, IdentityId};
use rusqlite::{Connection, Row};
use tokio::sync::watch;

use super::Embedded;
use super::sqlite::{Ticks, unsigned};
use crate::StoreError;
use crate::error::Result;
use crate::outbox::{HubEvent, HubEventKind, Outbox};

#[async_trait]
impl Outbox for Embedded {
    async fn peek(&self, limit: usize) -> Result<Vec<(u64, HubEvent)>> {
        let limit = limit.min(PEEK_MAX);
        self.readers.read(move |connection| peek(connection, limit)).await
    }

    async fn remove_through(&self, number: u64) -> Result<()> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let marks = self.marks.clone();
        let remove = move |group: &mut super::writer::Group<'_>| {
            let sql = "DELETE FROM outbox WHERE number <= ?";
            group.connection().prepare_cached(sql)?.execute([number])?;
            Ok(())
        };
        self.writer.write_then(remove, move |()| marks.removed(number)).await
    }

    async fn wait(&self) {
        self.marks.wait().await;
    }
}

/// How far the outbox has been filled and emptied, so that nobody has to ask the database.
pub(super) struct Marks {
    marks: watch::Sender<Range>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    /// The newest event that is committed.
    committed: i64,
    /// The newest event that was removed.
    removed: i64,
}

impl Marks {
    /// The marks of what is in the database.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // AUTOINCREMENT remembers the newest number also when all rows are gone.
        let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0),
                   (SELECT min(number) FROM outbox)";
        let (committed, oldest): (i64, Option<i64>) =
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let removed = oldest.map_or(committed, |oldest| oldest - 1);
        Ok(Self { marks: watch::Sender::new(Range { committed, removed }) })
    }

    /// A group has committed events up to this one (0: none).
    pub(super) fn committed(&self, number: i64) {
        self.marks.send_if_modified(|range| {
            let newer = number > range.committed;
            range.committed = range.committed.max(number);
            newer
        });
    }

    /// Whether another event may be added after this one of the open group.
    pub(super) fn check_room(&self, last_of_group: i64) -> Result<()> {
        let range = *self.marks.borrow();
        if range.committed.max(last_of_group) - range.removed >= WAITING_MAX {
            return Err(StoreError::Full { what: "the outbox", limit: WAITING_MAX as usize });
        }
        Ok(())
    }

    fn removed(&self, number: i64) {
        self.marks.send_modify(|range| {
            range.removed = range.removed.max(number.min(range.committed));
        });
    }

    async fn wait(&self) {
        let mut marks = self.marks.subscribe();
        // Cannot fail: the sender is this value's own.
        let _ = marks.wait_for(|range| range.committed > range.removed).await;
    }
}

fn peek(connection: &Connection, limit: usize) -> Result<Vec<(u64, HubEvent)>> {
    let sql = "SELECT number, kind, device, module, generation, time, body
               FROM outbox ORDER BY number LIMIT ?";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([limit])?;
    let mut events = Vec::new();
    let mut size_bytes = 0;
    while size_bytes < PEEK_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let number = unsigned(row.get(0)?)?;
        let corrupt = |what: &str| StoreError::Corrupt(format!("event {number} in outbox: {what}"));
        let body: &str = row.get_ref(6)?.as_str().map_err(|error| corrupt(&error.to_string()))?;
        size_bytes += body.len();
        let body = serde_json::from_str(body).map_err(|error| corrupt(&error.to_string()))?;
        let kind = kind(row.get(1)?).ok_or_else(|| corrupt("unknown kind"))?;
        let subject = subject(row).ok_or_else(|| corrupt("bad subject"))?;
        let generation = GenerationId::from_text(&row.get::<_, String>(4)?);
        let Ticks(time) = row.get(5)?;
        events.push((number, HubEvent { kind, subject, generation, time, body }));
    }
    Ok(events)
}

fn subject(row: &Row<'_>) -> Option<IdentityId> {
    let device = row.get_ref(2).ok()?.as_str().ok()?.parse().ok()?;
    let module = match row.get_ref(3).ok()?.as_str().ok()? {
        "" => None,
        module => Some(module.parse().ok()?),
    };
    Some(IdentityId { device, module })
}

fn kind(number: u8) -> Option<HubEventKind> {
    use HubEventKind::{IdentityCreated, IdentityDeleted, TwinReplaced, TwinUpdated};
    [IdentityCreated, IdentityDeleted, TwinUpdated, TwinReplaced]
        .into_iter()
        .find(|kind| kind_number(*kind) == number)
}

/// The number of a kind in the table; never changed.
pub(super) fn kind_number(kind: HubEventKind) -> u8 {
    match kind {
        HubEventKind::IdentityCreated => 1,
        HubEventKind::IdentityDeleted => 2,
        HubEventKind::TwinUpdated => 3,
        HubEventKind::TwinReplaced => 4,
    }
}

/// Events given out at once.
const PEEK_MAX: usize = 1000;
/// Bytes of bodies given out at once, but for the last one.
const PEEK_BYTES_MAX: usize = 4 << 20;
/// Events that may wait, on the disk. When the event log refuses for that long, writes do too.
const WAITING_MAX: i64 = 1_000_000;
