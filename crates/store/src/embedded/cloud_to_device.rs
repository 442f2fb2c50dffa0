//! Cloud-to-device messages: bodies and states in one table, because a queue is short and a
//! message is small.
//!
//! A delivery is counted when the message is given out, so that a crash counts it too. Nothing
//! waits in a state "dead": a dead message is removed, counted in the metrics, and leaves a
//! feedback record if its sender wants one (`feedback::end`).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use model::feedback::{Ack, Outcome};
use model::message::{Message, SystemProperty};
use model::{DeviceId, GenerationId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::feedback::{self, Ending};
use super::sqlite::{Ticks, unsigned};
use super::writer::Group;
use super::{Embedded, event_format};
use crate::StoreError;
use crate::cloud_to_device::{CloudToDevice, Locked, Settlement};
use crate::error::Result;

#[async_trait]
impl CloudToDevice for Embedded {
    async fn enqueue(
        &self,
        device: &DeviceId,
        message: Message,
        expires: Timestamp,
        now: Timestamp,
        pending_max: usize,
    ) -> Result<u64> {
        let device = device.clone();
        let (ack, message_id) = (ack(&message), message_id(&message).to_owned());
        let message = event_format::encode_message(&message);
        let counters = self.counters.clone();
        let enqueue = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let expired = remove_expired(connection, &device, now)?;
            if count(connection, &device)? >= pending_max {
                return Err(StoreError::Full { what: "the device's queue", limit: pending_max });
            }
            let sequence = next_sequence(connection, &device)?.ok_or(StoreError::NotFound)?;
            if ack != Ack::None {
                feedback::check_room(connection)?;
            }
            let sql = "INSERT INTO cloud_to_device
                       (device, sequence, enqueued, expires, message, ack, message_id)
                       VALUES (?, ?, ?, ?, ?, ?, ?)";
            let (enqueued, expires, ack) = (Ticks(now), Ticks(expires), feedback::ack_number(ack));
            let row =
                params![device.as_str(), sequence, enqueued, expires, message, ack, message_id];
            connection.prepare_cached(sql)?.execute(row)?;
            Ok((unsigned(sequence)?, expired))
        };
        let count = move |(_, expired): &(u64, u64)| {
            counters.expired.inc_by(*expired);
        };
        self.writer.write_then(enqueue, count).await.map(|(sequence, _)| sequence)
    }

    async fn lock(
        &self,
        device: &DeviceId,
        limit: usize,
        lock: Duration,
        deliveries_max: u32,
        now: Timestamp,
    ) -> Result<Vec<Locked>> {
        // A connection asks after every settlement, mostly for nothing: that needs no write.
        let asked = device.clone();
        let any = move |connection: &Connection| Ok(count(connection, &asked)? > 0);
        if limit == 0 || !self.readers.read(any).await? {
            return Ok(Vec::new());
        }
        let lock = SignedDuration::try_from(lock).unwrap_or(SignedDuration::MAX);
        let until = now.saturating_add(lock).unwrap_or(Timestamp::MAX);
        let device = device.clone();
        let lock = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let expired = remove_expired(connection, &device, now)?;
            let exhausted = remove_exhausted(connection, &device, deliveries_max, now)?;
            let generation = generation(connection, &device)?;
            let mut locked = waiting(connection, &device, limit, now, &generation)?;
            for message in &mut locked {
                message.lock = host::entropy::uuid_v4();
                let sql = "UPDATE cloud_to_device SET lock = ?, locked_until = ?,
                           deliveries = deliveries + 1 WHERE device = ? AND sequence = ?";
                let key = message.lock.into_bytes();
                let row = params![key, Ticks(until), device.as_str(), message.sequence as i64];
                connection.prepare_cached(sql)?.execute(row)?;
            }
            Ok((locked, expired, exhausted))
        };
        let counters = self.counters.clone();
        let count = move |(_, expired, exhausted): &(Vec<Locked>, u64, u64)| {
            counters.expired.inc_by(*expired);
            counters.exhausted.inc_by(*exhausted);
        };
        self.writer.write_then(lock, count).await.map(|(locked, ..)| locked)
    }

    async fn settle(
        &self,
        device: &DeviceId,
        lock: Uuid,
        outcome: Settlement,
        now: Timestamp,
    ) -> Result<()> {
        let device = device.clone();
        let settle = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let ended = match outcome {
                Settlement::Complete => Outcome::Success,
                Settlement::Reject => Outcome::Rejected,
                Settlement::Abandon => return unlock(connection, &device, lock, now),
            };
            let ending = Ending {
                which: "device = :device AND lock = :lock AND locked_until > :now",
                values: &[
                    (":device", &device.as_str()),
                    (":lock", &lock.into_bytes()),
                    (":now", &Ticks(now)),
                ],
                outcome: ended,
                now,
            };
            found(feedback::end(connection, &ending)?)
        };
        self.writer.write(settle).await
    }

    async fn unlock_all(&self, device: &DeviceId, _now: Timestamp) -> Result<()> {
        let device = device.clone();
        let unlock = move |group: &mut Group<'_>| {
            let sql = "UPDATE cloud_to_device SET lock = NULL, locked_until = NULL
                       WHERE device = ? AND lock IS NOT NULL";
            group.connection().prepare_cached(sql)?.execute([device.as_str()])?;
            Ok(())
        };
        self.writer.write(unlock).await
    }

    async fn pending(&self, device: &DeviceId) -> Result<u64> {
        let device = device.clone();
        let read = move |connection: &Connection| Ok(count(connection, &device)? as u64);
        self.readers.read(read).await
    }

    async fn purge(&self, device: &DeviceId, now: Timestamp) -> Result<u64> {
        let device = device.clone();
        let purge = move |group: &mut Group<'_>| {
            // What died before is told as such.
            remove_expired(group.connection(), &device, now)?;
            let ending = Ending {
                which: "device = :device",
                values: &[(":device", &device.as_str())],
                outcome: Outcome::Purged,
                now,
            };
            feedback::end(group.connection(), &ending)
        };
        self.writer.write(purge).await
    }

    async fn sweep(&self, deliveries_max: u32, now: Timestamp) -> Result<Vec<DeviceId>> {
        let anything =
            move |connection: &Connection| anything_to_sweep(connection, deliveries_max, now);
        if !self.readers.read(anything).await? {
            return Ok(Vec::new());
        }
        let sweep = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let (expired, exhausted) = remove_dead(connection, deliveries_max, now)?;
            Ok((free_lost_locks(connection, now)?, expired, exhausted))
        };
        let counters = self.counters.clone();
        let count = move |(_, expired, exhausted): &(Vec<DeviceId>, u64, u64)| {
            counters.expired.inc_by(*expired);
            counters.exhausted.inc_by(*exhausted);
        };
        self.writer.write_then(sweep, count).await.map(|(devices, ..)| devices)
    }
}

