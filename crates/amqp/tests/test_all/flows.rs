//! What goes well: all that two polite ends do.

use std::sync::Arc;
use std::time::Duration;

use amqp::connection::{
    Accept, BeginError, Cause, Closed, Connection, Credentials, CreditPolicy, Event, NewLink,
    SendError, Settings,
};
use amqp::frame::{self, ProtocolHeader};
use amqp::performative::{ReceiverSettleMode, SenderSettleMode, Source, condition};
use amqp::sasl::{Init, Outcome, SaslFrame};
use amqp::{DeliveryState, Error, Role, Symbol};
use bytes::{Bytes, BytesMut};

use crate::pair::{Pair, outgoing};
use crate::raw;

fn accepted(delivery: amqp::connection::DeliveryId) -> Event {
    Event::Settled { delivery, state: Some(DeliveryState::Accepted), settled: true }
}

#[test]
fn opens_with_each_kind_of_credentials() {
    let all = [
        (Credentials::Anonymous, Some(("ANONYMOUS", &b""[..]))),
        (Credentials::Cbs, Some(("MSSBCBS", b""))),
        (Credentials::External, Some(("EXTERNAL", b""))),
        (Credentials::Plain(Bytes::from_static(b"\0u\0p")), Some(("PLAIN", b"\0u\0p"))),
        (Credentials::None, None),
    ];
    for (credentials, expected) in all {
        for chunk in [1, 7, usize::MAX] {
            let client = Settings {
                hostname: Some("hub.example".to_owned()),
                container_id: "c".to_owned(),
                ..Settings::default()
            };
            let mut pair = Pair::with(client, Settings::default(), credentials.clone());
            pair.chunk = chunk;
            pair.run();
            let mut events = pair.server.take().into_iter();
            if let Some((name, message)) = expected {
                assert_eq!(
                    events.next(),
                    Some(Event::SaslInit {
                        mechanism: Symbol::try_from(name).expect("ascii"),
                        response: Bytes::from_static(message),
                        hostname: Some("hub.example".to_owned()),
                    })
                );
            }
            let Some(Event::Open(open)) = events.next() else { panic!("{credentials:?}") };
            assert_eq!(open.container_id, "c");
            assert_eq!(open.hostname.as_deref(), Some("hub.example"));
            assert_eq!(events.next(), None);
            let events = pair.client.take();
            let [Event::Open(open)] = &events[..] else { panic!("{events:?}") };
            assert_eq!((open.max_frame_size, open.channel_max), (65536, 8191));
            assert_eq!(open.idle_time_out, Some(Duration::from_secs(240)));
        }
    }
}

#[test]
fn a_message_up_is_settled_by_the_server() {
    let mut pair = Pair::open();
    let (up, there) = pair.uplink();
    let sent = pair.client.send(up, b"hello").expect("credit");
    pair.run();
    let deliveries = pair.server.deliveries();
    let [delivery] = &deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!((&delivery.message[..], &delivery.tag[..]), (&b"hello"[..], &b"tag"[..]));
    assert_eq!((delivery.id.link(), delivery.settled), (there, false));
    assert_eq!(pair.client.take(), []);
    pair.server.machine.settle(delivery.id, DeliveryState::Accepted);
    pair.server.machine.settle(delivery.id, DeliveryState::Released);
    pair.run();
    assert_eq!(pair.client.take(), [accepted(sent)]);
}

#[test]
fn a_message_down_is_settled_by_the_client() {
    let mut pair = Pair::open();
    let (down, there) = pair.downlink(5);
    assert_eq!(pair.server.machine.credit(there), 5);
    let sent = pair.server.send(there, b"ring").expect("credit");
    assert_eq!(pair.server.machine.credit(there), 4);
    pair.run();
    let deliveries = pair.client.deliveries();
    let [delivery] = &deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!(delivery.id.link(), down);
    let rejected = DeliveryState::Rejected(Some(Error::new(condition::NOT_ALLOWED, "no bell")));
    pair.client.machine.settle(delivery.id, rejected.clone());
    pair.run();
    let settled = Event::Settled { delivery: sent, state: Some(rejected), settled: true };
    assert_eq!(pair.server.take(), [settled]);
}

