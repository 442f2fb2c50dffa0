use std::path::Path;
use std::time::Duration;

use containers::AddressRange;

use super::*;

const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

fn connection_string() -> String {
    format!("HostName=hub.test;DeviceId=edge1;SharedAccessKey={KEY}")
}

/// A file with the given top and the shortest provisioning.
fn with_top(top: &str) -> String {
    let connection_string = connection_string();
    format!(
        "{top}\n[provisioning]\nsource = \"manual\"\nconnection_string = \"{connection_string}\"\n"
    )
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("config.toml"))
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The only problem of a text, as `line: key what`, begins so.
#[track_caller]
fn check(text: &str, expected: &str) {
    let error = parse(text).expect_err(text);
    let problems = error.problems();
    assert_eq!(problems.len(), 1, "{error}");
    assert!(problems[0].to_string().starts_with(expected), "{} is not {expected}", problems[0]);
    assert!(error.to_string().starts_with("config.toml:"), "{error}");
    assert!(!error.to_string().contains("a2tra2"), "{error}");
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = good(&with_top(""));
    assert_eq!(config.hostname, None);
    assert!(config.allow_elevated_docker_permissions);
    assert!(!config.prefer_module_identity_cache);
    assert_eq!(config.cloud_retries, 1);
    assert_eq!((config.management_requests_max, config.workload_requests_max), (50, 10));
    assert_eq!(config.connect_workload, Path::new("/var/run/iotedge/workload.sock"));
    assert_eq!(config.listen_management, None);
    assert_eq!(config.engine.uri, "unix:///var/run/docker.sock");
    assert_eq!(config.engine.network.name, "azure-iot-edge");
    assert!(!config.engine.is_explicit);
    assert_eq!(
        config.edge_ca,
        EdgeCaConfig::Own {
            common_name: None,
            lifetime: Duration::from_secs(90 * 24 * 3600),
            renew_at: Period::Percent(80),
            retry: Period::Percent(4),
        }
    );
    assert_eq!(config.provisioning.hub_host_name, "hub.test");
    assert_eq!(config.provisioning.device.as_str(), "edge1");
    assert_eq!(config.provisioning.mqtt_port, None);
    assert_eq!(config.notes, []);
    assert!(!format!("{config:?}").contains(KEY), "keys never reach a log");
}

#[test]
fn what_we_write_is_what_we_read() {
    let env = [("RuntimeLogLevel".to_owned(), "debug \"x\"\\".to_owned())].into();
    let minimal = Minimal {
        connection_string: &connection_string(),
        hostname: Some("edge1.local"),
        trust_bundle_cert: Some(Path::new("/data/hub ca.pem")),
        agent_env: Some(&env),
    };
    let config = good(&minimal.to_toml());
    assert!(!config.allow_elevated_docker_permissions);
    assert_eq!(config.hostname.as_deref(), Some("edge1.local"));
    assert_eq!(config.trust_bundle_cert.as_deref(), Some(Path::new("/data/hub ca.pem")));
    assert_eq!(config.agent.env, env);
    assert_eq!(config.provisioning.credential, DeviceCredential::Key(SharedKey::new(KEY)));
    assert_eq!(config.notes, []);
    assert!(!format!("{minimal:?}").contains(KEY));

    let short = good(&Config::minimal(&connection_string(), None));
    assert_eq!(short.hostname, None);
}

