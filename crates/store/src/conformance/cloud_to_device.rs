//! Cloud-to-device queues: order, locks, settlements, death.

use super::*;
use crate::StoreError;
use crate::cloud_to_device::{Locked, Settlement};
use crate::error::Result;
use model::message::{Message, SystemProperty};
use uuid::Uuid;

/// First in, first out, with everything that the message has.
pub async fn messages_are_kept_and_come_in_order(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let start = fixture.now();
    let mut message = Message::from_body(vec![0, 255, 1])
        .with_system(SystemProperty::MessageId, "id")
        .with_system(SystemProperty::Ack, "full");
    message.set_property("a", "\u{e4}");
    message.set_property("", "");
    let queue = &fixture.stores.cloud_to_device;
    let expires = fixture.later(3600);
    let d = device_id("d");
    assert_eq!(queue.enqueue(&d, message.clone(), expires, start, 50).await.unwrap(), 1);
    fixture.advance(1);
    for (body, number) in [("b", 2), ("c", 3)] {
        assert_eq!(enqueue_one(fixture, "d", body).await.unwrap(), number);
    }
    assert_eq!(queue.pending(&device_id("d")).await.unwrap(), 3);
    let locked = lock(fixture, "d", 2).await;
    let expected = Locked {
        lock: locked[0].lock,
        sequence: 1,
        enqueued: start,
        expires,
        delivery_count: 0,
        generation: GenerationId::from_number(1000),
        message,
    };
    assert_eq!(locked[0], expected);
    assert_eq!(bodies(&locked[1..]), ["b"]);
    assert_ne!(locked[0].lock, locked[1].lock);
    // What is locked is not given again.
    assert_eq!(bodies(&lock(fixture, "d", 10).await), ["c"]);
    assert_eq!(lock(fixture, "d", 10).await, []);
    assert_eq!(queue.pending(&device_id("d")).await.unwrap(), 3);
}

/// Completed and rejected messages are gone; a lock settles once.
pub async fn settlements(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    for body in ["a", "b", "c"] {
        enqueue_one(fixture, "d", body).await.unwrap();
    }
    let locked = lock(fixture, "d", 3).await;
    assert_matches!(
        settle(fixture, "e", locked[0].lock, Settlement::Complete).await,
        Err(StoreError::NotFound)
    );
    for (message, outcome) in
        locked.iter().zip([Settlement::Complete, Settlement::Reject, Settlement::Abandon])
    {
        settle(fixture, "d", message.lock, outcome).await.unwrap();
        for again in [Settlement::Complete, Settlement::Reject, Settlement::Abandon] {
            let again = settle(fixture, "d", message.lock, again).await;
            assert_matches!(again, Err(StoreError::NotFound));
        }
    }
    let unknown = settle(fixture, "d", Uuid::from_u128(1), Settlement::Complete).await;
    assert_matches!(unknown, Err(StoreError::NotFound));
    assert_eq!(pending(fixture, "d").await, 1);
    let again = lock(fixture, "d", 3).await;
    assert_eq!((bodies(&again), again[0].delivery_count), (vec!["c".to_owned()], 1));
    assert_ne!(again[0].lock, locked[2].lock);
}

/// A lock that ran out is lost: the message comes again, with its delivery counted.
pub async fn a_lock_runs_out(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    enqueue_one(fixture, "d", "a").await.unwrap();
    let first = lock(fixture, "d", 1).await.remove(0);
    fixture.advance(LOCK_S - 1);
    assert_eq!(lock(fixture, "d", 1).await, []);
    fixture.advance(1);
    let late = settle(fixture, "d", first.lock, Settlement::Complete).await;
    assert_matches!(late, Err(StoreError::NotFound));
    let second = lock(fixture, "d", 1).await.remove(0);
    assert_eq!((second.sequence, second.delivery_count), (1, 1));
    let late = settle(fixture, "d", first.lock, Settlement::Complete).await;
    assert_matches!(late, Err(StoreError::NotFound));
    fixture.advance(LOCK_S - 1);
    settle(fixture, "d", second.lock, Settlement::Complete).await.unwrap();
    assert_eq!(pending(fixture, "d").await, 0);
}