#[test]
fn settle_modes_of_the_sender_hold() {
    for (mode, asked, expected) in [
        (SenderSettleMode::Settled, false, true),
        (SenderSettleMode::Unsettled, true, false),
        (SenderSettleMode::Mixed, true, true),
        (SenderSettleMode::Mixed, false, false),
    ] {
        let mut pair = Pair::open();
        let (session, _) = pair.session();
        let link = NewLink { snd_settle_mode: mode, ..NewLink::sender("up", "to") };
        let (up, _) = pair.link(session, link);
        pair.client.machine.send(up, outgoing(b"m", asked)).expect("credit");
        pair.run();
        let deliveries = pair.server.deliveries();
        assert_eq!(deliveries[0].settled, expected, "{mode:?}");
        // Settling what is settled is harmless.
        pair.server.machine.settle(deliveries[0].id, DeliveryState::Accepted);
        pair.run();
        assert_eq!(pair.client.take().len(), usize::from(!expected));
    }
}

#[test]
fn a_receiver_that_settles_second_waits_for_the_sender() {
    for settles_back in [true, false] {
        let mut pair = Pair::open();
        let (session, _) = pair.session();
        let link = NewLink {
            rcv_settle_mode: ReceiverSettleMode::Second,
            ..NewLink::receiver("down", "from", 2)
        };
        let link = pair.client.machine.attach(session, link).expect("open");
        pair.run();
        let events = pair.server.take();
        let [Event::Attach { link: there, attach }] = &events[..] else { panic!("{events:?}") };
        let (there, accept) = (*there, Accept::echo(attach, 0));
        pair.server.machine.accept_attach(there, Accept { settles_back, ..accept });
        pair.run();
        assert!(matches!(pair.client.take()[..], [Event::Attached { link: it, .. }] if it == link));
        let sent = [b"1", b"2"].map(|text| pair.server.send(there, text).expect("credit"));
        assert_eq!(pair.server.send(there, b"3"), Err(SendError::NoCredit));
        pair.run();
        for delivery in pair.client.deliveries() {
            pair.client.machine.settle(delivery.id, DeliveryState::Accepted);
        }
        pair.server.take();
        pair.run();
        let events = pair.server.take();
        let outcomes: Vec<_> = sent
            .map(|delivery| Event::Settled {
                delivery,
                state: Some(DeliveryState::Accepted),
                settled: settles_back,
            })
            .into();
        assert_eq!(events.get(..2), Some(&outcomes[..]));
        if !settles_back {
            // The window counts what is not settled: no credit comes before.
            assert_eq!(events.len(), 2);
            let lost = DeliveryState::Rejected(Some(Error::new(condition::NOT_FOUND, "late")));
            for delivery in sent {
                pair.server.machine.settle(delivery, lost.clone());
            }
            pair.run();
            assert!(matches!(pair.server.take()[..], [Event::Credit { credit: 2, .. }]));
        }
        assert_eq!(pair.server.machine.credit(there), 2);
    }
}

#[test]
fn messages_are_split_by_the_frame_size() {
    for size in [0, 1, 400, 511, 512, 513, 65_000, 1_048_576] {
        for (frame, chunk) in [(512, usize::MAX), (4096, 61), (65536, 1)] {
            if size > 70_000 && chunk == 1 {
                continue;
            }
            let server = Settings { max_frame_size: frame, ..Settings::default() };
            let mut pair = Pair::with(Settings::default(), server, Credentials::None);
            pair.run();
            pair.take_opens();
            let (up, _) = pair.uplink();
            let message: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            pair.chunk = chunk;
            pair.client.send(up, &message).expect("credit");
            let output = pair.client.machine.output();
            assert!(output.len() > size);
            pair.run();
            let deliveries = pair.server.deliveries();
            assert_eq!(deliveries.len(), 1, "{size} in {frame}");
            assert!(deliveries[0].message == message, "{size} in {frame}");
        }
    }
}