#[test]
fn every_honoured_key_is_honoured() {
    let config = good(&format!(
        r#"
hostname = "gw.example.org"
trust_bundle_cert = "file:///etc/ca%20s.pem"
allow_elevated_docker_permissions = false
auto_reprovisioning_mode = "AlwaysOnStartup"
prefer_module_identity_cache = true
cloud_timeout_sec = 70
cloud_retries = 3
additional_info = "file:///etc/more.toml"
[iotedge_max_requests]
management = 5
workload = 6
[provisioning]
source = "manual"
iothub_hostname = "hub.test:18883"
device_id = "edge-1"
[provisioning.authentication]
method = "sas"
device_id_pk = {{ value = "{KEY}" }}
[agent]
name = "edgeAgent"
type = "docker"
imagePullPolicy = "never"
[agent.config]
image = "mcr.microsoft.com/azureiotedge-agent:1.5"
[agent.env]
UpstreamProtocol = "Mqtt"
[connect]
workload_uri = "unix:///srv/edge/w.sock"
[listen]
management_uri = "unix:///srv/mgmt.sock"
[edge_ca]
method = "self_signed"
common_name = "My CA"
expiry_days = 20
auto_renew = {{ rotate_key = true, threshold = "2day", retry = "30min" }}
[moby_runtime]
uri = "unix:///run/podman/podman.sock"
network = {{ name = "net", ipv6 = true, ipam = {{ config = [{{ gateway = "10.0.0.1", subnet = "10.0.0.0/24", ip_range = "10.0.0.128/25" }}] }} }}
"#
    ));
    assert_eq!(config.hostname.as_deref(), Some("gw.example.org"));
    assert_eq!(config.trust_bundle_cert.as_deref(), Some(Path::new("/etc/ca s.pem")));
    assert!(!config.allow_elevated_docker_permissions && config.prefer_module_identity_cache);
    assert_eq!(config.cloud_retries, 3);
    assert_eq!(config.additional_info.as_deref(), Some(Path::new("/etc/more.toml")));
    assert_eq!((config.management_requests_max, config.workload_requests_max), (5, 6));
    assert_eq!(config.provisioning.hub_host_name, "hub.test");
    assert_eq!(config.provisioning.mqtt_port, Some(18883));
    assert_eq!(config.agent.image, "mcr.microsoft.com/azureiotedge-agent:1.5");
    assert_eq!(config.agent.env["UpstreamProtocol"], "Mqtt");
    assert_eq!(config.connect_workload, Path::new("/srv/edge/w.sock"));
    assert_eq!(config.listen_management.as_deref(), Some(Path::new("/srv/mgmt.sock")));
    assert_eq!(
        config.edge_ca,
        EdgeCaConfig::Own {
            common_name: Some("My CA".into()),
            lifetime: Duration::from_secs(20 * 24 * 3600),
            renew_at: Period::Time(Duration::from_secs(2 * 24 * 3600)),
            retry: Period::Time(Duration::from_secs(1800)),
        }
    );
    assert!(config.engine.is_explicit);
    assert_eq!(config.engine.uri, "unix:///run/podman/podman.sock");
    assert!(config.engine.network.ipv6);
    let range = AddressRange {
        gateway: Some("10.0.0.1".into()),
        subnet: Some("10.0.0.0/24".into()),
        ip_range: Some("10.0.0.128/25".into()),
    };
    assert_eq!(config.engine.network.ranges, [range]);
    assert_eq!(config.notes, []);
}

#[test]
fn a_device_certificate_is_pointed_to() {
    let config = good(
        r#"
[provisioning]
source = "manual"
iothub_hostname = "hub.test"
device_id = "d"
[provisioning.authentication]
method = "x509"
identity_cert = "file:///etc/device.pem"
identity_pk = "file:///etc/device.key"
"#,
    );
    let expected = DeviceCredential::Certificate {
        certificate: "/etc/device.pem".into(),
        key: "/etc/device.key".into(),
    };
    assert_eq!(config.provisioning.credential, expected);
}

#[test]
fn keys_and_cas_in_files_are_pointed_to() {
    let config = good(
        r#"
[provisioning]
source = "manual"
iothub_hostname = "hub.test"
device_id = "d"
authentication = { method = "sas", device_id_pk = { uri = "file:///etc/key" } }
[edge_ca]
cert = "file:///etc/ca.pem"
pk = "file:///etc/ca.key"
"#,
    );
    assert_eq!(config.provisioning.credential, DeviceCredential::KeyFile("/etc/key".into()));
    let files =
        EdgeCaConfig::Files { certificate: "/etc/ca.pem".into(), key: "/etc/ca.key".into() };
    assert_eq!(config.edge_ca, files);
}

#[test]
fn keys_are_taken_without_their_padding() {
    let bare = KEY.trim_end_matches('=');
    for text in [
        format!(
            "[provisioning]\nsource = \"manual\"\nconnection_string = \"HostName=hub.test;DeviceId=d;SharedAccessKey={bare}\""
        ),
        format!(
            "[provisioning]\nsource=\"manual\"\niothub_hostname=\"hub.test\"\ndevice_id=\"d\"\n\
             authentication = {{ method = \"sas\", device_id_pk = {{ value = \"{bare}\" }} }}"
        ),
    ] {
        assert_eq!(good(&text).provisioning.credential, DeviceCredential::Key(SharedKey::new(KEY)));
    }
}

