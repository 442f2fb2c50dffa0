use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

use model::id::Precondition;
use model::identity::{Authentication, DeviceIdentity, Status};
use model::{DeviceId, Etag, GenerationId};

use super::super::Settings;
use super::super::open::open_embedded;
use super::*;
use crate::outbox::{HubEvent, HubEventKind, Outbox};
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::twins::{Mutation, TwinWrite, Twins};

/// The store's writer over a database in a directory of its own.
fn open() -> (tempfile::TempDir, Arc<super::super::Embedded>) {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal::Settings {
        segment_bytes: 8 << 20,
        first_segment_bytes: 1 << 20,
        ..Settings::default().journal
    };
    let settings = Settings { journal, ..Settings::default() };
    let master = pki::seal::MasterKey::new([1; 32]);
    let clock = host::clock::Clock::system();
    let (embedded, _) = open_embedded(directory.path(), settings, master, clock).unwrap();
    (directory, embedded)
}

fn device() -> DeviceIdentity {
    DeviceIdentity {
        id: "d".parse().unwrap(),
        generation: GenerationId::from_number(1),
        etag: Etag(0),
        status: Status::Enabled,
        status_reason: None,
        status_updated: None,
        authentication: Authentication::None,
        edge: false,
        scope: None,
        parent_scopes: Vec::new(),
    }
}

fn insert(group: &mut Group<'_>, name: &str, bytes: usize) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?, ?)";
    let value = vec![7_u8; bytes];
    group.connection().execute(sql, rusqlite::params![name, value])?;
    Ok(())
}

async fn names(embedded: &super::super::Embedded) -> Vec<String> {
    let read = |connection: &Connection| {
        let sql = "SELECT name FROM meta WHERE name LIKE 'test%' ORDER BY name";
        let mut statement = connection.prepare(sql)?;
        let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(names)
    };
    embedded.readers.read(read).await.unwrap()
}

/// An operation that writes and then fails leaves no trace; its neighbours in the group stay.
#[tokio::test]
async fn a_failed_operation_leaves_no_trace() {
    let (_directory, embedded) = open();
    let writer = &embedded.writer;
    // All are queued before the first is answered, so that they share groups.
    let results = tokio::join!(
        writer.write(|group| insert(group, "test 1", 1)),
        writer.write(|group| -> Result<()> {
            insert(group, "test 2", 1)?;
            Err(StoreError::Precondition)
        }),
        writer.write(|group| insert(group, "test 1", 1)),
        writer.write(|group| insert(group, "test 3", 1)),
    );
    assert!(matches!(results.0, Ok(())));
    assert!(matches!(results.1, Err(StoreError::Precondition)));
    assert!(matches!(results.2, Err(StoreError::Corrupt(_))), "a constraint does not hold");
    assert!(matches!(results.3, Ok(())));
    assert_eq!(names(&embedded).await, ["test 1", "test 3"]);
}

/// Events of an operation that failed are not waited for.
#[tokio::test]
async fn a_failed_operation_causes_no_event() {
    let (_directory, embedded) = open();
    let fail = |group: &mut Group<'_>| -> Result<()> {
        group.append_events([HubEvent {
            kind: HubEventKind::TwinUpdated,
            subject: model::IdentityId::device(device().id),
            generation: device().generation,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            body: serde_json::Value::Null,
        }])?;
        Err(StoreError::Precondition)
    };
    embedded.writer.write(fail).await.unwrap_err();
    let mut wait = Outbox::wait(embedded.as_ref());
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(embedded.peek(10).await.unwrap(), []);
}

