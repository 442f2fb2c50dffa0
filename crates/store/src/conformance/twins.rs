//! Twins: batches, versions, the events they cause.

use super::*;
use crate::StoreError;
use crate::error::Result;
use crate::twins::{Mutation, TwinRecord, TwinWrite, TwinWritten};
use model::twin::{Twin, TwinChange};
use serde_json::json;

/// As the service documents it, for devices and modules alike.
pub async fn a_fresh_twin(fixture: &Fixture) {
    fixture.register(&["d", "d/m"]).await;
    let fresh = TwinRecord { twin: Twin::new(), model_id: None };
    for id in ["d", "d/m"] {
        assert_eq!(read(fixture, id).await, Some(fresh.clone()));
    }
}

/// Whatever the model makes of a change is what is read.
pub async fn sections_are_kept(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let odd = json!({
        "text": "\u{e4} \" \\ \u{0} \u{1F527}", "big": 4_503_599_627_370_495_i64, "float": -0.5,
        "order": {"z": 1, "a": 2, "m": 3}, "list": [1, null, {"x": []}], "no": false,
    });
    let mut model = Twin::new();
    let change = |value: &Value| TwinChange {
        tags: Some(object(value.clone())),
        desired: Some(object(value.clone())),
    };
    for step in [
        Mutation::Patch(change(&odd), None),
        Mutation::Report(object(odd.clone()), None),
        Mutation::Patch(change(&json!({"order": {"a": null}, "text": {"deep": 1}})), None),
        Mutation::Replace(change(&json!({"new": "x".repeat(4096)})), None),
    ] {
        let now = fixture.now();
        let changed = match step.clone() {
            Mutation::Patch(change, _) => Some(model.patch(change, now).unwrap()),
            Mutation::Replace(change, _) => Some(model.replace(change, now).unwrap()),
            Mutation::Report(patch, _) => model.report(patch, now).map(|_| None).unwrap(),
            Mutation::ModelId(_) => None,
        };
        let written = write(fixture, "d", step).await.unwrap();
        assert_eq!(written, TwinWritten { twin: model.clone(), model_id: None, changed });
        assert_eq!(read(fixture, "d").await.unwrap().twin, model);
        fixture.advance(1);
    }
}

/// A back end's etag, a device's `$version`; refusals by the twin's own rules.
pub async fn writes_are_refused_on_conditions(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let patch = |etag| Mutation::Patch(desired(json!({"a": 1})), Some(Etag(etag)));
    let replace = |etag| Mutation::Replace(desired(json!({"a": 2})), Some(Etag(etag)));
    let report = |version| Mutation::Report(object(json!({"a": 1})), Some(version));
    for refused in [patch(2), replace(0), report(0), report(2)] {
        let refused = write(fixture, "d", refused).await;
        assert_matches!(refused, Err(StoreError::Precondition));
    }
    let bad = Mutation::Report(object(json!({"a.b": 1})), None);
    assert_matches!(write(fixture, "d", bad).await, Err(StoreError::Twin(_)));
    assert_eq!(read(fixture, "d").await.unwrap().twin, Twin::new());
    write(fixture, "d", report(1)).await.unwrap();
    write(fixture, "d", report(2)).await.unwrap();
    write(fixture, "d", patch(1)).await.unwrap();
    let twin = write(fixture, "d", replace(2)).await.unwrap().twin;
    assert_eq!((twin.etag, twin.version, twin.reported.version), (Etag(3), 6, 3));
}

/// The writes before and after a failed one count; each gets its own answer.
pub async fn one_failure_in_a_batch_touches_nothing_else(fixture: &Fixture) {
    fixture.register(&["a", "b", "c"]).await;
    let report = |id: &str, patch: Value| TwinWrite {
        id: identity(id),
        mutation: Mutation::Report(object(patch), None),
        now: fixture.now(),
    };
    let results = fixture
        .stores
        .twins
        .write(vec![
            report("a", json!({"n": 1})),
            report("nobody", json!({"n": 1})),
            report("b", json!({"n": 1})),
            report("b", json!({"$bad": 1})),
            report("b", json!({"n": 2})),
            report("c", json!({"n": 1})),
        ])
        .await;
    let versions: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().ok().map(|written| written.twin.reported.version))
        .collect();
    assert_eq!(versions, [Some(2), None, Some(2), None, Some(3), Some(2)]);
    assert_matches!(&results[1], Err(StoreError::NotFound));
    assert_matches!(&results[3], Err(StoreError::Twin(_)));
    let b = read(fixture, "b").await.unwrap().twin;
    assert_eq!(Value::Object(b.reported.properties), json!({"n": 2}));
    assert_eq!(fixture.outbox().await.len(), 4);
    assert!(fixture.stores.twins.write(Vec::new()).await.is_empty());
}

/// Each write of a batch sees the one before.
pub async fn a_batch_for_one_twin_is_in_order(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let writes = (1..=20).map(|n| TwinWrite {
        id: identity("d"),
        mutation: Mutation::Report(object(json!({"n": n, format!("k{n}"): n})), Some(n)),
        now: fixture.now(),
    });
    let results = fixture.stores.twins.write(writes.collect()).await;
    for (result, n) in results.into_iter().zip(1..) {
        let reported = result.unwrap().twin.reported;
        assert_eq!((reported.version, &reported.properties["n"]), (n + 1, &json!(n)));
    }
    let reported = read(fixture, "d").await.unwrap().twin.reported;
    assert_eq!((reported.version, reported.properties.len()), (21, 21));
}

