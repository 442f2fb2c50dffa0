//! Which images may go. Pure: what is there and what was used in, a plan out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use containers::LocalImage;
use host::fs::Space;
use jiff::{SignedDuration, Timestamp};

use super::uses::Names;

/// What is decided from.
pub(super) struct Facts<'a> {
    /// All images on this machine.
    pub(super) images: &'a [LocalImage],
    /// When this runtime's images were used last, by id.
    pub(super) uses: &'a BTreeMap<String, Timestamp>,
    /// The names that this runtime had them under, by id.
    pub(super) names: &'a Names,
    /// Ids of the images of the deployment in force and of the last good one.
    pub(super) deployed: &'a BTreeSet<String>,
    pub(super) now: Timestamp,
    /// How long an image must have been unused.
    pub(super) age: Duration,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// Ids of images whose last use is now.
    pub(super) used: Vec<String>,
    /// Ids of recorded images that are not here any more.
    pub(super) gone: Vec<String>,
    /// Images to remove, the longest unused first.
    pub(super) remove: Vec<&'a LocalImage>,
}

/// Decides.
pub(super) fn plan<'a>(facts: &Facts<'a>) -> Plan<'a> {
    let mut plan = Plan::default();
    let mut old = Vec::new();
    for image in facts.images {
        // Not pulled and not used by this runtime: somebody else's.
        let Some(last_use) = facts.uses.get(&image.id) else { continue };
        let unused = facts.now.duration_since(*last_use);
        let is_needed = image.is_used || image.is_builtin || facts.deployed.contains(&image.id);
        // Written while the clock was wrong: it counts from now.
        let is_odd = unused.is_negative() || last_use.as_second() < CREDIBLE_SINCE_SECONDS;
        if is_odd || is_needed && unused >= REFRESH_AFTER {
            plan.used.push(image.id.clone());
        } else if !is_needed
            && !is_claimed(image, facts.names)
            && unused.unsigned_abs() >= facts.age
        {
            old.push((*last_use, image));
        }
    }
    old.sort_by_key(|(last_use, image)| (*last_use, &image.id));
    plan.remove = old.into_iter().map(|(_, image)| image).collect();
    let here: BTreeSet<&String> = facts.images.iter().map(|image| &image.id).collect();
    plan.gone = facts.uses.keys().filter(|id| !here.contains(id)).cloned().collect();
    plan
}

/// Whether somebody else has given an image one more name. An engine lets go of an image only with
/// its last name, and of several we give up only those that are ours.
fn is_claimed(image: &LocalImage, ours: &Names) -> bool {
    let no_names = BTreeSet::new();
    let ours = ours.get(&image.id).unwrap_or(&no_names);
    let is_ours = |name: &String| ours.iter().any(|our| familiar(our) == familiar(name));
    image.names.len() > 1 && !image.names.iter().all(is_ours)
}

/// A name as Docker shows it; podman writes out what Docker leaves away.
fn familiar(name: &str) -> String {
    let short =
        ["docker.io/library/", "docker.io/"].iter().find_map(|start| name.strip_prefix(start));
    let short = short.unwrap_or(name);
    let last = short.rsplit('/').next().unwrap_or(short);
    let has_version = last.contains([':', '@']);
    if has_version { short.to_owned() } else { format!("{short}:latest") }
}

/// Whether a disk is so full that unused images go early.
pub(super) fn is_pressed(space: Space) -> bool {
    free_percent(space) < PRESSED_BELOW_PERCENT
}

/// Whether a disk that was so full has room again.
pub(super) fn is_relieved(space: Space) -> bool {
    free_percent(space) >= RELIEVED_FROM_PERCENT
}

fn free_percent(space: Space) -> u64 {
    let percent = u128::from(space.free_bytes) * 100 / u128::from(space.total_bytes.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// How far the recorded use of an image that is needed may lag behind, so that the record is not
/// written at every look.
pub(super) const REFRESH_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// 2024-01-01, as for [`host::clock::Clock::wall_is_trusted`].
const CREDIBLE_SINCE_SECONDS: i64 = 1_704_067_200;

/// Engines and stores need room to work; a device's disk is of tens of gigabytes.
const PRESSED_BELOW_PERCENT: u64 = 10;
/// Some way from the other, so that it does not begin again at once.
const RELIEVED_FROM_PERCENT: u64 = 15;
