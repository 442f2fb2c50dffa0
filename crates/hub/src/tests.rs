//! The hub over the embedded stores, seen through the gateway's traits, with a clock that stands
//! still until it is told.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway::auth::{
    Actor, AuthMethod, Credential, Evidence, Fingerprint, Identities, Principal, ProvenBy,
};
use gateway::backend::cloud_to_device::CloudToDeviceBackend;
use gateway::backend::configurations::ConfigurationBackend;
use gateway::backend::events::{EventReader, EventsBackend};
use gateway::backend::methods::MethodBackend;
use gateway::backend::registry::RegistryBackend;
use gateway::backend::twins::TwinBackend;
use gateway::backend::{
    DeviceBackend, DeviceLink, Open, OpenError, Settlement, StoredSession, Subscriptions,
};
use gateway::session::{CloseReason, Delivery, DeviceSession, Downlink, SessionEnd};
use host::clock::Clock;
use iot_proto::payload::AuthenticationWrite;
use iot_proto::payload::device::DeviceWrite;
use iot_proto::rest::EventStart;
use jiff::Timestamp;
use model::id::Precondition;
use model::identity::{Status, SymmetricKeys};
use model::message::Message;
use model::method::{MethodRequest, MethodResponse};
use model::twin::TwinChange;
use model::{DeviceId, FaultKind, IdentityId, ModuleId};
use pki::seal::MasterKey;
use serde_json::{Value, json};
use store::embedded;
use tempfile::TempDir;

use super::*;

mod cloud_to_device;

struct Bench {
    hub: Hub,
    clock: Clock,
    stop: Shutdown,
    _dir: TempDir,
}

/// A connected identity, as the gateway holds it.
struct Connected {
    link: Arc<Link>,
    end: SessionEnd,
    stored: Option<Vec<(String, u8)>>,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
        let hub = Self::open(&dir, &clock);
        let bench = Self { hub, clock, stop: Shutdown::new(), _dir: dir };
        let (hub, stop) = (bench.hub.clone(), bench.stop.clone());
        tokio::spawn(async move { hub.run(stop).await });
        bench
    }

    fn open(dir: &TempDir, clock: &Clock) -> Hub {
        let mut settings = embedded::Settings { partitions: 2, ..embedded::Settings::default() };
        settings.journal.segment_bytes = 8 << 20;
        let master = MasterKey::new([7; 32]);
        let (stores, _) = embedded::open(dir.path(), settings, master, clock.clone()).unwrap();
        Hub::new(stores, Settings::new(vec!["hub.test".into()]), clock.clone())
    }

    async fn create(&self, id: &str, write: DeviceWrite) -> gateway::backend::registry::Device {
        self.hub.put_device(&device(id), write, Precondition::Absent).await.unwrap()
    }

    async fn connect(&self, id: &str) -> Result<Connected, OpenError> {
        self.connect_with(id, StoredSession::Resume).await
    }

    async fn credential_of(&self, id: &IdentityId) -> Credential {
        self.hub.credential(id).await.unwrap().unwrap()
    }

    async fn connect_with(
        &self,
        id: &str,
        stored_session: StoredSession,
    ) -> Result<Connected, OpenError> {
        self.connect_behind(None, id, stored_session).await
    }

    /// Connects as an edge hub does for a client behind it.
    async fn connect_behind(
        &self,
        edge: Option<&str>,
        id: &str,
        stored_session: StoredSession,
    ) -> Result<Connected, OpenError> {
        let prover = match edge {
            Some(edge) => IdentityId::module(device(edge), ModuleId::edge_hub()),
            None => id.parse().unwrap(),
        };
        let proof = self.credential_of(&prover).await;
        self.connect_proven(id, edge, proof, stored_session).await
    }

    async fn connect_proven(
        &self,
        id: &str,
        edge: Option<&str>,
        proof: Credential,
        stored_session: StoredSession,
    ) -> Result<Connected, OpenError> {
        let identity: IdentityId = id.parse().unwrap();
        let generation = self.credential_of(&identity).await.generation;
        let key = Fingerprint::of_key(&proof.authentication.keys().unwrap().primary);
        let actor =
            edge.map(|edge| Actor { device: device(edge), generation: proof.generation.clone() });
        let principal = Principal {
            identity,
            generation,
            method: AuthMethod::DeviceSas,
            evidence: Evidence { actor, by: ProvenBy::Key(key) },
            expires: Timestamp::MAX,
        };
        let (session, end) = DeviceSession::new(64);
        let open = Open { principal, model_id: None, client_type: None, stored_session };
        let (link, opened) = self.hub.open(open, session).await?;
        Ok(Connected { link, end, stored: opened.subscriptions })
    }
}

