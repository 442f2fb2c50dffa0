//! Identities: devices here, modules in `registry/modules.rs`.

mod modules;

use std::sync::Arc;

use async_trait::async_trait;
use model::id::Precondition;
use model::identity::{DeviceIdentity, ModuleIdentity, Status};
use model::{DeviceId, Etag, GenerationId, ModuleId, limits};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sealing::{Place, Sealer};
use super::sqlite::{Ticks, unsigned};
use super::writer::Group;
use super::{Embedded, twins};
use crate::StoreError;
use crate::error::Result;
use crate::outbox::HubEvent;
use crate::registry::{Registry, Statistics};

#[async_trait]
impl Registry for Embedded {
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceIdentity>> {
        let (id, sealer) = (id.clone(), self.sealer.clone());
        self.readers.read(move |connection| read_device(connection, &sealer, &id)).await
    }

    async fn devices(&self, after: Option<&DeviceId>, limit: usize) -> Result<Vec<DeviceIdentity>> {
        let after = after.map_or(String::new(), DeviceId::to_string);
        let sealer = self.sealer.clone();
        let read = move |connection: &Connection| {
            let sql = format!("{SELECT_DEVICE} WHERE id > ? ORDER BY id LIMIT ?");
            let mut statement = connection.prepare_cached(&sql)?;
            collect(statement.query(params![after, page(limit)])?, |row| device(row, &sealer))
        };
        self.readers.read(read).await
    }

