//! A whole edge hub between real clients and a hub that can be switched off.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use client::device::{ClientEvent, Subscription};
use gateway::backend::Settlement;
use gateway::session::{Delivery, Downlink};
use model::message::Message;
use model::twin::Object;
use serde_json::{Value, json};

use support::{Machine, bodies, manifest, output, send_all, within, without_repeats};

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("not an object") };
    object
}

fn everything_upstream() -> Value {
    json!({ "all": "FROM /messages/* INTO $upstream" })
}

#[tokio::test]
async fn telemetry_goes_upstream_in_the_senders_name() {
    let machine = Machine::new(&["edge1/sensor", "leaf"], everything_upstream()).await;
    let edge = machine.start().await;
    let (sensor, _sensor_events) = machine.join(&edge, "edge1/sensor", &[]).await;
    let (leaf, _leaf_events) = machine.join(&edge, "leaf", &[]).await;
    send_all(&sensor, bodies("s", 0..20)).await;
    send_all(&leaf, bodies("l", 0..20)).await;
    assert_eq!(machine.hub.until_received("edge1/sensor", "s 19").await, bodies("s", 0..20));
    assert_eq!(machine.hub.until_received("leaf", "l 19").await, bodies("l", 0..20));
    // The output's name stays at the edge.
    machine.hub.with(|state| assert!(state.telemetry.iter().all(|(_, m)| m.system.is_empty())));
    machine.hub.until_reported("edge1/$edgeHub", "/lastDesiredStatus/code", json!(200)).await;
    machine
        .hub
        .until_reported("edge1/$edgeHub", "/clients/edge1~1sensor/status", json!("Connected"))
        .await;
    sensor.close().await;
    machine
        .hub
        .until_reported("edge1/$edgeHub", "/clients/edge1~1sensor/status", json!("Disconnected"))
        .await;
    edge.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_an_outage_and_a_kill_in_order() {
    let machine = Machine::new(&["edge1/a", "edge1/b"], everything_upstream()).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, _b_events) = machine.join(&edge, "edge1/b", &[]).await;
    send_all(&a, bodies("a", 0..50)).await;
    machine.hub.until_received("edge1/a", "a 49").await;
    machine.hub.stop().await;
    send_all(&a, bodies("a", 50..300)).await;
    send_all(&b, bodies("b", 0..300)).await;
    drop((a, b));
    edge.kill().await;
    // The hub is still away: everybody gets in by what is stored here.
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("a", 300..350)).await;
    assert_eq!(machine.hub.received("edge1/b"), Vec::<String>::new());
    machine.hub.start().await;
    let received = machine.hub.until_received("edge1/a", "a 349").await;
    assert_eq!(without_repeats(received), bodies("a", 0..350));
    let received = machine.hub.until_received("edge1/b", "b 299").await;
    assert_eq!(without_repeats(received), bodies("b", 0..300));
    edge.stop().await;
    // Nothing is left to be sent again.
    let count = machine.hub.with(|state| state.telemetry.len());
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("end", 0..1)).await;
    machine.hub.until_received("edge1/a", "end 0").await;
    assert_eq!(machine.hub.with(|state| state.telemetry.len()), count + 1);
    edge.stop().await;
}

#[tokio::test]
async fn only_the_hubs_acknowledgement_lets_a_message_go() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    machine.hub.until_connected("edge1/a").await;
    machine.hub.ignore("edge1/a");
    send_all(&a, bodies("a", 0..50)).await;
    // All of them are under way; what the queue forgets now is forgotten on the disk, too, when the
    // journal has stored it, which it does each second.
    machine.clock.sleep(std::time::Duration::from_millis(2500)).await;
    edge.kill().await;
    machine.hub.stop().await;
    machine.hub.listen_to_all();
    machine.hub.start().await;
    let edge = machine.start().await;
    let received = machine.hub.until_received("edge1/a", "a 49").await;
    assert_eq!(without_repeats(received), bodies("a", 0..50));
    edge.stop().await;
}

