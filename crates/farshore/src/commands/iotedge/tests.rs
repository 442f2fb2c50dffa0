//! The device's tool against a management API on a real socket, and its outputs word by word.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::{CommandFactory, Parser};
use client::edge::{LogChunk, Source};
use host::http::{Full, Incoming, Limits, full, service_fn};
use host::signals::Shutdown;
use iot_proto::management::{ModuleList, Pull};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::*;
use crate::commands::{CONFLICT, DENIED, FAILED, NOT_FOUND, UNREACHABLE, USAGE};

const MODULES: &str = r#"{"modules":[
    {"id":"id","name":"edgeHub","type":"docker",
     "config":{"settings":{"image":"mcr.microsoft.com/azureiotedge-hub:1.5","imageHash":"sha256:1"},"env":[]},
     "status":{"startTime":"2026-11-25T09:55:00Z","runtimeStatus":{"status":"running","description":"running"}}},
    {"id":"id","name":"SimulatedTemperatureSensor","type":"docker",
     "config":{"settings":{"image":"sensor:1.5","imageHash":"sha256:2"},"env":[]},
     "status":{"startTime":"2026-11-25T09:00:00Z",
       "exitStatus":{"exitTime":"2026-11-25T09:58:30Z","statusCode":"137"},
       "runtimeStatus":{"status":"failed","description":"exited"}}},
    {"id":"id","name":"edgeAgent","type":"docker",
     "config":{"settings":{"image":"mcr.microsoft.com/azureiotedge-agent:1.5"},"env":[]},
     "status":{"startTime":"2026-11-25T08:00:00Z","runtimeStatus":{"status":"running"}}}]}"#;

fn now() -> Timestamp {
    "2026-11-25T10:00:00Z".parse().unwrap()
}

#[test]
fn the_list_is_the_originals() {
    let modules: ModuleList = serde_json::from_str(MODULES).unwrap();
    let rows = list::rows(&modules.modules, now());
    assert_eq!(
        list::table(&rows),
        "\
NAME                        STATUS         DESCRIPTION                Config
SimulatedTemperatureSensor  failed         Failed (137) a minute ago  sensor:1.5
edgeAgent                   running        Up 2 hours                 mcr.microsoft.com/azureiotedge-agent:1.5
edgeHub                     running        Up 5 minutes               mcr.microsoft.com/azureiotedge-hub:1.5
"
    );
    let json = serde_json::to_value(&rows).unwrap();
    assert_eq!(
        json[0],
        json!({
            "name": "SimulatedTemperatureSensor", "status": "failed",
            "description": "Failed (137) a minute ago", "config": "sensor:1.5",
            "startTime": "2026-11-25T09:00:00Z", "exitTime": "2026-11-25T09:58:30Z", "exitCode": "137",
        })
    );
}

#[test]
fn images_on_their_way_are_in_the_list() {
    let modules: ModuleList = serde_json::from_str(MODULES).unwrap();
    let mut rows = list::rows(&modules.modules, now());
    let pull = |image: &str, modules: &[&str], layers| Pull {
        image: image.into(),
        modules: modules.iter().map(|module| (*module).to_owned()).collect(),
        layers,
        layers_done: 1,
        bytes: 2_000_000,
        bytes_done: 500_000,
    };
    list::add_pulls(&mut rows, &[pull("b:1", &["brandNew", "edgeHub"], 3), pull("c:1", &[], 0)]);
    assert_eq!(
        list::table(&rows),
        "\
NAME                        STATUS         DESCRIPTION                                             Config
SimulatedTemperatureSensor  failed         Failed (137) a minute ago                               sensor:1.5
brandNew                    pulling        Pulling: 0.5 of 2.0 MB, 1 of 3 layers                   b:1
edgeAgent                   running        Up 2 hours                                              mcr.microsoft.com/azureiotedge-agent:1.5
edgeHub                     running        Up 5 minutes; next image: 0.5 of 2.0 MB, 1 of 3 layers  mcr.microsoft.com/azureiotedge-hub:1.5
"
    );
    let json = serde_json::to_value(&rows).unwrap();
    assert_eq!(json[1]["pull"], "0.5 of 2.0 MB, 1 of 3 layers");
    assert!(json[0].get("pull").is_none());
}

