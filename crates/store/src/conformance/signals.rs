//! Signals.

use super::*;
use crate::signals::Signal;
use serde_json::json;
use uuid::Uuid;

/// What one node sends, the node with the connection gets, in order.
pub async fn signals_arrive_in_order(fixture: &Fixture) {
    let signals = &fixture.stores.signals;
    let mut received = signals.subscribe();
    let id = identity("d/m");
    for version in 1..=100 {
        let patch = object(json!({"n": version}));
        signals.send(Signal::Desired { id: id.clone(), patch, version });
    }
    let call = Uuid::from_u128(3);
    let fault = model::Fault::argument("wrong");
    signals.send(Signal::MethodReply { call, outcome: Err(fault.clone()) });
    signals.send(Signal::IdentityChanged(id.clone()));
    for expected in 1..=100 {
        let signal = received.recv().await.unwrap();
        assert_matches!(
            signal,
            Signal::Desired { id: of, patch, version }
                if of == id && version == expected && patch["n"] == expected
        );
    }
    assert_matches!(
        received.recv().await.unwrap(),
        Signal::MethodReply { call: of, outcome: Err(why) } if of == call && why == fault
    );
    assert_matches!(received.recv().await.unwrap(), Signal::IdentityChanged(of) if of == id);
}
