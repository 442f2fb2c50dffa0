//! What peers should not do, and what each of it costs them. security.md §2 B18–B21.

use amqp::connection::{Cause, Closed, Event, HandshakeError, Settings};
use amqp::frame::ProtocolHeader;
use amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Performative, Role, Transfer,
    condition,
};
use amqp::sasl::{Outcome, SaslFrame};
use amqp::{DeliveryState, Error, Symbol, connection};
use bytes::{Bytes, BytesMut};

use crate::pair::Pair;
use crate::raw::{Raw, attach, begin, open, transfer};

fn flow(change: impl FnOnce(&mut Flow)) -> Performative {
    let mut flow = Flow {
        next_incoming_id: Some(0),
        incoming_window: 100,
        outgoing_window: 100,
        ..Flow::default()
    };
    change(&mut flow);
    Performative::Flow(flow)
}

fn detach(handle: u32) -> Performative {
    Performative::Detach(Detach { handle, closed: true, error: None })
}

fn disposition(role: Role, first: u32, last: Option<u32>) -> Performative {
    let state = Some(DeliveryState::Accepted);
    Performative::Disposition(Disposition {
        role,
        first,
        last,
        settled: true,
        state,
        batchable: false,
    })
}

/// The connection is closed for this, once, and the peer is told.
fn check_closed(raw: &mut Raw, expected: &Symbol) {
    assert_eq!(raw.close_condition(), *expected);
    let events = raw.server.take();
    let closed = events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
    assert_eq!(closed, 1, "{events:?}");
    let Some(Event::Closed(Closed::Violation(error))) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.condition, *expected);
    // The peer's close is the end; whatever else comes is dropped.
    assert!(!raw.server.machine.is_closed());
    let at = raw.server.machine.poll_timeout().expect("a deadline");
    raw.server.machine.handle_timeout(at);
    assert!(raw.server.machine.is_closed());
    raw.bytes(b"anything");
    assert_eq!((raw.server.input_left(), raw.server.take()), (0, Vec::new()));
}

