//! Module identities kept by their device.

use std::sync::Arc;

use client::registry::DeviceRegistryClient;
use client::signer::KeySigner;
use host::clock::Clock;
use iot_proto::sas::SasToken;
use model::identity::SymmetricKeys;
use serde_json::json;

use crate::rest_server::{Answer, RestServer, answer, refusal};

const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

fn registry(
    answers: impl IntoIterator<Item = Answer>,
    clock: &Clock,
) -> (RestServer, DeviceRegistryClient) {
    let server = RestServer::start(answers);
    let signer = Arc::new(KeySigner::from_base64(KEY).unwrap());
    let client = DeviceRegistryClient::new(
        "Hub.Example",
        server.dial(),
        server.tls(),
        "Edge1".parse().unwrap(),
        Some(signer),
        clock.clone(),
    );
    (server, client)
}

fn keys(generation: &str) -> SymmetricKeys {
    // Sixteen bytes each, told apart by the generation.
    assert_eq!(generation, "638");
    SymmetricKeys { primary: KEY.into(), secondary: KEY.replace('a', "b") }
}

const MODULE: &str = r#"{"moduleId":"m","deviceId":"Edge1","generationId":"638","etag":"MQ=="}"#;

#[tokio::test]
async fn creating_is_two_puts_and_the_second_brings_derived_keys() {
    let clock = Clock::manual("2026-11-25T00:00:00Z".parse().unwrap());
    let (server, registry) = registry([answer(200, MODULE), answer(200, MODULE)], &clock);
    let module = "m".parse().unwrap();
    let created = registry
        .create(&module, Some("IotEdge"), |generation| keys(generation.as_str()))
        .await
        .unwrap();
    assert_eq!(created.generation_id, "638");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let line = "PUT /devices/Edge1/modules/m?api-version=2017-11-08-preview";
    assert_eq!([&*asked[0].line, &*asked[1].line], [line, line]);
    assert_eq!([asked[0].header("if-match"), asked[1].header("if-match")], [None, Some("*")]);
    assert_eq!(
        asked[0].json(),
        json!({ "moduleId": "m", "deviceId": "Edge1", "managedBy": "IotEdge" })
    );
    assert_eq!(asked[1].json()["authentication"]["symmetricKey"]["primaryKey"], KEY);
    let token = SasToken::parse(asked[0].header("authorization").unwrap()).unwrap();
    assert_eq!(token.resource_raw(), "hub.example%2Fdevices%2Fedge1");
    assert_eq!(token.expires_at().to_string(), "2026-11-25T00:00:30Z");
}

#[tokio::test]
async fn a_module_that_exists_is_taken_over() {
    let clock = Clock::system();
    let (server, registry) = registry(
        [
            refusal(409, "ModuleAlreadyExistsOnDevice", "there is one"),
            answer(200, MODULE),
            answer(200, MODULE),
        ],
        &clock,
    );
    let module = "m".parse().unwrap();
    registry.create(&module, None, |generation| keys(generation.as_str())).await.unwrap();
    let methods: Vec<String> =
        server.asked().iter().map(|asked| asked.line[..3].to_owned()).collect();
    assert_eq!(methods, ["PUT", "GET", "PUT"]);
}

#[tokio::test]
async fn deleting_what_is_gone_is_fine_and_other_refusals_are_told() {
    let clock = Clock::system();
    let (server, registry) = registry(
        [
            refusal(404, "ModuleNotFound", "none"),
            refusal(404, "DeviceNotFound", "none"),
            refusal(401, "IotHubUnauthorized", "bad key"),
            answer(200, format!("[{MODULE}]")),
        ],
        &clock,
    );
    let module = "m".parse().unwrap();
    registry.delete(&module).await.unwrap();
    assert_eq!(server.asked_once().header("if-match"), Some("*"));
    assert_eq!(registry.delete(&module).await.unwrap_err().code_name(), Some("DeviceNotFound"));
    let error = registry.create(&module, None, |_| unreachable!()).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert_eq!(registry.modules().await.unwrap()[0].module_id, "m");
}
