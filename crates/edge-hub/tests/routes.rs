//! Conditions of routes at a whole edge hub (`edge-runtime.md` §5.2, §9, §10).

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use client::device::{ClientEvent, Delivery, Subscription};
use client::{DeviceClient, Events};
use model::message::{Message, SystemProperty};
use serde_json::json;

use support::{Machine, manifest, output, within};

const STATUS: &str = "/lastDesiredStatus/code";

#[tokio::test]
async fn conditions_steer_messages() {
    let machine = Machine::new(
        &["edge1/sensor", "edge1/alarm", "leaf"],
        json!({
            "hot": "FROM /messages/* WHERE $body.temperature > 30 INTO $upstream",
            "marked": "FROM /messages/* WHERE level = 'high' OR as_number(Weight) >= 7.5 INTO $upstream",
            "leaves": "FROM /messages/* WHERE $connectionDeviceId = 'leaf' AND \
                       NOT is_defined($connectionModuleId) AND starts_with($messageId, 'keep') INTO $upstream",
            "alarm": "FROM /messages/modules/sensor/* WHERE $contentType = 'text/plain' INTO \
                      BrokeredEndpoint('/modules/alarm/inputs/in')"
        }),
    )
    .await;
    let edge = machine.start().await;
    let (sensor, _sensor_events) = machine.join(&edge, "edge1/sensor", &[]).await;
    let (leaf, _leaf_events) = machine.join(&edge, "leaf", &[]).await;
    let (_alarm, mut inputs) =
        machine.join(&edge, "edge1/alarm", &[Subscription::ModuleInputs]).await;
    let json = |body: &str| {
        output(body, "out")
            .with_system(SystemProperty::ContentType, "application/json")
            .with_system(SystemProperty::ContentEncoding, "utf-8")
    };
    let with = |mut message: Message, name: &str, value: &str| {
        message.set_property(name, value);
        message
    };
    for message in [
        json(r#"{"temperature":31}"#),
        json(r#"{"temperature":30}"#),
        // Nothing says that it is JSON.
        output(r#"{"temperature":32}"#, "out"),
        with(output("high", "out"), "LEVEL", "high"),
        with(output("low", "out"), "level", "low"),
        with(output("heavy", "out"), "weight", "7.50"),
        with(output("light", "out"), "weight", "07"),
        output("plain", "out").with_system(SystemProperty::ContentType, "text/plain"),
        with(output("last", "out"), "level", "high"),
    ] {
        send(&sensor, message).await;
    }
    let received = machine.hub.until_received("edge1/sensor", "last").await;
    assert_eq!(received, [r#"{"temperature":31}"#, "high", "heavy", "last"]);
    assert_eq!(next_input(&mut inputs).await, "plain");
    for (id, body) in [("drop-1", "dropped"), ("keep-1", "kept")] {
        let message = Message::from_body(body.to_owned());
        send(&leaf, message.with_system(SystemProperty::MessageId, id)).await;
    }
    assert_eq!(machine.hub.until_received("leaf", "kept").await, ["kept"]);
    edge.stop().await;
}

/// The original reports success and finds the wrong type when it puts the routes in force (er §9,
/// T-ROUTE-TYPE; §10, 14).
#[tokio::test]
async fn a_wrong_condition_is_named_and_the_old_routes_stay() {
    let old = json!({ "r": "FROM /messages/* WHERE kind = 'old' INTO $upstream" });
    let machine = Machine::new(&["edge1/a"], old).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    for (condition, says) in [
        ("temperature > 30", "> compares a text with a number; write as_number(temperature)"),
        ("kind = 'new' AND foo($body.a)", "foo is not a function"),
    ] {
        machine.hub.until_reported("edge1/$edgeHub", STATUS, json!(200)).await;
        let broken = format!("FROM /messages/* WHERE {condition} INTO $upstream");
        let good = "FROM /messages/* WHERE kind = 'new' INTO $upstream";
        let desired = manifest(json!({ "good": good, "broken": broken }));
        machine.hub.set_desired("edge1/$edgeHub", desired);
        machine.hub.until_reported("edge1/$edgeHub", STATUS, json!(400)).await;
        let reported = machine.hub.reported("edge1/$edgeHub");
        let description = reported["lastDesiredStatus"]["description"].as_str().unwrap();
        let starts = "Error while parsing desired properties - routes.broken: \
                      the condition is wrong at character ";
        assert!(description.starts_with(starts), "{description}");
        assert!(description.ends_with(says), "{description}");
        for kind in ["new", "old"] {
            let mut message = output(&format!("{kind} {condition}"), "out");
            message.set_property("kind", kind);
            send(&a, message).await;
        }
        let received = machine.hub.until_received("edge1/a", &format!("old {condition}")).await;
        assert!(received.iter().all(|body| body.starts_with("old ")), "{received:?}");
        let corrected = manifest(json!({
            "r": format!("FROM /messages/* WHERE kind = 'old' AND '{}' != '' INTO $upstream", says.len())
        }));
        machine.hub.set_desired("edge1/$edgeHub", corrected);
    }
    machine.hub.until_reported("edge1/$edgeHub", STATUS, json!(200)).await;
    edge.stop().await;
}

/// er §5.2, Sources: the edge hub sends them; whose twin it is stands in the properties.
#[tokio::test]
async fn changes_of_reported_properties_are_messages() {
    let machine = Machine::new(
        &["edge1/a", "edge1/b", "leaf"],
        json!({
            "up": "FROM /twinChangeNotifications WHERE $body.limit > 3 AND \
                   $messageType = 'twinChangeNotification' INTO $upstream",
            "b": "FROM /* WHERE $messageSchema = 'twinChangeNotification' AND \
                  $connectionModuleId = 'a' INTO BrokeredEndpoint('/modules/b/inputs/changes')",
        }),
    )
    .await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (leaf, _leaf_events) = machine.join(&edge, "leaf", &[]).await;
    let (_b, mut inputs) = machine.join(&edge, "edge1/b", &[Subscription::ModuleInputs]).await;
    for (client, limit) in [(&a, 3), (&a, 5), (&leaf, 2), (&leaf, 7)] {
        let patch = json!({ "limit": limit });
        within("a report", client.report(patch.as_object().unwrap())).await.unwrap();
    }
    let id = "edge1/$edgeHub";
    assert_eq!(
        machine.hub.until_received(id, r#"{"limit":7}"#).await,
        [r#"{"limit":5}"#, r#"{"limit":7}"#]
    );
    for limit in [3, 5] {
        let delivery = next_delivery(&mut inputs).await;
        let message = &delivery.message;
        assert_eq!(message.body, format!(r#"{{"limit":{limit}}}"#));
        for (property, value) in [
            (SystemProperty::ConnectionDeviceId, "edge1"),
            (SystemProperty::ConnectionModuleId, "a"),
            (SystemProperty::MessageSchema, "twinChangeNotification"),
        ] {
            assert_eq!(message.system(property), Some(value));
        }
        delivery.complete();
    }
    // Offline they wait like all others.
    machine.hub.stop().await;
    let patch = json!({ "limit": 9 });
    within("a report", a.report(patch.as_object().unwrap())).await.unwrap();
    machine.hub.start().await;
    machine.hub.until_received(id, r#"{"limit":9}"#).await;
    edge.stop().await;
}

async fn send(client: &DeviceClient, message: Message) {
    let handle = client.send(message).await.unwrap();
    within("an acknowledgement", handle).await.unwrap();
}

async fn next_input(events: &mut Events) -> String {
    let delivery = next_delivery(events).await;
    let body = String::from_utf8_lossy(&delivery.message.body).into_owned();
    delivery.complete();
    body
}

async fn next_delivery(events: &mut Events) -> Delivery {
    let next = async {
        loop {
            match events.next().await.unwrap() {
                ClientEvent::Input { delivery, .. } => return delivery,
                ClientEvent::Connected { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    within("an input message", next).await
}
