//! The device client: getting in, coming back, and nothing lost or out of order on the way.

use std::sync::Arc;
use std::time::Duration;

use client::device::{
    ClientEvent, ConnectionState, Options, Queues, Refusal, SendError, SendHandle, Subscription,
    TwinError,
};
use client::signer::KeySigner;
use client::{DeviceClient, Dial, Events};
use host::clock::Clock;
use host::tls::ClientTls;
use iot_proto::sas::SasToken;
use model::message::{Message, SystemProperty};
use mqtt::QoS;
use mqtt::packet::ConnackCode;
use mqtt::server::Event;
use serde_json::json;

use crate::fake_hub::{FakeHub, Peer};

const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

fn options(hub: &FakeHub, identity: &str) -> Options {
    Options::new(
        "hub.example",
        hub.dial(),
        hub.client_tls(),
        identity.parse().unwrap(),
        Arc::new(KeySigner::from_base64(KEY).unwrap()),
    )
}

fn start(options: Options) -> (DeviceClient, Events) {
    DeviceClient::start(options, Clock::system())
}

async fn expect_connected(events: &mut Events) {
    match events.next().await {
        Some(ClientEvent::Connected { .. }) => {}
        other => panic!("not connected but {other:?}"),
    }
}

async fn send(client: &DeviceClient, text: &str) -> SendHandle {
    client.send(Message::from_body(text.to_owned())).await.unwrap()
}

fn body(publish: &mqtt::packet::Publish) -> String {
    String::from_utf8(publish.payload.to_vec()).unwrap()
}

/// Yields until somebody sleeps on a manual clock.
async fn until_asleep(clock: &Clock) {
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn asks_as_the_identity_with_a_token_for_the_hub() {
    let hub = FakeHub::start();
    let model_id = Some("dtmi:x;1".into());
    let (_client, mut events) = start(Options { model_id, ..options(&hub, "d#1") });
    let (mut peer, connect) = hub.asked().await;
    assert_eq!(connect.client_id, "d#1");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        connect.user_name.as_deref(),
        Some(&*format!(
            "hub.example/d#1/?api-version=2021-04-12&DeviceClientType=farshore%2F{version}&model-id=dtmi%3Ax%3B1"
        ))
    );
    assert!(!connect.clean_session);
    assert_eq!(connect.keep_alive_s, 60);
    let token = std::str::from_utf8(connect.password.as_deref().unwrap()).unwrap().to_owned();
    let token = SasToken::parse(&token).unwrap();
    assert_eq!(token.resource_raw(), "hub.example%2Fdevices%2Fd%231");
    assert_eq!(token.key_name(), None);
    peer.accept(false).await;
    expect_connected(&mut events).await;
}

