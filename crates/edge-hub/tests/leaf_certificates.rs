//! Leaf devices that prove themselves with a certificate: in by its thumbprint, out when the scope says
//! that it is another's now.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

mod support;

use std::time::Duration;

use client::device::{Events, Options, Transport};
use client::{DeviceClient, Dial};
use host::tls::ClientTls;
use model::identity::{Authentication, Status};
use pki::authority::ModuleIdentityNames;
use pki::{Authority, Certificate, Issued, Validity};
use serde_json::json;

use support::{GATEWAY, HUB, Machine, Running, bodies, send_all, within};

fn everything_upstream() -> serde_json::Value {
    json!({ "all": "FROM /messages/* INTO $upstream" })
}

/// A certificate of nobody's authority: only its thumbprint counts.
fn certificate(machine: &Machine, name: &str) -> Issued {
    let validity = Validity::starting(machine.clock.wall(), Duration::from_secs(3600));
    let authority = Authority::create_root("somebody", validity).unwrap();
    authority.issue_client(name, validity).unwrap()
}

/// One or two of them.
fn thumbprints(issued: &[&Issued]) -> Authentication {
    let mut thumbprints = issued.iter().map(|issued| {
        let leaf = Certificate::chain_from_pem(&issued.chain_pem).unwrap().swap_remove(0);
        leaf.thumbprint_sha256()
    });
    Authentication::SelfSigned { primary: thumbprints.next(), secondary: thumbprints.next() }
}

fn connect(
    machine: &Machine,
    running: &Running,
    transport: Transport,
    id: &str,
    issued: &Issued,
) -> (DeviceClient, Events) {
    let port = running.ports.of(transport);
    let dial = Dial::new(GATEWAY, port).at(Some("127.0.0.1".into()));
    let tls = ClientTls::new(&[&machine.ca.root_pem()]).unwrap();
    let tls = tls.with_certificate(&issued.chain_pem, &issued.key_pem).unwrap();
    let mut options = Options::with_certificate(HUB, dial, tls, id.parse().unwrap());
    options.transport = transport;
    DeviceClient::start(options, machine.clock.clone())
}

/// Asks for the scope anew, as an operator does.
async fn refresh(machine: &Machine) {
    let before = machine.hub.with(|state| state.answers.len());
    let payload = json!({ "deviceIds": ["leaf"] }).to_string();
    machine.hub.call("edge1/$edgeHub", "RefreshDeviceScopeIdentityCache", &payload);
    machine.hub.until("the refresh", |state| state.answers.len() > before).await;
}

async fn until_refused(client: &DeviceClient) {
    let mut state = client.state();
    let cut = state.wait_for(|state| *state != client::device::ConnectionState::Connected);
    within("the cut", cut).await.unwrap();
}

async fn by_its_thumbprint(transport: Transport) {
    let machine = Machine::new(&["leaf", "other"], everything_upstream()).await;
    let (first, second) = (certificate(&machine, "leaf"), certificate(&machine, "leaf"));
    machine.hub.authenticate("leaf", thumbprints(&[&first]));
    let edge = machine.start().await;
    machine.hub.until_connected("edge1/$edgeHub").await;

    let (leaf, _events) = connect(&machine, &edge, transport, "leaf", &first);
    within("the connection", leaf.connected()).await.unwrap();
    send_all(&leaf, bodies("l", 0..3)).await;
    assert_eq!(machine.hub.until_received("leaf", "l 2").await, bodies("l", 0..3));
    let (other, _other_events) = machine.connect_by(transport, &edge, "other", &[]);
    within("the connection", other.connected()).await.unwrap();

    // Another certificate, the certificate for another identity, and a key instead of it.
    let (wrong, _wrong_events) = connect(&machine, &edge, transport, "leaf", &second);
    within("a refusal", wrong.connected()).await.unwrap_err();
    let (wrong, _wrong_events) = connect(&machine, &edge, transport, "other", &first);
    within("a refusal", wrong.connected()).await.unwrap_err();
    let (wrong, _wrong_events) = machine.connect_by(transport, &edge, "leaf", &[]);
    within("a refusal", wrong.connected()).await.unwrap_err();

    // Rotation: the second thumbprint is added, which nobody notices.
    machine.hub.authenticate("leaf", thumbprints(&[&first, &second]));
    let mut state = leaf.state();
    state.mark_unchanged();
    refresh(&machine).await;
    send_all(&leaf, bodies("same", 0..3)).await;
    assert!(!state.has_changed().unwrap(), "the leaf was cut");
    // The first is taken away: who came in by it is cut, and only he.
    machine.hub.authenticate("leaf", thumbprints(&[&second]));
    refresh(&machine).await;
    machine.clock.timeout(CUT_WITHIN, until_refused(&leaf)).await.unwrap();
    let (leaf, _events) = connect(&machine, &edge, transport, "leaf", &second);
    within("the connection", leaf.connected()).await.unwrap();
    machine.hub.set_status("leaf", Status::Disabled);
    refresh(&machine).await;
    machine.clock.timeout(CUT_WITHIN, until_refused(&leaf)).await.unwrap();
    send_all(&other, bodies("o", 0..3)).await;
    assert_eq!(machine.hub.until_received("other", "o 2").await, bodies("o", 0..3));
    edge.stop().await;
}