#[tokio::test]
async fn a_refused_sender_does_not_block_the_others_and_loses_nothing() {
    let machine = Machine::new(&["edge1/a", "edge1/b"], everything_upstream()).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, _b_events) = machine.join(&edge, "edge1/b", &[]).await;
    send_all(&b, bodies("b", 0..5)).await;
    machine.hub.until_received("edge1/b", "b 4").await;
    machine.hub.refuse("edge1/b");
    for round in 0..3 {
        send_all(&b, bodies("b", 5 + round * 50..55 + round * 50)).await;
        send_all(&a, bodies("a", round * 50..50 + round * 50)).await;
    }
    let received = machine.hub.until_received("edge1/a", "a 149").await;
    assert_eq!(without_repeats(received), bodies("a", 0..150));
    let parked = "/storeAndForward/parked/edge1~1b/messages";
    machine.hub.until_reported("edge1/$edgeHub", parked, json!(150)).await;
    // Parked messages survive too.
    drop(b);
    edge.kill().await;
    let edge = machine.start().await;
    let (b, _b_events) = machine.join(&edge, "edge1/b", &[]).await;
    send_all(&b, bodies("b", 155..160)).await;
    machine.hub.until_reported("edge1/$edgeHub", parked, json!(155)).await;
    machine.hub.allow("edge1/b");
    // The line is made anew when the hub comes back, without waiting for its back-off.
    machine.hub.stop().await;
    machine.hub.ignore("edge1/b");
    machine.hub.start().await;
    machine.hub.until_connected("edge1/b").await;
    // What comes now must not overtake what waits, though the line is open.
    send_all(&b, bodies("b", 160..170)).await;
    machine.hub.until_reported("edge1/$edgeHub", parked, json!(165)).await;
    machine.hub.listen_to_all();
    let received = machine.hub.until_received("edge1/b", "b 169").await;
    assert_eq!(without_repeats(received), bodies("b", 0..170));
    let nobody = "/storeAndForward/parked";
    machine.hub.until_reported("edge1/$edgeHub", nobody, json!({})).await;
    edge.stop().await;
}

#[tokio::test]
async fn an_input_gets_its_messages_one_by_one_when_its_module_comes() {
    let routes = json!({
        "b": "FROM /messages/modules/a/outputs/out INTO BrokeredEndpoint(\"/modules/b/inputs/in\")"
    });
    let machine = Machine::new(&["edge1/a", "edge1/b"], routes).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("x", 0..10)).await;
    edge.kill().await;
    drop(a);
    let edge = machine.start().await;
    let (b, mut events) = machine.join(&edge, "edge1/b", &[Subscription::ModuleInputs]).await;
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(complete_input(&mut events).await);
    }
    // It goes away with the fourth unsettled, which comes again.
    let fourth = next_input(&mut events).await;
    drop(fourth);
    b.close().await;
    let (_b, mut events) = machine.join(&edge, "edge1/b", &[Subscription::ModuleInputs]).await;
    for _ in 3..10 {
        received.push(complete_input(&mut events).await);
    }
    assert_eq!(received, bodies("x", 0..10));
    assert!(machine.hub.received("edge1/a").is_empty(), "no route leads upstream");
    edge.stop().await;
}

