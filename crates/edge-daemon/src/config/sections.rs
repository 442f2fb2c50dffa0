//! The sections of `config.toml`, one function each (`edge-runtime.md` §3.2).

mod agent;
mod edge_ca;
mod engine;
mod garbage;
mod policy;
mod provisioning;
mod shape;

use std::path::{Component, Path, PathBuf};

use iot_proto::percent;

use super::reader::{Found, Section};
use super::{Config, EdgeCaConfig};

/// The whole document; none when a problem was found.
pub(super) fn document(mut root: Section<'_, '_>) -> Option<Config> {
    let hostname = hostname(&mut root);
    let trust_bundle_cert = file(&mut root, "trust_bundle_cert");
    let allow_elevated = root.boolean("allow_elevated_docker_permissions");
    let prefer_cache = root.boolean("prefer_module_identity_cache");
    let retries = root.number("cloud_retries", 0..=CLOUD_RETRIES_MAX);
    let additional_info = file(&mut root, "additional_info");
    let (management_max, workload_max) = requests(&mut root);
    refused_or_without_effect(&mut root);
    let provisioning = provisioning::section(&mut root);
    let agent = agent::section(&mut root);
    let connect_workload = connect(&mut root);
    let listen_management = listen(&mut root);
    let edge_ca = edge_ca::section(&mut root).unwrap_or_else(EdgeCaConfig::quickstart);
    let engine = engine::section(&mut root);
    let policy = policy::section(&mut root, allow_elevated.as_ref().map(|found| found.value));
    let image_garbage_collection = garbage::section(&mut root);
    root.finish();
    Some(Config {
        hostname,
        trust_bundle_cert,
        allow_elevated_docker_permissions: allow_elevated.is_none_or(|found| found.value),
        prefer_module_identity_cache: prefer_cache.is_some_and(|found| found.value),
        cloud_retries: retries.map_or(CLOUD_RETRIES, |found| found.value),
        additional_info,
        management_requests_max: management_max,
        workload_requests_max: workload_max,
        provisioning: provisioning?,
        agent,
        connect_workload,
        listen_management,
        edge_ca,
        engine,
        policy,
        image_garbage_collection,
        notes: Vec::new(),
    })
}

fn hostname(root: &mut Section<'_, '_>) -> Option<String> {
    let found = root.string("hostname")?;
    match found.value.parse::<pki::ServerName>() {
        Ok(_) if !found.value.starts_with('*') => Some(found.value.to_owned()),
        _ => {
            root.wrong(&found, "is not a host name; write one such as edge1.example.org");
            None
        }
    }
}

/// Keys of the top that are not served: those that decide something are refused.
fn refused_or_without_effect(root: &mut Section<'_, '_>) {
    for key in ["parent_hostname", "local_gateway_hostname"] {
        root.refuse(
            key,
            "is not served yet: this device connects to its hub directly; take the line out",
        );
    }
    root.refuse(
        "imported_master_encryption_key",
        "is not served yet: what another runtime encrypted cannot be read here; take the line out",
    );
    if let Some(found) = root.string("auto_reprovisioning_mode") {
        match found.value {
            "Dynamic" | "AlwaysOnStartup" | "OnErrorOnly" => {}
            _ => root
                .wrong(&found, "is not one of \"Dynamic\", \"AlwaysOnStartup\", \"OnErrorOnly\""),
        }
    }
    if let Some(found) = root.integer("cloud_timeout_sec") {
        match found.value {
            ..CLOUD_TIMEOUT_SECONDS_MIN => root.wrong(
                &found,
                format!("is {}; write {CLOUD_TIMEOUT_SECONDS_MIN} or more", found.value),
            ),
            CLOUD_TIMEOUT_SECONDS_MIN => {}
            _ => root.remark(&found, "has no effect: calls to the hub have deadlines of their own"),
        }
    }
    for (section, what, keys) in WITHOUT_EFFECT {
        root.note(section, what);
        shape::look_inside(root, section, keys);
    }
    keys(root);
    preloaded(root);
}

/// `[aziot_keys]`: keys in hardware would silently be keys in files.
fn keys(root: &mut Section<'_, '_>) {
    let Some(mut section) = root.section("aziot_keys") else { return };
    for key in ["pkcs11_lib_path", "pkcs11_base_slot"] {
        section.refuse(key, "is not served yet: keys are kept in sealed files; take the line out");
    }
    section.finish();
}

/// `[preloaded_keys]`, `[preloaded_certs]`: ids of the daemon's own keys would change them.
fn preloaded(root: &mut Section<'_, '_>) {
    for name in ["preloaded_keys", "preloaded_certs"] {
        let Some(section) = root.section(name) else { continue };
        for found in section.entries() {
            let line = found.line;
            let key = format!("{name}.{}", found.key);
            let value = Found { value: found.value, line, key: key.clone() };
            shape::check(root.reporter(), &value, &shape::PRELOADED);
            let is_ours = OUR_KEY_IDS.iter().any(|id| found.key.starts_with(id));
            let found = Found { value: (), line, key };
            if is_ours {
                root.wrong(
                    &found,
                    "is not served yet: use [edge_ca], trust_bundle_cert or [provisioning]",
                );
            } else {
                root.remark(&found, "has no effect: nothing here uses this id");
            }
        }
    }
}

