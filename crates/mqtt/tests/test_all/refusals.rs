//! One row per bad input of security.md §2 that an MQTT 3.1.1 codec or server
//! machine can see, and per rule of the specification.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use mqtt::filter::FilterError;
use mqtt::packet::{Packet, PacketKind};
use mqtt::server::{Event, ServerConnection, Settings, Violation};
use mqtt::topic::TopicError;
use mqtt::{DecodeError, Limits, codec};

use crate::arbitrary::{encoded, examples, publish};

/// The decoder answers these bytes, of which the last may be the first of many, with
/// this error.
#[track_caller]
fn check(bytes: &[u8], expected: DecodeError) {
    let mut input = BytesMut::from(bytes);
    assert_eq!(codec::decode(&mut input, &Limits::default()), Err(expected), "{bytes:02x?}");
    assert!(input.capacity() < bytes.len() + 4096, "memory was reserved for the peer");
}

fn with_header(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        bytes.push((rest & 0x7f) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = (bytes.len() as u16).to_be_bytes().to_vec();
    field.extend_from_slice(bytes);
    field
}

/// A CONNECT's body: name, level, flags, keep-alive, and then `payload`.
fn connect(name: &[u8], level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = field(name);
    body.extend_from_slice(&[level, flags, 0, 60]);
    body.extend_from_slice(payload);
    with_header(0x10, &body)
}

fn subscribe(filters: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        body.extend_from_slice(&field(filter));
        body.push(1);
    }
    with_header(0x82, &body)
}

// --- from the fixed header alone: nothing of the body is here yet ---

#[test]
fn b2_remaining_length_of_five_bytes() {
    for first in [0x10, 0x30, 0x82] {
        check(&[first, 0x80, 0x80, 0x80, 0x80], DecodeError::RemainingLengthTooLong);
        check(&[first, 0xff, 0xff, 0xff, 0xff, 0x7f], DecodeError::RemainingLengthTooLong);
    }
}

#[test]
fn b2_connect_above_64_kib() {
    let limit_bytes = 65_536;
    let kind = PacketKind::Connect;
    // The largest that fits: 65,532 and a header of four bytes.
    let mut input = BytesMut::from(&[0x10, 0xfc, 0xff, 0x03][..]);
    assert_eq!(codec::decode(&mut input, &Limits::default()), Ok(None));
    let size_bytes = 65_537;
    check(&[0x10, 0xfd, 0xff, 0x03], DecodeError::PacketTooLarge { kind, size_bytes, limit_bytes });
    let size_bytes = 268_435_460;
    check(
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
        DecodeError::PacketTooLarge { kind, size_bytes, limit_bytes },
    );
}

#[test]
fn b17_publish_above_the_limit() {
    check(
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
        DecodeError::PacketTooLarge {
            kind: PacketKind::Publish,
            size_bytes: 268_435_460,
            limit_bytes: Limits::default().packet_bytes_max,
        },
    );
    let limits = Limits { packet_bytes_max: 100, ..Limits::default() };
    let fits = Packet::Publish(publish(None, "a", &[0; 95]));
    let mut input = BytesMut::from(&encoded(&fits)[..]);
    assert_eq!(codec::decode(&mut input, &limits), Ok(Some(fits)));
    let mut input = BytesMut::from(&encoded(&Packet::Publish(publish(None, "a", &[0; 96])))[..2]);
    assert!(matches!(codec::decode(&mut input, &limits), Err(DecodeError::PacketTooLarge { .. })));
}

#[test]
fn unknown_types_by_the_first_byte() {
    check(&[0x00], DecodeError::UnknownPacketType(0));
    check(&[0xf0], DecodeError::UnknownPacketType(15));
}

