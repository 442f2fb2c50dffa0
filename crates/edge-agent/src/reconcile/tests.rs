//! The loop against a daemon on real sockets; the hub's part is played by the channels.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::backup::Backup;
use crate::fake_daemon::FakeDaemon;
use crate::settings::{About, Timing};
use crate::test_surroundings;

/// An agent at work.
struct Agent {
    news: mpsc::Sender<News>,
    report: watch::Receiver<Object>,
    kept: watch::Receiver<State>,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

/// So short that tests are quick; the numbers of the product are in `Timing::default`.
fn timing() -> Timing {
    Timing {
        observe_every: Duration::from_millis(20),
        cool_off: Duration::from_millis(200),
        ..Timing::default()
    }
}

fn settings(daemon: &FakeDaemon) -> AgentSettings {
    AgentSettings {
        dial: client::Dial::new("hub.test", 8883),
        transport: client::device::Transport::Mqtt,
        tls: host::tls::ClientTls::new(&[]).unwrap(),
        management_socket: daemon.management_socket(),
        workload_socket: daemon.workload_socket(),
        generation: "1".into(),
        data_dir: daemon.data_dir(),
        surroundings: test_surroundings(),
        about: About::default(),
        deployed_images: watch::Sender::new(None),
        deployed_options: watch::Sender::new(None),
        timing: timing(),
    }
}

impl Agent {
    fn start(daemon: &FakeDaemon) -> Self {
        Self::start_with(daemon, Records::new(), Stages::default())
    }

    fn start_with(daemon: &FakeDaemon, records: Records, stages: Stages) -> Self {
        Self::start_timed(daemon, timing(), records, stages)
    }

    fn start_timed(daemon: &FakeDaemon, timing: Timing, records: Records, stages: Stages) -> Self {
        let (report_sender, report) = watch::channel(Object::new());
        let (keep, kept) = watch::channel(State::default());
        let (news, news_receiver) = mpsc::channel(16);
        let shutdown = Shutdown::new();
        let mut reconciler = Reconciler::new(
            AgentSettings { timing, ..settings(daemon) },
            Clock::system(),
            ManagementClient::new(&daemon.management_socket()),
            Outlets {
                report: report_sender,
                keep,
                metrics: watch::Sender::new(None),
                counters: Counters::new(&test_surroundings(), ""),
            },
            records,
        );
        reconciler.resume(&stages);
        let end = shutdown.clone();
        let task = tokio::spawn(async move { reconciler.run(news_receiver, end).await });
        Self { news, report, kept, shutdown, task }
    }

    async fn wants(&self, version: u64, modules: Value) {
        self.news.send(News::Desired(desired(version, modules))).await.unwrap();
    }

    /// The first report from now on of which this is true.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            let report = self.report.wait_for(|report| is_so(&Value::Object(report.clone())));
            Value::Object(report.await.unwrap().clone())
        };
        match Clock::system().timeout(PATIENCE, found).await {
            Ok(report) => report,
            Err(_) => {
                panic!("never {what}; last: {:#}", Value::Object(self.report.borrow().clone()))
            }
        }
    }

    async fn applied(&mut self, version: u64) -> Value {
        self.until(&format!("applied {version}"), |report| {
            report["lastDesiredVersion"] == version && report["lastDesiredStatus"]["code"] == 200
        })
        .await
    }

    async fn end(mut self) -> (Value, State) {
        self.shutdown.trigger();
        self.task.await.unwrap();
        let report = Value::Object(self.report.borrow_and_update().clone());
        (report, self.kept.borrow_and_update().clone())
    }
}

fn desired(version: u64, modules: Value) -> Desired {
    let properties = json!({
        "schemaVersion": "1.1", "runtime": {"type": "docker"}, "systemModules": {},
        "modules": modules,
    });
    Desired { version, properties: properties.as_object().unwrap().clone() }
}

fn module(image: &str) -> Value {
    json!({
        "type": "docker", "status": "running", "restartPolicy": "always",
        "settings": {"image": image},
    })
}

/// Waits for something at the daemon, which changes only by what the agent does.
async fn daemon_until(daemon: &FakeDaemon, what: &str, is_so: impl Fn(&FakeDaemon) -> bool) {
    let found = async {
        while !is_so(daemon) {
            tokio::task::yield_now().await;
        }
    };
    if Clock::system().timeout(PATIENCE, found).await.is_err() {
        panic!("never {what}; calls: {:?}", daemon.calls());
    }
}

fn has_call(daemon: &FakeDaemon, call: &str) -> bool {
    daemon.calls().iter().any(|done| done == call)
}