#[test]
fn what_is_not_served_yet_and_would_matter_is_refused_with_its_line() {
    for (top, expected) in [
        ("\nparent_hostname = \"p\"", "2: parent_hostname is not served yet"),
        ("local_gateway_hostname = \"p\"", "1: local_gateway_hostname is not served yet"),
        (
            "imported_master_encryption_key = \"/x\"",
            "1: imported_master_encryption_key is not served yet",
        ),
        (
            "[aziot_keys]\npkcs11_lib_path = \"/x\"",
            "2: aziot_keys.pkcs11_lib_path is not served yet",
        ),
        (
            "[aziot_keys]\npkcs11_base_slot = \"x\"",
            "2: aziot_keys.pkcs11_base_slot is not served yet",
        ),
        (
            "[preloaded_keys]\naziot-edged-ca = \"file:///x\"",
            "2: preloaded_keys.aziot-edged-ca is not served yet",
        ),
        (
            "[preloaded_certs]\nx = \"file:///x\"\ndevice-id = \"file:///x\"",
            "3: preloaded_certs.device-id is not",
        ),
        ("trust_bundle_cert = \"pkcs11:token=x\"", "1: trust_bundle_cert is in a PKCS #11 token"),
        (
            "[edge_ca]\nmethod = \"est\"\nurl = \"https://x\"",
            "2: edge_ca.method \"est\" is not served yet; use",
        ),
        (
            "[edge_ca]\nmethod = \"local_ca\"\nidentity_cert = { method = \"est\" }",
            "2: edge_ca.method \"local_ca\" is not",
        ),
        (
            "[edge_ca.auto_renew]\nrotate_key = false",
            "2: edge_ca.auto_renew.rotate_key false is not served yet",
        ),
    ] {
        check(&with_top(top), expected);
    }
    for (provisioning, expected) in [
        (
            "source = \"dps\"\nglobal_endpoint = \"https://x\"\nid_scope = \"0\"\nattestation = { method = \"tpm\" }",
            "2: provisioning.source \"dps\" is not served yet; use \"manual\" with connection_string",
        ),
        ("source = \"none\"", "2: provisioning.source \"none\" is not served yet"),
        (
            "source = \"manual\"\niothub_hostname = \"h\"\ndevice_id = \"d\"\n[provisioning.authentication]\nmethod = \"x509\"\nidentity_pk = \"file:///x\"\nidentity_cert = { method = \"est\", common_name = \"d\" }",
            "8: provisioning.authentication.identity_cert tells how to have a certificate issued, which is not served yet",
        ),
        (
            "source = \"manual\"\niothub_hostname = \"h\"\ndevice_id = \"d\"\n[provisioning.authentication]\nmethod = \"x509\"\nidentity_cert = \"file:///x\"",
            "5: provisioning.authentication.identity_pk is missing",
        ),
        (
            "source = \"manual\"\niothub_hostname = \"h\"\ndevice_id = \"d\"\n[provisioning.authentication]\nmethod = \"x509\"\nidentity_cert = \"file:///x\"\nidentity_pk = \"pkcs11:object=x\"",
            "8: provisioning.authentication.identity_pk is in a PKCS #11 token",
        ),
        (
            "source = \"manual\"\nconnection_string = \"HostName=h;DeviceId=d;x509=true\"",
            "3: provisioning.connection_string uses x509",
        ),
        (
            "source = \"manual\"\nconnection_string = \"HostName=h;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr;GatewayHostName=g\"",
            "3: provisioning.connection_string names a gateway",
        ),
    ] {
        check(&format!("[provisioning]\n{provisioning}"), expected);
    }
}