#[test]
fn every_wrong_flag_by_the_first_byte() {
    for first in 0x10..=0xef_u8 {
        let kind = PacketKind::from_first_byte(first).unwrap();
        let flags = first & 0x0f;
        let valid = match kind {
            // DUP and QoS 0 contradict each other [MQTT-3.3.1-2]; QoS 3 doesn't exist.
            PacketKind::Publish => ![6, 7, 8, 9, 14, 15].contains(&flags),
            PacketKind::Pubrel | PacketKind::Subscribe | PacketKind::Unsubscribe => flags == 2,
            _ => flags == 0,
        };
        match valid {
            false => check(&[first], DecodeError::WrongFlags { kind, flags }),
            true => {
                let decoded = codec::decode(&mut BytesMut::from(&[first][..]), &Limits::default());
                assert_eq!(decoded, Ok(None), "{first:#x}");
            }
        }
    }
}

#[test]
fn impossible_lengths() {
    let table: &[(u8, PacketKind, &[u8])] = &[
        (0x10, PacketKind::Connect, &[0, 1]),
        (0x20, PacketKind::Connack, &[0, 1, 3]),
        (0x30, PacketKind::Publish, &[0, 1]),
        (0x32, PacketKind::Publish, &[0, 1, 3, 4]),
        (0x40, PacketKind::Puback, &[0, 1, 3]),
        (0x50, PacketKind::Pubrec, &[0, 1, 3]),
        (0x62, PacketKind::Pubrel, &[0, 1, 3]),
        (0x70, PacketKind::Pubcomp, &[0, 1, 3]),
        (0x82, PacketKind::Subscribe, &[0, 1]),
        (0x90, PacketKind::Suback, &[0, 1, 2]),
        (0xa2, PacketKind::Unsubscribe, &[0, 1]),
        (0xb0, PacketKind::Unsuback, &[0, 1, 3]),
        (0xc0, PacketKind::Pingreq, &[1]),
        (0xd0, PacketKind::Pingresp, &[1]),
        (0xe0, PacketKind::Disconnect, &[1]),
    ];
    for &(first, kind, lengths) in table {
        for &length in lengths {
            check(&[first, length], DecodeError::WrongLength { kind, length: length.into() });
        }
    }
}

// --- PUBLISH ---

#[test]
fn b5_topics() {
    let table: &[(&[u8], TopicError)] = &[
        (b"", TopicError::Empty),
        (b"#", TopicError::Wildcard),
        (b"+", TopicError::Wildcard),
        (b"a/+/b", TopicError::Wildcard),
        (b"a/b#", TopicError::Wildcard),
        (b"a\0b", TopicError::Nul),
        (b"\0", TopicError::Nul),
        (b"\xff", TopicError::NotUtf8),
        (b"a/\xc3", TopicError::NotUtf8),
        // Overlong form, surrogate, above U+10FFFF.
        (b"\xc0\x80", TopicError::NotUtf8),
        (b"\xed\xa0\x80", TopicError::NotUtf8),
        (b"\xf4\x90\x80\x80", TopicError::NotUtf8),
    ];
    for (topic, expected) in table {
        let mut body = field(topic);
        body.extend_from_slice(b"xyz");
        check(&with_header(0x30, &body), DecodeError::Topic(*expected));
        let mut body = field(topic);
        body.extend_from_slice(&[0, 1, 2]);
        check(&with_header(0x32, &body), DecodeError::Topic(*expected));
    }
    // Length 2: only the length of an empty topic.
    check(&[0x30, 2], DecodeError::Topic(TopicError::Empty));
}

#[test]
fn publish_fields_beyond_the_packet() {
    let kind = PacketKind::Publish;
    check(&[0x30, 3, 0, 2, b'a'], DecodeError::Truncated { kind, field: "topic name" });
    check(&[0x30, 3, 0xff, 0xff, b'a'], DecodeError::Truncated { kind, field: "topic name" });
    check(&[0x32, 5, 0, 2, b'a', b'b', 0], DecodeError::Truncated { kind, field: "packet id" });
}

#[test]
fn packet_id_zero() {
    for bytes in [
        &[0x32, 5, 0, 1, b'a', 0, 0][..],
        &[0x40, 2, 0, 0],
        &[0x50, 2, 0, 0],
        &[0x62, 2, 0, 0],
        &[0x70, 2, 0, 0],
        &[0x82, 6, 0, 0, 0, 1, b'a', 0],
        &[0x90, 3, 0, 0, 0],
        &[0xa2, 5, 0, 0, 0, 1, b'a'],
        &[0xb0, 2, 0, 0],
    ] {
        check(bytes, DecodeError::PacketIdZero);
    }
}

