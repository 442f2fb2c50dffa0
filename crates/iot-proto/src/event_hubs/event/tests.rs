use crate::payload::event::{AuthScope, AuthType, EventLine, auth_method};

use super::*;

fn telemetry() -> ReceivedEvent {
    let mut message = Message::from_body(vec![b'{', b'}', 0xff])
        .with_system(SystemProperty::MessageId, "m-1")
        .with_system(SystemProperty::CorrelationId, "c-1")
        .with_system(SystemProperty::UserId, "me")
        .with_system(SystemProperty::To, "/devices/d 1/modules/m/messages/events")
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8")
        .with_system(SystemProperty::ExpiryTime, "2026-11-23T16:00:00.1230000Z")
        .with_system(SystemProperty::ModelId, "dtmi:x;1")
        .with_system(SystemProperty::Component, "thermostat")
        .with_system(SystemProperty::CreationTime, "2026-11-23T15:00:00Z");
    message.set_property("alert", "true");
    message.set_property("\u{e4}", "");
    ReceivedEvent {
        sequence_number: 17,
        enqueued: Timestamp::from_millisecond(1_795_450_071_890).unwrap(),
        source: "Telemetry".into(),
        sender: "d1/m".parse().unwrap(),
        generation: GenerationId::from_number(638_912_345_678_901_234),
        auth_method: auth_method(AuthScope::Module, AuthType::Sas).into(),
        message,
    }
}

/// The types of sa §9.6, name by name.
#[test]
fn everything_has_its_place_and_type() {
    let event = telemetry();
    let message = to_message(&event.parts(0));
    let auth = r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#;
    let annotations = [
        ("x-opt-sequence-number", Value::Long(17)),
        ("x-opt-offset", "17".into()),
        ("x-opt-enqueued-time", Value::Timestamp(1_795_450_071_890)),
        ("x-opt-partition-key", "d1".into()),
        ("iothub-connection-device-id", "d1".into()),
        ("iothub-connection-module-id", "m".into()),
        ("iothub-connection-auth-method", auth.into()),
        ("iothub-connection-auth-generation-id", "638912345678901234".into()),
        ("iothub-enqueuedtime", Value::Timestamp(1_795_450_071_890)),
        ("iothub-message-source", "Telemetry".into()),
        ("dt-dataschema", "dtmi:x;1".into()),
        ("dt-subject", "thermostat".into()),
    ];
    assert_eq!(message.message_annotations.len(), annotations.len());
    for (name, value) in annotations {
        assert_eq!(message.message_annotations.get(name), Some(&value), "{name}");
    }
    let keys = || message.message_annotations.iter().map(|(key, _)| key);
    assert!(keys().all(|key| matches!(key, Value::Symbol(_))));
    let properties = &message.properties;
    assert_eq!(properties.message_id, Some(MessageId::String("m-1".into())));
    assert_eq!(properties.user_id.as_deref(), Some(&b"me"[..]));
    assert_eq!(properties.content_type, Some(Symbol::from_static("application/json")));
    assert_eq!(properties.absolute_expiry_time, Some(1_795_449_600_123));
    let application: Vec<_> = message.application_properties.iter().cloned().collect();
    let expected: Vec<(Value, Value)> =
        [("alert", "true"), ("\u{e4}", ""), ("iothub-creation-time-utc", "2026-11-23T15:00:00Z")]
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
    assert_eq!(application, expected);
    assert_eq!(message.body, Body::Data(vec![Bytes::from_static(b"{}\xff")]));
}

#[test]
fn what_is_not_there_is_left_out() {
    let mut event = telemetry();
    event.sender = "d 1".replace(' ', "+").parse().unwrap();
    event.message = Message::default();
    let message = to_message(&event.parts(0));
    assert_eq!(message.message_annotations.get("iothub-connection-module-id"), None);
    assert_eq!(message.message_annotations.get("dt-subject"), None);
    assert_eq!(message.properties.to.as_deref(), Some("/devices/d%2B1/messages/events"));
    assert_eq!(message.properties.message_id, None);
    assert!(message.application_properties.is_empty());
    // Clients want a section, even an empty one.
    assert_eq!(message.body, Body::Data(vec![Bytes::new()]));
    event.source = "twinChangeEvents".into();
    event.auth_method = String::new();
    let message = to_message(&event.parts(0));
    assert_eq!(message.properties.to, None);
    assert_eq!(message.message_annotations.get("iothub-connection-auth-method"), None);
}

#[test]
fn a_received_event_is_the_one_that_was_sent() {
    let event = telemetry();
    let mut read = ReceivedEvent::from_message(to_message(&event.parts(0))).unwrap();
    let sorted = |message: &mut Message| message.system.sort();
    let mut sent = event.clone();
    sorted(&mut read.message);
    sorted(&mut sent.message);
    assert_eq!(read, sent);
    let line = EventLine::new(&read.parts(3));
    assert_eq!((line.partition, line.offset.as_str()), (3, "17"));
}

#[test]
fn a_message_without_its_annotations_is_no_event() {
    let whole = to_message(&telemetry().parts(0));
    for name in ["x-opt-sequence-number", "x-opt-enqueued-time", "iothub-connection-device-id"] {
        let mut message = whole.clone();
        let others = message.message_annotations.into_iter();
        message.message_annotations = others.filter(|(k, _)| k.as_text() != Some(name)).collect();
        assert_eq!(ReceivedEvent::from_message(message), Err(NoEvent(name)));
    }
}

#[test]
fn the_runtime_metric_has_exact_types() {
    let now = Timestamp::from_millisecond(2_000).unwrap();
    let enqueued = Timestamp::from_millisecond(1_000).unwrap();
    let end = PartitionInfo { partition: 0, oldest: 0, next: 5, last_enqueued: Some(enqueued) };
    let map = runtime_metric(&end, now);
    for (name, value) in [
        ("last_enqueued_sequence_number", Value::Long(4)),
        ("last_enqueued_offset", "4".into()),
        ("last_enqueued_time_utc", Value::Timestamp(1_000)),
        ("runtime_info_retrieval_time_utc", Value::Timestamp(2_000)),
    ] {
        assert_eq!(map.get(name), Some(&value), "{name}");
    }
}
