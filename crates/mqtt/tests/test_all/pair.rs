//! Both machines as an in-memory pair with simulated time and a wire that cuts
//! bytes anywhere: whatever the owners do, every message of QoS 1 arrives once, in
//! order, acknowledged in order, and both ends come to rest.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use mqtt::packet::{Connect, SubackCode};
use mqtt::{Limits, PacketId, QoS, SendError, client, server};
use proptest::prelude::*;

use crate::arbitrary::{filter, topic};

#[derive(Debug, Clone)]
enum Step {
    /// The client publishes so many messages, QoS 1 or 0.
    Up { count: u8, acknowledged: bool },
    /// The server delivers so many messages of QoS 1.
    Down { count: u8 },
    /// The client subscribes and unsubscribes.
    Subscribe,
    /// So many bytes cross the wire, each way.
    Wire { up: u16, down: u16 },
    /// Owners answer so many of what they were told.
    Answer { server: u8, client: u8 },
    /// Time passes, with everything delivered before it does.
    Wait { seconds: u8 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..20_u8, any::<bool>())
            .prop_map(|(count, acknowledged)| Step::Up { count, acknowledged }),
        (1..20_u8).prop_map(|count| Step::Down { count }),
        Just(Step::Subscribe),
        (0..200_u16, 0..200_u16).prop_map(|(up, down)| Step::Wire { up, down }),
        (0..20_u8, 0..20_u8).prop_map(|(server, client)| Step::Answer { server, client }),
        (1..100_u8).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// Bytes under way in one direction: those on the wire, and those the reader holds.
#[derive(Default)]
struct Wire {
    under_way: BytesMut,
    arrived: BytesMut,
}

impl Wire {
    fn carry(&mut self, count: usize) {
        let count = count.min(self.under_way.len());
        self.arrived.extend_from_slice(&self.under_way.split_to(count));
    }
}

struct Pair {
    now: Duration,
    client: client::ClientConnection,
    server: server::ServerConnection,
    up: Wire,
    down: Wire,
    /// Numbers sent and not yet seen at the other end, each way.
    sent_up: VecDeque<u32>,
    sent_down: VecDeque<u32>,
    /// Publishes that an owner has and hasn't answered.
    server_owes: VecDeque<PacketId>,
    client_owes: VecDeque<PacketId>,
    /// What an end has sent and must see acknowledged, in this order.
    client_awaits: VecDeque<PacketId>,
    server_awaits: VecDeque<PacketId>,
    requests: usize,
    next: u32,
}

const WINDOW: usize = 8;

impl Pair {
    fn connected() -> Pair {
        let now = Duration::ZERO;
        let server_settings = server::Settings {
            receive_window: WINDOW,
            send_window: WINDOW,
            output_bytes_max: 300,
            limits: Limits { packet_bytes_max: 200, ..Limits::default() },
            first_packet_id: PacketId::new(65_530).unwrap(),
            ..server::Settings::default()
        };
        let client_settings = client::Settings {
            receive_window: WINDOW,
            send_window: WINDOW,
            output_bytes_max: 300,
            first_packet_id: PacketId::new(65_533).unwrap(),
            ..client::Settings::default()
        };
        let mut pair = Pair {
            now,
            client: client::ClientConnection::new(client_settings),
            server: server::ServerConnection::new(now, server_settings),
            up: Wire::default(),
            down: Wire::default(),
            sent_up: VecDeque::new(),
            sent_down: VecDeque::new(),
            server_owes: VecDeque::new(),
            client_owes: VecDeque::new(),
            client_awaits: VecDeque::new(),
            server_awaits: VecDeque::new(),
            requests: 0,
            next: 0,
        };
        pair.client.connect(now, Connect { keep_alive_s: 60, ..Connect::new("d") }).unwrap();
        pair.settle();
        assert!(pair.client.is_connected());
        pair
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Up { count, acknowledged } => {
                (0..count).for_each(|_| self.publish_up(acknowledged));
            }
            Step::Down { count } => (0..count).for_each(|_| self.publish_down()),
            Step::Subscribe => self.request(),
            Step::Wire { up, down } => self.carry(up.into(), down.into()),
            Step::Answer { server, client } => self.answer(server.into(), client.into()),
            Step::Wait { seconds } => {
                for _ in 0..seconds {
                    self.settle();
                    self.now += Duration::from_secs(1);
                    self.client.handle_timeout(self.now);
                    self.server.handle_timeout(self.now);
                }
            }
        }
        assert!(self.server.publishes_unanswered() <= WINDOW);
        assert!(self.server.deliveries_in_flight() <= WINDOW);
        assert!(self.client.in_flight() <= WINDOW);
        assert!(self.server.output().len() <= 300 + 200);
        assert!(self.client.output().len() <= 600 + 200);
    }

    fn publish_up(&mut self, acknowledged: bool) {
        let qos = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        match self.client.publish(&topic("up"), &self.next.to_be_bytes(), qos) {
            Ok(id) => {
                self.client_awaits.extend(id);
                self.sent_up.push_back(self.next);
                self.next += 1;
            }
            Err(error) => assert!(matches!(error, SendError::WindowFull | SendError::OutputFull)),
        }
    }

    fn publish_down(&mut self) {
        let could = self.server.can_publish();
        match self.server.publish(&topic("down"), &self.next.to_be_bytes(), QoS::AtLeastOnce) {
            Ok(id) => {
                assert!(could);
                self.server_awaits.extend(id);
                self.sent_down.push_back(self.next);
                self.next += 1;
            }
            Err(error) => {
                assert!(!could);
                assert!(matches!(error, SendError::WindowFull | SendError::OutputFull));
            }
        }
    }

