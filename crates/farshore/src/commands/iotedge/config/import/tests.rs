//! Old files and what they become; then whether the new one is taken.

use std::path::Path;

use edge_daemon::Config;
use edge_daemon::config::DeviceCredential;

use super::*;

const CONNECTION_STRING: &str = include_str!("tests/connection_string.yaml");
const EVERYTHING: &str = include_str!("tests/everything.yaml");
const DPS_KEY: &str = include_str!("tests/dps_key.yaml");

fn imported(old: &str) -> Imported {
    match convert(old) {
        Ok(imported) => imported,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn check(old: &str, expected: &str, notes: &[&str]) {
    let imported = imported(old);
    let body = imported.text.split_once("\n\n").unwrap().1;
    assert_eq!(body, expected);
    let said: Vec<_> = imported.notes.iter().map(ToString::to_string).collect();
    assert_eq!(said, notes);
}

/// What the check of `config.toml` says to it.
fn problems(old: &str) -> Vec<String> {
    match Config::parse(&imported(old).text, Path::new("config.toml")) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(|problem| problem.key.clone()).collect(),
    }
}

#[track_caller]
fn refused(old: &str) -> String {
    match convert(old) {
        Ok(imported) => panic!("{}", imported.text),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_connection_string() {
    check(
        CONNECTION_STRING,
        r#"hostname = "edge-1.plant"
auto_reprovisioning_mode = "OnErrorOnly"

[provisioning]
source = "manual"
connection_string = "HostName=hub.example.org;DeviceId=edge-1;SharedAccessKey=c2VjcmV0IGtleQ=="

[agent]
name = "edgeAgent"
type = "docker"

[agent.config]
image = "mcr.microsoft.com/azureiotedge-agent:1.1"
"#,
        &[],
    );
    let text = imported(CONNECTION_STRING).text;
    let config = Config::parse(&text, Path::new("config.toml")).unwrap();
    assert_eq!(config.provisioning.device.as_str(), "edge-1");
    assert_eq!(config.hostname.as_deref(), Some("edge-1.plant"));
}

#[test]
fn everything_with_a_certificate() {
    check(
        EVERYTHING,
        r#"hostname = "edge-2"
parent_hostname = "above.example.org"
trust_bundle_cert = "file:///etc/edge/roots.pem"
auto_reprovisioning_mode = "Dynamic"

[edge_ca]
cert = "file:///etc/edge/ca.pem"
pk = "file:///etc/edge/ca.key"

[provisioning]
source = "manual"
iothub_hostname = "hub.example.org"
device_id = "edge-2"

[provisioning.authentication]
method = "x509"
identity_cert = "file:///etc/edge/device%20id.pem"
identity_pk = "file:///etc/edge/device.key"

[agent]
name = "edgeAgent"
type = "docker"
imagePullPolicy = "never"

[agent.config]
image = "mcr.microsoft.com/azureiotedge-agent:1.0.10"
createOptions = { Env = ["storageFolder=/iotedge/storage"], HostConfig = { Binds = ["/iotedge/storage:/iotedge/storage"], Devices = "42", Memory = 250000000, Privileged = false } }

[agent.config.auth]
serveraddress = "registry.example.org"
username = "puller"
password = "a-secret"

[agent.env]
"UpstreamProtocol" = "AmqpWs"
"RuntimeLogLevel" = "debug"
"MaxRestartCount" = "5"

[connect]
management_uri = "unix:///var/run/iotedge/mgmt.sock"
workload_uri = "unix:///run/edge/workload.sock"

[listen]
management_uri = "unix:///run/edge/mgmt.sock"

[watchdog]
max_retries = 7

[moby_runtime]
uri = "unix:///run/moby.sock"
network = { ipam = { config = [{ gateway = "10.1.0.1", subnet = "10.1.0.0/16" }] }, ipv6 = true, name = "plant" }
"#,
        &[
            "27: agent.config.imageHash has no counterpart: write digest",
            "49: listen.min_tls_version has no counterpart: it is TLS 1.2, and no TLS is spoken on sockets",
            "50: homedir has no counterpart: state lies in /var/lib/aziot/edged",
            "53: colour is left out: it is not a key of config.yaml",
            "63: moby_runtime.content_trust is left out: no engine checks it any more",
        ],
    );
    // Only what is above this device is not served.
    assert_eq!(problems(EVERYTHING), ["parent_hostname"]);
    let text = imported(EVERYTHING).text.replace("parent_hostname", "# parent_hostname");
    let config = Config::parse(&text, Path::new("config.toml")).unwrap();
    assert_eq!(config.agent.env["MaxRestartCount"], "5");
    assert_eq!(config.engine.network.name, "plant");
    assert!(config.engine.network.ipv6);
    assert_eq!(config.listen_management.as_deref(), Some(Path::new("/run/edge/mgmt.sock")));
    let DeviceCredential::Certificate { certificate, .. } = config.provisioning.credential else {
        panic!("no certificate");
    };
    assert_eq!(certificate, Path::new("/etc/edge/device id.pem"));
}

#[test]
fn provisioning_by_dps_is_converted_and_the_check_says_that_it_is_not_served() {
    check(
        DPS_KEY,
        r#"hostname = "edge-3"
auto_reprovisioning_mode = "AlwaysOnStartup"

[edge_ca]
auto_generated_edge_ca_expiry_days = 45

[provisioning]
source = "dps"
global_endpoint = "https://global.azure-devices-provisioning.net"
id_scope = "0ne000A1B2C"

[provisioning.attestation]
method = "symmetric_key"
registration_id = "edge-3"
symmetric_key = { value = "c2VjcmV0IGtleQ==" }
"#,
        &[],
    );
    assert_eq!(problems(DPS_KEY), ["provisioning.source"]);

    let dps = |attestation: &str| {
        format!(
            "provisioning: {{ source: dps, global_endpoint: 'https://d', scope_id: s, {attestation} }}\n"
        )
    };
    let part = |old: &str| {
        let text = imported(old).text;
        text.split_once("[provisioning.attestation]\n").unwrap().1.to_owned()
    };
    let x509 = "attestation: { method: x509, identity_cert: /c.pem, identity_pk: /k.pem }";
    assert_eq!(
        part(&dps(x509)),
        "method = \"x509\"\nidentity_cert = \"file:///c.pem\"\nidentity_pk = \"file:///k.pem\"\n"
    );
    let tpm = "method = \"tpm\"\nregistration_id = \"r\"\n";
    assert_eq!(part(&dps("attestation: { method: tpm, registration_id: r }")), tpm);
    // As the first of all wrote it.
    assert_eq!(part(&dps("registration_id: r")), tpm);
    for old in [x509, "registration_id: r"] {
        assert_eq!(problems(&dps(old)), ["provisioning.source"], "{old}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_without_its_value() {
    for (old, expected) in [
        ("", "1: provisioning is missing: there is no device to import"),
        ("- a", "1: the document is not a list of keys and values"),
        (
            "provisioning:\n  source: external\n",
            "2: provisioning.source \"external\" has no counterpart",
        ),
        ("provisioning: {}\n", "1: provisioning.device_connection_string is missing"),
        (
            "provisioning:\n  device_connection_string: k3y\n  authentication:\n    method: x509\n",
            "2: provisioning.device_connection_string stands beside authentication; take one out",
        ),
        (
            "provisioning: { authentication: { method: x509, device_id: d, identity_cert: c } }",
            "provisioning.authentication.identity_cert is neither a path nor a file URI",
        ),
        (
            "provisioning: { source: dps, scope_id: s, attestation: { method: symmetric_key, registration_id: r } }",
            "provisioning.attestation.symmetric_key is missing",
        ),
        (
            "certificates: { device_ca_cert: /c }\nprovisioning: { device_connection_string: s }",
            "1: certificates.device_ca_pk is missing",
        ),
        (
            "listen: { workload_uri: 'fd://mine' }\nprovisioning: { device_connection_string: s }",
            "1: listen.workload_uri names a unit of systemd",
        ),
        (
            "watchdog: { max_retries: many }",
            "1: watchdog.max_retries is neither \"infinite\" nor a number",
        ),
        ("hostname: [a]", "1: hostname is not a text"),
        ("a: b: c", "1: is no YAML: "),
        ("a: 1\nb: 2\na: 3\n", "3: a stands here a second time"),
        ("a: &x [1]\nb: *x\n", "1: uses an anchor"),
        ("a: !!str 1\n", "1: uses an anchor, an alias or a tag"),
        ("a: 1\n---\nb: 2\n", "3: begins a second document"),
        ("a: [1, 2\n", "is no YAML"),
    ] {
        let said = refused(old);
        assert!(said.contains(expected), "{old}\n{said}");
        assert!(!said.contains("k3y"), "{said}");
    }
    for (depth, expected) in [(40, "nested more than 32 deep"), (10_000, "recursion limit")] {
        let deep = format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(refused(&deep).contains(expected), "{depth}: {}", refused(&deep));
    }
    assert!(refused(&"#".repeat(1 << 21)).contains("is longer than"));
}

#[test]
fn windows_lines_and_marks_are_read() {
    let old = format!("\u{feff}{}", CONNECTION_STRING.replace('\n', "\r\n"));
    assert_eq!(imported(&old).text, imported(CONNECTION_STRING).text);
}