/// Frees all locks: the connections that held them ended with the process. Their deliveries count.
pub(super) fn free_locks(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "UPDATE cloud_to_device SET lock = NULL, locked_until = NULL
               WHERE locked_until IS NOT NULL";
    connection.execute(sql, []).map(drop)
}

/// Notes what the senders of messages want to hear, for messages of a version that did not.
pub(super) fn note_acks(connection: &Connection) -> rusqlite::Result<()> {
    let mut rows = connection.prepare("SELECT device, sequence, message FROM cloud_to_device")?;
    let mut rows = rows.query([])?;
    let sql =
        "UPDATE cloud_to_device SET ack = ?, message_id = ? WHERE device = ? AND sequence = ?";
    let mut update = connection.prepare(sql)?;
    while let Some(row) = rows.next()? {
        let message = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        // One that cannot be read will be refused when it is given out; nobody can be told of it.
        let Ok(message) = event_format::decode_message(message) else {
            continue;
        };
        let (device, sequence): (String, i64) = (row.get(0)?, row.get(1)?);
        let ack = feedback::ack_number(ack(&message));
        update.execute(params![ack, message_id(&message), device, sequence])?;
    }
    Ok(())
}

fn ack(message: &Message) -> Ack {
    Ack::parse(message.system(SystemProperty::Ack))
}

fn message_id(message: &Message) -> &str {
    message.system(SystemProperty::MessageId).unwrap_or_default()
}

fn unlock(connection: &Connection, device: &DeviceId, lock: Uuid, now: Timestamp) -> Result<()> {
    let sql = "UPDATE cloud_to_device SET lock = NULL, locked_until = NULL
               WHERE device = ? AND lock = ? AND locked_until > ?";
    let key = params![device.as_str(), lock.into_bytes(), Ticks(now)];
    found(connection.prepare_cached(sql)?.execute(key)? as u64)
}

