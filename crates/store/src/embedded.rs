//! The embedded backend: SQLite for state, the journal for events, memory for what a restart ends
//! anyway (presence, signals, leases).
//!
//! ```text
//! hub.db      identities, twins, sessions, queues, outbox, policies; keys sealed
//! journal/    a stream per partition of the event log
//! lock        held by the process that owns the directory
//! ```
//!
//! One thread writes ([`writer`]), a few connections read ([`readers`]); one file per resource.

mod authorities;
mod cloud_to_device;
mod consumer_groups;
pub mod event_format;
mod events;
mod feedback;
mod leases;
mod open;
mod outbox;
mod policies;
mod presence;
mod readers;
mod registry;
mod schema;
mod sealing;
mod sessions;
mod signals;
mod sqlite;
mod twins;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host::fs::FileLock;
use host::metrics::{Counter, Metrics};

pub use open::{open, read_policies};

/// What an embedded store is told when it is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Partitions of the event log; fixed when the data directory is created.
    pub partitions: u32,
    /// Bytes of events that are kept, all partitions together; none: as many as the disk has.
    pub events_bytes_max: Option<u64>,
    /// How long events are kept; none: without end.
    pub events_age_max: Option<Duration>,
    /// How the journal is laid out on the disk.
    pub journal: journal::Settings,
}

/// The most partitions that a hub can have (`service-api.md` §2.10).
pub const PARTITIONS_MAX: u32 = 128;

impl Default for Settings {
    /// As the service has it: 4 partitions, events kept for a day (`service-api.md` §8.1); and at
    /// most 8 GiB of them.
    fn default() -> Self {
        Self {
            partitions: 4,
            events_bytes_max: Some(8 << 30),
            events_age_max: Some(Duration::from_secs(24 * 3600)),
            journal: journal::Settings {
                // A replaced twin with the metadata of its smallest properties.
                record_bytes_max: 2 << 20,
                ..journal::Settings::default()
            },
        }
    }
}

/// What was found when a store was opened.
#[derive(Debug, Clone)]
pub struct OpenReport {
    /// The directory was empty.
    pub created: bool,
    /// The schema was brought forward from this version.
    pub migrated_from: Option<u32>,
    /// Partitions of the event log.
    pub partitions: u32,
    /// The setting that was not followed, because the number is fixed.
    pub partitions_ignored: Option<u32>,
    /// What the journal found.
    pub journal: journal::RecoveryReport,
    /// What the store counts while it is open.
    pub counters: Arc<Counters>,
}

/// What a store counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Cloud-to-device messages that expired.
    pub expired: Counter,
    /// Cloud-to-device messages that were delivered too often.
    pub exhausted: Counter,
    /// Feedback messages that nobody took in time, or as often as they may be given.
    pub feedback_dropped: Counter,
    /// Signals dropped because the hub was too slow.
    pub signals_dropped: Counter,
    /// Events that are in the log and cannot be read.
    pub unreadable: Counter,
}

impl Counters {
    /// Shows the counters among the operator's metrics.
    pub fn register(&self, metrics: &Metrics) {
        for (name, help, counter) in [
            ("cloud_to_device_expired", "Queued messages that expired", &self.expired),
            ("cloud_to_device_exhausted", "Queued messages delivered too often", &self.exhausted),
            ("feedback_dropped", "Feedback messages that nobody took", &self.feedback_dropped),
            ("signals_dropped", "Signals the hub was too slow for", &self.signals_dropped),
            ("events_unreadable", "Stored events that cannot be read", &self.unreadable),
        ] {
            metrics.register(name, help, counter.clone());
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process owns the directory.
    #[error(
        "data directory {} is in use by another process; stop it, or choose another directory",
        directory.display()
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
    },
    /// A newer version wrote the directory.
    #[error(
        "data directory {} has schema version {found}, this program knows up to {known}; \
         run the newer version, or choose another directory",
        directory.display()
    )]
    NewerSchema {
        /// The data directory.
        directory: PathBuf,
        /// The version in the directory.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The master key is not the one that the directory was made with.
    #[error(
        "the master key does not open the keys in data directory {}; \
         give the key that it was made with",
        directory.display()
    )]
    MasterKey {
        /// The data directory.
        directory: PathBuf,
        /// What the seal says.
        source: pki::seal::SealError,
    },
    /// A setting that cannot work.
    #[error("setting {setting} {rule}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A file or directory refuses.
    #[error("cannot prepare the data directory")]
    Files(#[from] host::fs::FsError),
    /// The database refuses.
    #[error("cannot open the database in data directory {}", directory.display())]
    Database {
        /// The data directory.
        directory: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// What is stored cannot be read.
    #[error("cannot read the database in data directory {}", directory.display())]
    Stored {
        /// The data directory.
        directory: PathBuf,
        /// What is wrong.
        source: crate::StoreError,
    },
    /// The journal cannot be opened.
    #[error("cannot open the event log")]
    Journal(#[from] journal::OpenError),
    /// A partition cannot be opened.
    #[error("cannot open a partition of the event log")]
    Partition(#[from] journal::JournalError),
    /// The system gives no thread.
    #[error("cannot start the store's writer")]
    Thread(#[source] std::io::Error),
}

/// Everything behind the traits. Fields are dropped in order: first the writer, which ends after
/// what is queued, last the lock.
struct Embedded {
    writer: writer::Writer,
    readers: Arc<readers::Readers>,
    log: events::Log,
    sealer: Arc<sealing::Sealer>,
    policies: policies::Cached,
    authorities: authorities::Cached,
    presence: Arc<presence::Table>,
    leases: leases::Table,
    line: signals::Line,
    marks: Arc<outbox::Marks>,
    counters: Arc<Counters>,
    _lock: FileLock,
}