#[test]
fn what_does_no_harm_is_noted_with_its_line() {
    let config = good(&with_top(
        r#"
cloud_timeout_sec = 100
localid = { domain = "x" }
cert_issuance = { est = { urls = { default = "https://x" } } }
tpm = { tcti = "device", auth_key_index = 256 }
watchdog = { max_retries = "infinite" }
[aziot_max_requests]
keyd = 5
[connect]
management_uri = "unix:///var/run/iotedge/mgmt.sock"
workload_uri = "unix:///var/run/iotedge/workload.sock"
[listen]
management_uri = "fd://aziot-edged.mgmt.socket"
workload_uri = "fd://aziot-edged.workload.socket"
[image_garbage_collection]
enabled = false
[preloaded_keys]
mine = "file:///x"
[agent.config]
image = "example.org/my-agent:1"
createOptions = { HostConfig = {} }
[edge_ca]
cert = "file:///c"
pk = "file:///k"
auto_generated_edge_ca_expiry_days = 5
[moby_runtime]
uri = "unix:///x"
network = "n"
[moby_runtime.content_trust]
ca_certs = { x = "y" }
"#,
    ));
    let notes: Vec<String> =
        config.notes.iter().map(|note| format!("{} {}", note.line, note.key)).collect();
    assert_eq!(
        notes,
        [
            "2 cloud_timeout_sec",
            "3 localid",
            "4 cert_issuance",
            "5 tpm",
            "6 watchdog",
            "8 aziot_max_requests.keyd",
            "10 connect.management_uri",
            "13 listen.management_uri",
            "14 listen.workload_uri",
            "18 preloaded_keys.mine",
            "20 agent.config.image",
            "21 agent.config.createOptions",
            "25 edge_ca.auto_generated_edge_ca_expiry_days",
            "29 moby_runtime.content_trust",
        ]
    );
    assert!(config.notes[0].to_string().starts_with("line 2: cloud_timeout_sec has no effect"));
}

