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
fn command_lines_lose_the_values_of_their_options() {
    let secrets = Secrets::default();
    let check = |text: &str, expected: &str| assert_eq!(secrets.scrub(text), expected, "{text}");
    check(
        "run docker login -u anna -p hunter2 registry.example",
        "run docker login -u anna -p <redacted> registry.example",
    );
    check("docker login -phunter2 registry.example", "docker login -p<redacted> registry.example");
    check(
        "docker login --username anna --password hunter2 registry.example",
        "docker login --username anna --password <redacted> registry.example",
    );
    check(
        "args [\"login\", \"-u\", \"anna\", \"-p\", \"hunter two\", \"registry.example\"]",
        "args [\"login\", \"-u\", \"anna\", \"-p\", \"<redacted>\", \"registry.example\"]",
    );
    check("[\"--registry-token\",\"hunter2\"]", "[\"--registry-token\",\"<redacted>\"]");
    check("tool --password 'hunter two' -v", "tool --password '<redacted>' -v");
    check(
        "tool --password=hunter2 --api-key k1",
        "tool --password=<redacted> --api-key <redacted>",
    );
    check("mosquitto_pub -h hub -P hunter2 -t a", "mosquitto_pub -h hub -P <redacted> -t a");
    for harmless in [
        "docker login --password-stdin registry.example < /run/password",
        "tool --password --verbose",
        "tool --password",
        "docker run -p 8883:8883 hub",
        "mkdir -p /tmp/a",
    ] {
        check(harmless, harmless);
    }
}

#[test]
fn cookies_and_credentials_are_secrets_to_their_end() {
    let secrets = Secrets::default();
    let check = |text: &str, expected: &str| assert_eq!(secrets.scrub(text), expected, "{text}");
    check("> Cookie: session=abc; user=\"an na\"\nnext", "> Cookie: <redacted>\nnext");
    check("Set-Cookie: id=a3fWa; Path=/; Secure\nnext", "Set-Cookie: <redacted>\nnext");
    check("{\"Cookie\": \"a=b; c=d\", \"x\": 1}", "{\"Cookie\": \"<redacted>\", \"x\": 1}");
    check("GET /?credential=AKIA/2026&x=1", "GET /?credential=<redacted>&x=1");
    check("no cookies, no credentials", "no cookies, no credentials");
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
            kept.push(piece.as_bytes());
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
    for secret in [
        "passphrase: hunter2x",
        "\"password\": \"correct horse\"",
        "Pwd=hunter2x",
        "--password hunter2x",
        "-p hunter2x",
        KEY,
    ] {
        for before in 4000..4110 {
            let line = format!("login {}{secret} {}", " é".repeat(before / 3), "b ".repeat(3000));
            let scrubbed = secrets.scrub(&line);
            for part in ["unter2x", "nter2x", "orse", "GV2aWN"] {
                assert!(!scrubbed.contains(part), "{secret} after {before}");
            }
            assert!(scrubbed.ends_with(" b b "));
        }
    }
}

/// As journalctl: a log of more bytes than there is room for, which ends all the same.
#[tokio::test]
async fn of_a_long_journal_the_newest_whole_lines_are_kept() {
    let program = |script: &str| host::process::Program {
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        ..host::process::Program::new("/bin/sh")
    };
    let mut kept = logs::Kept::new(1 << 20);
    logs::fill_from(&mut kept, program("seq 1000000")).await.unwrap();
    let (text, cut) = kept.into_text();
    assert!(text.ends_with("\n999999\n1000000\n"));
    assert!(text.len() <= 1 << 20 && text.len() > 1_000_000);
    assert_eq!(text.len() + cut, 6_888_896);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.first(), Some(&(1_000_001 - u32::try_from(numbers.len()).unwrap())));

    let mut kept = logs::Kept::new(100);
    let failed = logs::fill_from(&mut kept, program("echo some; echo why >&2; exit 3")).await;
    assert_eq!(failed.unwrap_err().message(), Some("it ended with 3: why\n"));
    assert_eq!(kept.into_text().0, "some\n");
}
