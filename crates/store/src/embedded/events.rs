//! The event log: one journal, a stream per partition.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use journal::{AppendError, Entry, Journal, Receipt, Record, Retention, StreamId};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Counters, Embedded, event_format};
use crate::StoreError;
use crate::error::Result;
use crate::events::{EventReader, Events, From, NewEvent, PartitionInfo, StoredEvent};

#[async_trait]
impl Events for Embedded {
    fn partitions(&self) -> u32 {
        self.log.streams.len() as u32
    }

    fn created(&self) -> Timestamp {
        self.log.created
    }

    /// # Panics
    /// When a partition is not below [`Events::partitions`]: the hub computes it from that.
    fn append(&self, batch: Vec<NewEvent>) -> Result<Receipt, AppendError> {
        let streams = &self.log.streams;
        let record = |NewEvent { partition, enqueued, body }| Record {
            stream: streams[partition as usize],
            enqueued,
            body,
        };
        self.log.journal.append(batch.into_iter().map(record).collect())
    }

    fn reader(&self, partition: u32, from: From) -> Result<Box<dyn EventReader>> {
        let from = match from {
            From::Start => journal::From::Oldest,
            From::End => journal::From::Newest,
            From::Sequence(sequence) => journal::From::Sequence(sequence),
            From::Time(time) => journal::From::Time(time),
        };
        let reader = self.log.journal.reader(self.log.stream(partition)?, from).map_err(gone)?;
        let state = State { reader, ready: VecDeque::new() };
        let state = Arc::new(Mutex::new(state));
        Ok(Box::new(Reader { partition, state, counters: self.counters.clone() }))
    }

    fn partition(&self, partition: u32) -> Result<PartitionInfo> {
        let info = self.log.journal.stream_info(self.log.stream(partition)?).map_err(gone)?;
        Ok(PartitionInfo {
            oldest: info.oldest,
            next: info.next,
            last_enqueued: info.last_time,
            lost: info.lost_records,
        })
    }
}

/// The journal with its partitions.
pub(super) struct Log {
    journal: Journal,
    streams: Vec<StreamId>,
    created: Timestamp,
}

impl Log {
    /// Finds or creates the partitions' streams.
    pub(super) fn new(
        journal: Journal,
        partitions: u32,
        retention: Retention,
        created: Timestamp,
    ) -> Result<Self, journal::JournalError> {
        let stream = |partition| journal.stream_with(&format!("events/{partition}"), retention);
        let streams = (0..partitions).map(stream).collect::<Result<_, _>>()?;
        Ok(Self { journal, streams, created })
    }

    fn stream(&self, partition: u32) -> Result<StreamId> {
        self.streams.get(partition as usize).copied().ok_or(StoreError::NotFound)
    }
}

struct Reader {
    partition: u32,
    state: Arc<Mutex<State>>,
    counters: Arc<Counters>,
}

struct State {
    reader: journal::Reader,
    /// Read from the journal and not given out: what a call that was given up has left behind.
    ready: VecDeque<Entry>,
}

#[async_trait]
impl EventReader for Reader {
    async fn next(&mut self, limit: usize) -> Result<Vec<StoredEvent>> {
        loop {
            let events = self.try_next(limit).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            let mut state = self.state.lock().await;
            let entries = state.reader.next_batch(limit.max(1), READ_BYTES_MAX).await;
            state.ready.extend(entries.map_err(unavailable)?);
        }
    }

    async fn try_next(&mut self, limit: usize) -> Result<Vec<StoredEvent>> {
        let limit = limit.max(1);
        loop {
            let mut state = self.state.clone().lock_owned().await;
            if state.ready.is_empty() {
                state = fill(state, limit).await?;
            }
            if state.ready.is_empty() {
                self.tell_gaps(&mut state);
                return Ok(Vec::new());
            }
            let count = limit.min(state.ready.len());
            let events: Vec<_> =
                state.ready.drain(..count).filter_map(|entry| self.decode(entry)).collect();
            self.tell_gaps(&mut state);
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

impl Reader {
    /// One event that cannot be read must not stop the rest.
    fn decode(&self, entry: Entry) -> Option<StoredEvent> {
        let Entry { sequence, enqueued, body } = entry;
        match event_format::decode(body) {
            Ok(event) => Some(StoredEvent { sequence, enqueued, event }),
            Err(error) => {
                self.counters.unreadable.inc();
                tracing::warn!(partition = self.partition, sequence, %error, "event skipped");
                None
            }
        }
    }

    /// What retention took is no news; damage is.
    fn tell_gaps(&self, state: &mut State) {
        for gap in state.reader.take_gaps() {
            if gap.cause == journal::GapCause::Lost {
                let (partition, from, to) = (self.partition, gap.from, gap.to);
                tracing::warn!(partition, from, to, "events are lost to damage on the disk");
            }
        }
    }
}

/// Reads what is there, on a thread that may wait for the disk. What it finds stays in the state
/// even when nobody waits for it any more.
async fn fill(mut state: OwnedMutexGuard<State>, limit: usize) -> Result<OwnedMutexGuard<State>> {
    let read = move || {
        let entries = state.reader.try_next_batch(limit, READ_BYTES_MAX).map_err(unavailable)?;
        state.ready.extend(entries);
        Ok(state)
    };
    let closing = |_| StoreError::Unavailable("the store is closing".into());
    tokio::task::spawn_blocking(read).await.map_err(closing)?
}

fn unavailable(error: journal::ReadError) -> StoreError {
    StoreError::Unavailable(host::logs::chain(&error).to_string())
}

fn gone(error: journal::JournalError) -> StoreError {
    StoreError::Unavailable(host::logs::chain(&error).to_string())
}

/// Bytes of events read at once.
const READ_BYTES_MAX: usize = 1 << 20;