#[test]
fn how_long_is_said_in_one_unit() {
    let up = |start: &str| {
        let text = MODULES.replace("2026-11-25T09:55:00Z", start);
        let modules: ModuleList = serde_json::from_str(&text).unwrap();
        let rows = serde_json::to_value(list::rows(&modules.modules, now())).unwrap();
        rows[2]["description"].as_str().unwrap().to_owned()
    };
    for (start, expected) in [
        ("2026-11-25T10:00:00Z", "Up a moment"),
        ("2026-11-25T11:00:00Z", "Up a moment"),
        ("2026-11-25T09:59:59Z", "Up a second"),
        ("2026-11-25T09:59:01Z", "Up 59 seconds"),
        ("2026-11-25T09:00:00Z", "Up an hour"),
        ("2026-11-23T09:00:00Z", "Up 2 days"),
        ("2024-11-01T00:00:00Z", "Up 2 years"),
        ("rubbish", "Up"),
    ] {
        assert_eq!(up(start), expected, "{start}");
    }
}

#[test]
fn one_daemon_plays_all_services() {
    assert_eq!(
        system::text(&system::services(None)),
        "\
System services:
    aziot-edged             Running
    aziot-identityd         Running
    aziot-keyd              Running
    aziot-certd             Running
    aziot-tpmd              Ready

Use 'iotedge check' to diagnose connectivity and configuration issues.
"
    );
    let down = system::text(&system::services(Some("it is not running".into())));
    assert!(down.contains("    aziot-tpmd              Down - it is not running\n"), "{down}");
}

#[test]
fn lines_of_a_log_are_put_together_per_output() {
    let chunk = |source, text: &'static str| LogChunk {
        source,
        bytes: Bytes::from_static(text.as_bytes()),
    };
    let mut lines = logs::Lines::default();
    assert_eq!(lines.push(&chunk(Source::Output, "one\ntw")), [(Source::Output, "one".into())]);
    assert_eq!(lines.push(&chunk(Source::Error, "bad\r\n")), [(Source::Error, "bad".into())]);
    assert_eq!(
        lines.push(&chunk(Source::Output, "o\n\n")),
        [(Source::Output, "two".into()), (Source::Output, String::new())]
    );
    assert_eq!(lines.push(&chunk(Source::Output, "end")), []);
    assert_eq!(lines.rest(), [(Source::Output, "end".into())]);

    let mut endless = logs::Lines::default();
    let long = Bytes::from(vec![b'x'; 100_000]);
    assert_eq!(endless.push(&LogChunk { source: Source::Output, bytes: long }).len(), 1);
}

