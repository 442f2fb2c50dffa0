//! Our decoder beside a published one, `rmqtt-codec`: the same bytes give the same
//! packet, or both refuse, or the difference is in the list below with its reason.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use mqtt::packet::{Packet, SubackCode};
use mqtt::topic::TopicError;
use mqtt::{DecodeError, Limits, QoS, codec};
use proptest::prelude::*;
use rmqtt_codec::types::QoS as TheirQos;
use rmqtt_codec::v3::{Codec, Packet as Theirs, SubscribeReturnCode};
use tokio_util::codec::Decoder;

use crate::arbitrary::{encoded, packets};

/// Why we refuse what the other takes. Each is a rule of the specification.
fn is_known_strictness(error: DecodeError) -> bool {
    match error {
        // The other leaves topic names and filters to its broker.
        DecodeError::Topic(TopicError::Wildcard | TopicError::Nul | TopicError::Empty) => true,
        DecodeError::Filter(_) => true,
        // U+0000 in any string [MQTT-1.5.3-2].
        DecodeError::Nul { .. } => true,
        // It speaks MQIsdp level 3 too; IoT Hub doesn't (device-protocol.md §3.1).
        DecodeError::UnsupportedProtocol { level: 3 | 4 } => true,
        // A password without a user name [MQTT-3.1.2-22]; will QoS 3 in a will it ignores.
        DecodeError::WrongConnectFlags(_) => true,
        // It ignores what follows the last field, and the body of a ping.
        DecodeError::TrailingBytes { .. } | DecodeError::WrongLength { .. } => true,
        // DUP with QoS 0 [MQTT-3.3.1-2]; its PUBLISH arm takes every flag.
        DecodeError::WrongFlags { .. } => true,
        // It masks the reserved bits of the requested QoS [MQTT-3-8.3-4].
        DecodeError::InvalidQos(_) => true,
        // A session in a refusal [MQTT-3.2.2-4], the reserved code 6.
        DecodeError::WrongConnackFlags(_) | DecodeError::InvalidConnackCode(6) => true,
        // Our limits.
        DecodeError::TooManyFilters { .. } => true,
        _ => false,
    }
}

/// Why we take what the other refuses.
fn is_known_leniency(packet: &Packet) -> bool {
    // An empty client id with a stored session: CONNACK 2, says [MQTT-3.1.3-8], so the
    // server's owner must see it.
    matches!(packet, Packet::Connect(connect) if connect.client_id.is_empty() && !connect.clean_session)
}

#[derive(Debug, Default)]
struct Tally {
    same: u32,
    both_refuse: u32,
    both_wait: u32,
    differ: u32,
}

/// Decodes one packet with both.
fn compare(bytes: &[u8], tally: &mut Tally) {
    let mut our_input = BytesMut::from(bytes);
    let ours = codec::decode(&mut our_input, &Limits::default());
    let mut their_input = BytesMut::from(bytes);
    let theirs = catch_unwind(AssertUnwindSafe(|| Codec::default().decode(&mut their_input)));
    // Its panics on truncated packets are its own; ours must refuse then.
    let Ok(theirs) = theirs else {
        assert!(ours.is_err(), "it panics, we say {ours:?}: {bytes:02x?}");
        tally.both_refuse += 1;
        return;
    };
    match (ours, theirs) {
        (Ok(Some(ours)), Ok(Some((theirs, _)))) => {
            assert_same(&ours, &theirs);
            assert_eq!(our_input, their_input, "{ours:?}");
            tally.same += 1;
        }
        (Err(_), Err(_)) => tally.both_refuse += 1,
        (Ok(None), Ok(None)) => tally.both_wait += 1,
        // We refuse from the fixed header what the other waits for.
        (Err(_), Ok(None)) => tally.differ += 1,
        (Err(error), Ok(Some((theirs, _)))) => {
            assert!(is_known_strictness(error), "{error}: {theirs:?} {bytes:02x?}");
            tally.differ += 1;
        }
        (Ok(Some(ours)), Err(error)) => {
            assert!(is_known_leniency(&ours), "{error:?}: {ours:?} {bytes:02x?}");
            tally.differ += 1;
        }
        (ours, theirs) => panic!("{ours:?} and {theirs:?}: {bytes:02x?}"),
    }
}

fn number(qos: TheirQos) -> u8 {
    qos.value()
}

