//! Patches of JSON documents: merging, joining, telling two documents apart. Pure.

use jiff::Timestamp;
use model::twin::{Object, Section, Twin, TwinError};
use serde_json::{Map, Value};

/// Merges a client's patch into its reported properties, within the limits of twins; a refused one
/// changes nothing.
pub(crate) fn merge_reported(
    reported: &mut Object,
    patch: &Object,
    now: Timestamp,
) -> Result<(), TwinError> {
    let mut twin = Twin::new();
    twin.reported = Section { properties: reported.clone(), ..Section::new() };
    twin.report(patch.clone(), now)?;
    *reported = twin.reported.properties;
    Ok(())
}

/// Applies a patch (RFC 7396) that needs no check: it is the hub's.
pub(crate) fn merge(target: &mut Object, patch: &Object) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.shift_remove(key)),
            Value::Object(inner) => {
                let slot = target.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    merge(slot, inner);
                }
            }
            other => drop(target.insert(key.clone(), other.clone())),
        }
    }
}

/// One patch that does what `first` and then `second` do, whatever they are applied to; none when
/// no single patch does. (An object after a `null` or a plain value must not merge into what was
/// there before.)
pub(crate) fn join(first: &Object, second: &Object) -> Option<Object> {
    let mut joined = first.clone();
    for (key, value) in second {
        let value = match (first.get(key), value) {
            (Some(Value::Object(before)), Value::Object(after)) => {
                Value::Object(join(before, after)?)
            }
            (Some(_), Value::Object(_)) => return None,
            _ => value.clone(),
        };
        joined.insert(key.clone(), value);
    }
    Some(joined)
}

/// The patch that turns `old` into `new`.
pub(crate) fn difference(old: &Object, new: &Object) -> Object {
    let mut patch = Object::new();
    for (key, is) in new {
        match (old.get(key), is) {
            (Some(was), is) if was == is => {}
            (Some(Value::Object(was)), Value::Object(is)) => {
                patch.insert(key.clone(), Value::Object(difference(was, is)));
            }
            (_, is) => drop(patch.insert(key.clone(), is.clone())),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else { panic!("not an object: {value}") };
        object
    }

    #[test]
    fn joined_patches_do_what_both_do() {
        for (first, second, joined) in [
            (json!({"a":1}), json!({"b":2}), Some(json!({"a":1,"b":2}))),
            (json!({"a":1}), json!({"a":null}), Some(json!({"a":null}))),
            (json!({"a":{"x":1}}), json!({"a":{"y":2}}), Some(json!({"a":{"x":1,"y":2}}))),
            (json!({"a":{"x":1}}), json!({"a":{"x":null}}), Some(json!({"a":{"x":null}}))),
            (json!({"a":{"x":1}}), json!({"a":7}), Some(json!({"a":7}))),
            (json!({"a":null}), json!({"a":{"x":1}}), None),
            (json!({"a":7}), json!({"a":{"x":1}}), None),
            (json!({"a":{"x":null}}), json!({"a":{"x":{"y":1}}}), None),
        ] {
            let (first, second) = (object(first), object(second));
            assert_eq!(join(&first, &second).map(Value::Object), joined, "{first:?} {second:?}");
            let Some(joined) = join(&first, &second) else { continue };
            for base in [json!({}), json!({"a":1}), json!({"a":{"x":9,"z":9},"b":9})] {
                let (mut one, mut two) = (object(base.clone()), object(base));
                merge(&mut one, &first);
                merge(&mut one, &second);
                merge(&mut two, &joined);
                assert_eq!(one, two);
            }
        }
    }

    #[test]
    fn a_difference_turns_old_into_new() {
        for (old, new, patch) in [
            (json!({}), json!({}), json!({})),
            (json!({"a":1,"b":2}), json!({"a":1,"c":3}), json!({"c":3,"b":null})),
            (json!({"a":{"x":1,"y":2}}), json!({"a":{"x":1,"y":3}}), json!({"a":{"y":3}})),
            (json!({"a":{"x":1}}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"a":{"x":1}}), json!({"a":{}}), json!({"a":{"x":null}})),
        ] {
            let (mut old, new) = (object(old), object(new));
            let found = difference(&old, &new);
            assert_eq!(found, object(patch));
            merge(&mut old, &found);
            assert_eq!(old, new);
        }
    }

    #[test]
    fn a_client_cannot_report_beyond_the_limits() {
        let now = Timestamp::UNIX_EPOCH;
        let mut reported = object(json!({"a":1}));
        merge_reported(&mut reported, &object(json!({"a":null,"b":{"c":2}})), now).unwrap();
        assert_eq!(reported, object(json!({"b":{"c":2}})));
        let long = "x".repeat(4097);
        merge_reported(&mut reported, &object(json!({"b": long})), now).unwrap_err();
        merge_reported(&mut reported, &object(json!({"a.b": 1})), now).unwrap_err();
        assert_eq!(reported, object(json!({"b":{"c":2}})));
    }
}
