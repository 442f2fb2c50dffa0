//! Store and forward: queues in the journal, and the pumps that empty them.
//!
//! Each (endpoint, priority) is a stream; one pump per endpoint reads its streams, best priority
//! first. Streams beside these:
//!
//! - `parked/<sender>`: messages of a sender that the hub refuses (deleted, disabled) or that do
//!   not move, so that they do not hold up others. They are sent when the hub lets the sender in
//!   again; until then later messages of that sender join them, which keeps their order.
//! - `dead`: messages that can never be sent, such as ones whose properties do not fit in a topic
//!   (`dead.rs`).
//!
//! A queue whose route is gone is emptied all the same: its messages were acknowledged. The journal
//! makes a trim durable within about a second; what was delivered since may come twice after a
//! crash. Messages end only by delivery, by their time to live, or, when the operator wants it so, to
//! make room in a full store (`room.rs`).

pub(crate) mod dead;
#[cfg(test)]
mod golden;
mod inputs;
mod lane;
mod pump;
pub(crate) mod queue;
pub(crate) mod record;
mod room;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::backend::SubmitError;
use host::signals::Shutdown;
use journal::{AppendError, JournalError, Record as JournalRecord, Retention, StreamId};
use model::IdentityId;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::Core;
use crate::routing::{Endpoint, Queue};
use crate::settings::{STORE_BYTES, Settings, WhenFull};
use room::{Full, Room};

/// The pumps.
pub(crate) struct Forward {
    pumps: Mutex<HashMap<Endpoint, mpsc::Sender<Lane>>>,
    parked: Mutex<HashMap<IdentityId, StreamId>>,
    tasks: Mutex<JoinSet<()>>,
    shutdown: Shutdown,
    room: Room,
    /// After it a module gets again what it has not acknowledged.
    acknowledge_limit: Duration,
    pub(crate) dead_letters: dead::DeadLetters,
}

/// One stream of a pump.
#[derive(Debug, Clone, Copy)]
struct Lane {
    priority: u32,
    stream: StreamId,
}

impl Forward {
    /// With the bounds that the operator sets.
    pub(crate) fn new(shutdown: Shutdown, settings: &Settings) -> Self {
        let bytes_max = settings.store_bytes_max.saturating_sub(KEPT_BACK_BYTES);
        Self {
            pumps: Mutex::default(),
            parked: Mutex::default(),
            tasks: Mutex::default(),
            shutdown,
            room: Room::new(settings.when_full, bytes_max),
            acknowledge_limit: settings.acknowledge_limit,
            dead_letters: dead::DeadLetters::default(),
        }
    }

    /// What the store may take on the disk: the operator's bound, or the manifest's if it is less.
    pub(crate) fn store_bytes_max(&self, core: &Core) -> u64 {
        self.room.bytes_max(core)
    }

    /// Makes room when it is called for; runs for ever.
    pub(crate) async fn keep_room(&self, core: &Arc<Core>) {
        self.room.keep(core).await;
    }

    /// Whether more messages may be stored: by the operator's bound, short of which something is
    /// kept back so that a refused sender's messages can still be moved out of the others' way,
    /// and by the manifest's. When the store is full the sender keeps its messages: it gets no
    /// acknowledgement and is disconnected; or, when messages may make room, it waits for that.
    pub(crate) fn admit(&self, core: &Core) -> Result<(), SubmitError> {
        let Some(full) = self.room.look(core) else { return Ok(()) };
        if self.room.policy() != WhenFull::Refuse {
            return Err(SubmitError::Busy);
        }
        Err(SubmitError::Unavailable(match full {
            Full::Disk(used) => format!(
                "the store is full: it takes {used} bytes; let the hub be reached, or raise {STORE_BYTES}"
            ),
            Full::Manifest(stored, bytes_max) => format!(
                "the store holds {stored} bytes; storeLimits.maxSizeBytes allows {bytes_max}"
            ),
        }))
    }

    /// Sees to it that a queue is emptied.
    pub(crate) fn pump(&self, core: &Arc<Core>, queue: &Queue, stream: StreamId) {
        let lane = Lane { priority: queue.priority, stream };
        let mut pumps = self.pumps.lock();
        let lanes = pumps.entry(queue.endpoint.clone()).or_insert_with(|| {
            let (sender, lanes) = mpsc::channel(LANES_MAX);
            let (core, shutdown) = (Arc::clone(core), self.shutdown.clone());
            match queue.endpoint.clone() {
                Endpoint::Upstream => {
                    self.tasks.lock().spawn(pump::run(core, pump::Kind::Main, lanes, shutdown));
                }
                Endpoint::Input { module, input } => {
                    self.tasks.lock().spawn(inputs::run(core, module, input, lanes, shutdown));
                }
            }
            sender
        });
        // A pump knows its lanes; there are no more kinds of them than places.
        if lanes.try_send(lane).is_err() {
            tracing::error!(%queue, "the queue's pump takes no more lanes");
        }
    }

