//! Every protocol in both directions: what the edge hub speaks to its hub, and what clients speak to
//! the edge hub.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use client::device::{
    ClientEvent, Delivery as ClientDelivery, MethodCall, Subscription, Transport,
};
use client::{DeviceClient, Events};
use gateway::backend::Settlement;
use gateway::session::{Delivery, Downlink};
use model::message::Message;
use serde_json::json;
use uuid::Uuid;

use support::{Machine, Running, bodies, send_all, within, without_repeats};

fn everything_upstream() -> serde_json::Value {
    json!({ "all": "FROM /messages/* INTO $upstream" })
}

async fn start(machine: &Machine, upstream: Transport) -> Running {
    machine.start_with(&[("UpstreamProtocol", &upstream.to_string())]).await
}

async fn join(
    machine: &Machine,
    transport: Transport,
    running: &Running,
    id: &str,
    wants: &[Subscription],
) -> (DeviceClient, Events) {
    let (client, events) = machine.connect_by(transport, running, id, wants);
    within("a client's connection", client.connected()).await.unwrap();
    (client, events)
}

/// The next event of a kind; connections come and go meanwhile.
async fn next<T>(
    what: &str,
    events: &mut Events,
    pick: impl Fn(ClientEvent) -> Result<T, Box<ClientEvent>>,
) -> T {
    let next = async {
        loop {
            match pick(events.next().await.unwrap()).map_err(|other| *other) {
                Ok(found) => return found,
                Err(ClientEvent::Connected { .. } | ClientEvent::Disconnected { .. }) => {}
                Err(other) => panic!("unexpected {other:?}"),
            }
        }
    };
    within(what, next).await
}

async fn next_method(events: &mut Events) -> MethodCall {
    next("a method", events, |event| match event {
        ClientEvent::Method(call) => Ok(call),
        other => Err(Box::new(other)),
    })
    .await
}

async fn next_message(events: &mut Events) -> ClientDelivery {
    next("a cloud-to-device message", events, |event| match event {
        ClientEvent::CloudToDevice(delivery) => Ok(delivery),
        other => Err(Box::new(other)),
    })
    .await
}

async fn next_input(events: &mut Events) -> ClientDelivery {
    next("an input message", events, |event| match event {
        ClientEvent::Input { input, delivery } if input == "in" => Ok(delivery),
        other => Err(Box::new(other)),
    })
    .await
}

fn send(machine: &Machine, id: &str, body: &str) -> Uuid {
    let lock = host::entropy::uuid_v4();
    let delivery = Delivery {
        lock,
        message: Message::from_body(body.to_owned()),
        sequence: 1,
        enqueued: "2026-11-25T00:00:00Z".parse().unwrap(),
        delivery_count: 2,
    };
    machine.hub.send(id, Downlink::CloudToDevice(delivery));
    lock
}

/// The hub is cut off in the middle of everything, more than once.
async fn nothing_is_lost(upstream: Transport) {
    const ROUNDS: u32 = 4;
    let machine = Machine::new(&["edge1/a", "edge1/b"], everything_upstream()).await;
    let edge = start(&machine, upstream).await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, _b_events) = machine.join(&edge, "edge1/b", &[]).await;
    for round in 0..ROUNDS {
        send_all(&a, bodies("a", round * 200..round * 200 + 100)).await;
        machine.hub.stop().await;
        send_all(&a, bodies("a", round * 200 + 100..round * 200 + 200)).await;
        send_all(&b, bodies("b", round * 50..round * 50 + 50)).await;
        machine.hub.start().await;
        if round == 1 {
            drop(machine.hub.until_received("edge1/b", "b 99").await);
        }
    }
    let received = machine.hub.until_received("edge1/a", "a 799").await;
    assert_eq!(without_repeats(received), bodies("a", 0..ROUNDS * 200));
    let received = machine.hub.until_received("edge1/b", "b 199").await;
    assert_eq!(without_repeats(received), bodies("b", 0..ROUNDS * 50));
    edge.stop().await;
}

