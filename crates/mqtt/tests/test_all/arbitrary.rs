//! Proptest strategies for every packet, and one value of each for tables.

use bytes::{Bytes, BytesMut};
use mqtt::packet::{
    Connack, ConnackCode, Connect, Packet, Publish, Suback, SubackCode, Subscribe, Unsubscribe,
    Will,
};
use mqtt::{Filter, PacketId, QoS, Topic, codec};
use proptest::prelude::*;

pub(crate) fn encoded(packet: &Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    codec::encode(packet, &mut bytes).unwrap();
    bytes.to_vec()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap()
}

pub(crate) fn filter(text: &str) -> Filter {
    text.parse().unwrap()
}

pub(crate) fn publish(number: Option<u16>, text: &str, payload: &[u8]) -> Publish {
    Publish {
        dup: false,
        qos: if number.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
        retain: false,
        topic: topic(text),
        packet_id: number.map(id),
        payload: Bytes::copy_from_slice(payload),
    }
}

pub(crate) fn subscribe(number: u16, filters: &[&str]) -> Subscribe {
    Subscribe {
        packet_id: id(number),
        filters: filters.iter().map(|text| (filter(text), QoS::AtLeastOnce)).collect(),
    }
}

/// At least one packet of each kind, with every optional field once there and once not.
pub(crate) fn examples() -> Vec<Packet> {
    let full = Connect {
        client_id: "dev1/mod1".into(),
        user_name: Some("localhost/dev1/mod1/?api-version=2019-10-01".into()),
        password: Some(Bytes::from_static(b"SharedAccessSignature sr=x&sig=y&se=1")),
        will: Some(Will {
            topic: topic("devices/dev1/messages/events/"),
            payload: Bytes::from_static(b"gone"),
            qos: QoS::AtLeastOnce,
            retain: true,
        }),
        clean_session: true,
        keep_alive_s: 1740,
    };
    vec![
        Packet::Connect(Box::new(Connect::new("dev1"))),
        Packet::Connect(Box::new(full)),
        Packet::Connack(Connack { session_present: true, code: ConnackCode::Accepted }),
        Packet::Connack(Connack { session_present: false, code: ConnackCode::NotAuthorized }),
        Packet::Publish(publish(None, "$iothub/twin/GET/?$rid=1", b" ")),
        Packet::Publish(publish(Some(7), "devices/dev1/messages/events/a=ü", &[7; 300])),
        Packet::Puback(id(1)),
        Packet::Pubrec(id(2)),
        Packet::Pubrel(id(3)),
        Packet::Pubcomp(id(65_535)),
        Packet::Subscribe(subscribe(4, &["$iothub/twin/res/#", "a/+/b"])),
        Packet::Suback(Suback {
            packet_id: id(4),
            codes: vec![SubackCode::Granted(QoS::AtLeastOnce), SubackCode::Failure],
        }),
        Packet::Unsubscribe(Unsubscribe { packet_id: id(5), filters: vec![filter("#")] }),
        Packet::Unsuback(id(5)),
        Packet::Pingreq,
        Packet::Pingresp,
        Packet::Disconnect,
    ]
}

pub(crate) fn packets() -> impl Strategy<Value = Packet> {
    prop_oneof![
        connects(),
        connacks(),
        publishes().prop_map(Packet::Publish),
        ids().prop_map(Packet::Puback),
        ids().prop_map(Packet::Pubrec),
        ids().prop_map(Packet::Pubrel),
        ids().prop_map(Packet::Pubcomp),
        (ids(), prop::collection::vec((filters(), any_qos()), 1..5))
            .prop_map(|(packet_id, filters)| Packet::Subscribe(Subscribe { packet_id, filters })),
        (ids(), prop::collection::vec(suback_codes(), 1..5))
            .prop_map(|(packet_id, codes)| Packet::Suback(Suback { packet_id, codes })),
        (ids(), prop::collection::vec(filters(), 1..5)).prop_map(|(packet_id, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, filters })
        }),
        ids().prop_map(Packet::Unsuback),
        Just(Packet::Pingreq),
        Just(Packet::Pingresp),
        Just(Packet::Disconnect),
    ]
}

fn ids() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(id)
}

fn any_qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn suback_codes() -> impl Strategy<Value = SubackCode> {
    prop_oneof![Just(SubackCode::Failure), any_qos().prop_map(SubackCode::Granted)]
}

/// Text with all lengths of UTF-8 sequences, control characters but U+0000, and slashes.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9/$%=&?.]{0,40}",
        prop::collection::vec(any::<char>().prop_filter("no U+0000", |c| *c != '\0'), 0..20)
            .prop_map(|chars| chars.into_iter().collect()),
    ]
}

fn topics() -> impl Strategy<Value = Topic> {
    texts().prop_filter_map("not a topic name", |text| Topic::new(text).ok())
}

fn filters() -> impl Strategy<Value = Filter> {
    let level = prop_oneof![Just("+".to_owned()), "[a-z$]{0,6}"];
    (prop::collection::vec(level, 1..8), any::<bool>()).prop_filter_map(
        "not a filter",
        |(mut levels, tail)| {
            if tail {
                levels.push("#".to_owned());
            }
            levels.join("/").parse().ok()
        },
    )
}

/// Short ones, and lengths around the steps of the remaining length.
fn payloads() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![4 => 0..300_usize, 1 => 16_300..16_500_usize];
    (length, any::<u8>()).prop_map(|(length, byte)| Bytes::from(vec![byte; length]))
}

fn publishes() -> impl Strategy<Value = Publish> {
    (topics(), any_qos(), ids(), any::<bool>(), any::<bool>(), payloads()).prop_map(
        |(topic, qos, id, dup, retain, payload)| {
            let packet_id = (qos != QoS::AtMostOnce).then_some(id);
            Publish { dup: dup && packet_id.is_some(), qos, retain, topic, packet_id, payload }
        },
    )
}

fn connects() -> impl Strategy<Value = Packet> {
    let will = (topics(), payloads(), any_qos(), any::<bool>())
        .prop_map(|(topic, payload, qos, retain)| Will { topic, payload, qos, retain });
    let credentials =
        prop::option::of((texts(), prop::option::of(payloads()))).prop_map(|pair| match pair {
            None => (None, None),
            Some((user_name, password)) => (Some(user_name), password),
        });
    (texts(), credentials, prop::option::of(will), any::<bool>(), any::<u16>()).prop_map(
        |(client_id, (user_name, password), will, clean_session, keep_alive_s)| {
            Packet::Connect(Box::new(Connect {
                client_id,
                user_name,
                password,
                will,
                clean_session,
                keep_alive_s,
            }))
        },
    )
}

fn connacks() -> impl Strategy<Value = Packet> {
    (0..=5_u8, any::<bool>()).prop_map(|(code, present)| {
        let code = ConnackCode::from_u8(code).unwrap();
        let session_present = present && code == ConnackCode::Accepted;
        Packet::Connack(Connack { session_present, code })
    })
}
