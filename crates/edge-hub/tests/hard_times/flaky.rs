//! Links that break all the time, between clients and the edge hub and between it and the hub: nothing
//! is lost, each sender's order is kept, what comes twice is no more than what was in flight at a break,
//! and who was cut off is back one pause after the link is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use client::DeviceClient;
use client::device::{Events, Transport};
use host::clock::Clock;
use host::signals::Shutdown;
use jiff::SignedDuration;
use pki::Validity;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::link::{Break, Link, Weather};
use crate::support::{Machine, bodies, output, within, without_repeats};
use crate::{Passing, Random, number};

const TIMES: u32 = 20;
/// Breaks here when nothing else is said; half of them with each protocol.
const PARTITIONS: u32 = 20;
/// What a client has in flight.
const CLIENT_WINDOW: usize = 8;
/// What the edge hub has in flight for a sender: a queue's window.
const EDGE_WINDOW: u32 = 100;
/// The longest pause between attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between the end of a pause and a connection: the name is looked up, and this machine is busy.
const SLACK: Duration = Duration::from_secs(5);
/// What every sender gets through between two breaks.
const PROGRESS: u32 = 3;
/// One break in so many is of the kind that nobody is told of: it lasts until somebody misses an answer.
const HALF_OPEN_ONE_IN: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaky_links_by_amqp() {
    storm(Transport::Amqp, "Amqp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaky_links_by_mqtt() {
    storm(Transport::Mqtt, "Mqtt").await;
}

async fn storm(transport: Transport, protocol: &str) {
    let partitions = number("FARSHORE_PARTITIONS", PARTITIONS) / 2;
    let mut random = Random::new("FARSHORE_PARTITIONS_SEED");
    // Its time passes fast: it ends before now, as TLS has only the machine's clock.
    let begin = Clock::system().wall() - SignedDuration::from_hours(24 * 30);
    let clock = Clock::manual(begin);
    let day = Duration::from_secs(86_400);
    let validity = Validity::starting(begin - SignedDuration::from_hours(24), day * 365);
    let routes = json!({
        "kept": { "route": "FROM /messages/* INTO $upstream", "timeToLiveSecs": 2_147_483_647 }
    });
    let machine = Machine::over(clock, validity, None, &["edge1/a", "leaf"], routes).await;
    let passing = Passing::of(&machine.clock, TIMES);
    let ports = machine.hub.ports();
    let upstream = Link::to(ports.of(transport), &machine.clock);
    let port = upstream.port.to_string();
    let edge = machine
        .start_with(&[
            ("FARSHORE_UPSTREAM_MQTT_PORT", &port),
            ("FARSHORE_UPSTREAM_AMQP_PORT", &port),
            ("UpstreamProtocol", protocol),
        ])
        .await;
    machine.hub.until_reported("edge1/$edgeHub", "/lastDesiredStatus/code", json!(200)).await;
    let local = Link::to(edge.ports.of(transport), &machine.clock);
    let senders: Vec<Sender> = [("edge1/a", "a"), ("leaf", "leaf")]
        .map(|(id, name)| Sender::start(&machine, &local, transport, id, name))
        .into();
    let mut slowest = Duration::ZERO;
    for number in 0..partitions {
        let what = format!("{protocol}, partition {number}");
        progress(&machine, &senders, &what).await;
        let weather = weather(&mut random);
        local.set_weather(weather);
        upstream.set_weather(weather);
        progress(&machine, &senders, &format!("{what} in {weather:?}")).await;
        let links: &[&Link] = match random.below(3) {
            0 => &[&local],
            1 => &[&upstream],
            _ => &[&local, &upstream],
        };
        let how = match random.is_one_in(HALF_OPEN_ONE_IN) {
            true => Break::HalfOpen,
            false if random.is_one_in(2) => Break::Reset,
            false => Break::End,
        };
        for link in links {
            link.break_by(how).await;
        }
        machine.clock.sleep(Duration::from_millis(random.below(4000))).await;
        let mended = machine.clock.now();
        for link in links {
            link.mend();
        }
        for link in links {
            let back = async {
                while link.accepted().last.is_none_or(|at| at < mended) {
                    machine.clock.sleep(Duration::from_millis(50)).await;
                }
            };
            within(&format!("{what}: a connection after {how:?}"), back).await;
            if how != Break::HalfOpen {
                slowest = slowest.max(link.accepted().last.unwrap_or(mended) - mended);
            }
        }
    }
    assert!(slowest <= LONGEST_PAUSE + SLACK, "{slowest:?}");
    for link in [&local, &upstream] {
        link.set_weather(Weather::default());
    }
    let connections = (local.accepted().count, upstream.accepted().count);
    for sender in senders {
        let (id, name) = (sender.id, sender.name);
        let count = sender.finish().await;
        let received = machine.hub.until_received(id, &format!("{name} {}", count - 1)).await;
        let all = received.len() as u32;
        assert_eq!(without_repeats(received), bodies(name, 0..count));
        let copies = all - count;
        let most = connections.0 * CLIENT_WINDOW as u32 + connections.1 * EDGE_WINDOW;
        println!(
            "{protocol}: {partitions} partitions, {connections:?} connections; {id}: {count} messages, none lost, \
             in order, {copies} twice; slowest return {slowest:.1?} after the link's"
        );
        assert!(copies <= most, "{copies} copies");
    }
    drop(passing);
    edge.kill().await;
}

fn weather(random: &mut Random) -> Weather {
    let delay = [Duration::ZERO, Duration::from_millis(300)];
    Weather {
        delay: delay[random.below(2) as usize],
        loss_percent: 5 + random.below(26) as u8,
        single_bytes: random.is_one_in(3),
    }
}

/// Everybody gets some more to the hub.
async fn progress(machine: &Machine, senders: &[Sender], what: &str) {
    for sender in senders {
        let id = sender.id.parse().unwrap();
        let arrived = |state: &crate::support::hub::State| {
            state.telemetry.iter().filter(|(from, _)| *from == id).count()
        };
        let wanted = machine.hub.with(arrived) + PROGRESS as usize;
        let what = format!("{what}: progress of {}", sender.id);
        machine.hub.until(&what, |state| arrived(state) >= wanted).await;
    }
}

/// A client that sends numbered messages, some in flight at any time.
struct Sender {
    id: &'static str,
    name: &'static str,
    stop: Shutdown,
    acknowledged: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Sender {
    fn start(
        machine: &Machine,
        link: &Link,
        transport: Transport,
        id: &'static str,
        name: &'static str,
    ) -> Self {
        let mut options = machine.options(link.port, id);
        options.transport = transport;
        let (client, events) = DeviceClient::start(options, machine.clock.clone());
        let (stop, acknowledged) = (Shutdown::new(), Arc::new(AtomicU32::new(0)));
        let work = send(
            client,
            events,
            name,
            stop.clone(),
            Arc::clone(&acknowledged),
            machine.clock.clone(),
        );
        Self { id, name, stop, acknowledged, task: tokio::spawn(work) }
    }

    /// How many it sent; all are acknowledged.
    async fn finish(self) -> u32 {
        self.stop.trigger();
        within("the last acknowledgements", self.task).await.unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

async fn send(
    client: DeviceClient,
    events: Events,
    name: &'static str,
    stop: Shutdown,
    acknowledged: Arc<AtomicU32>,
    clock: Clock,
) {
    tokio::spawn(drain(events));
    let mut in_flight = VecDeque::new();
    let mut next = 0;
    while !stop.is_triggered() {
        in_flight.push_back(client.send(output(&format!("{name} {next}"), "out")).await.unwrap());
        next += 1;
        if in_flight.len() >= CLIENT_WINDOW {
            in_flight.pop_front().unwrap().await.unwrap();
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        clock.sleep(Duration::from_millis(100)).await;
    }
    for handle in in_flight {
        handle.await.unwrap();
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    client.close().await;
}

/// What the client says of its connections is of no interest; unread it would hold it up.
async fn drain(mut events: Events) {
    while events.next().await.is_some() {}
}
