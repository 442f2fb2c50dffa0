//! Certificates that change and clocks that are wrong, by a clock of our own: nobody who is connected
//! notices, no message ends before its time, nothing spins, and what needs the time is made anew soon
//! after it is known (GOALS R15, R16). TLS here has only the machine's clock, so that what clients
//! make of a certificate's dates is tested in `edge-daemon`.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::DeviceClient;
use client::device::{ConnectionState, Events, Transport};
use host::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use pki::Validity;
use serde_json::json;
use tokio::task::JoinHandle;

use support::{Machine, Running, bodies, output, send_all, within};

const DAY: Duration = Duration::from_secs(86_400);
const EPOCH: &str = "1970-01-01T00:00:10Z";
/// Goal R15.
const ANEW_WITHIN: Duration = Duration::from_secs(30);

/// Lets time pass about ten times as fast as it does.
struct Passing(JoinHandle<()>);

impl Passing {
    fn of(clocks: &[&Clock]) -> Self {
        let clocks: Vec<Clock> = clocks.iter().map(|clock| (*clock).clone()).collect();
        Self(tokio::spawn(async move {
            loop {
                Clock::system().sleep(Duration::from_millis(3)).await;
                clocks.iter().for_each(|clock| clock.advance(Duration::from_millis(30)));
            }
        }))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An edge hub that had its first sync, and is off again.
async fn synced() -> Machine {
    let clock = Clock::manual(Clock::system().wall());
    let validity = Validity::starting(clock.wall(), 3000 * DAY);
    let routes = json!({ "all": "FROM /messages/* INTO $upstream" });
    let identities = ["edge1/a", "edge1/b", "edge1/late", "leaf"];
    let machine = Machine::over(clock, validity, Some(30 * DAY), &identities, routes).await;
    let passing = Passing::of(&[&machine.clock]);
    let edge = machine.start().await;
    machine.hub.until_reported("edge1/$edgeHub", "/lastDesiredStatus/code", json!(200)).await;
    edge.stop().await;
    drop(passing);
    machine
}

/// Lets much time pass soon, in steps that nobody takes for a pause of the others.
async fn pass(clocks: &[&Clock], time: Duration) {
    let until = clocks[0].now() + time;
    while clocks[0].now() < until {
        Clock::system().sleep(Duration::from_millis(3)).await;
        clocks.iter().for_each(|clock| clock.advance(Duration::from_millis(500)));
    }
}

fn issued(machine: &Machine) -> u32 {
    machine.workload.issued.load(Ordering::Relaxed)
}

/// Waits, in the time of `clock`, for as long as goal R15 allows.
async fn soon(what: &str, clock: &Clock, is_so: impl Fn() -> bool) {
    let begun = clock.now();
    let wait = async {
        while !is_so() {
            Clock::system().sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, wait).await;
    let took = clock.now() - begun;
    assert!(took <= ANEW_WITHIN, "{what} took {took:?}");
}

/// A client that sends without a pause until it is told to stop, and whether it was ever cut.
struct Busy {
    client: DeviceClient,
    events: Events,
    stop: Arc<AtomicBool>,
    task: JoinHandle<u32>,
    state: tokio::sync::watch::Receiver<ConnectionState>,
}

impl Busy {
    async fn start(machine: &Machine, edge: &Running, transport: Transport, id: &str) -> Self {
        let (client, events) = machine.connect_by(transport, edge, id, &[]);
        within("a connection", client.connected()).await.unwrap();
        let mut state = client.state();
        state.mark_unchanged();
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, until, name) = (client.clone(), Arc::clone(&stop), id.replace('/', " "));
        let task = tokio::spawn(async move {
            let mut sent = 0;
            while !until.load(Ordering::Relaxed) {
                let handle = sender.send(output(&format!("{name} {sent}"), "out")).await.unwrap();
                within("an acknowledgement", handle).await.unwrap();
                sent += 1;
            }
            sent
        });
        Self { client, events, stop, task, state }
    }

    /// How many it sent, all over one connection.
    async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.task.await.unwrap();
        assert!(!self.state.has_changed().unwrap(), "it was cut");
        drop(self.events);
        self.client.close().await;
        sent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate_under_load_and_nobody_is_cut() {
    let machine = synced().await;
    let _passing = Passing::of(&[&machine.clock]);
    let edge = machine.start().await;
    let busy =
        [("edge1/a", Transport::Mqtt), ("edge1/b", Transport::Amqp), ("leaf", Transport::AmqpWs)];
    let mut clients = Vec::new();
    for (id, transport) in busy {
        clients.push((id, Busy::start(&machine, &edge, transport, id).await));
    }
    for number in 0..5 {
        let validity = Validity::starting(Clock::system().wall(), 3000 * DAY);
        let below = machine.ca.issue_authority(&format!("edge CA {number}"), 0, validity).unwrap();
        let before = issued(&machine);
        // The Edge CA is another one, and the certificate that it issues is at 80 % in 24 s.
        machine.workload.issue_by(below, Duration::from_secs(30));
        // Somebody sets the clock by a little, which makes the first one be asked for.
        machine.clock.set_wall(machine.clock.wall() + SignedDuration::from_secs(60));
        soon("a certificate by the new CA", &machine.clock, || issued(&machine) > before).await;
        soon("its renewal", &machine.clock, || issued(&machine) > before + 1).await;
        // Who comes now sees the new one.
        let (late, _events) = machine.join(&edge, "edge1/late", &[]).await;
        late.close().await;
    }
    for (id, client) in clients {
        let sent = client.stop().await;
        let name = id.replace('/', " ");
        assert!(sent > 50, "{id} sent {sent}");
        let received = machine.hub.until_received(id, &format!("{name} {}", sent - 1)).await;
        assert_eq!(received, bodies(&name, 0..sent), "each once, in order");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_ends_no_message_and_no_connection() {
    let machine = synced().await;
    machine.hub.stop().await;
    let _passing = Passing::of(&[&machine.clock]);
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (leaf, _leaf_events) = machine.connect_by(Transport::Amqp, &edge, "leaf", &[]);
    within("a connection", leaf.connected()).await.unwrap();
    let mut states = [a.state(), leaf.state()];
    let today = machine.clock.wall();
    let walls: [Timestamp; 6] = [
        today + SignedDuration::from_hours(10 * 365 * 24),
        today - SignedDuration::from_hours(10 * 365 * 24),
        EPOCH.parse().unwrap(),
        today,
        today - SignedDuration::from_hours(1),
        today,
    ];
    for (number, wall) in (0..).zip(walls) {
        states.iter_mut().for_each(|state| state.mark_unchanged());
        let before = issued(&machine);
        machine.clock.set_wall(wall);
        soon("a new certificate", &machine.clock, || issued(&machine) > before).await;
        send_all(&a, [format!("a {number}")]).await;
        send_all(&leaf, [format!("leaf {number}")]).await;
        // A new connection, with a token by the new time.
        let (late, _events) = machine.join(&edge, "edge1/b", &[]).await;
        late.close().await;
        // Whoever is in stays in, and nothing is done again and again.
        pass(&[&machine.clock], Duration::from_secs(60)).await;
        assert_eq!(issued(&machine), before + 1, "{wall}");
        assert!(states.iter().all(|state| !state.has_changed().unwrap()), "{wall}: cut");
    }
    assert_eq!(edge.counts("messages_dropped_total", "reason=\"ttl_expiry\""), 0);
    machine.hub.start().await;
    for (id, name) in [("edge1/a", "a"), ("leaf", "leaf")] {
        assert_eq!(machine.hub.until_received(id, &format!("{name} 5")).await, bodies(name, 0..6));
    }
    // Two hours of time that passed do end a message.
    machine.hub.stop().await;
    send_all(&a, ["late".to_owned()]).await;
    machine.clock.advance(Duration::from_secs(7200));
    let counted = || edge.counts("messages_dropped_total", "reason=\"ttl_expiry\"") == 1;
    soon("the end of its life", &machine.clock, counted).await;
    edge.stop().await;
}

/// No battery: the device starts in 1970, while the hub, and a leaf device, know the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_starts_in_1970_serves_and_comes_back_when_the_time_is_known() {
    let mut machine = synced().await;
    let right = std::mem::replace(&mut machine.clock, Clock::manual(EPOCH.parse().unwrap()));
    let _passing = Passing::of(&[&machine.clock, &right]);
    let edge = machine.start().await;
    let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
    let (b, _b_events) = machine.connect_by(Transport::Amqp, &edge, "edge1/b", &[]);
    within("a connection", b.connected()).await.unwrap();
    // The leaf device's token is of today.
    let mut options = machine.options(edge.ports.mqtt, "leaf");
    options.subscriptions = Vec::new();
    let (leaf, _leaf_events) = DeviceClient::start(options, right.clone());
    within("a connection", leaf.connected()).await.unwrap();
    let mut states = [a.state(), b.state(), leaf.state()];
    states.iter_mut().for_each(|state| state.mark_unchanged());
    send_all(&a, bodies("a", 0..3)).await;
    send_all(&b, bodies("b", 0..3)).await;
    send_all(&leaf, bodies("leaf", 0..3)).await;
    // The hub refuses tokens of 1970, again and again, but not in a loop.
    pass(&[&machine.clock, &right], Duration::from_secs(120)).await;
    assert!(machine.hub.received("edge1/a").is_empty());

    let before = issued(&machine);
    machine.clock.set_wall(right.wall());
    let connects = |id: &str| {
        let id = id.parse().unwrap();
        machine.hub.with(|state| state.connects.iter().filter(|known| **known == id).count())
    };
    let since = connects("edge1/$edgeHub");
    soon("the way back", &machine.clock, || {
        issued(&machine) > before && connects("edge1/$edgeHub") > since
    })
    .await;
    for (id, name) in [("edge1/a", "a"), ("edge1/b", "b"), ("leaf", "leaf")] {
        assert_eq!(machine.hub.until_received(id, &format!("{name} 2")).await, bodies(name, 0..3));
    }
    // Past the next look at what let them in.
    pass(&[&machine.clock, &right], Duration::from_secs(60)).await;
    assert!(states.iter().all(|state| !state.has_changed().unwrap()), "somebody was cut");
    assert_eq!(edge.counts("messages_dropped_total", "reason=\"ttl_expiry\""), 0);
    edge.stop().await;
}

/// An operator's CA that ended: there is nothing better to be had, and it is not asked for in a loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_hub_past_the_end_of_its_ca_goes_on() {
    let machine = synced().await;
    machine.workload.issue_ended();
    let _passing = Passing::of(&[&machine.clock]);
    let before = issued(&machine);
    let edge = machine.start().await;
    let (a, _events) = machine.join(&edge, "edge1/a", &[]).await;
    let mut state = a.state();
    state.mark_unchanged();
    pass(&[&machine.clock], Duration::from_secs(300)).await;
    let asked = issued(&machine) - before;
    assert!((5..=12).contains(&asked), "asked {asked} times in five minutes");
    send_all(&a, bodies("a", 0..3)).await;
    assert_eq!(machine.hub.until_received("edge1/a", "a 2").await, bodies("a", 0..3));
    assert!(!state.has_changed().unwrap(), "it was cut");
    edge.stop().await;
}
