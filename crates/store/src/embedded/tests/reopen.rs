//! Opening again: what survives a drop without a close, what is refused, what grows.

use std::collections::BTreeMap;
use std::time::Duration;

use model::id::Precondition;
use model::identity::{Authentication, DeviceIdentity, ModuleIdentity, Status, SymmetricKeys};
use model::message::Message;
use model::twin::TwinChange;
use model::{DeviceId, Etag, GenerationId, IdentityId};
use serde_json::json;

use super::*;
use crate::events::{AuthMethod, From, NewEvent, Source};
use crate::outbox::{HubEvent, HubEventKind};
use crate::policies::{Policy, Rights};
use crate::twins::{Mutation, TwinRecord, TwinWrite};

const CANARY: &str = "Q0FOQVJZLWtleS10aGF0LW11c3Qtbm90LWJlLXBsYWlu";

fn canary() -> SymmetricKeys {
    SymmetricKeys { primary: CANARY.into(), secondary: CANARY.into() }
}

fn device() -> DeviceIdentity {
    DeviceIdentity {
        id: "d".parse().unwrap(),
        generation: GenerationId::from_number(638_912_345_678_901_234),
        etag: Etag(0),
        status: Status::Enabled,
        status_reason: None,
        status_updated: None,
        authentication: Authentication::Sas(canary()),
        edge: true,
        scope: Some("ms-azure-iot-edge://d-638912345678901234".into()),
        parent_scopes: Vec::new(),
    }
}

fn module() -> ModuleIdentity {
    ModuleIdentity {
        device: "d".parse().unwrap(),
        id: "m".parse().unwrap(),
        generation: GenerationId::from_number(2),
        etag: Etag(0),
        managed_by: Some("IotEdge".into()),
        authentication: Authentication::Sas(canary()),
    }
}

fn policy() -> Policy {
    let rights = Rights { service_connect: true, ..Rights::default() };
    Policy { name: "service".into(), keys: canary(), rights }
}

/// Everything that a hub can hold.
#[derive(Debug, PartialEq)]
struct Contents {
    device: Option<DeviceIdentity>,
    modules: Vec<ModuleIdentity>,
    twin: Option<TwinRecord>,
    session: Option<BTreeMap<String, u8>>,
    policies: Vec<Policy>,
    outbox: Vec<(u64, HubEvent)>,
    pending: u64,
    events: Vec<crate::events::StoredEvent>,
}

async fn fill(stores: &Stores, clock: &Clock) {
    let created = HubEvent {
        kind: HubEventKind::IdentityCreated,
        subject: "d".parse().unwrap(),
        generation: device().generation,
        time: clock.wall(),
        body: json!({"version": 2}),
    };
    let put =
        stores.registry.put_device(device(), vec![module()], Precondition::Absent, vec![created]);
    put.await.unwrap();
    let id: IdentityId = "d".parse().unwrap();
    let desired = Some(json!({"a": {"b": 1}}).as_object().unwrap().clone());
    let patch = Mutation::Patch(TwinChange { tags: None, desired }, None);
    for mutation in [patch, Mutation::ModelId("dtmi:a;1".into())] {
        let write = TwinWrite { id: id.clone(), mutation, now: clock.wall() };
        stores.twins.write(vec![write]).await.remove(0).unwrap();
    }
    stores.sessions.save(&id, [("a/#".to_owned(), 1)].into()).await.unwrap();
    stores.policies.put_policy(policy()).await.unwrap();
    let expires = clock.wall() + jiff::SignedDuration::from_hours(1);
    for body in ["one", "two"] {
        let message = Message::from_body(body);
        let queue = &stores.cloud_to_device;
        queue.enqueue(&id.device, message, expires, clock.wall(), 50).await.unwrap();
    }
    let body = event_format::encode_parts(
        Source::Telemetry,
        &id,
        &device().generation,
        AuthMethod::DeviceSas,
        &Message::from_body("telemetry"),
    );
    let event = NewEvent { partition: 2, enqueued: clock.wall(), body };
    stores.events.append(vec![event]).unwrap().wait().await.unwrap();
}

