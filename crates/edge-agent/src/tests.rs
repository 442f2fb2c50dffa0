//! The whole agent between a hub's end of MQTT over TLS and a daemon on unix sockets.

use client::device::Transport;
use std::time::Duration;

use iot_proto::topic::{DeviceTopic, TopicSet};
use model::twin::{Twin, TwinChange};
use mqtt::QoS;
use serde_json::{Value, json};

use super::*;
use crate::fake_daemon::FakeDaemon;
use fake_hub::{FakeHub, Peer};

#[expect(dead_code, reason = "the client's tests use the rest of it")]
#[path = "../../client/tests/test_all/fake_hub.rs"]
mod fake_hub;

/// The hub's side of `$edgeAgent`: its twin, and what was asked.
struct Hub {
    fake: FakeHub,
    twin: Twin,
    reads: usize,
    reports: Vec<Value>,
    /// Answers reports with this status while it is set.
    refuse_reports: Option<u16>,
}

/// One life of an agent.
struct Life {
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), AgentError>>,
}

impl Life {
    fn start(daemon: &FakeDaemon, hub: &Hub) -> Self {
        let settings = AgentSettings {
            dial: hub.fake.dial(),
            transport: Transport::Mqtt,
            tls: hub.fake.client_tls(),
            management_socket: daemon.management_socket(),
            workload_socket: daemon.workload_socket(),
            generation: "1".into(),
            data_dir: daemon.data_dir(),
            surroundings: test_surroundings(),
            about: About { version: "0.1.0".into(), ..About::default() },
            deployed_images: tokio::sync::watch::Sender::new(None),
            deployed_options: tokio::sync::watch::Sender::new(None),
            timing: Timing { observe_every: Duration::from_millis(20), ..Timing::default() },
        };
        let shutdown = Shutdown::new();
        let task = tokio::spawn(run(settings, Clock::system(), shutdown.clone()));
        Self { shutdown, task }
    }

    async fn ended(self) {
        let ended = Clock::system().timeout(PATIENCE, self.task).await;
        ended.expect("the agent ends").unwrap().unwrap();
    }
}

impl Hub {
    fn new(modules: Value) -> Self {
        let mut hub = Self {
            fake: FakeHub::start(),
            twin: Twin::new(),
            reads: 0,
            reports: Vec::new(),
            refuse_reports: None,
        };
        hub.deploy(modules);
        hub
    }

    /// Changes the desired properties; gives the patch that the agent would be told.
    fn deploy(&mut self, modules: Value) -> Value {
        let desired = json!({
            "schemaVersion": "1.1", "runtime": {"type": "docker"}, "systemModules": {},
            "modules": modules,
        });
        let change = TwinChange { desired: desired.as_object().cloned(), tags: None };
        let changed = self.twin.replace(change, Clock::system().wall()).unwrap();
        let mut patch = changed.desired_patch.unwrap();
        patch.insert("$version".into(), self.twin.desired.version.into());
        Value::Object(patch)
    }

    async fn tell(&self, peer: &mut Peer, patch: &Value) {
        let topic = TopicSet::desired_patch(self.twin.desired.version);
        peer.deliver(&topic, &patch.to_string(), QoS::AtMostOnce).await;
    }

    /// Answers the agent until the twin says so; gives the answers to methods meanwhile.
    async fn serve_until(
        &mut self,
        peer: &mut Peer,
        what: &str,
        is_so: impl Fn(&Self) -> bool,
    ) -> Vec<(i32, String)> {
        let mut answers = Vec::new();
        let serving = async {
            while !is_so(self) {
                answers.extend(self.serve_one(peer).await);
            }
        };
        let in_time = Clock::system().timeout(PATIENCE, serving).await.is_ok();
        assert!(
            in_time,
            "never {what}: {:#}",
            Value::Object(self.twin.reported.properties.clone())
        );
        answers
    }

