//! The service client: requests as the hub reads them, answers and refusals as it writes them.

use std::time::Duration;

use client::service::HubClient;
use host::clock::Clock;
use iot_proto::connection_string::ServiceConnectionString;
use iot_proto::etag::IfMatch;
use iot_proto::payload::device::DeviceWrite;
use iot_proto::payload::event::EventLine;
use iot_proto::rest::{EventStart, EventsQuery};
use iot_proto::sas::SasToken;
use model::message::{Message, SystemProperty};
use model::method::MethodRequest;
use model::twin::TwinChange;
use serde_json::json;

use crate::rest_server::{Answer, RestServer, answer, refusal};

fn client(server: &RestServer) -> HubClient {
    let text = "HostName=hub.example;SharedAccessKeyName=iothubowner;SharedAccessKey=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
    let connection_string: ServiceConnectionString = text.parse().unwrap();
    HubClient::new(&connection_string, server.dial(), server.tls(), Clock::system()).unwrap()
}

fn hub(answers: impl IntoIterator<Item = Answer>) -> (RestServer, HubClient) {
    let server = RestServer::start(answers);
    let client = client(&server);
    (server, client)
}

#[tokio::test]
async fn devices_are_created_changed_listed_and_deleted() {
    let device = r#"{"deviceId":"d#1","generationId":"638","etag":"MQ==","status":"enabled"}"#;
    let (server, client) = hub([
        answer(200, device),
        answer(200, device),
        answer(200, format!("[{device}]")),
        answer(204, ""),
    ]);
    let id = "d#1".parse().unwrap();
    let write = DeviceWrite { edge: Some(true), ..DeviceWrite::default() };
    let created = client.put_device(&id, &write, &IfMatch::Absent).await.unwrap();
    assert_eq!(created.etag, "MQ==");
    let asked = server.asked_once();
    assert_eq!(asked.line, "PUT /devices/d%231?api-version=2021-04-12");
    assert_eq!(asked.header("if-match"), None);
    assert_eq!(asked.json(), json!({ "deviceId": "d#1", "capabilities": { "iotEdge": true } }));
    let token = SasToken::parse(asked.header("authorization").unwrap()).unwrap();
    assert_eq!(token.resource_raw(), "hub.example");
    assert_eq!(token.key_name(), Some("iothubowner"));

    client.put_device(&id, &write, &IfMatch::Tag("MQ==".into())).await.unwrap();
    assert_eq!(server.asked_once().header("if-match"), Some("\"MQ==\""));
    assert_eq!(client.devices(7).await.unwrap().len(), 1);
    assert_eq!(server.asked_once().line, "GET /devices?api-version=2021-04-12&top=7");
    client.delete_device(&id, &IfMatch::Any).await.unwrap();
    let asked = server.asked_once();
    assert_eq!(asked.line, "DELETE /devices/d%231?api-version=2021-04-12");
    assert_eq!(asked.header("if-match"), Some("*"));
}

