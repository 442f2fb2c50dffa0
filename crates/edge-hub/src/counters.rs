//! Numbers for the operator: what was taken, sent, parked and given up.

use host::metrics::{Counter, Metrics};

/// Counts since the start.
#[derive(Clone)]
pub(crate) struct Counters {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    /// Messages that no route wanted.
    pub(crate) dropped_no_route: Counter,
    /// Messages whose time to live was over.
    pub(crate) dropped_expired: Counter,
    /// Messages that wait in a queue of their own because the hub refuses their sender.
    pub(crate) parked: Counter,
    /// Messages that can never be delivered; they lie in the dead letters.
    pub(crate) dead: Counter,
    /// Stored messages that damage to the disk made unreadable.
    pub(crate) lost: Counter,
    /// Batches that were not taken because the store is full or refuses.
    pub(crate) refused: Counter,
    /// Patches of reported properties that the hub refused after they were taken offline.
    pub(crate) reports_refused: Counter,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| {
            metrics.register(&format!("edgehub_{name}"), help, Counter::default())
        };
        Self {
            received: counter("messages_received", "Messages taken from local clients"),
            sent: counter("messages_sent", "Messages delivered upstream or to inputs"),
            dropped_no_route: counter("messages_dropped_no_route", "Messages without a route"),
            dropped_expired: counter("messages_dropped_ttl_expiry", "Messages past their time"),
            parked: counter("messages_parked", "Messages of senders that the hub refuses"),
            dead: counter("messages_dead", "Messages that can never be delivered"),
            lost: counter("messages_lost", "Messages lost to damage on the disk"),
            refused: counter("messages_unack", "Batches refused by the store"),
            reports_refused: counter(
                "reports_refused",
                "Offline reported patches refused upstream",
            ),
        }
    }
}
