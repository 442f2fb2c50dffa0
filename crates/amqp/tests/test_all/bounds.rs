//! Time and memory: what a peer may cost.

use std::sync::Arc;
use std::time::Duration;

use amqp::DeliveryState;
use amqp::connection::{
    Closed, Connection, Credentials, Event, NewLink, SendError, Settings, Timeout,
};
use amqp::frame::ProtocolHeader;
use amqp::performative::{Flow, Open, Performative, Role, condition};

use crate::pair::{Pair, outgoing};
use crate::raw::{Raw, attach, begin, transfer};

#[test]
fn a_peer_that_does_not_open_is_gone_after_the_deadline() {
    for bytes in [&b""[..], b"AMQP", &ProtocolHeader::Sasl.bytes(), &ProtocolHeader::Amqp.bytes()] {
        let mut raw = Raw::new(Settings::default());
        raw.bytes(bytes);
        let at = raw.server.machine.poll_timeout().expect("a deadline");
        assert_eq!(at, raw.now + Duration::from_secs(10));
        raw.server.machine.handle_timeout(at - Duration::from_millis(1));
        assert!(!raw.server.machine.is_closed());
        raw.server.machine.handle_timeout(at);
        assert!(raw.server.machine.is_closed());
        assert_eq!(raw.server.take(), [Event::Closed(Closed::TimedOut(Timeout::Open))]);
    }
}

#[test]
fn a_client_gives_up_on_a_silent_server() {
    let settings = Arc::new(Settings::default());
    let mut client = Connection::client(Duration::ZERO, settings, Credentials::None);
    client.handle_timeout(Duration::from_secs(10));
    assert_eq!(client.poll_event(), Some(Event::Closed(Closed::TimedOut(Timeout::Open))));
}

#[test]
fn a_peer_without_links_is_gone_after_the_deadline() {
    let mut raw = Raw::session(Settings::default());
    let at = raw.server.machine.poll_timeout().expect("a deadline");
    assert_eq!(at, raw.now + Duration::from_secs(60));
    raw.server.machine.handle_timeout(at);
    assert_eq!(raw.close_condition(), condition::CONNECTION_FORCED);
    assert_eq!(raw.server.take(), [Event::Closed(Closed::TimedOut(Timeout::Attach))]);

    let mut raw = Raw::uplink(Settings::default(), 1);
    raw.server.machine.handle_timeout(at);
    assert_eq!((raw.server.take(), raw.answers()), (Vec::new(), Vec::new()));
}

#[test]
fn two_ends_keep_each_other_alive() {
    let short = Settings { idle_time_out: Duration::from_secs(2), ..Settings::default() };
    let mut pair = Pair::with(short, Settings::default(), Credentials::None);
    pair.run();
    pair.take_opens();
    pair.uplink();
    pair.pass(Duration::from_secs(3600));
    assert_eq!((pair.client.take(), pair.server.take()), (Vec::new(), Vec::new()));
}

#[test]
fn a_silent_peer_is_gone_after_the_time_out() {
    let mut raw = Raw::uplink(Settings::default(), 1);
    // Anything counts, also an empty frame.
    raw.now += Duration::from_secs(300);
    raw.server.machine.handle_timeout(raw.now);
    raw.bytes(b"\0\0\0\x08\x02\0\0\0");
    let due = raw.now + Duration::from_secs(360);
    let mut timeouts = 0;
    while raw.server.machine.poll_timeout().is_some_and(|at| at < due) {
        raw.server.machine.handle_timeout(raw.server.machine.poll_timeout().expect("a timer"));
        timeouts += 1;
        assert!(timeouts < 3, "the timer moves rarely");
    }
    assert_eq!(raw.server.machine.poll_timeout(), Some(due));
    raw.server.machine.handle_timeout(due);
    assert_eq!(raw.close_condition(), condition::RESOURCE_LIMIT_EXCEEDED);
    assert_eq!(raw.server.take(), [Event::Closed(Closed::TimedOut(Timeout::Idle))]);
    raw.server.machine.handle_timeout(due + Duration::from_secs(1));
    assert!(raw.server.machine.is_closed());
}

