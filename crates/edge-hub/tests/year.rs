//! A year without the hub, by a clock of our own: clients send every day, the power is cut every week,
//! the server certificate is renewed in place in between. Then the hub comes back.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use client::device::Transport;
use host::clock::Clock;
use jiff::SignedDuration;
use pki::Validity;
use serde_json::json;
use tokio::task::JoinHandle;

use support::{Machine, bodies, output, within, without_repeats};

const DAY: Duration = Duration::from_secs(86_400);
const WEEKS: u32 = 52;
/// What a sensor sends a day.
const DAILY: u32 = 3;

/// Lets time pass about thirty times as fast as it does, so that nobody's pause takes long.
struct Passing(JoinHandle<()>);

impl Passing {
    fn of(clock: &Clock) -> Self {
        let clock = clock.clone();
        Self(tokio::spawn(async move {
            let real = Clock::system();
            loop {
                real.sleep(Duration::from_millis(3)).await;
                clock.advance(Duration::from_millis(100));
            }
        }))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_offline_with_weekly_power_cuts_loses_nothing() {
    // It ends before today: TLS has only the machine's clock.
    let today = Clock::system().wall();
    let begin = today - SignedDuration::from_hours(24 * i64::from(WEEKS * 7 + 30));
    let clock = Clock::manual(begin);
    let validity = Validity::starting(begin - SignedDuration::from_hours(24), DAY * 3000);
    let routes = json!({
        "kept": { "route": "FROM /messages/modules/a/outputs/out INTO $upstream", "timeToLiveSecs": 2_147_483_647 },
        "leaf": { "route": "FROM /messages/* WHERE $connectionDeviceId = 'leaf' INTO $upstream", "timeToLiveSecs": 2_147_483_647 },
        "short": { "route": "FROM /messages/modules/a/outputs/short INTO $upstream", "priority": 1, "timeToLiveSecs": 3600 }
    });
    let identities = ["edge1/a", "leaf"];
    let told = Some(5 * DAY);
    let machine = Machine::over(clock, validity, told, &identities, routes).await;
    let passing = Passing::of(&machine.clock);
    let edge = machine.start().await;
    machine.hub.until_reported("edge1/$edgeHub", "/lastDesiredStatus/code", json!(200)).await;
    edge.stop().await;
    machine.hub.stop().await;
    drop(passing);
    let (mut sent, mut expired) = (0, 0);
    for _ in 0..WEEKS {
        let passing = Passing::of(&machine.clock);
        let edge = machine.start().await;
        let (a, _a_events) = machine.join(&edge, "edge1/a", &[]).await;
        let (leaf, _leaf_events) = machine.connect_by(Transport::Amqp, &edge, "leaf", &[]);
        within("a connection", leaf.connected()).await.unwrap();
        for _ in 0..7 {
            for number in sent..sent + DAILY {
                for (client, name) in [(&a, "a"), (&leaf, "leaf")] {
                    let message = output(&format!("{name} {number}"), "out");
                    let sent = client.send(message).await.unwrap();
                    within("an acknowledgement", sent).await.unwrap();
                }
            }
            let short = a.send(output("short", "short")).await.unwrap();
            within("an acknowledgement", short).await.unwrap();
            sent += DAILY;
            // Tokens, keep-alives and the certificate end meanwhile.
            machine.clock.advance(DAY);
        }
        let counted = async {
            while edge.counts("messages_dropped_total", "reason=\"ttl_expiry\"") < 7 {
                Clock::system().sleep(Duration::from_millis(5)).await;
            }
        };
        within("the end of the short lives", counted).await;
        expired += edge.counts("messages_dropped_total", "reason=\"ttl_expiry\"");
        drop(passing);
        edge.kill().await;
    }
    assert_eq!(expired, u64::from(WEEKS) * 7);
    // One at each start, and one in place each week.
    let certificates = machine.workload.issued.load(Ordering::Relaxed);
    assert!(certificates > 2 * WEEKS, "{certificates} in {WEEKS} weeks");
    let _passing = Passing::of(&machine.clock);
    machine.hub.start().await;
    let edge = machine.start().await;
    for (id, name) in [("edge1/a", "a"), ("leaf", "leaf")] {
        let last = format!("{name} {}", sent - 1);
        let received = machine.hub.until_received(id, &last).await;
        assert_eq!(without_repeats(received), bodies(name, 0..sent));
    }
    edge.stop().await;
}
