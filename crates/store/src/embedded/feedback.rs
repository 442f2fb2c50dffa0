//! Feedback: a table of records and one of the messages that were made of them.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use model::GenerationId;
use model::feedback::{Ack, Outcome, Record};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params, params};
use uuid::Uuid;

use super::Embedded;
use super::sqlite::Ticks;
use super::writer::Group;
use crate::StoreError;
use crate::cloud_to_device::Settlement;
use crate::error::Result;
use crate::feedback::{Feedback, LockedFeedback, Rules};

#[async_trait]
impl Feedback for Embedded {
    async fn lock_feedback(
        &self,
        limit: usize,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Vec<LockedFeedback>> {
        let anything = move |connection: &Connection| {
            Ok(ready(connection, now)? || due(connection, rules, now)?)
        };
        if limit == 0 || !self.readers.read(anything).await? {
            return Ok(Vec::new());
        }
        let lock = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let expired = tidy(connection, rules, now)?;
            let (locked, dropped) = lock(connection, limit.min(LOCK_MAX), rules, now)?;
            Ok((locked, expired + dropped))
        };
        let counters = self.counters.clone();
        let count = move |(_, dropped): &(Vec<LockedFeedback>, u64)| {
            counters.feedback_dropped.inc_by(*dropped);
        };
        self.writer.write_then(lock, count).await.map(|(locked, _)| locked)
    }

    async fn settle_feedback(&self, lock: Uuid, outcome: Settlement, now: Timestamp) -> Result<()> {
        let sql = match outcome {
            // Its records go by the schema's cascade.
            Settlement::Complete | Settlement::Reject => {
                "DELETE FROM feedback_messages WHERE lock = ? AND locked_until > ?"
            }
            Settlement::Abandon => {
                "UPDATE feedback_messages SET lock = NULL, locked_until = NULL
                 WHERE lock = ? AND locked_until > ?"
            }
        };
        let settle = move |group: &mut Group<'_>| {
            let key = params![lock.into_bytes(), Ticks(now)];
            match group.connection().prepare_cached(sql)?.execute(key)? {
                0 => Err(StoreError::NotFound),
                _ => Ok(()),
            }
        };
        self.writer.write(settle).await
    }

    async fn sweep_feedback(&self, rules: Rules, now: Timestamp) -> Result<bool> {
        let look = move |connection: &Connection| {
            let untidy = due(connection, rules, now)? || expired(connection, now)?;
            Ok((untidy, ready(connection, now)?))
        };
        let (untidy, ready_before) = self.readers.read(look).await?;
        if !untidy {
            return Ok(ready_before);
        }
        let sweep = move |group: &mut Group<'_>| {
            let dropped = tidy(group.connection(), rules, now)?;
            Ok((ready(group.connection(), now)?, dropped))
        };
        let counters = self.counters.clone();
        let count = move |(_, dropped): &(bool, u64)| {
            counters.feedback_dropped.inc_by(*dropped);
        };
        self.writer.write_then(sweep, count).await.map(|(ready, _)| ready)
    }
}

/// The messages of a queue that end together, and how.
pub(super) struct Ending<'a> {
    /// Which rows of `cloud_to_device`, as a condition.
    pub(super) which: &'a str,
    /// The values that the condition names.
    pub(super) values: &'a [(&'a str, &'a dyn ToSql)],
    pub(super) outcome: Outcome,
    pub(super) now: Timestamp,
}

/// Removes messages from their queue and notes what became of them, for those whose senders want
/// to hear of it; gives the number of messages.
pub(super) fn end(connection: &Connection, ending: &Ending<'_>) -> Result<u64> {
    let Ending { which, values, outcome, now } = *ending;
    let note = format!(
        "INSERT INTO feedback_records (device, generation, message_id, outcome, time)
         SELECT device, (SELECT generation FROM devices WHERE id = device), message_id,
                {outcome}, {time} FROM cloud_to_device
         WHERE {which} AND ack & {mask} <> 0 ORDER BY device, sequence",
        outcome = outcome_number(outcome),
        time = ":ended",
        mask = if outcome == Outcome::Success { ACK_POSITIVE } else { ACK_NEGATIVE },
    );
    let ended = Ticks(now);
    let mut with_time = values.to_vec();
    with_time.push((":ended", &ended));
    connection.prepare_cached(&note)?.execute(with_time.as_slice())?;
    let remove = format!("DELETE FROM cloud_to_device WHERE {which}");
    Ok(connection.prepare_cached(&remove)?.execute(values)? as u64)
}

/// Whether another message that asks for feedback may be queued. Its record will have room,
/// because a queue is short.
pub(super) fn check_room(connection: &Connection) -> Result<()> {
    // The numbers say cheaply that there are few; only when they are far apart is it worth counting.
    let sql = "SELECT coalesce((SELECT max(number) FROM feedback_records), 0)
               - coalesce((SELECT min(number) FROM feedback_records), 0)";
    let span: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    if span < RECORDS_MAX as i64 {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM feedback_records";
    let count: usize = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    if count >= RECORDS_MAX {
        return Err(StoreError::Full { what: "feedback that nobody receives", limit: RECORDS_MAX });
    }
    Ok(())
}

/// What a sender wants to hear, as it lies in the table.
pub(super) fn ack_number(ack: Ack) -> u8 {
    match ack {
        Ack::None => 0,
        Ack::Positive => ACK_POSITIVE,
        Ack::Negative => ACK_NEGATIVE,
        Ack::Full => ACK_POSITIVE | ACK_NEGATIVE,
    }
}

/// The number of an outcome in the table; never changed.
fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Success => 1,
        Outcome::Expired => 2,
        Outcome::DeliveryCountExceeded => 3,
        Outcome::Rejected => 4,
        Outcome::Purged => 5,
    }
}

