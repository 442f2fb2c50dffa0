//! Taking secrets out of what leaves the machine.
//!
//! Structured documents (`config.toml`, containers) keep what is on a list of harmless things;
//! everything else is taken out of them, and its text is remembered. Then every text of the bundle,
//! also logs, loses what is remembered, what stands behind the name of a secret, and what looks
//! like a key.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// What stands where a secret was.
pub(super) const REDACTED: &str = "<redacted>";

/// Texts that must not leave the machine.
#[derive(Default)]
pub(super) struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Remembers a text; of a connection string its secret parts on their own.
    pub(super) fn remember(&mut self, text: &str) {
        self.insert(text);
        for (name, value) in text.split(';').filter_map(|part| part.split_once('=')) {
            if PLAIN_PARTS.iter().all(|plain| !plain.eq_ignore_ascii_case(name.trim())) {
                self.insert(value);
            }
        }
    }

    fn insert(&mut self, text: &str) {
        for secret in [text.trim(), text.trim().trim_end_matches('=')] {
            if secret.len() >= SECRET_BYTES_MIN && !HARMLESS_WORDS.contains(&secret) {
                self.0.insert(secret.to_owned());
            }
        }
    }

    /// `config.toml` with its harmless values alone; none when it is not TOML.
    pub(super) fn config(&mut self, text: &str) -> Option<String> {
        let mut table: toml::Table = text.parse().ok()?;
        let mut path = Vec::new();
        for (key, value) in &mut table {
            path.push(key.clone());
            self.config_value(&mut path, value);
            path.pop();
        }
        Some(self.scrub(&toml::to_string(&table).ok()?))
    }

    fn config_value(&mut self, path: &mut Vec<String>, value: &mut toml::Value) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    path.push(key.clone());
                    self.config_value(path, value);
                    path.pop();
                }
            }
            toml::Value::Array(values) => {
                for value in values {
                    self.config_value(path, value);
                }
            }
            // Numbers and switches of an engine's options may mean anything, too.
            value if is_shown(path, value) => {}
            toml::Value::String(text) => {
                self.remember(text);
                REDACTED.clone_into(text);
            }
            value => *value = REDACTED.into(),
        }
    }

    /// What an engine tells of a container, as far as it is harmless.
    pub(super) fn container(&mut self, inspected: &Value) -> Value {
        let mut shown = Map::new();
        for path in CONTAINER_FIELDS {
            if let Some(value) = inspected.pointer(path) {
                shown.insert(path.trim_start_matches('/').replace('/', "."), value.clone());
            }
        }
        let env = inspected.pointer("/Config/Env").and_then(Value::as_array);
        let env = env.into_iter().flatten().filter_map(Value::as_str);
        let env = env.map(|entry| self.variable(entry));
        shown.insert("Config.Env".to_owned(), env.collect());
        // They hold createOptions and environment once more.
        let labels = inspected.pointer("/Config/Labels").and_then(Value::as_object);
        let names: Vec<&String> = labels.into_iter().flat_map(Map::keys).collect();
        shown.insert("Config.Labels (names)".to_owned(), json!(names));
        shown.into()
    }

    /// `NAME=value`, with the value of harmless names alone.
    fn variable(&mut self, entry: &str) -> String {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if is_harmless_variable(name) {
            return entry.to_owned();
        }
        self.remember(value);
        format!("{name}={REDACTED}")
    }

    /// A text without secrets.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut known = text.to_owned();
        // Long ones first: a short one may be a part of them.
        let mut secrets: Vec<&String> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if known.contains(secret.as_str()) {
                known = known.replace(secret.as_str(), REDACTED);
            }
        }
        let mut scrubbed = String::with_capacity(known.len());
        let mut in_key = false;
        for line in known.split_inclusive('\n').flat_map(pieces) {
            // A private key over several lines goes as a whole, whatever stands before each.
            if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
                scrubbed.push_str(REDACTED);
                scrubbed.push('\n');
                in_key = !line.contains("-----END");
            } else if in_key {
                in_key = !line.contains("-----END");
            } else {
                scrub_line(line, &mut scrubbed);
            }
        }
        scrubbed
    }
}