    /// Goes on where an earlier run left off.
    pub(crate) async fn restore(&self, core: &Arc<Core>) {
        for (stream, name) in core.journal.stream_names() {
            let waits = core.journal.stream_info(stream).is_ok_and(|info| info.oldest < info.next);
            if !waits {
                continue;
            }
            if let Ok(queue) = name.parse::<Queue>() {
                self.pump(core, &queue, stream);
            } else if let Some(sender) = name.strip_prefix(PARKED).and_then(|id| id.parse().ok()) {
                self.pump_parked(core, &sender, stream);
                self.report_parked(core, &sender, None);
            }
        }
    }

    /// Whether earlier messages of a sender wait in its own queue.
    fn is_parked(&self, core: &Core, sender: &IdentityId) -> bool {
        let stream = self.parked.lock().get(sender).copied();
        stream.is_some_and(|stream| waiting(core, stream) > 0)
    }

    /// Puts messages of one sender in its own queue, durably.
    async fn park(
        &self,
        core: &Arc<Core>,
        sender: &IdentityId,
        bodies: Vec<bytes::Bytes>,
        reason: &str,
    ) -> Result<(), ParkError> {
        let count = bodies.len() as u64;
        let known = self.parked.lock().get(sender).copied();
        let stream = match known {
            Some(stream) => stream,
            None => make_stream(core, format!("{PARKED}{sender}"), Retention::default()).await?,
        };
        append(core, stream, bodies).await?;
        core.counters.parked.inc_by(count);
        self.pump_parked(core, sender, stream);
        self.report_parked(core, sender, Some(reason));
        Ok(())
    }

    fn pump_parked(&self, core: &Arc<Core>, sender: &IdentityId, stream: StreamId) {
        if self.parked.lock().insert(sender.clone(), stream).is_some() {
            return;
        }
        let (lanes, receiver) = mpsc::channel(1);
        // A new channel has room for one.
        let _ = lanes.try_send(Lane { priority: 0, stream });
        let kind = pump::Kind::Parked { sender: sender.clone(), _lanes: lanes };
        let (core, shutdown) = (Arc::clone(core), self.shutdown.clone());
        self.tasks.lock().spawn(pump::run(core, kind, receiver, shutdown));
    }

    fn report_parked(&self, core: &Core, sender: &IdentityId, reason: Option<&str>) {
        let stream = self.parked.lock().get(sender).copied();
        let messages = stream.map_or(0, |stream| waiting(core, stream));
        core.report.parked(sender, messages, reason);
    }

    /// Keeps a message that can never be sent, durably.
    async fn bury(
        &self,
        core: &Core,
        queue: &Queue,
        reason: &str,
        record: &[u8],
    ) -> Result<(), ParkError> {
        self.dead_letters.bury(core, &queue.to_string(), reason, record).await
    }

    /// Ends every pump where it stands.
    pub(crate) fn abort(&self) {
        self.tasks.lock().abort_all();
    }

    /// Resolves when every pump has ended, after the shutdown.
    pub(crate) async fn finished(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }
}

/// Why messages cannot be moved to another queue now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParkError {
    #[error("cannot make a queue")]
    Stream(#[from] JournalError),
    #[error("cannot store messages")]
    Append(#[from] AppendError),
    #[error("the edge hub is ending")]
    Ending,
}

/// How many messages wait, by queue; parked ones are in none.
pub(crate) fn lengths(core: &Core) -> Vec<(Queue, u64)> {
    let streams = core.journal.stream_names().into_iter();
    let queue =
        |(stream, name): (StreamId, String)| Some((name.parse().ok()?, waiting(core, stream)));
    streams.filter_map(queue).collect()
}

fn waiting(core: &Core, stream: StreamId) -> u64 {
    core.journal.stream_info(stream).map_or(0, |info| info.next.saturating_sub(info.oldest))
}

async fn make_stream(
    core: &Core,
    name: String,
    retention: Retention,
) -> Result<StreamId, ParkError> {
    let journal = core.journal.clone();
    let make = move || journal.stream_with(&name, retention);
    Ok(tokio::task::spawn_blocking(make).await.map_err(|_| ParkError::Ending)??)
}

async fn append(core: &Core, stream: StreamId, bodies: Vec<bytes::Bytes>) -> Result<(), ParkError> {
    let enqueued = core.store_time.now();
    let record = |body| JournalRecord { stream, enqueued, body };
    let mut records: Vec<JournalRecord> = bodies.into_iter().map(record).collect();
    loop {
        match core.journal.append_from(&mut records) {
            Ok(receipt) => return Ok(receipt.wait().await?),
            Err(AppendError::Full) => core.journal.wait_for_space().await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Room for moving messages when nothing is taken in any more.
const KEPT_BACK_BYTES: u64 = 16 << 20;
/// Before the sender's id in the name of its own queue.
const PARKED: &str = "parked/";
const DEAD: &str = "dead";
/// Ten priorities and the last; routes may change while a pump is busy.
const LANES_MAX: usize = 64;