#[tokio::test]
async fn a_deployment_is_brought_up_and_told() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(3, json!({"sensor": module("x:1")})).await;
    let report = agent.applied(3).await;
    assert_eq!(report["modules"]["sensor"]["runtimeStatus"], "running");
    assert_eq!(report["modules"]["sensor"]["settings"]["imageHash"], "sha256:1");
    assert_eq!(report["runtime"]["platform"]["architecture"], "x86_64");
    assert_eq!(daemon.calls(), ["identity sensor", "pull sensor", "create sensor", "start sensor"]);
    let created = daemon.module("sensor").unwrap();
    assert_eq!(created.env("IOTEDGE_MODULEID"), Some("sensor"));
    assert_eq!(created.env("IOTEDGE_MODULEGENERATIONID"), Some("1"));
    assert_eq!(created.env("IOTEDGE_GATEWAYHOSTNAME"), Some("edge1.local"));

    let (last, _) = agent.end().await;
    assert_eq!(last["lastDesiredStatus"]["code"], 406);
    assert_eq!(last["modules"]["sensor"]["runtimeStatus"], "unknown");
    assert_eq!(daemon.module("sensor").unwrap().status, "running", "the agent's end is not theirs");
}

#[tokio::test]
async fn changes_replace_and_removals_remove() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1"), "bb": module("y:1")})).await;
    agent.applied(1).await;
    daemon.take_calls();
    agent.wants(2, json!({"aa": module("x:2")})).await;
    let report = agent.applied(2).await;
    assert_eq!(report["modules"].as_object().unwrap().len(), 1);
    assert_eq!(
        daemon.calls(),
        [
            "stop bb",
            "remove bb",
            "no identity bb",
            "pull aa",
            "stop aa",
            "remove aa",
            "create aa",
            "start aa"
        ]
    );
}

#[tokio::test]
async fn a_bad_manifest_is_told_and_changes_nothing() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1")})).await;
    agent.applied(1).await;
    daemon.take_calls();
    agent.wants(2, json!({"aa": module("x;rm -rf")})).await;
    let report = agent.until("refused", |report| report["lastDesiredStatus"]["code"] == 400).await;
    assert_eq!(report["lastDesiredVersion"], 2);
    let description = report["lastDesiredStatus"]["description"].as_str().unwrap();
    assert!(description.starts_with("modules.aa.settings.image is \"x;rm -rf\""), "{description}");
    assert_eq!(report["modules"]["aa"]["runtimeStatus"], "running");
    assert_eq!(report["modules"]["aa"]["settings"]["image"], "x:1");
    let (_, state) = agent.end().await;
    assert_eq!(state.stages.desired.unwrap().version, 1, "only good ones are kept");
    assert!(daemon.calls().is_empty());
}

