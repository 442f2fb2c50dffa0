//! Secrets planted everywhere, and none found.

use super::*;

const KEY: &str = "c2VjcmV0LWtleS1vZi10aGUtZGV2aWNlLTAwMDAwMDE=";
const POLICY_KEY: &str = "Zm9yIGEgcG9saWN5LCBuZXZlciB0byBiZSBzZWVuMTE=";
const PASSWORD: &str = "correct-horse";

fn config() -> String {
    format!(
        r#"
hostname = "edge1.example"
trust_bundle_cert = "file:///etc/ca.pem"
allow_elevated_docker_permissions = false
[provisioning]
source = "manual"
connection_string = "HostName=hub.example;DeviceId=edge1;SharedAccessKey={KEY}"
[agent.env]
RuntimeLogLevel = "debug"
https_proxy = "http://user:{PASSWORD}@proxy:3128"
[agent.config]
image = "example.org/agent:1"
createOptions = {{ Env = ["X={PASSWORD}"], Memory = 1 }}
[agent.config.auth]
serveraddress = "example.org"
username = "puller-of-images"
password = "{PASSWORD}"
[edge_ca]
cert = "pkcs11:object=x?pin-value=9876543210"
pk = "file:///etc/ca.key"
[tpm.hierarchy_authorization]
owner = "owner-of-the-tpm"
[unknown]
thing = "something-secret"
"#
    )
}