/// A leaf by its name, under an authority of the trust bundle.
async fn by_an_authority(transport: Transport) {
    let machine = Machine::new(&["leaf", "other"], everything_upstream()).await;
    for id in ["leaf", "other"] {
        machine.hub.authenticate(id, Authentication::CertificateAuthority);
    }
    let edge = machine.start().await;
    machine.hub.until_connected("edge1/$edgeHub").await;
    let validity = Validity::starting(machine.clock.wall(), Duration::from_secs(3600));
    let below = machine.ca.issue_authority("devices", 0, validity).unwrap();

    for issued in [
        machine.ca.issue_client("leaf", validity).unwrap(),
        below.issue_client("leaf", validity).unwrap(),
    ] {
        let (leaf, _events) = connect(&machine, &edge, transport, "leaf", &issued);
        within("the connection", leaf.connected()).await.unwrap();
        send_all(&leaf, bodies("l", 0..3)).await;
        leaf.close().await;
    }
    machine.hub.until_received("leaf", "l 2").await;

    // Another's name, another authority, a server's certificate, and a module's.
    let stranger = certificate(&machine, "leaf");
    let server = machine.ca.issue_server(&["leaf".parse().unwrap()], validity).unwrap();
    let module = ModuleIdentityNames { hub: HUB, device: "edge1", module: "leaf" };
    let module = machine.ca.issue_module_identity(module, validity).unwrap();
    let other = below.issue_client("other", validity).unwrap();
    for issued in [stranger, server, module, other] {
        let (wrong, _events) = connect(&machine, &edge, transport, "leaf", &issued);
        within("a refusal", wrong.connected()).await.unwrap_err();
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_authority_of_the_trust_bundle_lets_in_over_mqtt() {
    by_an_authority(Transport::Mqtt).await;
}

#[tokio::test]
async fn an_authority_of_the_trust_bundle_lets_in_over_amqp() {
    by_an_authority(Transport::Amqp).await;
}

/// `ClientCertAuthEnabled=false`: nobody comes in by a certificate, who has a key does.
async fn by_keys_alone(transport: Transport) {
    let machine = Machine::new(&["leaf", "named", "keyed"], everything_upstream()).await;
    let own = certificate(&machine, "leaf");
    machine.hub.authenticate("leaf", thumbprints(&[&own]));
    machine.hub.authenticate("named", Authentication::CertificateAuthority);
    let validity = Validity::starting(machine.clock.wall(), Duration::from_secs(3600));
    let named = machine.ca.issue_client("named", validity).unwrap();
    let both = [("leaf", &own), ("named", &named)];

    let edge = machine.start_with(&[("ClientCertAuthEnabled", "false")]).await;
    machine.hub.until_connected("edge1/$edgeHub").await;
    let (keyed, _keyed_events) = machine.connect_by(transport, &edge, "keyed", &[]);
    within("the connection", keyed.connected()).await.unwrap();
    for (id, issued) in both {
        let (refused, _events) = connect(&machine, &edge, transport, id, issued);
        within("a refusal", refused.connected()).await.unwrap_err();
    }
    send_all(&keyed, bodies("k", 0..3)).await;
    assert_eq!(machine.hub.until_received("keyed", "k 2").await, bodies("k", 0..3));
    keyed.close().await;
    edge.stop().await;

    // The setting is what made the difference.
    let edge = machine.start_with(&[("ClientCertAuthEnabled", "true")]).await;
    for (id, issued) in both {
        let (client, _events) = connect(&machine, &edge, transport, id, issued);
        within("the connection", client.connected()).await.unwrap();
    }
    edge.stop().await;
}

#[tokio::test]
async fn certificates_are_refused_when_the_operator_wants_it_so_over_mqtt() {
    by_keys_alone(Transport::Mqtt).await;
}

#[tokio::test]
async fn certificates_are_refused_when_the_operator_wants_it_so_over_amqp() {
    by_keys_alone(Transport::Amqp).await;
}

/// After the hub's answer.
const CUT_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_thumbprint_lets_in_over_mqtt() {
    by_its_thumbprint(Transport::Mqtt).await;
}

#[tokio::test]
async fn a_thumbprint_lets_in_over_amqp() {
    by_its_thumbprint(Transport::Amqp).await;
}

#[tokio::test]
async fn a_thumbprint_lets_in_over_amqp_in_a_websocket() {
    by_its_thumbprint(Transport::AmqpWs).await;
}