fn found(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

fn count(connection: &Connection, device: &DeviceId) -> Result<usize> {
    let sql = "SELECT count(*) FROM cloud_to_device WHERE device = ?";
    Ok(connection.prepare_cached(sql)?.query_row([device.as_str()], |row| row.get(0))?)
}

/// The number of the next message; none when there is no such device.
fn next_sequence(connection: &Connection, device: &DeviceId) -> Result<Option<i64>> {
    let sql = "UPDATE devices SET c2d_next = c2d_next + 1 WHERE id = ? RETURNING c2d_next - 1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([device.as_str()], |row| row.get(0)).optional()?)
}

/// A message dies when it expires, locked or not.
fn remove_expired(connection: &Connection, device: &DeviceId, now: Timestamp) -> Result<u64> {
    let ending = Ending {
        which: "device = :device AND expires <= :now",
        values: &[(":device", &device.as_str()), (":now", &Ticks(now))],
        outcome: Outcome::Expired,
        now,
    };
    feedback::end(connection, &ending)
}

/// A message that was delivered too often dies when it would be delivered again.
fn remove_exhausted(
    connection: &Connection,
    device: &DeviceId,
    deliveries_max: u32,
    now: Timestamp,
) -> Result<u64> {
    let ending = Ending {
        which: "device = :device AND deliveries >= :max
                AND (locked_until IS NULL OR locked_until <= :now)",
        values: &[(":device", &device.as_str()), (":max", &deliveries_max), (":now", &Ticks(now))],
        outcome: Outcome::DeliveryCountExceeded,
        now,
    };
    feedback::end(connection, &ending)
}

/// Dead messages of all devices: the expired and those delivered too often.
fn remove_dead(connection: &Connection, deliveries_max: u32, now: Timestamp) -> Result<(u64, u64)> {
    // The inner selects are the same for both statements of an ending: nothing changes between.
    let expired = Ending {
        which: "rowid IN (SELECT rowid FROM cloud_to_device WHERE expires <= :now
                ORDER BY expires, rowid LIMIT :limit)",
        values: &[(":now", &Ticks(now)), (":limit", &SWEEP_MAX)],
        outcome: Outcome::Expired,
        now,
    };
    let expired = feedback::end(connection, &expired)?;
    let exhausted = Ending {
        which: "rowid IN (SELECT rowid FROM cloud_to_device
                WHERE deliveries >= :max AND deliveries > 0
                AND (locked_until IS NULL OR locked_until <= :now)
                ORDER BY deliveries, rowid LIMIT :limit)",
        values: &[(":max", &deliveries_max), (":now", &Ticks(now)), (":limit", &SWEEP_MAX)],
        outcome: Outcome::DeliveryCountExceeded,
        now,
    };
    Ok((expired, feedback::end(connection, &exhausted)?))
}

fn generation(connection: &Connection, device: &DeviceId) -> Result<GenerationId> {
    let sql = "SELECT generation FROM devices WHERE id = ?";
    let text: Option<String> = connection
        .prepare_cached(sql)?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?;
    text.map(|text| GenerationId::from_text(&text)).ok_or(StoreError::NotFound)
}

/// The oldest messages that are not locked, or whose lock is lost.
fn waiting(
    connection: &Connection,
    device: &DeviceId,
    limit: usize,
    now: Timestamp,
    generation: &GenerationId,
) -> Result<Vec<Locked>> {
    let sql = "SELECT sequence, enqueued, expires, deliveries, message FROM cloud_to_device
               WHERE device = ? AND (locked_until IS NULL OR locked_until <= ?)
               ORDER BY sequence LIMIT ?";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = limit.min(LOCK_MAX) as i64;
    let mut rows = statement.query(params![device.as_str(), Ticks(now), limit])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        messages.push(read_waiting(row, device, generation)?);
    }
    Ok(messages)
}

fn read_waiting(row: &Row<'_>, device: &DeviceId, generation: &GenerationId) -> Result<Locked> {
    let sequence = unsigned(row.get(0)?)?;
    let message: Vec<u8> = row.get(4)?;
    let message = event_format::decode_message(Bytes::from(message))
        .map_err(|error| StoreError::Corrupt(format!("message {sequence} of {device}: {error}")))?;
    Ok(Locked {
        lock: Uuid::nil(), // given next
        sequence,
        enqueued: row.get::<_, Ticks>(1)?.0,
        expires: row.get::<_, Ticks>(2)?.0,
        delivery_count: row.get(3)?,
        generation: generation.clone(),
        message,
    })
}

fn anything_to_sweep(connection: &Connection, deliveries_max: u32, now: Timestamp) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM cloud_to_device WHERE expires <= ?1)
               OR EXISTS (SELECT 1 FROM cloud_to_device WHERE locked_until <= ?1)
               OR EXISTS (SELECT 1 FROM cloud_to_device
                          WHERE deliveries >= ?2 AND deliveries > 0 AND locked_until IS NULL)";
    let key = params![Ticks(now), deliveries_max];
    Ok(connection.prepare_cached(sql)?.query_row(key, |row| row.get(0))?)
}

fn free_lost_locks(connection: &Connection, now: Timestamp) -> Result<Vec<DeviceId>> {
    let sql = "UPDATE cloud_to_device SET lock = NULL, locked_until = NULL WHERE rowid IN
               (SELECT rowid FROM cloud_to_device WHERE locked_until <= ? LIMIT ?)
               RETURNING device";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![Ticks(now), SWEEP_MAX])?;
    let mut devices = std::collections::BTreeSet::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let corrupt = |error| StoreError::Corrupt(format!("queue of {id:?}: {error}"));
        devices.insert(id.parse::<DeviceId>().map_err(corrupt)?);
    }
    Ok(devices.into_iter().collect())
}

/// Messages locked at once, whatever is asked for.
const LOCK_MAX: usize = 256;
/// Messages removed and locks freed by one sweep; the next one goes on.
const SWEEP_MAX: i64 = 10_000;
