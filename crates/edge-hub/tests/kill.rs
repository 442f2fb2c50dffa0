//! An edge hub in a process of its own, killed with SIGKILL at moments that nobody chose: what it
//! acknowledged arrives, in order.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use edge_hub::{EdgeHub, Settings, Sockets};
use host::clock::Clock;
use host::process::{Child, Program};
use host::signals::Shutdown;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};

use support::{Machine, output, within, without_repeats};

const CHILD: &str = "EDGE_HUB_CHILD_ENVIRONMENT";
const KILLS: u32 = 6;

/// Not a test: what the child process runs.
#[test]
fn child() {
    let Ok(Some(environment)) = host::env::var(CHILD) else { return };
    let env: BTreeMap<String, String> = serde_json::from_str(&environment).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut settings = Settings::from_env(&env).unwrap();
        let sockets = host::net::passed_listeners().unwrap();
        let sockets = sockets.into_iter().map(|(_, socket)| socket).collect();
        settings.listen.mqtt = Sockets::Open(sockets);
        settings.listen.amqp = Sockets::Open(Vec::new());
        settings.listen.https = Sockets::Open(Vec::new());
        settings.listen.metrics = Sockets::Open(Vec::new());
        let started = EdgeHub::start(settings, Clock::system(), Shutdown::new()).await;
        started.unwrap().finished().await;
    });
}

async fn spawn(machine: &Machine, socket: &host::net::TcpListener) -> Child {
    let mut program = Program::new(host::env::current_exe().unwrap());
    program.args = ["--exact", "child", "--nocapture"].map(str::to_owned).into();
    program.env = vec![(CHILD.to_owned(), machine.environment_json())];
    let mut child = program.spawn_with_listeners(&[("mqtt", socket)]).await.unwrap();
    tokio::spawn(drain(child.take_stdout().unwrap()));
    tokio::spawn(drain(child.take_stderr().unwrap()));
    child
}

#[expect(clippy::print_stderr, reason = "so that a failure of the child can be read")]
async fn drain(mut pipe: impl AsyncRead + Unpin) {
    let mut text = String::new();
    // What the child says is only of interest when something is wrong.
    let _ = pipe.read_to_string(&mut text).await;
    if text.contains("panicked") {
        eprintln!("{text}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill() {
    let routes = json!({ "all": "FROM /messages/* INTO $upstream" });
    let machine = Machine::new(&["edge1/a", "edge1/b"], routes).await;
    let socket = host::net::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut child = spawn(&machine, &socket).await;
    let mut senders = Vec::new();
    let stop = Shutdown::new();
    for name in ["a", "b"] {
        let (client, events) = machine.connect_to(port, &format!("edge1/{name}"), &[]);
        let stop = stop.clone();
        senders.push(tokio::spawn(async move {
            let _events = events;
            let mut count = 0;
            while !stop.is_triggered() {
                // Some under way at any time; the client sends again what got no answer.
                let mut handles = Vec::new();
                for _ in 0..8 {
                    let message = output(&format!("{name} {count}"), "out");
                    handles.push(client.send(message).await.unwrap());
                    count += 1;
                }
                for handle in handles {
                    within("an acknowledgement", handle).await.unwrap();
                }
            }
            client.close().await;
            count
        }));
    }
    for round in 0..KILLS {
        // Some of it with the hub, some without.
        if round % 2 == 1 {
            machine.hub.stop().await;
        }
        let millis = 300 + host::entropy::below(700);
        machine.clock.sleep(std::time::Duration::from_millis(millis)).await;
        child.kill();
        within("the kill", child.wait()).await.unwrap();
        if round % 2 == 1 {
            machine.hub.start().await;
        }
        child = spawn(&machine, &socket).await;
    }
    machine.clock.sleep(std::time::Duration::from_millis(500)).await;
    stop.trigger();
    for (name, sender) in ["a", "b"].into_iter().zip(senders) {
        let count: u32 = sender.await.unwrap();
        let last = format!("{name} {}", count - 1);
        let received = machine.hub.until_received(&format!("edge1/{name}"), &last).await;
        assert!(count > 100, "{count}");
        assert_eq!(without_repeats(received), support::bodies(name, 0..count));
    }
    drop(child);
}
