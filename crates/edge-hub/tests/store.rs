//! The store of an edge hub: whose it is, what happens when it is full, what comes back to the disk,
//! dead letters, and the numbers that tell of all that.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use client::DeviceClient;
use client::device::{ClientEvent, Subscription, Transport};
use edge_hub::{CONTROL_SOCKET, EdgeHub, LETTERS_PATH, LetterJson, Settings, StartError};
use host::http::{Client, Request, Response};
use host::signals::Shutdown;
use serde_json::{Value, json};

use support::{Machine, Running, bodies, manifest, output, send_all, within, without_repeats};

fn everything_upstream() -> Value {
    json!({ "all": "FROM /messages/* INTO $upstream" })
}

/// er §8.5: what waits for one hub must not go to another.
#[tokio::test]
async fn the_store_of_another_device_or_hub_is_refused_by_name() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start().await;
    machine.hub.stop().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("a", 0..3)).await;
    edge.stop().await;
    machine.hub.start().await;
    for (name, value, named) in [
        ("IOTEDGE_DEVICEID", "edge2", "this is edge2 at hub.test"),
        ("IOTEDGE_IOTHUBHOSTNAME", "other.test", "this is edge1 at other.test"),
    ] {
        let settings = machine.settings(&[(name, value)]);
        let started = EdgeHub::start(settings, machine.clock.clone(), Shutdown::new());
        let error = within("the refusal", started).await.unwrap_err();
        assert!(matches!(error, StartError::OtherOwner { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("is that of device edge1 at hub hub.test"), "{text}");
        assert!(text.contains(named), "{text}");
    }
    assert!(machine.hub.received("edge1/a").is_empty());
    // Its own edge hub goes on where it was; a hub's name has no case.
    let edge = machine.start_with(&[("IOTEDGE_IOTHUBHOSTNAME", "HUB.test")]).await;
    machine.hub.until_received("edge1/a", "a 2").await;
    edge.stop().await;
}

const BODY_BYTES: usize = 200_000;

fn large(name: &str, number: u32) -> String {
    format!("{name} {number} {}", "x".repeat(BODY_BYTES))
}

/// Sends one after the other, each to an output of its kind; all are acknowledged.
async fn send_large(client: &DeviceClient, kinds: impl Iterator<Item = (&'static str, u32)>) {
    for (kind, number) in kinds {
        let sent = client.send(output(&large(kind, number), kind)).await.unwrap();
        within("an acknowledgement", sent).await.unwrap();
    }
}

/// The numbers of a kind that arrived, in order.
fn numbers(received: &[String], kind: &str) -> Vec<u32> {
    let of_kind = received.iter().filter_map(|body| body.strip_prefix(kind));
    of_kind.map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

async fn full_store(policy: &str, routes: Value) -> (Vec<String>, u64) {
    let machine = Machine::new(&["edge1/a"], routes).await;
    let changes = [("FARSHORE_EDGE_STORE_BYTES", "67108864"), ("FARSHORE_EDGE_STORE_FULL", policy)];
    let edge = machine.start_with(&changes).await;
    machine.hub.stop().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    let kind = |number: u32| if number.is_multiple_of(8) { "alarm" } else { "data" };
    // Twice what fits.
    send_large(&a, (0..MESSAGES).map(|number| (kind(number), number))).await;
    assert_eq!(edge.counts("messages_unack_total", ""), 0);
    machine.hub.start().await;
    let last = (0..MESSAGES).rev().find(|number| kind(*number) == "data").unwrap();
    machine.hub.until_received("edge1/a", &large("data", last)).await;
    let last = (0..MESSAGES).rev().find(|number| kind(*number) == "alarm").unwrap();
    let received = machine.hub.until_received("edge1/a", &large("alarm", last)).await;
    let dropped = edge.counts("messages_dropped_total", "reason=\"store_full\"");
    edge.stop().await;
    (without_repeats(received), dropped)
}

const MESSAGES: u32 = 600;

#[tokio::test]
async fn the_lowest_priority_makes_room() {
    let routes = json!({
        "alarm": { "route": "FROM /messages/modules/a/outputs/alarm INTO $upstream", "priority": 0 },
        "data": { "route": "FROM /messages/* INTO $upstream", "priority": 5 }
    });
    let (received, dropped) = full_store("drop-lowest-priority", routes).await;
    let alarms: Vec<u32> = (0..MESSAGES).step_by(8).collect();
    assert_eq!(numbers(&received, "alarm"), alarms);
    let data = numbers(&received, "data");
    assert!(data.is_sorted() && data.last() == Some(&(MESSAGES - 1)), "{data:?}");
    assert!(data.len() > 30, "as many as fit stay: {data:?}");
    // What a pump had in its hands arrives though it was let go.
    let missing = u64::from(MESSAGES) - received.len() as u64;
    assert!(missing > 200 && (missing..=missing + 100).contains(&dropped), "{missing} {dropped}");
}

#[tokio::test]
async fn the_oldest_make_room() {
    let routes = json!({
        "alarm": { "route": "FROM /messages/modules/a/outputs/alarm INTO $upstream", "priority": 0 },
        "data": { "route": "FROM /messages/* INTO $upstream", "priority": 5 }
    });
    let (received, dropped) = full_store("drop-oldest", routes).await;
    for (kind, last) in [("alarm", MESSAGES - 8), ("data", MESSAGES - 1)] {
        let numbers = numbers(&received, kind);
        assert!(numbers.is_sorted() && numbers.last() == Some(&last), "{numbers:?}");
    }
    let missing = u64::from(MESSAGES) - received.len() as u64;
    assert!(missing > 200 && (missing..=missing + 100).contains(&dropped), "{missing} {dropped}");
    assert!(!numbers(&received, "alarm").contains(&(MESSAGES / 4 / 8 * 8)));
}

/// er §9, T-TTL-CLEAN: the original's disk waits half an hour for its cleaner.
#[tokio::test]
async fn the_disk_has_its_space_back_when_the_store_is_drained() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start().await;
    machine.hub.stop().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    send_large(&a, (0..200).map(|number| ("data", number))).await;
    let taken = on_disk(&machine);
    assert!(taken > 40 << 20, "{taken}");
    machine.hub.start().await;
    machine.hub.until_received("edge1/a", &large("data", 199)).await;
    let drained = machine.clock.now();
    let small = async {
        while on_disk(&machine) > 14 << 20 {
            machine.clock.sleep(Duration::from_millis(50)).await;
        }
    };
    within("the space", small).await;
    assert!(machine.clock.now() - drained < Duration::from_secs(10));
    edge.stop().await;
}

fn on_disk(machine: &Machine) -> u64 {
    let queues = machine.storage().join("edgeHub/queues");
    let files = host::fs::list(&queues).unwrap();
    files.iter().filter_map(|file| Some(host::fs::facts(file).ok()?.size_bytes)).sum()
}

#[tokio::test]
async fn a_message_that_fits_nowhere_is_a_dead_letter_that_can_be_looked_into() {
    let routes = json!({
        "b": "FROM /messages/modules/a/outputs/b INTO BrokeredEndpoint(\"/modules/b/inputs/in\")",
        "up": "FROM /messages/modules/a/outputs/up INTO $upstream"
    });
    let machine = Machine::new(&["edge1/a"], routes).await;
    let edge = machine.start_with(&[("UpstreamProtocol", "Mqtt")]).await;
    // Over AMQP it comes in; no topic of MQTT holds its property.
    let (a, _events) = machine.connect_by(Transport::Amqp, &edge, "edge1/a", &[]);
    within("a connection", a.connected()).await.unwrap();
    for output_name in ["up", "b"] {
        let mut message = output(&format!("big {output_name}"), output_name);
        message.set_property("big", "x".repeat(70_000));
        let sent = a.send(message).await.unwrap();
        within("an acknowledgement", sent).await.unwrap();
        // It delays nobody.
        let sent = a.send(output("after it", output_name)).await.unwrap();
        within("an acknowledgement", sent).await.unwrap();
    }
    machine.hub.until_received("edge1/a", "after it").await;
    let letters = letters(&machine, 2).await;
    let by_queue: BTreeMap<&str, &LetterJson> =
        letters.iter().map(|letter| (letter.queue.as_str(), letter)).collect();
    let (up, input) = (by_queue["last/upstream"], by_queue["last/b/in"]);
    assert_eq!(edge.counts("messages_dead_total", ""), 2);
    assert_eq!(metric(&edge, "edgehub_dead_letters{").await, "2");
    for (letter, body) in [(up, "big up"), (input, "big b")] {
        assert_eq!(letter.sender, "edge1/a");
        assert!(letter.reason.contains("topic"), "{}", letter.reason);
        let shown = ask(&machine, Request::get(at(letter.number))).await;
        let shown: Value = serde_json::from_slice(&shown.body).unwrap();
        let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, body);
        assert_eq!(shown["body"], json!(expected));
    }
    // One is dropped; they are as they were after a restart.
    assert_eq!(ask(&machine, Request::delete(at(input.number))).await.status, 204);
    assert_eq!(ask(&machine, Request::delete(at(input.number))).await.status, 404);
    let retry = Request::post(format!("{}/retry", at(up.number)));
    a.close().await;
    edge.kill().await;
    let edge = machine.start_with(&[("UpstreamProtocol", "Amqp")]).await;
    assert_eq!(letters_now(&machine).await, std::slice::from_ref(up));
    // By AMQP the other can be delivered, once: whoever asks at the same time is too late.
    let again = Request::post(format!("{}/retry", at(up.number)));
    let (one, other) = tokio::join!(ask(&machine, retry), ask(&machine, again));
    let mut answers = [one.status.as_u16(), other.status.as_u16()];
    answers.sort_unstable();
    assert_eq!(answers, [204, 404]);
    let received = machine.hub.until_received("edge1/a", "big up").await;
    assert_eq!(received.iter().filter(|body| *body == "big up").count(), 1);
    assert!(letters_now(&machine).await.is_empty());
    edge.stop().await;
}

/// `iotedge dead-letter` asks for more until nothing comes.
#[tokio::test]
async fn a_letter_behind_many_that_are_gone_is_listed() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let edge = machine.start_with(&[("UpstreamProtocol", "Mqtt")]).await;
    let (a, _events) = machine.connect_by(Transport::Amqp, &edge, "edge1/a", &[]);
    within("a connection", a.connected()).await.unwrap();
    for number in 0..14 {
        let mut message = output(&format!("big {number}"), "up");
        message.set_property("big", "x".repeat(200_000));
        let sent = a.send(message).await.unwrap();
        within("an acknowledgement", sent).await.unwrap();
    }
    let buried = async {
        while edge.counts("messages_dead_total", "") < 14 {
            machine.clock.sleep(Duration::from_millis(20)).await;
        }
    };
    within("the dead letters", buried).await;
    for number in 1..13 {
        assert_eq!(ask(&machine, Request::delete(at(number))).await.status, 204);
    }
    let behind = ask(&machine, Request::get(format!("{LETTERS_PATH}?from=1"))).await;
    let behind: Vec<LetterJson> = serde_json::from_slice(&behind.body).unwrap();
    assert_eq!(behind.iter().map(|letter| letter.number).collect::<Vec<_>>(), [13]);
    edge.stop().await;
}