#[test]
fn a_configuration_keeps_what_is_harmless_alone() {
    let mut secrets = Secrets::default();
    let shown = secrets.config(&config()).unwrap();
    for secret in [
        KEY,
        &KEY[..43],
        PASSWORD,
        "puller-of-images",
        "9876543210",
        "owner-of-the-tpm",
        "something-secret",
        "proxy:3128",
        "Memory = 1",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    for harmless in [
        "edge1.example",
        "file:///etc/ca.pem",
        "file:///etc/ca.key",
        "allow_elevated_docker_permissions = false",
        "RuntimeLogLevel = \"debug\"",
        "example.org/agent:1",
        "connection_string = \"<redacted>\"",
    ] {
        assert!(shown.contains(harmless), "{harmless} not in {shown}");
    }
    assert!(shown.parse::<toml::Table>().is_ok());
    assert_eq!(secrets.config("no [toml"), None);
    // Whatever was taken out is known from now on, wherever it stands.
    let log = format!("open {PASSWORD}, then puller-of-images and {} at edge1", &KEY[..43]);
    assert_eq!(secrets.scrub(&log), "open <redacted>, then <redacted> and <redacted> at edge1");
}

#[test]
fn a_container_keeps_names_and_harmless_values_alone() {
    let mut secrets = Secrets::default();
    let inspected = json!({
        "Id": "ab".repeat(32), "Name": "/sensor",
        "State": {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy",
            "Log": [{"Output": PASSWORD}]}},
        "Args": ["--password", PASSWORD],
        "Config": {
            "Image": "sensor:1", "Cmd": ["run", PASSWORD], "Entrypoint": [PASSWORD],
            "Env": [format!("DB_PASS={PASSWORD}"), "IOTEDGE_MODULEID=sensor", "EMPTY=", "PLAIN",
                    format!("EdgeHubConnectionString=HostName=h;SharedAccessKey={KEY}")],
            "Labels": {"net.azure-devices.edge.create-options": format!("{{\"Env\":[\"A={PASSWORD}\"]}}"),
                       "net.azure-devices.edge.owner": "x"},
        },
        "HostConfig": {"Binds": ["/a:/b"], "LogConfig": {"Type": "local", "Config": {"splunk-token": PASSWORD}}},
        "Mounts": [{"Source": "/a", "Destination": "/b"}],
    });
    let shown = secrets.container(&inspected);
    let text = shown.to_string();
    for secret in [PASSWORD, KEY, "splunk", "create-options\":"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(shown["State.Status"], "running");
    assert_eq!(shown["HostConfig.Binds"], json!(["/a:/b"]));
    assert_eq!(
        shown["Config.Env"],
        json!([
            "DB_PASS=<redacted>",
            "IOTEDGE_MODULEID=sensor",
            "EMPTY=<redacted>",
            "PLAIN=<redacted>",
            "EdgeHubConnectionString=<redacted>",
        ])
    );
    assert_eq!(secrets.scrub(&format!("got {PASSWORD}")), "got <redacted>");
}

#[test]
fn logs_lose_what_is_named_like_a_secret_or_looks_like_one() {
    let secrets = Secrets::default();
    let check = |text: &str, expected: &str| assert_eq!(secrets.scrub(text), expected, "{text}");
    check(
        &format!("cs HostName=h;SharedAccessKeyName=owner;SharedAccessKey={POLICY_KEY} end"),
        "cs HostName=h;SharedAccessKeyName=owner;SharedAccessKey=<redacted> end",
    );
    check(
        "SharedAccessSignature sr=hub%2Fdevices%2Fd&sig=abc%2Bdef%3D&se=1700000000 sent",
        "SharedAccessSignature sr=hub%2Fdevices%2Fd&sig=<redacted>&se=1700000000 sent",
    );
    check("Authorization: Bearer abc.def.ghi\nnext", "Authorization: <redacted>\nnext");
    check("\"password\": \"hunter two\", \"x\":1", "\"password\": \"<redacted>\", \"x\":1");
    check(
        "PASSWORD=hunter2;x=1 and api-key: k1",
        "PASSWORD=<redacted>;x=1 and api-key: <redacted>",
    );
    check("db://u:p@host/db and https://a@b/", "db://<redacted>@host/db and https://<redacted>@b/");
    check(&format!("key {KEY} used"), "key <redacted> used");
    check(
        "one\nx -----BEGIN RSA PRIVATE KEY-----\nx AAAA\nx -----END RSA PRIVATE KEY-----\ntwo",
        "one\n<redacted>\ntwo",
    );
    check(
        "key=\"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\" t\nafter",
        "<redacted>\nafter",
    );
    for harmless in [
        "",
        "<6> 2026-11-23 09:08:03.123 +00:00 [INF] - Sending message: 1, Body: [{\"a\":20.5}]\n",
        "image sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "token without a value, password too",
        "grüße: 日本 token",
        "unix:///var/run/iotedge/workload.sock in /var/lib/aziot/edged/mnt",
    ] {
        check(harmless, harmless);
    }
}

#[test]
fn a_line_without_end_takes_no_time_without_end() {
    let line = "token=x€ ".repeat(100_000);
    let scrubbed = Secrets::default().scrub(&line);
    assert!(scrubbed.starts_with("token=<redacted> token=<redacted> "));
    assert!(scrubbed.len() > line.len());
}

#[test]
fn a_file_of_stored_entries_is_a_zip() {
    let mut zip = Zip::default();
    let time = jiff::civil::date(2026, 11, 25).at(10, 30, 20, 0);
    zip.add("a/b.txt", b"123456789", time);
    let bytes = zip.finish();
    assert_eq!(&bytes[..4], b"PK\x03\x04");
    // The check value of CRC-32 (ISO HDLC) for these digits.
    assert_eq!(bytes[14..18], 0xCBF4_3926_u32.to_le_bytes());
    assert_eq!(bytes[10..14], [0xCA, 0x53, 0x79, 0x5D]);
    assert_eq!(&bytes[bytes.len() - 22..][..4], b"PK\x05\x06");
    assert_eq!(Zip::default().finish().len(), 22);
}

/// The rest of a line may be the rest of a secret, which nobody recognises any more.
#[test]
fn the_newest_whole_lines_of_a_log_are_kept() {
    let kept = |room, pieces: &[&'static str]| {
        let mut kept = logs::Kept::new(room);
        for piece in pieces {
            kept.push(bytes::Bytes::from_static(piece.as_bytes()));
        }
        kept.into_text()
    };
    let log = ["open correct-h", "orse\nnext\n", "last\n"];
    for (room, text, cut) in [
        (100, "open correct-horse\nnext\nlast\n", 0),
        (20, "next\nlast\n", 19),
        (5, "last\n", 24),
        (1, "", 29),
    ] {
        assert_eq!(kept(room, &log), (text.to_owned(), cut));
    }
    assert_eq!(kept(9, &["without ", "end"]), (String::new(), 11));
}

#[test]
fn what_is_too_much_is_cut_and_said() {
    let mut bundle = Bundle {
        secrets: Secrets::default(),
        clock: Clock::system(),
        zip: Zip::default(),
        room: ENTRY_BYTES + 4,
        missing: Vec::new(),
        quiet: true,
    };
    bundle.add("x.log", "oldest€end");
    assert_eq!(bundle.missing, ["x.log: its first 9 bytes, to stay small"]);
    assert_eq!(bundle.room, 1);
    let bytes = bundle.finish();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("- x.log: its first 9 bytes"));
    assert!(!text.contains("oldest"));
}

/// A long line is looked through in pieces; none of them ends within a secret.
#[test]
fn a_secret_in_a_long_line_is_found_wherever_it_stands() {
    let secrets = Secrets::default();
    for secret in ["passphrase: hunter2x", "\"password\": \"correct horse\"", "Pwd=hunter2x", KEY] {
        for before in 4000..4110 {
            let line = format!("{}{secret} {}", "é".repeat(before / 2), "b ".repeat(3000));
            let scrubbed = secrets.scrub(&line);
            for part in ["unter2x", "nter2x", "orse", "GV2aWN"] {
                assert!(!scrubbed.contains(part), "{secret} after {before}");
            }
            assert!(scrubbed.ends_with(" b b "));
        }
    }
}
