//! The workload API: who may ask, and what comes back.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::http::{Method, Request};
use iot_proto::management::ErrorBody;
use pki::Certificate;

use crate::another;
use crate::support::{Place, VERSION};

/// A place with a module that has an identity and whose process we are.
async fn with_sensor() -> (Place, crate::support::Running) {
    let place = Place::new().await;
    let daemon = place.start_with_module("sensor").await;
    let create =
        iot_proto::management::IdentityCreate { module_id: "sensor".into(), managed_by: None };
    place.management().create_identity(&create).await.unwrap();
    place.act_as("sensor");
    (place, daemon)
}

#[tokio::test]
async fn a_module_signs_with_the_key_that_the_hub_has() {
    let (place, daemon) = with_sensor().await;
    let key = STANDARD.decode(place.hub.module("sensor").unwrap().primary_key.unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    // The generation in the path and the key's name mean nothing.
    let signature = place.workload("sensor").sign(b"text\n1").await.unwrap();
    hmac::verify(&key, b"text\n1", &signature).unwrap();
    let body = r#"{"keyId":"other","algo":"MD5","data":""}"#;
    let path = format!("/modules/sensor/genid/999/sign?{VERSION}");
    let response = place.ask(&place.socket("sensor"), Request::post(path).json(body)).await;
    let answer: iot_proto::management::SignResponse =
        serde_json::from_slice(&response.body).unwrap();
    hmac::verify(&key, b"", &STANDARD.decode(answer.digest).unwrap()).unwrap();
    daemon.end().await;
}

#[tokio::test]
async fn secrets_come_back_for_the_same_vector_only() {
    let (place, daemon) = with_sensor().await;
    let client = place.workload("sensor");
    let sealed = client.encrypt(b"secret", b"vector").await.unwrap();
    assert_eq!(client.decrypt(&sealed, b"vector").await.unwrap(), b"secret");
    for (sealed, vector) in
        [(sealed.clone(), b"vectoq".as_slice()), (sealed[1..].to_vec(), b"vector")]
    {
        let error = client.decrypt(&sealed, vector).await.unwrap_err();
        assert_eq!(error.status(), Some(400));
        assert!(error.to_string().contains("cannot decrypt"), "{error}");
    }
    assert_eq!(client.encrypt(b"x", b"").await.unwrap_err().status(), Some(400));
    let other_generation =
        client::edge::WorkloadClient::new(&place.socket("sensor"), "sensor", "2");
    assert_eq!(other_generation.decrypt(&sealed, b"vector").await.unwrap_err().status(), Some(400));
    daemon.end().await;
}

#[tokio::test]
async fn certificates_and_bundles_belong_together() {
    let (place, daemon) = with_sensor().await;
    let client = place.workload("sensor");
    let bundle = client.trust_bundle().await.unwrap();
    let trusted = Certificate::chain_from_pem(&bundle).unwrap();
    let names: Vec<_> = trusted.iter().filter_map(|c| c.common_name.as_deref()).collect();
    assert_eq!(names, ["root of aziot-edge CA edge1", "fake hub CA"]);
    let server = client.server_certificate("gw.local").await.unwrap();
    let chain = Certificate::chain_from_pem(&server.certificate).unwrap();
    assert_eq!(chain[0].issuer_common_name.as_deref(), Some("aziot-edge CA edge1"));
    assert_eq!(chain[2], trusted[0]);
    assert!(server.expiration.ends_with("+00:00"));
    let identity = client.identity_certificate().await.unwrap();
    assert_eq!(
        Certificate::from_pem(&identity.certificate).unwrap().common_name.as_deref(),
        Some("sensor")
    );
    assert_eq!(client.manifest_trust_bundle().await.unwrap(), "");
    assert_eq!(client.server_certificate("no name").await.unwrap_err().status(), Some(400));
    // Without a body, as the reference allows; and 201.
    let path = format!("/modules/sensor/certificate/identity?{VERSION}");
    let response = place.ask(&place.socket("sensor"), Request::post(path)).await;
    assert_eq!(response.status.as_u16(), 201);
    daemon.end().await;
}

#[tokio::test]
async fn a_module_may_act_as_itself_only() {
    let (place, daemon) = with_sensor().await;
    // Its own process at its own socket, but with another's name.
    for other in ["other", "$sensor", "$edgeAgent", "$edgeHub", "edgeAgent", "../sensor"] {
        let name = iot_proto::percent::encode(other).into_owned();
        for verb in ["sign", "encrypt", "decrypt", "certificate/server"] {
            let path = format!("/modules/{name}/genid/1/{verb}?{VERSION}");
            let response = place.ask(&place.socket("sensor"), Request::post(path).json("{}")).await;
            check_forbidden(response.status.as_u16(), &response.body);
        }
        let path = format!("/modules/{name}/certificate/identity?{VERSION}");
        let response = place.ask(&place.socket("sensor"), Request::post(path)).await;
        check_forbidden(response.status.as_u16(), &response.body);
    }
    // Its own name at the agent's socket, where this process is trusted as the agent.
    let path = format!("/modules/sensor/genid/1/sign?{VERSION}");
    let response =
        place.ask(&daemon.agent_socket, Request::post(path).json(r#"{"data":"eA=="}"#)).await;
    check_forbidden(response.status.as_u16(), &response.body);
    daemon.end().await;
}

#[track_caller]
fn check_forbidden(status: u16, body: &[u8]) {
    assert_eq!(status, 403);
    assert_eq!(body, br#"{"message":"forbidden"}"#);
}

#[tokio::test]
async fn whoever_is_not_the_modules_process_is_refused() {
    let (place, daemon) = with_sensor().await;
    let socket = place.socket("sensor");
    let path = format!("/modules/sensor/genid/1/sign?{VERSION}");
    let (status, body) = another::ask(&socket, Method::POST, &path).await;
    check_forbidden(status, body.as_bytes());
    // What anybody may ask, a stranger may ask too.
    let (status, _) = another::ask(&socket, Method::GET, &format!("/trust-bundle?{VERSION}")).await;
    assert_eq!(status, 200);
    // A process of the module is served, wherever it comes from.
    let add = |pid| place.runtime.add_process("sensor", pid);
    let (status, _, pid) = another::ask_and_pid(&socket, Method::POST, &path, add).await;
    assert_eq!(status, 200);
    place.runtime.remove_process("sensor", pid);
    // When the engine cannot tell, the answer is no.
    let own = std::process::id();
    place.runtime.set_engine_down(true);
    let error = place.workload("sensor").sign(b"x").await.unwrap_err();
    assert_eq!((error.status(), error.to_string().contains("forbidden")), (Some(403), true));
    place.runtime.set_engine_down(false);
    place.runtime.remove_process("sensor", own);
    assert_eq!(place.workload("sensor").sign(b"x").await.unwrap_err().status(), Some(403));
    daemon.end().await;
}

#[tokio::test]
async fn the_agents_socket_is_for_this_process() {
    let place = Place::new().await;
    let daemon = place.try_start("").await.unwrap();
    daemon.provision_once().await.unwrap();
    let socket = daemon.agent_workload_socket();
    let client = client::edge::WorkloadClient::new(&socket, "$edgeAgent", "1");
    client.sign(b"x").await.unwrap();
    assert_eq!(host::fs::facts(&socket).unwrap().mode, 0o600);
    let path = format!("/modules/%24edgeAgent/genid/1/sign?{VERSION}");
    let (status, body) = another::ask(&socket, Method::POST, &path).await;
    check_forbidden(status, body.as_bytes());
}

#[tokio::test]
async fn a_module_without_identity_signs_nothing() {
    let place = Place::new().await;
    place.act_as("sensor");
    let daemon = place.start_with_module("sensor").await;
    let error = place.workload("sensor").sign(b"x").await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert!(error.to_string().contains("module sensor has no identity"), "{error}");
    daemon.end().await;
}

#[tokio::test]
async fn manners_are_those_of_the_reference() {
    let (place, daemon) = with_sensor().await;
    let socket = place.socket("sensor");
    let sign = "/modules/sensor/genid/1/sign";
    let json = |path: String| Request::post(path).json(r#"{"data":"eA=="}"#);
    for (request, status, message) in [
        (json(sign.to_owned()), 400, "api-version not specified"),
        (json(format!("{sign}?api-version=2021-05-11")), 400, "invalid api-version \"2021-05-11\""),
        (Request::get(format!("/nothing?{VERSION}")), 404, "not found"),
        (Request::get(format!("{sign}?{VERSION}")), 400, "method not allowed"),
        (Request::post(format!("/trust-bundle?{VERSION}")), 400, "method not allowed"),
        (Request::post(format!("{sign}?{VERSION}")), 400, "missing request body"),
        (
            Request::post(format!("{sign}?{VERSION}")).body("text/plain", "{}"),
            400,
            "missing request body",
        ),
        (
            Request::post(format!("{sign}?{VERSION}")).json(r#"{"data":"*"}"#),
            400,
            "data is not Base64",
        ),
        (
            Request::post(format!("{sign}?{VERSION}")).json("x".repeat(1_100_000)),
            413,
            "body is longer than",
        ),
    ] {
        let shown = format!("{request:?}");
        let response = place.ask(&socket, request).await;
        assert_eq!(response.status.as_u16(), status, "{shown}");
        let body: ErrorBody = serde_json::from_slice(&response.body).unwrap();
        assert!(body.message.starts_with(message), "{} is not {message}", body.message);
        assert_eq!(response.headers["content-type"], "application/json");
    }
    for body in ["{", "[]", r#"{"data":1}"#, r#"{"no":"data"}"#] {
        let response =
            place.ask(&socket, Request::post(format!("{sign}?{VERSION}")).json(body)).await;
        assert_eq!(response.status.as_u16(), 422, "{body}");
    }
    daemon.end().await;
}
