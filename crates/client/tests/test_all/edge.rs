//! The daemon's clients over a real unix socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Signer as _;
use client::edge::{EdgeError, ManagementClient, Source, WorkloadClient, socket_path};
use client::signer::WorkloadSigner;
use iot_proto::management::{LogsQuery, Tail};
use serde_json::json;

use crate::rest_server::{RestServer, answer};

#[tokio::test]
async fn the_workload_api_signs_encrypts_and_certifies() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("w.sock");
    let digest = STANDARD.encode([7; 32]);
    let server = RestServer::start_unix(
        &socket,
        [
            answer(200, json!({ "digest": digest }).to_string()),
            answer(200, r#"{"digest":"c2hvcnQ="}"#),
            answer(200, r#"{"ciphertext":"AQI="}"#),
            answer(200, r#"{"plaintext":"AwQ="}"#),
            answer(
                201,
                r#"{"privateKey":{"type":"key","bytes":"KEY"},"certificate":"PEM","expiration":"2026-12-25T00:00:00+00:00"}"#,
            ),
            answer(200, r#"{"certificate":"ROOT"}"#),
            answer(404, r#"{"message":"not found"}"#),
            answer(403, r#"{"message":"forbidden"}"#),
        ],
    );
    let workload = WorkloadClient::new(&socket, "$edgeHub", "638");
    let signer = WorkloadSigner::new(workload.clone());
    assert_eq!(signer.sign(b"text\n1").await.unwrap(), [7; 32]);
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /modules/%24edgeHub/genid/638/sign?api-version=2022-08-03");
    assert_eq!(
        asked.json(),
        json!({ "keyId": "primary", "algo": "HMACSHA256", "data": STANDARD.encode("text\n1") })
    );
    assert!(signer.sign(b"x").await.unwrap_err().to_string().contains("not 32 bytes"));
    assert_eq!(workload.encrypt(b"p", b"v").await.unwrap(), [1, 2]);
    assert_eq!(workload.decrypt(b"c", b"v").await.unwrap(), [3, 4]);
    server.asked();
    let certificate = workload.server_certificate("gateway").await.unwrap();
    assert_eq!(certificate.private_key.bytes, "KEY");
    let asked = server.asked_once();
    assert!(asked.line.contains("/genid/638/certificate/server?"), "{}", asked.line);
    assert_eq!(asked.json(), json!({ "commonName": "gateway" }));
    assert_eq!(workload.trust_bundle().await.unwrap(), "ROOT");
    assert_eq!(workload.trust_bundle().await.unwrap(), "");
    let error = workload.trust_bundle().await.unwrap_err();
    assert_eq!(error.to_string(), "edge daemon answered 403: forbidden");
}

#[tokio::test]
async fn the_management_api_lists_acts_and_streams_logs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("m.sock");
    let module = json!({
        "id": "id", "name": "m", "type": "docker",
        "config": { "settings": { "image": "i:1" }, "env": [] },
        "status": { "runtimeStatus": { "status": "running", "description": "Up" } },
    });
    let mut log = vec![1, 0, 0, 0, 0, 0, 0, 4];
    log.extend_from_slice(b"out\n\x02\0\0\0\0\0\0\x04err\n");
    let server = RestServer::start_unix(
        &socket,
        [
            answer(200, json!({ "modules": [module] }).to_string()),
            answer(204, ""),
            answer(200, log.clone()),
            answer(200, log[..10].to_vec()),
            answer(404, r#"{"message":"no such module"}"#),
            answer(
                200,
                r#"{"identities":[{"moduleId":"m","managedBy":"iotedge","generationId":"1","authType":"sas"}]}"#,
            ),
        ],
    );
    let management = ManagementClient::new(&socket);
    let modules = management.modules().await.unwrap();
    assert_eq!(modules[0].status.runtime_status.status, "running");
    management.restart_module("m").await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[1].line, "POST /modules/m/restart?api-version=2022-08-03");

    let query =
        LogsQuery { tail: Tail::Lines(5), since: Some("1 day".into()), ..LogsQuery::default() };
    let mut stream = management.logs("m", &query).await.unwrap();
    assert_eq!(
        server.asked_once().line,
        "GET /modules/m/logs?api-version=2022-08-03&follow=false&tail=5&since=1%20day"
    );
    let mut seen = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        seen.push((chunk.source, chunk.bytes.to_vec()));
    }
    assert_eq!(seen, [(Source::Output, b"out\n".to_vec()), (Source::Error, b"err\n".to_vec())]);
    let mut cut = management.logs("m", &query).await.unwrap();
    cut.next().await.unwrap();
    assert!(matches!(cut.next().await, Err(EdgeError::Malformed(_))));
    let error = management.logs("x", &query).await.unwrap_err();
    assert_eq!(error.to_string(), "edge daemon answered 404: no such module");
    assert_eq!(management.identities().await.unwrap()[0].module_id, "m");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_told_with_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let error = ManagementClient::new(&socket).modules().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("none.sock; it is not running: start it"), "{text}");
    assert_eq!(socket_path("unix:///run/x.sock").unwrap().to_str(), Some("/run/x.sock"));
    assert!(socket_path("http://localhost").unwrap_err().to_string().contains("write unix:///"));
}
