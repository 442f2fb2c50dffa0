//! Modules of devices.

use model::id::Precondition;
use model::identity::ModuleIdentity;
use model::{DeviceId, Etag, GenerationId, ModuleId, limits};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::sealing::{Place, Sealer};
use super::super::sqlite::unsigned;
use super::super::twins;
use super::{check, collect, first_etag, next_etag, pair, version};
use crate::StoreError;
use crate::error::Result;

/// Writes a module of a device that exists.
pub(super) fn put(
    connection: &Connection,
    sealer: &Sealer,
    module: ModuleIdentity,
    precondition: Precondition,
) -> Result<ModuleIdentity> {
    let stored = module_version(connection, &module.device, &module.id)?;
    check(precondition, stored.as_ref().map(|(_, etag)| *etag))?;
    match stored {
        None => {
            check_room(connection, &module.device)?;
            let etag = first_etag(&module.generation);
            let module = ModuleIdentity { etag, ..module };
            write(connection, sealer, &module)?;
            let (device, id) = (module.device.as_str(), module.id.as_str());
            twins::create(connection, device, id, &module.generation)?;
            Ok(module)
        }
        Some((generation, etag)) => {
            let module = ModuleIdentity { generation, etag: next_etag(etag), ..module };
            write(connection, sealer, &module)?;
            Ok(module)
        }
    }
}

/// Deletes a module with its twin; its session goes by the schema's cascade.
pub(super) fn delete(
    connection: &Connection,
    device: &DeviceId,
    id: &ModuleId,
    precondition: Precondition,
) -> Result<()> {
    let stored = module_version(connection, device, id)?;
    check(precondition, stored.map(|(_, etag)| etag))?;
    for sql in [
        "DELETE FROM modules WHERE device = ? AND id = ?",
        "DELETE FROM twins WHERE device = ? AND module = ?",
    ] {
        connection.prepare_cached(sql)?.execute([device.as_str(), id.as_str()])?;
    }
    Ok(())
}

/// One module.
pub(super) fn read(
    connection: &Connection,
    sealer: &Sealer,
    device: &DeviceId,
    id: &ModuleId,
) -> Result<Option<ModuleIdentity>> {
    let sql = format!("{SELECT} WHERE device = ? AND id = ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let key = [device.as_str(), id.as_str()];
    statement.query_row(key, |row| Ok(module(row, sealer))).optional()?.transpose()
}

/// All modules of a device.
pub(super) fn list(
    connection: &Connection,
    sealer: &Sealer,
    device: &DeviceId,
) -> Result<Vec<ModuleIdentity>> {
    let sql = format!("{SELECT} WHERE device = ? ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    collect(statement.query([device.as_str()])?, |row| module(row, sealer))
}

fn check_room(connection: &Connection, device: &DeviceId) -> Result<()> {
    let sql = "SELECT count(*) FROM modules WHERE device = ?";
    let count: usize =
        connection.prepare_cached(sql)?.query_row([device.as_str()], |row| row.get(0))?;
    let limit = limits::MODULES_PER_DEVICE_MAX;
    if count >= limit {
        return Err(StoreError::Full { what: "the device's list of modules", limit });
    }
    Ok(())
}

fn module_version(
    connection: &Connection,
    device: &DeviceId,
    id: &ModuleId,
) -> Result<Option<(GenerationId, Etag)>> {
    let sql = "SELECT generation, etag FROM modules WHERE device = ? AND id = ?";
    let key = [device.as_str(), id.as_str()];
    version(connection.prepare_cached(sql)?.query_row(key, pair).optional()?)
}

fn write(connection: &Connection, sealer: &Sealer, module: &ModuleIdentity) -> Result<()> {
    let id = module.identity().to_string();
    let (auth_kind, auth) = sealer.close_authentication(place(&id), &module.authentication);
    let sql = "INSERT INTO modules (device, id, generation, etag, managed_by, auth_kind, auth)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (device, id) DO UPDATE SET generation = ?3, etag = ?4, managed_by = ?5,
               auth_kind = ?6, auth = ?7";
    connection.prepare_cached(sql)?.execute(params![
        module.device.as_str(),
        module.id.as_str(),
        module.generation.as_str(),
        module.etag.0,
        module.managed_by,
        auth_kind,
        auth,
    ])?;
    Ok(())
}

fn module(row: &Row<'_>, sealer: &Sealer) -> Result<ModuleIdentity> {
    let (device, id): (String, String) = (row.get(0)?, row.get(1)?);
    let name = format!("{device}/{id}");
    let corrupt =
        |what: &dyn std::fmt::Display| StoreError::Corrupt(format!("module {name}: {what}"));
    let auth: Option<Vec<u8>> = row.get(6)?;
    Ok(ModuleIdentity {
        device: device.parse().map_err(|error| corrupt(&error))?,
        id: id.parse().map_err(|error| corrupt(&error))?,
        generation: GenerationId::from_text(&row.get::<_, String>(2)?),
        etag: Etag(unsigned(row.get(3)?)?),
        managed_by: row.get(4)?,
        authentication: sealer.open_authentication(place(&name), row.get(5)?, auth.as_deref())?,
    })
}

fn place(id: &str) -> Place<'_> {
    Place { table: "modules", id }
}

const SELECT: &str =
    "SELECT device, id, generation, etag, managed_by, auth_kind, auth FROM modules";