    async fn devices_in_scope(
        &self,
        scope: &str,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceIdentity>> {
        let scope = scope.to_owned();
        let after = after.map_or(String::new(), DeviceId::to_string);
        let sealer = self.sealer.clone();
        let read = move |connection: &Connection| {
            let sql = format!(
                "{SELECT_DEVICE} WHERE id IN (
                     SELECT id FROM devices WHERE scope = ?1 AND id > ?2
                     UNION SELECT device FROM device_parents WHERE scope = ?1 AND device > ?2
                     ORDER BY 1 LIMIT ?3
                 ) ORDER BY id"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query(params![scope, after, page(limit)])?;
            collect(rows, |row| device(row, &sealer))
        };
        self.readers.read(read).await
    }

    async fn put_device(
        &self,
        device: DeviceIdentity,
        modules: Vec<ModuleIdentity>,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<DeviceIdentity> {
        let put = PutDevice { sealer: self.sealer.clone(), modules, precondition, events };
        self.writer.write(move |group| put.run(group, device)).await
    }

    async fn delete_device(
        &self,
        id: &DeviceId,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<()> {
        let deleted = id.clone();
        let presence = self.presence.clone();
        let delete = move |group: &mut Group<'_>| {
            let stored = device_version(group.connection(), &deleted)?;
            check(delete_demand(precondition), stored.map(|(_, etag)| etag))?;
            // Everything that hangs on the device goes by the schema's cascades.
            let sql = "DELETE FROM devices WHERE id = ?";
            group.connection().prepare_cached(sql)?.execute([deleted.as_str()])?;
            group.append_events(events)?;
            Ok(deleted)
        };
        let forget = move |deleted: &DeviceId| presence.forget_device(deleted);
        self.writer.write_then(delete, forget).await.map(drop)
    }

    async fn module(&self, device: &DeviceId, id: &ModuleId) -> Result<Option<ModuleIdentity>> {
        let (device, id, sealer) = (device.clone(), id.clone(), self.sealer.clone());
        let read = move |connection: &Connection| modules::read(connection, &sealer, &device, &id);
        self.readers.read(read).await
    }

    async fn modules(&self, device: &DeviceId) -> Result<Vec<ModuleIdentity>> {
        let (device, sealer) = (device.clone(), self.sealer.clone());
        self.readers.read(move |connection| modules::list(connection, &sealer, &device)).await
    }

    async fn put_module(
        &self,
        module: ModuleIdentity,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<ModuleIdentity> {
        let sealer = self.sealer.clone();
        let put = move |group: &mut Group<'_>| {
            if device_version(group.connection(), &module.device)?.is_none() {
                return Err(StoreError::NotFound);
            }
            let written = modules::put(group.connection(), &sealer, module, precondition)?;
            group.append_events(events)?;
            Ok(written)
        };
        self.writer.write(put).await
    }

    async fn delete_module(
        &self,
        device: &DeviceId,
        id: &ModuleId,
        precondition: Precondition,
        events: Vec<HubEvent>,
    ) -> Result<()> {
        let identity = model::IdentityId::module(device.clone(), id.clone());
        let (device, id) = (device.clone(), id.clone());
        let presence = self.presence.clone();
        let delete = move |group: &mut Group<'_>| {
            modules::delete(group.connection(), &device, &id, delete_demand(precondition))?;
            group.append_events(events)
        };
        self.writer.write_then(delete, move |()| presence.forget(&identity)).await
    }

    async fn statistics(&self) -> Result<Statistics> {
        let read = |connection: &Connection| {
            let sql = "SELECT count(*) FILTER (WHERE status = 1),
                       count(*) FILTER (WHERE status = 0) FROM devices";
            let counts = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let (enabled, disabled) = connection.prepare_cached(sql)?.query_row([], counts)?;
            Ok(Statistics { enabled: unsigned(enabled)?, disabled: unsigned(disabled)? })
        };
        self.readers.read(read).await
    }
}

/// What a put does besides the device itself.
struct PutDevice {
    sealer: Arc<Sealer>,
    modules: Vec<ModuleIdentity>,
    precondition: Precondition,
    events: Vec<HubEvent>,
}

impl PutDevice {
    fn run(self, group: &mut Group<'_>, device: DeviceIdentity) -> Result<DeviceIdentity> {
        let connection = group.connection();
        let stored = device_version(connection, &device.id)?;
        check(self.precondition, stored.as_ref().map(|(_, etag)| *etag))?;
        let written = match stored {
            None => {
                let etag = first_etag(&device.generation);
                let device = DeviceIdentity { etag, ..device };
                write_device(connection, &self.sealer, &device)?;
                twins::create(connection, device.id.as_str(), "", &device.generation)?;
                for module in self.modules {
                    modules::put(connection, &self.sealer, module, Precondition::Absent)?;
                }
                device
            }
            Some((generation, etag)) => {
                let device = DeviceIdentity { generation, etag: next_etag(etag), ..device };
                write_device(connection, &self.sealer, &device)?;
                device
            }
        };
        group.append_events(self.events)?;
        Ok(written)
    }
}

/// Whether a precondition holds for what is stored.
fn check(precondition: Precondition, stored: Option<Etag>) -> Result<()> {
    match (precondition, stored) {
        (Precondition::None, _)
        | (Precondition::Absent, None)
        | (Precondition::Exists, Some(_)) => Ok(()),
        (Precondition::Absent, Some(_)) => Err(StoreError::Exists),
        (Precondition::Exists | Precondition::Matches(_), None) => Err(StoreError::NotFound),
        (Precondition::Matches(expected), Some(stored)) if expected == stored => Ok(()),
        (Precondition::Matches(_), Some(_)) => Err(StoreError::Precondition),
    }
}

/// What is to be deleted must be there.
fn delete_demand(precondition: Precondition) -> Precondition {
    match precondition {
        Precondition::None => Precondition::Exists,
        other => other,
    }
}

/// The first etag of an identity. The upper bits come from its generation, so that a re-created
/// one does not repeat an etag; the lower ones count its changes.
fn first_etag(generation: &GenerationId) -> Etag {
    let hash = generation.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // SQLite's integers have 63 bits.
    Etag((hash >> 1) & !ETAG_COUNTER)
}

fn next_etag(etag: Etag) -> Etag {
    let counter = (etag.0 + 1) & ETAG_COUNTER;
    Etag((etag.0 & !ETAG_COUNTER) | counter)
}

fn device_version(connection: &Connection, id: &DeviceId) -> Result<Option<(GenerationId, Etag)>> {
    let sql = "SELECT generation, etag FROM devices WHERE id = ?";
    version(connection.prepare_cached(sql)?.query_row([id.as_str()], pair).optional()?)
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(String, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn version(row: Option<(String, i64)>) -> Result<Option<(GenerationId, Etag)>> {
    let read = |(generation, etag): (String, i64)| {
        Ok((GenerationId::from_text(&generation), Etag(unsigned(etag)?)))
    };
    row.map(read).transpose()
}

fn write_device(connection: &Connection, sealer: &Sealer, device: &DeviceIdentity) -> Result<()> {
    let id = device.id.as_str();
    let (auth_kind, auth) = sealer.close_authentication(place(id), &device.authentication);
    // Not REPLACE, which would delete the row first and everything that hangs on it.
    let sql = "INSERT INTO devices (id, generation, etag, status, status_reason, status_updated,
               auth_kind, auth, edge, scope, parent_scopes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
               ON CONFLICT (id) DO UPDATE SET generation = ?2, etag = ?3, status = ?4,
               status_reason = ?5, status_updated = ?6, auth_kind = ?7, auth = ?8, edge = ?9,
               scope = ?10, parent_scopes = ?11";
    connection.prepare_cached(sql)?.execute(params![
        id,
        device.generation.as_str(),
        device.etag.0,
        device.status == Status::Enabled,
        device.status_reason,
        device.status_updated.map(Ticks),
        auth_kind,
        auth,
        device.edge,
        device.scope,
        serde_json::to_string(&device.parent_scopes).expect("texts are JSON"),
    ])?;
    connection.prepare_cached("DELETE FROM device_parents WHERE device = ?")?.execute([id])?;
    for scope in &device.parent_scopes {
        let sql = "INSERT OR IGNORE INTO device_parents (scope, device) VALUES (?, ?)";
        connection.prepare_cached(sql)?.execute([scope.as_str(), id])?;
    }
    Ok(())
}

fn read_device(
    connection: &Connection,
    sealer: &Sealer,
    id: &DeviceId,
) -> Result<Option<DeviceIdentity>> {
    let sql = format!("{SELECT_DEVICE} WHERE id = ?");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row([id.as_str()], |row| Ok(device(row, sealer))).optional()?.transpose()
}

fn device(row: &Row<'_>, sealer: &Sealer) -> Result<DeviceIdentity> {
    let id: String = row.get(0)?;
    let corrupt =
        |what: &dyn std::fmt::Display| StoreError::Corrupt(format!("device {id}: {what}"));
    let parent_scopes: String = row.get(10)?;
    let auth: Option<Vec<u8>> = row.get(7)?;
    Ok(DeviceIdentity {
        id: id.parse().map_err(|error| corrupt(&error))?,
        generation: GenerationId::from_text(&row.get::<_, String>(1)?),
        etag: Etag(unsigned(row.get(2)?)?),
        status: if row.get(3)? { Status::Enabled } else { Status::Disabled },
        status_reason: row.get(4)?,
        status_updated: row.get::<_, Option<Ticks>>(5)?.map(|ticks| ticks.0),
        authentication: sealer.open_authentication(place(&id), row.get(6)?, auth.as_deref())?,
        edge: row.get(8)?,
        scope: row.get(9)?,
        parent_scopes: serde_json::from_str(&parent_scopes).map_err(|error| corrupt(&error))?,
    })
}

/// Every row, or the first failure.
fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn page(limit: usize) -> usize {
    limit.min(limits::LIST_PAGE_MAX)
}

fn place(id: &str) -> Place<'_> {
    Place { table: "devices", id }
}

const SELECT_DEVICE: &str = "SELECT id, generation, etag, status, status_reason, status_updated,
    auth_kind, auth, edge, scope, parent_scopes FROM devices";
/// The bits of an etag that count changes.
const ETAG_COUNTER: u64 = 0xf_ffff;
