//! Two polite ends that do legal things in any order, while bytes cross in pieces:
//! nothing is lost, doubled, reordered or refused.

use std::collections::HashMap;

use amqp::connection::{
    Accept, Cause, Credentials, DeliveryId, Event, LinkId, NewLink, Outgoing, SessionId, Settings,
};
use amqp::performative::{ReceiverSettleMode, SenderSettleMode};
use amqp::{DeliveryState, Role};
use bytes::Bytes;
use proptest::prelude::*;

use crate::pair::{End, Pair};

/// What one of the ends does, or the network.
#[derive(Debug, Clone)]
enum Step {
    Begin { end: usize },
    Attach { end: usize, session: usize, role: Role, window: u32, modes: u8 },
    Send { link: usize, size: usize, settled: bool },
    Settle { end: usize, delivery: usize },
    Grant { link: usize, window: u32 },
    Detach { end: usize, link: usize },
    End { end: usize, session: usize },
    Cross { end: usize, bytes: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let end = 0..2usize;
    let role = prop_oneof![Just(Role::Sender), Just(Role::Receiver)];
    prop_oneof![
        1 => end.clone().prop_map(|end| Step::Begin { end }),
        4 => (end.clone(), any::<usize>(), role, 0..6u32, any::<u8>()).prop_map(
            |(end, session, role, window, modes)| Step::Attach { end, session, role, window, modes }
        ),
        60 => (any::<usize>(), 0..1500usize, any::<bool>())
            .prop_map(|(link, size, settled)| Step::Send { link, size, settled }),
        60 => (end.clone(), any::<usize>())
            .prop_map(|(end, delivery)| Step::Settle { end, delivery }),
        2 => (any::<usize>(), 1..8u32).prop_map(|(link, window)| Step::Grant { link, window }),
        1 => (end.clone(), any::<usize>()).prop_map(|(end, link)| Step::Detach { end, link }),
        1 => (end.clone(), any::<usize>()).prop_map(|(end, session)| Step::End { end, session }),
        90 => (end, 1..3000usize).prop_map(|(end, bytes)| Step::Cross { end, bytes }),
    ]
}

/// What should be, beside the pair.
struct Model {
    pair: Pair,
    /// Of each end.
    sessions: [Vec<SessionId>; 2],
    names: HashMap<(usize, LinkId), usize>,
    links: Vec<Link>,
    /// Of each end: what came and is not settled by it.
    held: [Vec<(DeliveryId, usize, usize)>; 2],
    sent: HashMap<(usize, DeliveryId), (usize, usize)>,
}

/// One link, known by its index.
#[derive(Debug)]
struct Link {
    /// Its name at each end, as long as it is known there.
    ids: [Option<LinkId>; 2],
    sender: usize,
    window: u32,
    sent: usize,
    received: usize,
}

impl Model {
    fn new() -> Model {
        let settings = Settings { max_frame_size: 512, incoming_window: 3, ..Settings::default() };
        let mut pair = Pair::with(settings.clone(), settings, Credentials::None);
        pair.run();
        pair.take_opens();
        Model {
            pair,
            sessions: [Vec::new(), Vec::new()],
            names: HashMap::new(),
            links: Vec::new(),
            held: [Vec::new(), Vec::new()],
            sent: HashMap::new(),
        }
    }

    fn end(&mut self, end: usize) -> &mut End {
        match end {
            0 => &mut self.pair.client,
            _ => &mut self.pair.server,
        }
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Begin { end } => {
                if self.sessions[end].len() < 4 {
                    let session = self.end(end).machine.begin().expect("room");
                    self.sessions[end].push(session);
                }
            }
            Step::Attach { end, session, role, window, modes } => {
                self.attach(end, session, role, window, modes);
            }
            Step::Send { link, size, settled } => self.send(link, size, settled),
            Step::Settle { end, delivery } => {
                if !self.held[end].is_empty() {
                    let index = delivery % self.held[end].len();
                    let (delivery, link, number) = self.held[end].remove(index);
                    self.end(end).machine.settle(delivery, outcome(link, number));
                }
            }
            Step::Grant { link, window } => {
                let Some(index) = pick(link, self.links.len()) else { return };
                let receiver = 1 - self.links[index].sender;
                if let Some(id) = self.links[index].ids[receiver] {
                    self.links[index].window = window;
                    self.end(receiver).machine.grant(id, window);
                }
            }
            Step::Detach { end, link } => {
                let Some(index) = pick(link, self.links.len()) else { return };
                if let Some(id) = self.links[index].ids[end].take() {
                    self.forget(end, index);
                    self.end(end).machine.detach(id, None);
                }
            }
            Step::End { end, session } => {
                let Some(index) = pick(session, self.sessions[end].len()) else { return };
                let session = self.sessions[end].remove(index);
                self.forget_session(end, session);
                self.end(end).machine.end(session, None);
            }
            Step::Cross { end, bytes } => self.cross(end, bytes),
        }
        self.look(0);
        self.look(1);
    }

