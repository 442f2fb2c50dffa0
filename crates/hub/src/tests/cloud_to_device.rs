//! Messages to devices from the back end's side: how long they live, what becomes of them, and how
//! their sender hears of it.

use gateway::backend::feedback::{Feedback, FeedbackBackend};
use jiff::SignedDuration;
use model::feedback::Outcome;
use model::limits;
use model::message::SystemProperty;

use super::*;

fn message(id: &str, ack: &str) -> Message {
    Message::from_body("x")
        .with_system(SystemProperty::MessageId, id)
        .with_system(SystemProperty::Ack, ack)
}

impl Bench {
    async fn send(&self, id: &str, ack: &str) {
        self.hub.send(&device("d1"), message(id, ack)).await.unwrap();
    }

    async fn waiting(&self) -> u64 {
        self.hub.device(&device("d1")).await.unwrap().cloud_to_device_count
    }

    /// Lets records gather, waits to be woken, and locks what there is.
    async fn feedback(&self) -> Vec<Feedback> {
        let mut ready = self.hub.feedback_ready();
        // In steps, because each sleeper of the hub has its own.
        for _ in 0..16 {
            self.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        loop {
            let locked = self.hub.lock_feedback(10).await.unwrap();
            if !locked.is_empty() {
                return locked;
            }
            ready.changed().await.unwrap();
        }
    }
}

impl Connected {
    async fn delivery(&mut self) -> Delivery {
        match self.next().await {
            Downlink::CloudToDevice(delivery) => delivery,
            other => panic!("{other:?}"),
        }
    }
}

fn told(feedback: &[Feedback]) -> Vec<(String, Outcome)> {
    let records = feedback.iter().flat_map(|message| &message.records);
    records.map(|record| (record.message_id.clone(), record.outcome)).collect()
}

/// An hour without a wish, else what was asked for within two days.
#[tokio::test]
async fn a_message_lives_as_long_as_it_says() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let send_until = |expiry: String| {
        let message = message("m", "none").with_system(SystemProperty::ExpiryTime, expiry);
        async { bench.hub.send(&device("d1"), message).await.map_err(|fault| fault.kind) }
    };
    let at = |seconds| (bench.clock.wall() + SignedDuration::from_secs(seconds)).to_string();
    for refused in [at(0), at(-1), at(2 * 24 * 3600 + 1), "tomorrow".to_owned(), String::new()] {
        let result = send_until(refused.clone()).await;
        assert_eq!(result, Err(FaultKind::InvalidMessageExpiryTime), "{refused}");
    }
    send_until(at(2 * 24 * 3600)).await.unwrap();
    send_until(at(3700)).await.unwrap();
    bench.send("m", "none").await;
    assert_eq!(bench.waiting().await, 3);
    let mut connected = bench.connect("d1").await.unwrap();
    bench.clock.advance(Duration::from_secs(3599));
    connected.listen(all()).await;
    for _ in 0..3 {
        connected.delivery().await;
    }
    connected.link.close(true).await;
    bench.clock.advance(Duration::from_secs(1));
    let mut connected = bench.connect("d1").await.unwrap();
    connected.listen(all()).await;
    for _ in 0..2 {
        connected.delivery().await;
    }
    assert!(connected.end.queue.try_recv().is_none(), "the third has expired");
}

#[tokio::test]
async fn a_sender_hears_once_what_became_of_its_messages() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let mut connected = bench.connect("d1").await.unwrap();
    connected.listen(all()).await;
    for (id, ack, outcome) in [
        ("completed", "full", Settlement::Complete),
        ("rejected", "negative", Settlement::Reject),
        ("unasked", "none", Settlement::Complete),
    ] {
        bench.send(id, ack).await;
        let delivery = connected.delivery().await;
        connected.link.settle(delivery.lock, outcome).await.unwrap();
    }
    connected.link.close(true).await;
    bench.send("purged", "full").await;
    assert_eq!(bench.hub.purge(&device("d1")).await.unwrap(), 1);
    assert_eq!(bench.waiting().await, 0);

    let first = bench.feedback().await;
    let expected = [
        ("completed".to_owned(), Outcome::Success),
        ("rejected".to_owned(), Outcome::Rejected),
        ("purged".to_owned(), Outcome::Purged),
    ];
    assert_eq!((told(&first), first.len()), (expected.to_vec(), 1));
    let generation = bench.hub.device(&device("d1")).await.unwrap().identity.generation;
    assert!(first[0].records.iter().all(|record| record.generation == generation));

    // Another receiver gets it at once when the first one gives it back.
    let mut ready = bench.hub.feedback_ready();
    ready.mark_unchanged();
    bench.hub.settle_feedback(first[0].lock, Settlement::Abandon).await.unwrap();
    ready.changed().await.unwrap();
    let second = bench.hub.lock_feedback(10).await.unwrap();
    assert_eq!((second[0].id, second[0].delivery_count), (first[0].id, 1));
    bench.hub.settle_feedback(second[0].lock, Settlement::Complete).await.unwrap();
    for lock in [first[0].lock, second[0].lock] {
        let lost = bench.hub.settle_feedback(lock, Settlement::Complete).await.unwrap_err();
        assert_eq!(lost.kind, FaultKind::DeviceMessageLockLost);
    }
    assert_eq!(bench.hub.lock_feedback(10).await.unwrap(), []);
}

