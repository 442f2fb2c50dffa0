use super::*;
use serde_json::json;

mod changes;

fn now() -> Timestamp {
    "2026-01-02T03:04:05.1234567Z".parse().unwrap()
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn desired(value: Value) -> TwinChange {
    TwinChange { desired: Some(object(value)), tags: None }
}

#[test]
fn a_fresh_twin_is_as_documented() {
    let twin = Twin::new();
    assert_eq!(
        (twin.version, twin.desired.version, twin.reported.version, twin.etag),
        (2, 1, 1, Etag(1))
    );
    assert_eq!(
        Value::Object(twin.desired.service_view()),
        json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1})
    );
    assert_eq!(
        twin.device_view(),
        json!({"desired": {"$version": 1}, "reported": {"$version": 1}})
    );
}

#[test]
fn a_patch_merges_deletes_and_replaces() {
    let mut twin = Twin::new();
    twin.patch(desired(json!({"a": {"b": 1, "c": 2}, "list": [1, null], "n": null})), now())
        .unwrap();
    let changed = twin.patch(
        desired(json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "list": [2], "$version": 77})),
        now(),
    );
    assert_eq!(
        Value::Object(twin.desired.properties.clone()),
        json!({"a": {"c": 2, "d": {"f": 3}}, "list": [2]})
    );
    assert_eq!(twin.desired.version, 3);
    assert_eq!(twin.version, 4);
    assert_eq!(twin.etag, Etag(3));
    assert_eq!(
        Value::Object(changed.unwrap().desired_patch.unwrap()),
        json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "list": [2]})
    );
}

#[test]
fn metadata_mirrors_the_section() {
    let mut twin = Twin::new();
    twin.patch(desired(json!({"a": {"b": 1, "c": 2}, "x": [1]})), now()).unwrap();
    twin.patch(desired(json!({"a": {"b": 5, "c": null}})), "2026-01-02T03:04:06Z".parse().unwrap())
        .unwrap();
    let first = json!({"$lastUpdated": "2026-01-02T03:04:05.1234567Z", "$lastUpdatedVersion": 2});
    let second = json!({"$lastUpdated": "2026-01-02T03:04:06.0000000Z", "$lastUpdatedVersion": 3});
    let mut a = second.clone();
    a["b"] = second.clone();
    let mut all = second;
    all["a"] = a;
    all["x"] = first;
    assert_eq!(Value::Object(twin.desired.metadata.clone()), all);

    twin.report(object(json!({"r": 1})), now()).unwrap();
    assert!(twin.reported.metadata["r"].get("$lastUpdatedVersion").is_none());
}

#[test]
fn a_replacement_tells_what_is_gone() {
    let mut twin = Twin::new();
    twin.patch(desired(json!({"keep": 1, "gone": 2, "deep": {"gone": 1, "keep": 2}})), now())
        .unwrap();
    let change = TwinChange {
        tags: Some(object(json!({"t": null}))),
        desired: Some(object(json!({"keep": 1, "deep": {"keep": 2}, "new": 3}))),
    };
    let changed = twin.replace(change, now()).unwrap();
    assert_eq!(
        Value::Object(changed.desired_patch.unwrap()),
        json!({"keep": 1, "deep": {"keep": 2, "gone": null}, "new": 3, "gone": null})
    );
    assert_eq!(
        Value::Object(twin.desired.properties),
        json!({"keep": 1, "deep": {"keep": 2}, "new": 3})
    );
    assert!(twin.tags.is_empty());
}

#[test]
fn a_report_moves_only_its_own_versions() {
    let mut twin = Twin::new();
    assert_eq!(twin.report(Object::new(), now()), Ok(2));
    assert_eq!(twin.report(object(json!({"a": 1})), now()), Ok(3));
    assert_eq!((twin.version, twin.etag, twin.desired.version), (4, Etag(1), 1));
}

/// Each refusal names the place and leaves the twin as it was.
#[test]
fn bad_patches_are_refused_whole() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "d": inner }));
    let cases = [
        (json!({"a.b": 1}), "holds '.', '$' or a space"),
        (json!({"a b": 1}), "holds '.', '$' or a space"),
        (json!({"$x": 1}), "holds '.', '$' or a space"),
        (json!({"a": {"$metadata": 1}}), "holds '.', '$' or a space"),
        (json!({"a\u{1}": 1}), "control character"),
        (json!({"a\u{85}": 1}), "control character"),
        (json!({"": 1}), "is empty"),
        (json!({"k".repeat(1025): 1}), "longer than 1024 bytes"),
        (json!({"a": {"list": ["x".repeat(4097)]}}), "properties.reported.a.list.0"),
        (json!({"n": 4_503_599_627_370_496_i64}), "outside of ±2^52"),
        (json!({"n": u64::MAX}), "outside of ±2^52"),
        (deep(11), "deeper than 10 levels"),
        (json!({"a": [[[[[[[[[[[1]]]]]]]]]]]}), "deeper than 10 levels"),
    ];
    let mut twin = Twin::new();
    let before = twin.clone();
    for (patch, reason) in cases {
        let error = twin.report(object(patch.clone()), now()).unwrap_err().to_string();
        assert!(error.contains(reason), "{patch}: {error}");
        assert_eq!(twin, before);
    }
    assert!(twin.report(object(deep(10)), now()).is_ok());
    assert!(
        twin.report(object(json!({"n": -4_503_599_627_370_496_i64, "f": 1e300})), now()).is_ok()
    );
}