/// The session is ended for this, and the connection lives on.
fn check_ended(raw: &mut Raw, expected: &Symbol) {
    assert_eq!(raw.end_condition(), *expected);
    let events = raw.server.take();
    let Some(Event::SessionEnded { cause: Cause::Violation(error), .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(error.condition, *expected);
    // What was under way is ignored, and after the end the channel is free again.
    raw.frame(0, attach("late", 7, Role::Sender));
    raw.transfer(&transfer(1000), b"late");
    raw.frame(0, Performative::End(End::default()));
    assert_eq!(raw.answers(), []);
    raw.frame(0, begin(100));
    assert!(matches!(raw.answers()[..], [(0, Performative::Begin(_))]));
    assert!(matches!(raw.server.take()[..], [Event::SessionBegun(_)]));
}

/// Link 0 is detached for this, and the session lives on.
fn check_detached(raw: &mut Raw, expected: &Symbol) {
    assert_eq!(raw.detach_condition(), *expected);
    let events = raw.server.take();
    let Some(Event::Detached { cause: Cause::Violation(error), closed: true, .. }) = events.last()
    else {
        panic!("{events:?}")
    };
    assert_eq!(error.condition, *expected);
    raw.transfer(&Transfer { delivery_id: Some(5000), ..transfer(0) }, b"crossed");
    raw.frame(0, detach(0));
    assert_eq!((raw.answers(), raw.server.take()), (Vec::new(), Vec::new()));
    raw.frame(0, attach("next", 0, Role::Receiver));
    assert!(matches!(raw.answers()[0], (0, Performative::Attach(_))));
}

#[test]
fn other_protocols_get_the_header_that_is_expected() {
    for (bytes, answer) in [
        (&b"GET / HTTP/1.1\r\n"[..], ProtocolHeader::Sasl),
        (b"AMQP\x00\x00\x09\x01", ProtocolHeader::Sasl),
        (b"AMQP\x02\x01\x00\x00", ProtocolHeader::Sasl),
        (b"\x16\x03\x01", ProtocolHeader::Sasl),
    ] {
        let mut raw = Raw::new(Settings::default());
        raw.bytes(bytes);
        assert_eq!(raw.take_header(), answer);
        assert!(raw.server.machine.is_closed() && raw.received.is_empty());
        let events = raw.server.take();
        assert!(matches!(events[..], [Event::Closed(Closed::Handshake(_))]), "{events:?}");
        assert_eq!(raw.server.input_left(), 0);
    }
}

#[test]
fn sasl_goes_one_way() {
    let init = |mechanism: &str| {
        SaslFrame::Init(amqp::sasl::Init {
            mechanism: Symbol::try_from(mechanism).expect("ascii"),
            initial_response: None,
            hostname: None,
        })
    };
    for (frames, expected) in [
        (vec![init("CRAM-MD5")], HandshakeError::UnknownMechanism),
        (vec![SaslFrame::Response(Bytes::new())], HandshakeError::UnexpectedSasl),
        (
            vec![SaslFrame::Mechanisms(vec![Symbol::from_static("PLAIN")])],
            HandshakeError::UnexpectedSasl,
        ),
        (
            vec![init("PLAIN"), init("PLAIN")],
            HandshakeError::WrongHeader(amqp::frame::HeaderError::NotAmqp),
        ),
    ] {
        let mut raw = Raw::new(Settings::default());
        raw.bytes(&ProtocolHeader::Sasl.bytes());
        let mut bytes = BytesMut::new();
        for frame in frames {
            amqp::frame::encode_sasl(&frame, &mut bytes);
        }
        raw.bytes(&bytes);
        let events = raw.server.take();
        assert_eq!(events.last(), Some(&Event::Closed(Closed::Handshake(expected))));
        assert!(raw.server.machine.is_closed());
    }
    // An AMQP frame, a frame that would be too large, nonsense in a SASL frame.
    for bytes in [
        &b"\0\0\0\x08\x02\0\0\0"[..],
        b"\0\x10\0\0\x02\x01\0\0",
        b"\0\0\0\x0c\x02\x01\0\0\0\x53\x41\xff",
    ] {
        let mut raw = Raw::new(Settings::default());
        raw.bytes(&ProtocolHeader::Sasl.bytes());
        raw.bytes(bytes);
        let closed = Closed::Handshake(HandshakeError::MalformedSasl);
        assert_eq!(raw.server.take(), [Event::Closed(closed)]);
    }
}

#[test]
fn the_owner_refuses_credentials() {
    let settings = std::sync::Arc::new(Settings::default());
    let now = std::time::Duration::ZERO;
    let credentials = connection::Credentials::Plain(Bytes::from_static(b"\0u\0wrong"));
    let mut client = connection::Connection::client(now, settings.clone(), credentials);
    let mut server = connection::Connection::server(now, settings);
    let mut bytes = BytesMut::new();
    for _ in 0..3 {
        client.poll_transmit(&mut bytes);
        server.handle_input(now, &mut bytes);
        server.poll_transmit(&mut bytes);
        client.handle_input(now, &mut bytes);
    }
    assert!(matches!(server.poll_event(), Some(Event::SaslInit { .. })));
    assert!(!server.wants_input(), "nothing goes on before the answer");
    server.sasl_outcome(Outcome::Auth);
    assert!(server.is_closed() && server.poll_event().is_none());
    server.poll_transmit(&mut bytes);
    client.handle_input(now, &mut bytes);
    let refused = Event::Closed(Closed::SaslRefused(Outcome::Auth));
    assert_eq!((client.poll_event(), client.is_closed()), (Some(refused), true));
}

#[test]
fn a_client_leaves_when_its_mechanism_is_not_offered() {
    let anonymous = Symbol::from_static("ANONYMOUS");
    let server = Settings { mechanisms: vec![anonymous.clone()], ..Settings::default() };
    let mut pair = Pair::with(Settings::default(), server, connection::Credentials::Cbs);
    pair.run();
    let closed = Closed::MechanismNotOffered(vec![anonymous]);
    assert_eq!(pair.client.take(), [Event::Closed(closed)]);
    assert!(pair.client.machine.is_closed());
}

#[test]
fn frames_that_are_none_close_the_connection() {
    for bytes in [
        &b"\xff\xff\xff\xff\x02\0\0\0"[..],
        b"\0\x01\0\x01\x02\0\0\0",
        b"\0\0\0\x08\0\0\0\0",
        b"\0\0\0\x08\x01\0\0\0",
        b"\0\0\0\x0a\xff\0\0\0\0\0",
        b"\0\0\0\0\x02\0\0\0",
        b"\0\0\0\x08\x02\x07\0\0",
        b"\0\0\0\x08\x02\x01\0\0",
    ] {
        let mut raw = Raw::session(Settings::default());
        raw.bytes(bytes);
        check_closed(&mut raw, &condition::FRAMING_ERROR);
    }
}

#[test]
fn performatives_that_are_none_close_the_connection() {
    for body in [
        &b"\x00"[..],
        b"\x40",
        b"\0\x53\x11\x45",
        b"\0\x53\x99\xc0\x01\x00",
        b"\0\x53\x14\xc0\x02\x01\x40",
        b"\0\x53\x12\xd0\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut raw = Raw::session(Settings::default());
        let mut bytes = vec![0, 0, 0, 8 + body.len() as u8, 2, 0, 0, 0];
        bytes.extend_from_slice(body);
        raw.bytes(&bytes);
        check_closed(&mut raw, &condition::DECODE_ERROR);
    }
}

#[test]
fn before_the_open_comes_an_open() {
    for (performative, expected) in [
        (begin(1), condition::ILLEGAL_STATE),
        (Performative::End(End::default()), condition::ILLEGAL_STATE),
        (attach("a", 0, Role::Sender), condition::ILLEGAL_STATE),
        (
            Performative::Open(Open { max_frame_size: 511, ..Open::default() }),
            condition::INVALID_FIELD,
        ),
    ] {
        let mut raw = Raw::new(Settings::default());
        raw.bytes(&ProtocolHeader::Amqp.bytes());
        raw.take_header();
        raw.frame(0, performative);
        let mut answers = raw.answers();
        assert!(matches!(answers.remove(0), (0, Performative::Open(_))), "a close follows an open");
        let [(0, Performative::Close(Close { error: Some(error) }))] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(error.condition, expected);
    }
    let mut raw = Raw::open(Settings::default());
    raw.frame(0, open());
    check_closed(&mut raw, &condition::ILLEGAL_STATE);
}

#[test]
fn what_is_wrong_with_a_channel_closes_the_connection() {
    for (performative, channel, expected) in [
        (begin(1), 8192, condition::FRAMING_ERROR),
        (begin(1), 0, condition::ILLEGAL_STATE),
        (attach("a", 0, Role::Sender), 1, condition::ILLEGAL_STATE),
        (Performative::Transfer(transfer(0)), 1, condition::ILLEGAL_STATE),
        (
            Performative::Begin(Begin { remote_channel: Some(0), ..Begin::default() }),
            1,
            condition::ILLEGAL_STATE,
        ),
        (
            Performative::Begin(Begin { remote_channel: Some(9), ..Begin::default() }),
            1,
            condition::ILLEGAL_STATE,
        ),
        (attach("a", 8192, Role::Sender), 0, condition::FRAMING_ERROR),
    ] {
        let mut raw = Raw::session(Settings::default());
        raw.frame(channel, performative);
        check_closed(&mut raw, &expected);
    }
}

#[test]
fn what_is_wrong_in_a_session_ends_it() {
    let mut frames = vec![
        (attach("b", 0, Role::Sender), condition::HANDLE_IN_USE),
        (
            Performative::Transfer(Transfer { handle: 3, ..transfer(0) }),
            condition::UNATTACHED_HANDLE,
        ),
        (
            Performative::Transfer(Transfer { delivery_id: None, ..transfer(0) }),
            condition::INVALID_FIELD,
        ),
        (flow(|flow| flow.next_incoming_id = Some(1)), condition::INVALID_FIELD),
        (flow(|flow| flow.next_incoming_id = Some(0x7fff_ffff)), condition::INVALID_FIELD),
    ];
    for role in [Role::Sender, Role::Receiver] {
        frames.push((disposition(role, 1, Some(0)), condition::INVALID_FIELD));
        frames.push((disposition(role, 0, Some(u32::MAX)), condition::INVALID_FIELD));
    }
    for (frame, expected) in frames {
        let mut raw = Raw::uplink(Settings::default(), 10);
        raw.frame(0, frame);
        check_ended(&mut raw, &expected);
    }
}

#[test]
fn delivery_ids_ascend() {
    for second in [5, 4, 0x8000_0006] {
        let mut raw = Raw::uplink(Settings::default(), 10);
        raw.transfer(&transfer(5), b"1");
        raw.transfer(&transfer(second), b"2");
        check_ended(&mut raw, &condition::INVALID_FIELD);
    }
    let mut raw = Raw::uplink(Settings::default(), 10);
    raw.transfer(&Transfer { more: true, ..transfer(5) }, b"1");
    raw.transfer(&transfer(6), b"2");
    check_ended(&mut raw, &condition::INVALID_FIELD);
    // With gaps, and around the end.
    let mut raw = Raw::uplink(Settings::default(), 10);
    for id in [u32::MAX - 7, u32::MAX, 0, 17] {
        raw.transfer(&transfer(id), b"1");
    }
    let deliveries = raw.server.deliveries();
    assert_eq!(deliveries.len(), 4);
    for delivery in deliveries {
        raw.server.machine.settle(delivery.id, DeliveryState::Accepted);
    }
    let ranges: Vec<_> = raw
        .answers()
        .into_iter()
        .filter_map(|(_, performative)| match performative {
            Performative::Disposition(disposition) => Some((disposition.first, disposition.last)),
            _ => None,
        })
        .collect();
    let last = u32::MAX - 7;
    assert_eq!(ranges, [(last, Some(last)), (u32::MAX, Some(0)), (17, Some(17))]);
}

#[test]
fn transfers_beyond_the_window_end_the_session() {
    // No reader can see this from outside but a peer that ignores flows: the window is
    // opened again long before it is used up, so the machine has to be kept from it.
    let mut raw = Raw::uplink(Settings { incoming_window: 0, ..Settings::default() }, 10);
    raw.transfer(&transfer(0), b"1");
    check_ended(&mut raw, &condition::WINDOW_VIOLATION);
}

#[test]
fn what_is_wrong_on_a_link_detaches_it() {
    let mut raw = Raw::uplink(Settings::default(), 2);
    for id in 0..3 {
        raw.transfer(&transfer(id), b"m");
    }
    check_detached(&mut raw, &condition::TRANSFER_LIMIT_EXCEEDED);

    let mut raw = Raw::uplink(Settings::default(), 2);
    let tag = Some(Bytes::from(vec![0; 33]));
    raw.transfer(&Transfer { delivery_tag: tag, ..transfer(0) }, b"m");
    check_detached(&mut raw, &condition::INVALID_FIELD);

    let mut raw = Raw::session(Settings::default());
    raw.server.window = Some(1);
    raw.frame(0, attach("down", 0, Role::Receiver));
    raw.answers();
    raw.transfer(&transfer(0), b"m");
    check_detached(&mut raw, &condition::NOT_ALLOWED);
}

#[test]
fn a_transfer_before_the_answer_has_no_credit() {
    let mut raw = Raw::session(Settings::default());
    raw.frame(0, attach("up", 0, Role::Sender));
    raw.transfer(&transfer(0), b"m");
    let answers = raw.answers();
    let [(0, Performative::Attach(attach)), (0, Performative::Detach(detach))] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!((&attach.source, &attach.target), (&None, &None));
    let error = detach.error.as_ref().expect("a reason");
    assert_eq!(error.condition, condition::TRANSFER_LIMIT_EXCEEDED);
    let events = raw.server.take();
    assert!(matches!(events[..], [Event::Attach { .. }, Event::Detached { .. }]), "{events:?}");
}

#[test]
fn messages_that_are_too_large_detach_the_link() {
    let settings = Settings { message_bytes_max: 1000, ..Settings::default() };
    let mut raw = Raw::uplink(settings.clone(), 2);
    raw.transfer(&transfer(0), &[0; 1001]);
    check_detached(&mut raw, &condition::MESSAGE_SIZE_EXCEEDED);

    let mut raw = Raw::uplink(settings.clone(), 2);
    for _ in 0..2 {
        raw.transfer(&Transfer { more: true, ..transfer(0) }, &[0; 500]);
    }
    assert_eq!(raw.answers(), []);
    raw.transfer(&transfer(0), &[0; 1]);
    check_detached(&mut raw, &condition::MESSAGE_SIZE_EXCEEDED);

    let mut raw = Raw::uplink(settings, 2);
    raw.transfer(&Transfer { more: true, ..transfer(0) }, &[0; 500]);
    raw.transfer(&transfer(0), &[0; 500]);
    assert_eq!(raw.server.deliveries()[0].message.len(), 1000);
}

#[test]
fn deliveries_without_end_are_bounded() {
    let settings =
        Settings { unfinished_bytes_max: 10_000, message_bytes_max: 6_000, ..Settings::default() };
    let mut raw = Raw::uplink(settings, 10);
    raw.frame(0, attach("other", 1, Role::Sender));
    raw.answers();
    raw.transfer(&Transfer { handle: 1, more: true, ..transfer(0) }, &[0; 5001]);
    raw.transfer(&Transfer { more: true, ..transfer(1) }, &[0; 4999]);
    assert_eq!(raw.answers(), []);
    raw.transfer(&Transfer { more: true, ..transfer(1) }, &[0; 1]);
    check_detached(&mut raw, &condition::RESOURCE_LIMIT_EXCEEDED);
    // What the link held is free again, and the other link goes on.
    raw.transfer(&Transfer { handle: 1, ..transfer(0) }, &[0; 1]);
    assert_eq!(raw.server.deliveries()[0].message.len(), 5002);
}

#[test]
fn an_aborted_delivery_never_was() {
    let mut raw = Raw::uplink(Settings::default(), 2);
    for id in 0..20 {
        raw.transfer(&Transfer { more: true, ..transfer(id) }, b"half");
        raw.transfer(&Transfer { aborted: true, ..transfer(id) }, b"");
    }
    assert_eq!(raw.server.take(), []);
    raw.transfer(&transfer(20), b"whole");
    let deliveries = raw.server.deliveries();
    assert_eq!((deliveries.len(), &deliveries[0].message[..]), (1, &b"whole"[..]));
}

#[test]
fn too_many_sessions_and_links_are_refused_one_by_one() {
    let settings = Settings { sessions_max: 2, links_max: 3, ..Settings::default() };
    let mut raw = Raw::open(settings);
    raw.server.window = Some(1);
    for channel in 0..4 {
        raw.frame(channel, begin(10));
        let answers = raw.answers();
        match channel {
            0 | 1 => assert!(matches!(answers[..], [(_, Performative::Begin(_))])),
            _ => {
                let [(_, Performative::Begin(_)), (_, Performative::End(end))] = &answers[..]
                else {
                    panic!("{answers:?}")
                };
                let error = end.error.as_ref().expect("a reason");
                assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);
            }
        }
    }
    raw.server.take();
    for handle in 0..6 {
        let name = handle.to_string();
        raw.frame(u16::from(handle > 1), attach(&name, handle, Role::Receiver));
        let answers = raw.answers();
        match handle {
            0..3 => assert!(matches!(answers[..], [(_, Performative::Attach(_))])),
            _ => {
                let [(_, Performative::Attach(attach)), (_, Performative::Detach(detach))] =
                    &answers[..]
                else {
                    panic!("{answers:?}")
                };
                assert_eq!(attach.source, None);
                let error = detach.error.as_ref().expect("a reason");
                assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);
            }
        }
    }
    assert_eq!(raw.server.take().len(), 3);
    // Nor may it be more without ever detaching what was refused.
    raw.frame(1, attach("6", 6, Role::Receiver));
    check_closed(&mut raw, &condition::RESOURCE_LIMIT_EXCEEDED);
}

