//! What is wanted: the desired properties of `$edgeAgent` as they arrive, and what they mean
//! (er §4.2, 4.3). Pure; the connection that they come over is `line.rs`.

use manifest::AgentConfig;
use model::twin::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::Surroundings;
use crate::target::Deployment;

/// The desired properties of the agent's twin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Desired {
    /// Their version.
    pub(crate) version: u64,
    /// The properties, without `$version`.
    pub(crate) properties: Object,
}

/// What a patch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patched {
    /// It was the next one.
    Merged,
    /// It was known already.
    Known,
    /// One in between is missing: the whole twin has to be read (T-PATCH).
    Gap,
}

/// What desired properties mean.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// They can be carried out.
    Deployment(Deployment),
    /// They cannot; what runs goes on.
    Refused {
        /// Their version.
        version: u64,
        /// Code for `lastDesiredStatus`.
        code: u16,
        /// What is wrong and how to fix it.
        description: String,
    },
}

impl Desired {
    /// Merges a patch, if it is the next one.
    pub(crate) fn patch(&mut self, patch: &Object, version: u64) -> Patched {
        if version <= self.version {
            return Patched::Known;
        }
        if version != self.version.saturating_add(1) {
            return Patched::Gap;
        }
        merge(&mut self.properties, patch);
        self.version = version;
        Patched::Merged
    }

    /// What they mean on this device.
    pub(crate) fn judge(&self, surroundings: &Surroundings) -> Verdict {
        match AgentConfig::parse(&self.properties) {
            Ok(config) => Verdict::Deployment(Deployment::new(self.version, config, surroundings)),
            Err(error) => Verdict::Refused {
                version: self.version,
                code: error.code(),
                description: error.to_string(),
            },
        }
    }
}

/// RFC 7396: `null` deletes, objects merge, anything else replaces.
pub(crate) fn merge(target: &mut Object, patch: &Object) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key.clone()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Object::new());
                }
                if let Value::Object(object) = slot {
                    merge(object, inner);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_surroundings;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn only_the_next_patch_is_merged() {
        let mut desired =
            Desired { version: 4, properties: object(json!({"a": {"b": 1, "c": 2}})) };
        let before = desired.clone();
        assert_eq!(desired.patch(&object(json!({"a": null})), 4), Patched::Known);
        assert_eq!(desired.patch(&object(json!({"a": null})), 6), Patched::Gap);
        assert_eq!(desired, before);
        let patch = object(json!({"a": {"b": null, "d": {"e": 3, "f": null}}, "x": [1]}));
        assert_eq!(desired.patch(&patch, 5), Patched::Merged);
        assert_eq!(desired.version, 5);
        assert_eq!(desired.properties, object(json!({"a": {"c": 2, "d": {"e": 3}}, "x": [1]})));
    }

    #[test]
    fn bad_properties_are_refused_with_their_code() {
        for (properties, expected) in [
            (json!({}), 417),
            (json!({"schemaVersion": "9.0"}), 412),
            (json!({"schemaVersion": "1.0"}), 400),
        ] {
            let desired = Desired { version: 7, properties: object(properties) };
            let Verdict::Refused { version, code, description } =
                desired.judge(&test_surroundings())
            else {
                panic!("it was taken");
            };
            assert_eq!((version, code), (7, expected));
            assert!(!description.is_empty());
        }
    }
}