#[test]
fn a_message_larger_than_the_peer_takes_is_not_sent() {
    let mut pair = Pair::open();
    let (up, _) = pair.uplink();
    let error = SendError::MessageTooLarge { size_bytes: 1_048_577, size_bytes_max: 1_048_576 };
    assert_eq!(pair.client.send(up, &vec![0; 1_048_577]), Err(error));
    let long = amqp::connection::Outgoing { tag: vec![0; 33].into(), ..outgoing(b"", false) };
    assert_eq!(pair.client.machine.send(up, long), Err(SendError::TagTooLong));
    assert!(pair.client.machine.output().is_empty());
}

#[test]
fn a_session_window_holds_a_message_in_its_middle() {
    let server = Settings { max_frame_size: 512, incoming_window: 3, ..Settings::default() };
    let mut pair = Pair::with(Settings::default(), server, Credentials::None);
    pair.run();
    pair.take_opens();
    let (up, _) = pair.uplink();
    let message = vec![7; 10_000];
    let sent = pair.client.send(up, &message).expect("window");
    assert_eq!(pair.client.send(up, b"next"), Err(SendError::WindowFull));
    assert_eq!(pair.client.machine.can_send(up), Err(SendError::WindowFull));
    let out = pair.client.machine.output().len();
    assert!(out <= 3 * 512, "{out}");
    pair.run();
    assert!(
        matches!(pair.client.take()[..], [Event::WindowOpened(session)] if session == up.session())
    );
    assert_eq!(pair.client.machine.can_send(up), Ok(()));
    let deliveries = pair.server.deliveries();
    assert!(deliveries[0].message == message);
    pair.server.machine.settle(deliveries[0].id, DeliveryState::Accepted);
    pair.run();
    assert_eq!(pair.client.take(), [accepted(sent)]);
}

#[test]
fn credit_is_topped_up_as_the_owner_settles() {
    let mut pair = Pair::open();
    let (up, _) = pair.uplink();
    // The window of 10 is used up while nobody settles.
    let mut count = 0;
    while pair.client.send(up, b"m").is_ok() {
        count += 1;
        pair.run();
    }
    assert_eq!(count, 10);
    assert_eq!(pair.client.send(up, b"m"), Err(SendError::NoCredit));
    let deliveries = pair.server.deliveries();
    for delivery in &deliveries[..4] {
        pair.server.machine.settle(delivery.id, DeliveryState::Accepted);
    }
    pair.run();
    assert_eq!(pair.client.machine.credit(up), 0, "not for every message");
    pair.server.machine.settle(deliveries[4].id, DeliveryState::Accepted);
    pair.run();
    assert_eq!(pair.client.machine.credit(up), 5);
}

#[test]
fn settled_messages_use_no_window() {
    let mut pair = Pair::open();
    let (up, _) = pair.uplink();
    for _ in 0..100 {
        pair.client.machine.send(up, outgoing(b"m", true)).expect("topped up");
        pair.run();
    }
    assert_eq!(pair.server.deliveries().len(), 100);
}

#[test]
fn manual_credit_is_what_the_owner_says() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    let link = NewLink { credit: CreditPolicy::Manual, ..NewLink::receiver("down", "from", 0) };
    let (down, there) = pair.link(session, link);
    assert_eq!(pair.server.send(there, b"m"), Err(SendError::NoCredit));
    pair.client.machine.grant(down, 3);
    pair.run();
    let events = pair.server.take();
    assert_eq!(events, [Event::Credit { link: there, credit: 3, drain: false }]);
    pair.server.send(there, b"1").expect("credit");
    // It crosses: the message is fine, although the credit was taken back.
    pair.client.machine.grant(down, 0);
    pair.run();
    assert_eq!(pair.client.deliveries().len(), 1);
    assert_eq!(pair.server.take(), [Event::Credit { link: there, credit: 0, drain: false }]);
    assert_eq!(pair.server.send(there, b"2"), Err(SendError::NoCredit));
    pair.client.machine.grant(down, 1);
    pair.run();
    pair.server.send(there, b"2").expect("credit");
    pair.run();
    assert_eq!(pair.client.deliveries().len(), 1);
}