// --- SUBSCRIBE, UNSUBSCRIBE, SUBACK, CONNACK ---

#[test]
fn b8_filter_of_32768_levels() {
    let deep = vec![b'/'; 32_767];
    let limit = Limits::default().filter_levels_max;
    check(&subscribe(&[&deep]), DecodeError::Filter(FilterError::TooManyLevels { limit }));
    let mut body = vec![0, 1];
    body.extend_from_slice(&field(&deep));
    check(&with_header(0xa2, &body), DecodeError::Filter(FilterError::TooManyLevels { limit }));
    // And where an owner allows it, it is walked, not climbed.
    let limits = Limits { filter_levels_max: usize::MAX, ..Limits::default() };
    let decoded = codec::decode(&mut BytesMut::from(&subscribe(&[&deep])[..]), &limits);
    let Ok(Some(Packet::Subscribe(subscribe))) = decoded else { panic!("{decoded:?}") };
    assert!(subscribe.filters[0].0.matches(std::str::from_utf8(&deep).unwrap()));
}

#[test]
fn b8_more_filters_than_allowed() {
    let limit = Limits::default().filters_max;
    let filters = vec![&b"a"[..]; limit + 1];
    let kind = PacketKind::Subscribe;
    check(&subscribe(&filters), DecodeError::TooManyFilters { kind, limit });
    let decoded =
        codec::decode(&mut BytesMut::from(&subscribe(&filters[1..])[..]), &Limits::default());
    assert!(matches!(decoded, Ok(Some(Packet::Subscribe(_)))));
}

#[test]
fn malformed_filters() {
    let table: &[(&[u8], DecodeError)] = &[
        (b"", FilterError::Empty.into()),
        (b"a\0", FilterError::Nul.into()),
        (b"a/#/b", FilterError::Wildcard.into()),
        (b"#/", FilterError::Wildcard.into()),
        (b"a#", FilterError::Wildcard.into()),
        (b"a/b+", FilterError::Wildcard.into()),
        (b"+a/b", FilterError::Wildcard.into()),
        (b"##", FilterError::Wildcard.into()),
        (b"\xff", DecodeError::NotUtf8 { field: "topic filter" }),
    ];
    for (filter, expected) in table {
        check(&subscribe(&[b"good", filter]), *expected);
    }
}

#[test]
fn requests_cut_short() {
    check(&[0x82, 2, 0, 1], DecodeError::NoFilters { kind: PacketKind::Subscribe });
    check(&[0xa2, 2, 0, 1], DecodeError::NoFilters { kind: PacketKind::Unsubscribe });
    let kind = PacketKind::Subscribe;
    check(
        &[0x82, 5, 0, 1, 0, 1, b'a'],
        DecodeError::Truncated { kind, field: "quality of service" },
    );
    check(&[0x82, 3, 0, 1, 0], DecodeError::Truncated { kind, field: "topic filter" });
    check(&[0x82, 5, 0, 1, 0, 9, b'a'], DecodeError::Truncated { kind, field: "topic filter" });
    for qos in [3, 4, 0x80, 0xff] {
        check(&[0x82, 6, 0, 1, 0, 1, b'a', qos], DecodeError::InvalidQos(qos));
    }
    for code in [3, 0x7f, 0x81, 0xff] {
        check(&[0x90, 3, 0, 1, code], DecodeError::InvalidSubackCode(code));
    }
    check(&[0x20, 2, 0, 6], DecodeError::InvalidConnackCode(6));
    check(&[0x20, 2, 2, 0], DecodeError::WrongConnackFlags(2));
    check(&[0x20, 2, 1, 5], DecodeError::WrongConnackFlags(1));
}

// --- CONNECT ---