/// A line in pieces that are not too long: the search below takes the square of a line's length,
/// and a module may write lines without end.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = piece_end(rest);
        let piece;
        (piece, rest) = rest.split_at(end);
        Some(piece)
    })
}

/// Where the first piece ends: not within what looks like a key, nor between the name of a secret and
/// its value, as long as these are shorter than half a piece.
fn piece_end(line: &str) -> usize {
    if line.len() <= LINE_BYTES_MAX {
        return line.len();
    }
    let least = line.floor_char_boundary(LINE_BYTES_MAX / 2);
    let most = line.floor_char_boundary(LINE_BYTES_MAX);
    let before_key = line[..most].trim_end_matches(|c: char| is_key_char(c) || c == '=').len();
    let end = if before_key > least { before_key } else { most };
    // A name may reach over the end.
    let beyond = line.floor_char_boundary(end + NAME_BYTES_MAX);
    let tail = line[least..beyond].to_ascii_lowercase();
    let name = SECRET_NAMES.iter().filter_map(|name| tail.find(name)).min();
    name.map_or(end, |at| end.min(least + at))
}

/// Whether a value of `config.toml` may be shown.
fn is_shown(path: &[String], value: &toml::Value) -> bool {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["agent", "env", name] = names.as_slice() {
        return is_harmless_variable(name);
    }
    let matches = |pattern: &str| {
        let pattern: Vec<&str> = pattern.split('.').collect();
        match pattern.as_slice() {
            [start @ .., "**"] => names.starts_with(start),
            pattern => pattern == names,
        }
    };
    match value {
        // A URI into hardware may hold a PIN.
        toml::Value::String(text) if text.starts_with("pkcs11:") => false,
        // Where a secret is, is none; what it is, may be written in the same place.
        toml::Value::String(text) if FILE_KEYS.contains(names.last().unwrap_or(&"")) => {
            text.starts_with("file://")
        }
        _ => SHOWN.iter().any(|pattern| matches(pattern)),
    }
}

fn is_harmless_variable(name: &str) -> bool {
    HARMLESS_VARIABLES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// One line, without what stands behind the name of a secret and what looks like a key.
fn scrub_line(line: &str, out: &mut String) {
    let lower = line.to_ascii_lowercase();
    let mut rest = 0;
    while let Some((start, end)) = next_named(&lower, rest) {
        keys_out(&line[rest..start], out);
        out.push_str(REDACTED);
        rest = end;
    }
    keys_out(&line[rest..], out);
}

/// The next value behind the name of a secret, as a range of bytes. Both ends are beside ASCII.
fn next_named(lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = SECRET_NAMES
            .iter()
            // A sign at a name's end belongs to what follows: it is looked for below.
            .filter_map(|name| {
                Some((at + lower[at..].find(name)?, name.trim_end_matches('=').len()))
            })
            .min_by_key(|(start, length)| (*start, std::cmp::Reverse(*length)));
        let (start, length) = found?;
        at = start + length;
        let tail = &lower[at..];
        // A policy's name is none of its keys.
        if lower[..at].ends_with("sharedaccesskey") && tail.starts_with("name") {
            continue;
        }
        // A name may go on ("password_hash") or be quoted.
        let named = tail
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-\"'\\".contains(c))
            .trim_start_matches(' ');
        let Some(value) = named.strip_prefix(['=', ':']) else { continue };
        let value = value.trim_start_matches(|c: char| c == ' ' || "\"'\\=".contains(c));
        let start = lower.len() - value.len();
        let quote = lower[..start].chars().next_back().filter(|c| "\"'".contains(*c));
        let until_line_end = tail_is_scheme(value);
        let length = value
            .find(|c: char| match quote {
                Some(quote) => c == quote || "\r\n".contains(c),
                None if until_line_end => "\"'\r\n".contains(c),
                None => c.is_whitespace() || "\"';,&)}]<\\".contains(c),
            })
            .unwrap_or(value.len());
        if length > 0 {
            return Some((start, start + length));
        }
        at = start;
        if at >= lower.len() {
            return None;
        }
    }
}