#[test]
fn the_command_line_is_taken_with_and_without_the_program_before_it() {
    Arguments::command().debug_assert();
    for line in [
        "iotedge list",
        "iotedge -H unix:///run/mgmt.sock list -o json",
        "iotedge logs edgeHub -f --tail 10 --since 1h --until 2026-11-25T00:00:00Z --timestamps",
        "iotedge restart edgeHub",
        "iotedge system status -o json",
        "iotedge system logs -- -f --since today",
        "iotedge system logs",
        "iotedge system restart",
        "iotedge system stop",
        "iotedge system set-log-level debug",
        "iotedge system reprovision",
        "iotedge config mp --connection-string HostName=h;DeviceId=d;SharedAccessKey=a2V5 --force -o /tmp/c",
        "iotedge config apply",
        "iotedge config apply -c /tmp/config.toml",
        "iotedge config import -c /etc/iotedge/config.yaml --force",
        "iotedge support-bundle --since 6h --until 1h --tail 100 -o /tmp/b.zip -e --quiet",
        "iotedge support-bundle --output - --include-edge-runtime-only --iothub-hostname h",
        "iotedge check --verbose --dont-run hostname container-engine-dns --warnings-as-errors",
        "iotedge check -o json --container-engine-config-file /tmp/daemon.json --iothub-hostname h",
        "iotedge check-list",
        "iotedge version",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        if let Err(error) = Arguments::try_parse_from(&words) {
            panic!("{error}");
        }
        let parsed = crate::Arguments::try_parse_from(["farshore"].iter().chain(&words));
        assert!(parsed.is_ok(), "farshore {line}");
    }
    for line in
        ["iotedge logs", "iotedge logs m --tail few", "iotedge restart", "iotedge list -o xml"]
    {
        assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

/// A management API that knows two things: a list, and the log of one module.
struct Server {
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Shutdown,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = host::net::listen_unix(&dir.path().join("mgmt.sock"), 0o600).unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Shutdown::new());
        let (log, end) = (Arc::clone(&asked), stop.clone());
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    stream = listener.accept() => stream,
                    () = end.wait() => return,
                };
                let (log, end) = (Arc::clone(&log), end.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let answer = answer(&request, &log);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let _ = host::http::serve_connection(stream, service, Limits::default(), &end)
                        .await;
                });
            }
        });
        Self { dir, asked, stop }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("mgmt.sock")
    }

    async fn run(&self, line: &[&str]) -> Result<(), Failure> {
        run_at(&self.socket(), line).await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

#[tokio::test]
async fn a_first_configuration_is_written_once_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("no.sock");
    let path = dir.path().join("etc/config.toml");
    let file = path.display().to_string();
    let good = "HostName=hub.test;DeviceId=edge1;SharedAccessKey=a2tra2tra2tra2tra2tr";
    let mp = |string: &'static str| vec!["config", "mp", "--connection-string", string, "-o"];
    let line = |string, more: &[&'static str]| -> Vec<String> {
        let words = mp(string).into_iter().map(str::to_owned);
        words.chain([file.clone()]).chain(more.iter().map(|word| (*word).to_owned())).collect()
    };
    let run = async |line: Vec<String>| {
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        run_at(&nowhere, &line).await
    };
    let failure = run(line("HostName=hub.test;DeviceId=edge1", &[])).await.unwrap_err();
    assert_eq!(failure.code(), USAGE);
    assert!(!host::fs::exists(&path).unwrap());
    run(line(good, &[])).await.unwrap();
    assert_eq!(host::fs::facts(&path).unwrap().mode, 0o600);
    let failure = run(line(good, &[])).await.unwrap_err();
    assert_eq!(failure.code(), CONFLICT);
    assert!(failure.message().unwrap().contains("--force"), "{failure:?}");
    run(line(good, &["--force"])).await.unwrap();

    // A runtime that is away reads it when it starts; what is wrong never gets that far.
    let apply = |file: &str| ["config", "apply", "-c", file].map(str::to_owned).to_vec();
    run(apply(&file)).await.unwrap();
    let bad = dir.path().join("bad.toml");
    host::fs::write_atomic(&bad, b"hostnam = 1\n", 0o644).unwrap();
    let failure = run(apply(&bad.display().to_string())).await.unwrap_err();
    assert!(failure.message().unwrap().contains("bad.toml:1: hostnam is not a key"), "{failure:?}");
    assert_eq!(run(apply("/nowhere.toml")).await.unwrap_err().code(), NOT_FOUND);

    let yaml = dir.path().join("config.yaml");
    host::fs::write_atomic(&yaml, b"hostname: x\n", 0o600).unwrap();
    let import = ["config", "import", "-c", yaml.to_str().unwrap()];
    let failure = run_at(&nowhere, &import).await.unwrap_err();
    assert!(
        failure.message().unwrap().contains("config.yaml:1: provisioning is missing"),
        "{failure:?}"
    );
}