fn at(number: u64) -> String {
    format!("{LETTERS_PATH}/{number}")
}

async fn ask(machine: &Machine, request: Request) -> Response {
    let client = Client::unix(machine.storage().join("edgeHub").join(CONTROL_SOCKET));
    within("the answer", Box::pin(client.send(request))).await.unwrap()
}

async fn letters_now(machine: &Machine) -> Vec<LetterJson> {
    let answer = ask(machine, Request::get(LETTERS_PATH)).await;
    serde_json::from_slice(&answer.body).unwrap()
}

async fn letters(machine: &Machine, count: usize) -> Vec<LetterJson> {
    let wait = async {
        loop {
            let letters = letters_now(machine).await;
            if letters.len() >= count {
                return letters;
            }
            machine.clock.sleep(Duration::from_millis(20)).await;
        }
    };
    within("the dead letters", wait).await
}

/// What a line of the metrics says, over HTTP.
async fn metric(edge: &Running, begins: &str) -> String {
    let client = Client::plain("127.0.0.1", edge.ports.metrics);
    let answer =
        within("the metrics", Box::pin(client.send(Request::get("/metrics")))).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no {begins} in\n{text}"));
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[tokio::test]
async fn numbers_have_the_originals_names() {
    let routes = json!({
        "up": { "route": "FROM /messages/modules/a/outputs/out INTO $upstream", "priority": 3 }
    });
    let machine = Machine::new(&["edge1/a"], routes).await;
    let edge = machine.start().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("a", 0..4)).await;
    machine.hub.until_received("edge1/a", "a 3").await;
    let nowhere = a.send(output("x", "nowhere")).await.unwrap();
    within("an acknowledgement", nowhere).await.unwrap();
    machine.hub.stop().await;
    send_all(&a, bodies("a", 4..7)).await;
    let common = "iothub=\"hub.test\",edge_device=\"edge1\",instance_number=\"";
    let labels = |name: &str| format!("edgehub_{name}{{{common}");
    assert_eq!(metric(&edge, &labels("queue_length")).await, "3");
    assert_eq!(metric(&edge, &labels("connected_clients")).await, "1");
    for (name, of, expected) in [
        ("messages_received_total", "route_output=\"out\",id=\"edge1/a\"", 7),
        ("messages_dropped_total", "reason=\"no_route\",from=\"edge1/a\"", 1),
        (
            "messages_sent_total",
            "from=\"edge1/a\",to=\"upstream\",from_route_output=\"out\",to_route_input=\"\",priority=\"3\"",
            4,
        ),
        ("message_size_bytes_count", "id=\"edge1/a\"", 8),
        ("client_connect_success_total", "id=\"edge1/a\"", 1),
    ] {
        assert_eq!(edge.counts(name, of), expected, "{name}\n{}", edge.metrics.render());
    }
    let went = async {
        while edge.counts("offline_count_total", "id=\"edge1/$edgeHub\"") != 1 {
            machine.clock.sleep(Duration::from_millis(10)).await;
        }
    };
    within("the count of the outage", went).await;
    machine.hub.start().await;
    machine.hub.until_received("edge1/a", "a 6").await;
    let back = async {
        while edge.counts("offline_duration_seconds_count", "") != 1 {
            machine.clock.sleep(Duration::from_millis(10)).await;
        }
    };
    within("the end of the outage", back).await;
    edge.stop().await;
}

