//! How the hub, and whoever else speaks TLS, is reached from this machine.

use std::time::Duration;

use client::Dial;
use client::dial::{AMQP_PORT, DialError, HTTPS_PORT, MQTT_PORT};
use client::environment::{
    UPSTREAM_ADDRESS, UPSTREAM_AMQP_PORT, UPSTREAM_HTTPS_PORT, UPSTREAM_MQTT_PORT,
};
use edge_daemon::Config;
use host::clock::Clock;
use host::http::Request;
use host::tls::{ClientTls, TlsError};
use jiff::Timestamp;

use super::Seen;
use crate::commands::iotedge::check::Arguments;
use crate::commands::iotedge::failure::words;
use crate::commands::iotedge::place::Place;

/// How the hub is reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Hub {
    /// A TLS handshake at the port of MQTT.
    pub(in super::super) mqtt: Seen<()>,
    /// A TLS handshake at the port of AMQP.
    pub(in super::super) amqp: Seen<()>,
    /// A request at the port of HTTPS, and the hub's time if it told it.
    pub(in super::super) https: Seen<Option<Timestamp>>,
}

pub(super) async fn look(
    config: &Config,
    place: &Place,
    arguments: &Arguments,
    clock: &Clock,
) -> Hub {
    let dials = dials(config, place, arguments);
    let tls = match trust(config, place, arguments) {
        Ok(tls) => tls,
        Err(texts) => {
            return Hub { mqtt: Err(texts.clone()), amqp: Err(texts.clone()), https: Err(texts) };
        }
    };
    reach(&dials, &tls, clock).await
}

/// Connects to each of the ports.
pub(in super::super) async fn reach(dials: &Dials, tls: &ClientTls, clock: &Clock) -> Hub {
    let (mqtt, amqp, https) = tokio::join!(
        handshake(&dials.mqtt, tls, clock),
        handshake(&dials.amqp, tls, clock),
        ask(&dials.https, tls)
    );
    Hub { mqtt, amqp, https }
}

/// Where the hub is asked for.
pub(in super::super) struct Dials {
    pub(in super::super) mqtt: Dial,
    pub(in super::super) amqp: Dial,
    pub(in super::super) https: Dial,
}

/// Where to dial: options, else what `farshore up` says, else what modules are told, else the
/// usual ports.
pub(super) fn dials(config: &Config, place: &Place, arguments: &Arguments) -> Dials {
    let manual = &config.provisioning;
    let name = arguments.iothub_hostname.as_ref().unwrap_or(&manual.hub_host_name);
    let told = |variable: &str| config.agent.env.get(variable).cloned();
    let port = |variable: &str| told(variable).and_then(|text| text.parse::<u16>().ok());
    let up = place.up.as_ref();
    let address = arguments.hub_address.clone().or_else(|| told(UPSTREAM_ADDRESS));
    let mqtt_port =
        manual.mqtt_port.or(up.and_then(|up| up.mqtt_port)).or(port(UPSTREAM_MQTT_PORT));
    let amqp_port = up.and_then(|up| up.amqp_port).or(port(UPSTREAM_AMQP_PORT));
    let https_port = arguments.hub_https_port.or(up.and_then(|up| up.https_port));
    let https_port = https_port.or(port(UPSTREAM_HTTPS_PORT));
    let dial = |port| Dial::new(name.as_str(), port).at(address.clone());
    Dials {
        mqtt: dial(mqtt_port.unwrap_or(MQTT_PORT)),
        amqp: dial(amqp_port.unwrap_or(AMQP_PORT)),
        https: dial(https_port.unwrap_or(HTTPS_PORT)),
    }
}

/// Whom the daemon trusts as the hub: the operator's bundle, what is named here, the machine's own.
fn trust(config: &Config, place: &Place, arguments: &Arguments) -> Seen<ClientTls> {
    let texts = trusted(config, place, arguments)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let given = ClientTls::new(&texts).map_err(words)?;
    // A machine without roots of its own still trusts what it was given.
    Ok(given.clone().with_system_roots().unwrap_or(given))
}

/// The CAs besides the machine's own, PEM.
pub(super) fn trusted(config: &Config, place: &Place, arguments: &Arguments) -> Seen<Vec<String>> {
    let up_ca = place.up.as_ref().and_then(|up| up.ca.as_ref());
    let files = [config.trust_bundle_cert.as_ref(), arguments.hub_ca.as_ref(), up_ca];
    let mut texts = Vec::new();
    for path in files.into_iter().flatten() {
        texts.push(host::fs::read_to_string(path).map_err(words)?);
    }
    Ok(texts)
}

pub(super) async fn handshake(dial: &Dial, tls: &ClientTls, clock: &Clock) -> Seen<()> {
    let target = dial.address.as_deref().unwrap_or(&dial.host);
    let stream = host::net::connect(target, dial.port, CONNECT_LIMIT).await;
    let stream =
        stream.map_err(|source| words(DialError::Network { dial: dial.clone(), source }))?;
    match clock.timeout(CONNECT_LIMIT, tls.connect(stream, &dial.host)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(words(DialError::Tls { dial: dial.clone(), source })),
        Err(_) => {
            Err(vec![format!("{dial} took the connection but does not answer TLS; check the port")])
        }
    }
}

/// Asks for nothing in particular: any answer shows that HTTPS works, and most tell the time.
async fn ask(dial: &Dial, tls: &ClientTls) -> Seen<Option<Timestamp>> {
    let client = dial.https(tls.clone());
    let request = Request::get("/").deadline(CONNECT_LIMIT).response_bytes_max(ANSWER_BYTES_MAX);
    let answer = client.send(request).await.map_err(|error| match error {
        host::http::HttpError::Connect(source) => {
            words(DialError::Network { dial: dial.clone(), source })
        }
        host::http::HttpError::Tls(source @ TlsError::Handshake { .. }) => {
            words(DialError::Tls { dial: dial.clone(), source })
        }
        other => words(other),
    })?;
    let date = answer.headers.get("date").and_then(|value| value.to_str().ok());
    Ok(date.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()))
}

/// Long enough for a slow line, short enough to wait for.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