    async fn serve_one(&mut self, peer: &mut Peer) -> Option<(i32, String)> {
        let publish = peer.publish().await;
        let topics = TopicSet::new("edge1/$edgeAgent".parse().unwrap());
        match topics.parse_from_device(publish.topic.as_str()).unwrap() {
            DeviceTopic::TwinGet { rid } => {
                self.reads += 1;
                let body = self.twin.device_view().to_string();
                let topic = TopicSet::twin_response(200, rid, None);
                peer.deliver(&topic, &body, QoS::AtMostOnce).await;
                None
            }
            DeviceTopic::TwinPatchReported { rid, .. } => {
                let patch: Value = serde_json::from_slice(&publish.payload).unwrap();
                self.reports.push(patch.clone());
                if let Some(status) = self.refuse_reports {
                    let topic = TopicSet::twin_response(status, rid, None);
                    peer.deliver(&topic, "", QoS::AtMostOnce).await;
                    return None;
                }
                let patch = patch.as_object().unwrap().clone();
                let version = self.twin.report(patch, Clock::system().wall()).unwrap();
                let topic = TopicSet::twin_response(204, rid, Some(version));
                peer.deliver(&topic, "", QoS::AtMostOnce).await;
                None
            }
            DeviceTopic::MethodResponse { status, .. } => {
                Some((status, String::from_utf8_lossy(&publish.payload).into_owned()))
            }
            other => panic!("the agent sent {other:?}"),
        }
    }

    async fn call(&mut self, peer: &mut Peer, name: &str, payload: &str) -> (i32, String) {
        let topic = TopicSet::method_request(name, "m1");
        peer.deliver(&topic, payload, QoS::AtMostOnce).await;
        let waiting = async {
            loop {
                if let Some(answer) = self.serve_one(peer).await {
                    return answer;
                }
            }
        };
        Clock::system().timeout(PATIENCE, waiting).await.expect("the method is answered")
    }

    fn reported(&self, pointer: &str) -> Value {
        let whole = Value::Object(self.twin.reported.properties.clone());
        whole.pointer(pointer).cloned().unwrap_or_default()
    }

    fn has_applied(&self) -> bool {
        self.reported("/lastDesiredVersion") == self.twin.desired.version
            && self.reported("/lastDesiredStatus/code") == 200
    }
}

fn module(image: &str) -> Value {
    json!({
        "type": "docker", "status": "running", "restartPolicy": "always",
        "settings": {"image": image},
    })
}

#[tokio::test]
async fn from_the_twin_to_running_modules_and_back() {
    let daemon = FakeDaemon::start();
    let mut hub = Hub::new(json!({"aa": module("x:1")}));
    let life = Life::start(&daemon, &hub);
    let mut peer = hub.fake.connected(false).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    assert_eq!(daemon.module("aa").unwrap().status, "running");
    assert_eq!(hub.reported("/modules/aa/runtimeStatus"), "running");
    assert_eq!(hub.reported("/version/version"), "0.1.0");
    assert_eq!(hub.reads, 1);

    // The next patch needs no reading, and only what differs is reported.
    let patch = hub.deploy(json!({"aa": module("x:1"), "bb": module("y:1")}));
    hub.reports.clear();
    hub.tell(&mut peer, &patch).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    assert_eq!(daemon.module("bb").unwrap().status, "running");
    assert_eq!(hub.reads, 1);
    assert!(hub.reports.iter().all(|patch| patch.pointer("/modules/aa").is_none()));

    // One patch is lost: the next one makes the agent read the whole.
    hub.deploy(json!({"bb": module("y:1")}));
    let patch = hub.deploy(json!({"bb": module("y:1"), "cc": module("z:1")}));
    hub.tell(&mut peer, &patch).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    assert_eq!(hub.reads, 2);
    assert!(daemon.module("aa").is_none());
    assert_eq!(hub.reported("/modules/aa"), Value::Null);
    assert_eq!(daemon.module("cc").unwrap().status, "running");

    // In the end nobody claims to know.
    life.shutdown.trigger();
    hub.serve_until(&mut peer, "said goodbye", |hub| {
        hub.reported("/lastDesiredStatus/code") == 406
    })
    .await;
    assert_eq!(hub.reported("/modules/bb/runtimeStatus"), "unknown");
    drop(peer);
    life.ended().await;
}