/// Many writers at once: each gets a version of its own, none is skipped, and what is read never
/// is older than what was acknowledged before.
pub async fn versions_never_go_back(fixture: &Fixture) {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 20;
    fixture.register(&["d"]).await;
    let writers = (0..WRITERS).map(|writer| {
        let (twins, now) = (fixture.stores.twins.clone(), fixture.now());
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for n in 0..WRITES {
                let patch = object(json!({format!("w{writer}"): n}));
                let mutation = Mutation::Report(patch, None);
                let write = TwinWrite { id: identity("d"), mutation, now };
                let written = twins.write(vec![write]).await.remove(0).unwrap();
                let read = twins.twin(&identity("d")).await.unwrap().unwrap();
                assert!(read.twin.reported.version >= written.twin.reported.version);
                versions.push(written.twin.reported.version);
            }
            assert!(versions.is_sorted());
            versions
        })
    });
    let mut versions = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        versions.extend(writer.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + WRITERS * WRITES).collect::<Vec<_>>());
    let twin = read(fixture, "d").await.unwrap().twin;
    assert_eq!(twin.reported.version, 1 + WRITERS * WRITES);
    let last = json!(WRITES - 1);
    assert!(twin.reported.properties.values().all(|value| *value == last));
}

/// Two modules and their device never see each other's.
pub async fn every_identity_has_its_own_twin(fixture: &Fixture) {
    let ids = ["d", "d/m", "d/n", "e", "e/m"];
    fixture.register(&ids).await;
    for id in ids {
        let report = Mutation::Report(object(json!({"me": id})), None);
        write(fixture, id, report).await.unwrap();
    }
    for id in ids {
        let twin = read(fixture, id).await.unwrap().twin;
        assert_eq!(Value::Object(twin.reported.properties), json!({"me": id}));
    }
}

/// Neither before an identity is registered nor after it is gone.
pub async fn nobody_has_no_twin(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let report = || Mutation::Report(Object::new(), None);
    for id in ["nobody", "d/nobody", "D"] {
        assert_eq!(read(fixture, id).await, None);
        assert_matches!(write(fixture, id, report()).await, Err(StoreError::NotFound));
    }
    fixture.delete_device("d").await;
    assert_matches!(write(fixture, "d", report()).await, Err(StoreError::NotFound));
    assert_eq!(fixture.outbox().await, []);
}

/// The newest model id is kept and shows with every answer; it is no change of a section.
pub async fn a_model_id_moves_nothing(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    for model_id in ["dtmi:com:example:A;1", "dtmi:com:example:B;2"] {
        let written = write(fixture, "d", Mutation::ModelId(model_id.into())).await.unwrap();
        let (twin, model_id) = (Twin::new(), Some(model_id.to_owned()));
        let expected =
            TwinWritten { twin: twin.clone(), model_id: model_id.clone(), changed: None };
        assert_eq!(written, expected);
        assert_eq!(read(fixture, "d").await, Some(TwinRecord { twin, model_id }));
    }
    let report = Mutation::Report(Object::new(), None);
    let written = write(fixture, "d", report).await.unwrap();
    assert_eq!(written.model_id.as_deref(), Some("dtmi:com:example:B;2"));
    assert_eq!(fixture.outbox().await.len(), 1);
}

/// One event per accepted write, in the order of the writes, with only what changed.
pub async fn changes_are_told_in_order(fixture: &Fixture) {
    fixture.register(&["d", "d/m"]).await;
    let time = fixture.now();
    for (id, mutation) in [
        ("d", Mutation::Patch(desired(json!({"a": 1})), None)),
        ("d/m", Mutation::Report(object(json!({"b": 1})), None)),
        ("d", Mutation::Report(object(json!({"$no": 1})), None)),
        ("d", Mutation::Replace(TwinChange::default(), None)),
        ("d/m", Mutation::Report(object(json!({"c": 1})), None)),
    ] {
        let _ = write(fixture, id, mutation).await;
    }
    let events = fixture.outbox().await;
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.kind, event.subject.to_string(), event.body["version"].as_u64()))
        .collect();
    let updated = HubEventKind::TwinUpdated;
    assert_eq!(
        told,
        [
            (updated, "d".to_owned(), Some(3)),
            (updated, "d/m".to_owned(), Some(3)),
            (HubEventKind::TwinReplaced, "d".to_owned(), Some(4)),
            (updated, "d/m".to_owned(), Some(4)),
        ]
    );
    for event in &events {
        assert_eq!(event.time, time);
        let generation = if event.subject.module.is_some() { 1001 } else { 1000 };
        assert_eq!(event.generation, GenerationId::from_number(generation));
    }
    let reported = &events[3].body["properties"]["reported"];
    assert_eq!((&reported["c"], &reported["$version"]), (&json!(1), &json!(3)));
    assert_eq!(reported.get("b"), None);
    assert_eq!(events[3].body["properties"].get("desired"), None);
}

fn desired(value: Value) -> TwinChange {
    TwinChange { tags: None, desired: Some(object(value)) }
}

async fn read(fixture: &Fixture, id: &str) -> Option<TwinRecord> {
    fixture.stores.twins.twin(&identity(id)).await.unwrap()
}

async fn write(fixture: &Fixture, id: &str, mutation: Mutation) -> Result<TwinWritten> {
    let write = TwinWrite { id: identity(id), mutation, now: fixture.now() };
    fixture.stores.twins.write(vec![write]).await.remove(0)
}