/// Whether a message waits.
fn ready(connection: &Connection, now: Timestamp) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM feedback_messages
               WHERE (locked_until IS NULL OR locked_until <= ?1) AND expires > ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([Ticks(now)], |row| row.get(0))?)
}

fn expired(connection: &Connection, now: Timestamp) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM feedback_messages WHERE expires <= ?)";
    Ok(connection.prepare_cached(sql)?.query_row([Ticks(now)], |row| row.get(0))?)
}

/// Whether the oldest records are due: a whole message of them, or one that has waited long enough.
fn due(connection: &Connection, rules: Rules, now: Timestamp) -> Result<bool> {
    let sql = "SELECT count(*), min(time) FROM (SELECT time FROM feedback_records
               WHERE message IS NULL ORDER BY number LIMIT ?)";
    let limit = rules.records_max as i64;
    let oldest = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Ticks>>(1)?));
    let (count, oldest) = connection.prepare_cached(sql)?.query_row([limit], oldest)?;
    let gathered = |Ticks(time): Ticks| after(time, rules.gathering) <= now;
    Ok(count >= limit || oldest.is_some_and(gathered))
}

/// Makes messages of what is due and drops what is expired; gives the number of the dropped.
fn tidy(connection: &Connection, rules: Rules, now: Timestamp) -> Result<u64> {
    for _ in 0..MESSAGES_MADE_MAX {
        if !due(connection, rules, now)? {
            break;
        }
        let sql = "INSERT INTO feedback_messages (id, enqueued, expires) VALUES (?, ?, ?)";
        let id = host::entropy::uuid_v4().into_bytes();
        let expires = after(now, rules.ttl);
        connection.prepare_cached(sql)?.execute(params![id, Ticks(now), Ticks(expires)])?;
        let sql = "UPDATE feedback_records SET message = ? WHERE number IN
                   (SELECT number FROM feedback_records WHERE message IS NULL
                    ORDER BY number LIMIT ?)";
        let key = params![connection.last_insert_rowid(), rules.records_max as i64];
        connection.prepare_cached(sql)?.execute(key)?;
    }
    let sql = "DELETE FROM feedback_messages WHERE expires <= ?";
    Ok(connection.prepare_cached(sql)?.execute([Ticks(now)])? as u64)
}

/// Locks what waits; gives also the number of messages that were given out too often. Messages
/// whose devices are gone are removed on the way.
fn lock(
    connection: &Connection,
    limit: usize,
    rules: Rules,
    now: Timestamp,
) -> Result<(Vec<LockedFeedback>, u64)> {
    let until = after(now, rules.lock);
    let (mut locked, mut dropped, mut last) = (Vec::new(), 0, 0);
    while locked.len() < limit
        && let Some((number, mut message)) = next_waiting(connection, last, now)?
    {
        last = number;
        message.records = records(connection, number)?;
        let exhausted = message.delivery_count >= rules.deliveries_max;
        if exhausted || message.records.is_empty() {
            dropped += u64::from(!message.records.is_empty());
            let sql = "DELETE FROM feedback_messages WHERE number = ?";
            connection.prepare_cached(sql)?.execute([number])?;
            continue;
        }
        let sql = "UPDATE feedback_messages SET lock = ?, locked_until = ?,
                   deliveries = deliveries + 1 WHERE number = ?";
        let row = params![message.lock.into_bytes(), Ticks(until), number];
        connection.prepare_cached(sql)?.execute(row)?;
        locked.push(message);
    }
    Ok((locked, dropped))
}

/// The oldest message after this one that is not locked, or whose lock is lost; without its
/// records.
fn next_waiting(
    connection: &Connection,
    after: i64,
    now: Timestamp,
) -> Result<Option<(i64, LockedFeedback)>> {
    let sql = "SELECT number, id, enqueued, deliveries FROM feedback_messages
               WHERE number > :after AND (locked_until IS NULL OR locked_until <= :now)
               ORDER BY number LIMIT 1";
    let read = |row: &Row<'_>| {
        let message = LockedFeedback {
            lock: host::entropy::uuid_v4(),
            id: Uuid::from_bytes(row.get(1)?),
            enqueued: row.get::<_, Ticks>(2)?.0,
            delivery_count: row.get(3)?,
            records: Vec::new(),
        };
        Ok((row.get(0)?, message))
    };
    let key = named_params! { ":after": after, ":now": Ticks(now) };
    Ok(connection.prepare_cached(sql)?.query_row(key, read).optional()?)
}

fn records(connection: &Connection, message: i64) -> Result<Vec<Record>> {
    let sql = "SELECT device, generation, message_id, outcome, time FROM feedback_records
               WHERE message = ? ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([message])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let corrupt = |what| StoreError::Corrupt(format!("feedback message {message}: {what}"));
        let number: u8 = row.get(3)?;
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome_number(*outcome) == number);
        records.push(Record {
            message_id: row.get(2)?,
            outcome: outcome.ok_or_else(|| corrupt("unknown outcome"))?,
            time: row.get::<_, Ticks>(4)?.0,
            device: row.get::<_, String>(0)?.parse().map_err(|_| corrupt("bad device"))?,
            generation: GenerationId::from_text(&row.get::<_, String>(1)?),
        });
    }
    Ok(records)
}

fn after(time: Timestamp, duration: std::time::Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

const ACK_POSITIVE: u8 = 1;
const ACK_NEGATIVE: u8 = 2;
/// Messages locked at once, whatever is asked for.
const LOCK_MAX: usize = 64;
/// Messages made at once; the next look goes on.
const MESSAGES_MADE_MAX: usize = 256;
/// Records that may lie around. When nobody receives them for so long, messages that ask for
/// feedback are refused.
const RECORDS_MAX: usize = 200_000;
