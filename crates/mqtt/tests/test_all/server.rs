//! The server machine alone: order, windows, timers, bounds.

use std::time::Duration;

use bytes::BytesMut;
use mqtt::packet::{ConnackCode, Connect, Packet, SubackCode, Unsubscribe};
use mqtt::server::{Event, ServerConnection, Settings, Timeout, Violation};
use mqtt::{AckError, DecodeError, QoS, SendError};

use crate::arbitrary::{encoded, filter, id, publish, subscribe, topic};

const SECOND: Duration = Duration::from_secs(1);

/// A server machine with the bytes that its owner holds for it.
struct Peer {
    server: ServerConnection,
    input: BytesMut,
    now: Duration,
}

impl Peer {
    fn new(settings: Settings) -> Peer {
        let now = Duration::from_secs(1000);
        Peer { server: ServerConnection::new(now, settings), input: BytesMut::new(), now }
    }

    /// Connected, with CONNACK written.
    fn connected(settings: Settings, keep_alive_s: u16) -> Peer {
        let mut peer = Peer::new(settings);
        peer.send(&Packet::Connect(Box::new(Connect { keep_alive_s, ..Connect::new("d") })));
        assert!(matches!(peer.server.poll_event(), Some(Event::Connect(_))));
        peer.server.accept(peer.now, false);
        assert_eq!(peer.written(), [0x20, 2, 0, 0]);
        peer
    }

    fn send(&mut self, packet: &Packet) {
        self.send_bytes(&encoded(packet));
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.server.handle_input(self.now, &mut self.input);
    }

    fn publish(&mut self, number: u16) {
        self.send(&Packet::Publish(publish(Some(number), "a", b"12345678")));
    }

    fn resume(&mut self) {
        assert!(self.server.wants_resume());
        self.server.handle_input(self.now, &mut self.input);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn written(&mut self) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        self.server.poll_transmit(&mut bytes);
        bytes.to_vec()
    }

    #[track_caller]
    fn expect_timeout(&mut self, timeout: Timeout) {
        assert_eq!(self.events(), [Event::TimedOut(timeout)]);
        assert!(self.server.is_closed());
        assert_eq!(self.server.poll_timeout(), None);
    }
}

fn pubacks(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| encoded(&Packet::Puback(id(*number)))).collect()
}

// --- CONNECT ---

#[test]
fn b3_silence_before_connect() {
    let mut peer = Peer::new(Settings::default());
    assert_eq!(peer.server.poll_timeout(), Some(peer.now + 10 * SECOND));
    peer.wait(9 * SECOND);
    assert_eq!(peer.events(), []);
    peer.wait(SECOND);
    peer.expect_timeout(Timeout::Connect);
}

#[test]
fn b3_connect_at_one_byte_per_second() {
    let mut peer = Peer::new(Settings::default());
    for byte in encoded(&Packet::Connect(Box::new(Connect::new("a-device")))) {
        peer.send_bytes(&[byte]);
        peer.wait(SECOND);
        if peer.server.is_closed() {
            break;
        }
    }
    peer.expect_timeout(Timeout::Connect);
    assert_eq!(peer.now, Duration::from_secs(1010));
}

#[test]
fn nothing_goes_on_before_the_decision() {
    let mut peer = Peer::new(Settings::default());
    let connect = Packet::Connect(Box::new(Connect::new("d")));
    let eager = [encoded(&connect), encoded(&Packet::Pingreq)].concat();
    peer.send_bytes(&eager);
    assert!(matches!(peer.events()[..], [Event::Connect(_)]));
    assert!(!peer.server.wants_input() && !peer.server.wants_resume());
    peer.wait(60 * SECOND);
    assert_eq!((peer.events(), peer.written()), (vec![], vec![]));
    assert_eq!(
        peer.server.publish(&topic("a"), b"", QoS::AtMostOnce),
        Err(SendError::NotConnected)
    );

    peer.server.accept(peer.now, true);
    assert_eq!(peer.written(), [0x20, 2, 1, 0]);
    peer.resume();
    assert_eq!(peer.events(), [Event::Pinged]);
    // Only once.
    peer.server.accept(peer.now, true);
    peer.server.refuse(ConnackCode::NotAuthorized);
    assert_eq!(peer.written(), [0xd0, 0]);
}

#[test]
fn refusal() {
    let mut peer = Peer::new(Settings::default());
    peer.send(&Packet::Connect(Box::new(Connect::new("d"))));
    peer.events();
    peer.server.refuse(ConnackCode::NotAuthorized);
    assert_eq!(peer.server.output(), [0x20, 2, 0, 5]);
    assert!(peer.server.is_closed() && !peer.server.wants_input());
    peer.send(&Packet::Pingreq);
    assert!(peer.events().is_empty() && peer.input.is_empty());
}

