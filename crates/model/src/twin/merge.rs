//! Merge patches (RFC 7396) and the metadata that follows them.

use serde_json::{Map, Value};

use super::{Object, Stamp};

/// Applies a patch: `null` deletes, objects merge, anything else replaces.
pub(super) fn merge_patch(target: &mut Object, patch: &Object) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    merge_patch(slot, inner);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

/// The patch that tells somebody who knows `old` that it is now `new`: all of `new`, and `null`
/// for what is gone.
pub(super) fn replacement_patch(old: &Object, new: &Object) -> Object {
    let mut patch = new.clone();
    for (key, was) in old {
        match (was, patch.get_mut(key)) {
            (_, None) => {
                patch.insert(key.clone(), Value::Null);
            }
            (Value::Object(was), Some(Value::Object(is))) => *is = replacement_patch(was, is),
            _ => {}
        }
    }
    patch
}

/// Follows a patch in the metadata: every touched property and every object above it gets the
/// stamp; arrays and scalars have one entry each.
pub(super) fn stamp_patch(metadata: &mut Object, patch: &Object, stamp: &Stamp) {
    stamp.write(metadata);
    for (key, value) in patch {
        match value {
            Value::Null => {
                metadata.shift_remove(key);
            }
            Value::Object(inner) => {
                let slot =
                    metadata.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(slot) = slot {
                    stamp_patch(slot, inner, stamp);
                }
            }
            _ => {
                metadata.insert(key.clone(), Value::Object(stamp.entry()));
            }
        }
    }
}

/// The metadata of properties that are all new.
pub(super) fn stamp_all(properties: &Object, stamp: &Stamp) -> Object {
    let mut metadata = Map::new();
    stamp_patch(&mut metadata, properties, stamp);
    metadata
}

impl Stamp {
    fn write(&self, metadata: &mut Object) {
        metadata.insert("$lastUpdated".into(), Value::String(format!("{:.7}", self.now)));
        if let Some(version) = self.version {
            metadata.insert("$lastUpdatedVersion".into(), version.into());
        }
    }

    fn entry(&self) -> Object {
        let mut entry = Map::new();
        self.write(&mut entry);
        entry
    }
}
