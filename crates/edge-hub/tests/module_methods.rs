//! Direct methods that a module calls on another client of the same edge hub, over HTTPS.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use std::time::Duration;

use client::Dial;
use client::device::{ClientEvent, Subscription};
use client::signer::{KeySigner, token};
use host::http::{Request, Response};
use host::tls::ClientTls;
use iot_proto::sas::identity_resource;
use serde_json::{Value, json};

use support::{GATEWAY, HUB, Machine, Running, hub, within};

/// Calls as `caller`, with a token signed by the key of `signer`.
async fn call(
    machine: &Machine,
    running: &Running,
    caller: Option<&str>,
    signer: &str,
    target: &str,
    body: Value,
) -> (u16, Value) {
    let tls = ClientTls::new(&[&machine.ca.root_pem()]).unwrap();
    let dial = Dial::new(GATEWAY, running.ports.https).at(Some("127.0.0.1".into()));
    let resource = identity_resource(HUB, &signer.parse().unwrap());
    let signer = KeySigner::from_base64(&hub::key(signer)).unwrap();
    let token = token(&resource, &signer, Duration::from_secs(60), &machine.clock).await.unwrap();
    let path = format!("/twins/{target}/methods?api-version=2019-10-01");
    let mut request = Request::post(path).json(body.to_string().into_bytes());
    request = request.header("authorization", token);
    if let Some(caller) = caller {
        request = request.header("x-ms-edge-moduleId", caller.to_owned());
    }
    let response = within("the answer", Box::pin(dial.https(tls).send(request))).await.unwrap();
    let Response { status, body, .. } = response;
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

fn restart(payload: Value) -> Value {
    json!({ "methodName": "restart", "payload": payload, "responseTimeoutInSeconds": 5 })
}

#[tokio::test]
async fn a_module_calls_a_module_and_a_leaf() {
    let machine = Machine::new(&["edge1/a", "edge1/b", "leaf"], json!({})).await;
    let edge = machine.start().await;
    for (id, target) in [("edge1/b", "edge1/modules/b"), ("leaf", "leaf")] {
        let (_client, mut events) = machine.join(&edge, id, &[Subscription::Methods]).await;
        let answering = tokio::spawn(async move {
            loop {
                if let ClientEvent::Method(call) = events.next().await.unwrap() {
                    let payload = String::from_utf8_lossy(&call.payload).into_owned();
                    assert_eq!((call.name.as_str(), payload.as_str()), ("restart", "{\"n\":1}"));
                    call.reply(202, "{\"ok\":true}");
                    return events;
                }
            }
        });
        let body = json!({
            "methodName": "restart",
            "payload": { "n": 1 },
            "responseTimeoutInSeconds": 10,
            "connectTimeoutInSeconds": 10
        });
        let (status, answer) =
            call(&machine, &edge, Some("edge1/a"), "edge1/a", target, body).await;
        assert_eq!((status, answer), (200, json!({ "status": 202, "payload": { "ok": true } })));
        drop(answering.await.unwrap());
    }
    edge.stop().await;
}

#[tokio::test]
async fn who_is_nobody_here_calls_nothing() {
    let machine = Machine::new(&["edge1/a", "edge1/b", "leaf"], json!({})).await;
    let edge = machine.start().await;
    let target = "edge1/modules/b";
    for (caller, signer, expected) in [
        // Nobody says who calls.
        (None, "edge1/a", 400),
        (Some("no id at all"), "edge1/a", 400),
        // Somebody else's token, a leaf, a module of another device.
        (Some("edge1/a"), "edge1/b", 401),
        (Some("leaf"), "leaf", 401),
        (Some("edge2/a"), "edge2/a", 401),
        (Some("edge1/stranger"), "edge1/stranger", 401),
    ] {
        let (status, answer) =
            call(&machine, &edge, caller, signer, target, restart(json!(null))).await;
        assert_eq!(status, expected, "{caller:?} {answer}");
        assert!(answer["message"].is_string(), "{answer}");
    }
    for (body, expected) in [
        // The callee is not here.
        (restart(json!(1)), 404),
        (json!({ "payload": 1 }), 400),
        (json!({ "methodName": "m", "responseTimeoutInSeconds": 1 }), 400),
    ] {
        let (status, answer) =
            call(&machine, &edge, Some("edge1/a"), "edge1/a", target, body).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer["message"].is_string(), "{answer}");
    }
    // One that is here and does not answer.
    let (_b, _events) = machine.join(&edge, "edge1/b", &[Subscription::Methods]).await;
    let body = json!({ "methodName": "m", "timeout": 5, "connectTimeoutInSeconds": 10 });
    let (status, answer) = call(&machine, &edge, Some("edge1/a"), "edge1/a", target, body).await;
    assert_eq!(status, 504, "{answer}");
    edge.stop().await;
}