/// Twins are written at the end of a group; whatever stands between sees them as they are.
#[tokio::test]
async fn twins_and_other_writes_share_a_group() {
    let (_directory, embedded) = open();
    let (registry, twins) = (embedded.clone() as Arc<dyn Registry>, embedded.clone());
    let put = || registry.put_device(device(), Vec::new(), Precondition::Absent, Vec::new());
    let id = model::IdentityId::device(device().id);
    let report = |reported: u64| TwinWrite {
        id: id.clone(),
        mutation: Mutation::Report(Default::default(), Some(reported)),
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    let gone = device().id;
    let results = tokio::join!(
        put(),
        twins.write(vec![report(1), report(2)]),
        embedded.save(&id, Default::default()),
        twins.write(vec![report(3), report(3)]),
        registry.delete_device(&gone, Precondition::None, Vec::new()),
        twins.write(vec![report(4)]),
        put(),
        twins.write(vec![report(1)]),
    );
    assert!(results.0.is_ok() && results.2.is_ok() && results.4.is_ok() && results.6.is_ok());
    assert!(results.1.iter().all(Result::is_ok));
    assert!(results.3[0].is_ok());
    assert!(matches!(results.3[1], Err(StoreError::Precondition)));
    assert!(matches!(results.5[0], Err(StoreError::NotFound)));
    assert_eq!(results.7[0].as_ref().unwrap().twin.reported.version, 2);
    let read = embedded.twin(&id).await.unwrap().unwrap();
    assert_eq!(read.twin.reported.version, 2);
    assert_eq!(embedded.peek(100).await.unwrap().len(), 4);
}

/// More twins in one group than are held in memory.
#[tokio::test]
async fn a_group_of_many_twins() {
    let (_directory, embedded) = open();
    let ids: Vec<DeviceId> = (0..600).map(|n| format!("d{n}").parse().unwrap()).collect();
    for id in &ids {
        let device = DeviceIdentity { id: id.clone(), ..device() };
        let put = Registry::put_device(
            embedded.as_ref(),
            device,
            Vec::new(),
            Precondition::Absent,
            Vec::new(),
        );
        put.await.unwrap();
    }
    let write = |id: &DeviceId| TwinWrite {
        id: model::IdentityId::device(id.clone()),
        mutation: Mutation::Report(Default::default(), None),
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    let twice = ids.iter().chain(&ids).map(write).collect();
    assert!(embedded.write(twice).await.iter().all(Result::is_ok));
    for id in &ids {
        let id = model::IdentityId::device(id.clone());
        assert_eq!(embedded.twin(&id).await.unwrap().unwrap().twin.reported.version, 3);
    }
}

/// A full disk is named, costs the whole group, and is over when there is space.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let (directory, embedded) = open();
    let writer = &embedded.writer;
    let limit = |pages: i64| {
        writer.write(move |group| {
            group.connection().pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
    };
    // SQLite takes no limit below the present size, so this leaves no page to grow by.
    limit(1).await.unwrap();
    let (small, large) = tokio::join!(
        writer.write(|group| insert(group, "test small", 1)),
        writer.write(|group| insert(group, "test large", 1 << 20)),
    );
    let Err(StoreError::Unavailable(why)) = large else { panic!("{large:?}") };
    let named = directory.path().display();
    assert_eq!(why, format!("{named}: the disk is full; free some space"));
    // Whether the small one shared the group is a matter of timing; what it was told is true.
    assert_eq!(names(&embedded).await.len(), usize::from(small.is_ok()));
    limit(1 << 20).await.unwrap();
    writer.write(|group| insert(group, "test later", 1 << 20)).await.unwrap();
    assert!(names(&embedded).await.contains(&"test later".to_owned()));
}

/// Whoever gives up waiting does not undo the write, and memory still follows it.
#[tokio::test]
async fn a_write_goes_on_when_nobody_waits() {
    let (_directory, embedded) = open();
    let followed = Arc::new(AtomicU32::new(0));
    let follows = followed.clone();
    let mut given_up = Box::pin(embedded.writer.write_then(
        |group| insert(group, "test", 1),
        move |()| {
            follows.fetch_add(1, Ordering::SeqCst);
        },
    ));
    assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(given_up);
    // The queue is in order: when this one is answered, the other is done.
    embedded.writer.write(|_| Ok(())).await.unwrap();
    assert_eq!(names(&embedded).await, ["test"]);
    assert_eq!(followed.load(Ordering::SeqCst), 1);
    let fail = |_: &mut Group<'_>| -> Result<()> { Err(StoreError::NotFound) };
    let failed = embedded.writer.write_then(fail, |()| panic!("nothing was written"));
    assert!(matches!(failed.await, Err(StoreError::NotFound)));
}

/// More at once than the queue holds: all wait, all are done.
#[tokio::test]
async fn a_full_queue_makes_callers_wait() {
    let (_directory, embedded) = open();
    let writes = (0..2 * QUEUE_MAX).map(|n| {
        let embedded = embedded.clone();
        tokio::spawn(async move {
            let insert = move |group: &mut Group<'_>| insert(group, &format!("test {n}"), 1);
            embedded.writer.write(insert).await.unwrap();
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    assert_eq!(names(&embedded).await.len(), 2 * QUEUE_MAX);
}
