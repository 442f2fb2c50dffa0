//! The keys of `HostConfig` (Docker Engine API 1.51, and podman's reading of it), and how each is
//! judged. What is not in the table is not known to be harmless.

use serde_json::Value;

use super::asks_nothing;
use crate::options::Options;

/// How a key is judged.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// It concerns the module alone.
    Harmless,
    /// It is looked at by its own function.
    Elsewhere,
    /// One of these modes is the module's own; others are shared.
    Mode {
        /// The modes that share nothing.
        private: &'static [&'static str],
        /// The policy's switch; none if it is in the list of options.
        allowed_by: Option<Switch>,
    },
    /// The network.
    Network,
    /// Security options.
    Security,
    /// Devices with paths.
    Devices,
    /// Refused when the function says that it asks for something.
    Judged(fn(&Value) -> bool),
    /// Not in the table.
    Unknown,
}

/// Switches of the policy for modes.
#[derive(Clone, Copy)]
pub(super) enum Switch {
    /// `allow_host_pid`.
    Pid,
    /// `allow_host_ipc`.
    Ipc,
}

/// The key as the engine spells it, and its rule.
pub(super) fn rule(key: &str) -> (&str, Rule) {
    if HARMLESS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
        return (key, Rule::Harmless);
    }
    let known = RULES.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
    known.map_or((key, Rule::Unknown), |(known, rule)| (known, *rule))
}

fn asks(value: &Value) -> bool {
    !asks_nothing(value)
}

/// Whether the machine's memory shortage is to spare this module at the cost of others.
fn is_spared(value: &Value) -> bool {
    value.as_f64().is_none_or(|score| score < 0.0)
}

/// Limits that give a module precedence over the machine's own processes.
fn has_precedence(value: &Value) -> bool {
    let is_one = |limit: &Value| {
        let Some(mut limit) = limit.as_object().cloned() else { return true };
        let Ok(limit) = Options::root(&mut limit) else { return true };
        let name = limit.find("Name").and_then(Value::as_str).unwrap_or_default();
        ["rtprio", "nice"].iter().any(|other| name.eq_ignore_ascii_case(other))
    };
    value.as_array().is_none_or(|limits| limits.iter().any(is_one))
}

/// Whether the log is to be written to a path of the machine, as podman can.
fn names_log_path(value: &Value) -> bool {
    let Some(mut log) = value.as_object().cloned() else { return true };
    let Ok(log) = Options::root(&mut log) else { return true };
    let config = log.find("Config").and_then(Value::as_object);
    config.is_some_and(|config| config.keys().any(|key| key.eq_ignore_ascii_case("path")))
}

const RULES: [(&str, Rule); 32] = [
    ("Binds", Rule::Elsewhere),
    ("Mounts", Rule::Elsewhere),
    ("Privileged", Rule::Elsewhere),
    ("CapAdd", Rule::Elsewhere),
    ("CapDrop", Rule::Elsewhere),
    // Their presence is looked at.
    ("MaskedPaths", Rule::Elsewhere),
    ("ReadonlyPaths", Rule::Elsewhere),
    ("NetworkMode", Rule::Network),
    ("PidMode", Rule::Mode { private: &["", "private"], allowed_by: Some(Switch::Pid) }),
    (
        "IpcMode",
        Rule::Mode {
            private: &["", "private", "shareable", "none"],
            allowed_by: Some(Switch::Ipc),
        },
    ),
    ("UTSMode", Rule::Mode { private: &["", "private"], allowed_by: None }),
    ("UsernsMode", Rule::Mode { private: &["", "private", "auto"], allowed_by: None }),
    ("CgroupnsMode", Rule::Mode { private: &["", "private"], allowed_by: None }),
    ("SecurityOpt", Rule::Security),
    ("Devices", Rule::Devices),
    ("DeviceRequests", Rule::Judged(asks)),
    ("DeviceCgroupRules", Rule::Judged(asks)),
    // Other containers' files and groups, another runtime, the kernel, files of the machine.
    ("VolumesFrom", Rule::Judged(asks)),
    ("VolumeDriver", Rule::Judged(asks)),
    ("Cgroup", Rule::Judged(asks)),
    ("CgroupParent", Rule::Judged(asks)),
    ("Runtime", Rule::Judged(asks)),
    ("Sysctls", Rule::Judged(asks)),
    ("Annotations", Rule::Judged(asks)),
    ("ContainerIDFile", Rule::Judged(asks)),
    // Precedence over everything else that runs.
    ("CpuRealtimePeriod", Rule::Judged(asks)),
    ("CpuRealtimeRuntime", Rule::Judged(asks)),
    ("OomKillDisable", Rule::Judged(asks)),
    ("OomScoreAdj", Rule::Judged(is_spared)),
    ("Ulimits", Rule::Judged(has_precedence)),
    ("LogConfig", Rule::Judged(names_log_path)),
    ("Isolation", Rule::Judged(asks)),
];

/// What [`super::HostPolicy::options`] may name.
pub const REFUSABLE: [&str; 20] = [
    "UTSMode",
    "UsernsMode",
    "CgroupnsMode",
    "DeviceRequests",
    "DeviceCgroupRules",
    "VolumesFrom",
    "VolumeDriver",
    "Cgroup",
    "CgroupParent",
    "Runtime",
    "Sysctls",
    "Annotations",
    "ContainerIDFile",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "OomKillDisable",
    "OomScoreAdj",
    "Ulimits",
    "LogConfig",
    "Isolation",
];

const HARMLESS: [&str; 39] = [
    "AutoRemove",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "ConsoleSize",
    "CpuCount",
    "CpuPercent",
    "CpuPeriod",
    "CpuQuota",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "IOMaximumBandwidth",
    "IOMaximumIOps",
    "Init",
    "KernelMemory",
    "KernelMemoryTCP",
    "Links",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "NanoCpus",
    "PidsLimit",
    "PortBindings",
    "PublishAllPorts",
    "ReadonlyRootfs",
    "RestartPolicy",
    "ShmSize",
    "StorageOpt",
    "Tmpfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_allowed_is_what_is_refused() {
        for name in REFUSABLE {
            let (spelled, rule) = rule(name);
            assert_eq!(spelled, name);
            assert!(
                matches!(rule, Rule::Judged(_) | Rule::Mode { allowed_by: None, .. }),
                "{name}"
            );
        }
        for (name, rule) in RULES {
            let by_list = matches!(rule, Rule::Judged(_) | Rule::Mode { allowed_by: None, .. });
            assert_eq!(by_list, REFUSABLE.contains(&name), "{name}");
            assert!(!HARMLESS.contains(&name), "{name}");
        }
    }
}