/// Before the younger ones.
pub async fn an_abandoned_message_comes_again_in_its_place(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    for body in ["a", "b", "c"] {
        enqueue_one(fixture, "d", body).await.unwrap();
    }
    let locked = lock(fixture, "d", 2).await;
    settle(fixture, "d", locked[0].lock, Settlement::Abandon).await.unwrap();
    settle(fixture, "d", locked[1].lock, Settlement::Complete).await.unwrap();
    assert_eq!(bodies(&lock(fixture, "d", 3).await), ["a", "c"]);
}

/// A message that was given out as often as it may is dead, however its lock ended.
pub async fn deliveries_are_bounded(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    enqueue_one(fixture, "d", "poison").await.unwrap();
    enqueue_one(fixture, "d", "good").await.unwrap();
    for delivery in 0..DELIVERIES_MAX {
        let locked = lock(fixture, "d", 1).await.remove(0);
        assert_eq!((locked.sequence, locked.delivery_count), (1, delivery));
        if delivery % 2 == 0 {
            settle(fixture, "d", locked.lock, Settlement::Abandon).await.unwrap();
        } else {
            fixture.advance(LOCK_S);
        }
    }
    let last = lock(fixture, "d", 10).await;
    assert_eq!(bodies(&last), ["good"]);
    assert_eq!(pending(fixture, "d").await, 1);
}

/// At its very time, waiting or locked.
pub async fn expired_messages_are_dead(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let queue = &fixture.stores.cloud_to_device;
    for (body, seconds) in [("a", 10), ("b", 30), ("c", 20), ("d", 1000)] {
        let (now, expires) = (fixture.now(), fixture.later(seconds));
        queue.enqueue(&device_id("d"), Message::from_body(body), expires, now, 50).await.unwrap();
    }
    fixture.advance(9);
    assert_eq!(bodies(&lock(fixture, "d", 1).await), ["a"]);
    fixture.advance(11);
    assert_eq!(bodies(&lock(fixture, "d", 1).await), ["b"]);
    fixture.advance(10);
    assert_eq!(queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap(), []);
    assert_eq!(pending(fixture, "d").await, 1);
    assert_eq!(bodies(&lock(fixture, "d", 9).await), ["d"]);
}

/// Waiting and locked messages count, expired ones do not.
pub async fn a_full_queue_refuses(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    let queue = &fixture.stores.cloud_to_device;
    let d = device_id("d");
    let enqueue = |seconds| {
        let (now, expires) = (fixture.now(), fixture.later(seconds));
        queue.enqueue(&d, Message::from_body("m"), expires, now, 3)
    };
    enqueue(1000).await.unwrap();
    enqueue(1000).await.unwrap();
    enqueue(5).await.unwrap();
    let locked = lock(fixture, "d", 1).await.remove(0);
    assert_matches!(enqueue(1000).await, Err(StoreError::Full { limit: 3, .. }));
    assert_eq!(pending(fixture, "d").await, 3);
    enqueue_one(fixture, "e", "m").await.unwrap();
    fixture.advance(5);
    enqueue(1000).await.unwrap();
    assert_matches!(enqueue(1000).await, Err(StoreError::Full { .. }));
    settle(fixture, "d", locked.lock, Settlement::Complete).await.unwrap();
    enqueue(1000).await.unwrap();
}

/// Locked messages too; their locks are lost, and numbers are not used again.
pub async fn a_purged_queue_is_empty(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    for id in ["d", "d", "d", "e"] {
        enqueue_one(fixture, id, "m").await.unwrap();
    }
    let locked = lock(fixture, "d", 1).await.remove(0);
    let queue = &fixture.stores.cloud_to_device;
    assert_eq!(queue.purge(&device_id("d"), fixture.now()).await.unwrap(), 3);
    assert_eq!(queue.purge(&device_id("d"), fixture.now()).await.unwrap(), 0);
    assert_eq!((pending(fixture, "d").await, pending(fixture, "e").await), (0, 1));
    let late = settle(fixture, "d", locked.lock, Settlement::Complete).await;
    assert_matches!(late, Err(StoreError::NotFound));
    assert_eq!(enqueue_one(fixture, "d", "m").await.unwrap(), 4);
}

