//! One test per promise of the sensor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::signals::Shutdown;
use mqtt::QoS;
use mqtt::packet::{ConnackCode, Publish};
use mqtt::server::Event;
use parking_lot::Mutex;
use serde_json::{Value, json};
use simulator::{Console, ExitReason, SensorError};
use tokio::task::JoinHandle;

use crate::fake_hub::{FakeHub, Peer};
use crate::workload;

/// A console that a test reads while the sensor writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Console for Lines {
    fn line(&mut self, line: &str) {
        self.0.lock().push(line.to_owned());
    }
}

impl Lines {
    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// The texts of log lines, without time and level.
    fn texts(&self) -> Vec<String> {
        let text = |line: &String| line.split_once("] - ").map(|(_, text)| text.to_owned());
        self.all().iter().filter_map(text).collect()
    }

    fn contain(&self, text: &str) -> bool {
        self.all().iter().any(|line| line.contains(text))
    }
}

struct Bench {
    hub: FakeHub,
    lines: Lines,
    clock: Clock,
    shutdown: Shutdown,
    sensor: JoinHandle<Result<ExitReason, SensorError>>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn start(settings: &[(&str, &str)]) -> Self {
        let clock = Clock::manual(Clock::system().wall());
        Self::start_with(settings, clock)
    }

    fn start_with(settings: &[(&str, &str)], clock: Clock) -> Self {
        let hub = FakeHub::start();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("workload.sock");
        workload::start(&socket, &hub.root_pem);
        let port = hub.dial().port.to_string();
        let uri = format!("unix://{}", socket.display());
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in [
            ("IOTEDGE_DEVICEID", "edge1"),
            ("IOTEDGE_MODULEID", "sensor"),
            ("IOTEDGE_MODULEGENERATIONID", "638"),
            ("IOTEDGE_IOTHUBHOSTNAME", "hub.example"),
            ("IOTEDGE_GATEWAYHOSTNAME", "localhost"),
            ("IOTEDGE_WORKLOADURI", &uri),
            ("IOTEDGE_AUTHSCHEME", "sasToken"),
            ("FARSHORE_GATEWAY_ADDRESS", "127.0.0.1"),
            ("FARSHORE_GATEWAY_MQTT_PORT", &port),
            ("Seed", "42"),
        ]
        .iter()
        .chain(settings)
        {
            env.insert((*name).to_owned(), (*value).to_owned());
        }
        let (lines, shutdown) = (Lines::default(), Shutdown::new());
        let sensor = tokio::spawn({
            let (mut console, clock, shutdown) = (lines.clone(), clock.clone(), shutdown.clone());
            async move { simulator::run(&env, &mut console, clock, shutdown).await }
        });
        Self { hub, lines, clock, shutdown, sensor, _directory: directory }
    }

    /// Lets the sensor in and answers its first twin request.
    async fn connected(&self, desired: &Value) -> Peer {
        let mut peer = self.hub.connected(false).await;
        self.answer_twin(&mut peer, desired, 1).await;
        peer
    }

    async fn answer_twin(&self, peer: &mut Peer, desired: &Value, version: u64) {
        let mut desired = desired.clone();
        desired["$version"] = version.into();
        let twin = json!({ "desired": desired, "reported": { "$version": 1 } });
        peer.answer_twin(&twin.to_string()).await;
    }

    /// Advances the clock in small steps until the sensor publishes.
    async fn next_publish(&self, peer: &mut Peer) -> Publish {
        let advance = async {
            loop {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                self.clock.advance(Duration::from_millis(100));
            }
        };
        tokio::select! {
            biased;
            publish = peer.publish() => publish,
            () = advance => unreachable!("the clock never ends"),
        }
    }

    async fn stop(self) -> Lines {
        self.shutdown.trigger();
        assert_eq!(self.sensor.await.unwrap().unwrap(), ExitReason::Shutdown);
        self.lines
    }
}

