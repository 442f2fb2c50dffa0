//! Named volumes that modules brought: which there are, and which may go.
//!
//! A volume outlives its module, so those of modules that are no more pile up. One that nothing
//! needs goes when somebody asks for it, never by itself. What this runtime did not make is not even
//! seen (`containers`). The decision is a pure function ([`use_of`]).

use std::collections::BTreeSet;

use containers::{LocalVolume, ModuleSpec, MountSource, SharedRuntime};
use host::http::StatusCode;
use iot_proto::management;
use iot_proto::management::VolumeUse;
use serde_json::Value;
use tokio::sync::watch;

use crate::http::Refusal;
use crate::modules::is_candidate;
use crate::workload::HUB_NAME;

/// The volumes.
pub(crate) struct Volumes {
    pub(crate) runtime: SharedRuntime,
    /// createOptions of the deployment in force and of the last good one; none until known.
    pub(crate) deployed: watch::Receiver<Option<Vec<(String, Value)>>>,
}

impl Volumes {
    /// All that this runtime made. Before the deployments are known, all count as deployed.
    pub(crate) async fn list(&self) -> Result<management::Volumes, Refusal> {
        let deployed = self.deployed.borrow().as_deref().map(names);
        let volumes = self.runtime.volumes().await?.into_iter().map(|volume| {
            let r#use = match &deployed {
                Some(deployed) => use_of(&volume, deployed),
                None => VolumeUse::Deployment,
            };
            let LocalVolume { name, module, size_bytes, .. } = volume;
            management::Volume { name, module, r#use, size_bytes }
        });
        Ok(management::Volumes { volumes: volumes.collect() })
    }

    /// Removes those that nothing needs, or only says which they are; those.
    pub(crate) async fn prune(&self, is_dry_run: bool) -> Result<management::Volumes, Refusal> {
        let mut deployed = self.deployed.clone();
        if deployed.borrow_and_update().is_none() {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the deployments are not known yet, so nobody knows which volumes they need; try again when iotedge list shows the modules",
            ));
        }
        let mut pruned = self.list().await?;
        pruned.volumes.retain(|volume| volume.r#use == VolumeUse::Nothing);
        if is_dry_run {
            return Ok(pruned);
        }
        let mut gone = Vec::new();
        for volume in pruned.volumes {
            // The new deployment may need it.
            if deployed.has_changed().unwrap_or_default() {
                break;
            }
            if self.runtime.remove_volume(&volume.name).await? {
                let (name, module, bytes) = (&volume.name, &volume.module, volume.size_bytes);
                tracing::info!(volume = name, module, bytes, "removed an unused volume");
                gone.push(volume);
            }
        }
        Ok(management::Volumes { volumes: gone })
    }
}

/// Who needs a volume.
fn use_of(volume: &LocalVolume, deployed: &BTreeSet<String>) -> VolumeUse {
    // A module that was only being tried out may have been the edge hub.
    let may_be_of_the_hub = volume.module == HUB_NAME
        || volume.module.parse().is_ok_and(|module| is_candidate(&module));
    if volume.is_used {
        VolumeUse::Container
    } else if deployed.contains(&volume.name) {
        VolumeUse::Deployment
    } else if may_be_of_the_hub {
        VolumeUse::EdgeHub
    } else {
        VolumeUse::Nothing
    }
}

/// The volumes that createOptions name. Options that cannot be read make no module.
fn names(options: &[(String, Value)]) -> BTreeSet<String> {
    let mounts = options.iter().filter_map(|(_, options)| {
        // Names change nothing in what is mounted, and a strange one must not cost a volume.
        let (name, image) = (HUB_NAME.parse().ok()?, UNNAMED.parse().ok()?);
        let spec = ModuleSpec { create_options: options.clone(), ..ModuleSpec::new(name, image) };
        spec.mounts().ok()
    });
    let sources = mounts.flatten().map(|mount| mount.source);
    sources
        .filter_map(|source| match source {
            MountSource::Volume(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// Any image will do to read createOptions.
const UNNAMED: &str = "unnamed";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_goes_only_when_nobody_needs_it() {
        let deployed: BTreeSet<String> = ["wanted".to_owned()].into();
        for (name, module, is_used, expected) in [
            ("old", "sensor", false, VolumeUse::Nothing),
            ("old", "sensor", true, VolumeUse::Container),
            ("wanted", "sensor", false, VolumeUse::Deployment),
            ("wanted", "edgeHub", false, VolumeUse::Deployment),
            ("old", "edgeHub", false, VolumeUse::EdgeHub),
            ("old", "edgeHub", true, VolumeUse::Container),
            (
                "old",
                "farshore-candidate-0123456789abcdef0123456789abcdef",
                false,
                VolumeUse::EdgeHub,
            ),
        ] {
            let (name, module) = (name.to_owned(), module.to_owned());
            let volume = LocalVolume { name, module, is_used, size_bytes: None };
            assert_eq!(use_of(&volume, &deployed), expected, "{volume:?}");
        }
    }

    #[test]
    fn volumes_are_found_wherever_options_name_them() {
        let options = [
            ("a".to_owned(), json!({"HostConfig": {"Binds": ["one:/x", "/srv:/y"]}})),
            (
                "b".to_owned(),
                json!({"hostconfig": {"mounts": [
                    {"type": "volume", "source": "two", "target": "/x"},
                    {"type": "bind", "source": "/srv", "target": "/y"},
                ]}}),
            ),
            ("c".to_owned(), json!(null)),
            ("d".to_owned(), json!({"HostConfig": 7})),
        ];
        assert_eq!(names(&options), ["one".to_owned(), "two".to_owned()].into());
    }
}