#[tokio::test]
async fn an_edge_hub_speaks_for_another_identity() {
    let hub = FakeHub::start();
    let chain = "leaf;edge".parse().unwrap();
    let (_client, _events) = start(options(&hub, "leaf").on_behalf(chain));
    let (_peer, connect) = hub.asked().await;
    assert_eq!(connect.client_id, "leaf");
    assert!(connect.user_name.unwrap().ends_with("&auth-chain=leaf%3Bedge"));
    let token = SasToken::parse(std::str::from_utf8(&connect.password.unwrap()).unwrap()).unwrap();
    assert_eq!(token.resource_raw(), "hub.example%2Fdevices%2Fedge%2Fmodules%2F%24edgeHub");
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_in_order() {
    let hub = FakeHub::start();
    let (client, mut events) = start(options(&hub, "edge/m"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let mut handles = Vec::new();
    for number in 0..10 {
        handles.push(send(&client, &number.to_string()).await);
    }
    for number in 0..10 {
        let publish = peer.publish().await;
        assert_eq!(body(&publish), number.to_string());
        assert_eq!(publish.topic, "devices/edge/modules/m/messages/events/");
        if number < 3 {
            peer.puback(&publish).await;
        }
    }
    for handle in handles.drain(..3) {
        handle.await.unwrap();
    }
    // A message taken while there is no connection follows those that were under way.
    drop(peer);
    match events.next().await {
        Some(ClientEvent::Disconnected { reason, permanent: false }) => {
            assert!(reason.contains("localhost"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    handles.push(send(&client, "10").await);
    let mut peer = hub.connected(true).await;
    expect_connected(&mut events).await;
    for number in 3..=10 {
        let publish = peer.publish().await;
        assert_eq!(body(&publish), number.to_string());
        peer.puback(&publish).await;
    }
    for handle in handles {
        handle.await.unwrap();
    }
}

/// Thousands of messages through a hub that hangs up now and then.
#[tokio::test]
async fn a_torrent_over_a_bad_line_arrives_whole_and_in_order() {
    const COUNT: usize = 3000;
    const CUT_AFTER: usize = 800;
    let hub = FakeHub::start();
    let (client, events) = start(options(&hub, "d"));
    drop(events);
    let sender = async {
        let mut handles = Vec::new();
        for number in 0..COUNT {
            handles.push(send(&client, &number.to_string()).await);
        }
        for handle in handles {
            handle.await.unwrap();
        }
    };
    let receiver = async {
        let mut expected = 0;
        while expected < COUNT {
            let mut peer = hub.connected(true).await;
            let mut first = true;
            for _ in 0..CUT_AFTER {
                if expected == COUNT {
                    break;
                }
                let publish = peer.publish().await;
                let number: usize = body(&publish).parse().unwrap();
                // What was received but not acknowledged comes again, from its first on.
                assert!(if first { number <= expected } else { number == expected }, "{number}");
                first = false;
                expected = number + 1;
                peer.puback(&publish).await;
            }
            if expected == COUNT {
                // Stays until everything is acknowledged.
                return peer;
            }
        }
        unreachable!("the loop returns")
    };
    let ((), _peer) = tokio::join!(sender, receiver);
}

#[tokio::test]
async fn queues_are_bounded_and_senders_wait() {
    let hub = FakeHub::start();
    let queues = Queues { in_flight_max: 2, messages_max: 1, bytes_max: 1 << 20, events_max: 4 };
    let (client, mut events) = start(Options { queues, ..options(&hub, "d") });
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let first = send(&client, "0").await;
    let publish = peer.publish().await;
    let _second = send(&client, "1").await;
    peer.publish().await;
    // Two in flight: the next one waits in the queue, the one after it outside.
    let _third = send(&client, "2").await;
    let mut fourth = boxed(client.send(Message::from_body("3")));
    assert!(is_pending(&mut fourth).await);
    peer.puback(&publish).await;
    first.await.unwrap();
    assert_eq!(body(&peer.publish().await), "2");
    let _fourth = fourth.await.unwrap();
}

#[tokio::test]
async fn bytes_are_bounded_too_and_a_large_message_still_passes() {
    let hub = FakeHub::start();
    let queues = Queues { bytes_max: 1000, ..Queues::default() };
    let (client, mut events) = start(Options { queues, ..options(&hub, "d") });
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let large = send(&client, &"x".repeat(5000)).await;
    let mut next = boxed(client.send(Message::from_body("next")));
    assert!(is_pending(&mut next).await);
    let publish = peer.publish().await;
    peer.puback(&publish).await;
    large.await.unwrap();
    let _next = next.await.unwrap();
    assert_eq!(body(&peer.publish().await), "next");
    let error = client.send(Message::from_body(vec![0; 262_145])).await.unwrap_err();
    assert_eq!(error, SendError::TooLarge { bytes: 262_145, max: 262_144 });
}

type Pinned<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn boxed<'a, T>(work: impl Future<Output = T> + Send + 'a) -> Pinned<'a, T> {
    Box::pin(work)
}

/// Whether a future does not end, though everybody else had their turns.
async fn is_pending<T>(work: &mut Pinned<'_, T>) -> bool {
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = work.as_mut() => return false,
            () = tokio::task::yield_now() => {}
        }
    }
    true
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_nothing_is_lost() {
    let hub = FakeHub::start();
    let clock = Clock::manual(Clock::system().wall());
    let (client, mut events) = DeviceClient::start(options(&hub, "d"), clock.clone());
    let (mut peer, first) = hub.asked().await;
    peer.accept(false).await;
    expect_connected(&mut events).await;
    let acknowledged = send(&client, "a").await;
    let late = send(&client, "b").await;
    let publish = peer.publish().await;
    peer.publish().await;
    // 85 % of an hour are 51 minutes.
    clock.advance(Duration::from_secs(51 * 60));
    peer.puback(&publish).await;
    acknowledged.await.unwrap();
    // What is taken now waits for the new connection.
    let after = send(&client, "c").await;
    // The hub owes an answer for "b": it gets ten seconds.
    clock.advance(Duration::from_secs(10));
    loop {
        match peer.next().await {
            Some(Event::Disconnected) => break,
            Some(Event::Pinged) => {}
            other => panic!("{other:?}"),
        }
    }
    let (mut peer, second) = hub.asked().await;
    peer.accept(true).await;
    let expiry = |connect: &mqtt::packet::Connect| {
        let text = std::str::from_utf8(connect.password.as_deref().unwrap()).unwrap();
        SasToken::parse(text).unwrap().expires_at().as_second()
    };
    assert_eq!(expiry(&second) - expiry(&first), 51 * 60 + 10);
    for (handle, text) in [(late, "b"), (after, "c")] {
        let publish = peer.publish().await;
        assert_eq!(body(&publish), text);
        peer.puback(&publish).await;
        handle.await.unwrap();
    }
    // No loss is told, only the new connection.
    expect_connected(&mut events).await;
}

#[tokio::test]
async fn a_renewal_with_nothing_under_way_is_at_once() {
    let hub = FakeHub::start();
    let clock = Clock::manual(Clock::system().wall());
    let (_client, mut events) = DeviceClient::start(options(&hub, "d"), clock.clone());
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    until_asleep(&clock).await;
    clock.advance(Duration::from_secs(51 * 60));
    loop {
        match peer.next().await {
            Some(Event::Disconnected) => break,
            Some(Event::Pinged) => {}
            other => panic!("{other:?}"),
        }
    }
    hub.connected(true).await;
    expect_connected(&mut events).await;
}

#[tokio::test]
async fn a_silent_hub_is_left() {
    let hub = FakeHub::start();
    let clock = Clock::manual(Clock::system().wall());
    let (_client, mut events) = DeviceClient::start(options(&hub, "d"), clock.clone());
    // The peer is never polled again, so it answers no ping.
    let _peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    until_asleep(&clock).await;
    clock.advance(Duration::from_secs(31));
    let told = tokio::select! {
        event = events.next() => event,
        // The ping's deadline begins when the ping was sent.
        () = async { loop { clock.advance(Duration::from_secs(1)); tokio::task::yield_now().await; } } => None,
    };
    match told {
        Some(ClientEvent::Disconnected { reason, permanent: false }) => {
            assert!(reason.contains("fell silent"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn subscriptions_are_renewed_only_when_the_session_is_lost() {
    let hub = FakeHub::start();
    let subscriptions = vec![Subscription::Methods, Subscription::ModuleInputs];
    let (client, mut events) = start(Options { subscriptions, ..options(&hub, "e/m") });
    let mut peer = hub.connected(false).await;
    let both = ["$iothub/methods/POST/#", "devices/e/modules/m/inputs/#"];
    assert_eq!(peer.subscription().await, both);
    expect_connected(&mut events).await;
    client.subscribe(Subscription::DesiredPatches);
    let desired = "$iothub/twin/PATCH/properties/desired/#";
    assert_eq!(peer.subscription().await, [desired]);
    // The answer to a message tells that the SUBACK went through.
    let handle = send(&client, "x").await;
    let publish = peer.publish().await;
    peer.puback(&publish).await;
    handle.await.unwrap();
    drop(peer);
    let mut peer = hub.connected(true).await;
    let handle = send(&client, "no subscription before this").await;
    let publish = match peer.next().await {
        Some(Event::Publish(publish)) => publish,
        other => panic!("{other:?}"),
    };
    peer.puback(&publish).await;
    handle.await.unwrap();
    drop(peer);
    let mut peer = hub.connected(false).await;
    assert_eq!(peer.subscription().await, [both[0], desired, both[1]]);
}

#[tokio::test]
async fn a_twin_is_read_and_reported() {
    let hub = FakeHub::start();
    let (client, mut events) = start(options(&hub, "d"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let hub_side = async {
        assert_eq!(peer.subscription().await, ["$iothub/twin/res/#"]);
        peer.answer_twin(r#"{"desired":{"a":1,"$version":3},"reported":{"$version":7}}"#).await;
        assert_eq!(peer.take_report(8).await, json!({ "x": null }));
        for (status, body) in
            [("400", r#"{"errorCode":400004,"message":"bad key","trackingId":"t"}"#), ("503", "")]
        {
            let request = peer.publish().await;
            let topic = format!("$iothub/twin/res/{status}/?$rid={}", Peer::rid(&request));
            peer.deliver(&topic, body, QoS::AtMostOnce).await;
        }
        peer.answer_twin("[]").await;
        // The last one gets no answer but the end of the connection.
        peer.publish().await;
        drop(peer);
    };
    let client_side = async {
        let twin = client.twin_get().await.unwrap();
        assert_eq!(twin.desired, json!({ "a": 1 }).as_object().unwrap().clone());
        assert_eq!((twin.desired_version, twin.reported_version), (3, 7));
        let patch = json!({ "x": null }).as_object().unwrap().clone();
        assert_eq!(client.report(&patch).await, Ok(Some(8)));
        assert_eq!(
            client.report(&patch).await,
            Err(TwinError::Refused { status: 400, code: Some(400_004), message: "bad key".into() })
        );
        assert!(matches!(
            client.report(&patch).await,
            Err(TwinError::Refused { status: 503, code: None, .. })
        ));
        assert!(matches!(client.twin_get().await, Err(TwinError::Malformed(_))));
        assert_eq!(client.twin_get().await, Err(TwinError::Disconnected));
    };
    tokio::join!(hub_side, client_side);
}

#[tokio::test]
async fn a_twin_request_ends_with_its_time() {
    let hub = FakeHub::start();
    let clock = Clock::manual(Clock::system().wall());
    let (client, mut events) = DeviceClient::start(options(&hub, "d"), clock.clone());
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let limit = Duration::from_secs(20);
    let asked = async {
        let request = peer.publish().await;
        clock.advance(limit);
        (request, peer)
    };
    let (answer, (request, mut peer)) = tokio::join!(client.twin_get(), asked);
    assert_eq!(answer, Err(TwinError::Timeout { limit }));
    // An answer that comes too late hurts nobody.
    let topic = format!("$iothub/twin/res/200/?$rid={}", Peer::rid(&request));
    peer.deliver(&topic, "{}", QoS::AtMostOnce).await;
    let again = async {
        peer.answer_twin(r#"{"desired":{"$version":1},"reported":{"$version":1}}"#).await;
    };
    let (answer, ()) = tokio::join!(client.twin_get(), again);
    assert_eq!(answer.unwrap().desired_version, 1);
}

#[tokio::test]
async fn methods_are_answered_with_their_request_id() {
    let hub = FakeHub::start();
    let (_client, mut events) = start(options(&hub, "d"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let mut call = async |name: &str, rid: &str| {
        let topic = format!("$iothub/methods/POST/{name}/?$rid={rid}");
        peer.deliver(&topic, r#"{"in":1}"#, QoS::AtMostOnce).await;
        let call = match events.next().await {
            Some(ClientEvent::Method(call)) => call,
            other => panic!("{other:?}"),
        };
        assert_eq!(call.name, name);
        assert_eq!(&call.payload[..], br#"{"in":1}"#);
        match rid {
            "1f" => call.reply(207, r#"{"out":2}"#),
            "20" => call.not_implemented(),
            _ => drop(call),
        }
        let answer = peer.publish().await;
        (answer.topic.to_string(), body(&answer))
    };
    let (topic, payload) = call("do", "1f").await;
    assert_eq!(topic, "$iothub/methods/res/207/?$rid=1f");
    assert_eq!(payload, r#"{"out":2}"#);
    let (topic, _) = call("other", "20").await;
    assert_eq!(topic, "$iothub/methods/res/501/?$rid=20");
    let (topic, payload) = call("forgotten", "21").await;
    assert_eq!(topic, "$iothub/methods/res/500/?$rid=21");
    assert!(payload.contains("without an answer"));
}

#[tokio::test]
async fn messages_are_acknowledged_only_when_they_are_completed() {
    let hub = FakeHub::start();
    let (client, mut events) = start(options(&hub, "d"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let topic = "devices/d/messages/devicebound/%24.mid=m1&%24.to=%2Fdevices%2Fd&p%201=v%2F1";
    let id = peer.deliver(topic, "body", QoS::AtLeastOnce).await.unwrap();
    let Some(ClientEvent::CloudToDevice(delivery)) = events.next().await else { panic!() };
    assert_eq!(delivery.message.system(SystemProperty::MessageId), Some("m1"));
    assert_eq!(delivery.message.property("p 1"), Some("v/1"));
    assert_eq!(&delivery.message.body[..], b"body");
    // A message of our own gets through before the acknowledgement does.
    let _handle = send(&client, "first").await;
    assert_eq!(body(&peer.publish().await), "first");
    delivery.complete();
    assert_eq!(peer.acknowledged().await, id);

    // A handle of a connection that is gone acknowledges nothing on the next one.
    peer.deliver(topic, "again", QoS::AtLeastOnce).await;
    let Some(ClientEvent::CloudToDevice(old)) = events.next().await else { panic!() };
    drop(peer);
    let Some(ClientEvent::Disconnected { .. }) = events.next().await else { panic!() };
    let mut peer = hub.connected(true).await;
    expect_connected(&mut events).await;
    let publish = peer.publish().await;
    peer.puback(&publish).await;
    // One more before it, so that it has the packet id that the old one had.
    let first = peer.deliver(topic, "other", QoS::AtLeastOnce).await.unwrap();
    let Some(ClientEvent::CloudToDevice(other)) = events.next().await else { panic!() };
    other.complete();
    assert_eq!(peer.acknowledged().await, first);
    let id = peer.deliver(topic, "again", QoS::AtLeastOnce).await.unwrap();
    let Some(ClientEvent::CloudToDevice(new)) = events.next().await else { panic!() };
    old.complete();
    let _handle = send(&client, "between").await;
    assert_eq!(body(&peer.publish().await), "between");
    new.complete();
    assert_eq!(peer.acknowledged().await, id);
}

#[tokio::test]
async fn inputs_and_desired_patches_arrive_as_what_they_are() {
    let hub = FakeHub::start();
    let (_client, mut events) = start(options(&hub, "e/m"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let topic = "devices/e/modules/m/inputs/control/%24.cdid=e&%24.cmid=other&k=v";
    let id = peer.deliver(topic, "{}", QoS::AtLeastOnce).await.unwrap();
    let Some(ClientEvent::Input { input, delivery }) = events.next().await else { panic!() };
    assert_eq!(input, "control");
    assert_eq!(delivery.message.system(SystemProperty::ConnectionModuleId), Some("other"));
    let (message, settle) = delivery.split();
    assert_eq!(message.property("k"), Some("v"));
    settle.complete();
    assert_eq!(peer.acknowledged().await, id);
    let topic = "$iothub/twin/PATCH/properties/desired/?$version=4";
    peer.deliver(topic, r#"{"a":null,"$version":4}"#, QoS::AtMostOnce).await;
    match events.next().await {
        Some(ClientEvent::Desired { patch, version: 4 }) => {
            assert_eq!(serde_json::Value::Object(patch), json!({ "a": null }));
        }
        other => panic!("{other:?}"),
    }
    // What nobody can understand is acknowledged, so that it does not come for ever.
    let id = peer.deliver("no/topic/of/ours", "x", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(peer.acknowledged().await, id);
    let id = peer.deliver(topic, "no json", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(peer.acknowledged().await, id);
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let hub = FakeHub::start();
    let queues = Queues { events_max: 2, ..Queues::default() };
    let (client, mut events) = start(Options { queues, ..options(&hub, "d") });
    let mut peer = hub.connected(false).await;
    const COUNT: u64 = 500;
    for version in 1..=COUNT {
        let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
        let patch = format!(r#"{{"$version":{version}}}"#);
        peer.deliver(&topic, &patch, QoS::AtMostOnce).await;
    }
    expect_connected(&mut events).await;
    for expected in 1..=COUNT {
        match events.next().await {
            Some(ClientEvent::Desired { version, .. }) => assert_eq!(version, expected),
            other => panic!("{other:?}"),
        }
    }
    // And the line is still good in the other direction.
    let handle = send(&client, "x").await;
    let publish = peer.publish().await;
    peer.puback(&publish).await;
    handle.await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_told_and_tried_again() {
    let hub = FakeHub::start();
    let clock = Clock::manual(Clock::system().wall());
    let (client, mut events) = DeviceClient::start(options(&hub, "d"), clock.clone());
    let (peer, _) = hub.asked().await;
    peer.refuse(ConnackCode::NotAuthorized).await;
    match events.next().await {
        Some(ClientEvent::Disconnected { reason, permanent: true }) => {
            assert!(reason.contains("refused d (CONNACK 5)"), "{reason}");
            assert!(reason.contains("key"), "the next step: {reason}");
        }
        other => panic!("{other:?}"),
    }
    let refused = client.connected().await.unwrap_err();
    assert!(refused.contains("CONNACK 5"));
    assert!(matches!(
        *client.state().borrow(),
        ConnectionState::Refused { refusal: Refusal::Connack(ConnackCode::NotAuthorized), .. }
    ));
    until_asleep(&clock).await;
    clock.advance(Duration::from_secs(30));
    let (peer, _) = hub.asked().await;
    // A busy hub is no reason for an operator to act.
    peer.refuse(ConnackCode::ServerUnavailable).await;
    match events.next().await {
        Some(ClientEvent::Disconnected { permanent: false, .. }) => {}
        other => panic!("{other:?}"),
    }
    until_asleep(&clock).await;
    clock.advance(Duration::from_secs(30));
    let _peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    client.connected().await.unwrap();
}

#[tokio::test]
async fn failures_to_reach_a_hub_name_it_and_the_next_step() {
    let hub = FakeHub::start();
    let first_reason = async |options: Options| {
        let (_client, mut events) = start(options);
        match events.next().await {
            Some(ClientEvent::Disconnected { reason, permanent: false }) => reason,
            other => panic!("{other:?}"),
        }
    };
    let port = hub.dial().port;

    let strange = FakeHub::start();
    let untrusting = Options { tls: strange.client_tls(), ..options(&hub, "d") };
    let (reason, ()) = tokio::join!(first_reason(untrusting), hub.asked_quietly());
    assert!(reason.contains(&format!("certificate of localhost:{port}")), "{reason}");
    assert!(reason.contains("not trusted; give the CA"), "{reason}");

    let other_name = Dial { host: "hub.example".into(), ..strange.dial() };
    let misnamed = Options { dial: other_name, ..options(&strange, "d") };
    let (reason, ()) = tokio::join!(first_reason(misnamed), strange.asked_quietly());
    assert!(reason.contains("is for another name"), "{reason}");

    let tls = strange.client_tls();
    drop(strange);
    // Port 1 of a loopback address that nobody listens on.
    let dial = Dial::new("localhost", 1).at(Some("127.9.9.9".into()));
    let nobody = Options::new(
        "hub.example",
        dial,
        tls,
        "d".parse().unwrap(),
        Arc::new(KeySigner::from_base64(KEY).unwrap()),
    );
    let reason = first_reason(nobody).await;
    assert!(reason.contains("cannot reach localhost:1 (at 127.9.9.9)"), "{reason}");
    assert!(reason.contains("check that the server runs"), "{reason}");
}

#[tokio::test]
async fn closing_says_goodbye_and_fails_what_waits() {
    let hub = FakeHub::start();
    let (client, mut events) = start(options(&hub, "d"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let handle = send(&client, "x").await;
    peer.publish().await;
    let hub_side = async {
        assert!(matches!(peer.next().await, Some(Event::Disconnected)));
        assert!(peer.next().await.is_none());
    };
    tokio::join!(client.close(), hub_side);
    assert_eq!(handle.await, Err(SendError::Closed));
    assert!(events.next().await.is_none());
    assert_eq!(*client.state().borrow(), ConnectionState::Closed);
    assert_eq!(client.twin_get().await, Err(TwinError::Closed));
    assert!(client.send(Message::default()).await.is_err());
}

#[tokio::test]
async fn the_last_clone_dropped_closes_the_connection() {
    let hub = FakeHub::start();
    let (client, mut events) = start(options(&hub, "d"));
    let mut peer = hub.connected(false).await;
    expect_connected(&mut events).await;
    let clone = client.clone();
    drop(client);
    let handle = send(&clone, "x").await;
    let publish = peer.publish().await;
    peer.puback(&publish).await;
    handle.await.unwrap();
    drop(clone);
    assert!(matches!(peer.next().await, Some(Event::Disconnected)));
}

#[tokio::test]
async fn closing_needs_no_connection() {
    let hub = FakeHub::start();
    let (client, _events) = start(options(&hub, "d"));
    hub.drop_one().await;
    client.close().await;
    assert_eq!(*client.state().borrow(), ConnectionState::Closed);
}

#[test]
fn trust_cannot_be_left_out() {
    assert!(ClientTls::new(&["no certificate"]).is_err());
}