/// `Bearer …`, `Basic …`, `SharedAccessSignature …`: the secret is behind the scheme.
fn tail_is_scheme(value: &str) -> bool {
    ["bearer ", "basic ", "digest ", "sharedaccesssignature "]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

/// Replaces what looks like a key or token in Base64, and users in URLs.
fn keys_out(text: &str, out: &mut String) {
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !is_key_char(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        let padded = after.len() - after.trim_start_matches('=').len();
        if looks_like_key(run) {
            out.push_str(REDACTED);
            rest = &after[padded..];
            continue;
        }
        out.push_str(run);
        if run.is_empty() {
            if let Some(after_user) = user_of_url(after, out) {
                out.push_str("://");
                out.push_str(REDACTED);
                rest = after_user;
                continue;
            }
            let length = after.chars().next().map_or(0, char::len_utf8);
            out.push_str(&after[..length]);
            rest = &after[length..];
        } else {
            rest = after;
        }
    }
}

/// What follows `://user:password` in a text that begins so; `out` ends with a scheme.
fn user_of_url<'t>(text: &'t str, out: &str) -> Option<&'t str> {
    let authority = text.strip_prefix("://")?;
    if !out.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let end = authority.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c));
    let authority_only = &authority[..end.unwrap_or(authority.len())];
    let at = authority_only.rfind('@')?;
    Some(&authority[at..])
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/-_".contains(c)
}

/// Long, and of all kinds of letters: digests and ids in hex are not, words and paths hardly.
fn looks_like_key(run: &str) -> bool {
    run.len() >= KEY_CHARS_MIN
        && run.contains(|c: char| c.is_ascii_uppercase())
        && run.contains(|c: char| c.is_ascii_lowercase())
        && run.contains(|c: char| c.is_ascii_digit())
}

/// Longer than most lines, and than most keys on one line.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Shorter texts would take half of every log with them.
const SECRET_BYTES_MIN: usize = 5;
/// A key of 30 bytes in Base64.
const KEY_CHARS_MIN: usize = 40;

/// Parts of a connection string that are no secret, and needed to understand anything.
const PLAIN_PARTS: [&str; 5] =
    ["HostName", "DeviceId", "ModuleId", "GatewayHostName", "SharedAccessKeyName"];

/// Values that stand in every second line and are nobody's secret.
const HARMLESS_WORDS: [&str; 6] = ["false", "docker", "info", "debug", "edgeAgent", "edgeHub"];

/// Longer than each of them.
const NAME_BYTES_MAX: usize = 32;

const SECRET_NAMES: [&str; 23] = [
    "sharedaccesskey",
    "sharedaccesssignature",
    "accountkey",
    "access_key",
    "accesskey",
    "primarykey",
    "secondarykey",
    "primary_key",
    "secondary_key",
    "symmetric_key",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "api-key",
    "sig=",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
];

/// Keys of `config.toml` whose values may be shown; `**` is whatever is below.
const SHOWN: [&str; 44] = [
    "hostname",
    "parent_hostname",
    "local_gateway_hostname",
    "allow_elevated_docker_permissions",
    "auto_reprovisioning_mode",
    "prefer_module_identity_cache",
    "cloud_timeout_sec",
    "cloud_retries",
    "iotedge_max_requests.**",
    "aziot_max_requests.**",
    "provisioning.source",
    "provisioning.iothub_hostname",
    "provisioning.device_id",
    "provisioning.global_endpoint",
    "provisioning.id_scope",
    "provisioning.authentication.method",
    "provisioning.attestation.method",
    "provisioning.attestation.registration_id",
    "localid.domain",
    "cert_issuance.est.urls.**",
    "tpm.tcti",
    "tpm.auth_key_index",
    "agent.name",
    "agent.type",
    "agent.imagePullPolicy",
    "agent.config.image",
    "agent.config.digest",
    "agent.config.auth.serveraddress",
    "connect.management_uri",
    "connect.workload_uri",
    "listen.management_uri",
    "listen.workload_uri",
    "watchdog.max_retries",
    "edge_ca.method",
    "edge_ca.common_name",
    "edge_ca.expiry_days",
    "edge_ca.auto_generated_edge_ca_expiry_days",
    "edge_ca.auto_renew.**",
    "moby_runtime.uri",
    "moby_runtime.network",
    "moby_runtime.network.**",
    "image_garbage_collection.**",
    "cert_issuance.est.identity_auto_renew.**",
    "edge_ca.url",
];

