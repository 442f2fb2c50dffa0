//! What holds after any changes: metadata mirrors its section, whoever follows the notifications
//! knows the section, versions move as documented (`device-protocol.md` §7.2, §7.3).

use proptest::prelude::*;

use super::*;

/// One call of a back end or of the identity itself.
#[derive(Debug, Clone)]
enum Change {
    Patch(TwinChange),
    Replace(TwinChange),
    Report(Object),
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => (-5i64..5).prop_map(Value::from),
        1 => "[a-c]{0,2}".prop_map(Value::from),
        1 => Just(json!([1, null, {"a": null}])),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        proptest::collection::btree_map("[a-d]", inner, 0..3)
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
    })
}

fn objects() -> impl Strategy<Value = Object> {
    proptest::collection::btree_map("[a-d]", values(), 0..4)
        .prop_map(|entries| entries.into_iter().collect())
}

fn changes() -> impl Strategy<Value = Change> {
    let sections = || {
        (proptest::option::of(objects()), proptest::option::of(objects()))
            .prop_map(|(tags, desired)| TwinChange { tags, desired })
    };
    prop_oneof![
        3 => sections().prop_map(Change::Patch),
        1 => sections().prop_map(Change::Replace),
        2 => objects().prop_map(Change::Report),
    ]
}

/// Every property has an entry of its own, and nothing else has.
fn assert_mirrored(properties: &Object, metadata: &Object, versioned: bool) {
    let own: Vec<_> = metadata.keys().filter(|key| key.starts_with('$')).collect();
    assert_eq!(own.len(), if versioned { 2 } else { 1 }, "{metadata:?}");
    let mut keys: Vec<_> = metadata.keys().filter(|key| !key.starts_with('$')).collect();
    let mut expected: Vec<_> = properties.keys().collect();
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    let empty = Object::new();
    for (key, value) in properties {
        let entry = metadata[key].as_object().unwrap();
        assert_mirrored(value.as_object().unwrap_or(&empty), entry, versioned);
    }
}

fn no_nulls(object: &Object) -> bool {
    object.values().all(|value| match value {
        Value::Null => false,
        Value::Object(inner) => no_nulls(inner),
        _ => true,
    })
}

proptest! {
    #[test]
    fn a_twin_stays_consistent(changes in proptest::collection::vec(changes(), 1..12)) {
        let mut twin = Twin::new();
        // What an identity knows that read an empty twin and then follows what it is told.
        let mut followed = Object::new();
        for change in changes {
            let before = twin.clone();
            match change.clone() {
                Change::Patch(patch) => {
                    let told = twin.patch(patch.clone(), now()).unwrap().desired_patch;
                    prop_assert_eq!(told.is_some(), patch.desired.is_some());
                    merge_patch(&mut followed, &told.unwrap_or_default());
                }
                Change::Replace(new) => {
                    let told = twin.replace(new, now()).unwrap().desired_patch.unwrap();
                    merge_patch(&mut followed, &told);
                }
                Change::Report(patch) => drop(twin.report(patch, now()).unwrap()),
            }
            prop_assert_eq!(&followed, &twin.desired.properties);
            prop_assert!(no_nulls(&twin.tags));
            prop_assert!(no_nulls(&twin.desired.properties));
            prop_assert!(no_nulls(&twin.reported.properties));
            let versioned = twin.desired.version > 1;
            assert_mirrored(&twin.desired.properties, &twin.desired.metadata, versioned);
            assert_mirrored(&twin.reported.properties, &twin.reported.metadata, false);
            let (service, desired, reported) = match &change {
                Change::Patch(patch) => (1, u64::from(patch.desired.is_some()), 0),
                Change::Replace(_) => (1, 1, 0),
                Change::Report(_) => (0, 0, 1),
            };
            prop_assert_eq!(twin.version, before.version + 1);
            prop_assert_eq!(twin.etag.0, before.etag.0 + service);
            prop_assert_eq!(twin.desired.version, before.desired.version + desired);
            prop_assert_eq!(twin.reported.version, before.reported.version + reported);
        }
    }
}
