//! Named volumes that modules of ours brought.
//!
//! An engine makes a named volume when a container asks for one, and says of it nothing but its name;
//! a label has to be there from the start. So volumes that createOptions name and that are not there
//! are made just before their container, with labels of ours. A module that says itself how its
//! volumes are to be made (driver, options, labels) gets them from the engine, without our labels.
//! Whatever bears no label of ours is never listed and never removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};
use serde_json::Value;

use super::DockerRuntime;
use super::create::{LABEL_OWNER, OWNER};
use super::found::is_owned;
use crate::{LocalVolume, ModuleSpec, MountSource, RuntimeError};

impl DockerRuntime {
    /// Makes the volumes that a module names and that are not there yet.
    pub(super) async fn make_volumes(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        if says_how(&spec.create_options) {
            return Ok(());
        }
        for mount in spec.mounts()? {
            let MountSource::Volume(name) = mount.source else { continue };
            if self.inspect_volume(&name).await?.is_some() {
                continue;
            }
            let request = VolumeCreateRequest {
                name: Some(name),
                labels: Some(labels(spec.name.as_str())),
                ..Default::default()
            };
            let made = self.engine.docker().create_volume(request).await;
            let made = made.map_err(|source| self.engine.error(source))?;
            tracing::info!(volume = made.name, module = %spec.name, "made a volume");
        }
        Ok(())
    }

    async fn inspect_volume(
        &self,
        name: &str,
    ) -> Result<Option<bollard::models::Volume>, RuntimeError> {
        match self.engine.docker().inspect_volume(name).await {
            Ok(found) => Ok(Some(found)),
            Err(source) => match self.engine.error(source) {
                RuntimeError::Engine { status: 404, .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    pub(super) async fn owned_volumes(&self) -> Result<Vec<LocalVolume>, RuntimeError> {
        let filters = [("label", vec![format!("{LABEL_OWNER}={OWNER}")])].into();
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.engine.docker().list_volumes(Some(options)).await;
        let found = found.map_err(|source| self.engine.error(source))?;
        // After the volumes: one that was put to use in between counts as used.
        let containers = self.engine.all_containers().await?;
        let mounts =
            containers.into_iter().flat_map(|container| container.mounts.unwrap_or_default());
        let used: BTreeSet<String> = mounts.filter_map(|mount| mount.name).collect();
        let sizes = self.volume_sizes().await;
        let volumes = found.volumes.unwrap_or_default().into_iter().filter_map(|volume| {
            // The filter is the engine's; what may be removed is looked at once more.
            let module = volume.labels.get(LABEL_MODULE)?.clone();
            is_owned(Some(&volume.labels)).then(|| LocalVolume {
                is_used: used.contains(&volume.name),
                size_bytes: sizes.get(&volume.name).copied(),
                module,
                name: volume.name,
            })
        });
        let mut volumes: Vec<LocalVolume> = volumes.collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// What volumes hold; an engine that cannot tell tells nothing.
    async fn volume_sizes(&self) -> BTreeMap<String, u64> {
        let told = self.engine.get::<Value>("/system/df?type=volume").await;
        let volumes = told.as_ref().ok().and_then(|told| told.get("Volumes")?.as_array());
        let size = |volume: &Value| {
            let size = volume.pointer("/UsageData/Size")?.as_i64()?;
            Some((volume.get("Name")?.as_str()?.to_owned(), u64::try_from(size).ok()?))
        };
        volumes.into_iter().flatten().filter_map(size).collect()
    }

    pub(super) async fn remove_owned_volume(&self, name: &str) -> Result<bool, RuntimeError> {
        match self.inspect_volume(name).await? {
            None => return Ok(true),
            Some(volume) if !is_owned(Some(&volume.labels)) => return Ok(false),
            Some(_) => {}
        }
        // Without force, the engine itself refuses one that a container has.
        let options = RemoveVolumeOptionsBuilder::new().force(false).build();
        match self.engine.docker().remove_volume(name, Some(options)).await {
            Ok(()) => Ok(true),
            Err(source) => match self.engine.error(source) {
                RuntimeError::Engine { status: 404, .. } => Ok(true),
                RuntimeError::Engine { status: 409, .. } => Ok(false),
                error => Err(error),
            },
        }
    }
}

fn labels(module: &str) -> HashMap<String, String> {
    [(LABEL_OWNER, OWNER), (LABEL_MODULE, module)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Whether createOptions say how their volumes are to be made.
fn says_how(options: &Value) -> bool {
    let is_one = |key: &str| HOW.iter().any(|how| key.eq_ignore_ascii_case(how));
    match options {
        Value::Object(map) => map.iter().any(|(key, value)| {
            let is_set = !matches!(value, Value::Null) && value.as_str() != Some("");
            (is_one(key) && is_set) || says_how(value)
        }),
        Value::Array(list) => list.iter().any(says_how),
        _ => false,
    }
}

/// Label with the module for which a volume was made.
const LABEL_MODULE: &str = "net.farshore.module";

const HOW: [&str; 2] = ["VolumeDriver", "VolumeOptions"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn modules_that_say_how_their_volumes_are_made_are_left_to_the_engine() {
        let mounts = |more: Value| {
            let mut mount = json!({"Type": "volume", "Source": "v", "Target": "/v"});
            mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"HostConfig": {"Mounts": [mount]}})
        };
        for (options, expected) in [
            (json!(null), false),
            (json!({"HostConfig": {"Binds": ["v:/v"], "VolumeDriver": ""}}), false),
            (json!({"HostConfig": {"Binds": ["v:/v"], "volumedriver": "nfs"}}), true),
            (mounts(json!({})), false),
            (mounts(json!({"VolumeOptions": {"Labels": {"a": "b"}}})), true),
        ] {
            assert_eq!(says_how(&options), expected, "{options}");
        }
    }
}
