//! Messages to devices and modules: by credit, with the lock as tag, settled by disposition.

use amqp::connection::{CreditPolicy, Event, NewLink};
use amqp::performative::ReceiverSettleMode;
use amqp::{DeliveryState, Value};
use iot_proto::amqp::message::lock_tag;
use model::message::{Message, SystemProperty};
use uuid::Uuid;

use super::Bench;
use crate::session::{Delivery, Downlink};

const C2D: &str = "/devices/dev1/messages/devicebound";
const INPUTS: &str = "/devices/dev1/modules/mod1/messages/events";

fn delivery(bench: &Bench, lock: u128) -> Downlink {
    let message = Message::from_body("do it").with_system(SystemProperty::MessageId, "m");
    Downlink::CloudToDevice(Delivery {
        lock: Uuid::from_u128(lock),
        message,
        sequence: 4,
        enqueued: bench.clock.wall(),
        delivery_count: 1,
    })
}

/// Credit is what the backend may hand over: sent so far and the credit together.
#[tokio::test]
async fn messages_come_by_credit_and_each_disposition_settles_its_lock() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let mut link = NewLink::receiver("c2d", C2D, 0);
    link.credit = CreditPolicy::Manual;
    let (link, _) = client.attach(link).await.unwrap();
    let heard = bench.backend.heard();
    let permit = heard.iter().position(|h| h == "dev1: permit CloudToDevice 0").unwrap();
    let told = heard.iter().position(|h| h == "dev1: subscribed d=false m=false c=true i=false");
    assert!(permit < told.unwrap(), "nothing is permitted before there is credit");
    client.machine.grant(link, 4);
    client.pump().await;
    bench.hears("dev1: permit CloudToDevice 4").await;

    let outcomes = [
        (DeliveryState::Accepted, "Complete"),
        (DeliveryState::Rejected(None), "Reject"),
        (DeliveryState::Released, "Abandon"),
        (
            DeliveryState::Modified {
                delivery_failed: true,
                undeliverable_here: false,
                message_annotations: amqp::Map::new(),
            },
            "Abandon",
        ),
    ];
    for (lock, (state, settlement)) in (1..).zip(outcomes) {
        bench.backend.session("dev1").send(delivery(&bench, lock)).unwrap();
        let (got, message) = client.receive(link).await;
        assert_eq!(got.tag, lock_tag(Uuid::from_u128(lock)));
        assert_eq!(got.tag.len(), 16);
        assert!(!got.settled);
        assert_eq!(message.properties.to.as_deref(), Some(C2D));
        assert_eq!(
            message.message_annotations.get("x-opt-sequence-number"),
            Some(&Value::Ulong(4))
        );
        client.machine.settle(got.id, state);
        client.pump().await;
        bench.hears(&format!("dev1: settle {} {settlement}", Uuid::from_u128(lock))).await;
    }
    client.machine.grant(link, 2);
    client.pump().await;
    bench.hears("dev1: permit CloudToDevice 6").await;
}

/// A client of `rcv-settle-mode` second hears when its outcome is durable, or that it came too late.
#[tokio::test]
async fn the_second_settlement_follows_the_backends() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let mut link = NewLink::receiver("c2d", C2D, 10);
    link.rcv_settle_mode = ReceiverSettleMode::Second;
    let (link, attach) = client.attach(link).await.unwrap();
    assert_eq!(attach.rcv_settle_mode, ReceiverSettleMode::Second);
    bench.backend.session("dev1").send(delivery(&bench, 1)).unwrap();
    let (got, _) = client.receive(link).await;
    client.machine.settle(got.id, DeliveryState::Accepted);
    client.pump().await;
    bench.hears("settle 00000000-0000-0000-0000-000000000001 Complete").await;
    assert_eq!(client.outcome(got.id).await, DeliveryState::Accepted);

    bench.backend.lose_locks();
    bench.backend.session("dev1").send(delivery(&bench, 2)).unwrap();
    let (got, _) = client.receive(link).await;
    client.machine.settle(got.id, DeliveryState::Accepted);
    assert_eq!(client.rejection(got.id).await, "com.microsoft:message-lock-lost");
}

/// A link that is gone gives its locks back, and nothing more is handed over.
#[tokio::test]
async fn a_detached_link_gives_back_what_it_has_not_settled() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let telemetry = client.sender("/devices/dev1/messages/events").await.unwrap();
    let link = client.receiver(C2D, 10).await.unwrap();
    bench.backend.session("dev1").send(delivery(&bench, 1)).unwrap();
    client.receive(link).await;
    client.machine.detach(link, None);
    client.pump().await;
    bench.hears("settle 00000000-0000-0000-0000-000000000001 Abandon").await;
    bench.hears("dev1: subscribed d=false m=false c=false i=false").await;
    bench.hears("dev1: permit CloudToDevice 1").await;
    // One that crossed with the detach is given back, too, and counted.
    bench.backend.session("dev1").send(delivery(&bench, 2)).unwrap();
    bench.hears("settle 00000000-0000-0000-0000-000000000002 Abandon").await;
    client.receiver(C2D, 10).await.unwrap();
    client.pump().await;
    bench.hears("dev1: permit CloudToDevice 12").await;
    let _ = telemetry;
}

/// A second link to the same address takes the first one's place.
#[tokio::test]
async fn the_newer_link_of_an_address_wins() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let first = client.receiver(C2D, 10).await.unwrap();
    let second = client.receiver(C2D, 10).await.unwrap();
    assert_eq!(client.detached(first).await, "amqp:link:stolen");
    bench.backend.session("dev1").send(delivery(&bench, 1)).unwrap();
    client.receive(second).await;
}

/// Only a module receives from `…/messages/events`.
#[tokio::test]
async fn a_module_gets_messages_to_its_inputs() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1/mod1", "dev1"]).await;
    let link = client.receiver(INPUTS, 5).await.unwrap();
    bench.hears("dev1/mod1: subscribed d=false m=false c=false i=true").await;
    client.pump().await;
    bench.hears("dev1/mod1: permit Input 5").await;
    let message = Message::from_body("x")
        .with_system(SystemProperty::ConnectionDeviceId, "dev1")
        .with_system(SystemProperty::ConnectionModuleId, "other");
    let lock = Uuid::from_u128(9);
    let input = Downlink::Input { input: "in1".into(), lock, message };
    bench.backend.session("dev1/mod1").send(input).unwrap();
    let (got, message) = client.receive(link).await;
    assert_eq!(message.message_annotations.get("x-opt-input-name"), Some(&"in1".into()));
    client.machine.settle(got.id, DeliveryState::Accepted);
    client.pump().await;
    bench.hears(&format!("dev1/mod1: settle {lock} Complete")).await;
    assert_eq!(
        client.receiver("/devices/dev1/messages/events", 5).await.unwrap_err(),
        "amqp:not-allowed"
    );
}

/// A drain takes the credit back at once: what comes later waits for new credit.
#[tokio::test]
async fn a_drained_link_has_no_credit_left() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let mut link = NewLink::receiver("c2d", C2D, 0);
    link.credit = CreditPolicy::Manual;
    let (link, _) = client.attach(link).await.unwrap();
    client.machine.grant(link, 3);
    client.pump().await;
    bench.hears("permit CloudToDevice 3").await;
    client.machine.drain(link);
    client.until(|event| matches!(event, Event::Drained(of) if *of == link).then_some(())).await;
    let permits: Vec<_> =
        bench.backend.heard().into_iter().filter(|heard| heard.contains("permit")).collect();
    assert_eq!(permits.last().map(String::as_str), Some("dev1: permit CloudToDevice 0"));
}