#[test]
fn untidy_goodbyes_are_tolerated() {
    let mut raw = Raw::uplink(Settings::default(), 2);
    // Of what is gone, or never was.
    raw.frame(0, detach(5));
    raw.frame(0, detach(0));
    assert!(matches!(raw.answers()[..], [(0, Performative::Detach(_))]));
    raw.frame(0, detach(0));
    raw.frame(0, flow(|flow| flow.handle = Some(0)));
    raw.frame(0, Performative::End(End::default()));
    assert!(matches!(raw.answers()[..], [(0, Performative::End(_))]));
    raw.frame(0, detach(0));
    raw.frame(0, flow(|flow| flow.echo = true));
    raw.frame(0, disposition(Role::Receiver, 0, None));
    raw.frame(0, Performative::End(End::default()));
    raw.frame(3, Performative::End(End::default()));
    assert_eq!(raw.answers(), []);
    assert!(matches!(
        raw.server.take()[..],
        [Event::Detached { .. }, Event::SessionEnded { cause: Cause::Peer(None), .. }]
    ));
    // And a close in the middle of everything.
    raw.frame(0, Performative::Close(Close::default()));
    assert!(matches!(raw.answers()[..], [(0, Performative::Close(_))]));
    assert!(raw.server.machine.is_closed());
    assert_eq!(raw.server.take(), [Event::Closed(Closed::Peer(None))]);
}