#[test]
fn other_protocols() {
    for (name, level) in
        [(&b"MQIsdp"[..], 3), (b"MQTT", 3), (b"MQTT", 5), (b"MQTT", 0x84), (b"MQIsdp", 4)]
    {
        check(&connect(name, level, 2, &field(b"d")), DecodeError::UnsupportedProtocol { level });
    }
    for name in [&b"MQT"[..], b"mqtt", b"", b"HTTP", b"MQTTT"] {
        check(&connect(name, 4, 2, &field(b"d")), DecodeError::WrongProtocolName);
    }
}

#[test]
fn contradicting_connect_flags() {
    for flags in 0..=0xff_u8 {
        let reserved = flags & 1 != 0;
        let will = flags & 4 != 0;
        let will_qos = (flags >> 3) & 3;
        let will_retain = flags & 0x20 != 0;
        let wrong = reserved
            || will_qos == 3
            || (!will && (will_qos != 0 || will_retain))
            || (flags & 0x40 != 0 && flags & 0x80 == 0);
        let mut payload = field(b"d");
        if will {
            payload.extend_from_slice(&field(b"t"));
            payload.extend_from_slice(&field(b"m"));
        }
        for flag in [0x80, 0x40] {
            if flags & flag != 0 {
                payload.extend_from_slice(&field(b"x"));
            }
        }
        let bytes = connect(b"MQTT", 4, flags, &payload);
        match wrong {
            true => check(&bytes, DecodeError::WrongConnectFlags(flags)),
            false => {
                let decoded = codec::decode(&mut BytesMut::from(&bytes[..]), &Limits::default());
                assert!(matches!(decoded, Ok(Some(Packet::Connect(_)))), "{flags:#x}");
            }
        }
    }
}

#[test]
fn connect_cut_at_every_byte_but_announced_so() {
    let mut payload = field(b"dev");
    payload.extend_from_slice(&field(b"will/topic"));
    payload.extend_from_slice(&field(b"message"));
    payload.extend_from_slice(&field(b"user"));
    payload.extend_from_slice(&field(b"password"));
    let whole = connect(b"MQTT", 4, 0xc6, &payload);
    for cut in 4..whole.len() {
        let bytes = with_header(0x10, &whole[2..cut]);
        let decoded = codec::decode(&mut BytesMut::from(&bytes[..]), &Limits::default());
        assert!(matches!(decoded, Err(DecodeError::Truncated { .. })), "{cut}: {decoded:?}");
    }
    payload.push(0);
    check(
        &connect(b"MQTT", 4, 0xc6, &payload),
        DecodeError::TrailingBytes { kind: PacketKind::Connect, count: 1 },
    );
}

/// Client ids with a meaning elsewhere are text to us, never a pattern; what is no
/// text is refused. Whether such an identity exists is the owner's question.
#[test]
fn b13_client_ids() {
    let long = "x".repeat(129);
    for client_id in ["#", "+", "a/b", "../x", &long, "%00", "", "ü", "\u{feff}x"] {
        let bytes = connect(b"MQTT", 4, 2, &field(client_id.as_bytes()));
        let decoded = codec::decode(&mut BytesMut::from(&bytes[..]), &Limits::default());
        let Ok(Some(Packet::Connect(connect))) = decoded else { panic!("{decoded:?}") };
        assert_eq!(connect.client_id, client_id);
    }
    check(&connect(b"MQTT", 4, 2, &field(b"a\0b")), DecodeError::Nul { field: "client id" });
    check(&connect(b"MQTT", 4, 2, &field(b"\xff")), DecodeError::NotUtf8 { field: "client id" });
    let user = [field(b"d"), field(b"\xff")].concat();
    check(&connect(b"MQTT", 4, 0x82, &user), DecodeError::NotUtf8 { field: "user name" });
    let will = [field(b"d"), field(b"a/#"), field(b"")].concat();
    check(&connect(b"MQTT", 4, 6, &will), DecodeError::Topic(TopicError::Wildcard));
}

// --- the order of packets: the server machine ---

