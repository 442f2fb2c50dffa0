use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use model::identity::{
    Authentication, DeviceIdentity, ModuleIdentity, Status, SymmetricKeys, edge_scope,
};
use model::message::{Message, SystemProperty};
use model::method::{MethodRequest, MethodResponse};
use model::twin::{Twin, TwinChange};
use model::{DeviceId, Etag, GenerationId, ModuleId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::device::{DeviceJson, DeviceWrite};
use super::event::{AuthScope, AuthType, EventLine, EventParts, auth_method};
use super::module::{ModuleJson, ModuleWrite};
use super::scope::{ScopeDevice, ScopeModule, ScopeRequest};
use super::twin::{DesiredPatch, DeviceTwin, TwinParts, read_change};
use super::*;

const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const OTHER_KEY: &str = "bGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGw=";

fn device_id() -> DeviceId {
    "edge1".parse().unwrap()
}

fn keys() -> SymmetricKeys {
    SymmetricKeys { primary: KEY.into(), secondary: OTHER_KEY.into() }
}

fn device() -> DeviceIdentity {
    let generation = GenerationId::from_number(638_912_345_678_901_234);
    DeviceIdentity {
        id: device_id(),
        etag: Etag(123_456_789),
        status: Status::Enabled,
        status_reason: None,
        status_updated: None,
        authentication: Authentication::Sas(keys()),
        edge: true,
        scope: Some(edge_scope(&device_id(), &generation)),
        generation,
        parent_scopes: vec![],
    }
}

fn module() -> ModuleIdentity {
    ModuleIdentity {
        device: device_id(),
        id: "m1".parse().unwrap(),
        generation: GenerationId::from_number(2),
        etag: Etag(1),
        managed_by: Some("IotEdge".into()),
        authentication: Authentication::Sas(keys()),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_device_is_written_as_the_service_does() {
    let text = serde_json::to_string(&DeviceJson::new(&device(), &Activity::default(), 0)).unwrap();
    // sa §13.1, with its keys.
    let expected = format!(
        r#"{{"deviceId":"edge1","generationId":"638912345678901234","etag":"MTIzNDU2Nzg5","connectionState":"Disconnected","status":"enabled","statusReason":null,"connectionStateUpdatedTime":"0001-01-01T00:00:00Z","statusUpdatedTime":"0001-01-01T00:00:00Z","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authentication":{{"symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}},"x509Thumbprint":{{"primaryThumbprint":null,"secondaryThumbprint":null}},"type":"sas"}},"capabilities":{{"iotEdge":true}},"deviceScope":"ms-azure-iot-edge://edge1-638912345678901234","parentScopes":[]}}"#
    );
    assert_eq!(text, expected);
    let connected = Activity {
        connected: true,
        connected_updated: Some(at("2026-11-25T01:02:03.5Z")),
        last_activity: None,
    };
    let json = DeviceJson::new(&device(), &connected, 3);
    assert_eq!(json.connection_state, "Connected");
    assert_eq!(json.connection_state_updated_time, "2026-11-25T01:02:03.5000000Z");
    assert_eq!(json.cloud_to_device_message_count, 3);
    let other = DeviceIdentity { authentication: Authentication::None, scope: None, ..device() };
    let json = serde_json::to_value(DeviceJson::new(&other, &connected, 0)).unwrap();
    assert_eq!(
        json["authentication"]["symmetricKey"],
        json!({"primaryKey":null,"secondaryKey":null})
    );
    assert!(json.get("deviceScope").is_none());
    assert_eq!(json["parentScopes"], json!([]));
}

#[test]
fn a_module_is_written_as_the_service_does() {
    let json = serde_json::to_value(ModuleJson::new(&module(), &Activity::default())).unwrap();
    let fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        [
            "moduleId",
            "managedBy",
            "deviceId",
            "generationId",
            "etag",
            "connectionState",
            "connectionStateUpdatedTime",
            "lastActivityTime",
            "cloudToDeviceMessageCount",
            "authentication",
        ]
    );
}

fn write(body: &Value) -> Result<DeviceWrite, Fault> {
    DeviceWrite::read(&device_id(), body.to_string().as_bytes())
}

#[test]
fn what_clients_put_is_understood() {
    use AuthenticationWrite as A;
    for (body, authentication) in [
        (json!({}), A::Keep),
        (json!({"authentication": null}), A::Keep),
        (json!({"deviceId":"edge1","authentication":{}}), A::Keep),
        (json!({"authentication":{"type":null,"symmetricKey":null}}), A::Keep),
        // CLI, Node: no keys or empty ones.
        (json!({"authentication":{"symmetricKey":{},"type":"sas"}}), A::SasKeep),
        (
            json!({"authentication":{"symmetricKey":{"primaryKey":"","secondaryKey":""},"type":"sas"}}),
            A::SasKeep,
        ),
        (
            json!({"authentication":{"symmetricKey":{"primaryKey":KEY,"secondaryKey":OTHER_KEY},"x509Thumbprint":{},"type":"sas"}}),
            A::Keys(keys()),
        ),
        (
            json!({"authentication":{"symmetricKey":{"primaryKey":KEY,"secondaryKey":OTHER_KEY}}}),
            A::Keys(keys()),
        ),
        (
            json!({"authentication":{"type":"certificateAuthority"}}),
            A::Other(Authentication::CertificateAuthority),
        ),
        (json!({"authentication":{"type":"None"}}), A::Other(Authentication::None)),
        (
            json!({"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"A".repeat(40)},"symmetricKey":{"primaryKey":KEY}}}),
            A::Other(Authentication::SelfSigned { primary: Some("A".repeat(40)), secondary: None }),
        ),
    ] {
        assert_eq!(write(&body).unwrap().authentication, authentication, "{body}");
    }
}

#[test]
fn a_whole_echo_is_taken() {
    let mut body =
        serde_json::to_value(DeviceJson::new(&device(), &Activity::default(), 0)).unwrap();
    body["etag"] = json!("*");
    body["status"] = json!("Disabled");
    body["lastActivityTime"] = json!(17);
    body["connectionState"] = json!({"odd": true});
    body["attributes"] = json!({});
    let write = write(&body).unwrap();
    assert_eq!(write.status, Some(Status::Disabled));
    assert_eq!(write.authentication, AuthenticationWrite::Keys(keys()));
    assert_eq!(write.edge, Some(true));
    assert_eq!(write.scope.as_deref(), Some("ms-azure-iot-edge://edge1-638912345678901234"));
    assert_eq!(write.parent_scopes, Some(vec![]));
}

#[test]
fn wrong_bodies_name_the_field() {
    for (body, part) in [
        (json!([]), "not as expected"),
        (json!({"deviceId":"other"}), "deviceId"),
        (json!({"status":"on"}), "status"),
        (json!({"statusReason":"x".repeat(129)}), "statusReason"),
        (json!({"authentication":{"type":"tpm"}}), "authentication.type"),
        (
            json!({"authentication":{"type":"sas","symmetricKey":{"primaryKey":KEY}}}),
            "symmetricKey",
        ),
        (
            json!({"authentication":{"symmetricKey":{"primaryKey":KEY,"secondaryKey":"c2hvcnQ="}}}),
            "secondaryKey",
        ),
        (
            json!({"authentication":{"symmetricKey":{"primaryKey":"!","secondaryKey":KEY}}}),
            "primaryKey",
        ),
        (json!({"authentication":{"type":"selfSigned"}}), "x509Thumbprint"),
        (
            json!({"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"A".repeat(40),"secondaryThumbprint":"B".repeat(64)}}}),
            "x509Thumbprint",
        ),
        (
            json!({"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"G".repeat(40)}}}),
            "x509Thumbprint",
        ),
    ] {
        let fault = write(&body).unwrap_err();
        assert!(fault.detail.contains(part), "{body}: {fault}");
        assert!(!fault.detail.contains(KEY), "{fault}");
    }
    assert!(DeviceWrite::read(&device_id(), b"{").is_err());
    assert!(
        DeviceWrite::read(&device_id(), br#"{"status":"enabled","status":"disabled"}"#).is_err()
    );
}

#[test]
fn writes_of_our_own_client_read_back() {
    for write in [
        DeviceWrite::default(),
        DeviceWrite {
            status: Some(Status::Disabled),
            status_reason: Some("broken".into()),
            authentication: AuthenticationWrite::Keys(keys()),
            edge: Some(true),
            scope: Some(String::new()),
            parent_scopes: Some(vec!["ms-azure-iot-edge://p-1".into()]),
        },
        DeviceWrite { authentication: AuthenticationWrite::SasKeep, ..DeviceWrite::default() },
    ] {
        assert_eq!(DeviceWrite::read(&device_id(), &write.to_body(&device_id())), Ok(write));
    }
    let m: ModuleId = "$edgeHub".parse().unwrap();
    let write = ModuleWrite {
        managed_by: Some("IotEdge".into()),
        authentication: AuthenticationWrite::Keys(keys()),
    };
    let body = write.to_body(&device_id(), &m);
    assert_eq!(ModuleWrite::read(&device_id(), &m, &body), Ok(write));
    assert!(ModuleWrite::read(&device_id(), &"x".parse().unwrap(), &body).is_err());
}

#[test]
fn a_twin_has_every_field() {
    let mut twin = Twin::new();
    let change =
        read_change(br#"{"tags":{"site":"a"},"properties":{"desired":{"temp":7}}}"#).unwrap();
    twin.patch(change, at("2026-01-02T03:04:05.1234567Z")).unwrap();
    let (device, module) = (device(), module());
    let parts = TwinParts {
        device: &device,
        module: None,
        activity: &Activity::default(),
        waiting_messages: 2,
        twin: &twin,
        model_id: Some("dtmi:x;1"),
    };
    let document = Value::Object(parts.document());
    assert_eq!(
        document,
        json!({
            "deviceId": "edge1", "etag": "AAAAAAAAAAI=", "deviceEtag": "MTIzNDU2Nzg5",
            "status": "enabled", "statusReason": null, "statusUpdateTime": "0001-01-01T00:00:00Z",
            "connectionState": "Disconnected", "lastActivityTime": "0001-01-01T00:00:00Z",
            "cloudToDeviceMessageCount": 2, "authenticationType": "sas",
            "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            "modelId": "dtmi:x;1", "version": 3, "tags": {"site": "a"},
            "properties": {
                "desired": {
                    "temp": 7,
                    "$metadata": {
                        "$lastUpdated": "2026-01-02T03:04:05.1234567Z", "$lastUpdatedVersion": 2,
                        "temp": {"$lastUpdated": "2026-01-02T03:04:05.1234567Z", "$lastUpdatedVersion": 2},
                    },
                    "$version": 2,
                },
                "reported": {"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1},
            },
            "capabilities": {"iotEdge": true},
            "deviceScope": "ms-azure-iot-edge://edge1-638912345678901234", "parentScopes": [],
        })
    );
    let of_module = TwinParts { module: Some(&module), ..parts }.document();
    assert_eq!(of_module["moduleId"], "m1");
    assert_eq!(of_module["deviceEtag"], "MQ==");
    assert_eq!(of_module["cloudToDeviceMessageCount"], 0);
    assert!(!of_module.contains_key("capabilities"));
    // A whole twin sent back is a change of tags and desired only.
    let change = read_change(document.to_string().as_bytes()).unwrap();
    assert_eq!(change.tags, json!({"site": "a"}).as_object().cloned());
    assert_eq!(change.desired.unwrap()["temp"], 7);
}

#[test]
fn twin_changes_are_read() {
    for (body, tags, desired) in [
        ("{}", false, false),
        (r#"{"tags":null,"properties":null}"#, false, false),
        (r#"{"tags":{}}"#, true, false),
        (r#"{"properties":{"reported":{"x":1}}}"#, false, false),
        (r#"{"properties":{"desired":{"b":null,"c":2}},"etag":"*","status":1}"#, false, true),
    ] {
        let change = read_change(body.as_bytes()).unwrap();
        assert_eq!((change.tags.is_some(), change.desired.is_some()), (tags, desired), "{body}");
        let read = read_change(&twin::change_body(&change)).unwrap();
        assert_eq!(read, change);
    }
    for body in [
        "",
        "[]",
        r#"{"tags":1}"#,
        r#"{"properties":[]}"#,
        r#"{"properties":{"desired":"x"}}"#,
        r#"{"tags":{},"tags":{}}"#,
    ] {
        assert!(read_change(body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(read_change(b"{}").unwrap(), TwinChange::default());
}

#[test]
fn device_twins_always_have_versions() {
    let mut twin = Twin::new();
    twin.report(object(br#"{"x":1}"#).unwrap(), at("2026-01-01T00:00:00Z")).unwrap();
    let body = twin.device_view().to_string();
    let read = DeviceTwin::read(body.as_bytes()).unwrap();
    assert_eq!((read.desired_version, read.reported_version), (1, 2));
    assert_eq!(read.reported["x"], 1);
    assert_eq!(String::from_utf8(read.to_body()).unwrap(), body);
    let patch = DesiredPatch { patch: object(br#"{"a":null}"#).unwrap(), version: 7 };
    assert_eq!(patch.to_body(), br#"{"a":null,"$version":7}"#);
    assert_eq!(DesiredPatch::read(&patch.to_body()), Ok(patch));
    for body in ["", "{}", r#"{"$version":"7"}"#, "[]"] {
        assert!(DesiredPatch::read(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn method_calls_are_read_as_every_client_writes_them() {
    for (body, payload, response_s, connect_s) in [
        (r#"{"methodName":"m"}"#, "null", 30, 0),
        (r#"{"methodName":"m","payload":null}"#, "null", 30, 0),
        (r#"{"methodName":"m","payload":""}"#, "\"\"", 30, 0),
        (r#"{"methodName":"m","payload":{"a":1.10}}"#, r#"{"a":1.10}"#, 30, 0),
        (
            r#"{"methodName":"m","responseTimeoutInSeconds":"30","connectTimeoutInSeconds":"0"}"#,
            "null",
            30,
            0,
        ),
        (
            r#"{"methodName":"m","responseTimeoutInSeconds":300,"connectTimeoutInSeconds":300}"#,
            "null",
            300,
            300,
        ),
        (r#"{"methodName":"m","timeout":60,"payload":[]}"#, "[]", 60, 0),
        (r#"{"methodName":"m","responseTimeoutInSeconds":null}"#, "null", 30, 0),
    ] {
        let request = method::read_request(body.as_bytes()).unwrap();
        assert_eq!(request.payload, payload.as_bytes(), "{body}");
        assert_eq!(request.response_timeout.as_secs(), response_s, "{body}");
        assert_eq!(request.connect_timeout.as_secs(), connect_s, "{body}");
        let again = method::read_request(&method::request_body(&request).unwrap());
        assert_eq!(again, Ok(request), "{body}");
    }
    let large = format!(r#"{{"methodName":"m","payload":"{}"}}"#, "x".repeat(128 * 1024));
    for (body, kind) in [
        ("{}", FaultKind::ArgumentNull),
        (r#"{"methodName":""}"#, FaultKind::ArgumentNull),
        (r#"{"methodName":"a\nb"}"#, FaultKind::ArgumentInvalid),
        (r#"{"methodName":7}"#, FaultKind::IotHubFormatError),
        (r#"{"methodName":"m","responseTimeoutInSeconds":4}"#, FaultKind::ArgumentInvalid),
        (r#"{"methodName":"m","responseTimeoutInSeconds":301}"#, FaultKind::ArgumentInvalid),
        (r#"{"methodName":"m","connectTimeoutInSeconds":301}"#, FaultKind::ArgumentInvalid),
        (r#"{"methodName":"m","connectTimeoutInSeconds":-1}"#, FaultKind::ArgumentInvalid),
        (r#"{"methodName":"m","connectTimeoutInSeconds":"soon"}"#, FaultKind::ArgumentInvalid),
        (r#"{"methodName":"m","payload":{"a"}}"#, FaultKind::IotHubFormatError),
        ("", FaultKind::IotHubFormatError),
        (&large, FaultKind::MessageTooLarge),
    ] {
        assert_eq!(method::read_request(body.as_bytes()).unwrap_err().kind, kind, "{body:.80}");
    }
    let long = format!(r#"{{"methodName":"{}"}}"#, "x".repeat(101));
    assert!(method::read_request(long.as_bytes()).is_err());
}

#[test]
fn method_answers_are_always_json() {
    for (payload, body) in [
        (&b""[..], r#"{"status":200,"payload":null}"#),
        (b" \n", r#"{"status":200,"payload":null}"#),
        (b"{\"done\": true}", r#"{"status":200,"payload":{"done": true}}"#),
        (b"1.50", r#"{"status":200,"payload":1.50}"#),
        (b"not json", r#"{"status":200,"payload":"not json"}"#),
        (b"{\"a\":", r#"{"status":200,"payload":"{\"a\":"}"#),
        (b"\xff", "{\"status\":200,\"payload\":\"\u{fffd}\"}"),
    ] {
        let response = MethodResponse { status: 200, payload: Bytes::copy_from_slice(payload) };
        let written = method::response_body(&response);
        assert_eq!(String::from_utf8(written.clone()).unwrap(), body);
        let read = method::read_response(&written).unwrap();
        assert_eq!(read.status, 200);
        assert!(serde_json::from_slice::<Value>(&read.payload).is_ok());
    }
    let request = MethodRequest {
        name: "m".into(),
        payload: Bytes::from_static(b"not json"),
        response_timeout: std::time::Duration::from_secs(30),
        connect_timeout: std::time::Duration::ZERO,
    };
    assert!(method::request_body(&request).is_err());
}

#[test]
fn scope_answers_carry_identities() {
    let device = device();
    let json = ScopeDevice::from(&device);
    let read = json.to_model().unwrap();
    assert_eq!(read, DeviceIdentity { etag: Etag(0), ..device });
    let read = ScopeModule::from(&module()).to_model().unwrap();
    assert_eq!(read, ModuleIdentity { etag: Etag(0), managed_by: None, ..module() });
    // As edge hub writes its question.
    let request: ScopeRequest =
        read_json(br#"{"pageSize":10,"continuationLink":null,"authChain":"edge1"}"#);
    assert_eq!((request.page_size, request.continuation_link), (10, None));
    let request: ScopeRequest = read_json(br#"{"authChain":"edge1"}"#);
    assert_eq!(request.page_size, scope::PAGE_SIZE_DEFAULT);
    // As the cloud may answer, with fields left out.
    let result: scope::ScopeResult = read_json(
        br#"{"devices":[{"deviceId":"d","generationId":"1","status":"disabled","authentication":{"type":"none"}}],"continuationLink":null}"#,
    );
    let read = result.devices[0].to_model().unwrap();
    assert_eq!(read.status, Status::Disabled);
    assert_eq!(read.authentication, Authentication::None);
}

fn read_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    read(body).unwrap()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn messages_are_read_from_headers() {
    let headers = headers(&[
        ("iothub-to", "/devices/d/messages/devicebound"),
        ("iothub-messageid", "m1"),
        ("iothub-ack", "full"),
        ("iothub-app-key", "v 1"),
        ("iothub-unheard", "x"),
        ("iothub-userid", ""),
        ("content-type", "text/plain"),
        ("authorization", "SharedAccessSignature x"),
    ]);
    let message = message::read_one(&headers, Bytes::from_static(b"body")).unwrap();
    assert_eq!(message.system(SystemProperty::To), Some("/devices/d/messages/devicebound"));
    assert_eq!(message.system(SystemProperty::MessageId), Some("m1"));
    assert_eq!(message.system(SystemProperty::Ack), Some("full"));
    assert_eq!(message.system(SystemProperty::UserId), None);
    assert_eq!(message.system(SystemProperty::ContentType), None);
    assert_eq!(message.properties, [("key".to_owned(), "v 1".to_owned())]);
    assert_eq!(message.body, "body");
    assert_eq!(
        message::from_headers(&message::to_headers(&message).unwrap(), message.body.clone()),
        Ok(message)
    );
    let mut odd = Message::default();
    odd.set_property("no header", "x");
    assert!(message::to_headers(&odd).is_err());
}

#[test]
fn messages_are_read_from_documents() {
    // Node's and C's batches.
    let body = br#"[{"body":"Ym9keQ==","properties":{"iothub-app-k":"v","IoTHub-App-K2":"w","iothub-messageid":"1","n":5}},{"body":"text","base64Encoded":false}]"#;
    let messages = message::from_document(body).unwrap();
    assert_eq!(messages[0].body, "body");
    assert_eq!(messages[0].property("k"), Some("v"));
    assert_eq!(messages[0].property("K2"), Some("w"));
    assert_eq!(messages[0].property("n"), Some("5"));
    assert_eq!(messages[0].system(SystemProperty::MessageId), Some("1"));
    assert_eq!(messages[1].body, "text");
    let document =
        headers(&[("content-type", "application/vnd.microsoft.iothub.json; charset=utf-8")]);
    assert!(message::read_one(&document, Bytes::from_static(body)).is_err(), "two are not one");
    assert!(message::read_one(&document, Bytes::from_static(b"[]")).is_err());
    for body in [
        &br#"{"body":""}"#[..],
        br#"[{"body":"*"}]"#,
        br#"[{"body":"","properties":{"k":{}}}]"#,
        br#"[{"body":"","properties":{"iothub-app-":"v"}}]"#,
    ] {
        assert!(message::from_document(body).is_err());
    }
}

#[test]
fn events_are_lines() {
    let sender = "edge1/m1".parse().unwrap();
    let mut message = Message::from_body(&b"{\"temp\":\n 21.50}"[..])
        .with_system(SystemProperty::ContentType, "application/json; charset=utf-8")
        .with_system(SystemProperty::ContentEncoding, "UTF-8")
        .with_system(SystemProperty::MessageId, "m\n1")
        .with_system(SystemProperty::ConnectionDeviceId, "forged");
    message.set_property("k", "v");
    let line = |message: &Message| {
        EventLine::new(&EventParts {
            partition: 1,
            sequence_number: 42,
            enqueued: at("2026-11-25T00:00:00Z"),
            source: "Telemetry",
            sender: &sender,
            generation: "7",
            auth_method: auth_method(AuthScope::Module, AuthType::Sas),
            message,
        })
    };
    let bytes = line(&message).to_line();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert_eq!(
        text.trim_end(),
        r#"{"partition":1,"sequenceNumber":42,"offset":"42","enqueuedTime":"2026-11-25T00:00:00.0000000Z","systemProperties":{"iothub-connection-device-id":"edge1","iothub-connection-module-id":"m1","iothub-connection-auth-generation-id":"7","iothub-connection-auth-method":"{\"scope\":\"module\",\"type\":\"sas\",\"issuer\":\"iothub\",\"acceptingIpFilterRule\":null}","iothub-message-source":"Telemetry","iothub-enqueuedtime":"2026-11-25T00:00:00.0000000Z","content-type":"application/json; charset=utf-8","content-encoding":"UTF-8","message-id":"m\n1"},"properties":{"k":"v"},"body":{"temp":  21.50}}"#
    );
    let read = EventLine::parse(&bytes).unwrap();
    assert_eq!(read.device_id(), Some("edge1"));
    assert_eq!(read.module_id(), Some("m1"));
    assert_eq!(read.body_bytes().unwrap(), "{\"temp\":  21.50}");

    for message in [
        Message::from_body(&b"\x00\xff"[..]),
        Message::from_body(&b"not json"[..])
            .with_system(SystemProperty::ContentType, "application/json")
            .with_system(SystemProperty::ContentEncoding, "utf-8"),
        Message::from_body(&b"{}"[..]).with_system(SystemProperty::ContentType, "application/json"),
        Message::default(),
    ] {
        let line = line(&message);
        assert_eq!(line.body_base64, Some(STANDARD.encode(&message.body)));
        let read = EventLine::parse(&line.to_line()).unwrap();
        assert_eq!(read.body_bytes().unwrap(), message.body);
    }
    // A body of the text `null` is a body.
    let null = Message::from_body(&b"null"[..])
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8");
    let read = EventLine::parse(&line(&null).to_line()).unwrap();
    assert_eq!(read.body_bytes().unwrap(), "null");
}

#[test]
fn auth_methods_are_json_texts() {
    for scope in [AuthScope::Hub, AuthScope::Device, AuthScope::Module] {
        for kind in [AuthType::Sas, AuthType::X509] {
            let value: Value = serde_json::from_str(auth_method(scope, kind)).unwrap();
            assert_eq!(value["issuer"], "iothub");
        }
    }
}

proptest! {
    #[test]
    fn messages_read_back_from_documents(
        body in proptest::collection::vec(any::<u8>(), 0..64),
        id in proptest::option::of("\\PC{1,12}"),
        properties in proptest::collection::btree_map("\\PC{1,12}", "\\PC{0,12}", 0..5),
    ) {
        let mut message = Message::from_body(body);
        if let Some(id) = id {
            message.set_system(SystemProperty::MessageId, id);
        }
        for (name, value) in properties {
            message.set_property(name, value);
        }
        let read = message::from_document(&message::to_document(std::slice::from_ref(&message)));
        prop_assert_eq!(read, Ok(vec![message]));
    }

    #[test]
    fn no_body_makes_it_panic(body in "[\\[\\]{}:,\"a-z0-9]{0,60}") {
        let bytes = body.as_bytes();
        let _ = DeviceWrite::read(&device_id(), bytes);
        let _ = read_change(bytes);
        let _ = method::read_request(bytes);
        let _ = message::from_document(bytes);
        let _ = EventLine::parse(bytes);
        let _ = DeviceTwin::read(bytes);
    }
}
