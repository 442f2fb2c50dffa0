//! The device client over AMQP: getting in, keeping its token fresh, and what an outcome means.

use std::sync::Arc;
use std::time::Duration;

use amqp::performative::DeliveryState;
use amqp::{Error, Symbol};
use client::device::{ClientEvent, ConnectionState, Options, SendError, SendHandle, Transport};
use client::signer::KeySigner;
use client::{DeviceClient, Events};
use host::clock::Clock;
use iot_proto::sas::SasToken;
use model::message::Message;
use pki::{Authority, Validity};

use crate::fake_amqp_hub::{FakeAmqpHub, body, property};

const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

fn options(hub: &FakeAmqpHub, identity: &str) -> Options {
    let signer = Arc::new(KeySigner::from_base64(KEY).unwrap());
    let (dial, tls) = (hub.dial(), hub.client_tls());
    let transport = Transport::Amqp;
    Options {
        transport,
        ..Options::new("hub.example", dial, tls, identity.parse().unwrap(), signer)
    }
}

fn start(options: Options) -> (DeviceClient, Events) {
    DeviceClient::start(options, Clock::system())
}

async fn expect_connected(events: &mut Events) {
    match events.next().await {
        Some(ClientEvent::Connected { session_present: false }) => {}
        other => panic!("not connected but {other:?}"),
    }
}