#[tokio::test]
async fn refusals_carry_code_name_and_tracking_id() {
    let method_refusal = json!({
        "Message": r#"{"errorCode":404103,"trackingId":"t-2","message":"The device isn't online."}"#,
        "ExceptionMessage": "",
    });
    let (_server, client) = hub([
        refusal(404, "DeviceNotFound", "no device d"),
        answer(404, method_refusal.to_string()),
        answer(200, "no json"),
        answer(502, "<html>"),
    ]);
    let id = "d".parse().unwrap();
    let error = client.device(&id).await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert_eq!(error.code_name(), Some("DeviceNotFound"));
    assert_eq!(error.answer().unwrap().code.unwrap().number, 404_001);
    let text = error.to_string();
    assert!(text.contains("404 DeviceNotFound: no device d (tracking id abc-1)"), "{text}");
    assert!(!error.is_transient());

    let error = client.device(&id).await.unwrap_err();
    assert_eq!(error.code_name(), Some("DeviceNotOnline"));
    assert!(error.to_string().ends_with("(tracking id t-2)"), "{error}");
    assert!(client.device(&id).await.unwrap_err().to_string().contains("not what was asked for"));
    let error = client.device(&id).await.unwrap_err();
    assert_eq!(error.status(), Some(502));
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_named() {
    let (server, _) = hub([]);
    let mut dial = server.dial();
    dial.address = Some("127.9.9.9".into());
    let text = "HostName=h;SharedAccessKeyName=p;SharedAccessKey=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
    let client =
        HubClient::new(&text.parse().unwrap(), dial.clone(), server.tls(), Clock::system())
            .unwrap();
    let error = client.device(&"d".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot reach {dial}; check")), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn twins_methods_content_and_messages() {
    let (server, client) = hub([
        answer(200, r#"{"deviceId":"e","moduleId":"m","version":2}"#),
        answer(200, r#"{"status":207,"payload":{"out":1.0}}"#),
        answer(204, ""),
        answer(204, ""),
        answer(200, r#"{"totalMessagesPurged":3,"deviceId":"e","moduleId":null}"#),
        answer(200, r#"{"totalDeviceCount":2,"enabledDeviceCount":1,"disabledDeviceCount":1}"#),
        answer(200, r#"{"connectedDeviceCount":1}"#),
    ]);
    let module = "e/m".parse().unwrap();
    let device = "e".parse().unwrap();
    let desired = json!({ "a": null }).as_object().unwrap().clone();
    let change = TwinChange { tags: None, desired: Some(desired) };
    let twin = client.patch_twin(&module, &change, &IfMatch::Any).await.unwrap();
    assert_eq!(twin["version"], 2);
    let asked = server.asked_once();
    assert_eq!(asked.line, "PATCH /twins/e/modules/m?api-version=2021-04-12");
    assert_eq!(asked.json(), json!({ "properties": { "desired": { "a": null } } }));

    let call = MethodRequest {
        name: "do".into(),
        payload: r#"{"in":1}"#.into(),
        response_timeout: Duration::from_secs(10),
        connect_timeout: Duration::ZERO,
    };
    let response = client.invoke_method(&module, &call).await.unwrap();
    assert_eq!((response.status, &response.payload[..]), (207, &br#"{"out":1.0}"#[..]));
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /twins/e/modules/m/methods?api-version=2021-04-12");
    assert_eq!(asked.json()["payload"], json!({ "in": 1 }));
    let bad = MethodRequest { payload: "no json".into(), ..call };
    assert!(client.invoke_method(&module, &bad).await.is_err());
    assert!(server.asked().is_empty(), "the caller's mistake is not sent");

    client.apply_content(&device, r#"{"modulesContent":{}}"#).await.unwrap();
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /devices/e/applyConfigurationContent?api-version=2021-04-12");
    assert_eq!(asked.json(), json!({ "modulesContent": {} }));

    let mut message = Message::from_body("hello").with_system(SystemProperty::MessageId, "m1");
    message.set_property("k", "v");
    client.send_to_device(&device, &message).await.unwrap();
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /devices/e/messages/deviceBound?api-version=2021-04-12");
    assert_eq!(asked.header("iothub-messageid"), Some("m1"));
    assert_eq!(asked.header("iothub-app-k"), Some("v"));
    assert_eq!(&asked.body[..], b"hello");
    assert_eq!(client.purge(&device).await.unwrap().total_messages_purged, 3);
    assert_eq!(client.device_statistics().await.unwrap().total_device_count, 2);
    assert_eq!(client.service_statistics().await.unwrap().connected_device_count, 1);
}

#[tokio::test]
async fn events_come_line_by_line() {
    let line = |number: u64| {
        json!({
            "partition": 1, "sequenceNumber": number, "offset": number.to_string(),
            "enqueuedTime": "2026-11-25T00:00:00.0000000Z", "systemProperties": {},
            "properties": { "k": "v" }, "body": { "t": 1.0 },
        })
        .to_string()
    };
    let (server, client) = hub([
        answer(200, format!("{}\n\n{}\n", line(5), line(6))),
        answer(200, format!("{}\n{{\"partition\"", line(5))),
        answer(200, "x".repeat(2 << 20)),
        refusal(404, "PartitionNotFound", "no partition 9"),
        answer(
            200,
            r#"{"partitions":[{"partition":0,"oldestSequenceNumber":1,"nextSequenceNumber":5,"lostRecords":0},{"partition":1,"oldestSequenceNumber":0,"nextSequenceNumber":0,"lostRecords":2}]}"#,
        ),
    ]);
    let query = EventsQuery { from: EventStart::Sequence(5), follow: true };
    let mut stream = client.events(1, &query).await.unwrap();
    let asked = server.asked_once();
    assert_eq!(asked.line, "GET /events/partitions/1?api-version=2021-04-12&from=5&follow=true");
    let first: EventLine = stream.next().await.unwrap().unwrap();
    assert_eq!(first.sequence_number, 5);
    assert_eq!(first.body.unwrap().get(), r#"{"t":1.0}"#);
    assert_eq!(stream.next().await.unwrap().unwrap().sequence_number, 6);
    assert!(stream.next().await.unwrap().is_none());

    let mut cut = client.events(1, &query).await.unwrap();
    cut.next().await.unwrap().unwrap();
    assert!(cut.next().await.unwrap_err().to_string().contains("ends within a line"));
    let mut endless = client.events(1, &query).await.unwrap();
    assert!(endless.next().await.unwrap_err().to_string().contains("too long"));
    let error = client.events(9, &query).await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    let partitions = client.partitions().await.unwrap();
    let numbers: Vec<u32> = partitions.iter().map(client::service::Partition::number).collect();
    assert_eq!(numbers, [0, 1]);
    assert_eq!(partitions[1].about.lost_records, 2);
}