fn is_message(publish: &Publish) -> bool {
    publish.topic.starts_with("devices/edge1/modules/sensor/messages/events/")
}

/// The next publish that is a message; a report before it is granted.
async fn message(bench: &Bench, peer: &mut Peer) -> Publish {
    loop {
        let publish = bench.next_publish(peer).await;
        if is_message(&publish) {
            return publish;
        }
        grant(peer, &publish, 2).await;
    }
}

async fn grant(peer: &mut Peer, report: &Publish, version: u64) -> Value {
    assert!(report.topic.contains("/twin/PATCH/"), "{}", report.topic);
    let topic = format!("$iothub/twin/res/204/?$rid={}&$version={version}", Peer::rid(report));
    peer.deliver(&topic, "", QoS::AtMostOnce).await;
    serde_json::from_slice(&report.payload).unwrap()
}

#[tokio::test]
async fn lines_and_messages_are_those_of_the_contract() {
    let bench = Bench::start(&[("MessageCount", "2")]);
    let mut peer = bench.connected(&json!({})).await;
    let mut bodies = Vec::new();
    for number in 1..=2 {
        let publish = message(&bench, &mut peer).await;
        let topic = publish.topic.to_string();
        let (_, bag) = topic.split_once("/messages/events/").unwrap();
        let mut pairs: Vec<&str> = bag.split('&').collect();
        let batch = pairs.pop().unwrap().strip_prefix("batchId=").unwrap();
        assert_eq!(batch.len(), 36, "{batch}");
        let sequence = format!("sequenceNumber={number}");
        assert_eq!(
            pairs,
            ["%24.ct=application%2Fjson", "%24.ce=utf-8", "%24.on=temperatureOutput", &sequence]
        );
        bodies.push(String::from_utf8(publish.payload.to_vec()).unwrap());
        peer.puback(&publish).await;
    }
    // Seed 42, see the golden bodies in the crate; only the time differs.
    let start = r#"{"machine":{"temperature":21.862347318157735,"pressure":1.098242099536957},"ambient":{"temperature":20.65991039287692,"humidity":24},"timeCreated":""#;
    assert!(bodies[0].starts_with(start), "{}", bodies[0]);
    while !bench.lines.contain("Done sending") {
        tokio::task::yield_now().await;
    }
    // It stays up after its last message.
    assert!(!bench.sensor.is_finished());
    let lines = bench.stop().await;
    let texts = lines.texts();
    assert_eq!(
        texts,
        [
            "Initializing simulated temperature sensor to send 2 messages, at an interval of 5 seconds.\nTo change this, set the environment variable MessageCount to the number of messages that should be sent (set it to -1 to send unlimited messages).".to_owned(),
            "Trying to initialize module client using transport type [Mqtt].".to_owned(),
            "Successfully initialized module client of transport type [Mqtt].".to_owned(),
            format!("Sending message: 1, Body: [{}]", bodies[0]),
            format!("Sending message: 2, Body: [{}]", bodies[1]),
            "Done sending 2 messages".to_owned(),
        ]
    );
    let all = lines.all();
    assert!(all[0].starts_with('[') && all[0].ends_with(" +00:00]: Starting Module"), "{}", all[0]);
    assert!(all[1].ends_with(" +00:00 SimulatedTemperatureSensor Main() started."), "{}", all[1]);
    assert!(all[2].starts_with("<6> 20") && all[2].contains(" +00:00 [INF] - "), "{}", all[2]);
    assert!(all.last().unwrap().ends_with("SimulatedTemperatureSensor Main() finished."));
}