#[test]
fn wrong_values_are_refused_with_their_line() {
    for (top, expected) in [
        ("hostname = \"\"", "1: hostname is not a host name"),
        ("hostname = \"*.x\"", "1: hostname is not a host name"),
        ("hostname = \"a b\"", "1: hostname is not a host name"),
        ("\n\nhostname = 1", "3: hostname is of type integer; write a quoted string"),
        (
            "trust_bundle_cert = \"/etc/x\"",
            "1: trust_bundle_cert is not a file URI; write file:///path",
        ),
        (
            "allow_elevated_docker_permissions = \"false\"",
            "1: allow_elevated_docker_permissions is of type string; write true or false without",
        ),
        ("auto_reprovisioning_mode = \"Sometimes\"", "1: auto_reprovisioning_mode is not one of"),
        ("cloud_timeout_sec = 10", "1: cloud_timeout_sec is 10; write 70 or more"),
        ("cloud_retries = -1", "1: cloud_retries is -1; write a number from 0 to 10"),
        ("cloud_retries = 99999999999", "1: cloud_retries is 99999999999; write"),
        (
            "iotedge_max_requests = { management = 0 }",
            "1: iotedge_max_requests.management is 0; write a number from 1",
        ),
        ("iotedge_max_requests = 5", "1: iotedge_max_requests is of type integer; write a table"),
        ("[agent]\nname = \"other\"", "2: agent.name must be \"edgeAgent\""),
        ("[agent]\ntype = \"wasm\"", "2: agent.type must be \"docker\""),
        (
            "[agent.env]\nUpstreamProtocol = \"Amqp1\"",
            "2: agent.env.UpstreamProtocol is \"Amqp1\"; write \"Amqp\", \"AmqpWs\"",
        ),
        (
            "[agent.env]\nhttps_proxy = \"https://me:geheim@proxy:1\"",
            "2: agent.env.https_proxy cannot be used: proxy's address has another scheme than http; write http://host:port",
        ),
        ("[agent]\nimagePullPolicy = \"sometimes\"", "2: agent.imagePullPolicy is not one of"),
        ("[agent.env]\nA = 1", "2: agent.env.A is not a quoted string"),
        ("[agent.env]\n\"A=B\" = \"1\"", "2: agent.env.A=B is not the name of a variable"),
        ("[connect]\nworkload_uri = \"http://x\"", "2: connect.workload_uri is not a unix socket"),
        (
            "[connect]\nworkload_uri = \"unix:///var/run/w.sock\"",
            "2: connect.workload_uri names a socket in a directory that modules need",
        ),
        (
            "[connect]\nworkload_uri = \"unix:///a/../run/w.sock\"",
            "2: connect.workload_uri is not a unix socket",
        ),
        (
            "[listen]\nmanagement_uri = \"unix://x\"",
            "2: listen.management_uri is not a unix socket",
        ),
        ("[edge_ca]\nmethod = \"magic\"", "2: edge_ca.method is not one of"),
        (
            "[edge_ca]\ncert = \"file:///x\"",
            "1: edge_ca.pk is missing: cert and pk belong together",
        ),
        ("[edge_ca]\ncommon_name = \"x\"", "2: edge_ca.common_name needs method"),
        (
            "[edge_ca]\nmethod = \"self_signed\"\nurl = \"https://x\"",
            "3: edge_ca.url belongs to method = \"est\"",
        ),
        (
            "[edge_ca]\nauto_renew = { threshold = \"100%\" }",
            "2: edge_ca.auto_renew.threshold is not a period",
        ),
        (
            "[edge_ca]\nauto_renew = { retry = \"0min\" }",
            "2: edge_ca.auto_renew.retry is not a period",
        ),
        ("[moby_runtime]\nuri = \"unix:///x\"", "1: moby_runtime.network is missing"),
        ("[moby_runtime]\nnetwork = \"n\"", "1: moby_runtime.uri is missing"),
        (
            "[moby_runtime]\nuri = \"tcp://x\"\nnetwork = \"n\"",
            "2: moby_runtime.uri is not a unix socket",
        ),
        (
            "[moby_runtime]\nuri = \"unix:///x\"\nnetwork = \"-n\"",
            "3: moby_runtime.network is not a network's name",
        ),
        (
            "[moby_runtime]\nuri = \"unix:///x\"\nnetwork = { ipv6 = true }",
            "3: moby_runtime.network.name is missing",
        ),
        (
            "[moby_runtime]\nuri = \"unix:///x\"\nnetwork = 7",
            "3: moby_runtime.network is neither a name nor a table",
        ),
    ] {
        check(&with_top(top), expected);
    }
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    for (top, expected) in [
        ("hostnam = \"x\"", "1: hostnam is not a key of config.toml here"),
        ("[provisoning]\nsource = \"manual\"", "1: provisoning is not a key"),
        ("[iotedge_max_requests]\nmangement = 1", "2: iotedge_max_requests.mangement is not a key"),
        ("[aziot_max_requests]\nx = 1", "2: aziot_max_requests.x is not a key"),
        ("[aziot_keys]\nx = 1", "2: aziot_keys.x is not a key"),
        ("[agent]\nconfg = {}", "2: agent.confg is not a key"),
        ("[agent.config]\nimge = \"x\"", "2: agent.config.imge is not a key"),
        ("[connect]\nx = 1", "2: connect.x is not a key"),
        ("[listen]\nx = 1", "2: listen.x is not a key"),
        ("[edge_ca]\nx = 1", "2: edge_ca.x is not a key"),
        ("[edge_ca.auto_renew]\nx = 1", "2: edge_ca.auto_renew.x is not a key"),
        (
            "[edge_ca]\nmethod = \"self_signed\"\nsubject = { CNN = \"x\" }",
            "3: edge_ca.subject.CNN is not a key",
        ),
        (
            "[moby_runtime]\nuri = \"unix:///x\"\nnetwork = \"n\"\nx = 1",
            "4: moby_runtime.x is not a key",
        ),
        (
            "[moby_runtime]\nuri = \"unix:///x\"\nnetwork = { name = \"n\", x = 1 }",
            "3: moby_runtime.network.x is not a key",
        ),
        (
            "[moby_runtime]\nuri = \"unix:///x\"\nnetwork = { name = \"n\", ipam = { x = 1 } }",
            "3: moby_runtime.network.ipam.x is not",
        ),
    ] {
        check(&with_top(top), expected);
    }
    check(
        "[provisioning]\nsource = \"manual\"\nconection_string = \"\"\nconnection_string = \"HostName=h;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
        "3: provisioning.conection_string is not a key",
    );
    check(
        "[provisioning]\nsource = \"manual\"\niothub_hostname = \"h\"\ndevice_id = \"d\"\n[provisioning.authentication]\nmethod = \"sas\"\nx = 1\ndevice_id_pk = { value = \"a2tra2tra2tra2tra2tr\", }",
        "7: provisioning.authentication.x is not a key",
    );
}