#[test]
fn a_drain_uses_up_the_credit() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    let link = NewLink { credit: CreditPolicy::Manual, ..NewLink::receiver("down", "from", 0) };
    let (down, there) = pair.link(session, link);
    for _ in 0..2 {
        pair.client.machine.grant(down, 10);
        pair.client.machine.drain(down);
        pair.run();
        let events = pair.server.take();
        assert_eq!(events.last(), Some(&Event::Credit { link: there, credit: 10, drain: true }));
        pair.server.send(there, b"all there is").expect("credit");
        pair.server.machine.drained(there);
        pair.server.machine.drained(there);
        assert_eq!(pair.server.machine.credit(there), 0);
        pair.run();
        let events = pair.client.take();
        assert!(
            matches!(&events[..], [Event::Delivery(_), Event::Drained(link)] if *link == down),
            "{events:?}"
        );
    }
    pair.client.machine.grant(down, 1);
    pair.run();
    assert_eq!(
        pair.server.take(),
        [Event::Credit { link: there, credit: 1, drain: false }],
        "the drain is over"
    );
}

#[test]
fn an_attach_is_refused() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    for new in [NewLink::sender("a", "x"), NewLink::receiver("a", "x", 1)] {
        let link = pair.client.machine.attach(session, new.clone()).expect("open");
        assert_eq!(pair.client.machine.attach(session, new), Err(BeginError::NameInUse));
        pair.run();
        let events = pair.server.take();
        let [Event::Attach { link: there, .. }] = events[..] else { panic!("{events:?}") };
        let error = Error::new(condition::NOT_FOUND, "who?");
        pair.server.machine.refuse_attach(there, error.clone());
        pair.server.machine.refuse_attach(there, error.clone());
        pair.run();
        let cause = Cause::Peer(Some(error));
        assert_eq!(pair.client.take(), [Event::Detached { link, cause, closed: true }]);
        assert_eq!(pair.server.take(), []);
        assert_eq!(pair.client.send(link, b"m"), Err(SendError::NotSendable));
    }
}

#[test]
fn either_end_detaches() {
    let mut pair = Pair::open();
    let (up, there) = pair.uplink();
    let delivery = pair.client.send(up, b"unsettled").expect("credit");
    pair.run();
    let received = pair.server.deliveries().remove(0);
    pair.client.machine.detach(up, None);
    pair.run();
    assert_eq!(
        pair.server.take(),
        [Event::Detached { link: there, cause: Cause::Peer(None), closed: true }]
    );
    // Late calls find nothing.
    pair.server.machine.settle(received.id, DeliveryState::Accepted);
    pair.client.machine.settle(delivery, DeliveryState::Accepted);
    pair.client.machine.detach(up, None);
    assert!(pair.server.machine.output().is_empty() && pair.client.machine.output().is_empty());

    let (again, there) = pair.link(up.session(), NewLink::sender("up", "to"));
    assert_ne!(again, up);
    let error = Error::new(condition::STOLEN, "elsewhere");
    pair.server.machine.detach(there, Some(error.clone()));
    pair.client.send(again, b"crosses").expect("credit");
    pair.run();
    let cause = Cause::Peer(Some(error));
    assert_eq!(pair.client.take(), [Event::Detached { link: again, cause, closed: true }]);
    assert_eq!(pair.server.take(), []);
}

#[test]
fn a_link_is_given_up_before_it_was_answered() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    let link = pair.client.machine.attach(session, NewLink::sender("up", "to")).expect("open");
    pair.client.machine.detach(link, None);
    pair.run();
    let events = pair.server.take();
    let [Event::Attach { link: there, attach }, Event::Detached { link: gone, .. }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(there, gone);
    pair.server.machine.accept_attach(*there, Accept::echo(attach, 1));
    pair.run();
    assert_eq!(pair.client.take(), []);
    pair.link(session, NewLink::sender("up", "to"));
}