#[test]
fn a_suspended_link_is_answered_alike() {
    let mut raw = Raw::uplink(Settings::default(), 2);
    raw.frame(0, Performative::Detach(Detach { handle: 0, closed: false, error: None }));
    let answers = raw.answers();
    assert!(matches!(
        answers[..],
        [(0, Performative::Detach(Detach { handle: 0, closed: false, error: None }))]
    ));
}

#[test]
fn a_link_is_taken_over_by_its_name() {
    let mut raw = Raw::uplink(Settings::default(), 2);
    raw.frame(0, attach("up", 1, Role::Sender));
    let answers = raw.answers();
    let (0, Performative::Detach(detach)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(detach.handle, 0);
    assert_eq!(detach.error.as_ref().expect("a reason").condition, condition::STOLEN);
    assert!(matches!(answers[1], (0, Performative::Attach(_))));
    assert!(matches!(raw.server.take()[..], [Event::Detached { .. }, Event::Attach { .. }]));
    // The other direction is another link.
    raw.frame(0, attach("up", 2, Role::Receiver));
    assert!(matches!(raw.answers()[..], [(0, Performative::Attach(_))]));
}

#[test]
fn transactions_are_refused() {
    let mut raw = Raw::session(Settings::default());
    let coordinator = Attach { coordinator: true, ..Attach::new("txn", 0, Role::Sender) };
    raw.frame(0, Performative::Attach(Box::new(coordinator)));
    assert_eq!(raw.detach_condition(), condition::NOT_IMPLEMENTED);
    assert_eq!(raw.server.take(), []);
}

#[test]
fn a_flow_is_answered_when_it_asks() {
    let mut raw = Raw::uplink(Settings::default(), 7);
    raw.frame(0, flow(|flow| flow.echo = true));
    raw.frame(
        0,
        flow(|flow| {
            flow.echo = true;
            flow.handle = Some(0);
            flow.delivery_count = Some(0);
        }),
    );
    let answers = raw.answers();
    let [(0, Performative::Flow(session)), (0, Performative::Flow(link))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((session.handle, session.link_credit), (None, None));
    assert_eq!((link.handle, link.link_credit), (Some(0), Some(7)));
    assert_eq!(link.next_incoming_id, Some(0));
}

#[test]
fn credit_that_counts_from_the_future_is_taken_as_it_stands() {
    let mut raw = Raw::session(Settings::default());
    raw.server.window = Some(1);
    raw.frame(0, attach("down", 0, Role::Receiver));
    for (count, credit) in [(Some(10), 5), (None, 6), (Some(u32::MAX), 6)] {
        raw.frame(
            0,
            flow(|flow| {
                flow.handle = Some(0);
                flow.delivery_count = count;
                flow.link_credit = Some(credit);
            }),
        );
        let events = raw.server.take();
        let expected = credit - u32::from(count == Some(u32::MAX));
        assert!(
            matches!(events.last(), Some(Event::Credit { credit, .. }) if *credit == expected),
            "{events:?}"
        );
    }
}

#[test]
fn an_owner_may_be_late_with_everything() {
    let mut raw = Raw::session(Settings::default());
    raw.frame(0, attach("up", 0, Role::Sender));
    let events = raw.server.take();
    let [Event::Attach { link, .. }] = events[..] else { panic!("{events:?}") };
    raw.frame(0, Performative::End(End::default()));
    raw.answers();
    let error = Error::new(condition::NOT_FOUND, "late");
    raw.server.machine.refuse_attach(link, error.clone());
    raw.server.machine.detach(link, Some(error.clone()));
    raw.server.machine.grant(link, 1);
    raw.server.machine.drain(link);
    raw.server.machine.drained(link);
    raw.server.machine.end(link.session(), Some(error));
    raw.server.machine.sasl_outcome(Outcome::Ok);
    assert_eq!(raw.answers(), []);
}

#[test]
fn states_of_another_life_are_ignored() {
    let mut raw = Raw::session(Settings::default());
    raw.server.window = Some(2);
    let Performative::Attach(attach) = attach("up", 0, Role::Sender) else { unreachable!() };
    let mut unsettled = amqp::Map::new();
    unsettled.push(amqp::Value::Binary(Bytes::from_static(b"tag")), amqp::Value::Null);
    let attach = Attach { unsettled, incomplete_unsettled: true, ..*attach };
    raw.frame(0, Performative::Attach(Box::new(attach)));
    let answers = raw.answers();
    let (0, Performative::Attach(answer)) = &answers[0] else { panic!("{answers:?}") };
    assert!(answer.unsettled.is_empty());
    // What is resumed is a delivery like any other.
    raw.transfer(&Transfer { resume: true, ..transfer(0) }, b"again");
    assert_eq!(raw.server.deliveries().len(), 1);
}