#[tokio::test]
async fn the_interval_is_kept_and_waits_for_the_acknowledgement() {
    let bench = Bench::start(&[("MessageDelay", "00:00:02")]);
    let mut peer = bench.connected(&json!({ "SendInterval": 7 })).await;
    let first = message(&bench, &mut peer).await;
    let acknowledged_at = bench.clock.now();
    peer.puback(&first).await;
    let second = message(&bench, &mut peer).await;
    let waited = bench.clock.now() - acknowledged_at;
    assert!((Duration::from_secs(7)..Duration::from_secs(9)).contains(&waited), "{waited:?}");
    // A message repeated after a lost connection keeps its number.
    drop(peer);
    let mut peer = bench.hub.connected(true).await;
    let mut again = bench.next_publish(&mut peer).await;
    while !is_message(&again) {
        // The twin is read again after every connection.
        let topic = format!("$iothub/twin/res/200/?$rid={}", Peer::rid(&again));
        let twin = r#"{"desired":{"SendInterval":7,"$version":1},"reported":{"$version":2}}"#;
        peer.deliver(&topic, twin, QoS::AtMostOnce).await;
        again = bench.next_publish(&mut peer).await;
    }
    assert_eq!(again.topic, second.topic);
    assert_eq!(again.payload, second.payload);
    bench.stop().await;
}

#[tokio::test]
async fn the_twin_controls_sending_and_everything_is_reported() {
    let bench = Bench::start(&[]);
    let mut peer = bench.connected(&json!({ "SendData": false, "SendInterval": 3 })).await;
    let report = bench.next_publish(&mut peer).await;
    assert_eq!(
        grant(&mut peer, &report, 2).await,
        json!({ "SendData": false, "SendInterval": 3, "errors": null })
    );
    assert!(bench.lines.contain("Sending data disabled. Change twin configuration to start"));
    let patch = async |peer: &mut Peer, version: u64, mut patch: Value| {
        patch["$version"] = version.into();
        let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
        peer.deliver(&topic, &patch.to_string(), QoS::AtMostOnce).await;
    };
    patch(&mut peer, 2, json!({ "SendInterval": "often" })).await;
    let report = bench.next_publish(&mut peer).await;
    let reported = grant(&mut peer, &report, 3).await;
    assert_eq!(reported["SendInterval"], 3);
    let error = reported["errors"]["SendInterval"].as_str().unwrap();
    assert!(error.starts_with("SendInterval is \"often\"; write a number"), "{error}");
    assert!(bench.lines.contain("[ERR] - Desired property ignored: SendInterval"));
    // Seen before: nothing happens. Then one that switches sending on.
    patch(&mut peer, 2, json!({ "SendData": true })).await;
    patch(&mut peer, 3, json!({ "SendData": true, "SendInterval": 1 })).await;
    let report = bench.next_publish(&mut peer).await;
    assert_eq!(
        grant(&mut peer, &report, 4).await,
        json!({ "SendData": true, "SendInterval": 1, "errors": null })
    );
    let publish = message(&bench, &mut peer).await;
    assert!(publish.topic.contains("sequenceNumber=1&"), "only sent messages count");
    peer.puback(&publish).await;
    // A version is missing: the whole twin is read.
    patch(&mut peer, 5, json!({})).await;
    let mut asked = bench.next_publish(&mut peer).await;
    while is_message(&asked) {
        peer.puback(&asked).await;
        asked = bench.next_publish(&mut peer).await;
    }
    assert!(asked.topic.starts_with("$iothub/twin/GET/"), "{}", asked.topic);
    bench.stop().await;
}