/// The machine ends with this violation after these bytes, and takes no more.
#[track_caller]
fn check_server(connected: bool, bytes: &[u8], expected: Violation) {
    let now = Duration::ZERO;
    let mut server = ServerConnection::new(now, Settings::default());
    let mut input = BytesMut::new();
    if connected {
        input.put_slice(&encoded(&examples()[0]));
        server.handle_input(now, &mut input);
        assert!(matches!(server.poll_event(), Some(Event::Connect(_))));
        server.accept(now, false);
        server.advance_output(4);
    }
    input.put_slice(bytes);
    server.handle_input(now, &mut input);
    assert_eq!(server.poll_event(), Some(Event::Violation(expected)), "{bytes:02x?}");
    assert_eq!(server.poll_event(), None);
    assert!(server.is_closed() && !server.wants_input() && server.output().is_empty());
    assert!(input.is_empty());
    assert_eq!(server.poll_timeout(), None);
    let mut more = BytesMut::from(&encoded(&Packet::Pingreq)[..]);
    server.handle_input(now, &mut more);
    assert!(more.is_empty() && server.poll_event().is_none() && server.output().is_empty());
}

#[test]
fn b1_first_packet_is_not_connect() {
    for packet in examples() {
        let kind = packet.kind();
        if kind != PacketKind::Connect {
            // One byte is enough to know.
            check_server(false, &encoded(&packet)[..1], Violation::FirstPacketNotConnect(kind));
        }
    }
    check_server(
        false,
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
        Violation::FirstPacketNotConnect(PacketKind::Publish),
    );
}

#[test]
fn b4_packets_of_the_server_sent_to_the_server() {
    for packet in examples() {
        let kind = packet.kind();
        let of_server = matches!(
            kind,
            PacketKind::Connack | PacketKind::Suback | PacketKind::Unsuback | PacketKind::Pingresp
        );
        if of_server {
            check_server(false, &encoded(&packet), Violation::FirstPacketNotConnect(kind));
            check_server(true, &encoded(&packet), Violation::UnexpectedPacket(kind));
            check_server(true, &encoded(&packet)[..1], Violation::UnexpectedPacket(kind));
        }
    }
}

#[test]
fn b9_quality_of_service_2() {
    for first in [0x34, 0x35, 0x3c, 0x3d] {
        check_server(true, &[first], Violation::QosUnsupported);
        check_server(true, &[first, 5, 0, 1, b'a', 0, 1], Violation::QosUnsupported);
    }
    for (first, kind) in
        [(0x50, PacketKind::Pubrec), (0x62, PacketKind::Pubrel), (0x70, PacketKind::Pubcomp)]
    {
        check_server(true, &[first, 2, 0, 1], Violation::UnexpectedPacket(kind));
    }
}

#[test]
fn b11_second_connect() {
    check_server(true, &encoded(&examples()[0]), Violation::SecondConnect);
    check_server(true, &[0x10], Violation::SecondConnect);
}

#[test]
fn malformed_before_and_after_connect() {
    check_server(
        false,
        &[0x11],
        Violation::Decode(DecodeError::WrongFlags { kind: PacketKind::Connect, flags: 1 }),
    );
    check_server(
        false,
        &connect(b"HTTP", 4, 2, &field(b"d")),
        Violation::Decode(DecodeError::WrongProtocolName),
    );
    check_server(true, &[0x30, 2], Violation::Decode(TopicError::Empty.into()));
    check_server(true, &[0xf0], Violation::Decode(DecodeError::UnknownPacketType(15)));
}

/// Trap 10 of device-protocol.md §17: paho dials again with level 3 after CONNACK 1.
#[test]
fn other_protocol_gets_connack_1() {
    for (name, level) in [(&b"MQIsdp"[..], 3), (b"MQTT", 5)] {
        let now = Duration::ZERO;
        let mut server = ServerConnection::new(now, Settings::default());
        let mut input = BytesMut::from(&connect(name, level, 2, &field(b"d"))[..]);
        server.handle_input(now, &mut input);
        assert_eq!(server.poll_event(), Some(Event::UnsupportedProtocol { level }));
        assert_eq!(server.output(), [0x20, 2, 0, 1]);
        assert!(server.is_closed());
    }
}
