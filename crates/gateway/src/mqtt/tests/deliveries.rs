//! What goes down to a client, packet by packet (`device-protocol.md` §3.5, §3.7–3.12).

use super::*;

const FILTER: &str = "devices/dev1/messages/devicebound/#";

/// With QoS 0 there is no acknowledgement: a message is settled when it is written.
#[tokio::test]
async fn a_message_without_acknowledgement_is_settled_when_it_is_written() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe_with(&[FILTER], QoS::AtMostOnce).await;
    let lock = Uuid::from_u128(1);
    let message = delivery(lock, Message::from_body("x"));
    bench.session().send(Downlink::CloudToDevice(message)).unwrap();
    let (_, body, packet_id) = client.delivery().await;
    assert_eq!((body.as_str(), packet_id), ("x", None));
    bench.hears(&format!("settle {lock} Complete")).await;
}

/// Such a message can never be delivered; the next one can.
#[tokio::test]
async fn properties_that_fit_no_topic_reject_their_message() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe(&[FILTER]).await;
    let (large, small) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut message = Message::from_body("large");
    // Small enough for the queue, three times as long when it is encoded.
    message.set_property("p", "ä".repeat(16 * 1024));
    bench.session().send(Downlink::CloudToDevice(delivery(large, message))).unwrap();
    let message = Message::from_body("small");
    bench.session().send(Downlink::CloudToDevice(delivery(small, message))).unwrap();
    assert_eq!(client.delivery().await.1, "small");
    bench.hears(&format!("settle {large} Reject")).await;
}

/// The system properties of a message both ways, with the names that every SDK knows.
#[tokio::test]
async fn system_properties_keep_their_names_both_ways() {
    use SystemProperty as P;
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe(&[FILTER]).await;
    let mut message = Message::from_body("x");
    for (property, value) in [
        (P::MessageId, "id 1"),
        (P::CorrelationId, "c/1"),
        (P::UserId, "u"),
        (P::ExpiryTime, "2030-01-01T00:00:00Z"),
        (P::CreationTime, "2029-01-01T00:00:00.5+01:00"),
        (P::ContentType, "application/json"),
        (P::ContentEncoding, "utf-8"),
        (P::MessageSchema, "s"),
        (P::Ack, "full"),
        (P::Operation, "o"),
    ] {
        message.set_system(property, value);
    }
    message.set_property("b key", "v&=/ü");
    message.set_property("a", "1");
    message.set_property("empty", "");
    bench.session().send(Downlink::CloudToDevice(delivery(Uuid::nil(), message))).unwrap();
    let (topic, ..) = client.delivery().await;
    let expected = "devices/dev1/messages/devicebound/\
        %24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&%24.mid=id%201&%24.cid=c%2F1&%24.uid=u\
        &%24.exp=2030-01-01T00%3A00%3A00.0000000Z&%24.ctime=2028-12-31T23%3A00%3A00.5000000Z\
        &%24.ct=application%2Fjson&%24.ce=utf-8&%24.schema=s&iothub-ack=full&iothub-operation=o\
        &b%20key=v%26%3D%2F%C3%BC&a=1";
    assert_eq!(topic, expected);
    for (bag, properties) in [
        ("%24.mid=1&%24.ct=a%2Fb&x=%C3%BC/", r#"[("x", "ü")]"#),
        ("$.mid=1&$.cdid=other&x=1/", r#"[("x", "1")]"#),
        ("?%24.on=out1&novalue&empty=", r#"[("novalue", ""), ("empty", "")]"#),
    ] {
        client.publish(&format!("devices/dev1/messages/events/{bag}"), b"up", 7).await;
        assert!(matches!(client.next().await, Some(Packet::Puback(_))), "{bag}");
        bench.hears(&format!("telemetry up {properties}")).await;
    }
}

/// The `/` after the name stands always; the bag begins with the sender.
#[tokio::test]
async fn an_input_is_named_in_its_topic() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1/mod1").await;
    client.subscribe(&["devices/dev1/modules/mod1/#"]).await;
    let message = Message::from_body("x")
        .with_system(SystemProperty::ConnectionDeviceId, "dev1")
        .with_system(SystemProperty::ConnectionModuleId, "other");
    for (input, message, topic) in [
        ("in1", message, "in1/%24.cdid=dev1&%24.cmid=other"),
        ("a/b", Message::from_body("y"), "a%2Fb/"),
    ] {
        let lock = host::entropy::uuid_v4();
        bench.session().send(Downlink::Input { input: input.into(), lock, message }).unwrap();
        let (got, _, packet_id) = client.delivery().await;
        assert_eq!(got, format!("devices/dev1/modules/mod1/inputs/{topic}"));
        client.send(Packet::Puback(packet_id.unwrap())).await;
        bench.hears(&format!("settle {lock} Complete")).await;
    }
}

/// The same message again is a new packet, and only its own acknowledgement counts for it.
#[tokio::test]
async fn a_redelivery_is_a_packet_of_its_own() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe(&[FILTER]).await;
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut ids = Vec::new();
    for lock in [first, second] {
        let message = delivery(lock, Message::from_body("x"));
        bench.session().send(Downlink::CloudToDevice(message)).unwrap();
        ids.push(client.delivery().await.2.unwrap());
    }
    assert_ne!(ids[0], ids[1]);
    client.send(Packet::Puback(ids[1])).await;
    bench.hears(&format!("settle {second} Complete")).await;
    assert!(!bench.heard().iter().any(|heard| heard.contains(&format!("settle {first}"))));
    // An acknowledgement of nothing changes nothing.
    client.send(Packet::Puback(PacketId::new(999).unwrap())).await;
    client.send(Packet::Puback(ids[0])).await;
    bench.hears(&format!("settle {first} Complete")).await;
}

/// An answer that is too large is acknowledged and goes nowhere; statuses are any 32-bit integer.
#[tokio::test]
async fn method_answers_have_a_size_and_any_status() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe(&["$iothub/methods/POST/#"]).await;
    let large: &'static [u8] = Box::leak(vec![b'x'; 128 * 1024 + 1].into_boxed_slice());
    let cases: [(&str, &'static [u8], bool); 4] = [
        ("-2147483648", b"", true),
        ("2147483647", &large[1..], true),
        ("200", large, false),
        ("0", b"not json", true),
    ];
    for (number, (status, payload, is_heard)) in (1u128..).zip(cases) {
        let (call, name) = (Uuid::from_u128(number), "m".to_owned());
        let request = MethodRequest {
            name,
            payload: Bytes::new(),
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        };
        bench.session().send(Downlink::Method { call, request }).unwrap();
        let (topic, ..) = client.delivery().await;
        let rid = topic.split('=').next_back().unwrap();
        client.publish(&format!("$iothub/methods/res/{status}/?$rid={rid}"), payload, 1).await;
        assert!(matches!(client.next().await, Some(Packet::Puback(_))));
        let answer = format!("answer {call} {status}");
        assert_eq!(bench.heard().iter().any(|heard| heard.starts_with(&answer)), is_heard);
    }
    // A status that is no 32-bit integer is not of this protocol.
    client.publish("$iothub/methods/res/2147483648/?$rid=1", b"", 1).await;
    assert_eq!(client.next().await, None);
}
