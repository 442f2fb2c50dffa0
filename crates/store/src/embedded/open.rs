//! Opening a data directory: the lock, the schema, the master key, the journal.

use std::path::Path;
use std::sync::Arc;

use host::clock::Clock;
use jiff::Timestamp;
use journal::{Journal, Retention};
use parking_lot::RwLock;
use pki::seal::MasterKey;
use rusqlite::Connection;

use super::presence::{self, Epochs};
use super::schema::{self, Found};
use super::sealing::Sealer;
use super::sqlite::Ticks;
use super::{
    Counters, Embedded, OpenError, OpenReport, PARTITIONS_MAX, Settings, authorities,
    cloud_to_device, events, leases, outbox, policies, readers, signals, sqlite, writer,
};
use crate::Stores;
use crate::policies::Policy;

/// Opens the data directory, which is created if need be, and owns it until the last of the
/// stores is dropped. Blocks: for the start of a program.
pub fn open(
    directory: &Path,
    settings: Settings,
    master: MasterKey,
    clock: Clock,
) -> Result<(Stores, OpenReport), OpenError> {
    let (embedded, report) = open_embedded(directory, settings, master, clock)?;
    Ok((stores(&embedded), report))
}

/// The shared access policies of a data directory, whether a hub owns it now or not: for tools on the
/// hub's own machine that hold its master key.
pub fn read_policies(directory: &Path, master: MasterKey) -> Result<Vec<Policy>, OpenError> {
    let database = |source| OpenError::Database { directory: directory.to_owned(), source };
    let stored = |source| OpenError::Stored { directory: directory.to_owned(), source };
    let connection = sqlite::open_reader(&directory.join("hub.db")).map_err(database)?;
    let sealer = Sealer::new(master, &connection, directory)?;
    policies::read(&connection, &sealer).map_err(stored)
}

/// The same, as what stands behind the traits.
pub(super) fn open_embedded(
    directory: &Path,
    settings: Settings,
    master: MasterKey,
    clock: Clock,
) -> Result<(Arc<Embedded>, OpenReport), OpenError> {
    check(&settings)?;
    host::fs::create_private_dir(directory)?;
    let lock = host::fs::lock_exclusive(&directory.join("lock")).map_err(|error| {
        if error.is_locked() {
            OpenError::Locked { directory: directory.to_owned() }
        } else {
            error.into()
        }
    })?;
    let path = directory.join("hub.db");
    host::fs::create_new(&path, b"", 0o600)?;
    let database = |source| OpenError::Database { directory: directory.to_owned(), source };
    let stored = |source| OpenError::Stored { directory: directory.to_owned(), source };

    let mut connection = sqlite::open_writer(&path).map_err(database)?;
    let found = schema::migrate(&mut connection).map_err(database)?;
    if let Found::Newer(found) = found {
        let directory = directory.to_owned();
        return Err(OpenError::NewerSchema { directory, found, known: schema::NEWEST });
    }
    cloud_to_device::free_locks(&connection).map_err(database)?;
    let sealer = Arc::new(Sealer::new(master, &connection, directory)?);
    let partitions = partitions(&connection, &settings).map_err(database)?;
    let created = created(&connection, &clock).map_err(database)?;
    let epochs = Epochs::of_start(count_start(&connection).map_err(database)?);
    let policies = Arc::new(RwLock::new(policies::read(&connection, &sealer).map_err(stored)?));
    let authorities = Arc::new(RwLock::new(authorities::read(&connection).map_err(stored)?));
    let marks = Arc::new(outbox::Marks::read(&connection).map_err(database)?);
    let readers = Arc::new(readers::Readers::open(&path).map_err(database)?);

    let retention = retention(&settings, partitions);
    let (journal, recovered) =
        Journal::open(&directory.join("journal"), settings.journal, clock.clone())?;
    let log = events::Log::new(journal, partitions, retention, created)?;

    let writer = writer::Writer::start(connection, marks.clone(), directory.to_owned())
        .map_err(OpenError::Thread)?;
    let counters = Arc::new(Counters::default());
    let embedded = Arc::new(Embedded {
        writer,
        readers,
        log,
        sealer,
        policies,
        authorities,
        presence: Arc::new(presence::Table::new(epochs.clone())),
        leases: leases::Table::new(epochs, clock),
        line: signals::Line::new(counters.signals_dropped.clone()),
        marks,
        counters: counters.clone(),
        _lock: lock,
    });
    let report = OpenReport {
        created: found == Found::Nothing,
        migrated_from: match found {
            Found::Version(version) if version < schema::NEWEST => Some(version),
            _ => None,
        },
        partitions,
        partitions_ignored: Some(settings.partitions).filter(|asked| *asked != partitions),
        journal: recovered,
        counters,
    };
    Ok((embedded, report))
}

fn check(settings: &Settings) -> Result<(), OpenError> {
    if !(1..=PARTITIONS_MAX).contains(&settings.partitions) {
        return Err(OpenError::Setting { setting: "partitions", rule: "must be 1 to 128" });
    }
    Ok(())
}

/// The number of partitions, which the creation of the directory fixed.
fn partitions(connection: &Connection, settings: &Settings) -> rusqlite::Result<u32> {
    if let Some(stored) = schema::meta(connection, "partitions")? {
        return Ok(stored);
    }
    schema::set_meta(connection, "partitions", settings.partitions)?;
    Ok(settings.partitions)
}

/// When the directory was created; for one that an older program made, when this one first opened
/// it.
fn created(connection: &Connection, clock: &Clock) -> rusqlite::Result<Timestamp> {
    if let Some(Ticks(stored)) = schema::meta(connection, "created")? {
        return Ok(stored);
    }
    let now = clock.wall();
    schema::set_meta(connection, "created", Ticks(now))?;
    Ok(now)
}

/// How often this directory has been opened, this time included.
fn count_start(connection: &Connection) -> rusqlite::Result<u64> {
    let starts: u32 = schema::meta(connection, "starts")?.unwrap_or(0) + 1;
    schema::set_meta(connection, "starts", starts)?;
    Ok(starts.into())
}

fn retention(settings: &Settings, partitions: u32) -> Retention {
    Retention {
        bytes: settings.events_bytes_max.map(|bytes| bytes / u64::from(partitions)),
        age: settings.events_age_max,
    }
}

pub(super) fn stores(embedded: &Arc<Embedded>) -> Stores {
    Stores {
        registry: embedded.clone(),
        twins: embedded.clone(),
        cloud_to_device: embedded.clone(),
        feedback: embedded.clone(),
        sessions: embedded.clone(),
        events: embedded.clone(),
        outbox: embedded.clone(),
        policies: embedded.clone(),
        authorities: embedded.clone(),
        presence: embedded.clone(),
        signals: embedded.clone(),
        leases: embedded.clone(),
        consumer_groups: embedded.clone(),
    }
}
