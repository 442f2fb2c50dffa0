//! Scope calls with the token of `$edgeHub`.

use std::sync::Arc;

use client::scope::ScopeClient;
use client::signer::KeySigner;
use host::clock::Clock;
use iot_proto::sas::SasToken;
use serde_json::json;

use crate::rest_server::{Answer, RestServer, answer, refusal};

fn scope(answers: impl IntoIterator<Item = Answer>) -> (RestServer, ScopeClient) {
    let server = RestServer::start(answers);
    let signer = Arc::new(KeySigner::from_bytes(b"key"));
    let client = ScopeClient::new(
        "hub.example",
        server.dial(),
        server.tls(),
        "edge".parse().unwrap(),
        signer,
        Clock::system(),
    );
    (server, client)
}

#[tokio::test]
async fn pages_are_joined() {
    let (server, client) = scope([
        answer(200, r#"{"devices":[{"deviceId":"edge"}],"modules":[],"continuationLink":"next"}"#),
        answer(
            200,
            r#"{"devices":[{"deviceId":"leaf"}],"modules":[{"moduleId":"m","deviceId":"edge"}],"continuationLink":null}"#,
        ),
    ]);
    let all = client.scope(&"edge".parse().unwrap()).await.unwrap();
    assert_eq!(all.devices.iter().map(|d| &*d.device_id).collect::<Vec<_>>(), ["edge", "leaf"]);
    assert_eq!(all.modules[0].module_id, "m");
    let asked = server.asked();
    let line = "POST /devices/edge/modules/%24edgeHub/devicesAndModulesInTargetDeviceScope?api-version=2020-06-30-preview";
    assert_eq!([&*asked[0].line, &*asked[1].line], [line, line]);
    assert_eq!(asked[0].json(), json!({ "pageSize": 100, "authChain": "edge" }));
    assert_eq!(asked[1].json()["continuationLink"], "next");
    let token = SasToken::parse(asked[0].header("authorization").unwrap()).unwrap();
    assert_eq!(token.resource_raw(), "hub.example%2Fdevices%2Fedge%2Fmodules%2F%24edgeHub");
}

#[tokio::test]
async fn one_identity_is_there_or_not_or_unknown() {
    let (server, client) = scope([
        answer(200, r#"{"devices":[{"deviceId":"leaf"}],"modules":[]}"#),
        refusal(404, "DeviceNotFound", "none"),
        answer(403, r#"{"ErrorMessage":"out of scope"}"#),
        answer(503, "{}"),
    ]);
    let (leaf, chain) = ("leaf".parse().unwrap(), "leaf;edge".parse().unwrap());
    let found = client.identity(&leaf, &chain).await.unwrap().unwrap();
    assert_eq!(found.devices[0].device_id, "leaf");
    let asked = server.asked_once();
    assert!(asked.line.contains("/getDeviceAndModuleOnBehalfOf?"), "{}", asked.line);
    assert_eq!(asked.json(), json!({ "targetDeviceId": "leaf", "authChain": "leaf;edge" }));
    assert!(client.identity(&leaf, &chain).await.unwrap().is_none());
    assert!(client.identity(&leaf, &chain).await.unwrap().is_none());
    assert!(client.identity(&leaf, &chain).await.unwrap_err().is_transient());
}