#[track_caller]
fn assert_same(ours: &Packet, theirs: &Theirs) {
    let same = match (ours, theirs) {
        (Packet::Connect(a), Theirs::Connect(b)) => {
            a.client_id == *b.client_id
                && a.user_name.as_deref() == b.username.as_deref()
                && a.password == b.password
                && a.clean_session == b.clean_session
                && a.keep_alive_s == b.keep_alive
                && match (&a.will, &b.last_will) {
                    (None, None) => true,
                    (Some(a), Some(b)) => {
                        a.topic.as_str() == &*b.topic
                            && a.payload == b.message
                            && a.qos as u8 == number(b.qos)
                            && a.retain == b.retain
                    }
                    _ => false,
                }
        }
        (Packet::Connack(a), Theirs::ConnectAck(b)) => {
            a.session_present == b.session_present && a.code as u8 == u8::from(b.return_code)
        }
        (Packet::Publish(a), Theirs::Publish(b)) => {
            a.topic.as_str() == &*b.topic
                && a.payload == b.payload
                && a.packet_id.map(|id| id.get()) == b.packet_id.map(|id| id.get())
                && (a.dup, a.retain, a.qos as u8) == (b.dup, b.retain, number(b.qos))
        }
        (Packet::Puback(a), Theirs::PublishAck { packet_id })
        | (Packet::Pubrec(a), Theirs::PublishReceived { packet_id })
        | (Packet::Pubrel(a), Theirs::PublishRelease { packet_id })
        | (Packet::Pubcomp(a), Theirs::PublishComplete { packet_id })
        | (Packet::Unsuback(a), Theirs::UnsubscribeAck { packet_id }) => a.get() == packet_id.get(),
        (Packet::Subscribe(a), Theirs::Subscribe { packet_id, topic_filters }) => {
            a.packet_id.get() == packet_id.get()
                && a.filters
                    .iter()
                    .map(|(filter, qos)| (filter.as_str(), *qos as u8))
                    .eq(topic_filters.iter().map(|(filter, qos)| (&**filter, number(*qos))))
        }
        (Packet::Suback(a), Theirs::SubscribeAck { packet_id, status }) => {
            let code = |status: &SubscribeReturnCode| match status {
                SubscribeReturnCode::Success(qos) => number(*qos),
                SubscribeReturnCode::Failure => 0x80,
            };
            a.packet_id.get() == packet_id.get()
                && a.codes.iter().copied().map(SubackCode::to_u8).eq(status.iter().map(code))
        }
        (Packet::Unsubscribe(a), Theirs::Unsubscribe { packet_id, topic_filters }) => {
            a.packet_id.get() == packet_id.get()
                && a.filters
                    .iter()
                    .map(|filter| filter.as_str())
                    .eq(topic_filters.iter().map(|filter| &**filter))
        }
        (Packet::Pingreq, Theirs::PingRequest)
        | (Packet::Pingresp, Theirs::PingResponse)
        | (Packet::Disconnect, Theirs::Disconnect) => true,
        _ => false,
    };
    assert!(same, "{ours:?} is not {theirs:?}");
}

proptest! {
    #[test]
    fn packets_that_are_right(packet in packets()) {
        let mut tally = Tally::default();
        compare(&encoded(&packet), &mut tally);
        prop_assert!(tally.same == 1 || is_known_leniency(&packet), "{:?}", tally);
    }
}

/// Damaged packets: each position set to each telling value, and random damage.
#[test]
fn packets_that_are_damaged() {
    let mut tally = Tally::default();
    for packet in crate::arbitrary::examples() {
        let bytes = encoded(&packet);
        for at in 0..bytes.len().min(80) {
            for value in [0, 1, 2, 3, 4, 5, 6, b'#', b'+', b'/', 0x7f, 0x80, 0xc0, 0xed, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                compare(&damaged, &mut tally);
            }
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                compare(&damaged, &mut tally);
            }
        }
    }
    let mut random = crate::mutations::Random::new(0x5eed);
    for _ in 0..50_000 {
        compare(&random.mutant(), &mut tally);
    }
    // The comparison is worth something only if all outcomes occur often.
    assert!(tally.same > 3000 && tally.both_refuse > 3000 && tally.both_wait > 300, "{tally:?}");
    assert_eq!(QoS::from_u8(number(TheirQos::ExactlyOnce)), Some(QoS::ExactlyOnce));
}