#[tokio::test]
async fn the_method_and_the_control_input_reset_the_walk() {
    let bench = Bench::start(&[("MessageDelay", "00:01:00")]);
    let mut peer = bench.connected(&json!({})).await;
    let first = message(&bench, &mut peer).await;
    peer.puback(&first).await;
    for (name, status) in [("reset", 200), ("Reset", 501), ("other", 501)] {
        let topic = format!("$iothub/methods/POST/{name}/?$rid=1");
        peer.deliver(&topic, "", QoS::AtMostOnce).await;
        let answer = bench.next_publish(&mut peer).await;
        assert_eq!(answer.topic, &*format!("$iothub/methods/res/{status}/?$rid=1"));
        assert_eq!(answer.payload.is_empty(), status == 200, "no payload with success");
    }
    assert!(bench.lines.contain("Received direct method call to reset temperature sensor..."));
    for (input, body, line) in [
        ("control", r#"{"command":"reset"}"#, "[INF] - Resetting temperature sensor.."),
        ("control", "nonsense", "[ERR] - Failed to read control command: no JSON"),
        ("other", "{}", "[WRN] - Message on unknown input \"other\" ignored."),
    ] {
        let topic = format!("devices/edge1/modules/sensor/inputs/{input}/%24.cdid=edge1");
        let id = peer.deliver(&topic, body, QoS::AtLeastOnce).await.unwrap();
        // Every message is completed, whatever it says.
        assert_eq!(peer.acknowledged().await, id);
        assert!(bench.lines.contain(line), "{line}: {:?}", bench.lines.all());
    }
    assert!(bench.lines.contain(r#"Received message Body: [{"command":"reset"}]"#));
    bench.stop().await;
}

#[tokio::test]
async fn no_messages_at_all_is_explained() {
    let bench = Bench::start(&[("MessageCount", "0")]);
    let mut peer = bench.connected(&json!({})).await;
    let report = bench.next_publish(&mut peer).await;
    grant(&mut peer, &report, 2).await;
    while !bench.lines.contain("Done sending 0 messages") {
        tokio::task::yield_now().await;
    }
    assert!(bench.lines.contain("[WRN] - MessageCount is 0: nothing will be sent"));
    bench.stop().await;
}

#[tokio::test]
async fn shutdown_ends_it_at_once_wherever_it_is() {
    // Before it is connected: nobody accepts.
    let bench = Bench::start(&[]);
    bench.stop().await;
    // While a message waits for its acknowledgement.
    let bench = Bench::start_with(&[], Clock::system());
    let mut peer = bench.connected(&json!({})).await;
    let mut publish = peer.publish().await;
    if !is_message(&publish) {
        grant(&mut peer, &publish, 2).await;
        publish = peer.publish().await;
    }
    assert!(is_message(&publish));
    let clock = bench.clock.clone();
    let begun = clock.now();
    let goodbye = async {
        while let Some(event) = peer.next().await {
            if matches!(event, Event::Disconnected) {
                return true;
            }
        }
        false
    };
    let (lines, said_goodbye) = tokio::join!(bench.stop(), goodbye);
    assert!(clock.now() - begun < Duration::from_secs(1));
    assert!(said_goodbye);
    assert!(lines.contain("SendEvents has been canceled, sent 0 messages."));
    assert!(lines.all().last().unwrap().ends_with("Main() finished."));
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_an_error_with_the_next_step() {
    let fails = async |settings: &[(&str, &str)], text: &str| {
        let bench = Bench::start(settings);
        let lines = bench.lines.clone();
        let error = bench.sensor.await.unwrap().unwrap_err();
        assert!(lines.contain("[FTL] - "), "{:?}", lines.all());
        assert!(client::dial::chain(&error).contains(text), "{}", client::dial::chain(&error));
        assert!(lines.contain(text));
    };
    fails(&[("ClientTransportType", "Amqp_Tcp_Only")], "set it to Mqtt or remove it").await;
    fails(&[("MessageCount", "x")], "environment variable MessageCount is \"x\"").await;
    fails(&[("IOTEDGE_DEVICEID", "")], "environment variable IOTEDGE_DEVICEID is not set").await;
    fails(&[("IOTEDGE_WORKLOADURI", "unix:///none.sock")], "it is not running: start it").await;

    let bench = Bench::start(&[]);
    let (peer, _) = bench.hub.asked().await;
    peer.refuse(ConnackCode::NotAuthorized).await;
    let error = bench.sensor.await.unwrap().unwrap_err();
    assert!(matches!(&error, SensorError::Refused(reason) if reason.contains("CONNACK 5")));
}
