//! `[farshore.policy]`: what a deployment may ask of this machine. A section of our own; the
//! original has nothing between everything and (almost) nothing.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use containers::{HostPolicy, REFUSABLE_OPTIONS};

use crate::config::reader::{Found, Section};

/// The policy. Without the section, nothing is let through.
pub(super) fn section(root: &mut Section<'_, '_>, allow_elevated: Option<bool>) -> HostPolicy {
    let mut policy = HostPolicy::default();
    let Some(mut farshore) = root.section("farshore") else { return policy };
    if let Some(mut section) = farshore.section("policy") {
        if allow_elevated != Some(false) {
            section.complain(
                "has an effect only when elevated permissions are not allowed; write allow_elevated_docker_permissions = false above the first section, or take this one out",
            );
        }
        fill(&mut section, &mut policy);
        section.finish();
    }
    farshore.finish();
    policy
}

fn fill(section: &mut Section<'_, '_>, policy: &mut HostPolicy) {
    policy.bind = paths(section, "allow_bind");
    policy.devices = paths(section, "allow_devices");
    policy.capabilities = capabilities(section);
    policy.options = options(section);
    for (key, switch) in [
        ("allow_privileged", &mut policy.privileged),
        ("allow_host_network", &mut policy.host_network),
        ("allow_host_pid", &mut policy.host_pid),
        ("allow_host_ipc", &mut policy.host_ipc),
        ("allow_unconfined", &mut policy.unconfined),
    ] {
        *switch = section.boolean(key).is_some_and(|found| found.value);
    }
}

fn paths(section: &mut Section<'_, '_>, key: &'static str) -> Vec<PathBuf> {
    let is_plain = |text: &str| {
        let mut components = Path::new(text).components();
        components.next() == Some(Component::RootDir)
            && components.all(|component| matches!(component, Component::Normal(_)))
            && !text.contains('\0')
    };
    let found = section.strings(key, ENTRIES_MAX);
    let good = found.into_iter().filter_map(|found| match is_plain(found.value) {
        true => Some(PathBuf::from(found.value)),
        false => {
            wrong(section, &found, "is not an absolute path without `..`");
            None
        }
    });
    good.collect()
}

fn capabilities(section: &mut Section<'_, '_>) -> BTreeSet<String> {
    let found = section.strings("allow_capabilities", ENTRIES_MAX);
    let good = found.into_iter().filter_map(|found| {
        let name = found.value.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let fits = !name.is_empty() && name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_');
        if !fits {
            wrong(section, &found, "is not a capability's name, such as NET_ADMIN");
        }
        fits.then(|| name.to_owned())
    });
    good.collect()
}

fn options(section: &mut Section<'_, '_>) -> BTreeSet<String> {
    let found = section.strings("allow_options", ENTRIES_MAX);
    let good = found.into_iter().filter_map(|found| {
        let is_one = REFUSABLE_OPTIONS.contains(&found.value);
        if !is_one {
            let known = REFUSABLE_OPTIONS.join(", ");
            wrong(section, &found, &format!("is not one of {known}"));
        }
        is_one.then(|| found.value.to_owned())
    });
    good.collect()
}

fn wrong(section: &Section<'_, '_>, found: &Found<&str>, what: &str) {
    section.wrong(found, format!("holds {:?}, which {what}", found.value));
}

/// More is an accident.
const ENTRIES_MAX: usize = 100;
