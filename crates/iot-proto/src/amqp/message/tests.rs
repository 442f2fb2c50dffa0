use model::limits;

use super::*;

fn annotated(entries: &[(&'static str, Value)]) -> Map {
    entries.iter().map(|(key, value)| (Symbol::from_static(key), value.clone())).collect()
}

#[test]
fn telemetry_of_every_kind_becomes_a_message() {
    let message = ::amqp::Message {
        properties: Properties {
            message_id: Some(MessageId::Uuid([0x11; 16])),
            correlation_id: Some(MessageId::Ulong(9)),
            user_id: Some("me".into()),
            to: Some("/devices/d/messages/events".into()),
            content_type: Some(Symbol::from_static("application/json")),
            content_encoding: Some(Symbol::from_static("utf-8")),
            absolute_expiry_time: Some(1_893_456_000_000),
            ..Properties::default()
        },
        application_properties: [
            ("a", Value::from("b")),
            ("n", Value::Int(-5)),
            ("u", Value::Ulong(u64::MAX)),
            ("f", Value::Double(1.5)),
            ("t", Value::Boolean(true)),
            ("none", Value::Null),
            ("id", Value::Uuid([0; 16])),
            ("a", Value::from("last wins")),
            ("iothub-outputname", Value::from("out1")),
            ("iothub-creation-time-utc", Value::from("2026-01-01T00:00:00Z")),
            ("iothub-app", Value::from("kept")),
        ]
        .into_iter()
        .collect(),
        message_annotations: annotated(&[
            ("dt-subject", "thermostat1".into()),
            ("iothub-interface-id", "urn:x".into()),
            // Only a hub says who sent it.
            ("iothub-connection-device-id", "somebody else".into()),
        ]),
        body: Body::Data(vec!["he".into(), "llo".into()]),
        ..::amqp::Message::default()
    };
    let read = from_device(message).unwrap();
    assert_eq!(read.body, "hello");
    use SystemProperty as P;
    for (property, value) in [
        (P::MessageId, "11111111-1111-1111-1111-111111111111"),
        (P::CorrelationId, "9"),
        (P::UserId, "me"),
        (P::To, "/devices/d/messages/events"),
        (P::ContentType, "application/json"),
        (P::ContentEncoding, "utf-8"),
        (P::ExpiryTime, "2030-01-01T00:00:00.0000000Z"),
        (P::OutputName, "out1"),
        (P::CreationTime, "2026-01-01T00:00:00Z"),
        (P::Component, "thermostat1"),
        (P::InterfaceId, "urn:x"),
    ] {
        assert_eq!(read.system(property), Some(value), "{property:?}");
    }
    assert_eq!(read.system(P::ConnectionDeviceId), None);
    for (name, value) in [
        ("a", "last wins"),
        ("n", "-5"),
        ("u", "18446744073709551615"),
        ("f", "1.5"),
        ("t", "true"),
        ("none", ""),
        ("id", "00000000-0000-0000-0000-000000000000"),
        ("iothub-app", "kept"),
    ] {
        assert_eq!(read.property(name), Some(value), "{name}");
    }
}

#[test]
fn bodies_of_other_kinds_are_taken_or_refused() {
    let with_body = |body| from_device(::amqp::Message { body, ..Default::default() });
    assert_eq!(with_body(Body::Value("x".into())).unwrap().body, "x");
    assert_eq!(with_body(Body::Value(Value::Binary("x".into()))).unwrap().body, "x");
    assert_eq!(with_body(Body::Empty).unwrap().body, "");
    assert_eq!(with_body(Body::Value(Value::Int(1))), Err(MessageError::Body));
    assert_eq!(with_body(Body::Sequence(Vec::new())), Err(MessageError::Body));
    let properties = |count: usize| ::amqp::Message {
        application_properties: (0..count).map(|n| (n.to_string(), "v")).collect(),
        ..Default::default()
    };
    assert!(from_device(properties(PROPERTIES_MAX)).is_ok());
    assert_eq!(from_device(properties(PROPERTIES_MAX + 1)), Err(MessageError::TooMany));
    let nested = ::amqp::Message {
        application_properties: [("m", Value::Map(Map::new()))].into_iter().collect(),
        ..Default::default()
    };
    assert_eq!(from_device(nested), Err(MessageError::Property("m".into())));
}

#[test]
fn telemetry_reads_back_as_it_was_built() {
    use SystemProperty as P;
    let mut message = Message::from_body("body")
        .with_system(P::MessageId, "m")
        .with_system(P::CorrelationId, "c")
        .with_system(P::ContentType, "text/plain")
        .with_system(P::ExpiryTime, "2030-01-01T00:00:00.0000000Z")
        .with_system(P::OutputName, "out")
        .with_system(P::Component, "part");
    message.set_property("a", "b");
    let mut read = from_device(telemetry(&message)).unwrap();
    let mut sent = message;
    read.system.sort();
    sent.system.sort();
    assert_eq!(read, sent);
}

/// Trap 24: strings, one data section, the types of the annotations.
#[test]
fn a_cloud_to_device_message_is_what_sdks_demand() {
    use SystemProperty as P;
    let lock = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let mut message = Message::from_body("do it")
        .with_system(P::MessageId, "m")
        .with_system(P::Ack, "full")
        .with_system(P::ContentType, "ünlawful")
        .with_system(P::ExpiryTime, "soon");
    message.set_property("a", "b");
    let facts = DeliveryFacts {
        lock,
        sequence: 3,
        enqueued: "2026-01-01T00:00:00Z".parse().unwrap(),
        delivery_count: 1000,
    };
    let sent = cloud_to_device(&"d".parse().unwrap(), &message, facts);
    assert_eq!(sent.properties.to.as_deref(), Some("/devices/d/messages/devicebound"));
    assert_eq!(sent.properties.message_id, Some(MessageId::String("m".into())));
    assert_eq!(sent.properties.content_type, None);
    assert_eq!(sent.properties.absolute_expiry_time, None);
    assert_eq!(sent.body, Body::Data(vec!["do it".into()]));
    assert!(sent.application_properties.iter().all(|(_, v)| matches!(v, Value::String(_))));
    assert_eq!(sent.application_properties.get("iothub-ack"), Some(&"full".into()));
    for (name, value) in [
        ("iothub-enqueuedtime", Value::Timestamp(1_767_225_600_000)),
        ("iothub-deliverycount", Value::Ubyte(255)),
        ("x-opt-lock-token", Value::Uuid(lock.into_bytes())),
        ("x-opt-sequence-number", Value::Ulong(3)),
    ] {
        assert_eq!(sent.message_annotations.get(name), Some(&value), "{name}");
    }
    let tag = lock_tag(lock);
    assert_eq!(tag[..4], [0x33, 0x22, 0x11, 0x00]);
    assert_eq!(tag[8..], [0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
    assert_eq!(lock_of_tag(&tag), Some(lock));
    assert_eq!(lock_of_tag(&tag[1..]), None);
    assert!(limits::CLOUD_TO_DEVICE_BYTES_MAX < super::super::MESSAGE_BYTES_MAX as usize);
}

#[test]
fn an_input_message_names_its_sender_twice() {
    use SystemProperty as P;
    let message = Message::from_body("x")
        .with_system(P::ConnectionDeviceId, "edge1")
        .with_system(P::ConnectionModuleId, "sensor");
    let sent = module_input("in1", Uuid::nil(), &message);
    for map in [&sent.message_annotations, &sent.application_properties] {
        assert_eq!(map.get("iothub-connection-device-id"), Some(&"edge1".into()));
        assert_eq!(map.get("iothub-connection-module-id"), Some(&"sensor".into()));
    }
    assert_eq!(sent.message_annotations.get("x-opt-input-name"), Some(&"in1".into()));
}

#[test]
fn what_a_hub_delivers_reads_back() {
    use SystemProperty as P;
    let message = Message::from_body("x")
        .with_system(P::MessageId, "m")
        .with_system(P::ConnectionDeviceId, "edge1")
        .with_system(P::ConnectionModuleId, "sensor");
    let sent = module_input("in1", Uuid::nil(), &message);
    assert_eq!(input_name(&sent).as_deref(), Some("in1"));
    let (read, facts) = from_hub(sent).unwrap();
    assert_eq!((read, facts), (message, ReceivedFacts::default()));
    let mut message = Message::from_body("x").with_system(P::Ack, "full");
    message.set_property("a", "b");
    let enqueued = "2026-01-01T00:00:00Z".parse().unwrap();
    let facts = DeliveryFacts { lock: Uuid::nil(), sequence: 3, enqueued, delivery_count: 2 };
    let (read, facts) = from_hub(cloud_to_device(&"d".parse().unwrap(), &message, facts)).unwrap();
    assert_eq!(read.system(P::To), Some("/devices/d/messages/devicebound"));
    assert_eq!((read.system(P::Ack), read.property("a")), (Some("full"), Some("b")));
    let expected = ReceivedFacts { sequence: Some(3), enqueued: Some(enqueued), delivery_count: 2 };
    assert_eq!(facts, expected);
}
