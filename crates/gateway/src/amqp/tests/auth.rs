//! Who may attach what: tokens, SASL, renewal, expiry, takeover, strangers.

use std::time::Duration;

use amqp::MessageId;
use amqp::connection::{Closed, Credentials, Event};
use amqp::sasl::{Outcome, Plain};
use bytes::Bytes;
use iot_proto::amqp::cbs::Request;

use super::{Bench, HOST, put_token};
use crate::session::CloseReason;

const EVENTS: &str = "/devices/dev1/messages/events";

/// Traps 18 and 19.
#[tokio::test]
async fn every_way_in_leads_to_cbs() {
    for credentials in [Credentials::None, Credentials::Anonymous, Credentials::Cbs] {
        let bench = Bench::new();
        let mut client = bench.dial(credentials, Bench::peer());
        client.open().await;
        client.open_cbs().await;
        for id in [MessageId::Ulong(3), MessageId::Uuid([7; 16]), MessageId::String("x".into())] {
            let request = put_token("dev1", bench.token("dev1", 60));
            let (status, _, correlation) = client.cbs(&request, id.clone()).await;
            assert_eq!((status, correlation), (200, Some(id)));
        }
        client.sender(EVENTS).await.unwrap();
        bench.hears("dev1: open").await;
    }
}

#[tokio::test]
async fn a_bad_token_is_told_so_and_proves_nothing() {
    let bench = Bench::new();
    let mut client = bench.dial(Credentials::Anonymous, Bench::peer());
    client.open().await;
    client.open_cbs().await;
    bench.backend.disable("dev3");
    let good = bench.token("dev1", 60);
    let tampered = good.replace("dev1", "dev2");
    for (token, status) in [
        (bench.token("nobody", 60), 401),
        (bench.token("dev3", 60), 401),
        (bench.token("dev1", -301), 401),
        (tampered, 401),
        (bench.policy_token("nobody", 60), 401),
        ("garbage".to_owned(), 400),
        (good.replace("&se=", "&sx="), 400),
    ] {
        let (got, text) = client.put("dev1", token).await;
        assert_eq!(got, status, "{text}");
    }
    let (status, ..) = client
        .cbs(&Request::PutToken { name: String::new(), token: String::new() }, MessageId::Ulong(1))
        .await;
    assert_eq!(status, 400);
    assert_eq!(client.sender(EVENTS).await.unwrap_err(), "amqp:unauthorized-access");
    assert!(bench.backend.heard().is_empty(), "a session was opened for a stranger");
}

/// `security.md` B25, trap 28: one identity's token opens nothing of another's, and a refused link
/// leaves the others alone.
#[tokio::test]
async fn a_foreign_address_is_refused_and_the_connection_lives_on() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    for (address, condition) in [
        ("/devices/dev2/messages/events", "amqp:unauthorized-access"),
        ("/devices/dev1/modules/m/messages/events", "amqp:unauthorized-access"),
        ("/devices/dev1/messages/devicebound", "amqp:not-allowed"),
        ("/devices/dev1/messages/else", "amqp:not-found"),
        ("/devices/ä/messages/events", "amqp:not-found"),
        ("/messages/devicebound", "amqp:not-found"),
        ("$management", "amqp:not-found"),
        ("", "amqp:not-found"),
    ] {
        assert_eq!(client.sender(address).await.unwrap_err(), condition, "{address}");
    }
    client.sender(EVENTS).await.unwrap();
    client.sender("amqps://hub.test:5671/Devices/dev1/Messages/Events/").await.unwrap();
    assert_eq!(bench.backend.heard().len(), 1, "one session for all links of an identity");
}

/// Only who may act as any device learns that one is not registered.
#[tokio::test]
async fn a_policy_may_act_for_devices() {
    let bench = Bench::new();
    let mut client = bench.connected(&[]).await;
    assert_eq!(client.put("", bench.policy_token("service", 60)).await.0, 200);
    assert_eq!(client.sender(EVENTS).await.unwrap_err(), "amqp:unauthorized-access");
    assert_eq!(client.put("", bench.policy_token("device", 60)).await.0, 200);
    client.sender(EVENTS).await.unwrap();
    client.sender("/devices/dev2/messages/events").await.unwrap();
    assert_eq!(
        client.sender("/devices/nobody/messages/events").await.unwrap_err(),
        "amqp:not-found"
    );
}