// --- keep-alive ---

#[test]
fn one_and_a_half_times_the_keep_alive() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.wait(89 * SECOND);
    assert_eq!(peer.events(), []);
    peer.wait(SECOND);
    peer.expect_timeout(Timeout::KeepAlive);
}

#[test]
fn every_packet_moves_the_keep_alive() {
    let mut peer = Peer::connected(Settings::default(), 60);
    for _ in 0..10 {
        peer.wait(89 * SECOND);
        peer.send(&Packet::Pingreq);
        assert_eq!(peer.events(), [Event::Pinged]);
        assert_eq!(peer.written(), [0xd0, 0]);
    }
    assert!(peer.server.poll_timeout() > Some(peer.now), "a timer is set again when it was late");
    peer.wait(90 * SECOND);
    peer.expect_timeout(Timeout::KeepAlive);
}

#[test]
fn bytes_without_a_packet_do_not_move_it() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let packet = encoded(&Packet::Publish(publish(None, "a", &[0; 200])));
    for byte in &packet[..90] {
        peer.send_bytes(&[*byte]);
        peer.wait(SECOND);
    }
    peer.expect_timeout(Timeout::KeepAlive);
}

#[test]
fn the_cap_bounds_every_keep_alive() {
    for keep_alive_s in [0, 1178, 1740, u16::MAX] {
        let mut peer = Peer::connected(Settings::default(), keep_alive_s);
        peer.wait(1766 * SECOND);
        assert_eq!(peer.events(), [], "trap 16: keep-alive 0 must not mean at once");
        peer.wait(SECOND);
        peer.expect_timeout(Timeout::KeepAlive);
    }
}

#[test]
fn a_late_owner_is_not_the_clients_silence() {
    let settings = Settings { receive_window: 1, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    peer.publish(1);
    peer.send(&Packet::Pingreq);
    assert!(!peer.server.wants_input());
    peer.wait(90 * SECOND);
    peer.wait(90 * SECOND);
    assert!(!peer.server.is_closed());
    // The ping that waited is read now; from then on the client's silence counts.
    peer.events();
    peer.server.puback(id(1)).unwrap();
    peer.resume();
    assert_eq!(peer.events(), [Event::Pinged]);
    peer.wait(89 * SECOND);
    assert!(!peer.server.is_closed());
    peer.wait(91 * SECOND);
    peer.expect_timeout(Timeout::KeepAlive);
}

#[test]
fn an_owner_that_leaves_events_is_late_too() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.send(&Packet::Pingreq);
    peer.wait(90 * SECOND);
    peer.wait(90 * SECOND);
    assert_eq!(peer.events(), [Event::Pinged]);
    peer.wait(90 * SECOND);
    peer.expect_timeout(Timeout::KeepAlive);
}

#[test]
fn a_client_that_does_not_read_is_closed_in_time() {
    let settings = Settings { output_bytes_max: 100, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    peer.server.publish(&topic("a"), &[0; 200], QoS::AtMostOnce).unwrap();
    assert!(!peer.server.wants_input());
    peer.wait(90 * SECOND);
    assert!(!peer.server.is_closed(), "we did not read either");
    peer.wait(90 * SECOND);
    peer.expect_timeout(Timeout::KeepAlive);
}

// --- publishes from the client ---

#[test]
fn pubacks_leave_in_the_order_of_the_publishes() {
    let mut peer = Peer::connected(Settings::default(), 60);
    for number in [5, 3, 9, 1] {
        peer.publish(number);
    }
    assert_eq!(peer.events().len(), 4);
    peer.server.puback(id(9)).unwrap();
    peer.server.puback(id(3)).unwrap();
    assert_eq!(peer.written(), [0_u8; 0]);
    peer.server.puback(id(5)).unwrap();
    assert_eq!(peer.written(), pubacks(&[5, 3, 9]));
    peer.server.puback(id(1)).unwrap();
    assert_eq!(peer.written(), pubacks(&[1]));
    assert_eq!(peer.server.puback(id(1)), Err(AckError::UnknownPacketId(id(1))));
}

#[test]
fn the_same_id_twice_gets_two_pubacks() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.publish(5);
    peer.publish(5);
    peer.server.puback(id(5)).unwrap();
    peer.server.puback(id(5)).unwrap();
    assert_eq!(peer.written(), pubacks(&[5, 5]));
    assert!(peer.server.puback(id(5)).is_err());
}