async fn run_at(socket: &Path, line: &[&str]) -> Result<(), Failure> {
    let host = format!("unix://{}", socket.display());
    let line = ["iotedge", "-H", &host].into_iter().chain(line.iter().copied());
    run(Arguments::try_parse_from(line).unwrap()).await
}

fn answer(
    request: &hyper::Request<Incoming>,
    log: &Mutex<Vec<String>>,
) -> hyper::Response<Full<Bytes>> {
    let target = request.uri().to_string();
    log.lock().push(format!("{} {target}", request.method()));
    let path = request.uri().path();
    let (status, body) = match path {
        "/modules" => (200, MODULES.as_bytes().to_vec()),
        "/modules/edgeHub/logs" => {
            (200, b"\x01\0\0\0\0\0\0\x06hello\n\x02\0\0\0\0\0\0\x04bad\n".to_vec())
        }
        "/modules/edgeHub/restart" => (204, Vec::new()),
        "/modules/other/restart" => (
            404,
            br#"{"message":"could not restart\ncaused by: module other does not exist"}"#.to_vec(),
        ),
        "/modules/edgeAgent/restart" => (403, br#"{"message":"forbidden"}"#.to_vec()),
        _ => (500, br#"{"message":"broken"}"#.to_vec()),
    };
    let mut response = hyper::Response::new(full(body));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    response
}

#[tokio::test]
async fn commands_ask_the_management_api() {
    let server = Server::start();
    server.run(&["list"]).await.unwrap();
    server.run(&["restart", "edgeHub"]).await.unwrap();
    server.run(&["logs", "edgeHub", "--tail", "3", "--until", "2h", "-f"]).await.unwrap();
    server.run(&["logs", "edgeHub", "-o", "json"]).await.unwrap();
    let version = iot_proto::management::API_VERSION;
    assert_eq!(
        server.asked(),
        [
            format!("GET /modules?api-version={version}"),
            // Which images are on their way.
            format!("GET /pulls?api-version={version}"),
            format!("POST /modules/edgeHub/restart?api-version={version}"),
            format!(
                "GET /modules/edgeHub/logs?api-version={version}&follow=true&tail=3&since=1%20day&until=2h"
            ),
            format!("GET /modules/edgeHub/logs?api-version={version}&follow=false&since=1%20day"),
        ]
    );
}

#[tokio::test]
async fn failures_name_their_causes_and_have_exit_codes() {
    let server = Server::start();
    for (line, code, says) in [
        (
            &["restart", "other"][..],
            NOT_FOUND,
            "could not restart\n  caused by: module other does not exist",
        ),
        (&["restart", "edgeAgent"], DENIED, "forbidden"),
        (&["restart", "broken"], FAILED, "broken"),
    ] {
        let failure = server.run(line).await.unwrap_err();
        assert_eq!(failure.code(), code, "{failure:?}");
        assert!(failure.message().unwrap().contains(says), "{failure:?}");
    }
    let nowhere = server.dir.path().join("no.sock");
    let failure = run_at(&nowhere, &["list"]).await.unwrap_err();
    assert_eq!(failure.code(), UNREACHABLE);
    assert!(failure.message().unwrap().contains("is not running"), "{failure:?}");
    // What is down is shown, so there is nothing more to say.
    let failure = run_at(&nowhere, &["system", "status"]).await.unwrap_err();
    assert_eq!((failure.code(), failure.message()), (FAILED, None));

    let line = ["iotedge", "-H", "http://localhost", "list"];
    let failure = run(Arguments::try_parse_from(line).unwrap()).await.unwrap_err();
    assert_eq!(failure.code(), USAGE);
}

#[test]
fn a_socket_that_may_not_be_opened_hints_at_root() {
    let source = host::net::NetError::Connect {
        peer: "/run/mgmt.sock".into(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    let failure =
        failed(client::edge::EdgeError::Connect { socket: "/run/mgmt.sock".into(), source });
    assert_eq!(failure.code(), DENIED);
    assert!(failure.message().unwrap().contains("run as root"), "{failure:?}");
}