impl Connected {
    async fn listen(&self, subscriptions: Subscriptions) {
        self.link.subscribed(subscriptions).await.unwrap();
    }

    async fn next(&mut self) -> Downlink {
        self.end.queue.recv().await.expect("the session is open")
    }
}

fn device(id: &str) -> DeviceId {
    id.parse().unwrap()
}

fn disabled() -> DeviceWrite {
    DeviceWrite { status: Some(Status::Disabled), ..DeviceWrite::default() }
}

fn edge() -> DeviceWrite {
    DeviceWrite { edge: Some(true), ..DeviceWrite::default() }
}

fn desired(value: Value) -> TwinChange {
    TwinChange { tags: None, desired: Some(value.as_object().unwrap().clone()) }
}

fn all() -> Subscriptions {
    Subscriptions {
        filters: vec![("f".into(), 1)],
        cloud_to_device: true,
        methods: true,
        desired: true,
        ..Subscriptions::default()
    }
}

fn call(connect_s: u64) -> MethodRequest {
    MethodRequest {
        name: "m".into(),
        payload: "1".into(),
        response_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(connect_s),
    }
}

#[tokio::test]
async fn a_device_is_created_once_and_changed_by_its_version() {
    let bench = Bench::new();
    let created = bench.create("d1", DeviceWrite::default()).await;
    let keys = created.identity.authentication.keys().unwrap().clone();
    let put = |write, precondition| bench.hub.put_device(&created.identity.id, write, precondition);
    let again = put(DeviceWrite::default(), Precondition::Absent).await.unwrap_err();
    assert_eq!(again.kind, FaultKind::DeviceAlreadyExists);

    let disabled = DeviceWrite { status: Some(Status::Disabled), ..DeviceWrite::default() };
    let changed =
        put(disabled.clone(), Precondition::Matches(created.identity.etag)).await.unwrap();
    assert_eq!(changed.identity.status, Status::Disabled);
    assert_eq!(
        changed.identity.authentication.keys(),
        Some(&keys),
        "a status change keeps the keys"
    );
    let stale = put(disabled, Precondition::Matches(created.identity.etag)).await.unwrap_err();
    assert_eq!(stale.kind, FaultKind::PreconditionFailed);
    let wrong = put(edge(), Precondition::Exists).await.unwrap_err();
    assert_eq!(wrong.kind, FaultKind::InvalidOperation);

    bench.hub.delete_device(&created.identity.id, Precondition::Exists).await.unwrap();
    let recreated = bench.create("d1", DeviceWrite::default()).await;
    assert_ne!(recreated.identity.generation, created.identity.generation);
    assert_eq!(bench.hub.statistics().await.unwrap().enabled, 1);
}

