//! The outbox.

use super::*;
use serde_json::json;

/// Every kind, with its body; what is removed is gone, what is younger stays.
pub async fn events_are_kept_in_order(fixture: &Fixture) {
    let outbox = &fixture.stores.outbox;
    let kinds = [
        (HubEventKind::IdentityCreated, "d"),
        (HubEventKind::IdentityDeleted, "d/m"),
        (HubEventKind::TwinUpdated, "d"),
        (HubEventKind::TwinReplaced, "d/m"),
    ];
    let events: Vec<_> = kinds
        .into_iter()
        .map(|(kind, subject)| {
            event(kind, subject, json!({"z": [1, null], "a": "\u{e4}\"", "of": subject}))
        })
        .collect();
    put(fixture, "a", events[..2].to_vec()).await;
    put(fixture, "b", events[2..].to_vec()).await;
    assert_eq!(fixture.outbox().await, events);

    let first = outbox.peek(3).await.unwrap();
    assert_eq!(first.len(), 3);
    // Looking removes nothing.
    assert_eq!(outbox.peek(3).await.unwrap(), first);
    outbox.remove_through(first[1].0).await.unwrap();
    assert_eq!(fixture.outbox().await, events[2..]);
    // Twice is as good as once.
    outbox.remove_through(first[1].0).await.unwrap();
    let rest = outbox.peek(10).await.unwrap();
    outbox.remove_through(rest[1].0).await.unwrap();
    assert_eq!(fixture.outbox().await, []);
    put(fixture, "c", events[..1].to_vec()).await;
    let next = outbox.peek(10).await.unwrap();
    assert!(next[0].0 > rest[1].0, "a number is used again");
}

/// At once while something waits, else when something comes.
pub async fn waiting_ends_when_there_is_something(fixture: &Fixture) {
    let outbox = &fixture.stores.outbox;
    let mut wait = outbox.wait();
    assert_eq!(poll_once(&mut wait), None);
    let created = || event(HubEventKind::IdentityCreated, "d", json!({}));
    tokio::join!(wait, put(fixture, "a", vec![created(), created()]));
    outbox.wait().await;
    let all = outbox.peek(10).await.unwrap();
    outbox.remove_through(all[0].0).await.unwrap();
    outbox.wait().await;
    outbox.remove_through(all[1].0).await.unwrap();
    assert_eq!(poll_once(&mut outbox.wait()), None);
    // A write without events, and one that is refused with them, wake nobody.
    put(fixture, "b", Vec::new()).await;
    let refused = fixture.stores.registry.put_device(
        device("b", 1),
        Vec::new(),
        Precondition::Absent,
        vec![created()],
    );
    refused.await.unwrap_err();
    assert_eq!(poll_once(&mut outbox.wait()), None);
}

/// Commits events with a new device.
async fn put(fixture: &Fixture, id: &str, events: Vec<HubEvent>) {
    let registry = &fixture.stores.registry;
    registry.put_device(device(id, 1), Vec::new(), Precondition::Absent, events).await.unwrap();
}
