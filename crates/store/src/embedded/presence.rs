//! Who is connected: in memory, because a restart ends every connection. Only the epochs must go
//! on growing; they begin at the number of this start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use model::{DeviceId, IdentityId};
use parking_lot::Mutex;

use super::Embedded;
use crate::error::Result;
use crate::presence::{Presence, PresenceInfo};

#[async_trait]
impl Presence for Embedded {
    async fn claim(&self, id: &IdentityId, now: Timestamp) -> Result<u64> {
        Ok(self.presence.claim(id, now))
    }

    async fn release(&self, id: &IdentityId, epoch: u64, now: Timestamp) -> Result<()> {
        self.presence.release(id, epoch, now);
        Ok(())
    }

    async fn presence(&self, id: &IdentityId) -> Result<PresenceInfo> {
        Ok(self.presence.info(id))
    }

    async fn connected_devices(&self) -> Result<u64> {
        Ok(self.presence.state.lock().devices)
    }
}

/// Numbers that fence: each is larger than every one before, also before a restart.
pub(super) struct Epochs {
    next: AtomicU64,
}

impl Epochs {
    /// `start` counts the starts of this hub.
    pub(super) fn of_start(start: u64) -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new((start << EPOCHS_PER_START_BITS) + 1) })
    }

    /// The next one.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The table. Its entries are identities that were authenticated since the start and that still
/// exist, so the registry bounds it.
pub(super) struct Table {
    epochs: Arc<Epochs>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<IdentityId, Entry>,
    /// Connected devices.
    devices: u64,
}

struct Entry {
    epoch: u64,
    info: PresenceInfo,
}

impl Table {
    pub(super) fn new(epochs: Arc<Epochs>) -> Self {
        Self { epochs, state: Mutex::default() }
    }

    fn claim(&self, id: &IdentityId, now: Timestamp) -> u64 {
        let mut state = self.state.lock();
        // Within the lock, so that the newest claim has the newest epoch.
        let epoch = self.epochs.next();
        let was = state.entries.get(id).map(|entry| entry.info).unwrap_or_default();
        if !was.connected && id.module.is_none() {
            state.devices += 1;
        }
        let updated = if was.connected { was.updated } else { Some(now) };
        let info = PresenceInfo { connected: true, updated, last_activity: Some(now) };
        state.entries.insert(id.clone(), Entry { epoch, info });
        epoch
    }

    fn release(&self, id: &IdentityId, epoch: u64, now: Timestamp) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(id) else {
            return;
        };
        if entry.epoch != epoch || !entry.info.connected {
            return;
        }
        entry.info =
            PresenceInfo { connected: false, updated: Some(now), last_activity: Some(now) };
        if id.module.is_none() {
            state.devices -= 1;
        }
    }

    fn info(&self, id: &IdentityId) -> PresenceInfo {
        self.state.lock().entries.get(id).map(|entry| entry.info).unwrap_or_default()
    }

    /// The identity is deleted. A connection that it still has is being closed, and its release
    /// finds nothing to change.
    pub(super) fn forget(&self, id: &IdentityId) {
        let mut state = self.state.lock();
        let removed = state.entries.remove(id);
        if id.module.is_none() && removed.is_some_and(|entry| entry.info.connected) {
            state.devices -= 1;
        }
    }

    /// A device is deleted with its modules.
    pub(super) fn forget_device(&self, device: &DeviceId) {
        let first = IdentityId::device(device.clone());
        let family: Vec<IdentityId> = {
            let state = self.state.lock();
            let from_first = state.entries.range(first..).map(|(id, _)| id);
            from_first.take_while(|id| id.device == *device).cloned().collect()
        };
        family.iter().for_each(|id| self.forget(id));
    }
}

/// Claims of one start that cannot reach the next start's numbers: a thousand a second for 34
/// years.
const EPOCHS_PER_START_BITS: u32 = 40;
