//! Rows about the ways to the hub and to registries.

use client::device::Transport;

use super::Finding;
use super::device::NO_CONFIG;
use crate::commands::iotedge::check::engine;
use crate::commands::iotedge::check::facts::production::Production;
use crate::commands::iotedge::check::facts::{Facts, Seen};
use crate::commands::iotedge::check::report::Outcome;

/// `prod-firewall`: what the chosen protocol needs is open.
pub(super) fn firewall(facts: &Facts, _: &Production) -> Finding {
    let (Ok(config), Some(hub)) = (&facts.config, &facts.hub) else {
        return Finding::unknown(NO_CONFIG);
    };
    let name = &config.provisioning.hub_host_name;
    let https = ("443 (HTTPS, WebSockets)", hub.https.clone().map(drop));
    let ways = match config.agent.upstream_protocol() {
        Transport::Amqp => vec![("5671 (AMQP)", hub.amqp.clone()), https],
        Transport::Mqtt => vec![("8883 (MQTT)", hub.mqtt.clone()), https],
        _ => vec![https],
    };
    for (port, seen) in &ways {
        if let Err(texts) = seen {
            return Finding::fail(
                format!("{name}, port {port}, is not reached: {}", texts.join("; ")),
                format!("allow outbound connections to {name}, port {port}, in the firewall"),
            );
        }
    }
    let open: Vec<&str> = ways.iter().map(|(port, _)| *port).collect();
    Finding::pass(format!(
        "outbound to {name}: {}; inbound is needed for leaf devices alone",
        open.join(", ")
    ))
}

/// `prod-connections`: every host name that an allow-list must have.
pub(super) fn connections(facts: &Facts, production: &Production) -> Finding {
    let (Ok(config), Some(hub)) = (&facts.config, &facts.hub) else {
        return Finding::unknown(NO_CONFIG);
    };
    let name = &config.provisioning.hub_host_name;
    let mut hosts = vec![(name.as_str(), hub.https.clone().map(drop))];
    let registries = production.registries.iter().map(|(name, seen)| (name.as_str(), seen.clone()));
    hosts.extend(registries);
    let names: Vec<&str> = hosts.iter().map(|(name, _)| *name).collect();
    match first_closed(&hosts) {
        Some((host, why)) => Finding::fail(
            format!("{host} is not reached: {why}"),
            format!("allow these in the firewall: {}", names.join(", ")),
        ),
        None => Finding::pass(format!("reached: {}", names.join(", "))),
    }
}

fn first_closed(hosts: &[(&str, Seen<()>)]) -> Option<(String, String)> {
    hosts.iter().find_map(|(name, seen)| {
        let texts = seen.as_ref().err()?;
        Some(((*name).to_owned(), texts.join("; ")))
    })
}

/// `prod-proxy-works`.
pub(super) fn proxy(facts: &Facts, production: &Production) -> Finding {
    let fix = "set the same https_proxy in [agent.env] of config.toml and for the engine \
               (systemctl edit docker), then: sudo iotedge config apply";
    match (&production.proxy, engine::proxy(facts)) {
        (Some(Err(texts)), _) => Finding::fail(texts.join("; "), fix),
        (_, outcome @ (Outcome::Warning(_) | Outcome::Error(_))) => Finding::of(outcome, fix),
        (Some(Ok(())), _) => Finding::pass("the proxy connects to the hub"),
        (None, _) => Finding::pass("no proxy is used"),
    }
}

/// `prod-registry-access`: who pulls must not be who pushes.
pub(super) fn registry_access(facts: &Facts, production: &Production) -> Finding {
    if facts.config.is_err() {
        return Finding::unknown(NO_CONFIG);
    }
    if let Some((server, user)) = &production.registry_user {
        let name = server.split(['.', ':']).next().unwrap_or_default();
        let is_admin = user.eq_ignore_ascii_case(name) || user.eq_ignore_ascii_case("admin");
        return match is_admin {
            true => Finding::fail(
                format!(
                    "{user} of {server} is the registry's administrator, who may also push and delete"
                ),
                "make a token that may only pull, name it in [agent.config.auth] of config.toml, \
                 then: sudo iotedge config apply",
            ),
            false => {
                Finding::pass(format!("{user} of {server} is not the registry's administrator"))
            }
        };
    }
    match production.registries.is_empty() {
        true => Finding::pass("no image is pulled from a registry"),
        false => Finding::unknown(
            "credentials are in the deployment; the device does not show them, nor what they allow",
        ),
    }
}

/// `prod-registry-reachable`.
pub(super) fn registries_answer(_: &Facts, production: &Production) -> Finding {
    let registries: Vec<(&str, Seen<()>)> =
        production.registries.iter().map(|(name, seen)| (name.as_str(), seen.clone())).collect();
    match first_closed(&registries) {
        Some((registry, why)) => Finding::fail(
            format!("the registry {registry} is not reached: {why}"),
            format!("allow outbound connections to {registry} in the firewall"),
        ),
        None if registries.is_empty() => Finding::pass("no image is pulled from a registry"),
        None => {
            let names: Vec<&str> = registries.iter().map(|(name, _)| *name).collect();
            Finding::pass(format!("reached: {}", names.join(", ")))
        }
    }
}
