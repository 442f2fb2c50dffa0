//! What goes over the wire to an engine, seen by a fake one. What a real engine
//! does with it is in `tests/docker.rs`.

use std::sync::Arc;

use host::net::{UnixListener, UnixStream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Answers every request from a table and keeps what it was asked.
struct FakeEngine {
    _dir: tempfile::TempDir,
    uri: String,
    requests: Arc<Mutex<Vec<Request>>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Request {
    /// Method and target.
    line: String,
    head: String,
    body: Vec<u8>,
}

type Answer = (u16, Value);

impl FakeEngine {
    fn start(answers: fn(&str) -> Option<Answer>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let listener = host::net::listen_unix(&path, 0o600).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(serve(listener, answers, requests.clone()));
        Self { _dir: dir, uri: format!("unix://{}", path.display()), requests, server }
    }

    async fn runtime(&self, catalogue: Catalogue) -> Result<DockerRuntime, RuntimeError> {
        DockerRuntime::connect(DockerSettings {
            uri: self.uri.clone(),
            network: NetworkSettings::default(),
            allow_elevated: true,
            policy: HostPolicy::default(),
            protected_paths: Vec::new(),
            catalogue,
        })
        .await
    }

    fn asked(&self, line: &str) -> Vec<Request> {
        let requests = self.requests.lock();
        requests.iter().filter(|request| request.line.starts_with(line)).cloned().collect()
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    listener: UnixListener,
    answers: fn(&str) -> Option<Answer>,
    requests: Arc<Mutex<Vec<Request>>>,
) {
    loop {
        let mut stream = listener.accept().await;
        while let Some(request) = read_request(&mut stream).await {
            let (status, body) = answers(&request.line)
                .or_else(|| usual_answers(&request.line))
                .unwrap_or_else(|| panic!("unexpected request {}", request.line));
            requests.lock().push(request);
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }
}

async fn read_request(stream: &mut UnixStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(head_end);
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    while body.len() < length.unwrap_or_default() {
        assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0);
    }
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { line, head, body })
}

fn usual_answers(line: &str) -> Option<Answer> {
    Some(match line {
        "GET /version" | "GET /v1.41/version" => {
            (200, json!({ "Version": "20.10.24", "ApiVersion": "1.41" }))
        }
        "GET /v1.41/networks" => (200, json!([{ "Name": "azure-iot-edge", "Id": "n" }])),
        "POST /v1.41/containers/create?name=tempSensor&platform=" => {
            (201, json!({ "Id": "c", "Warnings": [] }))
        }
        _ => return None,
    })
}

fn spec(options: Value) -> ModuleSpec {
    let name: ModuleName = "tempSensor".parse().unwrap();
    ModuleSpec {
        create_options: options,
        ..ModuleSpec::new(name, "reg.io/temp:1".parse().unwrap())
    }
}

#[tokio::test]
async fn unknown_create_options_reach_the_engine() {
    let engine = FakeEngine::start(|_| None);
    let runtime = engine.runtime(Catalogue::empty()).await.unwrap();
    let options =
        json!({ "NewInApi2": { "Deep": [1, { "x": null }] }, "HostConfig": { "NewToo": "y" } });
    assert_eq!(runtime.create(&spec(options)).await.unwrap(), []);

    let created = engine.asked("POST /v1.41/containers/create?name=tempSensor");
    assert_eq!(created.len(), 1);
    let body: Value = serde_json::from_slice(&created[0].body).unwrap();
    assert_eq!(body["NewInApi2"], json!({ "Deep": [1, { "x": null }] }));
    assert_eq!(body["HostConfig"]["NewToo"], "y");
    assert_eq!(body["Image"], "reg.io/temp:1");
}

#[tokio::test]
async fn network_is_made_when_only_a_longer_name_exists() {
    let engine = FakeEngine::start(|line| match line {
        "GET /v1.41/networks" => Some((200, json!([{ "Name": "azure-iot-edge-2", "Id": "n" }]))),
        "POST /v1.41/networks/create" => Some((201, json!({ "Id": "m", "Warning": "" }))),
        _ => None,
    });
    engine.runtime(Catalogue::empty()).await.unwrap();
    let made = engine.asked("POST /v1.41/networks/create");
    assert_eq!(made.len(), 1);
    let body: Value = serde_json::from_slice(&made[0].body).unwrap();
    assert_eq!(body["Name"], "azure-iot-edge");
}

#[tokio::test]
async fn pull_sends_credentials_url_safe_and_built_in_images_are_never_pulled() {
    let engine = FakeEngine::start(|line| match line {
        "POST /v1.41/images/create?fromImage=reg.io%2Ftemp&tag=1&platform=" => {
            Some((200, json!({ "status": "done" })))
        }
        "GET /v1.41/images/farshore:1/json" => Some((200, json!({ "Id": "sha256:1" }))),
        "GET /v1.41/images/farshore:2/json" => Some((404, json!({ "message": "no such image" }))),
        _ => None,
    });
    let builtin = |image: &str| Builtin {
        image: image.parse().unwrap(),
        program: "/farshore".into(),
        args: Vec::new(),
    };
    let catalogue = Catalogue::empty()
        .with("reg.io/hub", builtin("farshore:1"))
        .with("reg.io/lost", builtin("farshore:2"));
    let runtime = engine.runtime(catalogue).await.unwrap();

    let auth = RegistryAuth {
        server_address: "reg.io".to_owned(),
        username: "user".to_owned(),
        // In standard base64 this gives both '+' and '/'.
        password: "\u{fb}\u{ff}\u{fe}??>>>~~~".to_owned(),
    };
    runtime.pull(&"reg.io/temp:1".parse().unwrap(), Some(&auth)).await.unwrap();
    let pulled = engine.asked("POST /v1.41/images/create");
    let header =
        pulled[0].head.lines().find_map(|line| line.strip_prefix("x-registry-auth: ")).unwrap();
    use base64::Engine as _;
    let json: Value =
        serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE.decode(header).unwrap()).unwrap();
    assert_eq!(
        json,
        json!({ "username": "user", "password": auth.password, "serveraddress": "reg.io" })
    );
    assert!(!format!("{auth:?}").contains(&auth.password));

    runtime.pull(&"reg.io/hub:9".parse().unwrap(), None).await.unwrap();
    let lost = runtime.pull(&"reg.io/lost:9".parse().unwrap(), None).await.unwrap_err();
    assert!(lost.to_string().contains("built in as farshore:2"), "{lost}");
    assert_eq!(engine.asked("POST /v1.41/images/create").len(), 1);
}

#[tokio::test]
async fn a_failed_pull_is_an_error_although_the_engine_began_with_200() {
    let engine = FakeEngine::start(|line| {
        line.starts_with("POST /v1.41/images/create")
            .then(|| (200, json!({ "error": "denied", "errorDetail": { "message": "denied" } })))
    });
    let runtime = engine.runtime(Catalogue::empty()).await.unwrap();
    let error = runtime.pull(&"reg.io/temp:1".parse().unwrap(), None).await.unwrap_err();
    assert!(error.to_string().contains("denied"), "{error}");
}

#[tokio::test]
async fn other_peoples_containers_are_not_touched() {
    let engine = FakeEngine::start(|line| match line {
        "GET /v1.41/containers/tempSensor/json" => Some((
            200,
            json!({ "Id": "c", "Name": "/tempSensor", "Config": { "Labels": { "net.azure-devices.edge.owner": "x" } } }),
        )),
        // Found by the beginning of its id.
        "GET /v1.41/containers/abc/json" => Some((
            200,
            json!({ "Id": "abcdef", "Name": "/other", "Config": { "Labels": { create::LABEL_OWNER: create::OWNER } } }),
        )),
        "POST /v1.41/containers/create?name=tempSensor&platform=" => {
            Some((409, json!({ "message": "in use" })))
        }
        _ => None,
    });
    let runtime = engine.runtime(Catalogue::empty()).await.unwrap();
    for name in ["tempSensor", "abc"] {
        let name: ModuleName = name.parse().unwrap();
        assert!(runtime.get(&name).await.unwrap_err().is_not_found());
        assert!(runtime.start(&name).await.unwrap_err().is_not_found());
        assert!(runtime.stop(&name, Duration::ZERO).await.unwrap_err().is_not_found());
        assert!(!runtime.contains_process(&name, 1).await.unwrap());
        runtime.remove(&name).await.unwrap();
    }
    assert!(engine.asked("DELETE").is_empty());
    let error = runtime.create(&spec(json!({}))).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn log_times_keep_their_nanoseconds() {
    let options = LogOptions {
        follow: true,
        tail: Some(5),
        since: Some("2026-01-02T03:04:05.000000007Z".parse().unwrap()),
        until: Some("2040-01-01T00:00:00Z".parse().unwrap()),
        timestamps: true,
    };
    assert_eq!(
        streams::log_query(&options),
        "stdout=true&stderr=true&follow=true&timestamps=true&tail=5&since=1767323045.000000007&until=2208988800.000000000"
    );
    assert_eq!(
        streams::log_query(&LogOptions::default()),
        "stdout=true&stderr=true&follow=false&timestamps=false&tail=all"
    );
}

#[tokio::test]
async fn an_engine_that_is_not_there_or_too_old_is_named() {
    let settings = |uri: &str| DockerSettings {
        uri: uri.to_owned(),
        network: NetworkSettings::default(),
        allow_elevated: true,
        policy: HostPolicy::default(),
        protected_paths: Vec::new(),
        catalogue: Catalogue::empty(),
    };
    let missing =
        DockerRuntime::connect(settings("unix:///nonexistent/engine.sock")).await.err().unwrap();
    assert!(missing.to_string().contains("unix:///nonexistent/engine.sock"), "{missing}");
    for uri in ["tcp://localhost:2375", "unix://relative", ""] {
        let error = DockerRuntime::connect(settings(uri)).await.err().unwrap();
        assert!(matches!(error, RuntimeError::EngineUri { .. }), "{error}");
    }

    let dir = tempfile::tempdir().unwrap();
    let deaf = dir.path().join("deaf.sock");
    drop(host::net::listen_unix(&deaf, 0o600).unwrap());
    let refused = DockerRuntime::connect(settings(&format!("unix://{}", deaf.display())))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, RuntimeError::EngineUnreachable { .. }), "{refused}");

    let old = FakeEngine::start(|line| {
        (line == "GET /version").then(|| (200, json!({ "Version": "1.13", "ApiVersion": "1.25" })))
    });
    let error = old.runtime(Catalogue::empty()).await.err().unwrap();
    assert!(error.to_string().contains("speaks API 1.25"), "{error}");
}
