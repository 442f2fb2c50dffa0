//! Telemetry: settled when it is durable, in order; refused with a condition.

use amqp::connection::{Event, NewLink};
use amqp::{Body, DeliveryState, Map, Message, batch};
use bytes::BytesMut;
use iot_proto::amqp::address::{DeviceAddress, DeviceNode};
use model::limits::TELEMETRY_BYTES_MAX;

use super::Bench;
use crate::backend::SubmitError;

fn events(id: &str) -> String {
    DeviceAddress::new(id.parse().unwrap(), DeviceNode::Events).to_string()
}

fn message(body: &str) -> Message {
    Message {
        application_properties: [("a", "b")].into_iter().collect::<Map>(),
        body: Body::data(body.to_owned()),
        ..Message::default()
    }
}

/// The gateway acknowledges nothing that is not on the disk, and nothing out of order.
#[tokio::test]
async fn telemetry_is_settled_when_it_is_durable_and_in_order() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let link = client.sender(&events("dev1")).await.unwrap();
    bench.backend.hold();
    let first = client.send(link, message("one").to_bytes());
    client.pump().await;
    let second = client.send(link, message("two").to_bytes());
    client.pump().await;
    bench.hears("dev1: telemetry two [(\"a\", \"b\")]").await;
    assert!(!client.has(|event| matches!(event, Event::Settled { .. })).await);
    // The second is durable first: the first still comes first.
    bench.backend.release(Ok(()));
    assert_eq!(client.outcome(first).await, DeliveryState::Accepted);
    assert!(!client.has(|event| matches!(event, Event::Settled { .. })).await);
    bench.backend.release(Ok(()));
    assert_eq!(client.outcome(second).await, DeliveryState::Accepted);
}

#[tokio::test]
async fn what_cannot_be_stored_is_rejected_and_the_link_lives_on() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let link = client.sender(&events("dev1")).await.unwrap();
    bench.backend.refuse(SubmitError::Unavailable("disk full".into()));
    let refused = client.send(link, message("x").to_bytes());
    assert_eq!(client.rejection(refused).await, "amqp:internal-error");
    bench.backend.hold();
    let failed = client.send(link, message("y").to_bytes());
    client.pump().await;
    bench.hears("telemetry y").await;
    bench.backend.release(Err(SubmitError::Unavailable("disk died".into())));
    assert_eq!(client.rejection(failed).await, "amqp:internal-error");
    let taken = client.send(link, message("z").to_bytes());
    client.pump().await;
    bench.hears("telemetry z").await;
    bench.backend.release(Ok(()));
    assert_eq!(client.outcome(taken).await, DeliveryState::Accepted);
}

/// A full queue stops the reading; nothing is lost and nothing refused.
#[tokio::test]
async fn a_busy_backend_is_asked_again() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let link = client.sender(&events("dev1")).await.unwrap();
    bench.backend.refuse(SubmitError::Busy);
    let first = client.send(link, message("one").to_bytes());
    client.pump().await;
    let second = client.send(link, message("two").to_bytes());
    client.pump().await;
    assert!(!bench.backend.heard().iter().any(|heard| heard.contains("telemetry")));
    bench.pass(std::time::Duration::from_millis(3)).await;
    assert_eq!(client.outcome(first).await, DeliveryState::Accepted);
    assert_eq!(client.outcome(second).await, DeliveryState::Accepted);
}

/// Trap 23: C sends every message this way, with its sections in its own order.
#[tokio::test]
async fn a_batch_is_taken_as_a_whole_with_one_disposition() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1/mod1"]).await;
    let link = client.sender(&events("dev1/mod1")).await.unwrap();
    let mut encoded = BytesMut::new();
    batch::encode([&message("one"), &message("two")], &mut encoded);
    let sent = client.send_as(link, encoded.freeze(), batch::MESSAGE_FORMAT, false);
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    let heard = bench.backend.heard();
    assert_eq!(heard.iter().filter(|h| h.starts_with("dev1/mod1: telemetry")).count(), 2);

    let mut encoded = BytesMut::new();
    let bad = Message { body: Body::Value(amqp::Value::Int(1)), ..Message::default() };
    batch::encode([&message("three"), &bad], &mut encoded);
    let sent = client.send_as(link, encoded.freeze(), batch::MESSAGE_FORMAT, false);
    assert_eq!(client.rejection(sent).await, "com.microsoft:argument-error");
    assert!(!bench.backend.heard().iter().any(|heard| heard.contains("three")), "half a batch");
}

/// `security.md` B17, dp §4.3: 256 KiB is a message's own limit, the link's is larger.
#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_costs_its_link() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let (link, attach) = client.attach(NewLink::sender("telemetry", events("dev1"))).await.unwrap();
    assert_eq!(attach.max_message_size, Some(1_048_576));
    assert_eq!(
        attach.target.and_then(|target| target.address).as_deref(),
        Some("/devices/dev1/messages/events")
    );
    client
        .until(|event| match event {
            Event::Credit { credit, .. } => {
                assert!(*credit >= 50);
                Some(())
            }
            _ => None,
        })
        .await;
    let fits = Message { body: Body::data(vec![b'x'; TELEMETRY_BYTES_MAX]), ..Message::default() };
    let sent = client.send(link, fits.to_bytes());
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    let large =
        Message { body: Body::data(vec![b'x'; TELEMETRY_BYTES_MAX + 1]), ..Message::default() };
    let sent = client.send(link, large.to_bytes());
    assert_eq!(client.rejection(sent).await, "amqp:link:message-size-exceeded");
    assert_eq!(client.detached(link).await, "amqp:link:message-size-exceeded");
    let again = client.sender(&events("dev1")).await.unwrap();
    let sent = client.send(again, message("x").to_bytes());
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_alone() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let link = client.sender(&events("dev1")).await.unwrap();
    let garbage = client.send(link, &b"\x00\x53\x75\xa0\xff"[..]);
    assert_eq!(client.rejection(garbage).await, "com.microsoft:argument-error");
    let garbage = client.send_as(link, message("x").to_bytes(), batch::MESSAGE_FORMAT, false);
    assert!(client.rejection(garbage).await.starts_with("com.microsoft:"));
    client.send_as(link, message("settled").to_bytes(), 0, true);
    client.pump().await;
    bench.hears("telemetry settled").await;
    let sent = client.send(link, message("y").to_bytes());
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
}

/// What a client sent right before it said goodbye counts.
#[tokio::test]
async fn the_end_of_the_last_link_closes_the_session() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let link = client.sender(&events("dev1")).await.unwrap();
    let other = client.sender(&events("dev1")).await.unwrap();
    client.send(link, message("last words").to_bytes());
    client.machine.detach(link, None);
    client.pump().await;
    bench.hears("last words").await;
    assert!(!bench.backend.heard().iter().any(|heard| heard.contains("close")));
    client.machine.detach(other, None);
    client.pump().await;
    bench.hears("dev1: close graceful=true").await;
    assert_eq!(bench.backend.heard().iter().filter(|h| h.contains("open")).count(), 1);
}