async fn refusal(events: &mut Events) -> String {
    match events.next().await {
        Some(ClientEvent::Disconnected { reason, permanent: true }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn send(client: &DeviceClient, text: &str) -> SendHandle {
    client.send(Message::from_body(text.to_owned())).await.unwrap()
}

fn rejected(condition: &'static str) -> DeliveryState {
    DeliveryState::Rejected(Some(Error::new(Symbol::from_static(condition), "no")))
}

#[tokio::test]
async fn puts_a_token_and_attaches_as_the_identity() {
    let hub = FakeAmqpHub::start();
    let model_id = Some("dtmi:x;1".into());
    let (_client, mut events) = start(Options { model_id, ..options(&hub, "d#1") });
    let (mut peer, mechanism) = hub.opened().await;
    assert_eq!(mechanism.as_str(), "ANONYMOUS");
    let (name, token) = peer.take_token(200).await;
    assert_eq!(name, "hub.example/devices/d#1");
    let token = SasToken::parse(&token).unwrap();
    assert_eq!(token.resource_raw(), "hub.example%2Fdevices%2Fd%231");
    let (link, attach) = peer.attached().await;
    let address = attach.target.as_ref().and_then(|target| target.address.as_deref());
    assert_eq!(address, Some("/devices/d%231/messages/events"));
    assert_eq!(property(&attach, "com.microsoft:model-id"), Some("dtmi:x;1"));
    assert_eq!(property(&attach, "com.microsoft:auth-chain"), None);
    peer.accept(link, &attach).await;
    expect_connected(&mut events).await;
}

#[tokio::test]
async fn an_edge_hub_speaks_for_another_identity() {
    let hub = FakeAmqpHub::start();
    let (_client, _events) = start(options(&hub, "leaf").on_behalf("leaf;edge".parse().unwrap()));
    let (mut peer, _) = hub.opened().await;
    let (name, _) = peer.take_token(200).await;
    assert_eq!(name, "hub.example/devices/edge/modules/$edgeHub");
    let (_, attach) = peer.attached().await;
    let address = attach.target.as_ref().and_then(|target| target.address.as_deref());
    assert_eq!(address, Some("/devices/leaf/messages/events"));
    assert_eq!(property(&attach, "com.microsoft:auth-chain"), Some("leaf;edge"));
}

#[tokio::test]
async fn a_certificate_needs_no_token() {
    let hub = FakeAmqpHub::start();
    let validity = Validity::starting(Clock::system().wall(), Duration::from_secs(3600));
    let authority = Authority::create_root("devices", validity).unwrap();
    let own = authority.issue_client("d", validity).unwrap();
    let tls = hub.client_tls().with_certificate(&own.chain_pem, &own.key_pem).unwrap();
    let mut options =
        Options::with_certificate("hub.example", hub.dial(), tls, "d".parse().unwrap());
    options.transport = Transport::Amqp;
    let (_client, mut events) = start(options);
    let (mut peer, mechanism) = hub.opened().await;
    assert_eq!(mechanism.as_str(), "EXTERNAL");
    let (link, attach) = peer.attached().await;
    peer.accept(link, &attach).await;
    expect_connected(&mut events).await;
}

#[tokio::test]
async fn a_refusal_names_the_hub_and_the_next_step() {
    let hub = FakeAmqpHub::start();
    let (client, mut events) = start(options(&hub, "d"));
    let (mut peer, _) = hub.opened().await;
    peer.take_token(401).await;
    let reason = refusal(&mut events).await;
    assert!(reason.contains("refused d (token status 401: said the hub)"), "{reason}");
    assert!(reason.contains("key"), "the next step: {reason}");
    assert!(matches!(*client.state().borrow(), ConnectionState::Refused { .. }));

    let (_client, mut events) = start(options(&hub, "e"));
    let (mut peer, _) = hub.opened().await;
    peer.take_token(200).await;
    let (link, _) = peer.attached().await;
    peer.refuse(link, "amqp:not-found").await;
    let reason = refusal(&mut events).await;
    assert!(reason.contains("refused e (amqp:not-found: no)"), "{reason}");
}

#[tokio::test]
async fn a_token_is_renewed_on_the_same_connection() {
    let hub = FakeAmqpHub::start();
    let clock = Clock::manual("2026-11-25T00:00:00Z".parse().unwrap());
    let keep_alive = Duration::from_secs(100_000);
    let options = Options { keep_alive, ..options(&hub, "d") };
    let (client, mut events) = DeviceClient::start(options, clock.clone());
    let mut peer = hub.connected().await;
    expect_connected(&mut events).await;
    for hour in 1..=3 {
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(3600 * 85 / 100));
        let (_, token) = peer.take_token(200).await;
        let expires = SasToken::parse(&token).unwrap().expires_at();
        assert!(expires > clock.wall(), "{hour}");
        // What is under way is not disturbed.
        let handle = send(&client, "x").await;
        let delivery = peer.delivery().await;
        peer.settle(&delivery, DeliveryState::Accepted).await;
        handle.await.unwrap();
    }
    // A token that is refused ends it.
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(3600 * 85 / 100));
    peer.take_token(401).await;
    assert!(refusal(&mut events).await.contains("token status 401"));
}

#[tokio::test]
async fn only_accepted_acknowledges_and_the_order_stays() {
    let hub = FakeAmqpHub::start();
    let (client, mut events) = start(options(&hub, "d"));
    let mut peer = hub.connected().await;
    expect_connected(&mut events).await;
    let mut handles = Vec::new();
    for number in 0..10 {
        handles.push(send(&client, &number.to_string()).await);
    }
    let mut deliveries = Vec::new();
    for number in 0..10 {
        let delivery = peer.delivery().await;
        assert_eq!(body(&delivery), number.to_string());
        deliveries.push(delivery);
    }
    peer.settle(&deliveries[0], DeliveryState::Accepted).await;
    handles.remove(0).await.unwrap();
    // For good: the sender hears it, and the others go on.
    peer.settle(&deliveries[1], rejected("amqp:link:message-size-exceeded")).await;
    match handles.remove(0).await {
        Err(SendError::Refused(words)) => assert!(words.contains("size-exceeded"), "{words}"),
        other => panic!("{other:?}"),
    }
    // For now: everything without an acknowledgement comes again, in order.
    for outcome in [DeliveryState::Released, rejected("amqp:internal-error")] {
        peer.settle(&deliveries[2], outcome).await;
        match events.next().await {
            Some(ClientEvent::Disconnected { permanent: false, .. }) => {}
            other => panic!("{other:?}"),
        }
        peer = hub.connected().await;
        expect_connected(&mut events).await;
        deliveries.truncate(2);
        for number in 2..10 {
            let delivery = peer.delivery().await;
            assert_eq!(body(&delivery), number.to_string());
            deliveries.push(delivery);
        }
    }
    for delivery in &deliveries[2..] {
        peer.settle(delivery, DeliveryState::Accepted).await;
    }
    for handle in handles {
        handle.await.unwrap();
    }
}