fn requests(root: &mut Section<'_, '_>) -> (usize, usize) {
    let mut maxima = (MANAGEMENT_REQUESTS, WORKLOAD_REQUESTS);
    if let Some(mut section) = root.section("iotedge_max_requests") {
        let mut read = |key, maximum: &mut usize| {
            if let Some(found) = section.number(key, 1..=REQUESTS_MAX) {
                *maximum = found.value as usize;
            }
        };
        read("management", &mut maxima.0);
        read("workload", &mut maxima.1);
        section.finish();
    }
    if let Some(mut section) = root.section("aziot_max_requests") {
        for key in ["keyd", "certd", "identityd", "tpmd"] {
            section
                .note(key, "has no effect: this service is part of the daemon and has no socket");
        }
        section.finish();
    }
    maxima
}

/// `[connect]`: how modules see the sockets.
fn connect(root: &mut Section<'_, '_>) -> PathBuf {
    let default = PathBuf::from(CONNECT_WORKLOAD);
    let Some(mut section) = root.section("connect") else { return default };
    section.note("management_uri", "has no effect: the agent is part of the daemon");
    let mut path = default;
    if let Some(found) = section.string("workload_uri") {
        match socket(found.value) {
            Some(socket) if may_cover(&socket) => path = socket,
            Some(_) => section.wrong(
                &found,
                "names a socket in a directory that modules need: give it a directory of its own, \
                 such as unix:///var/run/iotedge/workload.sock",
            ),
            None => section.wrong(&found, NO_SOCKET),
        }
    }
    section.finish();
    path
}

/// `[listen]`: where the sockets are on the machine.
fn listen(root: &mut Section<'_, '_>) -> Option<PathBuf> {
    let mut section = root.section("listen")?;
    section.note("workload_uri", "has no effect: each module has a workload socket of its own");
    let mut path = None;
    if let Some(found) = section.string("management_uri") {
        if found.value.starts_with("fd://") {
            section.remark(
                &found,
                "has no effect: the socket is not passed by systemd but made by the daemon",
            );
        } else {
            path = socket(found.value);
            if path.is_none() {
                section.wrong(&found, NO_SOCKET);
            }
        }
    }
    section.finish();
    path
}

/// The path of `file:///…`.
fn file(section: &mut Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let found = section.string(key)?;
    file_of(section, &found)
}

fn file_of(section: &Section<'_, '_>, found: &Found<&str>) -> Option<PathBuf> {
    if found.value.starts_with("pkcs11:") {
        section.wrong(found, "is in a PKCS #11 token, which is not served yet; use file:///path");
        return None;
    }
    let path = found
        .value
        .strip_prefix("file://")
        .map(|path| path.strip_prefix("localhost").unwrap_or(path));
    match path.and_then(percent::decode_exact) {
        Some(path) if path.starts_with('/') && !path.contains('\0') => {
            Some(path.into_owned().into())
        }
        _ => {
            section.wrong(found, "is not a file URI; write file:///path");
            None
        }
    }
}

fn socket(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("unix://")?;
    let is_plain = Path::new(path)
        .components()
        .all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    let fits =
        path.starts_with('/') && !path.ends_with('/') && is_plain && !path.contains([':', '\0']);
    fits.then(|| path.into())
}

/// Whether a module can do without whatever its image has in the socket's directory, which is
/// covered by ours.
fn may_cover(socket: &Path) -> bool {
    let needed = ["/", "/var", "/run", "/var/run", "/tmp", "/dev", "/proc", "/sys", "/etc", "/usr"];
    socket.parent().is_some_and(|parent| !needed.iter().any(|path| parent == Path::new(path)))
}

const NO_SOCKET: &str = "is not a unix socket; write unix:///path/to/socket";

/// Sections without effect, why, and what may stand in them all the same.
const WITHOUT_EFFECT: [(&str, &str, shape::Keys); 4] = [
    ("localid", "has no effect: identities of host modules are not served yet", shape::LOCALID),
    (
        "cert_issuance",
        "has no effect: certificates are issued by the daemon itself",
        shape::CERT_ISSUANCE,
    ),
    ("tpm", "has no effect: no TPM is used with manual provisioning", shape::TPM),
    (
        "watchdog",
        "has no effect: modules are restarted for as long as the daemon runs",
        shape::WATCHDOG,
    ),
];

/// Ids under which the original keeps its own keys and certificates.
const OUR_KEY_IDS: [&str; 4] = ["aziot-edged", "aziot_identityd", "device-id", "iotedge_master"];

const CONNECT_WORKLOAD: &str = "/var/run/iotedge/workload.sock";
const CLOUD_TIMEOUT_SECONDS_MIN: i64 = 70;
const CLOUD_RETRIES: u32 = 1;
/// More would only keep local callers waiting.
const CLOUD_RETRIES_MAX: i64 = 10;
const MANAGEMENT_REQUESTS: usize = 50;
const WORKLOAD_REQUESTS: usize = 10;
/// As many descriptors as a process has at most.
const REQUESTS_MAX: i64 = 10_000;
