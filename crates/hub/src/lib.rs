//! The hub: registry, twins, methods, cloud-to-device messages, telemetry.
//!
//! [`Hub`] implements the gateway's backend traits over the stores. It owns no socket and no wire
//! format; what is decided about one resource stands in the file of its name. Background chores
//! (signals, outbox, sweeping) run in [`Hub::run`].

mod device;
mod outbox;
mod registry;
mod routing;
mod service;
mod sessions;
mod settings;

pub mod policies;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use host::clock::Clock;
use host::signals::Shutdown;
use model::{Fault, FaultKind};
use store::{StoreError, Stores};

pub use device::link::Link;
pub use service::events::EventsReader;
pub use service::events::seats::Seat;
pub use settings::{CloudToDevice, Feedback, Settings};

/// A hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    stores: Stores,
    clock: Clock,
    settings: Settings,
    sessions: sessions::Sessions,
    calls: service::methods::Calls,
    twin_order: service::twins::OrderLocks,
    feedback_ready: service::feedback::Ready,
    last_generation: AtomicU64,
    seats: service::events::seats::Seats,
    anchors: registry::authorities::Anchors,
}

impl Hub {
    /// A hub over these stores.
    pub fn new(stores: Stores, settings: Settings, clock: Clock) -> Self {
        Self {
            inner: Arc::new(Inner {
                stores,
                clock,
                settings,
                sessions: sessions::Sessions::new(),
                calls: service::methods::Calls::default(),
                twin_order: service::twins::OrderLocks::default(),
                feedback_ready: service::feedback::Ready::default(),
                last_generation: AtomicU64::new(0),
                seats: service::events::seats::Seats::default(),
                anchors: registry::authorities::Anchors::default(),
            }),
        }
    }

    /// Does the background chores until the shutdown; then closes every session, and
    /// every call of a method hears that it will not be answered.
    pub async fn run(&self, shutdown: Shutdown) {
        let chores = async {
            tokio::join!(
                self.deliver_signals(),
                self.move_outbox(),
                self.sweep_cloud_to_device(),
                self.sweep_feedback(),
            );
        };
        tokio::select! {
            () = chores => {}
            () = shutdown.wait() => {}
        }
        self.inner.sessions.close_all(gateway::session::CloseReason::Shutdown);
        self.inner.calls.close();
    }

    fn stores(&self) -> &Stores {
        &self.inner.stores
    }

    fn now(&self) -> jiff::Timestamp {
        self.inner.clock.wall()
    }
}

/// What a store's error means to whoever asked. `not_found` names what was looked for.
fn fault(error: StoreError, not_found: FaultKind, what: &dyn std::fmt::Display) -> Fault {
    match error {
        StoreError::NotFound => Fault::new(not_found, format!("{what} is not registered")),
        StoreError::Exists => {
            let kind = match not_found {
                FaultKind::ModuleNotFound => FaultKind::ModuleAlreadyExistsOnDevice,
                _ => FaultKind::DeviceAlreadyExists,
            };
            Fault::new(kind, format!("{what} is already registered"))
        }
        StoreError::Precondition => Fault::new(
            FaultKind::PreconditionFailed,
            format!("{what} has changed; read it again and retry"),
        ),
        StoreError::Twin(error) => Fault::argument(error.to_string()),
        error => {
            tracing::error!(error = %host::logs::chain(&error), %what, "store operation failed");
            Fault::unavailable("the store is not available; try again later")
        }
    }
}
