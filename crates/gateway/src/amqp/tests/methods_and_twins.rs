//! Pairs of links: methods and twins.

use amqp::connection::Event;
use amqp::{MessageId, Value};
use iot_proto::amqp::twins::Operation;
use iot_proto::amqp::{methods, twins};
use model::method::{MethodRequest, MethodResponse};
use serde_json::json;
use uuid::Uuid;

use super::Bench;
use crate::session::Downlink;

const METHODS: &str = "/devices/dev1/methods/devicebound";
const TWIN: &str = "/devices/dev1/twin";

fn call(number: u128) -> Downlink {
    let request = MethodRequest {
        name: "Reboot".into(),
        payload: Default::default(),
        response_timeout: std::time::Duration::from_secs(30),
        connect_timeout: std::time::Duration::ZERO,
    };
    Downlink::Method { call: Uuid::from_u128(number), request }
}

/// Traps 20 and 25; the pair open is the subscription.
#[tokio::test]
async fn a_method_needs_both_links_and_is_answered_by_the_text_of_its_id() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let (up, down) = client.pair(METHODS, "methods:1").await;
    let told: Vec<_> =
        bench.backend.heard().into_iter().filter(|heard| heard.contains("subscribed")).collect();
    assert_eq!(told, ["dev1: subscribed d=false m=true c=false i=false"], "once, when it is whole");

    bench.backend.session("dev1").send(call(5)).unwrap();
    let (_, request) = client.receive(down).await;
    assert_eq!(methods::name(&request), Some("Reboot"));
    let Some(MessageId::Uuid(id)) = request.properties.correlation_id else {
        panic!("no uuid");
    };
    assert_eq!(request.body, amqp::Body::Data(vec![Default::default()]));
    // Node gives the id back as text.
    let id = MessageId::String(Uuid::from_bytes(id).to_string());
    let answer = MethodResponse { status: 200, payload: "{\"done\":1}".into() };
    let sent = client.send(up, methods::response(id, &answer).to_bytes());
    client.outcome(sent).await;
    bench.hears(&format!("dev1: answer {} 200 {{\"done\":1}}", Uuid::from_u128(5))).await;

    // Half a pair takes no methods.
    client.machine.detach(down, None);
    client.pump().await;
    bench.hears("dev1: subscribed d=false m=false c=false i=false").await;
}

#[tokio::test]
async fn a_second_pair_is_legal_and_takes_the_calls() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let (_, first) = client.pair(METHODS, "methods:1").await;
    let (_, second) = client.pair(METHODS, "methods:2").await;
    bench.backend.session("dev1").send(call(1)).unwrap();
    client.receive(second).await;
    client.machine.detach(second, None);
    client.pump().await;
    bench.backend.session("dev1").send(call(2)).unwrap();
    client.receive(first).await;
}

/// Traps 20, 21 and 26, in Node's order: both senders first, then the receivers.
#[tokio::test]
async fn twin_operations_are_answered_in_order_and_changes_are_told() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    let (up, down) = client.pair(TWIN, "twin:1").await;
    let operations = [
        Operation::Get,
        Operation::Report { expected: None, body: "{\"x\":1}".into() },
        Operation::Report { expected: Some(7), body: "{}".into() },
        Operation::Report { expected: None, body: "[]".into() },
        Operation::Subscribe,
    ];
    for (number, operation) in operations.iter().enumerate() {
        client.send_as(up, operation.message(&number.to_string()).to_bytes(), 0, true);
    }
    let mut unknown = Operation::Get.message("5");
    unknown.message_annotations = Default::default();
    client.send_as(up, unknown.to_bytes(), 0, true);
    let mut answers = Vec::new();
    for _ in 0..6 {
        let (_, answer) = client.receive(down).await;
        let Some(MessageId::String(id)) = &answer.properties.correlation_id else {
            panic!("the id is no string");
        };
        let body = answer.body.to_bytes().unwrap();
        answers.push((
            id.clone(),
            twins::status(&answer).unwrap(),
            answer.message_annotations.get("version").cloned(),
            body,
        ));
    }
    // What is refused at once may overtake what has to be asked of the backend.
    answers.sort_by(|one, two| one.0.cmp(&two.0));
    let short: Vec<_> = answers.iter().map(|(id, status, ..)| (id.as_str(), *status)).collect();
    assert_eq!(short, [("0", 200), ("1", 204), ("2", 412), ("3", 400), ("4", 204), ("5", 400)]);
    assert!(answers[0].3.starts_with(b"{\"desired\":{\"$version\":1}"));
    assert_eq!(answers[1].2, Some(Value::Long(5)));
    for (answer, code) in [(&answers[2], 412_001), (&answers[3], 400_004), (&answers[5], 400_004)] {
        let body: serde_json::Value = serde_json::from_slice(&answer.3).unwrap();
        assert_eq!(body["errorCode"], code);
    }
    bench.hears("dev1: subscribed d=true m=false c=false i=false").await;

    let patch = json!({"a": null}).as_object().unwrap().clone();
    let change = Downlink::Desired { patch, version: 9 };
    bench.backend.session("dev1").send(change).unwrap();
    let (_, told) = client.receive(down).await;
    assert_eq!(told.properties.correlation_id, None);
    assert_eq!(twins::version(&told), Some(9));
    assert_eq!(told.body.to_bytes().unwrap(), r#"{"a":null,"$version":9}"#);

    client.send_as(up, Operation::Unsubscribe.message("6").to_bytes(), 0, true);
    let (_, answer) = client.receive(down).await;
    assert_eq!(twins::status(&answer), Some(204));
    let patch = Default::default();
    bench.backend.session("dev1").send(Downlink::Desired { patch, version: 10 }).unwrap();
    assert!(!client.has(|event| matches!(event, Event::Delivery(_))).await);
}

/// An answer waits for the link that takes it.
#[tokio::test]
async fn an_answer_waits_for_its_link() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1/mod1"]).await;
    let address = "/devices/dev1/modules/mod1/twin";
    let up = client.sender(address).await.unwrap();
    client.send_as(up, Operation::Get.message("early").to_bytes(), 0, true);
    client.pump().await;
    bench.hears("dev1/mod1: twin").await;
    let down = client.receiver(address, 10).await.unwrap();
    let (_, answer) = client.receive(down).await;
    assert_eq!(answer.properties.correlation_id, Some(MessageId::String("early".into())));
}
