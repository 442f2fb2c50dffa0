//! Signals within one process: a bounded channel to the hub.

use host::metrics::Counter;
use model::{Fault, FaultKind};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Embedded;
use crate::signals::{Signal, Signals};

impl Signals for Embedded {
    fn send(&self, signal: Signal) {
        self.line.send(signal);
    }

    fn subscribe(&self) -> mpsc::Receiver<Signal> {
        self.line.subscribe()
    }
}

/// The line to the hub.
pub(super) struct Line {
    hub: Mutex<mpsc::Sender<Signal>>,
    dropped: Counter,
}

impl Line {
    /// A line that nobody listens to yet: what is sent before the hub subscribes is dropped,
    /// because nobody is connected before.
    pub(super) fn new(dropped: Counter) -> Self {
        let (hub, _) = mpsc::channel(1);
        Self { hub: Mutex::new(hub), dropped }
    }

    fn subscribe(&self) -> mpsc::Receiver<Signal> {
        let (hub, signals) = mpsc::channel(WAITING_MAX + REPLIES_MAX);
        *self.hub.lock() = hub;
        signals
    }

    /// Never waits and never blocks. What the hub is too slow for is dropped and counted: the
    /// truth lies in the store. Only a method call has no truth there, so its caller is told.
    fn send(&self, signal: Signal) {
        let hub = self.hub.lock().clone();
        let is_reply = matches!(signal, Signal::MethodReply { .. });
        let has_room = is_reply || hub.capacity() > REPLIES_MAX;
        let call = match &signal {
            Signal::MethodRequest { call, .. } => Some(*call),
            _ => None,
        };
        if has_room && hub.try_send(signal).is_ok() {
            return;
        }
        self.dropped.inc();
        if let Some(call) = call {
            let detail = "too many signals wait for the hub; try again later";
            let outcome = Err(Fault::new(FaultKind::ServiceUnavailable, detail));
            // When the room for replies is used up too, the caller's own deadline ends the call.
            let _ = hub.try_send(Signal::MethodReply { call, outcome });
        } else {
            tracing::warn!("signal dropped because the hub is too slow");
        }
    }
}

/// Signals that may wait for the hub.
const WAITING_MAX: usize = 10_000;
/// Room that only replies of methods may use, so that a caller hears of a dropped call.
const REPLIES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use model::method::MethodRequest;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_flood_is_dropped_and_callers_are_told() {
        let line = Line::new(Counter::default());
        let mut signals = line.subscribe();
        let id: model::IdentityId = "d".parse().unwrap();
        for _ in 0..WAITING_MAX + 5 {
            line.send(Signal::CloudToDevice(id.clone()));
        }
        assert_eq!(line.dropped.get(), 5);
        let request = MethodRequest {
            name: "m".into(),
            payload: Default::default(),
            response_timeout: Default::default(),
            connect_timeout: Default::default(),
        };
        let call = Uuid::from_u128(7);
        line.send(Signal::MethodRequest { id, call, request });
        for _ in 0..WAITING_MAX {
            assert!(matches!(signals.recv().await, Some(Signal::CloudToDevice(_))));
        }
        let Some(Signal::MethodReply { call: answered, outcome: Err(fault) }) =
            signals.recv().await
        else {
            panic!("the caller is not told");
        };
        assert_eq!((answered, fault.kind), (call, FaultKind::ServiceUnavailable));
        assert!(signals.try_recv().is_err());
    }

    #[test]
    fn nobody_listens() {
        let line = Line::new(Counter::default());
        line.send(Signal::CloudToDevice("d".parse().unwrap()));
        drop(line.subscribe());
        line.send(Signal::CloudToDevice("d".parse().unwrap()));
        assert_eq!(line.dropped.get(), 2);
    }
}