    fn request(&mut self) {
        self.requests +=
            usize::from(self.client.subscribe(vec![(filter("a/#"), QoS::AtLeastOnce)]).is_ok());
        self.requests += usize::from(self.client.unsubscribe(vec![filter("a/#")]).is_ok());
    }

    /// Machines write, the wire carries, machines read as far as they want to.
    fn carry(&mut self, up: usize, down: usize) {
        self.client.poll_transmit(&mut self.up.under_way);
        self.server.poll_transmit(&mut self.down.under_way);
        if self.server.wants_input() {
            self.up.carry(up);
        }
        if self.client.wants_input() {
            self.down.carry(down);
        }
        self.server.handle_input(self.now, &mut self.up.arrived);
        loop {
            self.server_events();
            if !self.server.wants_resume() {
                break;
            }
            self.server.handle_input(self.now, &mut self.up.arrived);
        }
        self.client.handle_input(self.now, &mut self.down.arrived);
        loop {
            self.client_events();
            if !self.client.wants_resume() {
                break;
            }
            self.client.handle_input(self.now, &mut self.down.arrived);
        }
    }

    fn server_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                server::Event::Connect(_) => self.server.accept(self.now, false),
                server::Event::Publish(publish) => {
                    let number = u32::from_be_bytes(publish.payload[..].try_into().unwrap());
                    assert_eq!(Some(number), self.sent_up.pop_front());
                    self.server_owes.extend(publish.packet_id);
                }
                server::Event::Acknowledged(id) => {
                    assert_eq!(Some(id), self.server_awaits.pop_front());
                }
                server::Event::Subscribe(request) => {
                    let codes = vec![SubackCode::Granted(QoS::AtLeastOnce); request.filters.len()];
                    self.server.suback(request.packet_id, codes).unwrap();
                }
                server::Event::Unsubscribe(request) => {
                    self.server.unsuback(request.packet_id).unwrap();
                }
                server::Event::Pinged => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn client_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                client::Event::Connack(_) => {}
                client::Event::Publish(publish) => {
                    let number = u32::from_be_bytes(publish.payload[..].try_into().unwrap());
                    assert_eq!(Some(number), self.sent_down.pop_front());
                    self.client_owes.extend(publish.packet_id);
                }
                client::Event::Puback(id) => assert_eq!(Some(id), self.client_awaits.pop_front()),
                client::Event::Suback(_) | client::Event::Unsuback(_) => self.requests -= 1,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Owners answer in any order: here from both ends of their lists by turns.
    fn answer(&mut self, server: usize, client: usize) {
        for turn in 0..server {
            let id = match turn % 2 {
                0 => self.server_owes.pop_front(),
                _ => self.server_owes.pop_back(),
            };
            if let Some(id) = id {
                self.server.puback(id).unwrap();
            }
        }
        for _ in 0..client {
            if let Some(id) = self.client_owes.pop_front() {
                self.client.puback(id).unwrap();
            }
        }
    }

    /// Everything under way arrives and is answered.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.carry(usize::MAX, usize::MAX);
            self.answer(usize::from(u8::MAX), usize::from(u8::MAX));
            if self.is_at_rest() {
                return;
            }
        }
        panic!("the pair does not come to rest");
    }

    fn is_at_rest(&self) -> bool {
        self.up.under_way.is_empty()
            && self.down.under_way.is_empty()
            && self.up.arrived.is_empty()
            && self.down.arrived.is_empty()
            && self.server.output().is_empty()
            && self.client.output().is_empty()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_message_once_and_in_order(steps in prop::collection::vec(steps(), 1..120)) {
        let mut pair = Pair::connected();
        for step in &steps {
            pair.run(step);
        }
        pair.settle();
        prop_assert!(pair.sent_up.is_empty() && pair.sent_down.is_empty());
        prop_assert!(pair.client_awaits.is_empty() && pair.server_awaits.is_empty());
        prop_assert_eq!(pair.requests, 0);
        prop_assert_eq!(pair.client.in_flight(), 0);
        prop_assert_eq!(pair.server.deliveries_in_flight(), 0);
        prop_assert_eq!(pair.server.publishes_unanswered(), 0);
        prop_assert!(pair.client.is_connected() && !pair.server.is_closed());
    }
}

/// An idle day: pings alone hold the connection.
#[test]
fn a_day_of_silence() {
    let mut pair = Pair::connected();
    for _ in 0..(86_400 / 100) {
        pair.run(&Step::Wait { seconds: 100 });
    }
    assert!(pair.client.is_connected() && !pair.server.is_closed());
}

/// The wire is cut: both ends notice by themselves.
#[test]
fn a_cut_wire() {
    let mut pair = Pair::connected();
    while !(pair.client.is_closed() && pair.server.is_closed()) {
        let due = [pair.client.poll_timeout(), pair.server.poll_timeout()];
        pair.now = due.into_iter().flatten().min().unwrap();
        pair.client.handle_timeout(pair.now);
        pair.server.handle_timeout(pair.now);
    }
    assert_eq!(pair.now, Duration::from_secs(90));
    assert_eq!(pair.client.poll_event(), Some(client::Event::TimedOut(client::Timeout::Ping)));
    assert_eq!(pair.server.poll_event(), Some(server::Event::TimedOut(server::Timeout::KeepAlive)));
}
