//! The client machine alone: order, windows, pings, deadlines.

use std::time::Duration;

use bytes::BytesMut;
use mqtt::client::{ClientConnection, Event, Settings, Timeout, Violation};
use mqtt::packet::{Connack, ConnackCode, Connect, Packet, PacketKind, Suback, SubackCode};
use mqtt::{AckError, EncodeError, QoS, SendError};

use crate::arbitrary::{encoded, examples, filter, id, publish, topic};

const SECOND: Duration = Duration::from_secs(1);
const ACCEPTED: Connack = Connack { session_present: false, code: ConnackCode::Accepted };

/// A client machine with the bytes that its owner holds for it.
struct Peer {
    client: ClientConnection,
    input: BytesMut,
    now: Duration,
}

impl Peer {
    /// CONNECT is written, no answer yet.
    fn connecting(settings: Settings, keep_alive_s: u16) -> Peer {
        let now = Duration::from_secs(1000);
        let mut peer =
            Peer { client: ClientConnection::new(settings), input: BytesMut::new(), now };
        let connect = Connect { keep_alive_s, ..Connect::new("d") };
        peer.client.connect(now, connect.clone()).unwrap();
        assert_eq!(peer.written(), encoded(&Packet::Connect(Box::new(connect))));
        peer
    }

    fn connected(settings: Settings, keep_alive_s: u16) -> Peer {
        let mut peer = Peer::connecting(settings, keep_alive_s);
        peer.send(&Packet::Connack(ACCEPTED));
        assert_eq!(peer.events(), [Event::Connack(ACCEPTED)]);
        assert!(peer.client.is_connected());
        peer
    }

    fn send(&mut self, packet: &Packet) {
        self.send_bytes(&encoded(packet));
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.client.handle_input(self.now, &mut self.input);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn written(&mut self) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        self.client.poll_transmit(&mut bytes);
        bytes.to_vec()
    }

    #[track_caller]
    fn expect_end(&mut self, event: Event) {
        assert_eq!(self.events(), [event]);
        assert!(self.client.is_closed() && !self.client.is_connected());
        assert_eq!(self.client.poll_timeout(), None);
    }
}

#[test]
fn nothing_before_connack() {
    let mut peer = Peer::connecting(Settings::default(), 60);
    let now = peer.now;
    assert_eq!(peer.client.connect(now, Connect::new("d")), Err(SendError::AlreadyConnecting));
    assert_eq!(
        peer.client.publish(&topic("a"), b"", QoS::AtMostOnce),
        Err(SendError::NotConnected)
    );
    assert_eq!(peer.client.subscribe(vec![]), Err(SendError::NotConnected));
    assert_eq!(peer.client.unsubscribe(vec![]), Err(SendError::NotConnected));
    assert!(!peer.client.can_publish() && peer.written().is_empty());
}

#[test]
fn connack_deadline() {
    let mut peer = Peer::connecting(Settings::default(), 60);
    peer.wait(29 * SECOND);
    assert_eq!(peer.events(), []);
    peer.wait(SECOND);
    peer.expect_end(Event::TimedOut(Timeout::Connack));
}

#[test]
fn refused() {
    let mut peer = Peer::connecting(Settings::default(), 60);
    let refused = Connack { session_present: false, code: ConnackCode::NotAuthorized };
    peer.send(&Packet::Connack(refused));
    peer.expect_end(Event::Connack(refused));
}

#[test]
fn first_packet_is_not_connack() {
    for packet in examples() {
        let kind = packet.kind();
        if kind != PacketKind::Connack {
            let mut peer = Peer::connecting(Settings::default(), 60);
            peer.send_bytes(&encoded(&packet)[..1]);
            peer.expect_end(Event::Violation(Violation::FirstPacketNotConnack(kind)));
        }
    }
}

#[test]
fn packets_that_a_server_never_sends() {
    for packet in examples() {
        let kind = packet.kind();
        let legal = matches!(
            kind,
            PacketKind::Publish
                | PacketKind::Puback
                | PacketKind::Suback
                | PacketKind::Unsuback
                | PacketKind::Pingresp
        );
        if !legal {
            let mut peer = Peer::connected(Settings::default(), 60);
            peer.send_bytes(&encoded(&packet)[..1]);
            peer.expect_end(Event::Violation(Violation::UnexpectedPacket(kind)));
        }
    }
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.send_bytes(&[0x34, 5, 0, 1, b'a', 0, 1]);
    peer.expect_end(Event::Violation(Violation::QosUnsupported));
}

// --- pings ---