#[tokio::test]
async fn an_edge_device_has_a_scope_its_modules_and_its_leaves() {
    let bench = Bench::new();
    let edge1 = bench.create("edge1", edge()).await.identity;
    let scope = edge1.scope.clone().unwrap();
    let leaf = DeviceWrite { parent_scopes: Some(vec![scope.clone()]), ..DeviceWrite::default() };
    let leaf = bench.create("leaf", leaf).await.identity;
    assert_eq!(
        (leaf.scope.as_deref(), leaf.parent_scopes.as_slice()),
        (Some(&*scope), &[scope.clone()][..])
    );
    bench.create("stranger", DeviceWrite::default()).await;

    let mut seen = Vec::new();
    let mut continuation: Option<String> = None;
    loop {
        let page = bench.hub.scope(&edge1.id, 1, continuation.as_deref()).await.unwrap();
        seen.extend(page.devices.iter().map(|device| device.id.to_string()));
        seen.extend(page.modules.iter().map(|module| module.identity().to_string()));
        continuation = page.continuation;
        if continuation.is_none() {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["edge1", "edge1/$edgeAgent", "edge1/$edgeHub", "leaf"]);
    let foreign =
        bench.hub.scope_identity(&edge1.id, &"stranger".parse().unwrap()).await.unwrap_err();
    assert_eq!(foreign.kind, FaultKind::IotHubUnauthorizedAccess);
    let bad =
        DeviceWrite { scope: Some("ms-azure-iot-edge://edge1-1".into()), ..DeviceWrite::default() };
    let bad = bench.hub.put_device(&device("x"), bad, Precondition::Absent).await.unwrap_err();
    assert_eq!(bad.kind, FaultKind::InvalidDeviceScope);
}

#[tokio::test]
async fn telemetry_is_durable_when_its_receipt_says_so_and_is_read_back() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let connected = bench.connect("d1").await.unwrap();
    let mut batch: Vec<Message> = (0..5).map(|n| Message::from_body(format!("{n}"))).collect();
    connected.link.submit(&mut batch).unwrap().wait().await.unwrap();
    assert!(batch.is_empty());

    let partitions = EventsBackend::partitions(&bench.hub).unwrap();
    let mut read = Vec::new();
    for partition in partitions {
        let mut reader = bench.hub.read(partition.partition, EventStart::Start).unwrap();
        read.extend(reader.next(100, false).await.unwrap());
    }
    let telemetry: Vec<_> = read.iter().filter(|event| event.source == "Telemetry").collect();
    let bodies: Vec<_> = telemetry.iter().map(|event| event.message.body.to_vec()).collect();
    assert_eq!(bodies, [b"0", b"1", b"2", b"3", b"4"]);
    assert!(telemetry.iter().all(|event| event.sender.to_string() == "d1"));
    assert!(telemetry.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
}

#[tokio::test]
async fn desired_changes_reach_the_listener_in_version_order() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let id: IdentityId = "d1".parse().unwrap();
    let mut connected = bench.connect("d1").await.unwrap();
    // Nobody listens: nothing is sent, and nothing is kept.
    bench.hub.patch_twin(&id, desired(json!({"n": 0})), None).await.unwrap();
    connected.listen(all()).await;
    let patches = (1..=20).map(|n| bench.hub.patch_twin(&id, desired(json!({ "n": n })), None));
    for result in futures_of(patches).await {
        result.unwrap();
    }
    for expected in 3..=22 {
        match connected.next().await {
            Downlink::Desired { version, .. } => assert_eq!(version, expected),
            other => panic!("{other:?}"),
        }
    }
    let version =
        connected.link.report(json!({"a": 1}).as_object().unwrap().clone(), None).await.unwrap();
    assert_eq!(version, Some(2));
    let stale = connected.link.report(model::twin::Object::new(), Some(9)).await.unwrap_err();
    assert_eq!(stale.kind, FaultKind::PreconditionFailed);
    assert_eq!(connected.link.twin().await.unwrap()["reported"], json!({"a": 1, "$version": 2}));
}

async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut results = Vec::new();
    for future in futures {
        results.push(future.await);
    }
    results
}

#[tokio::test]
async fn a_method_is_called_answered_and_timed_out() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let id: IdentityId = "d1".parse().unwrap();
    let unknown = bench.hub.invoke(&"nobody".parse().unwrap(), call(0)).await.unwrap_err();
    assert_eq!(unknown.kind, FaultKind::DeviceNotFound);
    let offline = bench.hub.invoke(&id, call(0)).await.unwrap_err();
    assert_eq!(offline.kind, FaultKind::DeviceNotOnline);

    // The caller waits until the device comes and listens.
    let waiting = tokio::spawn({
        let (hub, id) = (bench.hub.clone(), id.clone());
        async move { hub.invoke(&id, call(60)).await }
    });
    let mut connected = bench.connect("d1").await.unwrap();
    tokio::task::yield_now().await;
    connected.listen(all()).await;
    let Downlink::Method { call: answer_to, .. } = connected.next().await else {
        panic!("no method")
    };
    connected.link.method_answer(answer_to, MethodResponse { status: 7, payload: "{}".into() });
    assert_eq!(waiting.await.unwrap().unwrap().status, 7);

    // A device that never answers; a late answer changes nothing.
    let waiting = tokio::spawn({
        let (hub, id) = (bench.hub.clone(), id.clone());
        async move { hub.invoke(&id, call(0)).await }
    });
    let Downlink::Method { call: late, .. } = connected.next().await else { panic!("no method") };
    bench.clock.advance(Duration::from_secs(31));
    assert_eq!(waiting.await.unwrap().unwrap_err().kind, FaultKind::GatewayTimeout);
    connected.link.method_answer(late, MethodResponse { status: 200, payload: "{}".into() });
}