#[tokio::test]
async fn a_failing_pull_is_told_retried_and_holds_nobody_up() {
    let daemon = FakeDaemon::start();
    daemon.fail("pull aa", "no route to r.test: x:1");
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1"), "bb": module("y:1")})).await;
    let report = agent
        .until("failed", |report| {
            report["lastDesiredStatus"]["code"] == 500
                && report["modules"]["bb"]["runtimeStatus"] == "running"
        })
        .await;
    let description = report["lastDesiredStatus"]["description"].as_str().unwrap();
    let expected = concat!(
        "aa: cannot pull image: edge daemon answered 500: no route to r.test: x:1; ",
        "tried again until it comes, what runs goes on",
    );
    assert_eq!(description, expected);
    assert_eq!(report["modules"]["aa"]["runtimeStatus"], "failed");
    daemon.mend("pull aa");
    agent.applied(1).await;
    assert_eq!(daemon.module("aa").unwrap().status, "running");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_sends_no_deployment_back_and_one_that_refuses_does() {
    let daemon = FakeDaemon::start();
    let timing = Timing {
        cool_off: Duration::from_millis(20),
        cool_off_max: Duration::from_millis(20),
        healthy_after: Duration::ZERO,
        healthy_within: Duration::from_millis(200),
        ..timing()
    };
    let mut agent = Agent::start_timed(&daemon, timing, Records::new(), Stages::default());
    agent.wants(1, json!({"aa": module("x:1")})).await;
    agent.applied(1).await;
    let mut kept = agent.kept.clone();
    let proven = kept.wait_for(|state| state.stages.good.is_some());
    Clock::system().timeout(PATIENCE, proven).await.expect("it proves itself").unwrap();

    daemon.fail("pull aa", "dial tcp: connection refused");
    daemon.take_calls();
    agent.wants(2, json!({"aa": module("x:2")})).await;
    // Many times longer than a deployment has to prove itself, and still the new one is tried.
    let attempts = || daemon.calls().iter().filter(|call| *call == "pull aa").count();
    let tried = async {
        while attempts() < 40 {
            let _ = agent.report.changed().await;
        }
    };
    Clock::system().timeout(PATIENCE, tried).await.expect("it is tried again and again");
    let report = Value::Object(agent.report.borrow().clone());
    assert_eq!(report["lastDesiredVersion"], 2);
    let description = report["lastDesiredStatus"]["description"].as_str().unwrap();
    assert!(
        description.ends_with("connection refused; tried again until it comes, what runs goes on")
    );
    // What ran before has not been touched.
    assert_eq!(daemon.module("aa").unwrap().status, "running");
    assert!(daemon.calls().iter().all(|call| call == "pull aa"), "{:?}", daemon.calls());

    // The registry answers, and has no such image. With the hub in reach, that is its fault.
    agent.news.send(News::Connected(true)).await.unwrap();
    daemon.refuse("pull aa", "manifest unknown");
    let report = agent
        .until("gone back", |report| {
            let status = &report["lastDesiredStatus"]["description"];
            status.as_str().is_some_and(|text| text.contains("went back to deployment 1"))
        })
        .await;
    let description = report["lastDesiredStatus"]["description"].as_str().unwrap();
    assert!(description.ends_with("edge daemon answered 404: manifest unknown"), "{description}");
    assert_eq!(report["modules"]["aa"]["runtimeStatus"], "running");
}

#[tokio::test]
async fn a_deployment_that_does_not_come_up_goes_back_to_the_last_good_one() {
    let daemon = FakeDaemon::start();
    let timing = Timing {
        healthy_after: Duration::ZERO,
        healthy_within: Duration::from_millis(300),
        ..timing()
    };
    let mut agent = Agent::start_timed(&daemon, timing, Records::new(), Stages::default());
    agent.wants(1, json!({"aa": module("x:1")})).await;
    agent.applied(1).await;
    let mut kept = agent.kept.clone();
    let proven = kept.wait_for(|state| state.stages.good.is_some());
    Clock::system().timeout(PATIENCE, proven).await.expect("it proves itself").unwrap();

    // The new one can be created but not started.
    daemon.fail("start aa", "no such device");
    agent.wants(2, json!({"aa": module("x:2"), "bb": module("y:1")})).await;
    let back = |report: &Value| {
        report["lastDesiredStatus"]["description"]
            .as_str()
            .is_some_and(|text| text.contains("went back to deployment 1"))
    };
    let report = agent.until("given up", back).await;
    assert_eq!(report["lastDesiredVersion"], 2);
    assert_eq!(report["lastDesiredStatus"]["code"], 500);
    let description = report["lastDesiredStatus"]["description"].as_str().unwrap();
    assert!(description.contains("aa: cannot start: "), "{description}");
    assert!(description.contains("no such device"), "{description}");
    daemon.mend("start aa");
    let report = agent
        .until("as it was", |report| {
            report["modules"]["aa"]["runtimeStatus"] == "running"
                && report["modules"].as_object().unwrap().len() == 1
        })
        .await;
    assert_eq!(report["modules"]["aa"]["settings"]["image"], "x:1");
    assert!(back(&report), "it is still told");
    assert!(daemon.module("bb").is_none());
    // The next wish is carried out.
    agent.wants(3, json!({"aa": module("x:3")})).await;
    agent.applied(3).await;
}

#[tokio::test]
async fn a_newer_deployment_gives_up_a_pull_of_the_older_one() {
    let daemon = FakeDaemon::start();
    daemon.hold("pull aa");
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1")})).await;
    daemon_until(&daemon, "pulled", |daemon| has_call(daemon, "pull aa")).await;
    agent.wants(2, json!({})).await;
    agent.applied(2).await;
    daemon_until(&daemon, "given up", |daemon| has_call(daemon, "pull aa given up")).await;
    assert!(!has_call(&daemon, "create aa"));
    assert!(has_call(&daemon, "no identity aa"));
}

#[tokio::test]
async fn a_slow_pull_does_not_keep_others_from_being_restarted() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"bb": module("y:1")})).await;
    agent.applied(1).await;
    daemon.hold("pull aa");
    agent.wants(2, json!({"aa": module("x:1"), "bb": module("y:1")})).await;
    daemon_until(&daemon, "pulled", |daemon| has_call(daemon, "pull aa")).await;
    daemon.end("bb", 1);
    let report =
        agent.until("restarted", |report| report["modules"]["bb"]["restartCount"] == 1).await;
    assert_eq!(report["modules"]["aa"]["runtimeStatus"], "unknown");
    assert_eq!(report["lastDesiredVersion"], 1, "nothing is claimed before its time");
    daemon.let_go("pull aa");
    agent.applied(2).await;
}