#[test]
fn pings_when_nothing_was_said() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.wait(29 * SECOND);
    assert_eq!(peer.written(), [0_u8; 0]);
    // CONNECT and CONNACK were said in the first half.
    peer.wait(SECOND);
    peer.wait(30 * SECOND);
    assert_eq!(peer.written(), [0xc0, 0], "60 s after the last packet");
    peer.send(&Packet::Pingresp);
    for _ in 0..10 {
        peer.wait(30 * SECOND);
        peer.wait(30 * SECOND);
        assert!(!peer.written().is_empty());
        peer.send(&Packet::Pingresp);
    }
    assert_eq!(peer.events(), []);
}

/// The server must never see more silence than promised, whatever we do.
#[test]
fn never_silent_for_longer_than_promised() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let mut last_written = peer.now;
    for second in 0..1000_u32 {
        peer.wait(SECOND);
        if second % 97 == 0 {
            peer.client.publish(&topic("a"), b"", QoS::AtMostOnce).unwrap();
        }
        if !peer.written().is_empty() {
            last_written = peer.now;
            peer.send(&Packet::Pingresp);
        }
        assert!(peer.now - last_written <= 60 * SECOND);
    }
    assert!(peer.client.is_connected());
}

#[test]
fn a_listener_pings_too() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let mut last_written = peer.now;
    for _ in 0..500 {
        peer.wait(SECOND);
        peer.send(&Packet::Publish(publish(None, "a", b"")));
        peer.events();
        if !peer.written().is_empty() {
            last_written = peer.now;
        }
        assert!(peer.now - last_written <= 60 * SECOND);
    }
}

#[test]
fn no_ping_while_both_talk() {
    let mut peer = Peer::connected(Settings::default(), 60);
    for _ in 0..10 {
        let id = peer.client.publish(&topic("a"), b"", QoS::AtLeastOnce).unwrap().unwrap();
        peer.written();
        peer.send(&Packet::Puback(id));
        peer.wait(30 * SECOND);
        assert_eq!(peer.written(), [0_u8; 0]);
    }
}

#[test]
fn a_server_that_says_nothing_is_noticed_while_we_send() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let start = peer.now;
    while !peer.client.is_closed() {
        peer.client.publish(&topic("a"), b"", QoS::AtMostOnce).unwrap();
        peer.written();
        peer.wait(SECOND);
    }
    peer.expect_end(Event::TimedOut(Timeout::Ping));
    assert_eq!(peer.now - start, 90 * SECOND, "ping after 60 s, deadline 30 s");
}

#[test]
fn any_packet_answers_a_ping() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.wait(30 * SECOND);
    peer.wait(30 * SECOND);
    assert_eq!(peer.written(), [0xc0, 0]);
    peer.wait(29 * SECOND);
    peer.send(&Packet::Publish(publish(None, "a", b"")));
    peer.wait(10 * SECOND);
    assert!(peer.client.is_connected());
}

#[test]
fn a_dead_server_is_noticed_with_a_full_output() {
    let settings = Settings { output_bytes_max: 10, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    peer.client.publish(&topic("a"), &[0; 20], QoS::AtMostOnce).unwrap();
    for _ in 0..3 {
        peer.wait(30 * SECOND);
    }
    peer.expect_end(Event::TimedOut(Timeout::Ping));
}

#[test]
fn keep_alive_0_promises_nothing() {
    let mut peer = Peer::connected(Settings::default(), 0);
    assert_eq!(peer.client.poll_timeout(), None);
    peer.wait(100_000 * SECOND);
    assert!(peer.client.is_connected() && peer.written().is_empty());
}

// --- requests ---

#[test]
fn answers_close_what_they_answer() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let published = peer.client.publish(&topic("a"), b"", QoS::AtLeastOnce).unwrap().unwrap();
    let subscribed = peer
        .client
        .subscribe(vec![(filter("a"), QoS::AtLeastOnce), (filter("b"), QoS::AtMostOnce)]);
    let subscribed = subscribed.unwrap();
    let unsubscribed = peer.client.unsubscribe(vec![filter("b")]).unwrap();
    assert_eq!([published, subscribed, unsubscribed], [id(1), id(2), id(3)]);
    // Answers of another kind, and to other ids, tell nothing.
    peer.send(&Packet::Unsuback(published));
    peer.send(&Packet::Puback(subscribed));
    peer.send(&Packet::Puback(id(99)));
    assert_eq!(peer.events(), []);
    assert_eq!(peer.client.in_flight(), 3);
    let codes = vec![SubackCode::Granted(QoS::AtLeastOnce), SubackCode::Failure];
    let suback = Suback { packet_id: subscribed, codes };
    peer.send(&Packet::Suback(suback.clone()));
    peer.send(&Packet::Unsuback(unsubscribed));
    peer.send(&Packet::Puback(published));
    assert_eq!(
        peer.events(),
        [Event::Suback(suback), Event::Unsuback(unsubscribed), Event::Puback(published)]
    );
    assert_eq!(peer.client.in_flight(), 0);
}

