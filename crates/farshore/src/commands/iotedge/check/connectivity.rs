//! Checks of the way to the hub, and of the clock, which must agree with the hub's.

use client::device::Transport;
use jiff::SignedDuration;

use super::configuration::WELL_FORMED;
use super::engine::{self, PROCESSES};
use super::facts::{Facts, Hub, Seen};
use super::probe::FromContainers;
use super::report::Outcome;

/// `host-connect-iothub-amqp`: the agent's and the edge hub's line, if it is AMQP.
pub(super) fn amqp(facts: &Facts) -> Outcome {
    line(facts, Transport::Amqp, |hub| hub.amqp.clone())
}

/// A port that only one transport needs.
fn line(facts: &Facts, transport: Transport, way: impl Fn(&Hub) -> Seen<()>) -> Outcome {
    let Ok(config) = &facts.config else { return Outcome::Skipped(WELL_FORMED) };
    match config.agent.upstream_protocol() {
        used if used == transport => reached(facts, way),
        used => Outcome::ignored(format!("the port is not needed: UpstreamProtocol is {used}")),
    }
}

/// `host-connect-iothub-https`: identities of modules are made over it.
pub(super) fn https(facts: &Facts) -> Outcome {
    reached(facts, |hub| hub.https.as_ref().map(drop).map_err(Clone::clone))
}

/// `host-connect-iothub-mqtt`: the agent's and the edge hub's line, if it is MQTT.
pub(super) fn mqtt(facts: &Facts) -> Outcome {
    line(facts, Transport::Mqtt, |hub| hub.mqtt.clone())
}

fn reached(facts: &Facts, way: impl Fn(&Hub) -> Seen<()>) -> Outcome {
    match facts.hub.as_ref().map(way) {
        None => Outcome::Skipped(WELL_FORMED),
        Some(Ok(())) => Outcome::Ok,
        Some(Err(texts)) => Outcome::Error(texts),
    }
}

/// `container-default-connect-upstream-amqp`.
pub(super) fn default_amqp(facts: &Facts) -> Outcome {
    from_container(facts, |found| &found.default, Some(Transport::Amqp))
}

/// `container-default-connect-upstream-https`.
pub(super) fn default_https(facts: &Facts) -> Outcome {
    from_container(facts, |found| &found.default, None)
}

/// `container-default-connect-upstream-mqtt`.
pub(super) fn default_mqtt(facts: &Facts) -> Outcome {
    from_container(facts, |found| &found.default, Some(Transport::Mqtt))
}

/// `container-connect-upstream-amqp`.
pub(super) fn modules_amqp(facts: &Facts) -> Outcome {
    from_container(facts, |found| &found.modules, Some(Transport::Amqp))
}

/// `container-connect-upstream-https`.
pub(super) fn modules_https(facts: &Facts) -> Outcome {
    from_container(facts, |found| &found.modules, None)
}

/// `container-connect-upstream-mqtt`.
pub(super) fn modules_mqtt(facts: &Facts) -> Outcome {
    from_container(facts, |found| &found.modules, Some(Transport::Mqtt))
}

/// What a container on one of the networks found, at the port of a transport or, without one, at
/// that of HTTPS.
fn from_container(
    facts: &Facts,
    network: fn(&FromContainers) -> &Seen<Hub>,
    transport: Option<Transport>,
) -> Outcome {
    if facts.modules_are_processes() == Some(true) {
        return Outcome::ignored(PROCESSES);
    }
    let Ok(config) = &facts.config else { return Outcome::Skipped(WELL_FORMED) };
    let used = config.agent.upstream_protocol();
    if transport.is_some_and(|transport| transport != used) {
        return Outcome::ignored(format!("the port is not needed: UpstreamProtocol is {used}"));
    }
    if !matches!(facts.engine, Some(Ok(_))) {
        return Outcome::Skipped(engine::URI);
    }
    let Some(found) = &facts.from_containers else { return Outcome::NotMade(NO_IMAGE) };
    let way = network(found).as_ref().map_err(Clone::clone).and_then(|hub| match transport {
        Some(Transport::Amqp) => hub.amqp.clone(),
        Some(_) => hub.mqtt.clone(),
        None => hub.https.as_ref().map(drop).map_err(Clone::clone),
    });
    way.map_or_else(Outcome::Error, |()| Outcome::Ok)
}

/// `host-local-time`. Tokens live by the hub's clock, so that is what is compared with; it is told
/// with every answer, to the second.
pub(super) fn local_time(facts: &Facts) -> Outcome {
    let Some(Hub { https: Ok(Some(reference)), .. }) = &facts.hub else {
        return Outcome::ignored("the hub did not tell its time");
    };
    let apart = facts.now.duration_since(*reference).abs();
    if apart >= APART_MAX {
        return Outcome::warning(format!(
            "this machine's clock and the hub's are {} seconds apart; set the clock, or tokens are refused",
            apart.as_secs()
        ));
    }
    Outcome::Ok
}

/// As the original (`edge-runtime.md` §6.3).
const APART_MAX: SignedDuration = SignedDuration::from_secs(10);

const NO_IMAGE: &str = "the container engine has no image of this version's edge hub, which would look; start the edge runtime once";