#[tokio::test]
async fn queued_messages_are_delivered_in_order_and_again_after_a_loss() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    for n in 0..20 {
        bench.hub.send(&device("d1"), Message::from_body(format!("{n}"))).await.unwrap();
    }
    let mut first = bench.connect("d1").await.unwrap();
    first.listen(all()).await;
    let mut locks = Vec::new();
    for expected in 0..16 {
        let Downlink::CloudToDevice(Delivery { lock, message, .. }) = first.next().await else {
            panic!("no message")
        };
        assert_eq!(message.body, format!("{expected}"));
        locks.push(lock);
    }
    assert!(first.end.queue.try_recv().is_none(), "the window is sixteen");
    first.link.settle(locks[0], Settlement::Complete).await.unwrap();
    assert!(
        matches!(first.next().await, Downlink::CloudToDevice(delivery) if delivery.message.body == "16")
    );
    let lost = first.link.settle(locks[0], Settlement::Complete).await.unwrap_err();
    assert_eq!(lost.kind, FaultKind::DeviceMessageLockLost);
    first.link.close(false).await;

    let mut second = bench.connect("d1").await.unwrap();
    second.listen(all()).await;
    for expected in 1..=16 {
        let Downlink::CloudToDevice(Delivery { message, .. }) = second.next().await else {
            panic!("no message")
        };
        assert_eq!(message.body, format!("{expected}"));
    }
    let full = async {
        loop {
            if let Err(fault) = bench.hub.send(&device("d1"), Message::from_body("x")).await {
                return fault.kind;
            }
        }
    };
    assert_eq!(full.await, FaultKind::DeviceMaximumQueueDepthExceeded);
    let large = Message::from_body(vec![0; 64 * 1024 + 1]);
    assert_eq!(
        bench.hub.send(&device("d1"), large).await.unwrap_err().kind,
        FaultKind::MessageTooLarge
    );
}

#[tokio::test]
async fn sessions_survive_a_restart_and_end_with_a_clean_one() {
    let dir = TempDir::new().unwrap();
    let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
    for round in 0..2 {
        let hub = Bench::open(&dir, &clock);
        let bench = Bench {
            hub,
            clock: clock.clone(),
            stop: Shutdown::new(),
            _dir: TempDir::new().unwrap(),
        };
        if round == 0 {
            bench.create("d1", DeviceWrite::default()).await;
            let connected = bench.connect("d1").await.unwrap();
            assert_eq!(connected.stored, None);
            connected.listen(all()).await;
        } else {
            assert_eq!(bench.connect("d1").await.unwrap().stored, Some(vec![("f".to_owned(), 1)]));
            assert_eq!(bench.connect_with("d1", StoredSession::Forget).await.unwrap().stored, None);
            assert_eq!(bench.connect("d1").await.unwrap().stored, None);
        }
    }
}

