//! What is done with bytes from an attacker, by the mutation test here and by the
//! fuzz targets in `fuzz/`: decode them, and let them loose on either machine with an
//! owner that answers soon, late or never.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use mqtt::packet::{Connack, ConnackCode, Connect, Packet, SubackCode};
use mqtt::server::{Event, ServerConnection, Settings};
use mqtt::{Limits, PacketId, QoS, Topic, client, codec};

/// Decodes all of `bytes`; what was decoded is encoded and decoded again. Returns how
/// many packets that were.
pub(crate) fn decode(bytes: &[u8]) -> usize {
    let mut count = 0;
    let limits = Limits { packet_bytes_max: 10_000, ..Limits::default() };
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(packet)) = codec::decode(&mut input, &limits) {
        let mut again = BytesMut::new();
        codec::encode(&packet, &mut again).expect("what was decoded can be encoded");
        let size = again.len();
        assert!(size <= limits.packet_bytes_max.max(limits.connect_bytes_max));
        let decoded = codec::decode(&mut again, &limits);
        assert_eq!(decoded, Ok(Some(packet)));
        assert!(again.is_empty());
        count += 1;
    }
    count
}

/// Plays `bytes` to a server machine. The first byte chooses how they are cut, the
/// second how the owner behaves. Returns how it ended, if it did.
pub(crate) fn server(bytes: &[u8]) -> Option<Event> {
    let [cut, mood, wire @ ..] = bytes else { return None };
    let settings = Settings {
        limits: Limits { packet_bytes_max: 10_000, ..Limits::default() },
        receive_window: 8,
        receive_bytes_max: 4000,
        send_window: 4,
        requests_max: 3,
        output_bytes_max: OUTPUT_BYTES_MAX,
        ..Settings::default()
    };
    let mut owner = Owner {
        mood: *mood,
        now: Duration::ZERO,
        server: ServerConnection::new(Duration::ZERO, settings),
        unanswered: Vec::new(),
        end: None,
        topic: Topic::new("devices/d/messages/devicebound/x=y").expect("a topic"),
    };
    let mut input = BytesMut::new();
    for piece in wire.chunks(usize::from(*cut % 32) + 1) {
        input.put_slice(piece);
        owner.turn(&mut input);
        if owner.server.is_closed() {
            assert!(!owner.server.wants_input() && !owner.server.wants_resume());
            // Whatever else comes is thrown away.
            owner.server.handle_input(owner.now, &mut input);
            assert!(input.is_empty());
            return owner.end;
        }
    }
    None
}

/// Plays `bytes` to a client machine that has asked for a few things. The first byte
/// chooses how they are cut, the second how its owner behaves. Returns how it ended.
pub(crate) fn client(bytes: &[u8]) -> Option<client::Event> {
    let [cut, mood, wire @ ..] = bytes else { return None };
    let settings = client::Settings {
        limits: Limits { packet_bytes_max: 10_000, ..Limits::default() },
        receive_window: 8,
        receive_bytes_max: 4000,
        send_window: 4,
        output_bytes_max: OUTPUT_BYTES_MAX,
        ..client::Settings::default()
    };
    let topic = Topic::new("a").expect("a topic");
    let mut now = Duration::ZERO;
    let mut client = client::ClientConnection::new(settings);
    client.connect(now, Connect { keep_alive_s: 10, ..Connect::new("d") }).expect("fresh");
    let mut input = BytesMut::new();
    for piece in wire.chunks(usize::from(*cut % 32) + 1) {
        input.put_slice(piece);
        client.handle_input(now, &mut input);
        now += Duration::from_secs(u64::from(mood >> 4));
        client.handle_timeout(now);
        let mut count = 0;
        while let Some(event) = client.poll_event() {
            count += 1;
            assert!(count <= 65, "more events than the machine may hold");
            match event {
                client::Event::Publish(publish) => {
                    assert_eq!(publish.packet_id.is_some(), publish.qos == QoS::AtLeastOnce);
                    if let (Some(id), true) = (publish.packet_id, mood & 0x01 != 0) {
                        client.puback(id).expect("was received");
                    }
                }
                client::Event::Violation(_)
                | client::Event::TimedOut(_)
                | client::Event::Connack(Connack {
                    code:
                        ConnackCode::UnacceptableProtocol
                        | ConnackCode::IdentifierRejected
                        | ConnackCode::ServerUnavailable
                        | ConnackCode::BadCredentials
                        | ConnackCode::NotAuthorized,
                    ..
                }) => {
                    assert!(client.is_closed());
                    return Some(event);
                }
                _ => {}
            }
        }
        if mood & 0x02 != 0 {
            let _ = client.publish(&topic, b"payload", QoS::AtLeastOnce);
            let _ = client.subscribe(vec![("a/#".parse().expect("a filter"), QoS::AtLeastOnce)]);
            let _ = client.unsubscribe(vec!["a/#".parse().expect("a filter")]);
        }
        if mood & 0x04 != 0 {
            client.advance_output(100);
        }
        assert!(client.output().len() <= 2 * OUTPUT_BYTES_MAX + 200);
        assert!(client.in_flight() <= 4);
    }
    None
}