async fn contents(stores: &Stores) -> Contents {
    let (d, id): (DeviceId, IdentityId) = ("d".parse().unwrap(), "d".parse().unwrap());
    let mut events = stores.events.reader(2, From::Start).unwrap();
    Contents {
        device: stores.registry.device(&d).await.unwrap(),
        modules: stores.registry.modules(&d).await.unwrap(),
        twin: stores.twins.twin(&id).await.unwrap(),
        session: stores.sessions.load(&id).await.unwrap(),
        policies: stores.policies.policies().await.unwrap(),
        outbox: stores.outbox.peek(10).await.unwrap(),
        pending: stores.cloud_to_device.pending(&d).await.unwrap(),
        events: events.try_next(10).await.unwrap(),
    }
}

#[tokio::test]
async fn everything_survives() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let (stores, report) = open_in(&directory, &clock).unwrap();
    assert!(report.created);
    fill(&stores, &clock).await;
    let before = contents(&stores).await;
    assert_eq!(before.device.as_ref().unwrap().authentication, Authentication::Sas(canary()));
    assert_eq!((before.outbox.len(), before.pending, before.events.len()), (2, 2, 1));
    for _ in 0..2 {
        drop(stores.clone());
    }
    drop(stores);
    let (stores, report) = open_in(&directory, &clock).unwrap();
    assert!(!report.created);
    assert_eq!(contents(&stores).await, before);
    // The outbox has something, and knows it.
    stores.outbox.wait().await;
}

/// What a killed process leaves behind: the database without its last checkpoint.
#[tokio::test]
async fn a_copy_of_the_open_files_has_what_was_acknowledged() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let (stores, _) = open_in(&directory, &clock).unwrap();
    fill(&stores, &clock).await;
    let before = contents(&stores).await;
    let copy = tempfile::tempdir().unwrap();
    copy_files(directory.path(), copy.path());
    let (copied, _) = open_in(&copy, &clock).unwrap();
    assert_eq!(contents(&copied).await, before);
}

/// A lock is lost with the connection that a crash ended; the delivery is counted.
#[tokio::test]
async fn deliveries_before_a_crash_count() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let (stores, _) = open_in(&directory, &clock).unwrap();
    fill(&stores, &clock).await;
    let (d, lasts): (DeviceId, _) = ("d".parse().unwrap(), Duration::from_secs(60));
    let locked = stores.cloud_to_device.lock(&d, 1, lasts, 10, clock.wall()).await.unwrap();
    assert_eq!(locked[0].delivery_count, 0);
    drop(stores);
    let (stores, _) = open_in(&directory, &clock).unwrap();
    let locked = stores.cloud_to_device.lock(&d, 1, lasts, 10, clock.wall()).await.unwrap();
    assert_eq!((locked[0].sequence, locked[0].delivery_count), (1, 1));
}

/// Presence starts empty; epochs, numbers of events and of messages go on.
#[tokio::test]
async fn numbers_go_on_after_a_restart() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let id: IdentityId = "d".parse().unwrap();
    let mut last = (0, 0, 0);
    for start in 0..3 {
        let (stores, _) = open_in(&directory, &clock).unwrap();
        if start == 0 {
            fill(&stores, &clock).await;
        }
        assert!(!stores.presence.presence(&id).await.unwrap().connected);
        let epoch = stores.presence.claim(&id, clock.wall()).await.unwrap();
        let owner = format!("owner {start}");
        let lease = stores.leases.acquire("chore", &owner, Duration::from_secs(30)).await.unwrap();
        let lease = lease.expect("the former owner is gone");
        let write = TwinWrite {
            id: id.clone(),
            mutation: Mutation::Report(Default::default(), None),
            now: clock.wall(),
        };
        stores.twins.write(vec![write]).await.remove(0).unwrap();
        let event = stores.outbox.peek(1000).await.unwrap().pop().unwrap().0;
        assert!(epoch > last.0 && lease > last.1 && event > last.2);
        last = (epoch, lease, event);
        stores.outbox.remove_through(event).await.unwrap();
    }
}