/// er §10, 10: the original needs up to a minute.
#[tokio::test]
async fn messages_leave_within_a_second_of_the_reconnection() {
    let machine = Machine::new(&["edge1/a", "leaf"], everything_upstream()).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (leaf, _leaf_events) = machine.join(&edge, "leaf", &[]).await;
    machine.hub.until_connected("edge1/$edgeHub").await;
    machine.hub.stop().await;
    send_all(&a, bodies("a", 0..10)).await;
    send_all(&leaf, bodies("leaf", 0..10)).await;
    // Long enough for each line's own pause to have grown beyond a second.
    machine.clock.sleep(Duration::from_secs(8)).await;
    machine.hub.start().await;
    machine.hub.until_connected("edge1/$edgeHub").await;
    let connected = machine.clock.now();
    machine.hub.until_received("edge1/a", "a 9").await;
    machine.hub.until_received("leaf", "leaf 9").await;
    let took = machine.clock.now() - connected;
    assert!(took < Duration::from_secs(1), "{took:?}");
    edge.stop().await;
}

/// er §10, 10: one that is let in and never acknowledged holds up nobody for long.
#[tokio::test]
async fn a_sender_that_the_hub_does_not_acknowledge_makes_way_for_the_others() {
    let machine = Machine::new(&["edge1/a", "edge1/b"], everything_upstream()).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, _b_events) = machine.join(&edge, "edge1/b", &[]).await;
    machine.hub.until_connected("edge1/b").await;
    machine.hub.ignore("edge1/b");
    let begun = machine.clock.now();
    // More than a pump has in its hands.
    send_all(&a, bodies("a", 0..10)).await;
    send_all(&b, bodies("b", 0..900)).await;
    send_all(&a, bodies("a", 10..20)).await;
    machine.clock.sleep(Duration::from_secs(1)).await;
    send_all(&b, bodies("b", 900..2_000)).await;
    send_all(&a, bodies("a", 20..60)).await;
    machine.hub.until_received("edge1/a", "a 59").await;
    let took = machine.clock.now() - begun;
    assert!(took < Duration::from_secs(20), "{took:?}");
    machine.hub.listen_to_all();
    machine.hub.stop().await;
    machine.hub.start().await;
    let received = machine.hub.until_received("edge1/b", "b 1999").await;
    assert_eq!(without_repeats(received), bodies("b", 0..2_000));
    edge.stop().await;
}