async fn next_input(events: &mut client::Events) -> client::device::Delivery {
    let next = async {
        loop {
            match events.next().await.unwrap() {
                ClientEvent::Input { input, delivery } => {
                    assert_eq!(input, "in");
                    return delivery;
                }
                ClientEvent::Connected { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    within("an input message", next).await
}

async fn complete_input(events: &mut client::Events) -> String {
    use model::message::SystemProperty;
    let delivery = next_input(events).await;
    let message = &delivery.message;
    assert_eq!(message.system(SystemProperty::ConnectionDeviceId), Some("edge1"));
    assert_eq!(message.system(SystemProperty::ConnectionModuleId), Some("a"));
    assert_eq!(message.system(SystemProperty::OutputName), None);
    let body = String::from_utf8_lossy(&message.body).into_owned();
    delivery.complete();
    body
}

#[tokio::test]
async fn each_identity_has_its_own_twin_online_and_offline() {
    let machine = Machine::new(&["edge1/a", "edge1/b"], everything_upstream()).await;
    machine.hub.set_desired("edge1/a", json!({ "color": "red" }));
    machine.hub.set_desired("edge1/b", json!({ "color": "blue" }));
    let edge = machine.start().await;
    let wants = [Subscription::DesiredPatches];
    let (a, mut a_events) = machine.join(&edge, "edge1/a", &wants).await;
    let (b, mut b_events) = machine.join(&edge, "edge1/b", &wants).await;
    let twin = a.twin_get().await.unwrap();
    assert_eq!((Value::Object(twin.desired), twin.desired_version), (json!({ "color": "red" }), 2));
    b.twin_get().await.unwrap();
    assert_eq!(a.report(&object(json!({ "mine": 1 }))).await, Ok(Some(2)));
    assert_eq!(Value::Object(b.twin_get().await.unwrap().reported), json!({}));
    machine.hub.until_listens("edge1/a", |subscriptions| subscriptions.desired).await;
    machine.hub.until_listens("edge1/b", |subscriptions| subscriptions.desired).await;
    machine.hub.set_desired("edge1/a", json!({ "color": "green" }));
    machine.hub.set_desired("edge1/b", json!({ "color": "blue", "b": 1 }));
    assert_eq!(next_desired(&mut a_events).await, (json!({ "color": "green" }), 3));
    assert_eq!(next_desired(&mut b_events).await.1, 3);

    machine.hub.stop().await;
    // Taken offline, in parts that join and one that does not.
    for patch in [
        json!({ "n": { "x": 1 } }),
        json!({ "n": { "y": 2 } }),
        json!({ "n": 5 }),
        json!({ "n": { "z": 3 } }),
    ] {
        report_offline(&a, patch).await;
    }
    let twin = a.twin_get().await.unwrap();
    assert_eq!(Value::Object(twin.reported), json!({ "mine": 1, "n": { "z": 3 } }));
    assert_eq!(Value::Object(twin.desired), json!({ "color": "green" }));
    let refused = a.report(&object(json!({ "bad.key": 1 }))).await.unwrap_err();
    assert!(refused.to_string().contains("bad.key"), "{refused}");
    machine.hub.set_desired("edge1/a", json!({ "size": 7 }));
    drop((a, b));
    edge.kill().await;

    // A restart offline keeps it all.
    let edge = machine.start().await;
    let (a, mut a_events) = machine.join(&edge, "edge1/a", &wants).await;
    let twin = a.twin_get().await.unwrap();
    assert_eq!(Value::Object(twin.reported), json!({ "mine": 1, "n": { "z": 3 } }));
    assert_eq!(Value::Object(twin.desired), json!({ "color": "green" }));
    machine.hub.start().await;
    machine.hub.until_reported("edge1/a", "/n", json!({ "z": 3 })).await;
    assert_eq!(machine.hub.reported("edge1/b"), json!({}));
    assert_eq!(next_desired(&mut a_events).await, (json!({ "size": 7, "color": null }), 4));
    edge.stop().await;
}

/// The edge hub answers without a version then: only the hub will know it.
async fn report_offline(client: &client::DeviceClient, patch: Value) {
    assert_eq!(client.report(&object(patch)).await, Ok(None));
}

async fn next_desired(events: &mut client::Events) -> (Value, u64) {
    let next = async {
        loop {
            match events.next().await.unwrap() {
                ClientEvent::Desired { patch, version } => return (Value::Object(patch), version),
                ClientEvent::Connected { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    within("desired properties", next).await
}

#[tokio::test]
async fn bad_routes_are_reported_and_the_old_ones_stay() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start().await;
    let status = "/lastDesiredStatus/code";
    machine.hub.until_reported("edge1/$edgeHub", status, json!(200)).await;
    machine.hub.set_desired(
        "edge1/$edgeHub",
        manifest(json!({ "broken": "FROM /messages/* INTO nowhere" })),
    );
    machine.hub.until_reported("edge1/$edgeHub", status, json!(400)).await;
    let reported = machine.hub.reported("edge1/$edgeHub");
    let description = reported["lastDesiredStatus"]["description"].as_str().unwrap();
    assert!(
        description.starts_with("Error while parsing desired properties - routes.broken"),
        "{description}"
    );
    assert_eq!(reported["lastDesiredVersion"], json!(3));
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("a", 0..3)).await;
    machine.hub.until_received("edge1/a", "a 2").await;
    // After a restart offline, too.
    drop(a);
    edge.kill().await;
    machine.hub.stop().await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("a", 3..6)).await;
    machine.hub.start().await;
    machine.hub.until_received("edge1/a", "a 5").await;
    machine.hub.set_desired("edge1/$edgeHub", manifest(json!({})));
    machine.hub.until_reported("edge1/$edgeHub", status, json!(200)).await;
    // Without a route a message is taken and dropped.
    send_all(&a, bodies("a", 6..7)).await;
    let metrics = edge.metrics.render();
    assert!(edge.counts("messages_dropped_total", "reason=\"no_route\"") == 1, "{metrics}");
    edge.stop().await;
}

#[tokio::test]
async fn methods_and_cloud_to_device_messages_reach_their_client() {
    let machine = Machine::new(&["edge1/a", "leaf"], everything_upstream()).await;
    let edge = machine.start().await;
    let (_a, mut a_events) = machine.join(&edge, "edge1/a", &[Subscription::Methods]).await;
    machine.hub.until_listens("edge1/a", |subscriptions| subscriptions.methods).await;
    let call = machine.hub.call("edge1/a", "reset", "{\"x\":1}");
    let method = within("a method", async {
        loop {
            match a_events.next().await.unwrap() {
                ClientEvent::Method(call) => return call,
                ClientEvent::Connected { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    })
    .await;
    assert_eq!((method.name.as_str(), &method.payload[..]), ("reset", &b"{\"x\":1}"[..]));
    method.reply(207, "\"done\"");
    machine.hub.until("the method's answer", |state| !state.answers.is_empty()).await;
    machine.hub.with(|state| {
        let (answered, response) = &state.answers[0];
        assert_eq!(
            (*answered, response.status, &response.payload[..]),
            (call, 207, &b"\"done\""[..])
        );
    });

    let (_leaf, mut leaf_events) =
        machine.join(&edge, "leaf", &[Subscription::CloudToDevice]).await;
    machine.hub.until_listens("leaf", |subscriptions| subscriptions.cloud_to_device).await;
    let lock = host::entropy::uuid_v4();
    let message = Message::from_body("hello");
    machine.hub.send(
        "leaf",
        Downlink::CloudToDevice(Delivery {
            lock,
            message,
            sequence: 1,
            enqueued: jiff::Timestamp::UNIX_EPOCH,
            delivery_count: 0,
        }),
    );
    let delivery = within("a cloud-to-device message", async {
        loop {
            match leaf_events.next().await.unwrap() {
                ClientEvent::CloudToDevice(delivery) => return delivery,
                ClientEvent::Connected { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    })
    .await;
    assert_eq!(&delivery.message.body[..], b"hello");
    assert!(machine.hub.with(|state| state.settled.is_empty()), "the leaf has not taken it yet");
    delivery.complete();
    machine
        .hub
        .until("the settlement", |state| state.settled == [(lock, Settlement::Complete)])
        .await;
    edge.stop().await;
}

#[tokio::test]
async fn who_comes_later_is_asked_for_and_strangers_stay_outside() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start().await;
    machine.hub.until_reported("edge1/$edgeHub", "/lastDesiredStatus/code", json!(200)).await;
    machine.hub.register("edge1/late");
    let (late, _late_events) = machine.join(&edge, "edge1/late", &[]).await;
    send_all(&late, bodies("late", 0..1)).await;
    machine.hub.until_received("edge1/late", "late 0").await;
    let (stranger, _events) = machine.connect(&edge, "edge1/stranger", &[]);
    let refused = within("the refusal", stranger.connected()).await.unwrap_err();
    assert!(refused.contains("CONNACK 5"), "{refused}");
    let (own, _events) = machine.connect(&edge, "edge1/$edgeHub", &[]);
    let refused = within("the refusal", own.connected()).await.unwrap_err();
    assert!(refused.contains("CONNACK 5"), "{refused}");
    edge.stop().await;
}

#[tokio::test]
async fn one_client_too_many_is_put_off() {
    let machine = Machine::new(&["edge1/a", "edge1/b"], everything_upstream()).await;
    let edge = machine.start_with(&[("MaxConnectedClients", "1")]).await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, mut events) = machine.connect(&edge, "edge1/b", &[]);
    let refused = within("the refusal", async {
        loop {
            if let ClientEvent::Disconnected { reason, permanent } = events.next().await.unwrap() {
                return (reason, permanent);
            }
        }
    })
    .await;
    assert!(refused.0.contains("CONNACK 3") && !refused.1, "{refused:?}");
    a.close().await;
    within("the place", b.connected()).await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn another_upstream_protocol_is_refused_and_reported() {
    let machine = Machine::new(&[], everything_upstream()).await;
    let settings = machine.settings(&[("UpstreamProtocol", "CarrierPigeon")]);
    let started =
        edge_hub::EdgeHub::start(settings, machine.clock.clone(), host::signals::Shutdown::new());
    let error = within("the refusal", started).await.unwrap_err().to_string();
    assert!(error.contains("\"CarrierPigeon\" is none of Amqp"), "{error}");
    let status = &machine.hub.reported("edge1/$edgeHub")["lastDesiredStatus"];
    assert_eq!(status["code"], json!(400));
    assert_eq!(status["description"], json!(error));
}

#[tokio::test]
async fn a_store_has_one_owner_and_a_shutdown_leaves_it() {
    let machine = Machine::new(&[], everything_upstream()).await;
    let edge = machine.start().await;
    let settings = machine.settings(&[]);
    let second =
        edge_hub::EdgeHub::start(settings, machine.clock.clone(), host::signals::Shutdown::new());
    let error = within("the refusal", second).await.unwrap_err();
    assert!(error.to_string().contains("is in use by another edge hub"), "{error}");
    edge.stop().await;
    machine.start().await.stop().await;
}

#[tokio::test]
async fn messages_of_two_priorities_and_two_endpoints_all_arrive() {
    let routes = json!({
        "all": "FROM /messages/* INTO $upstream",
        "alarm": { "route": "FROM /messages/modules/a/outputs/alarm INTO $upstream", "priority": 0 },
        "b": "FROM /messages/modules/a/* INTO BrokeredEndpoint(\"/modules/b/inputs/in\")"
    });
    let machine = Machine::new(&["edge1/a", "edge1/b"], routes).await;
    let edge = machine.start().await;
    machine.hub.stop().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    for number in 0..150 {
        let name = if number % 3 == 0 { "alarm" } else { "out" };
        let sent = a.send(output(&format!("{name} {number}"), name)).await.unwrap();
        within("an acknowledgement", sent).await.unwrap();
    }
    machine.hub.start().await;
    machine.hub.until_received("edge1/a", "out 149").await;
    machine.hub.until_received("edge1/a", "alarm 147").await;
    let received = without_repeats(machine.hub.received("edge1/a"));
    assert_eq!(received.len(), 150);
    assert_eq!(received[0], "alarm 0", "the better priority goes first");
    assert!(received[..50].iter().all(|body| body.starts_with("alarm")), "{received:?}");
    let (_b, mut events) = machine.join(&edge, "edge1/b", &[Subscription::ModuleInputs]).await;
    for number in 0..150 {
        let name = if number % 3 == 0 { "alarm" } else { "out" };
        assert_eq!(complete_input(&mut events).await, format!("{name} {number}"));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_full_store_refuses_the_sender_and_forgets_nothing() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start_with(&[("FARSHORE_EDGE_STORE_BYTES", "67108864")]).await;
    machine.hub.stop().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let body = |number: usize| format!("{number} {}", "x".repeat(200_000));
    let full = || edge.counts("messages_unack_total", "") > 0;
    let mut next = 0;
    let refused = loop {
        let mut sent = a.send(output(&body(next), "out")).await.unwrap();
        next += 1;
        let refused = async {
            while !full() {
                machine.clock.sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            biased;
            done = &mut sent => done.unwrap(),
            () = refused => break sent,
        }
    };
    assert!((150..400).contains(&next), "{next}");
    // The hub takes what waits, and then there is room for the refused one too: it comes again.
    machine.hub.start().await;
    within("an acknowledgement", refused).await.unwrap();
    let received = machine.hub.until_received("edge1/a", &body(next - 1)).await;
    let expected: Vec<String> = (0..next).map(body).collect();
    assert!(without_repeats(received) == expected, "all of them, in order");
    edge.stop().await;
}

#[tokio::test]
async fn messages_past_their_time_are_given_up_and_counted() {
    let routes = json!({
        "b": {
            "route": "FROM /messages/* INTO BrokeredEndpoint(\"/modules/b/inputs/in\")",
            "timeToLiveSecs": 1
        },
        "up": { "route": "FROM /messages/* INTO $upstream", "timeToLiveSecs": 1 }
    });
    let machine = Machine::new(&["edge1/a", "edge1/b"], routes).await;
    let edge = machine.start().await;
    machine.hub.stop().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("late", 0..5)).await;
    let given_up = async {
        while edge.counts("messages_dropped_total", "reason=\"ttl_expiry\"") < 10 {
            machine.clock.sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the end of their lives", given_up).await;
    let connects = machine.hub.with(|state| state.connects.len());
    machine.hub.start().await;
    machine.hub.until("the edge hub", |state| state.connects.len() > connects + 1).await;
    send_all(&a, bodies("new", 0..1)).await;
    let received = machine.hub.until_received("edge1/a", "new 0").await;
    assert_eq!(received, ["new 0"]);
    edge.stop().await;
}

/// Those before them live on, and keep neither their places nor their count.
#[tokio::test]
async fn messages_past_their_time_are_counted_behind_others_that_live_longer() {
    let routes = json!({
        "short": {
            "route": "FROM /messages/modules/a/outputs/short INTO $upstream",
            "timeToLiveSecs": 1
        },
        "long": "FROM /messages/modules/a/outputs/out INTO $upstream"
    });
    let machine = Machine::new(&["edge1/a"], routes).await;
    let edge = machine.start().await;
    machine.hub.stop().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    // Far more than a pump has in its hands.
    for number in 0..50 {
        send_all(&a, bodies("long", number..number + 1)).await;
        for _ in 0..5 {
            let short = a.send(output("short", "short")).await.unwrap();
            within("an acknowledgement", short).await.unwrap();
        }
    }
    let given_up = async {
        while edge.counts("messages_dropped_total", "reason=\"ttl_expiry\"") < 250 {
            machine.clock.sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the end of the short lives", given_up).await;
    machine.hub.start().await;
    let received = machine.hub.until_received("edge1/a", "long 49").await;
    assert_eq!(without_repeats(received), bodies("long", 0..50));
    assert_eq!(edge.counts("messages_dropped_total", "reason=\"ttl_expiry\""), 250);
    edge.stop().await;
}

/// sa: a device has one parent at most; the old one learns of the new one when it is back.
#[tokio::test]
async fn a_child_that_moved_while_the_hub_was_away_is_cut_at_the_reconnection() {
    let machine = Machine::new(&["mover", "stayer"], everything_upstream()).await;
    let edge = machine.start().await;
    let (mover, _mover_events) = machine.join(&edge, "mover", &[]).await;
    let (stayer, _stayer_events) = machine.join(&edge, "stayer", &[]).await;
    machine.hub.until_connected("edge1/$edgeHub").await;
    machine.hub.stop().await;
    machine.hub.move_away("mover");
    // Nobody has told the edge hub yet.
    send_all(&mover, bodies("m", 0..3)).await;
    let mut state = mover.state();
    machine.hub.start().await;
    let cut =
        state.wait_for(|state| matches!(state, client::device::ConnectionState::Refused { .. }));
    within("the cut", cut).await.unwrap();
    // The other stays, and is not held up by what waits for the one that went.
    send_all(&stayer, bodies("s", 0..3)).await;
    assert_eq!(machine.hub.until_received("stayer", "s 2").await, bodies("s", 0..3));
    assert!(machine.hub.received("mover").is_empty());
    // It comes back, and with it what was acknowledged.
    machine.hub.register("mover");
    machine.hub.allow("mover");
    machine.hub.call("edge1/$edgeHub", "RefreshDeviceScopeIdentityCache", "{}");
    let received = machine.hub.until_received("mover", "m 2").await;
    assert_eq!(without_repeats(received), bodies("m", 0..3));
    edge.stop().await;
}
