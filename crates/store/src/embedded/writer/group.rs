//! What the operations of one group share: the transaction, the twins that they changed, the
//! events that they caused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use model::{GenerationId, IdentityId};
use rusqlite::{Connection, params};

use super::super::outbox::{self, Marks};
use super::super::sqlite::Ticks;
use super::super::twins;
use crate::StoreError;
use crate::error::Result;
use crate::outbox::HubEvent;
use crate::twins::TwinRecord;

/// An open transaction.
pub(in super::super) struct Group<'a> {
    connection: &'a Connection,
    marks: &'a Marks,
    twins: HashMap<IdentityId, Held>,
    last_event: i64,
}

/// A twin that was read in this group, and is written once at its end.
pub(in super::super) struct Held {
    pub(in super::super) record: TwinRecord,
    pub(in super::super) generation: GenerationId,
    pub(in super::super) dirty: bool,
}

impl<'a> Group<'a> {
    pub(super) fn new(connection: &'a Connection, marks: &'a Marks) -> Self {
        Self { connection, marks, twins: HashMap::new(), last_event: 0 }
    }

    /// The connection, within the transaction.
    pub(in super::super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// A twin as it is in this transaction.
    pub(in super::super) fn twin(&mut self, id: &IdentityId) -> Result<&mut Held> {
        if self.twins.len() >= TWINS_HELD_MAX {
            self.flush_twins()?;
        }
        match self.twins.entry(id.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let (record, generation) =
                    twins::read(self.connection, id)?.ok_or(StoreError::NotFound)?;
                Ok(entry.insert(Held { record, generation, dirty: false }))
            }
        }
    }

    /// Writes changed twins to the database. A failure is one of the whole group, because their
    /// writers have been told nothing else.
    pub(super) fn flush_twins(&mut self) -> Result<()> {
        for (id, held) in self.twins.drain() {
            if held.dirty {
                twins::update(self.connection, &id, &held.record).map_err(twins::whole_group)?;
            }
        }
        Ok(())
    }

    /// Whether another event may be added.
    pub(in super::super) fn check_room(&self) -> Result<()> {
        self.marks.check_room(self.last_event)
    }

    /// Commits events with the change that causes them.
    pub(in super::super) fn append_events(
        &mut self,
        events: impl IntoIterator<Item = HubEvent>,
    ) -> Result<()> {
        for event in events {
            self.check_room()?;
            let sql = "INSERT INTO outbox (kind, device, module, generation, time, body)
                       VALUES (?, ?, ?, ?, ?, ?)";
            let module = event.subject.module.as_ref().map_or("", |module| module.as_str());
            self.connection.prepare_cached(sql)?.execute(params![
                outbox::kind_number(event.kind),
                event.subject.device.as_str(),
                module,
                event.generation.as_str(),
                Ticks(event.time),
                event.body.to_string(),
            ])?;
            self.last_event = self.connection.last_insert_rowid();
        }
        Ok(())
    }

    /// The number of the newest event of this group; 0 when there is none.
    pub(super) fn last_event(&self) -> i64 {
        self.last_event
    }

    /// A savepoint took the newest events away.
    pub(super) fn forget_events_after(&mut self, last_event: i64) {
        self.last_event = last_event;
    }
}

/// Twins in memory at once; each may have some 100 KiB.
const TWINS_HELD_MAX: usize = 256;