#[tokio::test]
async fn a_changed_time_to_live_holds_for_new_messages() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let set = |seconds: Value| {
        let mut desired = manifest(everything_upstream());
        desired["storeAndForwardConfiguration"]["timeToLiveSecs"] = seconds;
        machine.hub.set_desired("edge1/$edgeHub", desired);
    };
    let edge = machine.start().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    let mut version = machine.hub.reported("edge1/$edgeHub")["lastDesiredVersion"].clone();
    for (name, seconds) in
        [("longest", json!(2_147_483_647)), ("for ever", json!(-1)), ("short", json!(1))]
    {
        machine.hub.until_connected("edge1/$edgeHub").await;
        set(seconds);
        let before = version.clone();
        machine
            .hub
            .until("the configuration", |state| {
                let twin = &state.twins[&"edge1/$edgeHub".parse().unwrap()];
                let reported = &twin.reported.properties;
                let now = reported.get("lastDesiredVersion");
                let desired = json!(twin.desired.version);
                now == Some(&desired) && Some(&before) != now
            })
            .await;
        version = machine.hub.reported("edge1/$edgeHub")["lastDesiredVersion"].clone();
        machine.hub.stop().await;
        send_all(&a, bodies(name, 0..2)).await;
        if name != "short" {
            machine.hub.start().await;
            // They stay here until the last round: the hub takes nothing.
            machine.hub.ignore("edge1/a");
        }
    }
    let expired = async {
        while edge.counts("messages_dropped_total", "reason=\"ttl_expiry\"") < 2 {
            machine.clock.sleep(Duration::from_millis(20)).await;
        }
    };
    within("the end of the short lives", expired).await;
    machine.hub.listen_to_all();
    machine.hub.start().await;
    let received = machine.hub.until_received("edge1/a", "for ever 1").await;
    assert_eq!(without_repeats(received), ["longest 0", "longest 1", "for ever 0", "for ever 1"]);
    edge.stop().await;
}