#[test]
fn wrong_provisioning_is_refused_without_showing_the_key() {
    let manual = |rest: &str| format!("[provisioning]\nsource = \"manual\"\n{rest}");
    for (text, expected) in [
        (String::new(), "1: provisioning is missing"),
        ("[provisioning]".to_owned(), "1: provisioning.source is missing"),
        ("[provisioning]\nsource = \"cloud\"".to_owned(), "2: provisioning.source is not one of"),
        (manual(""), "1: provisioning.connection_string is missing"),
        (
            manual("connection_string = \"\""),
            "3: provisioning.connection_string is wrong: connection string lacks HostName",
        ),
        (
            manual(
                "connection_string = \"HostName=h;DeviceId=d;SharedAccessKey=not*base64secret\"",
            ),
            "3: provisioning.connection_string is wrong: SharedAccessKey is not Base64",
        ),
        (
            manual(
                "connection_string = \"HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
            ),
            "3: provisioning.connection_string is a module's",
        ),
        (
            manual(
                "connection_string = \"HostName=h;DeviceId=d;SharedAccessSignature=SharedAccessSignature sr=x\"",
            ),
            "3: provisioning.connection_string has a token",
        ),
        (
            manual(
                "connection_string = \"HostName=h;SharedAccessKeyName=iothubowner;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
            ),
            "3: provisioning.connection_string has the key of a policy",
        ),
        (
            manual(
                "connection_string = \"HostName=a b;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
            ),
            "3: provisioning.connection_string names a hub that is not",
        ),
        (
            manual(
                "connection_string = \"HostName=h:0;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
            ),
            "3: provisioning.connection_string names a hub that is not",
        ),
        (
            manual(
                "id_scope = \"0\"\nconnection_string = \"HostName=h;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
            ),
            "3: provisioning.id_scope belongs to source = \"dps\"",
        ),
        (
            manual(
                "device_id = \"d\"\nconnection_string = \"HostName=h;DeviceId=d;SharedAccessKey=a2tra2tra2tra2tra2tr\"",
            ),
            "3: provisioning.device_id stands beside connection_string",
        ),
        (
            manual(
                "iothub_hostname = \"h\"\ndevice_id = \"a/b\"\nauthentication = { method = \"sas\", device_id_pk = { value = \"a2tra2tra2tra2tra2tr\" } }",
            ),
            "4: provisioning.device_id is wrong",
        ),
        (
            manual(
                "iothub_hostname = \"h\"\ndevice_id = \"d\"\nauthentication = { method = \"sas\" }",
            ),
            "5: provisioning.authentication.device_id_pk is missing",
        ),
        (
            manual(
                "iothub_hostname = \"h\"\ndevice_id = \"d\"\nauthentication = { method = \"sas\", device_id_pk = { value = \"a2tra2*\" } }",
            ),
            "5: provisioning.authentication.device_id_pk.value is not Base64",
        ),
        (
            manual(
                "iothub_hostname = \"h\"\ndevice_id = \"d\"\nauthentication = { method = \"sas\", device_id_pk = { } }",
            ),
            "5: provisioning.authentication.device_id_pk.value is needed",
        ),
        (
            manual(
                "iothub_hostname = \"h\"\ndevice_id = \"d\"\nauthentication = { method = \"sas\", device_id_pk = { uri = \"pkcs11:x\" } }",
            ),
            "5: provisioning.authentication.device_id_pk.uri is in a PKCS #11 token",
        ),
    ] {
        check(&text, expected);
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_lines() {
    let error =
        parse("x = 1\nhostname = 2\ny = 3\n[provisioning]\nsource = \"dps\"\n").unwrap_err();
    let lines: Vec<usize> = error.problems().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 3, 5]);
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn a_file_that_is_cut_off_or_no_toml_names_the_line() {
    for (text, line) in
        [("hostname = \"x\n", 1), ("\n\n[provisioning\n", 3), ("a = 1\na = 2\n", 2), ("\u{0}", 1)]
    {
        match parse(text) {
            Err(ConfigError::Syntax { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn a_file_with_a_key_must_be_its_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let write = |text: &str, mode| host::fs::write_atomic(&path, text.as_bytes(), mode).unwrap();
    write(&with_top(""), 0o640);
    let error = Config::read(&path).unwrap_err();
    assert!(matches!(error, ConfigError::Readable { mode: 0o640, .. }), "{error}");
    assert!(error.to_string().contains("chmod 600"));
    write(&with_top(""), 0o600);
    Config::read(&path).unwrap();
    // One that points to its key holds no secret.
    write(
        "[provisioning]\nsource = \"manual\"\niothub_hostname = \"h\"\ndevice_id = \"d\"\n\
         authentication = { method = \"sas\", device_id_pk = { uri = \"file:///k\" } }",
        0o644,
    );
    Config::read(&path).unwrap();
    assert!(matches!(Config::read(&dir.path().join("none")), Err(ConfigError::Missing(_))));
}

#[test]
fn a_missing_file_names_the_next_step() {
    let error = Config::read(Path::new("/nowhere/config.toml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/config.toml") && error.contains("--config"), "{error}");
}

#[test]
fn an_unknown_key_is_answered_with_the_one_that_was_meant() {
    for (top, expected) in [
        ("hostnam = \"x\"", "1: hostnam is not a key of config.toml here; did you mean hostname?"),
        (
            "[watchdog]\nmax_retrys = 3",
            "2: watchdog.max_retrys is not a key of config.toml here; did you mean max_retries?",
        ),
        (
            "[edge_ca.auto_renew]\nThreshhold = \"80%\"",
            "2: edge_ca.auto_renew.Threshhold is not a key of config.toml here; did you mean threshold?",
        ),
        (
            "[tpm]\ncloud_retries = 2",
            "2: tpm.cloud_retries is not a key of config.toml here; it belongs above the first [section]",
        ),
        (
            "[listen]\nsomething_else = 2",
            "2: listen.something_else is not a key of config.toml here; check its spelling",
        ),
    ] {
        check(&with_top(top), expected);
    }
    let long = "x".repeat(100_000);
    check(&with_top(&format!("{long} = 1")), "1: xxxx");
}

#[test]
fn what_has_no_effect_yet_must_be_right_all_the_same() {
    for (top, expected) in [
        ("[localid]\ndomain = 1", "2: localid.domain is of type integer; write a quoted string"),
        ("[watchdog]\nmax_retries = \"often\"", "2: watchdog.max_retries is neither a number nor"),
        ("[watchdog]\nmax_retries = -1", "2: watchdog.max_retries is -1; write a number from 0"),
        (
            "[tpm]\nauth_key_index = \"0x000100\"",
            "2: tpm.auth_key_index is of type string; write a whole number without quotes",
        ),
        ("[tpm]\nauth_key_index = 0x800000", "2: tpm.auth_key_index is 800000; write a number"),
        (
            "[tpm.hierarchy_authorization]\nowner = true",
            "2: tpm.hierarchy_authorization.owner is of type boolean",
        ),
        (
            "[cert_issuance.est]\ntrusted_certs = [\n\"file:///a\",\n\"/b\"]",
            "4: cert_issuance.est.trusted_certs is neither a file nor",
        ),
        (
            "[cert_issuance.est.urls]\ndefault = \"example.org\"",
            "2: cert_issuance.est.urls.default is not a URL",
        ),
        (
            "[cert_issuance.est.identity_auto_renew]\nretry = \"4\"",
            "2: cert_issuance.est.identity_auto_renew.retry is not a period",
        ),
        ("[cert_issuance.est.auth]\nusernme = \"x\"", "2: cert_issuance.est.auth.usernme is not"),
        (
            "[cert_issuance.local_ca]\ncert = { method = \"magic\" }",
            "2: cert_issuance.local_ca.cert.method is not one of",
        ),
        ("[preloaded_keys]\nmine = \"/x\"", "2: preloaded_keys.mine is neither a file nor"),
        (
            "[image_garbage_collection]\ncleanup_recurrence = \"12h\"",
            "2: image_garbage_collection.cleanup_recurrence is not a number of whole days",
        ),
        (
            "[image_garbage_collection]\ncleanup_time = \"24:00\"",
            "2: image_garbage_collection.cleanup_time is not a time of the day",
        ),
        ("[agent.config.auth]\npassword = 1", "2: agent.config.auth.password is of type integer"),
        ("[agent.config.auth]\nuser = \"x\"", "2: agent.config.auth.user is not a key"),
    ] {
        check(&with_top(top), expected);
    }
}

#[test]
fn what_is_refused_is_read_to_its_end() {
    // A source that is not served, with a mistake in it: both are told.
    let error = parse(
        "[provisioning]\nsource = \"dps\"\nglobal_endpoint = \"x\"\n\
         attestation = { method = \"symmetric_key\", symetric_key = { value = \"a2tra2tra2tra2tra2tr\" } }\n",
    )
    .unwrap_err();
    let told: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("2: provisioning.source \"dps\" is not served yet"));
    assert!(told[1].starts_with("3: provisioning.global_endpoint is not a URL"));
    assert!(told[2].ends_with("did you mean symmetric_key?"));
    assert!(!error.to_string().contains("a2tra2"));
}

#[test]
fn garbage_collection_is_read() {
    let read = |section: &str| good(&with_top(section)).image_garbage_collection;
    let day = Duration::from_secs(24 * 3600);
    let told =
        GarbageCollection { enabled: true, recurrence: day, age: 7 * day, at: Duration::ZERO };
    assert_eq!(read(""), told);
    let section = "[image_garbage_collection]\nenabled = false\ncleanup_recurrence = \"48h\"\n\
                   image_age_cleanup_threshold = \"30d\"\ncleanup_time = \"03:30\"";
    let at = Duration::from_secs(12_600);
    let told = GarbageCollection { enabled: false, recurrence: 2 * day, age: 30 * day, at };
    assert_eq!(read(section), told);
}

#[test]
fn the_policy_names_what_a_deployment_may_ask() {
    let with_policy = |policy: &str| {
        let top = "allow_elevated_docker_permissions = false";
        format!("{}\n[farshore.policy]\n{policy}\n", with_top(top))
    };
    assert_eq!(good(&with_top("")).policy, containers::HostPolicy::default());
    let policy = good(&with_policy(
        r#"allow_bind = ["/etc/app", "/var/run/docker.sock"]
allow_devices = ["/dev/ttyUSB0"]
allow_capabilities = ["NET_ADMIN", "cap_sys_time"]
allow_options = ["Sysctls"]
allow_host_network = true"#,
    ))
    .policy;
    assert_eq!(policy.bind, [Path::new("/etc/app"), Path::new("/var/run/docker.sock")]);
    assert_eq!(policy.devices, [Path::new("/dev/ttyUSB0")]);
    assert_eq!(policy.capabilities, ["NET_ADMIN".to_owned(), "SYS_TIME".to_owned()].into());
    assert_eq!(policy.options, ["Sysctls".to_owned()].into());
    assert!(policy.host_network && !policy.privileged && !policy.host_pid && !policy.unconfined);

    for (line, what) in [
        ("allow_bind = \"/etc\"", "is of type string; write a list"),
        ("allow_bind = [1]", "is not a list of up to 100 quoted strings"),
        ("allow_bind = [\"etc\"]", "holds \"etc\", which is not an absolute path"),
        ("allow_devices = [\"/dev/../x\"]", "holds \"/dev/../x\", which is not an absolute path"),
        ("allow_capabilities = [\"NET ADMIN\"]", "holds \"NET ADMIN\", which is not a capability"),
        ("allow_options = [\"Memory\"]", "holds \"Memory\", which is not one of UTSMode"),
        ("allow_host_network = \"yes\"", "is of type string; write true or false"),
        ("allow_everything = true", "is not a key of config.toml here"),
    ] {
        let key = line.split_once(' ').unwrap().0;
        check(&with_policy(line), &format!("7: farshore.policy.{key} {what}"));
    }
    // It would not do what it seems to do.
    for top in ["", "allow_elevated_docker_permissions = true"] {
        let text = format!("{}\n[farshore.policy]\nallow_bind = []\n", with_top(top));
        check(&text, "6: farshore.policy has an effect only when");
    }
    check(&format!("{}\n[farshore.polici]\n", with_top("")), "6: farshore.polici is not a key");
}
