//! Facts about the machine, from the engine and `/proc`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use containers::{ModuleRuntime, RuntimeError};
use host::clock::{Clock, Mono};
use host::fs;
use host::http::StatusCode;
use iot_proto::management::{DiskInfo, SystemInfo, SystemResources};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::http::Refusal;

/// What is needed to tell about the machine.
pub(crate) struct System {
    version: String,
    additional: Map<String, Value>,
    clock: Clock,
    started: Mono,
    /// Busy and all processor time at the last look.
    processor: Mutex<Option<Ticks>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl System {
    pub(crate) fn new(version: String, additional: Map<String, Value>, clock: Clock) -> Self {
        let started = clock.now();
        Self { version, additional, clock, started, processor: Mutex::new(None) }
    }

    /// `GET /systeminfo`.
    pub(crate) async fn info(
        &self,
        runtime: &dyn ModuleRuntime,
    ) -> Result<SystemInfo, RuntimeError> {
        let engine = runtime.info().await?;
        let release = file("/etc/os-release");
        let field = |name| os_release(release.as_deref()?, name);
        let info = SystemInfo {
            os_type: engine.os_type,
            architecture: engine.architecture,
            version: self.version.clone(),
            cpus: engine.cpus,
            total_memory: engine.memory_bytes,
            server_version: engine.version,
            kernel_release: file("/proc/sys/kernel/osrelease").unwrap_or(engine.kernel),
            kernel_version: file("/proc/sys/kernel/version").unwrap_or_default(),
            operating_system: field("ID"),
            operating_system_version: field("VERSION_ID"),
            operating_system_variant: field("VARIANT_ID"),
            operating_system_build: field("BUILD_ID"),
            virtualized: virtualized(file("/proc/cpuinfo").as_deref()).to_owned(),
            product_name: file("/sys/class/dmi/id/product_name"),
            system_vendor: file("/sys/class/dmi/id/sys_vendor"),
            ..SystemInfo::default()
        };
        Ok(with_additional(info, &self.additional))
    }

    /// `GET /systeminfo/resources`.
    pub(crate) fn resources(&self) -> Result<SystemResources, Refusal> {
        let memory = file("/proc/meminfo").unwrap_or_default();
        let total_ram = meminfo(&memory, "MemTotal").ok_or_else(|| unreadable("/proc/meminfo"))?;
        let free = meminfo(&memory, "MemAvailable").unwrap_or_default();
        let uptime = file("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok());
        Ok(SystemResources {
            host_uptime: uptime.ok_or_else(|| unreadable("/proc/uptime"))?,
            process_uptime: (self.clock.now() - self.started).as_secs(),
            used_cpu: self.used_cpu(),
            used_ram: total_ram.saturating_sub(free),
            total_ram,
            disks: disks(&file("/proc/mounts").unwrap_or_default()),
            // The runtime has no statistics of its modules.
            docker_stats: "[]".to_owned(),
        })
    }

    /// Per cent since the last look; the first time, since the machine started.
    fn used_cpu(&self) -> f64 {
        let Some(now) = file("/proc/stat").as_deref().and_then(ticks) else { return 0.0 };
        let before = self.processor.lock().replace(now).unwrap_or(Ticks { busy: 0, all: 0 });
        share(before, now)
    }
}

/// Percent of the processors' time between two looks.
#[expect(clippy::cast_precision_loss, reason = "a share in per cent needs no more than 52 bits")]
fn share(before: Ticks, now: Ticks) -> f64 {
    match now.all.saturating_sub(before.all) {
        0 => 0.0,
        all => now.busy.saturating_sub(before.busy) as f64 * 100.0 / all as f64,
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> =
        line.split_ascii_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
    let all = times.iter().sum();
    let idle: u64 = times.iter().skip(3).take(2).sum();
    Some(Ticks { busy: u64::saturating_sub(all, idle), all })
}

/// A text file without its line end; none when it is not there.
fn file(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// A value of os-release(5).
fn os_release(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// A line of `/proc/meminfo` in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn virtualized(cpuinfo: Option<&str>) -> &'static str {
    let flags = cpuinfo.and_then(|text| text.lines().find_map(|line| line.strip_prefix("flags")));
    match flags {
        None => "unknown",
        Some(flags) if flags.split_ascii_whitespace().any(|flag| flag == "hypervisor") => "yes",
        Some(_) => "no",
    }
}

/// The file systems on devices, each device once.
fn disks(mounts: &str) -> Vec<DiskInfo> {
    let mut seen = BTreeSet::new();
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
        device.starts_with("/dev/").then(|| (device.to_owned(), unescaped(path), kind.to_owned()))
    });
    mounted
        .filter(|(device, _, _)| seen.insert(device.clone()))
        .take(DISKS_MAX)
        .filter_map(|(device, path, kind)| {
            let space = fs::space(&path).ok()?;
            Some(DiskInfo {
                file_type: disk_type(&device).to_owned(),
                name: device,
                available_space: space.free_bytes,
                total_space: space.total_bytes,
                file_system: kind,
            })
        })
        .collect()
}

/// `/proc/mounts` writes spaces and the like as `\040`.
fn unescaped(path: &str) -> PathBuf {
    path.replace("\\040", " ").replace("\\011", "\t").into()
}

fn disk_type(device: &str) -> &'static str {
    let name = device.trim_start_matches("/dev/").trim_end_matches(|c: char| c.is_ascii_digit());
    match file(&format!("/sys/block/{name}/queue/rotational")).as_deref() {
        Some("0") => "SSD",
        Some("1") => "HDD",
        _ => "Unknown",
    }
}

/// `additional_info` may replace some fields and adds the rest.
fn with_additional(mut info: SystemInfo, additional: &Map<String, Value>) -> SystemInfo {
    for (name, value) in additional {
        let text = value.as_str().map(str::to_owned);
        match (name.as_str(), text) {
            ("kernel_release" | "kernel", Some(text)) => info.kernel_release = text,
            ("kernel_version", Some(text)) => info.kernel_version = text,
            ("operating_system", text @ Some(_)) => info.operating_system = text,
            ("operating_system_version", text @ Some(_)) => info.operating_system_version = text,
            ("operating_system_variant", text @ Some(_)) => info.operating_system_variant = text,
            ("operating_system_build", text @ Some(_)) => info.operating_system_build = text,
            ("architecture", Some(text)) => info.architecture = text,
            ("virtualized", Some(text)) => info.virtualized = text,
            ("product_name", text @ Some(_)) => info.product_name = text,
            ("system_vendor", text @ Some(_)) => info.system_vendor = text,
            ("server_version", Some(text)) => info.server_version = text,
            // A second field of the same name would be no JSON that anybody reads.
            (name, _) if FIELDS.contains(&name) => {}
            (name, _) => drop(info.additional.insert(name.to_owned(), value.clone())),
        }
    }
    info
}

fn unreadable(path: &str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot read {path}"))
}

/// Fields of the answer that nobody may add a second time.
const FIELDS: [&str; 16] = [
    "osType",
    "architecture",
    "version",
    "provisioning",
    "cpus",
    "total_memory",
    "server_version",
    "kernel_release",
    "kernel_version",
    "operating_system",
    "operating_system_version",
    "operating_system_variant",
    "operating_system_build",
    "virtualized",
    "product_name",
    "system_vendor",
];
const DISKS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_as_they_are() {
        let stat = "cpu  10 0 20 60 10 0 0 0 5 0\ncpu0 1 1 1 1\n";
        let now = ticks(stat).unwrap();
        assert_eq!(now, Ticks { busy: 30, all: 100 });
        assert!((share(Ticks { busy: 20, all: 80 }, now) - 50.0).abs() < f64::EPSILON);
        assert!((share(now, now)).abs() < f64::EPSILON);
        assert_eq!(meminfo("MemTotal:  2048 kB\nMemFree: 1 kB", "MemTotal"), Some(2_097_152));
        assert_eq!(meminfo("", "MemTotal"), None);
        let release = "NAME=\"x\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(os_release(release, "ID").as_deref(), Some("debian"));
        assert_eq!(os_release(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_release(release, "BUILD_ID"), None);
        assert_eq!(virtualized(Some("flags\t\t: fpu hypervisor lm")), "yes");
        assert_eq!(virtualized(Some("flags\t\t: fpu lm")), "no");
        assert_eq!(virtualized(None), "unknown");
    }

    #[test]
    fn additional_information_replaces_and_adds_but_never_doubles() {
        let additional = serde_json::json!({
            "product_name": "box", "version": "forged", "cpus": 99, "site": {"id": 1},
        });
        let info = with_additional(SystemInfo::default(), additional.as_object().unwrap());
        assert_eq!(info.product_name.as_deref(), Some("box"));
        assert_eq!((info.version.as_str(), info.cpus), ("", 0));
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(text.matches("\"version\"").count(), 1);
        assert!(text.contains(r#""site":{"id":1}"#));
    }
}