#[tokio::test]
async fn no_key_lies_plain() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let (stores, _) = open_in(&directory, &clock).unwrap();
    fill(&stores, &clock).await;
    let plain = "telemetry".as_bytes();
    let (mut files, mut found_plain) = (0, false);
    for path in files_below(directory.path()) {
        let bytes = host::fs::read(&path).unwrap();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!holds(CANARY.as_bytes()), "{} holds a key", path.display());
        found_plain |= holds(plain);
        files += 1;
        assert_eq!(host::fs::facts(&path).unwrap().mode & 0o077, 0, "{}", path.display());
    }
    // The search finds what is there.
    assert!(files >= 4 && found_plain);
    assert_eq!(host::fs::facts(directory.path()).unwrap().mode, 0o700);
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let (stores, _) = open_in(&directory, &clock).unwrap();
    let error = open_in(&directory, &clock).err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&directory.path().display().to_string()));
    drop(stores);
    open_in(&directory, &clock).unwrap();
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    drop(open_in(&directory, &clock).unwrap());
    let other = MasterKey::new([1; 32]);
    let error = open(directory.path(), settings(), other, clock.clone()).err().unwrap();
    assert!(matches!(error, OpenError::MasterKey { .. }), "{error}");
    open_in(&directory, &clock).unwrap();
}

/// Going back is refused and changes nothing.
#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    drop(open_in(&directory, &clock).unwrap());
    let path = directory.path().join("hub.db");
    let set_version = |version: u32| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(schema::NEWEST + 1);
    let error = open_in(&directory, &clock).err().unwrap();
    let text = error.to_string();
    let directory_name = directory.path().display().to_string();
    let (newer, newest) =
        (format!("schema version {}", schema::NEWEST + 1), format!("up to {}", schema::NEWEST));
    for part in [directory_name, newer, newest, "run the newer version".to_owned()] {
        assert!(text.contains(&part), "{text}");
    }
    set_version(schema::NEWEST);
    open_in(&directory, &clock).unwrap();
}

#[tokio::test]
async fn partitions_are_fixed_at_creation() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let open_with = |partitions| {
        let settings = Settings { partitions, ..settings() };
        open(directory.path(), settings, MasterKey::new(KEY), clock.clone())
    };
    for wrong in [0, PARTITIONS_MAX + 1] {
        assert!(matches!(open_with(wrong).err().unwrap(), OpenError::Setting { .. }));
    }
    let (stores, report) = open_with(2).unwrap();
    assert_eq!((stores.events.partitions(), report.partitions_ignored), (2, None));
    drop(stores);
    let (stores, report) = open_with(32).unwrap();
    assert_eq!((stores.events.partitions(), report.partitions), (2, 2));
    assert_eq!(report.partitions_ignored, Some(32));
}

/// A device's keys sealed for its row do not open in another.
#[tokio::test]
async fn a_sealed_key_cannot_be_moved() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let (stores, _) = open_in(&directory, &clock).unwrap();
    fill(&stores, &clock).await;
    let other = DeviceIdentity { id: "other".parse().unwrap(), ..device() };
    stores.registry.put_device(other, Vec::new(), Precondition::None, Vec::new()).await.unwrap();
    drop(stores);
    let connection = rusqlite::Connection::open(directory.path().join("hub.db")).unwrap();
    let sql =
        "UPDATE devices SET auth = (SELECT auth FROM devices WHERE id = 'd') WHERE id = 'other'";
    assert_eq!(connection.execute(sql, []).unwrap(), 1);
    drop(connection);
    let (stores, _) = open_in(&directory, &clock).unwrap();
    let moved = stores.registry.device(&"other".parse().unwrap()).await;
    assert!(matches!(moved, Err(crate::StoreError::Corrupt(_))), "{moved:?}");
    assert!(stores.registry.device(&"d".parse().unwrap()).await.unwrap().is_some());
}

fn files_below(directory: &std::path::Path) -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for path in host::fs::list(&directory).unwrap() {
            if host::fs::facts(&path).unwrap().is_dir { &mut directories } else { &mut files }
                .push(path);
        }
    }
    files
}

pub(super) fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for path in files_below(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        host::fs::create_private_dir(target.parent().unwrap()).unwrap();
        host::fs::write_atomic(&target, &host::fs::read(&path).unwrap(), 0o600).unwrap();
    }
}