#[test]
fn heartbeats_come_at_half_of_the_peers_time_out() {
    for (time_out, expected) in
        [(None, None), (Some(0), None), (Some(60_000), Some(30_000)), (Some(1), Some(100))]
    {
        let mut raw = Raw::new(Settings::default());
        raw.bytes(&ProtocolHeader::Amqp.bytes());
        let idle_time_out = time_out.map(Duration::from_millis);
        raw.frame(0, Performative::Open(Open { idle_time_out, ..Open::default() }));
        raw.frame(0, begin(1));
        raw.frame(0, attach("up", 0, Role::Sender));
        raw.take_header();
        raw.answers();
        let Some(expected) = expected.map(Duration::from_millis) else {
            let idle = raw.now + Duration::from_secs(360);
            assert_eq!(raw.server.machine.poll_timeout(), Some(idle));
            continue;
        };
        for round in 1..4 {
            let at = raw.now + expected * round;
            assert_eq!(raw.server.machine.poll_timeout(), Some(at));
            raw.server.machine.handle_timeout(at);
            assert_eq!(raw.server.machine.output(), b"\0\0\0\x08\x02\0\0\0");
            raw.server.machine.advance_output(if round < 3 { 8 } else { 0 });
        }
        // A peer that doesn't read gets no more of them.
        raw.server.machine.handle_timeout(raw.now + expected * 4);
        assert_eq!(raw.server.machine.output().len(), 8);
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let settings = Settings { output_bytes_max: 4096, ..Settings::default() };
    let mut raw = Raw::session(settings);
    let echo = Performative::Flow(Flow { echo: true, ..Flow::default() });
    for _ in 0..1000 {
        raw.frame(0, echo.clone());
    }
    let written = raw.server.machine.output().len();
    assert!((4096..4200).contains(&written), "{written}");
    assert!(!raw.server.machine.wants_input() && !raw.server.machine.wants_resume());
    assert!(raw.server.input_left() > 0);
    raw.server.machine.advance_output(1000);
    assert!(raw.server.machine.wants_resume());
}

/// We read nothing from it, so its silence proves nothing; that it takes nothing does.
#[test]
fn a_peer_that_never_reads_is_gone_after_the_time_out() {
    let settings = Settings { output_bytes_max: 4096, ..Settings::default() };
    let mut raw = Raw::session(settings);
    raw.frame(0, attach("up", 0, Role::Sender));
    let echo = Performative::Flow(Flow { echo: true, ..Flow::default() });
    for _ in 0..1000 {
        raw.frame(0, echo.clone());
    }
    raw.server.take();
    // A slow one is not meant: it takes a little at a time.
    for _ in 0..5 {
        raw.server.machine.advance_output(1);
        raw.now += Duration::from_secs(360);
        raw.server.machine.handle_timeout(raw.now);
        assert_eq!(raw.server.take(), []);
    }
    raw.now += Duration::from_secs(360);
    raw.server.machine.handle_timeout(raw.now);
    assert_eq!(raw.server.take(), [Event::Closed(Closed::TimedOut(Timeout::Idle))]);
    raw.server.machine.handle_timeout(raw.now + Duration::from_secs(1));
    assert!(raw.server.machine.is_closed());
}

#[test]
fn an_owner_that_does_not_settle_stops_the_reading() {
    let settings = Settings { unsettled_bytes_max: 10_000, ..Settings::default() };
    let mut raw = Raw::uplink(settings, 1000);
    let mut deliveries = Vec::new();
    for id in 0..100 {
        raw.transfer(&transfer(id), &[0; 1000]);
        deliveries.extend(raw.server.deliveries());
    }
    assert_eq!(deliveries.len(), 10, "what a delivery costs beside its message is counted");
    assert!(!raw.server.machine.wants_input());
    // Silence proves nothing while we don't listen.
    raw.now += Duration::from_secs(1000);
    raw.server.machine.handle_timeout(raw.now);
    assert_eq!(raw.server.take(), []);
    while let Some(delivery) = deliveries.pop() {
        raw.server.machine.settle(delivery.id, DeliveryState::Accepted);
        raw.bytes(b"");
        deliveries.extend(raw.server.deliveries());
    }
    assert_eq!(raw.server.input_left(), 0);
    assert!(raw.server.machine.wants_input());
}

#[test]
fn an_owner_that_sends_to_a_slow_reader_is_stopped() {
    let settings = Settings { output_bytes_max: 10_000, ..Settings::default() };
    let mut pair = Pair::with(Settings::default(), settings, Credentials::None);
    pair.run();
    pair.take_opens();
    let (_, there) = pair.downlink(1000);
    let mut sent = 0;
    while pair.server.send(there, &[0; 900]).is_ok() {
        sent += 1;
    }
    assert_eq!(pair.server.send(there, b""), Err(SendError::OutputFull));
    assert!((10..12).contains(&sent), "{sent}");
    pair.run();
    assert_eq!(pair.server.machine.can_send(there), Ok(()));
}

#[test]
fn what_waits_for_a_window_counts_as_output() {
    let client = Settings { incoming_window: 1, max_frame_size: 512, ..Settings::default() };
    let server = Settings { output_bytes_max: 10_000, ..Settings::default() };
    let mut pair = Pair::with(client, server, Credentials::None);
    pair.run();
    pair.take_opens();
    let (_, one) = pair.downlink(10);
    let (session, _) = pair.session();
    let (_, two) = pair.link(session, NewLink::receiver("two", "from", 10));
    pair.server.send(one, &[0; 20_000]).expect("the first");
    assert_eq!(pair.server.send(two, b"m"), Err(SendError::OutputFull));
    // That must not keep the flow that opens the window from being read.
    assert!(pair.server.machine.wants_input());
    pair.run();
    assert_eq!(pair.client.deliveries()[0].message.len(), 20_000);
    pair.server.send(two, b"m").expect("room again");
}

#[test]
fn unsettled_messages_are_bounded() {
    let server = Settings { unsettled_max: 5, ..Settings::default() };
    let mut pair = Pair::with(Settings::default(), server, Credentials::None);
    pair.run();
    pair.take_opens();
    let (_, there) = pair.downlink(100);
    for _ in 0..5 {
        pair.server.send(there, b"m").expect("room");
    }
    assert_eq!(pair.server.send(there, b"m"), Err(SendError::UnsettledFull));
    assert_eq!(pair.server.machine.can_send(there), Err(SendError::UnsettledFull));
    pair.server.machine.send(there, outgoing(b"m", true)).expect("settled needs no room");
    pair.client.accepts = true;
    pair.run();
    assert_eq!(pair.server.machine.can_send(there), Ok(()));
}

#[test]
fn an_idle_connection_is_small() {
    let bytes = size_of::<Connection>();
    assert!(bytes <= 512, "{bytes} bytes");
}

#[test]
fn a_range_without_end_costs_nothing() {
    let mut raw = Raw::uplink(Settings::default(), 10);
    raw.transfer(&transfer(7), b"m");
    let delivery = raw.server.deliveries().remove(0);
    let settles = Performative::Disposition(amqp::performative::Disposition {
        role: Role::Sender,
        first: 0,
        last: Some(0x7fff_ffff),
        settled: true,
        state: None,
        batchable: false,
    });
    for _ in 0..100_000 {
        raw.frame(0, settles.clone());
    }
    raw.server.machine.settle(delivery.id, DeliveryState::Accepted);
    assert_eq!(raw.answers(), [], "the sender has settled it");
}
