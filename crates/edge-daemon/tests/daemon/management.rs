//! The management API.

use std::sync::Arc;

use client::edge::Source;
use edge_daemon::OwnerRequest;
use host::http::{Client, Method, Request};
use host::net;
use iot_proto::management::{IdentityCreate, LogsQuery, ModuleSpec, Tail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::another;
use crate::support::{Place, VERSION};

fn spec(name: &str, image: &str) -> ModuleSpec {
    with_options(name, image, json!({}))
}

fn with_options(name: &str, image: &str, options: Value) -> ModuleSpec {
    serde_json::from_value(json!({
        "name": name, "type": "docker",
        "config": {
            "settings": {"image": image, "createOptions": options},
            "env": [{"key": "A", "value": "1"}],
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn a_pull_that_was_given_up_is_joined_by_the_next_who_wants_the_image() {
    let place = Place::new().await;
    let daemon = place.start().await;
    place.runtime.holds_pulls.send_replace(true);
    let client = place.management();
    let first = tokio::spawn(async move { client.prepare_update(&spec("sensor", "x:1")).await });
    let mut calls = Vec::new();
    while calls.is_empty() {
        calls = place.runtime.take_calls();
        tokio::task::yield_now().await;
    }
    assert_eq!(calls, ["pull x:1"]);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    // Other settings, the same image; and another image beside it.
    let client = place.management();
    let second = with_options("sensor", "x:1", json!({"Tty": true}));
    let second = tokio::spawn(async move { client.create_module(&second).await });
    let client = place.management();
    let other = tokio::spawn(async move { client.prepare_update(&spec("other", "y:1")).await });
    while calls.last().is_none_or(|call| call != "pull y:1") {
        calls.extend(place.runtime.take_calls());
        tokio::task::yield_now().await;
    }
    place.runtime.holds_pulls.send_replace(false);
    second.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    calls.extend(place.runtime.take_calls());
    assert_eq!(calls, ["pull x:1", "pull y:1", "create sensor"]);
    daemon.end().await;
}

#[tokio::test]
async fn a_modules_life() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let client = place.management();

    let created = client.create_module(&spec("sensor", "sensor:1")).await.unwrap();
    assert_eq!(
        (created.id.as_str(), created.name.as_str(), created.r#type.as_str()),
        ("id", "sensor", "docker")
    );
    assert_eq!(created.config.settings["image"], "sensor:1");
    assert_eq!(created.config.settings["imageHash"], "sha256:1234");
    assert!(created.config.env.is_empty());
    assert_eq!(created.status.runtime_status.status, "stopped");
    assert_eq!(place.runtime.take_calls(), ["pull sensor:1", "create sensor"]);

    // The socket is there before the module starts, in a directory of its own.
    let made = place.runtime.spec("sensor");
    assert_eq!(made.binds.len(), 1);
    assert_eq!(made.binds[0].host, place.path("home/mnt/sensor"));
    assert_eq!(made.binds[0].inside.to_str(), Some("/var/run/iotedge"));
    assert!(made.binds[0].read_only);
    assert_eq!(host::fs::facts(&place.socket("sensor")).unwrap().mode, 0o666);

    client.start_module("sensor").await.unwrap();
    assert_eq!(client.module("sensor").await.unwrap().status.runtime_status.status, "running");
    client.restart_module("sensor").await.unwrap();
    client.stop_module("sensor").await.unwrap();
    let names: Vec<String> =
        client.modules().await.unwrap().into_iter().map(|module| module.name).collect();
    assert_eq!(names, ["edgeAgent", "sensor"]);
    client.delete_module("sensor").await.unwrap();
    assert_eq!(
        place.runtime.take_calls(),
        ["start sensor", "restart sensor", "stop sensor", "remove sensor"]
    );
    assert!(!host::fs::exists(&place.path("home/mnt/sensor")).unwrap());
    assert_eq!(client.delete_module("sensor").await.unwrap_err().status(), Some(404));
    assert_eq!(client.start_module("sensor").await.unwrap_err().status(), Some(404));
    daemon.end().await;
}

#[tokio::test]
async fn an_update_is_tried_out_before_the_old_module_is_touched() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let client = place.management();
    client.create_module(&spec("sensor", "sensor:1")).await.unwrap();
    client.start_module("sensor").await.unwrap();
    place.runtime.take_calls();

    let bad = with_options("sensor", "sensor:2", json!({"HostConfig": {"PidMode": "host"}}));
    let error = client.update_module(&bad, true).await.unwrap_err();
    assert_eq!(error.status(), Some(400));
    let text = error.to_string();
    assert!(
        text.contains("module sensor is refused") && text.contains("HostConfig.PidMode"),
        "{text}"
    );
    assert_eq!(
        place.runtime.take_calls(),
        ["pull sensor:2", "create candidate", "remove candidate"]
    );
    assert_eq!(client.module("sensor").await.unwrap().status.runtime_status.status, "running");

    let socket = place.socket("sensor");
    place.act_as("sensor");
    let create = IdentityCreate { module_id: "sensor".into(), managed_by: None };
    client.create_identity(&create).await.unwrap();
    let before = place.workload("sensor");
    before.sign(b"x").await.unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&tokio::fs::metadata(&socket).await.unwrap());
    let updated = client.update_module(&spec("sensor", "sensor:2"), true).await.unwrap();
    assert_eq!(updated.config.settings["image"], "sensor:2");
    assert_eq!(
        place.runtime.take_calls(),
        [
            "pull sensor:2",
            "create candidate",
            "remove candidate",
            "stop sensor",
            "remove sensor",
            "create sensor",
            "start sensor"
        ]
    );
    // Whoever was connected stays so, and the socket is the same.
    before.sign(b"x").await.unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&tokio::fs::metadata(&socket).await.unwrap()),
        inode
    );

    // One that did not exist is created.
    client.update_module(&spec("other", "other:1"), false).await.unwrap();
    assert_eq!(place.runtime.names(), ["other", "sensor"]);
    daemon.end().await;
}

#[tokio::test]
async fn an_image_that_is_here_will_do_when_the_registry_is_away() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let client = place.management();
    client.prepare_update(&spec("sensor", "sensor:1")).await.unwrap();
    place.runtime.set_registry_down(true);
    client.create_module(&spec("sensor", "sensor:1")).await.unwrap();
    let error = client.create_module(&spec("other", "other:1")).await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert!(error.to_string().contains("image other:1: no route"), "{error}");
    let mut never = spec("third", "third:1");
    never.image_pull_policy = Some(iot_proto::management::ImagePullPolicy::Never);
    place.runtime.take_calls();
    client.create_module(&never).await.unwrap();
    assert_eq!(place.runtime.take_calls(), ["create third"]);
    daemon.end().await;
}

#[tokio::test]
async fn specifications_are_checked_before_anything_happens() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let settings = |settings: Value| {
        let mut spec = spec("sensor", "sensor:1");
        spec.config.settings = settings.as_object().unwrap().clone();
        spec
    };
    for (spec, message) in [
        (spec("", "x:1"), "name of the module is empty"),
        (spec("../../etc", "x:1"), "module name \"../../etc\" cannot be used"),
        (spec("--privileged", "x:1"), "module name"),
        (spec("sensor", "--privileged"), "--privileged"),
        (spec("sensor", "x;rm -rf /"), "x;rm"),
        (spec("sensor", "  "), "config.settings.image is missing"),
        (settings(json!({})), "config.settings.image is missing"),
        (settings(json!({"image": 1})), "image is not text"),
        (settings(json!({"image": "x:1", "createOptions": 1})), "createOptions is not an object"),
        (settings(json!({"image": "x:1", "createOptions": "{"})), "createOptions is text, but not"),
        (settings(json!({"image": "x:1", "auth": "x"})), "auth is not an object"),
        (
            ModuleSpec { r#type: "wasm".into(), ..spec("sensor", "x:1") },
            "module type \"wasm\" is not served",
        ),
        (spec("edgeAgent", "x:1"), "edgeAgent is part of the daemon and exists already"),
    ] {
        let error = place.management().create_module(&spec).await.unwrap_err();
        assert_eq!(error.status(), Some(400), "{error}");
        assert!(error.to_string().contains(message), "{error} is not {message}");
    }
    let path = format!("/modules/other?{VERSION}");
    let body = serde_json::to_vec(&spec("sensor", "x:1")).unwrap();
    let response = place.ask(&place.path("mgmt.sock"), Request::put(path).json(body)).await;
    assert_eq!(response.status.as_u16(), 400);
    assert!(String::from_utf8_lossy(&response.body).contains("in the body is not"));
    assert_eq!(place.runtime.take_calls(), Vec::<String>::new());

    let upstream = spec("sensor", "$upstream:443/sensor:1");
    place.management().create_module(&upstream).await.unwrap();
    assert_eq!(place.runtime.spec("sensor").image.to_string(), "hub.test:443/sensor:1");
    let text = settings(json!({"image": "x:1", "createOptions": "{\"User\":\"5\"}",
        "auth": {"serveraddress": "r", "username": "u", "password": "p"}}));
    place.management().update_module(&text, false).await.unwrap();
    let made = place.runtime.spec("sensor");
    assert_eq!(made.create_options, json!({"User": "5"}));
    assert_eq!(made.auth.unwrap().password, "p");
    assert_eq!(made.env["A"], "1");
    let hub = ModuleSpec { name: "edgeHub".into(), ..text };
    place.management().create_module(&hub).await.unwrap();
    assert_eq!(place.runtime.spec("edgeHub").network_aliases, ["gw.local"]);
    daemon.end().await;
}

#[tokio::test]
async fn only_the_agent_changes_the_deployment() {
    let place = Place::new().await;
    let daemon = place.start_with_module("sensor").await;
    let socket = place.path("mgmt.sock");
    for (method, path) in [
        (Method::POST, "/modules"),
        (Method::PUT, "/modules/sensor"),
        (Method::DELETE, "/modules/sensor"),
        (Method::POST, "/modules/sensor/prepareupdate"),
        (Method::POST, "/identities"),
        (Method::PUT, "/identities/sensor"),
        (Method::DELETE, "/identities/sensor"),
    ] {
        let (status, body) =
            another::ask(&socket, method.clone(), &format!("{path}?{VERSION}")).await;
        assert_eq!((status, body.as_str()), (403, r#"{"message":"forbidden"}"#), "{method} {path}");
    }
    assert_eq!(place.runtime.take_calls(), Vec::<String>::new());
    for (method, path, expected) in [
        (Method::GET, "/modules/", 200),
        (Method::GET, "/modules/sensor", 200),
        (Method::POST, "/modules/sensor/restart", 204),
        (Method::GET, "/identities/", 200),
        (Method::GET, "/systeminfo", 200),
    ] {
        let (status, body) = another::ask(&socket, method, &format!("{path}?{VERSION}")).await;
        assert_eq!(status, expected, "{path} {body}");
    }
    // A container named edgeAgent counts as the agent.
    let add = |pid| place.runtime.add_process("edgeAgent", pid);
    let path = format!("/device/reprovision?{VERSION}");
    let (status, body, _) = another::ask_and_pid(&socket, Method::POST, &path, add).await;
    assert_eq!(status, 204, "{body}");
    daemon.end().await;
}

#[tokio::test]
async fn the_owner_restarts_stops_and_reprovisions_the_runtime() {
    let place = Place::new().await;
    let (owner, mut requests) = tokio::sync::mpsc::channel(4);
    let settings = edge_daemon::DaemonSettings { owner: Some(owner), ..place.settings("") };
    let daemon = edge_daemon::Daemon::start(settings).await.unwrap();
    let client = place.management();
    client.set_log_level("Warning").await.unwrap();
    assert_eq!(client.set_log_level("loud").await.unwrap_err().status(), Some(400));
    client.restart_runtime().await.unwrap();
    client.reprovision().await.unwrap();
    client.stop_runtime().await.unwrap();
    let asked: Vec<OwnerRequest> = std::iter::from_fn(|| requests.try_recv().ok()).collect();
    let expected = [
        OwnerRequest::LogLevel("warn".into()),
        OwnerRequest::Restart,
        OwnerRequest::Restart,
        OwnerRequest::Stop,
    ];
    assert_eq!(asked, expected);
    drop((daemon, requests));

    // A runtime that is part of another program does what it can by itself.
    let place = Place::new().await;
    let client = place.management();
    let mut daemon = place.start_with_module("sensor").await;
    for error in [
        client.restart_runtime().await.unwrap_err(),
        client.stop_runtime().await.unwrap_err(),
        client.set_log_level("info").await.unwrap_err(),
    ] {
        assert_eq!(error.status(), Some(409), "{error}");
        assert!(error.to_string().contains("farshore up"), "{error}");
    }
    client.reprovision().await.unwrap();
    daemon.restarts.changed().await.unwrap();
    daemon.end().await;
}

#[tokio::test]
async fn the_agent_is_part_of_the_daemon() {
    let place = Place::new().await;
    let mut daemon = place.start().await;
    let client = place.management();
    let agent = client.module("edgeAgent").await.unwrap();
    assert_eq!(agent.status.runtime_status.status, "running");
    assert_eq!(agent.config.settings["image"], "mcr.microsoft.com/azureiotedge-agent:1.6");
    client.update_module(&spec("edgeAgent", "agent:2"), true).await.unwrap();
    client.start_module("edgeAgent").await.unwrap();
    for error in [
        client.stop_module("edgeAgent").await.unwrap_err(),
        client.delete_module("edgeAgent").await.unwrap_err(),
    ] {
        assert_eq!(error.status(), Some(400));
        assert!(error.to_string().contains("edgeAgent is part of the daemon"), "{error}");
    }
    assert_eq!(
        client.logs("edgeAgent", &LogsQuery::default()).await.unwrap_err().status(),
        Some(404)
    );
    client.restart_module("edgeAgent").await.unwrap();
    assert!(daemon.restarts.has_changed().unwrap());
    assert_eq!(*daemon.restarts.borrow_and_update(), 1);
    assert_eq!(place.runtime.take_calls(), Vec::<String>::new());
    daemon.end().await;

    let alone = place.try_start("").await.unwrap();
    let error = place.management().restart_module("edgeAgent").await.unwrap_err();
    assert!(error.to_string().contains("restart the daemon"), "{error}");
    drop(alone);
}

#[tokio::test]
async fn a_log_comes_in_frames_and_its_query_is_understood() {
    let place = Place::new().await;
    let daemon = place.start_with_module("sensor").await;
    let query = LogsQuery {
        follow: false,
        tail: Tail::Lines(5),
        since: Some("0".into()),
        until: Some("2026-11-25T00:00:00Z".into()),
        timestamps: true,
    };
    let mut logs = place.management().logs("sensor", &query).await.unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = logs.next().await.unwrap() {
        chunks.push((chunk.source, chunk.bytes));
    }
    assert_eq!(chunks, [(Source::Output, "hello\n".into()), (Source::Error, "oh\n".into())]);
    let options = place.runtime.take_log_options().remove(0);
    assert_eq!((options.tail, options.timestamps, options.follow), (Some(5), true, false));
    assert_eq!(options.since.unwrap().to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(options.until.unwrap().to_string(), "2026-11-25T00:00:00Z");

    let path = format!("/modules/sensor/logs?{VERSION}");
    let response = place.ask(&place.path("mgmt.sock"), Request::get(&path)).await;
    assert_eq!(response.headers["content-type"], "text/plain");
    assert_eq!(&response.body[..8], &[1, 0, 0, 0, 0, 0, 0, 6]);
    for (query, message) in
        [("tail=x", "tail"), ("follow=maybe", "follow"), ("since=yesterday", "since")]
    {
        let (status, body) = place.ask_management(Method::GET, &format!("{path}&{query}")).await;
        assert_eq!(status, 400);
        assert!(body.contains(message), "{body}");
    }
    // An engine that breaks off ends the answer short, not in order.
    let broken = Client::unix(place.path("mgmt.sock"))
        .send(Request::get(format!("{path}&follow=true")))
        .await;
    assert!(broken.is_err());
    assert_eq!(place.management().logs("none", &query).await.unwrap_err().status(), Some(404));
    daemon.end().await;
}

#[tokio::test]
async fn the_machine_is_described() {
    let place = Place::new().await;
    let additional = place.path("more.toml");
    host::fs::write_atomic(&additional, b"site = \"lab\"\nproduct_name = \"box\"\n", 0o644)
        .unwrap();
    let top = format!("additional_info = \"file://{}\"", additional.display());
    let daemon = place.start_with(&top).await;
    let (status, body) = place.ask_management(Method::GET, &format!("/systeminfo?{VERSION}")).await;
    assert_eq!(status, 200);
    let info: Value = serde_json::from_str(&body).unwrap();
    for (name, value) in [
        ("osType", json!("linux")),
        ("architecture", json!("x86_64")),
        ("version", json!("1.2.3")),
        ("cpus", json!(2)),
        ("total_memory", json!(1024)),
        ("server_version", json!("20.1")),
        ("product_name", json!("box")),
        ("site", json!("lab")),
        (
            "provisioning",
            json!({"type": "ProvisioningType", "dynamicReprovisioning": false, "alwaysReprovisionOnStartup": false}),
        ),
    ] {
        assert_eq!(info[name], value, "{name}");
    }
    assert!(!info["kernel_release"].as_str().unwrap().is_empty());
    let resources = place.management().system_resources().await.unwrap();
    assert!(resources.total_ram > resources.used_ram && resources.used_ram > 0);
    assert!(resources.host_uptime > 0);
    assert!((0.0..=100.0).contains(&resources.used_cpu));
    place.runtime.set_engine_down(true);
    let error = place.management().system_info().await.unwrap_err();
    assert_eq!(error.status(), Some(500));
    assert!(error.to_string().contains("caused by: connection refused"), "{error}");
    daemon.end().await;
}

#[tokio::test]
async fn manners_are_those_of_the_reference() {
    let place = Place::new().await;
    let daemon = place.start().await;
    for (method, path, status, message) in [
        (Method::GET, "/modules".to_owned(), 400, "api-version not specified"),
        (Method::GET, "/modules?api-version=x".to_owned(), 400, "invalid api-version \\\"x\\\""),
        (Method::GET, format!("/none?{VERSION}"), 404, "not found"),
        (Method::PATCH, format!("/modules?{VERSION}"), 400, "method not allowed"),
        (Method::GET, format!("/modules/x/start?{VERSION}"), 400, "method not allowed"),
        (Method::POST, format!("/identities?{VERSION}"), 400, "missing request body"),
        (Method::GET, format!("/modules/none?{VERSION}"), 404, "module none does not exist"),
        (Method::GET, format!("/modules/%2e%2e%2fetc?{VERSION}"), 400, "module name"),
        (
            Method::GET,
            format!("/systeminfo/supportbundle?{VERSION}"),
            501,
            "iotedge support-bundle",
        ),
    ] {
        let (found, body) = place.ask_management(method, &path).await;
        assert_eq!(found, status, "{path} {body}");
        assert!(body.contains(message), "{path} {body}");
    }
    let put = Request::put(format!("/identities/x?{VERSION}")).body("text/plain", "{}");
    assert_eq!(place.ask(&place.path("mgmt.sock"), put).await.status.as_u16(), 415);
    let post = Request::post(format!("/identities?{VERSION}")).json("[]");
    assert_eq!(place.ask(&place.path("mgmt.sock"), post).await.status.as_u16(), 422);
    assert_eq!(host::fs::facts(&place.path("mgmt.sock")).unwrap().mode, 0o660);
    daemon.end().await;
}

#[tokio::test]
async fn a_body_that_never_comes_ends_with_408() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let limit = std::time::Duration::from_secs(20);
    let mut stream = net::connect_unix(&place.path("mgmt.sock"), limit).await.unwrap();
    let head =
        format!("POST /identities?{VERSION} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = host::clock::Clock::system()
        .timeout(limit, stream.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    daemon.end().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_without_a_word() {
    let place = Place::new().await;
    let daemon = place.start_with("iotedge_max_requests = { management = 3, workload = 2 }").await;
    let limit = std::time::Duration::from_secs(10);
    for (socket, max) in [(place.path("mgmt.sock"), 3), (daemon.agent_socket.clone(), 2)] {
        let mut held = Vec::new();
        for _ in 0..max {
            let mut stream = net::connect_unix(&socket, limit).await.unwrap();
            stream
                .write_all(format!("GET /modules?{VERSION} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            held.push(stream);
        }
        for _ in 0..20 {
            let mut stream = net::connect_unix(&socket, limit).await.unwrap();
            let mut nothing = Vec::new();
            // Closed at once; a reset says the same.
            let _ = host::clock::Clock::system()
                .timeout(limit, stream.read_to_end(&mut nothing))
                .await
                .unwrap();
            assert!(nothing.is_empty());
        }
        drop(held);
        // Room comes back as soon as the daemon has seen the end.
        let clock = host::clock::Clock::system();
        let again = async {
            while Client::unix(&socket)
                .send(Request::get(format!("/modules?{VERSION}")))
                .await
                .is_err()
            {
                clock.sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        Box::pin(clock.timeout(limit, again)).await.unwrap();
    }
    daemon.end().await;
}

#[tokio::test]
async fn a_job_goes_on_when_its_caller_goes_away_and_jobs_of_a_module_come_in_turn() {
    let place = Arc::new(Place::new().await);
    let daemon = place.start_with_module("sensor").await;
    let slow = place.runtime.stopping.lock().await;
    let update = Request::put(format!("/modules/sensor?start=true&{VERSION}"))
        .json(serde_json::to_vec(&spec("sensor", "sensor:2")).unwrap());
    let socket = place.path("mgmt.sock");
    let caller = tokio::spawn(async move { Client::unix(socket).send(update).await });
    let clock = host::clock::Clock::system();
    let mut calls = Vec::new();
    while !calls.iter().any(|call| call == "remove candidate") {
        clock.sleep(std::time::Duration::from_millis(5)).await;
        calls.extend(place.runtime.take_calls());
    }
    caller.abort();
    let _ = caller.await;
    let restart = {
        let place = Arc::clone(&place);
        tokio::spawn(async move { place.management().restart_module("sensor").await })
    };
    drop(slow);
    restart.await.unwrap().unwrap();
    assert_eq!(
        place.runtime.take_calls(),
        ["stop sensor", "remove sensor", "create sensor", "start sensor", "restart sensor"]
    );
    daemon.end().await;
}

#[tokio::test]
async fn a_storm_of_connections_leaves_room_for_whoever_is_connected() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let socket = place.path("mgmt.sock");
    // It keeps its connection from the first request on.
    let client = Client::unix(&socket);
    let path = format!("/modules?{VERSION}");
    assert!(client.send(Request::get(&path)).await.unwrap().status.is_success());
    let storm = tokio::spawn({
        let socket = socket.clone();
        async move {
            let limit = std::time::Duration::from_secs(10);
            let mut silent = Vec::new();
            for _ in 0..10_000 {
                let stream = net::connect_unix(&socket, limit).await.unwrap();
                // A few hundred at once say nothing and stay, the oldest go.
                if silent.len() == 300 {
                    drop(silent.remove(0));
                }
                silent.push(stream);
            }
        }
    });
    let mut served = 0;
    while !storm.is_finished() || served < 100 {
        let response = client.send(Request::get(&path)).await.unwrap();
        assert!(response.status.is_success());
        served += 1;
    }
    storm.await.unwrap();
    daemon.end().await;
}

#[tokio::test]
async fn what_a_deployment_says_of_the_agent_is_shown_and_begins_it_anew_where_its_record_is_to_lie()
 {
    let place = Place::new().await;
    let mut daemon = place.start().await;
    let client = place.management();
    let bind = format!("{}:/tmp/storage", place.path("record").display());
    let told = |folder: &str, bind: &str| -> ModuleSpec {
        let options = json!({"Env": ["Secret=geheim"], "HostConfig": {"Binds": [bind]}});
        let mut spec = with_options("edgeAgent", "agent:1", options);
        spec.config.env[0].key = "STORAGEFOLDER".into();
        spec.config.env[0].value = folder.into();
        spec
    };
    daemon.restarts.mark_unchanged();
    client.update_module(&told("/tmp/storage", &bind), false).await.unwrap();
    assert!(daemon.restarts.has_changed().unwrap());
    let shown = client.module("edgeAgent").await.unwrap().config;
    assert_eq!(shown.settings["createOptions"], json!({"HostConfig": {"Binds": [bind]}}));
    assert_eq!(
        (shown.env[0].key.as_str(), shown.env[0].value.as_str()),
        ("storageFolder", "/tmp/storage")
    );

    // The same words with nothing to move, and a mount that holds something else: nothing begins anew.
    daemon.restarts.mark_unchanged();
    client.update_module(&told("/elsewhere", &bind), false).await.unwrap();
    assert!(!daemon.restarts.has_changed().unwrap());
    daemon.end().await;
}