    fn attach(&mut self, end: usize, session: usize, role: Role, window: u32, modes: u8) {
        let Some(index) = pick(session, self.sessions[end].len()) else { return };
        let session = self.sessions[end][index];
        let name = self.links.len().to_string();
        let link = match role {
            Role::Sender => NewLink::sender(name, window.to_string()),
            Role::Receiver => NewLink::receiver(name, window.to_string(), window),
        };
        let link = NewLink {
            snd_settle_mode: match modes % 3 {
                0 => SenderSettleMode::Mixed,
                1 => SenderSettleMode::Settled,
                _ => SenderSettleMode::Unsettled,
            },
            rcv_settle_mode: match modes & 0x80 {
                0 => ReceiverSettleMode::First,
                _ => ReceiverSettleMode::Second,
            },
            settles_back: modes & 0x40 != 0,
            ..link
        };
        let id = self.end(end).machine.attach(session, link).expect("room");
        let index = self.links.len();
        self.names.insert((end, id), index);
        let mut ids = [None, None];
        ids[end] = Some(id);
        let sender = if role == Role::Sender { end } else { 1 - end };
        self.links.push(Link { ids, sender, window, sent: 0, received: 0 });
    }

    fn send(&mut self, link: usize, size: usize, settled: bool) {
        let Some(index) = pick(link, self.links.len()) else { return };
        let sender = self.links[index].sender;
        let Some(id) = self.links[index].ids[sender] else { return };
        let number = self.links[index].sent;
        let machine = &mut self.end(sender).machine;
        let (can_send, credit) = (machine.can_send(id), machine.credit(id));
        let tag = Bytes::copy_from_slice(&number.to_be_bytes());
        let message = message(index, number, size);
        match machine.send(id, Outgoing { tag, message, format: 7, settled }) {
            Ok(delivery) => {
                assert_eq!(can_send, Ok(()));
                assert_eq!(machine.credit(id), credit - 1);
                self.links[index].sent += 1;
                self.sent.insert((sender, delivery), (index, number));
            }
            Err(error) => assert_eq!(can_send, Err(error)),
        }
    }

    /// Some bytes of this end's output reach the other.
    fn cross(&mut self, end: usize, bytes: usize) {
        let now = self.pair.now;
        let output = self.end(end).machine.output();
        let piece = output.get(..bytes).unwrap_or(output).to_vec();
        self.end(end).machine.advance_output(piece.len());
        self.end(1 - end).input(now, &piece);
        self.look(1 - end);
    }

