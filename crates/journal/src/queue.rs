//! What waits for the disk: groups of records, filled by whoever appends and
//! taken by the writer, one write and one sync each.
//!
//! Appending takes the lock for a push and hands out a share of the group under
//! way, so a group costs one allocation however many senders it serves, and
//! waking is per group: nobody is woken for somebody else's group.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::settings::Settings;
use crate::wait::Waiters;
use crate::{AppendError, Receipt, Record};

/// The queue between senders and the writer.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    writer: Condvar,
    /// Senders that found the queue full.
    space: Notify,
    group_bytes_max: usize,
    bytes_max: usize,
    records_max: usize,
    /// A batch goes into one group, and that into a part of a segment.
    batch_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    groups: VecDeque<PendingGroup>,
    /// Of bodies, waiting or being written.
    bytes: usize,
    records: usize,
    refusal: Option<AppendError>,
    writer_waits: bool,
    attention: bool,
    closing: bool,
    maintenance: VecDeque<Arc<Group>>,
}

/// Records that will go to disk together.
#[derive(Debug, Default)]
pub(crate) struct PendingGroup {
    pub(crate) records: Vec<Record>,
    /// Of bodies.
    pub(crate) bytes: usize,
    /// Streams whose entries are to be written.
    pub(crate) entries: Vec<u32>,
    pub(crate) group: Arc<Group>,
}

impl PendingGroup {
    /// About what it takes on disk.
    fn size(&self) -> usize {
        self.bytes + self.records.len() * RECORD_COST + self.entries.len() * ENTRY_COST
    }
}

/// What became of a group: the sequences of its records, or the error.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) outcome: OnceLock<Result<Box<[u64]>, AppendError>>,
    pub(crate) waiters: Waiters,
}

impl Group {
    pub(crate) fn complete(&self, outcome: Result<Box<[u64]>, AppendError>) {
        // Only the writer completes a group, and once.
        let _ = self.outcome.set(outcome);
        self.waiters.wake_all();
    }
}

/// What the writer is to do next.
pub(crate) enum Work {
    Group(PendingGroup),
    /// Housekeeping, and who asked for it.
    Maintain(Vec<Arc<Group>>),
    /// Something may be due sooner than it was.
    Attention,
    Close,
}