#[tokio::test]
async fn a_module_that_ends_backs_off_and_comes_back() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1")})).await;
    agent.applied(1).await;
    daemon.take_calls();
    daemon.end("aa", 139);
    let is = |status: &'static str, count: u64| {
        move |report: &Value| {
            let module = &report["modules"]["aa"];
            module["runtimeStatus"] == status && module["restartCount"] == count
        }
    };
    let report = agent.until("in back-off", is("backoff", 0)).await;
    assert_eq!(report["modules"]["aa"]["exitCode"], 139);
    assert_eq!(report["lastDesiredStatus"]["code"], 200);
    agent.until("running again", is("running", 1)).await;
    daemon.end("aa", 0);
    agent.until("in back-off again", is("backoff", 1)).await;
    agent.until("running for the third time", is("running", 2)).await;
    assert_eq!(daemon.calls(), ["restart aa", "restart aa"]);
}

#[tokio::test]
async fn a_module_that_vanishes_is_made_again() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1")})).await;
    agent.applied(1).await;
    daemon.take_calls();
    daemon.state.lock().modules.clear();
    daemon_until(&daemon, "back", |daemon| has_call(daemon, "start aa")).await;
    assert_eq!(daemon.calls(), ["pull aa", "create aa", "start aa"]);
}

#[tokio::test]
async fn a_module_made_from_another_image_behind_our_back_is_replaced() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1")})).await;
    agent.applied(1).await;
    daemon.take_calls();
    daemon.state.lock().modules.get_mut("aa").unwrap().spec.config.settings["image"] = "y:9".into();
    daemon_until(&daemon, "replaced", |daemon| has_call(daemon, "start aa")).await;
    assert_eq!(daemon.calls(), ["pull aa", "stop aa", "remove aa", "create aa", "start aa"]);
    assert_eq!(daemon.module("aa").unwrap().spec.config.settings["image"], "x:1");
}

#[tokio::test]
async fn groups_are_begun_in_their_order() {
    let daemon = FakeDaemon::start();
    daemon.hold("start aa");
    let mut agent = Agent::start(&daemon);
    let in_group = |image: &str, order: u32| {
        let mut module = module(image);
        module["startupOrder"] = order.into();
        module
    };
    agent.wants(1, json!({"aa": in_group("x:1", 1), "bb": in_group("y:1", 2)})).await;
    daemon_until(&daemon, "begun", |daemon| has_call(daemon, "start aa")).await;
    assert!(!has_call(&daemon, "pull bb"));
    daemon.let_go("start aa");
    agent.applied(1).await;
    let calls = daemon.calls();
    let at = |call: &str| calls.iter().position(|done| done == call).unwrap();
    assert!(at("start aa") < at("identity bb"), "{calls:?}");
}

#[tokio::test]
async fn missing_identities_are_told_with_the_reason() {
    let daemon = FakeDaemon::start();
    daemon.fail("identities", "the hub is away");
    let mut agent = Agent::start(&daemon);
    agent.wants(1, json!({"aa": module("x:1")})).await;
    let report = agent.until("told", |report| report["lastDesiredStatus"]["code"] == 500).await;
    let description = report["lastDesiredStatus"]["description"].as_str().unwrap();
    assert!(description.starts_with("aa: cannot list identities"), "{description}");
    assert!(description.ends_with("the hub is away"), "{description}");
    daemon.mend("identities");
    agent.applied(1).await;
}

#[tokio::test]
async fn the_next_life_leaves_running_modules_alone_and_starts_stopped_ones() {
    let daemon = FakeDaemon::start();
    let mut agent = Agent::start(&daemon);
    let modules = json!({"aa": module("x:1"), "bb": module("y:1")});
    agent.wants(1, modules.clone()).await;
    agent.applied(1).await;
    let (_, state) = agent.end().await;
    daemon.take_calls();

    // What survives goes through the files, sealed.
    let workload = client::edge::WorkloadClient::new(&daemon.workload_socket(), "$edgeAgent", "1");
    let backup = || Backup::new(&daemon.data_dir(), workload.clone()).unwrap();
    let (_keep, kept) = watch::channel(state);
    let after = Shutdown::new();
    after.trigger();
    backup().keep(State::default(), kept, after).await;
    let records = backup().read_records().unwrap();
    let stages = backup().read_stages().await;
    assert_eq!(stages.desired.as_ref().unwrap().version, 1);
    let sealed = host::fs::read_to_string(&daemon.data_dir().join("deployment.sealed.json"));
    assert!(!sealed.unwrap().contains("x:1"));

    // The device was stopped in between, which ended one module; no hub is there.
    daemon.end("bb", 143);
    let mut agent = Agent::start_with(&daemon, records, stages);
    let report = agent.applied(1).await;
    assert_eq!(daemon.calls(), ["start bb"]);
    assert_eq!(report["modules"]["bb"]["restartCount"], 0);
}

/// Long enough for a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