/// A device that never settles: the message is dead after ten deliveries, and that is told.
#[tokio::test]
async fn a_message_that_is_never_settled_dies() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    bench.send("poison", "negative").await;
    for count in 0..10 {
        let mut connected = bench.connect("d1").await.unwrap();
        connected.listen(all()).await;
        assert_eq!(connected.delivery().await.delivery_count, count);
        connected.link.close(false).await;
        bench.clock.advance(Duration::from_secs(10));
    }
    let mut connected = bench.connect("d1").await.unwrap();
    connected.listen(all()).await;
    assert!(connected.end.queue.try_recv().is_none());
    assert_eq!(bench.waiting().await, 0);
    let expected = [("poison".to_owned(), Outcome::DeliveryCountExceeded)];
    assert_eq!(told(&bench.feedback().await), expected);
}

/// Nobody is told of messages to a device that does not exist any more.
#[tokio::test]
async fn a_deleted_device_takes_its_feedback_with_it() {
    let bench = Bench::new();
    for id in ["d1", "d2"] {
        bench.create(id, DeviceWrite::default()).await;
        bench.hub.send(&device(id), message(id, "full")).await.unwrap();
        bench.hub.purge(&device(id)).await.unwrap();
    }
    bench.hub.delete_device(&device("d1"), Precondition::Exists).await.unwrap();
    let feedback = bench.feedback().await;
    assert_eq!(told(&feedback), [("d2".to_owned(), Outcome::Purged)]);
}

/// As many calls as wait for one device already are enough; others can still be called.
#[tokio::test]
async fn calls_in_flight_have_a_bound_for_each_device() {
    let bench = Bench::new();
    let mut devices = Vec::new();
    for id in ["d1", "d2"] {
        bench.create(id, DeviceWrite::default()).await;
        let connected = bench.connect(id).await.unwrap();
        connected.listen(all()).await;
        devices.push(connected);
    }
    let invoke = |id: &str| {
        let (hub, id) = (bench.hub.clone(), id.parse().unwrap());
        tokio::spawn(async move { hub.invoke(&id, call(0)).await })
    };
    let calls: Vec<_> = (0..limits::METHODS_IN_FLIGHT_MAX).map(|_| invoke("d1")).collect();
    let mut answers = Vec::new();
    for _ in &calls {
        let Downlink::Method { call, .. } = devices[0].next().await else { panic!("no method") };
        answers.push(call);
    }
    let refused = invoke("d1").await.unwrap().unwrap_err();
    assert_eq!(refused.kind, FaultKind::DeviceMaximumInflightMethodExceeded);
    let other = invoke("d2");
    let Downlink::Method { call: answer_to, .. } = devices[1].next().await else {
        panic!("no method")
    };
    devices[1].link.method_answer(answer_to, MethodResponse { status: 1, payload: "{}".into() });
    assert_eq!(other.await.unwrap().unwrap().status, 1);
    for call in answers {
        devices[0].link.method_answer(call, MethodResponse { status: 2, payload: "{}".into() });
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, 2);
    }
}

/// Whoever waits for a device's answer hears at once that the hub ends, not after its time-out.
#[tokio::test]
async fn pending_calls_end_with_the_hub() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    bench.create("d2", DeviceWrite::default()).await;
    let mut connected = bench.connect("d1").await.unwrap();
    connected.listen(all()).await;
    let calls = ["d1", "d2"].map(|id| {
        let (hub, id) = (bench.hub.clone(), id.parse().unwrap());
        tokio::spawn(async move { hub.invoke(&id, call(300)).await })
    });
    assert!(matches!(connected.next().await, Downlink::Method { .. }));
    bench.stop.trigger();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().kind, FaultKind::ServiceUnavailable);
    }
    assert_eq!(connected.end.closed().await, CloseReason::Shutdown);
    let late = bench.hub.invoke(&"d1".parse().unwrap(), call(0)).await.unwrap_err();
    assert_eq!(late.kind, FaultKind::ServiceUnavailable);
}