    /// What an end was told has to fit what is known.
    fn look(&mut self, end: usize) {
        for event in self.end(end).take() {
            match event {
                Event::SessionBegun(session) => {
                    if !self.sessions[end].contains(&session) {
                        self.sessions[end].push(session);
                    }
                }
                Event::SessionEnded { session, cause } => {
                    assert_eq!(cause, Cause::Peer(None));
                    self.sessions[end].retain(|other| *other != session);
                    self.forget_session(end, session);
                }
                Event::Attach { link, attach } => {
                    let index: usize = attach.name.parse().expect("an index");
                    assert_eq!(self.names.insert((end, link), index), None);
                    self.links[index].ids[end] = Some(link);
                    let window = self.links[index].window;
                    let settles_back = index.is_multiple_of(2);
                    let accept = Accept { settles_back, ..Accept::echo(&attach, window) };
                    self.end(end).machine.accept_attach(link, accept);
                }
                Event::Attached { link, .. } => assert!(self.names.contains_key(&(end, link))),
                Event::Detached { link, cause, closed } => {
                    assert_eq!((cause, closed), (Cause::Peer(None), true));
                    let index = self.names[&(end, link)];
                    assert_eq!(self.links[index].ids[end].take(), Some(link));
                    self.forget(end, index);
                }
                Event::Delivery(delivery) => {
                    let index = self.names[&(end, delivery.id.link())];
                    let link = &mut self.links[index];
                    assert_eq!(end, 1 - link.sender);
                    let number = link.received;
                    link.received += 1;
                    assert_eq!(delivery.message, message(index, number, delivery.message.len()));
                    assert_eq!(&delivery.tag[..], number.to_be_bytes());
                    assert_eq!(delivery.format, 7);
                    if delivery.settled {
                        // It has no outcome to wait for.
                        self.sent.retain(|_, message| *message != (index, number));
                    } else {
                        self.held[end].push((delivery.id, index, number));
                    }
                }
                Event::Settled { delivery, state, settled } => {
                    let Some(&(index, number)) = self.sent.get(&(end, delivery)) else {
                        // The sender's word on what came, on a link that settles second.
                        let link = self.names[&(end, delivery.link())];
                        assert!(self.links[link].sender != end && settled, "{delivery:?}");
                        continue;
                    };
                    assert_eq!(state.as_ref(), Some(&outcome(index, number)));
                    self.sent.remove(&(end, delivery));
                    if !settled {
                        self.end(end).machine.settle(delivery, outcome(index, number));
                    }
                }
                Event::Credit { link, drain, .. } => {
                    assert!(!drain && self.names.contains_key(&(end, link)));
                }
                Event::WindowOpened(session) => assert!(self.sessions[end].contains(&session)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn forget_session(&mut self, end: usize, session: SessionId) {
        for index in 0..self.links.len() {
            if self.links[index].ids[end].take_if(|id| id.session() == session).is_some() {
                self.forget(end, index);
            }
        }
    }

    fn forget(&mut self, end: usize, link: usize) {
        self.held[end].retain(|(_, other, _)| *other != link);
        self.sent.retain(|(other, _), (index, _)| *other != end || *index != link);
    }

    /// Everything arrives, and is settled: nothing may be left.
    fn settle_all(&mut self) {
        loop {
            self.cross(0, usize::MAX);
            self.cross(1, usize::MAX);
            for end in 0..2 {
                for (delivery, link, number) in std::mem::take(&mut self.held[end]) {
                    self.end(end).machine.settle(delivery, outcome(link, number));
                }
            }
            let is_quiet = |end: &mut End| end.machine.output().is_empty();
            if is_quiet(&mut self.pair.client) && is_quiet(&mut self.pair.server) {
                break;
            }
        }
        assert_eq!(self.sent, HashMap::new(), "without outcome");
        for index in 0..self.links.len() {
            let Link { ids, sender, window, sent, received } = &self.links[index];
            let &[Some(_), Some(_)] = ids else {
                assert!(ids.iter().all(Option::is_none), "gone at one end only: {index}");
                continue;
            };
            assert_eq!(sent, received, "link {index}");
            let (sender, window) = (*sender, *window);
            let id = ids[sender].expect("known");
            let credit = self.end(sender).machine.credit(id);
            assert!(credit > window / 2 || window == 0, "{credit} of {window}");
        }
    }
}

fn pick(any: usize, count: usize) -> Option<usize> {
    any.checked_rem(count)
}

fn message(link: usize, number: usize, size: usize) -> Bytes {
    (0..size).map(|index| (link * 31 + number * 7 + index) as u8).collect()
}

fn outcome(link: usize, number: usize) -> DeliveryState {
    match (link + number) % 4 {
        0 => DeliveryState::Released,
        _ => DeliveryState::Accepted,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn legal_steps_in_any_order(
        chunks in 1..400usize,
        steps in proptest::collection::vec(step(), 1..1500),
    ) {
        let mut model = Model::new();
        model.pair.chunk = chunks;
        for end in 0..2 {
            model.act(Step::Begin { end });
            for role in [Role::Sender, Role::Receiver] {
                model.act(Step::Attach { end, session: 0, role, window: 5, modes: 0 });
            }
        }
        for step in steps {
            model.act(step);
        }
        model.settle_all();
        for (end, sessions) in model.sessions.clone().into_iter().enumerate() {
            for session in sessions {
                model.end(end).machine.end(session, None);
            }
        }
        model.pair.run();
        let now = model.pair.now;
        model.pair.client.machine.close(now, None);
        model.pair.run();
        prop_assert!(model.pair.client.machine.is_closed());
        prop_assert!(model.pair.server.machine.is_closed());
    }
}