/// Locks that ran out make messages wait again; whoever owns the queue wants to know.
pub async fn sweeping_tells_who_has_messages_again(fixture: &Fixture) {
    fixture.register(&["d", "e", "f"]).await;
    let queue = &fixture.stores.cloud_to_device;
    for id in ["e", "d", "d", "f"] {
        enqueue_one(fixture, id, "m").await.unwrap();
    }
    lock(fixture, "d", 2).await;
    lock(fixture, "e", 1).await;
    assert_eq!(queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap(), []);
    fixture.advance(LOCK_S);
    let mut swept = queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap();
    swept.sort();
    assert_eq!(swept, [device_id("d"), device_id("e")]);
    assert_eq!(queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap(), []);
    let again = lock(fixture, "d", 2).await;
    assert_eq!(again.iter().map(|message| message.delivery_count).collect::<Vec<_>>(), [1, 1]);
}

/// All of one device's, nobody else's.
pub async fn a_gone_connection_gives_its_locks_back(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    for id in ["d", "d", "e"] {
        enqueue_one(fixture, id, "m").await.unwrap();
    }
    let locked = lock(fixture, "d", 2).await;
    let of_e = lock(fixture, "e", 1).await;
    let queue = &fixture.stores.cloud_to_device;
    queue.unlock_all(&device_id("d"), fixture.now()).await.unwrap();
    let late = settle(fixture, "d", locked[0].lock, Settlement::Complete).await;
    assert_matches!(late, Err(StoreError::NotFound));
    settle(fixture, "e", of_e[0].lock, Settlement::Complete).await.unwrap();
    let again = lock(fixture, "d", 5).await;
    assert_eq!(again.iter().map(|message| message.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(again[0].delivery_count, 1);
}

/// Each device has its own messages and its own numbers.
pub async fn queues_are_apart(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    assert_eq!(enqueue_one(fixture, "d", "to d").await.unwrap(), 1);
    assert_eq!(enqueue_one(fixture, "e", "to e").await.unwrap(), 1);
    assert_eq!(bodies(&lock(fixture, "d", 5).await), ["to d"]);
    assert_eq!(bodies(&lock(fixture, "e", 5).await), ["to e"]);
}

/// A device that is not registered.
pub async fn nobody_has_no_queue(fixture: &Fixture) {
    assert_matches!(enqueue_one(fixture, "nobody", "m").await, Err(StoreError::NotFound));
    assert_eq!(lock(fixture, "nobody", 1).await, []);
    assert_eq!(pending(fixture, "nobody").await, 0);
    let queue = &fixture.stores.cloud_to_device;
    assert_eq!(queue.purge(&device_id("nobody"), fixture.now()).await.unwrap(), 0);
    assert_eq!(queue.sweep(DELIVERIES_MAX, fixture.now()).await.unwrap(), []);
}

async fn enqueue_one(fixture: &Fixture, id: &str, body: &str) -> Result<u64> {
    let (now, expires) = (fixture.now(), fixture.later(3600));
    let message = Message::from_body(body.to_owned());
    fixture.stores.cloud_to_device.enqueue(&device_id(id), message, expires, now, 50).await
}

async fn lock(fixture: &Fixture, id: &str, limit: usize) -> Vec<Locked> {
    let (id, lasts) = (device_id(id), Duration::from_secs(LOCK_S));
    let queue = &fixture.stores.cloud_to_device;
    queue.lock(&id, limit, lasts, DELIVERIES_MAX, fixture.now()).await.unwrap()
}

async fn settle(fixture: &Fixture, id: &str, lock: Uuid, outcome: Settlement) -> Result<()> {
    let queue = &fixture.stores.cloud_to_device;
    queue.settle(&device_id(id), lock, outcome, fixture.now()).await
}

async fn pending(fixture: &Fixture, id: &str) -> u64 {
    fixture.stores.cloud_to_device.pending(&device_id(id)).await.unwrap()
}

fn bodies(messages: &[Locked]) -> Vec<String> {
    let body = |locked: &Locked| String::from_utf8(locked.message.body.to_vec()).unwrap();
    messages.iter().map(body).collect()
}

const LOCK_S: u64 = 60;
const DELIVERIES_MAX: u32 = 4;