struct Owner {
    mood: u8,
    now: Duration,
    server: ServerConnection,
    unanswered: Vec<PacketId>,
    end: Option<Event>,
    topic: Topic,
}

impl Owner {
    fn turn(&mut self, input: &mut BytesMut) {
        self.server.handle_input(self.now, input);
        loop {
            self.events();
            self.check();
            if !self.server.wants_resume() {
                break;
            }
            self.server.handle_input(self.now, input);
        }
        if self.is(0x01) {
            self.answer_all();
        }
        if self.is(0x02) {
            let _ = self.server.publish(&self.topic, b"payload", QoS::AtLeastOnce);
        }
        if self.is(0x04) {
            self.server.advance_output(100);
        }
        if self.is(0x08) {
            self.now += Duration::from_secs(5);
            self.server.handle_timeout(self.now);
            self.events();
        }
        self.check();
    }

    fn events(&mut self) {
        let mut count = 0;
        while let Some(event) = self.server.poll_event() {
            count += 1;
            assert!(count <= 65, "more events than the machine may hold");
            match event {
                Event::Connect(_) if self.is(0x10) => {
                    self.server.refuse(ConnackCode::NotAuthorized);
                }
                Event::Connect(_) => self.server.accept(self.now, self.is(0x20)),
                Event::Publish(publish) => {
                    assert_eq!(publish.packet_id.is_some(), publish.qos == QoS::AtLeastOnce);
                    self.unanswered.extend(publish.packet_id);
                }
                Event::Subscribe(request) if self.is(0x01) => {
                    let codes = vec![SubackCode::Failure; request.filters.len()];
                    self.server.suback(request.packet_id, codes).expect("was asked");
                }
                Event::Unsubscribe(request) if self.is(0x01) => {
                    self.server.unsuback(request.packet_id).expect("was asked");
                }
                Event::Disconnected
                | Event::Violation(_)
                | Event::TimedOut(_)
                | Event::UnsupportedProtocol { .. } => {
                    assert!(self.server.is_closed());
                    assert_eq!(self.end, None, "it ends once");
                    self.end = Some(event);
                }
                _ => {}
            }
        }
    }

    /// From the back: the machine must put them in order.
    fn answer_all(&mut self) {
        for id in self.unanswered.drain(..).rev() {
            self.server.puback(id).expect("was received");
        }
    }

    fn is(&self, bit: u8) -> bool {
        self.mood & bit != 0
    }

    fn check(&self) {
        // One batch of answers may go over the bound.
        assert!(self.server.output().len() <= OUTPUT_BYTES_MAX + 200);
        assert!(self.server.publishes_unanswered() <= 8);
        assert!(self.server.deliveries_in_flight() <= 4);
        // The bytes are a legal conversation, as far as they go.
        let mut output = BytesMut::from(self.server.output());
        if !self.is(0x04) {
            while !output.is_empty() {
                let packet = codec::decode(&mut output, &Limits::default()).expect("our own bytes");
                assert!(!matches!(packet, None | Some(Packet::Connect(_))));
            }
        }
    }
}

const OUTPUT_BYTES_MAX: usize = 500;