impl Queue {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            inner: Mutex::default(),
            writer: Condvar::new(),
            space: Notify::new(),
            group_bytes_max: settings.group_bytes_max,
            bytes_max: settings.queue_bytes_max,
            records_max: settings.queue_records_max,
            batch_bytes_max: settings.queue_bytes_max.min(settings.segment_bytes as usize / 4),
        }
    }

    /// Takes all of `records`, or none and says why.
    pub(crate) fn push(
        &self,
        records: &mut Vec<Record>,
        bytes: usize,
    ) -> Result<Receipt, AppendError> {
        let count = records.len();
        let cost = bytes + count * RECORD_COST;
        if cost > self.batch_bytes_max.max(bytes_of_one(records)) || count > self.records_max {
            return Err(AppendError::BatchTooLarge);
        }
        let mut inner = self.inner.lock();
        inner.check()?;
        if inner.bytes + bytes > self.bytes_max || inner.records + count > self.records_max {
            return Err(AppendError::Full);
        }
        inner.bytes += bytes;
        inner.records += count;
        let pending = inner.group_for(cost, self.group_bytes_max);
        pending.bytes += bytes;
        let start = pending.records.len() as u32;
        pending.records.append(records);
        let end = pending.records.len() as u32;
        let receipt = Receipt::new(pending.group.clone(), start, end);
        self.wake_writer(inner);
        Ok(receipt)
    }

    /// Asks for a stream's entry to be written.
    pub(crate) fn push_entry(&self, stream: u32) -> Result<Receipt, AppendError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        let pending = inner.group_for(ENTRY_COST, self.group_bytes_max);
        pending.entries.push(stream);
        let receipt = Receipt::new(pending.group.clone(), 0, 0);
        self.wake_writer(inner);
        Ok(receipt)
    }

    /// Asks the writer to do its housekeeping now, and tells when it is done.
    pub(crate) fn request_maintenance(&self) -> Result<Receipt, AppendError> {
        let mut inner = self.inner.lock();
        if inner.closing {
            return Err(AppendError::Closed);
        }
        let group = Arc::<Group>::default();
        inner.maintenance.push_back(group.clone());
        self.wake_writer(inner);
        Ok(Receipt::new(group, 0, 0))
    }

    /// Lets a waiting writer look again at what is due.
    pub(crate) fn call_attention(&self) {
        let mut inner = self.inner.lock();
        inner.attention = true;
        self.wake_writer(inner);
    }

    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closing = true;
        self.wake_writer(inner);
        self.space.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closing
    }

    /// Refuses what comes (and, when `drain`, what waits) with `error`.
    pub(crate) fn refuse(&self, error: AppendError, drain: bool) {
        let groups = {
            let mut inner = self.inner.lock();
            inner.refusal = Some(error.clone());
            if !drain {
                return;
            }
            std::mem::take(&mut inner.groups)
        };
        for pending in groups {
            self.finish(pending.records.len(), pending.bytes, &pending.group, Err(error.clone()));
        }
        self.space.notify_waiters();
    }

    /// Accepts again, unless what is refused for is for good.
    pub(crate) fn accept(&self) {
        let mut inner = self.inner.lock();
        if let Some(AppendError::DiskFull { .. } | AppendError::BoundReached { .. }) = inner.refusal
        {
            inner.refusal = None;
            drop(inner);
            self.space.notify_waiters();
        }
    }

    pub(crate) fn refusal(&self) -> Option<AppendError> {
        self.inner.lock().refusal.clone()
    }

    /// The writer's next piece of work; waits for it, at most `patience`.
    pub(crate) fn next_work(&self, patience: Option<std::time::Duration>) -> Work {
        let mut inner = self.inner.lock();
        loop {
            if let Some(pending) = inner.groups.pop_front() {
                return Work::Group(pending);
            }
            if inner.closing {
                return Work::Close;
            }
            if !inner.maintenance.is_empty() {
                return Work::Maintain(inner.maintenance.drain(..).collect());
            }
            if std::mem::take(&mut inner.attention) {
                return Work::Attention;
            }
            inner.writer_waits = true;
            match patience {
                Some(patience) => {
                    if self.writer.wait_for(&mut inner, patience).timed_out() {
                        inner.writer_waits = false;
                        return Work::Maintain(Vec::new());
                    }
                }
                None => self.writer.wait(&mut inner),
            }
            inner.writer_waits = false;
            if !inner.groups.is_empty() {
                // Whoever appended may be about to append more, and on a shared
                // core has just lost it to this thread. Costs nothing when idle.
                parking_lot::MutexGuard::unlocked(&mut inner, std::thread::yield_now);
            }
        }
    }

    /// A group that waits, if one does.
    pub(crate) fn try_next(&self) -> Option<PendingGroup> {
        self.inner.lock().groups.pop_front()
    }

    /// The records of a group are settled: their place is free again.
    pub(crate) fn finish(
        &self,
        records: usize,
        bytes: usize,
        group: &Group,
        outcome: Result<Box<[u64]>, AppendError>,
    ) {
        {
            let mut inner = self.inner.lock();
            inner.bytes -= bytes;
            inner.records -= records;
        }
        group.complete(outcome);
        self.space.notify_waiters();
    }

    /// Waits until the queue has room, or the reason for a refusal changes.
    pub(crate) async fn wait_for_space(&self) {
        let notified = self.space.notified();
        tokio::pin!(notified);
        loop {
            notified.as_mut().enable();
            {
                let inner = self.inner.lock();
                let roomy =
                    inner.bytes < self.bytes_max / 2 && inner.records < self.records_max / 2;
                let refused_for_now = matches!(
                    inner.refusal,
                    Some(AppendError::DiskFull { .. } | AppendError::BoundReached { .. })
                );
                if inner.closing || (roomy && !refused_for_now) {
                    return;
                }
            }
            notified.as_mut().await;
            notified.set(self.space.notified());
        }
    }

    fn wake_writer(&self, mut inner: parking_lot::MutexGuard<'_, Inner>) {
        let wake = std::mem::take(&mut inner.writer_waits);
        drop(inner);
        if wake {
            self.writer.notify_one();
        }
    }
}

impl Inner {
    fn check(&self) -> Result<(), AppendError> {
        match &self.refusal {
            _ if self.closing => Err(AppendError::Closed),
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The group to add `bytes` to: the last one, or a new one when that is full.
    fn group_for(&mut self, bytes: usize, group_bytes_max: usize) -> &mut PendingGroup {
        let fits = self.groups.back().is_some_and(|pending| {
            pending.size() == 0 || pending.size() + bytes <= group_bytes_max
        });
        if !fits {
            self.groups.push_back(PendingGroup::default());
        }
        // One was pushed when there was none.
        let last = self.groups.len() - 1;
        &mut self.groups[last]
    }
}

/// What a record costs beside its body, about.
const RECORD_COST: usize = 48;
/// What a stream's entry costs, at most about.
const ENTRY_COST: usize = 336;

/// A single record is never too large a batch.
fn bytes_of_one(records: &[Record]) -> usize {
    match records {
        [record] => record.body.len() + RECORD_COST,
        _ => 0,
    }
}