/// `security.md` B12, B15, and trap 14 of `device-protocol.md`.
#[tokio::test]
async fn sessions_are_taken_over_and_cut() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let first = bench.connect("d1").await.unwrap();
    let second = bench.connect("d1").await.unwrap();
    assert_eq!(first.end.closed().await, CloseReason::TakenOver);
    // The end of the first one must not take the second one's place.
    first.link.close(false).await;
    assert!(bench.hub.device(&device("d1")).await.unwrap().activity.connected);

    bench.hub.put_device(&device("d1"), disabled(), Precondition::Exists).await.unwrap();
    assert_eq!(second.end.closed().await, CloseReason::IdentityChanged);
    second.link.close(false).await;
    assert!(!bench.hub.device(&device("d1")).await.unwrap().activity.connected);

    let enabled = DeviceWrite { status: Some(Status::Enabled), ..DeviceWrite::default() };
    bench.hub.put_device(&device("d1"), enabled, Precondition::Exists).await.unwrap();
    let mut refused = 0;
    let mut open = Vec::new();
    for _ in 0..20 {
        match bench.connect("d1").await {
            Ok(connected) => open.push(connected),
            Err(OpenError::Later(reason)) => {
                refused += 1;
                assert!(reason.contains("fight"), "{reason}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 9);
    assert_eq!(open.last().unwrap().end.close_reason(), None, "the last one in stays");
}

#[tokio::test]
async fn an_edge_device_that_is_disabled_takes_along_whom_it_vouched_for() {
    let bench = Bench::new();
    let scope = bench.create("edge", edge()).await.identity.scope;
    bench.create("leaf", DeviceWrite { scope, ..DeviceWrite::default() }).await;
    bench.create("other", DeviceWrite::default()).await;
    let resume = StoredSession::Resume;
    let leaf = bench.connect_behind(Some("edge"), "leaf", resume).await.unwrap();
    let other = bench.connect("other").await.unwrap();
    bench.hub.put_device(&device("edge"), disabled(), Precondition::Exists).await.unwrap();
    assert_eq!(leaf.end.closed().await, CloseReason::IdentityChanged);
    assert_eq!(other.end.close_reason(), None);
}

/// A key is rolled while the other is in use (issue 3, item 4): only who used it has to come again.
#[tokio::test]
async fn a_change_ends_the_sessions_that_it_concerns_and_no_other() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let session = bench.connect("d1").await.unwrap();
    let keys = bench.credential_of(&"d1".parse().unwrap()).await.authentication.keys().cloned();
    let SymmetricKeys { primary, secondary } = keys.unwrap();
    let other_key = |byte: u8| STANDARD.encode([byte; 32]);
    let with = |primary: &str, secondary: &str| DeviceWrite {
        authentication: AuthenticationWrite::Keys(SymmetricKeys {
            primary: primary.to_owned(),
            secondary: secondary.to_owned(),
        }),
        ..DeviceWrite::default()
    };
    // The other key, then the place of its own: what let it in is registered still.
    for write in [with(&primary, &other_key(1)), with(&secondary, &primary)] {
        bench.hub.put_device(&device("d1"), write, Precondition::Exists).await.unwrap();
    }
    let rolled = with(&other_key(2), &other_key(1));
    bench.hub.put_device(&device("d1"), rolled, Precondition::Exists).await.unwrap();
    assert_eq!(session.end.closed().await, CloseReason::IdentityChanged);
    // Had one of the first two ended it, it would have been before the third was written.
    let again = bench.connect("d1").await.unwrap();
    let same = with(&other_key(2), &other_key(3));
    bench.hub.put_device(&device("d1"), same, Precondition::Exists).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(again.end.close_reason(), None);
}

/// The proof is read before the session is there for a change to find.
#[tokio::test]
async fn a_change_between_proof_and_session_ends_it_too() {
    let bench = Bench::new();
    bench.create("d1", DeviceWrite::default()).await;
    let proof = bench.credential_of(&"d1".parse().unwrap()).await;
    bench.hub.put_device(&device("d1"), disabled(), Precondition::Exists).await.unwrap();
    let late = bench.connect_proven("d1", None, proof, StoredSession::Resume).await.unwrap();
    assert_eq!(late.end.close_reason(), Some(CloseReason::IdentityChanged));
}

#[tokio::test]
async fn a_manifest_is_checked_whole_then_applied() {
    let bench = Bench::new();
    bench.create("edge1", edge()).await;
    bench.create("leaf", DeviceWrite::default()).await;
    let manifest: Value = serde_json::from_str(include_str!(
        "../../manifest/fixtures/simulated-temperature-sensor.json"
    ))
    .unwrap();
    let agent: IdentityId = "edge1/$edgeAgent".parse().unwrap();

    let mut bad = manifest.clone();
    bad["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["X"] =
        json!({"type": "docker"});
    let fault = bench.hub.apply_content(&device("edge1"), bad).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidConfigurationContent);
    assert_eq!(
        bench.hub.twin(&agent).await.unwrap().twin.desired.version,
        1,
        "nothing was written"
    );
    let fault = bench.hub.apply_content(&device("leaf"), manifest.clone()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidOperation);

    bench.hub.apply_content(&device("edge1"), manifest).await.unwrap();
    let twin = bench.hub.twin(&agent).await.unwrap().twin;
    assert!(
        twin.desired.properties["modules"].as_object().is_some_and(|modules| !modules.is_empty())
    );
    let modules = bench.hub.modules(&device("edge1")).await.unwrap();
    assert!(modules.len() > 2, "modules with desired properties have identities");
}
