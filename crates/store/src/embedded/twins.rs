//! Twins: a row each, sections as JSON text.

use async_trait::async_trait;
use model::twin::{Object, Section, Twin};
use model::{Etag, GenerationId, IdentityId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Embedded;
use super::sqlite::unsigned;
use super::writer::Group;
use crate::StoreError;
use crate::error::Result;
use crate::outbox::HubEvent;
use crate::twins::apply::apply;
use crate::twins::{TwinRecord, TwinWrite, TwinWritten, Twins};

#[async_trait]
impl Twins for Embedded {
    async fn twin(&self, id: &IdentityId) -> Result<Option<TwinRecord>> {
        let id = id.clone();
        let read = move |connection: &Connection| read(connection, &id);
        Ok(self.readers.read(read).await?.map(|(record, _)| record))
    }

    async fn write(&self, writes: Vec<TwinWrite>) -> Vec<Result<TwinWritten>> {
        let count = writes.len();
        let write_all = |group: &mut Group<'_>| {
            let mut results = Vec::with_capacity(writes.len());
            for write in writes {
                match write_one(group, write) {
                    Err(StoreError::Unavailable(why)) => return Err(StoreError::Unavailable(why)),
                    result => results.push(result),
                }
            }
            Ok(results)
        };
        match self.writer.write_twins(write_all).await {
            Ok(results) => results,
            Err(error) => (0..count).map(|_| Err(same(&error))).collect(),
        }
    }
}

/// The fresh twin of a new identity. `module` is empty for a device's own.
pub(super) fn create(
    connection: &Connection,
    device: &str,
    module: &str,
    generation: &GenerationId,
) -> Result<()> {
    let sql = "INSERT INTO twins (tags, desired, desired_metadata, desired_version, reported,
               reported_metadata, reported_version, etag, version, model_id, device, module,
               generation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?)";
    let twin = Twin::new();
    connection.prepare_cached(sql)?.execute(params![
        text(&twin.tags),
        text(&twin.desired.properties),
        text(&twin.desired.metadata),
        twin.desired.version,
        text(&twin.reported.properties),
        text(&twin.reported.metadata),
        twin.reported.version,
        twin.etag.0,
        twin.version,
        device,
        module,
        generation.as_str(),
    ])?;
    Ok(())
}

/// Reads a twin and its identity's generation.
pub(super) fn read(
    connection: &Connection,
    id: &IdentityId,
) -> Result<Option<(TwinRecord, GenerationId)>> {
    let sql = "SELECT tags, desired, desired_metadata, desired_version, reported,
               reported_metadata, reported_version, etag, version, model_id, generation
               FROM twins WHERE device = ? AND module = ?";
    let key = [id.device.as_str(), module(id)];
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(key, |row| Ok(twin(row))).optional()?.transpose()
}

/// Writes a twin back.
pub(super) fn update(connection: &Connection, id: &IdentityId, record: &TwinRecord) -> Result<()> {
    let sql = "UPDATE twins SET tags = ?, desired = ?, desired_metadata = ?, desired_version = ?,
               reported = ?, reported_metadata = ?, reported_version = ?, etag = ?, version = ?,
               model_id = ? WHERE device = ? AND module = ?";
    let TwinRecord { twin, model_id } = record;
    connection.prepare_cached(sql)?.execute(params![
        text(&twin.tags),
        text(&twin.desired.properties),
        text(&twin.desired.metadata),
        twin.desired.version,
        text(&twin.reported.properties),
        text(&twin.reported.metadata),
        twin.reported.version,
        twin.etag.0,
        twin.version,
        model_id,
        id.device.as_str(),
        module(id),
    ])?;
    Ok(())
}

fn write_one(group: &mut Group<'_>, write: TwinWrite) -> Result<TwinWritten> {
    let TwinWrite { id, mutation, now } = write;
    group.check_room()?;
    let held = group.twin(&id)?;
    let applied = apply(&mut held.record, mutation, now)?;
    held.dirty = true;
    let TwinRecord { twin, model_id } = held.record.clone();
    if let Some((kind, body)) = applied.event {
        let generation = held.generation.clone();
        append(group, HubEvent { kind, subject: id, generation, time: now, body })?;
    }
    Ok(TwinWritten { twin, model_id, changed: applied.changed })
}

/// The twin has changed already, so without its event the whole group must go.
fn append(group: &mut Group<'_>, event: HubEvent) -> Result<()> {
    group.append_events([event]).map_err(whole_group)
}

fn twin(row: &Row<'_>) -> Result<(TwinRecord, GenerationId)> {
    let section = |at: usize| -> Result<Section> {
        Ok(Section {
            properties: object(row, at)?,
            metadata: object(row, at + 1)?,
            version: unsigned(row.get(at + 2)?)?,
        })
    };
    let twin = Twin {
        tags: object(row, 0)?,
        desired: section(1)?,
        reported: section(4)?,
        etag: Etag(unsigned(row.get(7)?)?),
        version: unsigned(row.get(8)?)?,
    };
    let generation = GenerationId::from_text(&row.get::<_, String>(10)?);
    Ok((TwinRecord { twin, model_id: row.get(9)? }, generation))
}

fn object(row: &Row<'_>, column: usize) -> Result<Object> {
    let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt(format!("twin: {error}"));
    let text = row.get_ref(column)?.as_str().map_err(|error| corrupt(&error))?;
    serde_json::from_str(text).map_err(|error| corrupt(&error))
}

fn text(object: &Object) -> String {
    serde_json::to_string(object).expect("an object with text keys is JSON")
}

fn module(id: &IdentityId) -> &str {
    id.module.as_ref().map_or("", |module| module.as_str())
}

/// An error that nobody in the group can be spared.
pub(super) fn whole_group(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(why),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// One failure of the group, told to each write.
fn same(error: &StoreError) -> StoreError {
    match error {
        StoreError::UnknownOutcome(why) => StoreError::UnknownOutcome(why.clone()),
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
