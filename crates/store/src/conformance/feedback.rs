//! Feedback: what is told, once, in messages that are locked and settled.

use super::*;
use crate::StoreError;
use crate::cloud_to_device::Settlement;
use crate::feedback::{LockedFeedback, Rules};
use model::feedback::{Outcome, Record};
use model::message::{Message, SystemProperty};

/// Each way in which a message ends, for each wish of its sender.
pub async fn what_was_asked_for_is_told(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    for ack in ["", "none", "positive", "negative", "full"] {
        for outcome in Outcome::ALL {
            send(fixture, "d", &format!("{ack} {outcome:?}"), ack, 30).await;
            end(fixture, "d", outcome).await;
            assert_eq!(fixture.stores.cloud_to_device.pending(&device_id("d")).await.unwrap(), 0);
        }
    }
    fixture.advance(GATHERING_S);
    let told = lock(fixture, 10).await.into_iter().flat_map(|message| message.records);
    let told: Vec<Record> = told.collect();
    let ids: Vec<_> = told.iter().map(|record| record.message_id.as_str()).collect();
    let dead = ["Expired", "DeliveryCountExceeded", "Rejected", "Purged"];
    let mut expected = vec!["positive Success".to_owned()];
    expected.extend(dead.map(|outcome| format!("negative {outcome}")));
    expected.push("full Success".to_owned());
    expected.extend(dead.map(|outcome| format!("full {outcome}")));
    assert_eq!(ids, expected);
    for Record { message_id, outcome, device, generation, .. } in &told {
        assert!(message_id.ends_with(&format!(" {outcome:?}")), "{message_id}: {outcome:?}");
        assert_eq!((device, generation), (&device_id("d"), &GenerationId::from_number(1000)));
    }
    assert!(told.is_sorted_by_key(|record| record.time));
}

/// However often it is settled again, swept or purged.
pub async fn an_end_is_told_once(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let queue = &fixture.stores.cloud_to_device;
    send(fixture, "d", "a", "full", 30).await;
    send(fixture, "d", "b", "full", 300).await;
    let (now, lasts) = (fixture.now(), Duration::from_secs(LOCK_S));
    let locked = queue.lock(&device_id("d"), 2, lasts, DELIVERIES_MAX, now).await.unwrap();
    for outcome in [Settlement::Complete, Settlement::Reject, Settlement::Complete] {
        let _ = queue.settle(&device_id("d"), locked[0].lock, outcome, now).await;
    }
    fixture.advance(30);
    queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap();
    queue.purge(&device_id("d"), fixture.now()).await.unwrap();
    queue.purge(&device_id("d"), fixture.now()).await.unwrap();
    fixture.advance(300);
    queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap();
    assert_eq!(told(&lock(fixture, 10).await), ["a Success", "b Purged"]);
    assert_eq!(lock(fixture, 10).await, []);
}