#[test]
fn the_same_id_twice_behind_another() {
    let mut peer = Peer::connected(Settings::default(), 60);
    for number in [1, 5, 5] {
        peer.publish(number);
    }
    peer.server.puback(id(5)).unwrap();
    peer.server.puback(id(5)).unwrap();
    assert!(peer.written().is_empty());
    peer.server.puback(id(1)).unwrap();
    assert_eq!(peer.written(), pubacks(&[1, 5, 5]));
}

#[test]
fn the_receive_window_stops_the_reading() {
    let settings = Settings { receive_window: 2, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    for number in 1..=5 {
        peer.publish(number);
    }
    assert_eq!(peer.events().len(), 2);
    assert_eq!(peer.server.publishes_unanswered(), 2);
    assert!(!peer.server.wants_input() && !peer.server.wants_resume());
    peer.server.puback(id(1)).unwrap();
    peer.resume();
    assert_eq!(peer.events(), [Event::Publish(publish(Some(3), "a", b"12345678"))]);
    // Answered out of order: the window is still full of those that wait their turn.
    peer.server.puback(id(3)).unwrap();
    assert!(!peer.server.wants_resume());
    peer.server.puback(id(2)).unwrap();
    peer.resume();
    assert_eq!(peer.events().len(), 2);
    assert!(peer.input.is_empty());
    assert_eq!(peer.written(), pubacks(&[1, 2, 3]));
}

#[test]
fn the_receive_window_counts_payload_too() {
    let settings = Settings { receive_bytes_max: 20, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    for number in 1..=5 {
        peer.publish(number);
    }
    assert_eq!(peer.events().len(), 3, "24 bytes");
    peer.server.puback(id(1)).unwrap();
    peer.resume();
    assert_eq!(peer.events().len(), 1);
}

#[test]
fn a_flood_of_events_waits_for_the_owner() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let one = encoded(&Packet::Publish(publish(None, "a", b"")));
    peer.send_bytes(&one.repeat(10_000));
    let mut count = 0;
    loop {
        let events = peer.events().len();
        assert!(events <= 64);
        count += events;
        if !peer.server.wants_resume() {
            break;
        }
        peer.server.handle_input(peer.now, &mut peer.input);
    }
    assert_eq!(count, 10_000);
    assert!(peer.input.is_empty() && peer.server.wants_input());
}

// --- requests ---

#[test]
fn suback_and_unsuback() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let request = subscribe(7, &["a/#", "b"]);
    peer.send(&Packet::Subscribe(request.clone()));
    assert_eq!(peer.events(), [Event::Subscribe(request)]);
    let granted = SubackCode::Granted(QoS::AtLeastOnce);
    let wrong = peer.server.suback(id(7), vec![granted]);
    assert_eq!(wrong, Err(AckError::WrongCodeCount { given: 1, filters: 2 }));
    assert_eq!(peer.server.unsuback(id(7)), Err(AckError::UnknownPacketId(id(7))));
    peer.server.suback(id(7), vec![granted, SubackCode::Failure]).unwrap();
    assert_eq!(peer.written(), [0x90, 4, 0, 7, 1, 0x80]);
    assert!(peer.server.suback(id(7), vec![granted, granted]).is_err());

    let request = Unsubscribe { packet_id: id(8), filters: vec![filter("a/#")] };
    peer.send(&Packet::Unsubscribe(request.clone()));
    assert_eq!(peer.events(), [Event::Unsubscribe(request)]);
    assert!(peer.server.suback(id(8), vec![granted]).is_err());
    peer.server.unsuback(id(8)).unwrap();
    assert_eq!(peer.written(), [0xb0, 2, 0, 8]);
}

