//! The MQTT head over a pipe, with a backend that notes what it hears.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use iot_proto::connect::ConnectName;
use iot_proto::sas::TokenRequest;
use jiff::{SignedDuration, Timestamp};
use model::identity::{Authentication, Status, SymmetricKeys};
use model::message::{Message, SystemProperty};
use model::method::{MethodRequest, MethodResponse};
use model::twin::Object;
use model::{Fault, FaultKind, GenerationId, IdentityId};
use mqtt::codec;
use mqtt::packet::{ConnackCode, Connect, Packet, PacketId, Publish, QoS, SubackCode, Subscribe};
use mqtt::{Filter, Topic};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use uuid::Uuid;

use super::*;
use crate::auth::{Credential, PolicyCredential};
use crate::backend::{
    DeliveryKind, DeviceLink, Open, OpenError, Opened, Promise, Receipt, Settlement, StoredSession,
    SubmitError, Subscriptions,
};
use crate::listener::Head as _;
use crate::session::{CloseReason, Delivery, DeviceSession, Downlink};

mod deliveries;
mod subscriptions;
mod wills;

const HOST: &str = "hub.test";

/// Notes what it hears and answers as it is told.
#[derive(Default)]
struct Fake {
    hosts: Vec<String>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sessions: Vec<DeviceSession>,
    stored: Option<Vec<(String, u8)>>,
    heard: Vec<String>,
    store_is_down: bool,
    /// Receipts stay open.
    holds: bool,
    promises: Vec<Promise>,
    /// A message that waits for a listener.
    waiting: Option<Message>,
}

struct FakeLink(Arc<Mutex<State>>);

impl FakeLink {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().heard.push(text.into());
    }
}

impl Identities for Fake {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        if self.state.lock().store_is_down {
            return Err(Fault::unavailable("down"));
        }
        let keys = SymmetricKeys { primary: key(), secondary: key() };
        let known = ["dev1", "dev1/mod1"].contains(&id.to_string().as_str());
        Ok(known.then(|| Credential {
            generation: GenerationId::from_number(1),
            status: Status::Enabled,
            authentication: Authentication::Sas(keys),
            parent: None,
        }))
    }

    async fn policy(&self, _: &str) -> Result<Option<PolicyCredential>, Fault> {
        Ok(None)
    }

    fn host_names(&self) -> &[String] {
        &self.hosts
    }
}

impl DeviceBackend for Fake {
    type Link = FakeLink;

    async fn open(
        &self,
        open: Open,
        session: DeviceSession,
    ) -> Result<(Arc<FakeLink>, Opened), OpenError> {
        let mut state = self.state.lock();
        let clean = open.stored_session == StoredSession::Forget;
        state.heard.push(format!("open {} clean={clean}", open.principal.identity));
        state.sessions.push(session);
        let subscriptions = state.stored.clone();
        Ok((Arc::new(FakeLink(Arc::clone(&self.state))), Opened { subscriptions }))
    }
}

impl DeviceLink for FakeLink {
    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError> {
        if self.0.lock().store_is_down {
            return Err(SubmitError::Unavailable("disk full".into()));
        }
        for message in batch.drain(..) {
            self.note(format!(
                "telemetry {} {:?}",
                String::from_utf8_lossy(&message.body),
                message.properties
            ));
        }
        let mut state = self.0.lock();
        if !state.holds {
            return Ok(Receipt::Done);
        }
        let (promise, receipt) = Receipt::promised();
        state.promises.push(promise);
        Ok(receipt)
    }

    fn permit(&self, _: DeliveryKind, _: u64) {}

    async fn twin(&self) -> Result<Value, Fault> {
        if self.0.lock().store_is_down {
            return Err(Fault::unavailable("down"));
        }
        Ok(json!({"desired": {"$version": 1}, "reported": {"$version": 1}}))
    }

    async fn report(&self, patch: Object, expected: Option<u64>) -> Result<Option<u64>, Fault> {
        self.note(format!("report {} {expected:?}", Value::Object(patch)));
        match expected {
            Some(7) => Err(Fault::new(FaultKind::PreconditionFailed, "another version")),
            _ => Ok(Some(5)),
        }
    }