#[test]
fn either_end_ends_a_session_with_all_its_links() {
    let mut pair = Pair::open();
    let (session, there) = pair.session();
    let (up, _) = pair.link(session, NewLink::sender("up", "to"));
    let (_, down) = pair.link(session, NewLink::receiver("down", "from", 1));
    pair.client.send(up, b"1").expect("credit");
    pair.server.send(down, b"2").expect("credit");
    let error = Error::new(condition::RESOURCE_DELETED, "gone");
    pair.client.machine.end(session, Some(error.clone()));
    pair.run();
    let events = pair.server.take();
    let cause = Cause::Peer(Some(error));
    assert_eq!(events.last(), Some(&Event::SessionEnded { session: there, cause }));
    assert_eq!(pair.client.take(), []);
    assert_eq!(pair.server.send(down, b"3"), Err(SendError::NotSendable));

    let (session, there) = pair.session();
    pair.server.machine.end(there, None);
    pair.run();
    assert_eq!(pair.client.take(), [Event::SessionEnded { session, cause: Cause::Peer(None) }]);
    assert_eq!(pair.server.take(), []);
    assert_eq!(
        pair.client.machine.attach(session, NewLink::sender("up", "to")),
        Err(BeginError::NotOpen)
    );
}

#[test]
fn the_server_begins_and_attaches_too() {
    let mut pair = Pair::open();
    let session = pair.server.machine.begin().expect("open");
    pair.client.window = Some(3);
    let link = pair
        .server
        .machine
        .attach(session, NewLink::sender("down", "to"))
        .expect("before the answer");
    assert_eq!(pair.server.send(link, b"m"), Err(SendError::NotSendable));
    pair.run();
    let events = pair.server.take();
    assert!(
        matches!(
            &events[..],
            [Event::SessionBegun(_), Event::Attached { .. }, Event::Credit { credit: 3, .. }]
        ),
        "{events:?}"
    );
    pair.server.send(link, b"m").expect("credit");
    pair.run();
    assert_eq!(pair.client.deliveries().len(), 1);
}

#[test]
fn either_end_closes() {
    for is_client in [true, false] {
        let mut pair = Pair::open();
        let (up, _) = pair.uplink();
        let error = Error::new(condition::CONNECTION_FORCED, "shutting down");
        let sent = pair.client.send(up, b"last").expect("credit");
        let now = pair.now;
        let (one, other) = match is_client {
            true => (&mut pair.client, &mut pair.server),
            false => (&mut pair.server, &mut pair.client),
        };
        one.machine.close(now, Some(error.clone()));
        assert!(!one.machine.is_closed(), "the peer has to answer");
        assert!(one.machine.wants_input() && !other.machine.is_closed());
        pair.run();
        assert!(pair.client.machine.is_closed() && pair.server.machine.is_closed());
        assert_eq!(
            (pair.client.machine.poll_timeout(), pair.server.machine.poll_timeout()),
            (None, None)
        );
        let (one, other) = match is_client {
            true => (pair.client.take(), pair.server.take()),
            false => (pair.server.take(), pair.client.take()),
        };
        assert_eq!(one, []);
        assert_eq!(other.last(), Some(&Event::Closed(Closed::Peer(Some(error)))));
        assert_eq!(pair.client.machine.begin(), Err(BeginError::NotOpen));
        pair.client.machine.settle(sent, DeliveryState::Accepted);
        pair.client.machine.close(pair.now, None);
        assert!(pair.client.machine.output().is_empty());
    }
}

#[test]
fn consecutive_outcomes_become_one_disposition() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    pair.server.window = Some(1000);
    let (up, _) = pair.link(session, NewLink::sender("up", "to"));
    let sent: Vec<_> = (0..300).map(|_| pair.client.send(up, b"m").expect("credit")).collect();
    pair.run();
    let deliveries = pair.server.deliveries();
    // The owner settles out of order, as a disk does.
    for delivery in deliveries[..100].iter().chain(deliveries[100..200].iter().rev()) {
        pair.server.machine.settle(delivery.id, DeliveryState::Accepted);
    }
    for delivery in &deliveries[200..] {
        pair.server.machine.settle(delivery.id, DeliveryState::Released);
    }
    let bytes = pair.server.machine.output().len();
    assert!(bytes < 3 * 64, "{bytes} bytes for three dispositions");
    pair.run();
    let events = pair.client.take();
    let states = events.iter().map(|event| match event {
        Event::Settled { state: Some(state), delivery, .. } => (*delivery, state.clone()),
        other => panic!("{other:?}"),
    });
    let mut expected: Vec<_> = Vec::new();
    for (index, delivery) in sent.into_iter().enumerate() {
        let state = if index < 200 { DeliveryState::Accepted } else { DeliveryState::Released };
        expected.push((delivery, state));
    }
    let mut states: Vec<_> = states.collect();
    states.sort_by_key(|(delivery, _)| *delivery);
    assert_eq!(states, expected);
}