#[test]
fn suback_must_fit() {
    let mut peer = Peer::connected(Settings::default(), 60);
    let packet_id = peer.client.subscribe(vec![(filter("a"), QoS::AtLeastOnce)]).unwrap();
    let codes = vec![SubackCode::Failure; 2];
    peer.send(&Packet::Suback(Suback { packet_id, codes }));
    peer.expect_end(Event::Violation(Violation::WrongSubackCount { codes: 2, filters: 1 }));
}

#[test]
fn what_cannot_be_sent_leaves_no_trace() {
    let settings = Settings { send_window: 1, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    assert_eq!(peer.client.subscribe(vec![]), Err(SendError::Encode(EncodeError::NoFilters)));
    assert_eq!(peer.client.unsubscribe(vec![]), Err(SendError::Encode(EncodeError::NoFilters)));
    let twice = peer.client.subscribe(vec![(filter("a"), QoS::ExactlyOnce)]);
    assert_eq!(twice, Err(SendError::QosUnsupported));
    assert_eq!(
        peer.client.publish(&topic("a"), b"", QoS::ExactlyOnce),
        Err(SendError::QosUnsupported)
    );
    assert_eq!(peer.client.in_flight(), 0);
    assert!(peer.written().is_empty());
    assert!(peer.client.can_publish());
    peer.client.publish(&topic("a"), b"", QoS::AtLeastOnce).unwrap();
    assert!(!peer.client.can_publish());
    assert_eq!(peer.client.unsubscribe(vec![filter("a")]), Err(SendError::WindowFull));
}

#[test]
fn messages_wait_for_the_owner_up_to_the_window() {
    let settings = Settings { receive_window: 2, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    for number in 1..=3 {
        peer.send(&Packet::Publish(publish(Some(number), "a", b"")));
    }
    assert_eq!(peer.events().len(), 2);
    assert!(!peer.client.wants_input() && !peer.client.wants_resume());
    assert_eq!(peer.client.puback(id(3)), Err(AckError::UnknownPacketId(id(3))));
    // While we don't read, no answer to a ping can come: not the server's fault.
    for _ in 0..10 {
        peer.wait(30 * SECOND);
    }
    assert!(peer.client.is_connected());
    peer.written();
    peer.client.puback(id(1)).unwrap();
    assert_eq!(peer.written(), encoded(&Packet::Puback(id(1))));
    assert!(peer.client.wants_resume());
    peer.client.handle_input(peer.now, &mut peer.input);
    assert_eq!(peer.events(), [Event::Publish(publish(Some(3), "a", b""))]);
}

/// Two ends that stop reading because they cannot write would wait for ever.
#[test]
fn reads_on_with_a_full_output() {
    let settings = Settings { output_bytes_max: 100, ..Settings::default() };
    let mut peer = Peer::connected(settings, 60);
    peer.client.publish(&topic("a"), &[0; 100], QoS::AtMostOnce).unwrap();
    assert_eq!(peer.client.publish(&topic("a"), b"", QoS::AtMostOnce), Err(SendError::OutputFull));
    for number in 1..=100 {
        peer.send(&Packet::Publish(publish(Some(number), "a", b"")));
        for event in peer.events() {
            let Event::Publish(publish) = event else { panic!("{event:?}") };
            peer.client.puback(publish.packet_id.unwrap()).unwrap();
        }
    }
    assert!(!peer.client.wants_input());
    assert!((200..210).contains(&peer.client.output().len()));
}

#[test]
fn goodbye() {
    let mut peer = Peer::connected(Settings::default(), 60);
    peer.client.publish(&topic("a"), b"", QoS::AtMostOnce).unwrap();
    peer.client.disconnect();
    assert_eq!(peer.written(), b"\x30\x03\x00\x01a\xe0\x00");
    assert!(peer.client.is_closed());
    assert_eq!(peer.client.poll_timeout(), None);
    peer.client.disconnect();
    assert!(peer.written().is_empty());
    assert_eq!(peer.client.puback(id(1)), Ok(()));
}