    async fn subscribed(&self, subscriptions: Subscriptions) -> Result<(), Fault> {
        let Subscriptions { filters, desired, methods, cloud_to_device, .. } = subscriptions;
        let waiting = self.0.lock().waiting.take();
        if let Some(message) = waiting.filter(|_| cloud_to_device) {
            let delivery = delivery(Uuid::from_u128(99), message);
            self.0.lock().sessions[0].send(Downlink::CloudToDevice(delivery)).unwrap();
            tokio::task::yield_now().await;
        }
        self.note(format!(
            "subscribed {} d={desired} m={methods} c={cloud_to_device}",
            filters.len()
        ));
        Ok(())
    }

    fn method_answer(&self, call: Uuid, response: MethodResponse) {
        self.note(format!(
            "answer {call} {} {}",
            response.status,
            String::from_utf8_lossy(&response.payload)
        ));
    }

    async fn settle(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        self.note(format!("settle {lock} {outcome:?}"));
        Ok(())
    }

    async fn close(&self, graceful: bool) {
        self.note(format!("close graceful={graceful}"));
    }
}

fn key() -> String {
    STANDARD.encode([7; 32])
}

/// A client at the other end of the pipe.
struct Client {
    io: DuplexStream,
    input: BytesMut,
}

struct Bench {
    clock: Clock,
    head: Arc<Head<Fake>>,
    state: Arc<Mutex<State>>,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
        let fake = Fake { hosts: vec![HOST.into()], ..Fake::default() };
        let state = Arc::clone(&fake.state);
        let head = Arc::new(Head::new(Arc::new(fake), clock.clone(), Settings::default()));
        Self { clock, head, state }
    }

    fn dial(&self) -> Client {
        let (io, server) = tokio::io::duplex(1 << 20);
        let head = Arc::clone(&self.head);
        tokio::spawn(async move {
            let peer = Peer::new("127.0.0.1:1".parse().unwrap());
            head.serve(server, peer, &Shutdown::new()).await;
        });
        Client { io, input: BytesMut::new() }
    }

    async fn connected(&self, who: &str) -> Client {
        let mut client = self.dial();
        client.send(Packet::Connect(Box::new(self.connect(who, &key(), 3600)))).await;
        assert!(
            matches!(client.next().await, Some(Packet::Connack(c)) if c.code == ConnackCode::Accepted)
        );
        client
    }

    /// A client whose CONNECT was changed before it was sent.
    async fn connected_with(&self, change: impl FnOnce(&mut Connect)) -> Client {
        let mut client = self.dial();
        let mut connect = self.connect("dev1", &key(), 3600);
        change(&mut connect);
        client.send(Packet::Connect(Box::new(connect))).await;
        assert!(
            matches!(client.next().await, Some(Packet::Connack(c)) if c.code == ConnackCode::Accepted)
        );
        client
    }

    fn connect(&self, who: &str, key: &str, seconds: i64) -> Connect {
        let identity: IdentityId = who.parse().unwrap();
        let name = ConnectName::new(HOST, identity.clone(), "test");
        let expires = self.clock.wall() + SignedDuration::from_secs(seconds);
        let request = TokenRequest::for_identity(HOST, &identity, expires);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
        let signature = hmac::sign(&key, request.string_to_sign().as_bytes());
        let mut connect = Connect::new(name.client_id());
        connect.user_name = Some(name.user_name());
        connect.password = Some(request.finish(signature.as_ref(), None).into());
        connect.clean_session = false;
        connect
    }

    fn session(&self) -> DeviceSession {
        self.state.lock().sessions.last().unwrap().clone()
    }

    fn heard(&self) -> Vec<String> {
        self.state.lock().heard.clone()
    }

    async fn hears(&self, text: &str) {
        for _ in 0..10_000 {
            if self.heard().iter().any(|heard| heard.contains(text)) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never heard {text:?}, but {:#?}", self.heard());
    }
}

impl Client {
    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        codec::encode(&packet, &mut out).unwrap();
        self.io.write_all(&out).await.unwrap();
    }

    /// The next packet; none when the server closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = codec::decode(&mut self.input, &codec::Limits::default()).unwrap()
            {
                return Some(packet);
            }
            if self.io.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn publish(&mut self, topic: &str, payload: &'static [u8], packet_id: u16) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Topic::new(topic).unwrap(),
            packet_id: PacketId::new(packet_id),
            payload: Bytes::from_static(payload),
        };
        self.send(Packet::Publish(publish)).await;
    }

    async fn subscribe(&mut self, filters: &[&str]) -> Vec<SubackCode> {
        self.subscribe_with(filters, QoS::ExactlyOnce).await
    }

    async fn subscribe_with(&mut self, filters: &[&str], qos: QoS) -> Vec<SubackCode> {
        let filters =
            filters.iter().map(|f| (Filter::with_levels_max(f, 64).unwrap(), qos)).collect();
        self.send(Packet::Subscribe(Subscribe { packet_id: PacketId::new(900).unwrap(), filters }))
            .await;
        match self.next().await {
            Some(Packet::Suback(suback)) => suback.codes,
            other => panic!("{other:?}"),
        }
    }

    async fn delivery(&mut self) -> (String, String, Option<PacketId>) {
        match self.next().await {
            Some(Packet::Publish(p)) => (
                p.topic.as_str().to_owned(),
                String::from_utf8(p.payload.to_vec()).unwrap(),
                p.packet_id,
            ),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn telemetry_is_acknowledged_in_order() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    for id in 1..=5 {
        client.publish("devices/dev1/messages/events/%24.mid=m&a=b%20c", b"hello", id).await;
    }
    for id in 1..=5 {
        assert_eq!(client.next().await, Some(Packet::Puback(PacketId::new(id).unwrap())));
    }
    assert_eq!(
        bench.heard().iter().filter(|h| h.contains(r#"telemetry hello [("a", "b c")]"#)).count(),
        5
    );
    client.send(Packet::Disconnect).await;
    assert_eq!(client.next().await, None);
    bench.hears("close graceful=true").await;
}

/// Nothing is acknowledged that is not on the disk; what fails there ends the connection without an
/// acknowledgement, and the client keeps its message.
#[tokio::test]
async fn no_puback_leaves_before_its_message_is_durable() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    bench.state.lock().holds = true;
    let topic = "devices/dev1/messages/events/";
    client.publish(topic, b"one", 1).await;
    bench.hears("telemetry one").await;
    client.publish(topic, b"two", 2).await;
    bench.hears("telemetry two").await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let early = tokio::select! {
        biased;
        packet = client.next() => Some(packet),
        () = std::future::ready(()) => None,
    };
    assert_eq!(early, None, "acknowledged before it was durable");
    let mut promises = std::mem::take(&mut bench.state.lock().promises).into_iter();
    promises.next().unwrap().keep(Ok(()));
    assert_eq!(client.next().await, Some(Packet::Puback(PacketId::new(1).unwrap())));
    promises.next().unwrap().keep(Err(SubmitError::Unavailable("disk died".into())));
    assert_eq!(client.next().await, None);
}

/// `device-protocol.md` §3.2: the code says what a client should do next.
#[tokio::test]
async fn refusals_have_the_code_that_clients_need() {
    let bench = Bench::new();
    let wrong_key = bench.connect("dev1", &STANDARD.encode([8; 32]), 60);
    let unknown = bench.connect("nobody", &key(), 60);
    let expired = bench.connect("dev1", &key(), -400);
    let mut foreign = bench.connect("dev1", &key(), 60);
    foreign.client_id = "dev2".into();
    let mut no_password = bench.connect("dev1", &key(), 60);
    no_password.password = None;
    for (connect, code) in [
        (wrong_key, ConnackCode::NotAuthorized),
        (unknown, ConnackCode::NotAuthorized),
        (expired, ConnackCode::NotAuthorized),
        (no_password, ConnackCode::NotAuthorized),
        (foreign, ConnackCode::IdentifierRejected),
    ] {
        let mut client = bench.dial();
        client.send(Packet::Connect(Box::new(connect))).await;
        assert!(
            matches!(client.next().await, Some(Packet::Connack(c)) if c.code == code),
            "{code:?}"
        );
        assert_eq!(client.next().await, None);
    }
    bench.state.lock().store_is_down = true;
    let mut client = bench.dial();
    client.send(Packet::Connect(Box::new(bench.connect("dev1", &key(), 60)))).await;
    assert!(
        matches!(client.next().await, Some(Packet::Connack(c)) if c.code == ConnackCode::ServerUnavailable)
    );
    assert!(bench.heard().is_empty(), "a session was opened for a stranger");
}

#[tokio::test]
async fn a_stored_session_is_restored_without_a_subscribe() {
    let bench = Bench::new();
    bench.state.lock().stored = Some(vec![("$iothub/twin/PATCH/properties/desired/#".into(), 1)]);
    let mut client = bench.dial();
    client.send(Packet::Connect(Box::new(bench.connect("dev1", &key(), 60)))).await;
    assert!(matches!(client.next().await, Some(Packet::Connack(c)) if c.session_present));
    bench.hears("subscribed 1 d=true").await;
    let patch = json!({"a": null}).as_object().unwrap().clone();
    bench.session().send(Downlink::Desired { patch, version: 9 }).unwrap();
    let (topic, body, id) = client.delivery().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=9");
    assert_eq!(body, r#"{"a":null,"$version":9}"#);
    assert!(id.is_some());
}

#[tokio::test]
async fn filters_are_granted_one_by_one_and_foreign_ones_refused() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    let codes = client
        .subscribe(&[
            "$iothub/methods/POST/#",
            "devices/dev2/messages/devicebound/#",
            "#",
            "devices/dev1/messages/devicebound/#",
        ])
        .await;
    let granted = SubackCode::Granted(QoS::AtLeastOnce);
    assert_eq!(codes, [granted, SubackCode::Failure, SubackCode::Failure, granted]);
    bench.hears("subscribed 2 d=false m=true c=true").await;
}

/// Publishing where it has no right ends the connection (`security.md` B14, B17).
#[tokio::test]
async fn forbidden_publishes_close_the_connection() {
    let large: &'static [u8] = Box::leak(vec![b'x'; 256 * 1024 + 1].into_boxed_slice());
    let cases: [(&str, &'static [u8]); 5] = [
        ("devices/dev2/messages/events/", b"x"),
        ("devices/dev1/modules/m/messages/events/", b"x"),
        ("$iothub/else", b"x"),
        ("devices/dev1/messages/events/=novalue", b"x"),
        ("devices/dev1/messages/events/", large),
    ];
    for (topic, payload) in cases {
        let bench = Bench::new();
        let mut client = bench.connected("dev1").await;
        client.publish(topic, payload, 1).await;
        assert_eq!(client.next().await, None, "{topic}");
        bench.hears("close graceful=false").await;
        assert!(!bench.heard().iter().any(|heard| heard.contains("telemetry")));
    }
}

#[tokio::test]
async fn twin_requests_are_answered_even_without_a_subscription() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1/mod1").await;
    client.publish("$iothub/twin/GET/?$rid=a-1", b" ", 1).await;
    assert_eq!(client.next().await, Some(Packet::Puback(PacketId::new(1).unwrap())));
    let (topic, body, _) = client.delivery().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=a-1");
    assert!(body.contains("\"desired\":{\"$version\":1}"), "{body}");

    for (topic, body, status, code) in [
        ("$iothub/twin/PATCH/properties/reported/?$rid=2", &br#"{"x":1}"#[..], 204, ""),
        ("$iothub/twin/PATCH/properties/reported/?$rid=2", b"[]", 400, "400004"),
        ("$iothub/twin/PATCH/properties/reported/?$rid=2", br#"{"a":1,"a":2}"#, 400, "400004"),
        ("$iothub/twin/PATCH/properties/reported/?$rid=2&$version=7", b"{}", 412, "412001"),
    ] {
        client.publish(topic, body, 2).await;
        assert_eq!(client.next().await, Some(Packet::Puback(PacketId::new(2).unwrap())));
        let (topic, body, _) = client.delivery().await;
        assert!(topic.starts_with(&format!("$iothub/twin/res/{status}/?$rid=2")), "{topic}");
        assert!(body.contains(code), "{body}");
    }
}

/// Python asks again at once when a twin read fails: the answer is held back (trap 4).
#[tokio::test]
async fn failing_twin_reads_are_held_back() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    bench.state.lock().store_is_down = true;
    for hold_back in [1, 2] {
        client.publish("$iothub/twin/GET/?$rid=1", b" ", 1).await;
        while bench.clock.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        bench.clock.advance(Duration::from_secs(hold_back) - Duration::from_millis(1));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        client.input.clear();
        let early = tokio::select! {
            biased;
            read = client.io.read_u8() => Some(read),
            () = tokio::task::yield_now() => None,
        };
        assert!(early.is_none(), "answered before {hold_back} s");
        bench.clock.advance(Duration::from_millis(1));
        assert!(matches!(client.next().await, Some(Packet::Puback(_))));
        let (topic, body, _) = client.delivery().await;
        assert!(topic.starts_with("$iothub/twin/res/503/"), "{topic}");
        assert!(body.contains("\"errorCode\":503001"), "{body}");
    }
}

#[tokio::test]
async fn methods_are_called_and_answered_once() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe(&["$iothub/methods/POST/#"]).await;
    let call = Uuid::from_u128(5);
    let request = MethodRequest {
        name: "reboot".into(),
        payload: Bytes::from_static(b"{\"in\":1}"),
        response_timeout: Duration::from_secs(30),
        connect_timeout: Duration::ZERO,
    };
    bench.session().send(Downlink::Method { call, request }).unwrap();
    let (topic, body, _) = client.delivery().await;
    assert_eq!(
        (topic.as_str(), body.as_str()),
        ("$iothub/methods/POST/reboot/?$rid=1", "{\"in\":1}")
    );
    for rid in ["99", "1", "1"] {
        let topic = format!("$iothub/methods/res/-7/?$rid={rid}");
        client.publish(&topic, b"{}", 3).await;
        assert_eq!(client.next().await, Some(Packet::Puback(PacketId::new(3).unwrap())));
    }
    let answers: Vec<_> =
        bench.heard().into_iter().filter(|heard| heard.starts_with("answer")).collect();
    assert_eq!(answers, [format!("answer {call} -7 {{}}")]);
}

#[tokio::test]
async fn a_message_down_is_settled_by_its_acknowledgement() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    // Nobody listens yet: it goes back.
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let message = Message::from_body("x").with_system(SystemProperty::MessageId, "m 1");
    bench.session().send(Downlink::CloudToDevice(delivery(first, message.clone()))).unwrap();
    bench.hears(&format!("settle {first} Abandon")).await;
    client.subscribe(&["devices/dev1/messages/devicebound/#"]).await;
    bench.session().send(Downlink::CloudToDevice(delivery(second, message))).unwrap();
    let (topic, body, id) = client.delivery().await;
    assert!(topic.starts_with("devices/dev1/messages/devicebound/%24.to="), "{topic}");
    assert!(topic.contains("&%24.mid=m%201"), "{topic}");
    assert_eq!(body, "x");
    assert!(!bench.heard().iter().any(|heard| heard.contains("Complete")));
    client.send(Packet::Puback(id.unwrap())).await;
    bench.hears(&format!("settle {second} Complete")).await;
}

#[tokio::test]
async fn the_server_ends_what_must_end() {
    // A stranger who says nothing, after ten seconds.
    let bench = Bench::new();
    let mut silent = bench.dial();
    while bench.clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(silent.next().await, None);

    // A session whose token has run out, skew included.
    let mut client = bench.dial();
    let mut connect = bench.connect("dev1", &key(), 60);
    connect.keep_alive_s = 0;
    client.send(Packet::Connect(Box::new(connect))).await;
    assert!(client.next().await.is_some());
    bench.clock.advance(Duration::from_secs(361));
    assert_eq!(client.next().await, None);
    bench.hears("close graceful=false").await;

    // A session that another connection takes over.
    let mut client = bench.connected("dev1").await;
    bench.session().close(CloseReason::TakenOver);
    assert_eq!(client.next().await, None);

    // A client that does not read: its queue is full, so it goes.
    let client = bench.connected("dev1").await;
    let session = bench.session();
    let flood = Object::new();
    while session.send(Downlink::Desired { patch: flood.clone(), version: 1 }).is_ok() {}
    drop(client);

    // The disk refuses: no acknowledgement, and the connection ends.
    let mut client = bench.connected("dev1").await;
    bench.state.lock().store_is_down = true;
    client.publish("devices/dev1/messages/events/", b"x", 1).await;
    assert_eq!(client.next().await, None);
}

fn delivery(lock: Uuid, message: Message) -> Delivery {
    Delivery { lock, message, sequence: 0, enqueued: Timestamp::UNIX_EPOCH, delivery_count: 0 }
}
