use model::Etag;
use model::twin::{Twin, TwinChange};
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-02T03:04:05.1234567Z".parse().unwrap()
}

fn record() -> TwinRecord {
    TwinRecord { twin: Twin::new(), model_id: None }
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// Applies the mutations in order and compares the last one's event.
fn check(mutations: Vec<Mutation>, expected: Option<(HubEventKind, Value)>) {
    let mut record = record();
    let mut last = None;
    for mutation in mutations {
        last = apply(&mut record, mutation, now()).unwrap().event;
    }
    assert_eq!(last, expected);
}

fn stamp(version: u64) -> Value {
    json!({"$lastUpdated": "2026-01-02T03:04:05.1234567Z", "$lastUpdatedVersion": version})
}

#[test]
fn an_update_tells_only_what_changed() {
    let first = TwinChange {
        tags: None,
        desired: Some(object(json!({"kept": 1, "deep": {"kept": 1, "gone": 2}}))),
    };
    let second = TwinChange {
        tags: Some(object(json!({"site": "north", "$version": 9}))),
        desired: Some(object(json!({"deep": {"gone": null, "new": [1]}}))),
    };
    let mut deep = stamp(3);
    deep["new"] = stamp(3);
    let mut metadata = stamp(3);
    metadata["deep"] = deep;
    let body = json!({
        "version": 4,
        "tags": {"site": "north"},
        "properties": {"desired": {
            "deep": {"gone": null, "new": [1]},
            "$metadata": metadata,
            "$version": 3,
        }},
    });
    check(
        vec![Mutation::Patch(first, None), Mutation::Patch(second, Some(Etag(2)))],
        Some((HubEventKind::TwinUpdated, body)),
    );
}

#[test]
fn a_replacement_tells_the_whole_sections() {
    let change = TwinChange { tags: None, desired: Some(object(json!({"a": 1}))) };
    let mut metadata = stamp(2);
    metadata["a"] = stamp(2);
    let desired = json!({"a": 1, "$metadata": metadata, "$version": 2});
    let body = json!({"version": 3, "tags": {}, "properties": {"desired": desired}});
    check(vec![Mutation::Replace(change, None)], Some((HubEventKind::TwinReplaced, body)));
}

#[test]
fn a_report_tells_reported() {
    let patch = object(json!({"a": 1, "$version": 7}));
    let time = json!({"$lastUpdated": "2026-01-02T03:04:05.1234567Z"});
    let mut metadata = time.clone();
    metadata["a"] = time;
    let reported = json!({"a": 1, "$metadata": metadata, "$version": 2});
    let body = json!({"version": 3, "properties": {"reported": reported}});
    check(vec![Mutation::Report(patch, Some(1))], Some((HubEventKind::TwinUpdated, body)));
    check(vec![Mutation::ModelId("dtmi:a;1".into())], None);
}

#[test]
fn a_refused_mutation_leaves_the_record_as_it_was() {
    let big = object(json!({"a.b": 1}));
    for mutation in [
        Mutation::Patch(TwinChange::default(), Some(Etag(2))),
        Mutation::Replace(TwinChange::default(), Some(Etag(2))),
        Mutation::Report(Object::new(), Some(2)),
        Mutation::Report(big, None),
    ] {
        let mut record = record();
        assert!(apply(&mut record, mutation, now()).is_err());
        assert_eq!(record, self::record());
    }
}
