//! Leases: in memory, because the data directory has one owner at a time. Whoever held a lease
//! before a restart is gone, and the epochs go on growing; the monotonic clock times them, so no
//! jump of the wall clock can lengthen one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use host::clock::{Clock, Mono};
use parking_lot::Mutex;

use super::Embedded;
use super::presence::Epochs;
use crate::StoreError;
use crate::error::Result;
use crate::leases::Leases;

#[async_trait]
impl Leases for Embedded {
    async fn acquire(&self, name: &str, owner: &str, lasts: Duration) -> Result<Option<u64>> {
        self.leases.acquire(name, owner, lasts)
    }

    async fn release(&self, name: &str, owner: &str) -> Result<()> {
        self.leases.release(name, owner);
        Ok(())
    }
}

/// The table of leases.
pub(super) struct Table {
    epochs: Arc<Epochs>,
    clock: Clock,
    held: Mutex<HashMap<String, Lease>>,
}

struct Lease {
    owner: String,
    epoch: u64,
    until: Mono,
}

impl Table {
    pub(super) fn new(epochs: Arc<Epochs>, clock: Clock) -> Self {
        Self { epochs, clock, held: Mutex::default() }
    }

    fn acquire(&self, name: &str, owner: &str, lasts: Duration) -> Result<Option<u64>> {
        let now = self.clock.now();
        let mut held = self.held.lock();
        if let Some(lease) = held.get_mut(name)
            && lease.until > now
        {
            if lease.owner != owner {
                return Ok(None);
            }
            lease.until = now + lasts;
            return Ok(Some(lease.epoch));
        }
        held.retain(|_, lease| lease.until > now);
        if held.len() >= LEASES_MAX {
            return Err(StoreError::Full { what: "the table of leases", limit: LEASES_MAX });
        }
        let epoch = self.epochs.next();
        let lease = Lease { owner: owner.to_owned(), epoch, until: now + lasts };
        held.insert(name.to_owned(), lease);
        Ok(Some(epoch))
    }

    fn release(&self, name: &str, owner: &str) {
        let mut held = self.held.lock();
        if held.get(name).is_some_and(|lease| lease.owner == owner) {
            held.remove(name);
        }
    }
}

/// Leases held at once. Their names are the program's own.
const LEASES_MAX: usize = 1024;
