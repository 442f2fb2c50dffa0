//! Every packet comes back as it was, however its bytes are cut.

use bytes::{Bytes, BytesMut};
use mqtt::packet::{Connect, Packet, PacketId, Publish, Suback, Subscribe, Unsubscribe, Will};
use mqtt::{EncodeError, Limits, QoS, Topic, codec};
use proptest::prelude::*;

use crate::arbitrary::{encoded, examples, packets, publish, topic};

proptest! {
    #[test]
    fn any_packet(packet in packets()) {
        let mut input = BytesMut::from(&encoded(&packet)[..]);
        prop_assert_eq!(codec::decode(&mut input, &Limits::default()).unwrap(), Some(packet));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn any_packets_in_any_pieces(
        sent in prop::collection::vec(packets(), 1..6),
        piece_bytes in 1..40_usize,
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(encoded).collect();
        let mut input = BytesMut::new();
        let mut received = Vec::new();
        for piece in bytes.chunks(piece_bytes) {
            input.extend_from_slice(piece);
            while let Some(packet) = codec::decode(&mut input, &Limits::default()).unwrap() {
                received.push(packet);
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert!(input.is_empty());
    }
}

#[test]
fn each_kind_cut_at_every_byte() {
    for packet in examples() {
        let bytes = encoded(&packet);
        for cut in 0..bytes.len() {
            let mut input = BytesMut::from(&bytes[..cut]);
            assert_eq!(
                codec::decode(&mut input, &Limits::default()),
                Ok(None),
                "{packet:?} at {cut}"
            );
            assert_eq!(input.len(), cut, "an incomplete packet stays where it is");
            input.extend_from_slice(&bytes[cut..]);
            let decoded = codec::decode(&mut input, &Limits::default());
            assert_eq!(decoded, Ok(Some(packet.clone())), "cut at {cut}");
        }
    }
}

#[test]
fn all_steps_of_the_remaining_length() {
    let limits = Limits { packet_bytes_max: usize::MAX, ..Limits::default() };
    for remaining in [3, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let packet = Packet::Publish(publish(None, "a", &vec![1; remaining - 3]));
        let mut input = BytesMut::from(&encoded(&packet)[..]);
        assert_eq!(codec::decode(&mut input, &limits), Ok(Some(packet)), "{remaining}");
    }
}

#[test]
fn topic_and_payload_are_slices_of_the_input() {
    let packet = Packet::Publish(publish(Some(1), "a/b", b"payload"));
    let mut input = BytesMut::from(&encoded(&packet)[..]);
    let memory = input.as_ptr_range();
    let Ok(Some(Packet::Publish(publish))) = codec::decode(&mut input, &Limits::default()) else {
        panic!("no publish")
    };
    assert!(memory.contains(&publish.payload.as_ptr()));
    assert!(memory.contains(&publish.topic.as_bytes().as_ptr()));
}

#[test]
fn puback_without_a_buffer_of_its_own() {
    let mut output = [0; 4];
    codec::encode_puback(PacketId::new(0x1234).unwrap(), &mut &mut output[..]);
    assert_eq!(output, [0x40, 2, 0x12, 0x34]);
}

/// What has no place in the format is an error, and nothing is written.
#[test]
fn unencodable() {
    use EncodeError::*;
    let long = "x".repeat(65_536);
    let id = PacketId::FIRST;
    let ok = publish(None, "a", b"");
    let connect = Connect::new("d");
    let will = |payload| Will { topic: topic("a"), payload, qos: QoS::AtMostOnce, retain: false };
    let of = |connect| Packet::Connect(Box::new(connect));
    let table = [
        (of(Connect::new(&*long)), FieldTooLong { field: "client id" }),
        (of(Connect::new("a\0")), Nul { field: "client id" }),
        (
            of(Connect { user_name: Some(long.clone()), ..connect.clone() }),
            FieldTooLong { field: "user name" },
        ),
        (
            of(Connect { will: Some(will(Bytes::from(long.clone()))), ..connect.clone() }),
            FieldTooLong { field: "will message" },
        ),
        (of(Connect { password: Some(Bytes::new()), ..connect }), PasswordWithoutUserName),
        (Packet::Publish(Publish { qos: QoS::AtLeastOnce, ..ok.clone() }), PacketIdMismatch),
        (Packet::Publish(Publish { packet_id: Some(id), ..ok.clone() }), PacketIdMismatch),
        (Packet::Publish(Publish { dup: true, ..ok }), DupWithoutAcknowledgement),
        (Packet::Subscribe(Subscribe { packet_id: id, filters: vec![] }), NoFilters),
        (Packet::Unsubscribe(Unsubscribe { packet_id: id, filters: vec![] }), NoFilters),
        (Packet::Suback(Suback { packet_id: id, codes: vec![] }), NoFilters),
        (
            Packet::Connack(mqtt::packet::Connack {
                session_present: true,
                code: mqtt::packet::ConnackCode::NotAuthorized,
            }),
            SessionPresentInRefusal,
        ),
    ];
    for (packet, expected) in table {
        let mut output = BytesMut::from(&b"before"[..]);
        assert_eq!(codec::encode(&packet, &mut output), Err(expected), "{packet:?}");
        assert_eq!(&output[..], b"before");
    }
    assert!(Topic::new(long).is_err());
}

#[test]
fn secrets_and_payloads_stay_out_of_debug_output() {
    let mut connect = Connect::new("d");
    connect.user_name = Some("u".into());
    connect.password = Some(Bytes::from_static(b"sig=secret"));
    assert!(!format!("{connect:?}").contains("secret"));
    assert!(!format!("{:?}", publish(None, "a", b"private")).contains("private"));
}