/// The original's default is 100.
#[tokio::test]
async fn the_hundred_and_first_client_is_told_and_gets_in_when_one_leaves() {
    let names: Vec<String> = (0..101).map(|number| format!("leaf{number}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let machine = Machine::new(&ids, everything_upstream()).await;
    let edge = machine.start().await;
    let mut clients = Vec::new();
    for id in &ids[..100] {
        clients.push(machine.join(&edge, id, &[]).await);
    }
    let (late, mut events) = machine.connect_by(Transport::Amqp, &edge, ids[100], &[]);
    let told = within("the refusal", async {
        loop {
            if let ClientEvent::Disconnected { reason, permanent } = events.next().await.unwrap() {
                assert!(!permanent, "{reason}");
                return reason;
            }
        }
    });
    let told = told.await;
    assert!(told.contains("maximum of 100 connected clients"), "{told}");
    assert_eq!(edge.counts("client_connect_failed_total", "reason=\"max_connected_clients\""), 1);
    let (first, _) = clients.swap_remove(0);
    first.close().await;
    within("the place", late.connected()).await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn without_client_certificates_keys_still_let_in() {
    let machine = Machine::new(&["edge1/a"], everything_upstream()).await;
    let changes = [("ClientCertAuthEnabled", "false")];
    let _: Settings = machine.settings(&changes);
    let edge = machine.start_with(&changes).await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    send_all(&a, bodies("a", 0..1)).await;
    machine.hub.until_received("edge1/a", "a 0").await;
    edge.stop().await;
}

/// R12: what comes in while a backlog drains is taken and goes up behind it, in order, and a hub that
/// goes away in the middle changes nothing about that.
#[tokio::test]
async fn what_comes_while_a_backlog_drains_is_taken_and_goes_up_in_order() {
    const BACKLOG: u32 = 1_500;
    const LIVE: u32 = 300;
    let senders = ["edge1/a", "edge1/b", "edge1/c"];
    let machine = Machine::new(&senders, everything_upstream()).await;
    let edge = machine.start().await;
    let mut clients = Vec::new();
    for id in senders {
        clients.push(machine.join(&edge, id, &[]).await);
    }
    machine.hub.stop().await;
    for ((client, _), id) in clients.iter().zip(senders) {
        send_all(client, bodies(id, 0..BACKLOG)).await;
    }
    machine.hub.start().await;
    machine.hub.until("the drain", |state| !state.telemetry.is_empty()).await;
    for ((client, _), id) in clients.iter().zip(senders) {
        send_all(client, bodies(id, BACKLOG..BACKLOG + LIVE)).await;
        if id == senders[1] {
            machine.hub.stop().await;
            machine.hub.start().await;
        }
    }
    for id in senders {
        let last = format!("{id} {}", BACKLOG + LIVE - 1);
        let received = machine.hub.until_received(id, &last).await;
        assert_eq!(without_repeats(received), bodies(id, 0..BACKLOG + LIVE));
    }
    edge.stop().await;
}

/// R12: a backlog that moves as slowly as can be, which is not at all, keeps nobody from being served:
/// messages are taken, those of a better priority go up at once, methods are answered.
#[tokio::test]
async fn a_backlog_starves_no_live_traffic() {
    let routes = json!({
        "alarms": { "route": "FROM /messages/modules/b/outputs/alarm INTO $upstream", "priority": 0 },
        "rest": "FROM /messages/* WHERE $connectionModuleId <> 'b' INTO $upstream"
    });
    let machine = Machine::new(&["edge1/a", "edge1/b"], routes).await;
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, mut b_events) = machine.join(&edge, "edge1/b", &[Subscription::Methods]).await;
    machine.hub.until_listens("edge1/b", |subscriptions| subscriptions.methods).await;
    machine.hub.stop().await;
    // More than a pump has in its hands.
    send_all(&a, bodies("a", 0..2_000)).await;
    machine.hub.ignore("edge1/a");
    machine.hub.start().await;
    machine.hub.until_listens("edge1/b", |subscriptions| subscriptions.methods).await;
    machine.hub.until_connected("edge1/a").await;
    let begun = machine.clock.now();
    let alarm = b.send(output("alarm", "alarm")).await.unwrap();
    within("an acknowledgement", alarm).await.unwrap();
    machine.hub.until_received("edge1/b", "alarm").await;
    machine.hub.call("edge1/b", "ping", "1");
    let called = within("the method", async {
        loop {
            if let ClientEvent::Method(call) = b_events.next().await.unwrap() {
                return call.name;
            }
        }
    });
    assert_eq!(called.await, "ping");
    // Before the backlog's sender would have had to make way.
    let took = machine.clock.now() - begun;
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(machine.hub.received("edge1/a").is_empty());
    edge.stop().await;
}