/// Twins, methods and messages of the hub, and what becomes of them.
async fn everything_passes(upstream: Transport, local: Transport) {
    let machine = Machine::new(&["edge1/a", "leaf"], everything_upstream()).await;
    let edge = start(&machine, upstream).await;

    let wants = [Subscription::Methods, Subscription::DesiredPatches];
    let (module, mut events) = join(&machine, local, &edge, "edge1/a", &wants).await;
    send_all(&module, bodies("a", 0..20)).await;
    assert_eq!(machine.hub.until_received("edge1/a", "a 19").await, bodies("a", 0..20));

    machine.hub.until_listens("edge1/a", |s| s.methods && s.desired).await;
    let call = machine.hub.call("edge1/a", "reset", "{\"x\":1}");
    let method = next_method(&mut events).await;
    assert_eq!((method.name.as_str(), &method.payload[..]), ("reset", &b"{\"x\":1}"[..]));
    method.reply(207, "\"done\"");
    machine.hub.until("the answer", |state| !state.answers.is_empty()).await;
    machine.hub.with(|state| {
        let (answered, response) = &state.answers[0];
        assert_eq!((*answered, response.status), (call, 207));
        assert_eq!(&response.payload[..], b"\"done\"");
    });

    let twin = within("the twin", module.twin_get()).await.unwrap();
    assert!(twin.desired.is_empty());
    let patch = json!({ "temperature": 21 });
    within("the report", module.report(patch.as_object().unwrap())).await.unwrap();
    machine.hub.until_reported("edge1/a", "/temperature", json!(21)).await;
    machine.hub.set_desired("edge1/a", json!({ "interval": 5 }));
    let (patch, _) = next("desired properties", &mut events, |event| match event {
        ClientEvent::Desired { patch, version } => Ok((patch, version)),
        other => Err(Box::new(other)),
    })
    .await;
    assert_eq!(patch.get("interval"), Some(&json!(5)));

    let (leaf, mut events) =
        join(&machine, local, &edge, "leaf", &[Subscription::CloudToDevice]).await;
    machine.hub.until_listens("leaf", |s| s.cloud_to_device).await;
    let mut expected = Vec::new();
    let completed = send(&machine, "leaf", "take");
    let delivery = next_message(&mut events).await;
    assert_eq!(&delivery.message.body[..], b"take");
    if upstream.is_amqp() && local.is_amqp() {
        assert_eq!(delivery.facts.delivery_count, 2);
    }
    delivery.complete();
    expected.push((completed, Settlement::Complete));
    let refused = send(&machine, "leaf", "refuse");
    next_message(&mut events).await.reject();
    // MQTT cannot say no, at either end.
    let said = match upstream.is_amqp() && local.is_amqp() {
        true => Settlement::Reject,
        false => Settlement::Complete,
    };
    expected.push((refused, said));
    if upstream.is_amqp() && local.is_amqp() {
        let abandoned = send(&machine, "leaf", "later");
        next_message(&mut events).await.abandon();
        expected.push((abandoned, Settlement::Abandon));
    }
    machine.hub.until("the settlements", |state| state.settled == expected).await;
    leaf.close().await;
    edge.stop().await;
}

/// One after the other, each until it is settled.
async fn inputs_are_served(local: Transport) {
    let routes = json!({
        "b": "FROM /messages/modules/a/* INTO BrokeredEndpoint(\"/modules/b/inputs/in\")"
    });
    let machine = Machine::new(&["edge1/a", "edge1/b"], routes).await;
    let edge = machine.start().await;
    let (a, _a_events) = join(&machine, local, &edge, "edge1/a", &[]).await;
    send_all(&a, bodies("x", 0..5)).await;
    let wants = [Subscription::ModuleInputs];
    let (b, mut events) = join(&machine, local, &edge, "edge1/b", &wants).await;
    for expected in bodies("x", 0..2) {
        let delivery = next_input(&mut events).await;
        assert_eq!(&delivery.message.body[..], expected.as_bytes());
        delivery.complete();
    }
    // It goes away with the third unsettled, which comes again.
    drop(next_input(&mut events).await);
    b.close().await;
    let (_b, mut events) = join(&machine, local, &edge, "edge1/b", &wants).await;
    for expected in bodies("x", 2..5) {
        let delivery = next_input(&mut events).await;
        assert_eq!(&delivery.message.body[..], expected.as_bytes());
        delivery.complete();
    }
    edge.stop().await;
}

macro_rules! for_each_protocol {
    ($($name:ident: $transport:ident),+) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn nothing_is_lost_upstream() {
                nothing_is_lost(Transport::$transport).await;
            }

            #[tokio::test]
            async fn everything_passes_in_both_directions() {
                everything_passes(Transport::$transport, Transport::$transport).await;
            }

            #[tokio::test]
            async fn inputs_get_their_messages_one_by_one() {
                inputs_are_served(Transport::$transport).await;
            }
        }
    )+};
}

for_each_protocol!(amqp: Amqp, amqp_ws: AmqpWs, mqtt: Mqtt, mqtt_ws: MqttWs);

#[tokio::test]
async fn protocols_mix() {
    everything_passes(Transport::Amqp, Transport::Mqtt).await;
    everything_passes(Transport::MqttWs, Transport::Amqp).await;
}
