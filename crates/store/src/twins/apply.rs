//! What a backend does between reading a twin and writing it back: checks what the write expects,
//! applies it, and makes the event that tells of it (`device-protocol.md` §7, §10). Pure, so that
//! every backend does the same.

use jiff::Timestamp;
use model::twin::{Changed, Object, Section};
use serde_json::Value;

use super::{Mutation, TwinRecord};
use crate::StoreError;
use crate::error::Result;
use crate::outbox::HubEventKind;

/// What came of a mutation.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// What the identity has to be told; none for a report.
    pub changed: Option<Changed>,
    /// The change event's kind and body; none when no section changed.
    pub event: Option<(HubEventKind, Value)>,
}

/// Applies a mutation; a refused one leaves the record as it was.
pub fn apply(record: &mut TwinRecord, mutation: Mutation, now: Timestamp) -> Result<Applied> {
    let twin = &mut record.twin;
    match mutation {
        Mutation::Patch(change, expected) => {
            expect(expected.is_none_or(|expected| expected == twin.etag))?;
            let tags = change.tags.as_ref().map(without_read_only);
            let changed = twin.patch(change, now)?;
            let mut body = version_body(twin.version);
            if let Some(tags) = tags {
                body.insert("tags".into(), Value::Object(tags));
            }
            if let Some(patch) = &changed.desired_patch {
                insert_section(&mut body, "desired", changed_view(&twin.desired, patch));
            }
            let event = Some((HubEventKind::TwinUpdated, Value::Object(body)));
            Ok(Applied { changed: Some(changed), event })
        }
        Mutation::Replace(change, expected) => {
            expect(expected.is_none_or(|expected| expected == twin.etag))?;
            let changed = twin.replace(change, now)?;
            let mut body = version_body(twin.version);
            body.insert("tags".into(), Value::Object(twin.tags.clone()));
            insert_section(&mut body, "desired", twin.desired.service_view());
            let event = Some((HubEventKind::TwinReplaced, Value::Object(body)));
            Ok(Applied { changed: Some(changed), event })
        }
        Mutation::Report(patch, expected) => {
            expect(expected.is_none_or(|expected| expected == twin.reported.version))?;
            let shown = without_read_only(&patch);
            twin.report(patch, now)?;
            let mut body = version_body(twin.version);
            insert_section(&mut body, "reported", changed_view(&twin.reported, &shown));
            let event = Some((HubEventKind::TwinUpdated, Value::Object(body)));
            Ok(Applied { changed: None, event })
        }
        Mutation::ModelId(model_id) => {
            record.model_id = Some(model_id);
            Ok(Applied { changed: None, event: None })
        }
    }
}

fn expect(holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(StoreError::Precondition) }
}

fn version_body(version: u64) -> Object {
    let mut body = Object::new();
    body.insert("version".into(), version.into());
    body
}

fn insert_section(body: &mut Object, name: &str, view: Object) {
    let mut properties = Object::new();
    properties.insert(name.into(), Value::Object(view));
    body.insert("properties".into(), Value::Object(properties));
}

/// What a patch changed of a section: the patch itself, the metadata along it, the new version.
fn changed_view(section: &Section, patch: &Object) -> Object {
    let mut view = patch.clone();
    view.insert("$metadata".into(), Value::Object(metadata_along(&section.metadata, patch)));
    view.insert("$version".into(), section.version.into());
    view
}

/// The entries of the metadata that a patch touched. Deleted properties have none.
fn metadata_along(metadata: &Object, patch: &Object) -> Object {
    let own = metadata.iter().filter(|(name, _)| name.starts_with('$'));
    let mut along: Object = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    for (key, value) in patch {
        let Some(Value::Object(entry)) = metadata.get(key) else {
            continue;
        };
        let inner = match value {
            Value::Object(inner) => metadata_along(entry, inner),
            _ => entry.clone(),
        };
        along.insert(key.clone(), Value::Object(inner));
    }
    along
}

/// Clients echo `$metadata` and `$version`; the twin drops them too.
fn without_read_only(patch: &Object) -> Object {
    let echoed = |name: &str| name == "$metadata" || name == "$version";
    patch.iter().filter(|(name, _)| !echoed(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests;