#[test]
fn requests_are_bounded() {
    let settings = Settings { requests_max: 3, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    for number in 1..=10 {
        peer.send(&Packet::Subscribe(subscribe(number, &["a"])));
    }
    assert_eq!(peer.events().len(), 3);
    peer.server.suback(id(1), vec![SubackCode::Failure]).unwrap();
    peer.resume();
    assert_eq!(peer.events().len(), 1);
}

#[test]
fn quality_of_service_2_is_asked_of_the_owner() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.send_bytes(&[0x82, 6, 0, 1, 0, 1, b'a', 2]);
    let events = peer.events();
    let [Event::Subscribe(request)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(request.filters, [(filter("a"), QoS::ExactlyOnce)]);
}

// --- deliveries to the client ---

#[test]
fn deliveries_up_to_the_window() {
    let settings = Settings { send_window: 2, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    let deliver = |peer: &mut Peer| peer.server.publish(&topic("a"), b"x", QoS::AtLeastOnce);
    assert_eq!(deliver(&mut peer), Ok(Some(id(1))));
    assert_eq!(deliver(&mut peer), Ok(Some(id(2))));
    assert_eq!(deliver(&mut peer), Err(SendError::WindowFull));
    assert!(!peer.server.can_publish());
    assert_eq!(peer.server.publish(&topic("a"), b"", QoS::AtMostOnce), Ok(None));
    assert_eq!(
        peer.server.publish(&topic("a"), b"", QoS::ExactlyOnce),
        Err(SendError::QosUnsupported)
    );
    assert_eq!(
        peer.written(),
        b"\x32\x06\x00\x01a\x00\x01x\x32\x06\x00\x01a\x00\x02x\x30\x03\x00\x01a"
    );
    // Answered in another order; an id that is not in flight means nothing.
    peer.send_bytes(&pubacks(&[2, 9, 2]));
    assert_eq!(peer.events(), [Event::Acknowledged(id(2))]);
    assert_eq!(peer.server.deliveries_in_flight(), 1);
    assert_eq!(deliver(&mut peer), Ok(Some(id(3))));
}

#[test]
fn packet_ids_in_flight_are_never_used_again() {
    let settings = Settings { first_packet_id: id(65_534), ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    let deliver = |peer: &mut Peer| {
        let id = peer.server.publish(&topic("a"), b"x", QoS::AtLeastOnce).unwrap().unwrap();
        peer.written();
        id.get()
    };
    let stuck: Vec<u16> = (0..4).map(|_| deliver(&mut peer)).collect();
    assert_eq!(stuck, [65_534, 65_535, 1, 2]);
    for _ in 0..200_000 {
        let next = deliver(&mut peer);
        assert!(!stuck.contains(&next));
        peer.send_bytes(&pubacks(&[next]));
        assert_eq!(peer.events(), [Event::Acknowledged(id(next))]);
    }
}

#[test]
fn output_is_bounded() {
    let settings = Settings { output_bytes_max: 1000, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    let mut sent = 0;
    while peer.server.publish(&topic("a"), &[0; 90], QoS::AtMostOnce) == Ok(None) {
        sent += 1;
    }
    assert_eq!(sent, 11);
    assert_eq!(peer.server.publish(&topic("a"), b"", QoS::AtLeastOnce), Err(SendError::OutputFull));
    assert_eq!(peer.server.deliveries_in_flight(), 0);
    assert!(!peer.server.wants_input());
    peer.server.advance_output(100);
    assert!(peer.server.wants_input() && peer.server.can_publish());
}

#[test]
fn a_ping_storm_from_a_client_that_does_not_read() {
    let settings = Settings { output_bytes_max: 1000, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    peer.send_bytes(&encoded(&Packet::Pingreq).repeat(100_000));
    for _ in 0..10_000 {
        peer.events();
        peer.server.handle_input(peer.now, &mut peer.input);
    }
    assert_eq!(peer.server.output().len(), 1000);
    assert_eq!(peer.input.len(), 2 * (100_000 - 500));
}

// --- the end ---

#[test]
fn disconnect_is_graceful() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let last = publish(None, "a", b"");
    let bytes = [
        encoded(&Packet::Publish(last.clone())),
        encoded(&Packet::Disconnect),
        encoded(&Packet::Pingreq),
    ];
    peer.send_bytes(&bytes.concat());
    assert_eq!(peer.events(), [Event::Publish(last), Event::Disconnected]);
    assert!(peer.server.is_closed() && peer.input.is_empty());
    assert_eq!(peer.written(), [0_u8; 0]);
}

/// Receipts come late; an owner need not look first whether the client is still there.
#[test]
fn answers_after_the_end_are_dropped() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.publish(1);
    peer.send(&Packet::Subscribe(subscribe(2, &["a"])));
    peer.send_bytes(&[0xf0]);
    assert_eq!(
        peer.events().last(),
        Some(&Event::Violation(Violation::Decode(DecodeError::UnknownPacketType(15))))
    );
    assert_eq!(peer.server.puback(id(1)), Ok(()));
    assert_eq!(peer.server.suback(id(2), vec![SubackCode::Failure]), Ok(()));
    assert_eq!(peer.server.unsuback(id(2)), Ok(()));
    assert_eq!(peer.written(), [0_u8; 0]);
    assert_eq!(
        peer.server.publish(&topic("a"), b"", QoS::AtMostOnce),
        Err(SendError::NotConnected)
    );
}

/// Thousands of connections wait: one that is idle owns no buffer.
#[test]
fn an_idle_machine_is_small() {
    assert!(size_of::<ServerConnection>() <= 640, "{}", size_of::<ServerConnection>());
    assert!(size_of::<Event>() <= 80, "{}", size_of::<Event>());
}