#[test]
fn calls_go_out_in_their_order() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    let (request, _) = pair.link(session, NewLink::sender("$cbs-s", "$cbs"));
    let (_, answer) = pair.link(session, NewLink::receiver("$cbs-r", "$cbs", 1));
    let sent = pair.client.send(request, b"put-token").expect("credit");
    pair.run();
    let delivery = pair.server.deliveries().remove(0);
    pair.server.machine.settle(delivery.id, DeliveryState::Accepted);
    pair.server.send(answer, b"200").expect("credit");
    pair.run();
    let events = pair.client.take();
    assert!(
        matches!(&events[..], [first, Event::Delivery(_)] if *first == accepted(sent)),
        "{events:?}"
    );
}

#[test]
fn an_accept_echoes_and_names_the_largest_message() {
    let mut pair = Pair::open();
    let (session, _) = pair.session();
    let mut source = Source::at("hub/ConsumerGroups/$Default/Partitions/0");
    source.filter.push(Symbol::from_static("f"), amqp::Value::described(1u64, "text"));
    let new = NewLink { source: source.clone(), ..NewLink::receiver("down", "", 1) };
    pair.server.window = Some(1);
    let link = pair.client.machine.attach(session, new).expect("open");
    pair.run();
    let events = pair.client.take();
    let [Event::Attached { link: it, attach }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*it, attach.role), (link, Role::Sender));
    assert_eq!(attach.source.as_deref(), Some(&source));
    assert_eq!(attach.max_message_size, Some(1_048_576));
    assert_eq!(attach.initial_delivery_count, Some(0));
}

#[test]
fn byte_by_byte_is_the_same() {
    let mut pair = Pair::new();
    pair.chunk = 1;
    pair.run();
    pair.take_opens();
    let (up, _) = pair.uplink();
    pair.server.accepts = true;
    for round in 0..50u8 {
        let sent = pair.client.send(up, &[round; 200]).expect("credit");
        pair.run();
        assert!(pair.client.take().contains(&accepted(sent)));
    }
    assert_eq!(pair.server.input_left(), 0);
}

#[test]
fn a_client_may_say_everything_at_once() {
    // With SASL, the layers behind it wait for the owner; without, nothing waits.
    for has_sasl in [true, false] {
        let mut bytes = BytesMut::new();
        if has_sasl {
            bytes.extend_from_slice(&ProtocolHeader::Sasl.bytes());
            // A token in a password makes it longer than the standard's 512 bytes.
            let response =
                format!("\0device@sas.hub\0SharedAccessSignature sr={}", "x".repeat(4000));
            let init = Init {
                mechanism: Symbol::from_static("PLAIN"),
                initial_response: Some(response.into_bytes().into()),
                hostname: None,
            };
            frame::encode_sasl(&SaslFrame::Init(init), &mut bytes);
        }
        bytes.extend_from_slice(&ProtocolHeader::Amqp.bytes());
        let performatives = [raw::open(), raw::begin(10), raw::attach("up", 0, Role::Sender)];
        for performative in performatives {
            frame::encode(0, &performative, &mut bytes);
        }
        let now = Duration::ZERO;
        let mut server = Connection::server(now, Arc::new(Settings::default()));
        server.handle_input(now, &mut bytes);
        if has_sasl {
            assert!(matches!(server.poll_event(), Some(Event::SaslInit { .. })));
            assert_eq!(server.poll_event(), None);
            assert!(!server.wants_input() && !server.wants_resume());
            server.sasl_outcome(Outcome::Ok);
            assert!(server.wants_resume());
            server.handle_input(now, &mut bytes);
        }
        assert!(matches!(server.poll_event(), Some(Event::Open(_))));
        assert!(matches!(server.poll_event(), Some(Event::SessionBegun(_))));
        assert!(matches!(server.poll_event(), Some(Event::Attach { .. })));
        assert_eq!((server.poll_event(), bytes.len()), (None, 0));
    }
}