/// Keys that point to files.
const FILE_KEYS: [&str; 10] = [
    "trust_bundle_cert",
    "additional_info",
    "trusted_certs",
    "cert",
    "pk",
    "uri",
    "identity_cert",
    "identity_pk",
    "bootstrap_identity_cert",
    "bootstrap_identity_pk",
];

const HARMLESS_VARIABLES: [&str; 40] = [
    "IOTEDGE_WORKLOADURI",
    "IOTEDGE_MANAGEMENTURI",
    "IOTEDGE_AUTHSCHEME",
    "IOTEDGE_APIVERSION",
    "IOTEDGE_DEVICEID",
    "IOTEDGE_MODULEID",
    "IOTEDGE_MODULEGENERATIONID",
    "IOTEDGE_IOTHUBHOSTNAME",
    "IOTEDGE_GATEWAYHOSTNAME",
    "IOTEDGE_PARENTHOSTNAME",
    "EdgeDeviceHostName",
    "RuntimeLogLevel",
    "UpstreamProtocol",
    "storageFolder",
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "OptimizeForPerformance",
    "MaxConnectedClients",
    "CloudOperationTimeout",
    "UsePersistentStorage",
    "ModuleUpdateMode",
    "ConfigRefreshFrequencySecs",
    "MessageCount",
    "MaxUpstreamBatchSize",
    "UpstreamFanOutFactor",
    "MqttEventsProcessorThreadCount",
    "amqpSettings__enabled",
    "mqttSettings__enabled",
    "httpSettings__enabled",
    "MetricsEnabled",
    "FARSHORE_UPSTREAM_ADDRESS",
    "FARSHORE_UPSTREAM_MQTT_PORT",
    "FARSHORE_UPSTREAM_AMQP_PORT",
    "FARSHORE_UPSTREAM_HTTPS_PORT",
    "FARSHORE_GATEWAY_ADDRESS",
    "FARSHORE_EDGE_LISTEN",
    "FARSHORE_EDGE_LISTEN_AMQP",
    "FARSHORE_EDGE_LISTEN_HTTPS",
];

/// What is shown of a container: nothing in it is free text of an operator's.
const CONTAINER_FIELDS: [&str; 34] = [
    "/Id",
    "/Created",
    "/Name",
    "/Image",
    "/State/Status",
    "/State/ExitCode",
    "/State/Error",
    "/State/OOMKilled",
    "/State/StartedAt",
    "/State/FinishedAt",
    "/State/Health/Status",
    "/RestartCount",
    "/Driver",
    "/Platform",
    "/Config/Image",
    "/Config/User",
    "/Config/ExposedPorts",
    "/Config/WorkingDir",
    "/Mounts",
    "/HostConfig/Binds",
    "/HostConfig/PortBindings",
    "/HostConfig/NetworkMode",
    "/HostConfig/RestartPolicy",
    "/HostConfig/Privileged",
    "/HostConfig/CapAdd",
    "/HostConfig/CapDrop",
    "/HostConfig/Memory",
    "/HostConfig/NanoCpus",
    "/HostConfig/PidMode",
    "/HostConfig/ReadonlyRootfs",
    "/HostConfig/SecurityOpt",
    "/HostConfig/LogConfig/Type",
    "/HostConfig/Dns",
    "/NetworkSettings/Networks",
];