/// Until there are as many as a message holds, or the oldest has waited long enough.
pub async fn records_gather(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let feedback = &fixture.stores.feedback;
    for n in 0..RECORDS_MAX {
        assert_eq!(lock(fixture, 10).await, []);
        assert!(!feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
        send(fixture, "d", &n.to_string(), "full", 30).await;
        end(fixture, "d", Outcome::Success).await;
    }
    let made = fixture.now();
    assert!(feedback.sweep_feedback(rules(), made).await.unwrap());
    send(fixture, "d", "late", "full", 300).await;
    end(fixture, "d", Outcome::Rejected).await;
    fixture.advance(GATHERING_S - 1);
    let first = lock(fixture, 10).await;
    assert_eq!(told(&first), ["0 Success", "1 Success", "2 Success"]);
    assert_eq!((first.len(), first[0].enqueued, first[0].delivery_count), (1, made, 0));
    assert!(!feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    fixture.advance(1);
    assert!(feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    let second = lock(fixture, 10).await;
    assert_eq!(told(&second), ["late Rejected"]);
    assert_ne!((first[0].id, first[0].lock), (second[0].id, second[0].lock));
}

/// Abandoned, or its lock lost; a lock settles once, and a completed or rejected message is gone.
pub async fn a_message_comes_until_it_is_settled(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let feedback = &fixture.stores.feedback;
    one_message(fixture, "a").await;
    let settle = |lock, outcome| feedback.settle_feedback(lock, outcome, fixture.now());
    let first = lock(fixture, 10).await.remove(0);
    assert_eq!(lock(fixture, 10).await, []);
    settle(first.lock, Settlement::Abandon).await.unwrap();
    for again in [Settlement::Complete, Settlement::Reject, Settlement::Abandon] {
        assert_matches!(settle(first.lock, again).await, Err(StoreError::NotFound));
    }
    assert!(feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    let second = lock(fixture, 10).await.remove(0);
    assert_eq!((second.id, second.delivery_count), (first.id, 1));
    assert_ne!(second.lock, first.lock);
    fixture.advance(LOCK_S - 1);
    assert_eq!(lock(fixture, 10).await, []);
    fixture.advance(1);
    let late = settle(second.lock, Settlement::Complete).await;
    assert_matches!(late, Err(StoreError::NotFound));
    let third = lock(fixture, 10).await.remove(0);
    assert_eq!((third.records, third.delivery_count), (first.records, 2));
    settle(third.lock, Settlement::Complete).await.unwrap();
    one_message(fixture, "b").await;
    let other = lock(fixture, 10).await.remove(0);
    settle(other.lock, Settlement::Reject).await.unwrap();
    fixture.advance(LOCK_S);
    assert_eq!(lock(fixture, 10).await, []);
}

/// It is dropped when its time is over, or when it was given out as often as it may be.
pub async fn nobody_takes_it(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let feedback = &fixture.stores.feedback;
    one_message(fixture, "a").await;
    assert!(feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    fixture.advance(TTL_S - 1);
    assert!(feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    fixture.advance(1);
    assert!(!feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    assert_eq!(lock(fixture, 10).await, []);

    one_message(fixture, "b").await;
    one_message(fixture, "c").await;
    for delivery in 0..DELIVERIES_MAX {
        let locked = lock(fixture, 1).await.remove(0);
        assert_eq!((locked.delivery_count, locked.records.len()), (delivery, 1));
        assert_eq!(locked.records[0].message_id, "b");
        feedback.settle_feedback(locked.lock, Settlement::Abandon, fixture.now()).await.unwrap();
    }
    assert_eq!(told(&lock(fixture, 10).await), ["c Success"]);
}

/// Records that gather and records in messages; those of other devices stay, and its next
/// generation begins without.
pub async fn a_deleted_device_takes_its_feedback_with_it(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    for (device, message) in [("d", "1"), ("e", "2")] {
        send(fixture, device, message, "full", 300).await;
        end(fixture, device, Outcome::Success).await;
    }
    fixture.advance(GATHERING_S);
    let feedback = &fixture.stores.feedback;
    assert!(feedback.sweep_feedback(rules(), fixture.now()).await.unwrap());
    one_message(fixture, "3").await; // of d alone
    for (device, message) in [("d", "4"), ("e", "5")] {
        send(fixture, device, message, "full", 300).await;
        end(fixture, device, Outcome::Rejected).await;
    }
    send(fixture, "d", "pending", "full", 300).await;
    fixture.delete_device("d").await;
    fixture.register(&["d"]).await;
    fixture.advance(GATHERING_S);
    let locked = lock(fixture, 10).await;
    assert_eq!(told(&locked), ["2 Success", "5 Rejected"]);
    assert_eq!(locked.len(), 2);
}

/// A feedback message that is about one completed message of the device d, and ready.
async fn one_message(fixture: &Fixture, id: &str) {
    send(fixture, "d", id, "full", 300).await;
    end(fixture, "d", Outcome::Success).await;
    fixture.advance(GATHERING_S);
    fixture.stores.feedback.sweep_feedback(rules(), fixture.now()).await.unwrap();
}

async fn send(fixture: &Fixture, device: &str, id: &str, ack: &str, ttl: i64) {
    let mut message = Message::from_body("body").with_system(SystemProperty::MessageId, id);
    if !ack.is_empty() {
        message.set_system(SystemProperty::Ack, ack);
    }
    let (now, expires) = (fixture.now(), fixture.later(ttl));
    let queue = &fixture.stores.cloud_to_device;
    queue.enqueue(&device_id(device), message, expires, now, 50).await.unwrap();
}

/// Lets the one message of a device end so.
async fn end(fixture: &Fixture, device: &str, outcome: Outcome) {
    let (device, queue) = (device_id(device), &fixture.stores.cloud_to_device);
    let lock = || async {
        let (now, lasts) = (fixture.now(), Duration::from_secs(LOCK_S));
        queue.lock(&device, 1, lasts, DELIVERIES_MAX, now).await.unwrap().remove(0).lock
    };
    let settle = |lock, outcome| queue.settle(&device, lock, outcome, fixture.now());
    match outcome {
        Outcome::Success => settle(lock().await, Settlement::Complete).await.unwrap(),
        Outcome::Rejected => settle(lock().await, Settlement::Reject).await.unwrap(),
        Outcome::DeliveryCountExceeded => {
            for _ in 0..DELIVERIES_MAX {
                settle(lock().await, Settlement::Abandon).await.unwrap();
            }
            assert_eq!(queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap(), []);
        }
        Outcome::Expired => {
            fixture.advance(30);
            queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap();
        }
        Outcome::Purged => {
            assert_eq!(queue.purge(&device, fixture.now()).await.unwrap(), 1);
        }
    }
}

async fn lock(fixture: &Fixture, limit: usize) -> Vec<LockedFeedback> {
    fixture.stores.feedback.lock_feedback(limit, rules(), fixture.now()).await.unwrap()
}

fn told(messages: &[LockedFeedback]) -> Vec<String> {
    let records = messages.iter().flat_map(|message| &message.records);
    records.map(|record| format!("{} {:?}", record.message_id, record.outcome)).collect()
}

fn rules() -> Rules {
    Rules {
        records_max: RECORDS_MAX,
        gathering: Duration::from_secs(GATHERING_S),
        ttl: Duration::from_secs(TTL_S),
        lock: Duration::from_secs(LOCK_S),
        deliveries_max: DELIVERIES_MAX,
    }
}

const LOCK_S: u64 = 60;
const GATHERING_S: u64 = 15;
const TTL_S: u64 = 3600;
const RECORDS_MAX: usize = 3;
const DELIVERIES_MAX: u32 = 4;