#[tokio::test]
async fn what_was_deployed_while_the_line_was_cut_is_found() {
    let daemon = FakeDaemon::start();
    let mut hub = Hub::new(json!({"aa": module("x:1")}));
    let life = Life::start(&daemon, &hub);
    let mut peer = hub.fake.connected(false).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    drop(peer);
    hub.deploy(json!({"aa": module("x:2")}));
    let mut peer = hub.fake.connected(false).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    assert_eq!(hub.reported("/modules/aa/settings/image"), "x:2");
    life.shutdown.trigger();
    drop(peer);
    life.ended().await;
}

#[tokio::test]
async fn the_last_deployment_runs_without_the_hub() {
    let daemon = FakeDaemon::start();
    let mut hub = Hub::new(json!({"aa": module("x:1")}));
    let life = Life::start(&daemon, &hub);
    let mut peer = hub.fake.connected(false).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    life.shutdown.trigger();
    drop(peer);
    life.ended().await;

    // The device was off: its modules are stopped, and nobody answers at the hub.
    daemon.end("aa", 143);
    daemon.take_calls();
    let life = Life::start(&daemon, &hub);
    let running = async {
        while daemon.calls() != ["start aa"] {
            tokio::task::yield_now().await;
        }
    };
    let in_time = Clock::system().timeout(PATIENCE, running).await.is_ok();
    assert!(in_time, "{:?}", daemon.calls());
    life.shutdown.trigger();
    life.ended().await;
}

#[tokio::test]
async fn direct_methods_are_answered() {
    let daemon = FakeDaemon::start();
    let mut hub = Hub::new(json!({"aa": module("x:1")}));
    let life = Life::start(&daemon, &hub);
    let mut peer = hub.fake.connected(false).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    daemon.take_calls();
    let restart = r#"{"schemaVersion":"1.0","id":"aa"}"#;
    assert_eq!(hub.call(&mut peer, "ping", "null").await, (200, "null".into()));
    assert_eq!(hub.call(&mut peer, "RestartModule", restart).await, (200, "null".into()));
    assert_eq!(daemon.calls(), ["restart aa"]);
    let (status, message) =
        hub.call(&mut peer, "RestartModule", r#"{"schemaVersion":"1.0","id":"zz"}"#).await;
    assert_eq!(
        (status, message.as_str()),
        (400, r#"{"message":"module zz does not exist on this device"}"#)
    );
    daemon.fail("restart aa", "the engine is busy");
    let (status, message) = hub.call(&mut peer, "restartmodule", restart).await;
    assert_eq!(status, 500);
    assert!(message.contains("the engine is busy"), "{message}");
    assert_eq!(hub.call(&mut peer, "GetModuleLogs", "{}").await.0, 400);
    life.shutdown.trigger();
    drop(peer);
    life.ended().await;
}

#[tokio::test]
async fn a_refused_report_is_not_repeated_and_the_next_one_goes() {
    let daemon = FakeDaemon::start();
    let mut hub = Hub::new(json!({"aa": module("x:1")}));
    let life = Life::start(&daemon, &hub);
    let mut peer = hub.fake.connected(false).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;

    hub.refuse_reports = Some(400);
    hub.reports.clear();
    let patch = hub.deploy(json!({"aa": module("x;y")}));
    hub.tell(&mut peer, &patch).await;
    hub.serve_until(&mut peer, "refused", |hub| !hub.reports.is_empty()).await;
    // The agent has looked at its modules many times when this is answered.
    for _ in 0..10 {
        hub.call(&mut peer, "ping", "null").await;
    }
    assert_eq!(hub.reports.len(), 1, "{:?}", hub.reports);

    hub.refuse_reports = None;
    let patch = hub.deploy(json!({"aa": module("x:1"), "bb": module("y:1")}));
    hub.tell(&mut peer, &patch).await;
    hub.serve_until(&mut peer, "applied", Hub::has_applied).await;
    life.shutdown.trigger();
    drop(peer);
    life.ended().await;
}

/// Long enough for a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