/// dp §4.1: the token is the password, under the names of the three kinds.
#[tokio::test]
async fn sasl_plain_takes_devices_modules_and_policies() {
    let bench = Bench::new();
    let plain = |user: &str, token: String| {
        Credentials::Plain(Bytes::from(
            Plain {
                authorization_id: String::new(),
                authentication_id: user.to_owned(),
                password: token,
            }
            .to_response(),
        ))
    };
    for (user, token, address) in [
        ("dev1@sas.hub", bench.token("dev1", 60), EVENTS),
        ("dev1/modules/m@sas.hub", bench.token("dev1/m", 60), "/devices/dev1/modules/m/twin"),
        ("device@sas.root.hub", bench.policy_token("device", 60), EVENTS),
    ] {
        let mut client = bench.dial(plain(user, token), Bench::peer());
        client.open().await;
        client.sender(address).await.unwrap();
    }
    for (user, token) in [
        ("dev2@sas.hub", bench.token("dev1", 60)),
        ("dev1", bench.token("dev1", 60)),
        ("service@sas.root.hub", bench.policy_token("device", 60)),
        ("dev1@sas.hub", bench.token("dev1", -301)),
        ("dev1@sas.hub", String::new()),
    ] {
        let mut client = bench.dial(plain(user, token), Bench::peer());
        assert_eq!(client.closed().await, Closed::SaslRefused(Outcome::Auth), "{user}");
    }
    // A certificate is what EXTERNAL needs.
    let mut client = bench.dial(Credentials::External, Bench::peer());
    assert_eq!(client.closed().await, Closed::SaslRefused(Outcome::Auth));
}