#[test]
fn a_section_has_a_size() {
    let mut twin = Twin::new();
    let eight = json!({"a": "x".repeat(4096), "b": "x".repeat(4096)});
    let tags = |value: &Value| TwinChange { tags: Some(object(value.clone())), desired: None };
    let error = twin.patch(tags(&eight), now()).unwrap_err();
    assert_eq!(error, TwinError::TooLarge { section: "tags", size_bytes: 8194, limit_bytes: 8192 });
    assert!(
        twin.patch(tags(&json!({"a": "x".repeat(4096), "b": "x".repeat(4094)})), now()).is_ok()
    );
    // One more key on top of a full section is refused too: the whole counts, not the patch.
    assert!(twin.patch(tags(&json!({"c": true})), now()).is_err());
    assert_eq!(twin.version, 3);
}

/// Each section has its own limit, to the byte: keys and texts as UTF-8, 8 for a number, 4 for a
/// boolean, nothing for the rest; `$version` and `$metadata` do not count.
#[test]
fn sizes_are_counted_as_documented() {
    // 1+8, 1+4, 2+2, 1+0, 1+(1+8)+0+4: 33 bytes.
    let base = json!({"n": 1.5, "b": true, "ä": "ü", "e": "", "l": [{"k": 9}, null, false]});
    let with_size = |size_bytes: usize| {
        let mut section = object(base.clone());
        let mut left = size_bytes - 33;
        while left > 0 {
            let key = format!("{:05}", section.len());
            let text = "x".repeat((left - key.len()).min(4000));
            left -= key.len() + text.len();
            section.insert(key, text.into());
            assert!(left == 0 || left > 5);
        }
        section.insert("$version".into(), 12.into());
        section.insert("$metadata".into(), json!({"$lastUpdated": "x".repeat(9000)}));
        section
    };
    let tags = |section| TwinChange { tags: Some(section), desired: None };
    let desired = |section| TwinChange { tags: None, desired: Some(section) };
    for (limit, over) in [(8 * 1024, false), (8 * 1024 + 1, true)] {
        assert_eq!(Twin::new().patch(tags(with_size(limit)), now()).is_err(), over);
        assert_eq!(Twin::new().replace(tags(with_size(limit)), now()).is_err(), over);
    }
    for (limit, over) in [(32 * 1024, false), (32 * 1024 + 1, true)] {
        assert_eq!(Twin::new().patch(desired(with_size(limit)), now()).is_err(), over);
        assert_eq!(Twin::new().replace(desired(with_size(limit)), now()).is_err(), over);
        assert_eq!(Twin::new().report(with_size(limit), now()).is_err(), over);
    }
}

/// Values that count nothing must not let a twin grow without end.
#[test]
fn nothing_is_free() {
    for item in [json!(null), json!([]), json!({}), json!("")] {
        let list = |length: usize| object(json!({ "k": vec![item.clone(); length] }));
        let error = Twin::new().report(list(32 * 1024), now()).unwrap_err();
        assert!(matches!(error, TwinError::TooMany { .. }), "{error}");
        assert!(Twin::new().report(list(32 * 1024 - 1), now()).is_ok());
    }
}

/// A full section can be made smaller, and a patch that deletes as much as it adds fits.
#[test]
fn the_result_counts_and_not_the_patch() {
    let mut twin = Twin::new();
    let full: Object = (0..8).map(|n| (n.to_string(), Value::from("x".repeat(4095)))).collect();
    twin.report(full, now()).unwrap();
    assert!(twin.report(object(json!({"8": false})), now()).is_err());
    twin.report(object(json!({"0": null, "8": "x".repeat(4095)})), now()).unwrap();
    twin.report(object(json!({"1": null})), now()).unwrap();
}

#[test]
fn documents_are_parsed_strictly() {
    for (text, reason) in [
        (r#"{"a":1,"a":2}"#, "stands twice"),
        (r#"{"a":{"b":1,"b":1}}"#, "stands twice"),
        (r#"{"a":1e999}"#, "number out of range"),
        (r#"{"a":"\ud800"}"#, "hex escape"),
        (r#"{"a":NaN}"#, "expected value"),
        ("[]", "another kind"),
        ("", "EOF"),
        ("null", "another kind"),
    ] {
        let error = parse_object(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let bomb = "[".repeat(100_000);
    assert!(parse_object(bomb.as_bytes()).is_err());
    assert!(parse_object(br#"{"a":[1,null,{"b":true}],"c":-1.5}"#).is_ok());
}
