//! Device and module twins: three JSON sections with versions, metadata and limits.
//!
//! Rules: `device-protocol.md` §7, `service-api.md` §3. Every change goes through [`Twin::patch`],
//! [`Twin::replace`] or [`Twin::report`]; each checks the whole result before anything changes, so
//! a refused change leaves the twin as it was.

mod document;
mod merge;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::id::Etag;
use crate::limits;

pub use document::{TwinError, parse_object};
use document::{check_section, strip_read_only};
use merge::{merge_patch, replacement_patch, stamp_all, stamp_patch};

/// A JSON object.
pub type Object = Map<String, Value>;

/// A twin.
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// What back ends note about the identity; the identity itself never sees it.
    pub tags: Object,
    /// What back ends want the identity to be.
    pub desired: Section,
    /// What the identity says it is.
    pub reported: Section,
    /// Moves with tags and desired: the back ends' optimistic concurrency.
    pub etag: Etag,
    /// Moves with every change of any section.
    pub version: u64,
}

/// One of the two property sections.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The properties, without `$metadata` and `$version`.
    pub properties: Object,
    /// When each property changed; mirrors [`Self::properties`].
    pub metadata: Object,
    /// Counts the changes of this section, from 1.
    pub version: u64,
}

/// What a back end wants to change; an absent section stays as it is on a patch and becomes empty
/// on a replacement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TwinChange {
    /// The tags section.
    pub tags: Option<Object>,
    /// The desired section.
    pub desired: Option<Object>,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The patch of desired properties that the identity is told, without `$version`; none when
    /// desired did not change.
    pub desired_patch: Option<Object>,
}

impl Twin {
    /// The twin of a new identity: both section versions 1, version 2, as the service documents it.
    pub fn new() -> Self {
        Self {
            tags: Object::new(),
            desired: Section::new(),
            reported: Section::new(),
            etag: Etag(1),
            version: 2,
        }
    }

    /// Merges a back end's change into tags and desired: `null` deletes, objects merge, anything
    /// else replaces.
    pub fn patch(&mut self, change: TwinChange, now: Timestamp) -> Result<Changed, TwinError> {
        let mut next = self.clone();
        if let Some(patch) = change.tags {
            merge_patch(&mut next.tags, &strip_read_only(patch, "tags")?);
            check_section("tags", &next.tags, limits::TWIN_TAGS_BYTES_MAX)?;
        }
        let mut desired_patch = None;
        if let Some(patch) = change.desired {
            let patch = strip_read_only(patch, "properties.desired")?;
            next.desired.merge(&patch, now, true);
            check_section(
                "properties.desired",
                &next.desired.properties,
                limits::TWIN_DESIRED_BYTES_MAX,
            )?;
            desired_patch = Some(patch);
        }
        next.bump_service();
        *self = next;
        Ok(Changed { desired_patch })
    }

    /// Replaces tags and desired as a whole.
    pub fn replace(&mut self, change: TwinChange, now: Timestamp) -> Result<Changed, TwinError> {
        let tags = strip_read_only(change.tags.unwrap_or_default(), "tags")?;
        let desired = strip_read_only(change.desired.unwrap_or_default(), "properties.desired")?;
        let (tags, desired) = (without_nulls(tags), without_nulls(desired));
        check_section("tags", &tags, limits::TWIN_TAGS_BYTES_MAX)?;
        check_section("properties.desired", &desired, limits::TWIN_DESIRED_BYTES_MAX)?;
        let patch = replacement_patch(&self.desired.properties, &desired);
        self.tags = tags;
        self.desired.replace(desired, now);
        self.bump_service();
        Ok(Changed { desired_patch: Some(patch) })
    }

    /// Merges the identity's own patch of its reported properties; gives the section's new version.
    pub fn report(&mut self, patch: Object, now: Timestamp) -> Result<u64, TwinError> {
        let patch = strip_read_only(patch, "properties.reported")?;
        let mut next = self.reported.clone();
        next.merge(&patch, now, false);
        check_section("properties.reported", &next.properties, limits::TWIN_REPORTED_BYTES_MAX)?;
        self.reported = next;
        self.version += 1;
        Ok(self.reported.version)
    }

    /// The document the identity reads: both sections with `$version`, no metadata, no tags.
    pub fn device_view(&self) -> Value {
        let mut view = Object::new();
        view.insert("desired".into(), Value::Object(self.desired.device_view()));
        view.insert("reported".into(), Value::Object(self.reported.device_view()));
        Value::Object(view)
    }

    fn bump_service(&mut self) {
        self.etag = Etag(self.etag.0 + 1);
        self.version += 1;
    }
}

impl Default for Twin {
    fn default() -> Self {
        Self::new()
    }
}

impl Section {
    /// An empty section.
    pub fn new() -> Self {
        let mut metadata = Object::new();
        metadata.insert("$lastUpdated".into(), Value::String(NEVER.into()));
        Self { properties: Object::new(), metadata, version: 1 }
    }

    /// The properties with `$version`, as the identity reads them.
    pub fn device_view(&self) -> Object {
        let mut view = self.properties.clone();
        view.insert("$version".into(), self.version.into());
        view
    }

    /// The properties with `$metadata` and `$version`, as back ends read them.
    pub fn service_view(&self) -> Object {
        let mut view = self.properties.clone();
        view.insert("$metadata".into(), Value::Object(self.metadata.clone()));
        view.insert("$version".into(), self.version.into());
        view
    }

    fn merge(&mut self, patch: &Object, now: Timestamp, versioned: bool) {
        self.version += 1;
        merge_patch(&mut self.properties, patch);
        stamp_patch(
            &mut self.metadata,
            patch,
            &Stamp { now, version: versioned.then_some(self.version) },
        );
    }

    fn replace(&mut self, properties: Object, now: Timestamp) {
        self.version += 1;
        self.metadata = stamp_all(&properties, &Stamp { now, version: Some(self.version) });
        self.properties = properties;
    }
}

impl Default for Section {
    fn default() -> Self {
        Self::new()
    }
}

/// What metadata says of a change.
struct Stamp {
    now: Timestamp,
    /// `$lastUpdatedVersion`; kept for desired only.
    version: Option<u64>,
}

/// `null` means "absent" everywhere outside of arrays.
fn without_nulls(object: Object) -> Object {
    let mut clean = Object::new();
    merge_patch(&mut clean, &object);
    clean
}

/// The time of a section that never changed, as the service writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";