/// A renewal replaces the clock; without one the links end, and the connection with its last one.
#[tokio::test]
async fn a_token_that_runs_out_ends_its_links() {
    let bench = Bench::new();
    let mut client = bench.connected(&[]).await;
    assert_eq!(client.put("dev1", bench.token("dev1", 100)).await.0, 200);
    assert_eq!(client.put("dev2", bench.token("dev2", 100)).await.0, 200);
    let one = client.sender(EVENTS).await.unwrap();
    let two = client.sender("/devices/dev2/messages/events").await.unwrap();
    bench.pass(Duration::from_secs(90)).await;
    assert_eq!(client.put("dev2", bench.token("dev2", 100)).await.0, 200);
    // 100 s of life and 300 s of skew.
    bench.pass(Duration::from_secs(309)).await;
    assert!(!client.has(|event| matches!(event, Event::Detached { .. })).await);
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(client.detached(one).await, "amqp:unauthorized-access");
    bench.hears("dev1: close graceful=false").await;
    assert!(!client.has(|event| matches!(event, Event::Detached { .. })).await);
    assert_eq!(client.sender(EVENTS).await.unwrap_err(), "amqp:unauthorized-access");
    bench.pass(Duration::from_secs(91)).await;
    assert_eq!(client.detached(two).await, "amqp:unauthorized-access");
    match client.closed().await {
        Closed::Peer(Some(error)) => assert_eq!(error.condition, "amqp:unauthorized-access"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deleted_token_ends_its_links() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1", "dev2"]).await;
    let one = client.sender(EVENTS).await.unwrap();
    client.sender("/devices/dev2/messages/events").await.unwrap();
    let request = Request::DeleteToken { name: format!("{HOST}%2Fdevices%2Fdev1") };
    let (status, ..) = client.cbs(&request, MessageId::Ulong(1)).await;
    assert_eq!(status, 200);
    assert_eq!(client.detached(one).await, "amqp:unauthorized-access");
    client.sender("/devices/dev2/messages/events").await.unwrap();
}

/// dp §4.9: the newer connection has the identity; other identities of the older one stay.
#[tokio::test]
async fn the_newer_connection_wins() {
    let bench = Bench::new();
    let mut old = bench.connected(&["dev1", "dev2"]).await;
    let one = old.sender(EVENTS).await.unwrap();
    let two = old.sender("/devices/dev2/messages/events").await.unwrap();
    let mut new = bench.connected(&["dev1", "dev2"]).await;
    new.sender(EVENTS).await.unwrap();
    assert_eq!(old.detached(one).await, "amqp:link:stolen");
    assert!(!old.has(|event| matches!(event, Event::Closed(_))).await);
    new.sender("/devices/dev2/messages/events").await.unwrap();
    assert_eq!(old.detached(two).await, "amqp:link:stolen");
    assert!(matches!(old.closed().await, Closed::Peer(Some(_))));
    assert!(!new.has(|event| matches!(event, Event::Detached { .. } | Event::Closed(_))).await);
}

#[tokio::test]
async fn a_session_that_the_backend_ends_is_told_why() {
    for (reason, condition) in [
        (CloseReason::IdentityChanged, "amqp:unauthorized-access"),
        (CloseReason::SlowConsumer, "amqp:link:detach-forced"),
        (CloseReason::Shutdown, "amqp:connection:forced"),
    ] {
        let bench = Bench::new();
        let mut client = bench.connected(&["dev1"]).await;
        let link = client.sender(EVENTS).await.unwrap();
        bench.backend.session("dev1").close(reason);
        assert_eq!(client.detached(link).await, condition);
        bench.hears("dev1: close graceful=false").await;
    }
}

#[tokio::test]
async fn a_shutdown_closes_with_a_word() {
    let bench = Bench::new();
    let mut client = bench.connected(&["dev1"]).await;
    client.sender(EVENTS).await.unwrap();
    bench.shutdown.trigger();
    match client.closed().await {
        Closed::Peer(Some(error)) => assert_eq!(error.condition, "amqp:connection:forced"),
        other => panic!("{other:?}"),
    }
    bench.hears("dev1: close").await;
}

/// `security.md` B3, dp §1: who proves nothing has to go.
#[tokio::test]
async fn a_stranger_is_closed_after_a_while() {
    let bench = Bench::new();
    let mut client = bench.dial(Credentials::Anonymous, Bench::peer());
    client.open().await;
    client.open_cbs().await;
    bench.pass(Duration::from_secs(61)).await;
    match client.closed().await {
        Closed::Peer(Some(error)) => assert_eq!(error.condition, "amqp:unauthorized-access"),
        other => panic!("{other:?}"),
    }
}

/// Trap 28 and dp §4.1: many identities, each with its own session; the end of one is its own.
#[tokio::test]
async fn many_identities_share_a_connection() {
    let bench = Bench::new();
    let ids: Vec<String> = (0..50).map(|n| format!("dev{n}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut client = bench.connected(&names).await;
    let mut links = Vec::new();
    for id in &ids {
        links.push(client.sender(&format!("/devices/{id}/messages/events")).await.unwrap());
    }
    let sent: Vec<_> = links
        .iter()
        .zip(&ids)
        .map(|(link, id)| client.send(*link, iot_proto_message(id)))
        .collect();
    for delivery in sent {
        assert_eq!(client.outcome(delivery).await, amqp::DeliveryState::Accepted);
    }
    for id in &ids {
        bench.hears(&format!("{id}: telemetry from {id} []")).await;
    }
    bench.backend.session("dev7").close(CloseReason::IdentityChanged);
    assert_eq!(client.detached(links[7]).await, "amqp:unauthorized-access");
    let delivery = client.send(links[8], iot_proto_message("dev8"));
    assert_eq!(client.outcome(delivery).await, amqp::DeliveryState::Accepted);
}

fn iot_proto_message(id: &str) -> Bytes {
    let body = amqp::Body::data(format!("from {id}"));
    amqp::Message { body, ..amqp::Message::default() }.to_bytes()
}

/// An edge hub speaks for its devices by its own token and the chain in the link's properties.
#[tokio::test]
async fn an_edge_hub_speaks_for_its_leaves() {
    let bench = Bench::new();
    let mut client = bench.connected(&["edge1/$edgeHub"]).await;
    let attach = |client: &mut super::Client, id: &str, chain: &str| {
        let address = format!("/devices/{id}/messages/events");
        let mut link = amqp::connection::NewLink::sender(client.name(), address);
        link.properties.push(amqp::Symbol::from_static("com.microsoft:auth-chain"), chain);
        link.properties.push(amqp::Symbol::from_static("com.microsoft:model-id"), "dtmi:x;1");
        link
    };
    let link = attach(&mut client, "leaf1", "leaf1;edge1");
    client.attach(link).await.unwrap();
    bench.hears("leaf1: open model=\"dtmi:x;1\"").await;
    let foreign = attach(&mut client, "dev1", "dev1;edge1");
    assert_eq!(client.attach(foreign).await.unwrap_err(), "amqp:unauthorized-access");
    let broken = attach(&mut client, "leaf2", ";;");
    assert_eq!(client.attach(broken).await.unwrap_err(), "com.microsoft:argument-error");
}
