//! On which ports an edge hub listens that is a process, by the `PortBindings` of its createOptions.
//!
//! A container has ports of its own and the engine publishes them; a process listens on the host's.
//! The daemon says where it does by default, and that holds for a port that the manifest does not
//! publish, or publishes under its own number: then the manifest asks for what is usual. Another
//! number, or an address, is listened on as it stands, and the modules are told.

use std::net::{IpAddr, SocketAddr};

use client::environment::{
    GATEWAY_ADDRESS, GATEWAY_AMQP_PORT, GATEWAY_HTTPS_PORT, GATEWAY_MQTT_PORT,
};
use manifest::AgentConfig;
use manifest::agent::ModuleConfig;
use serde_json::Value;

use crate::settings::Surroundings;

/// What the edge hub serves.
struct Service {
    /// Tells the edge hub where to listen.
    listen: &'static str,
    /// Tells the modules its port.
    gateway: Option<&'static str>,
    /// Variables of the manifest that change the port inside.
    port_variables: &'static [&'static str],
    /// The port inside.
    port: u16,
}

/// The surroundings with the edge hub's ports as the manifest publishes them. They are the same
/// where the edge hub is a container.
pub(crate) fn published(surroundings: &Surroundings, config: &AgentConfig) -> Surroundings {
    let mut changed = surroundings.clone();
    let Some(hub) = &config.edge_hub else { return changed };
    for service in &SERVICES {
        // Metrics are where messages are, unless they are published elsewhere.
        let usual = surroundings.edge_hub_env.get(service.listen);
        let usual = usual.or_else(|| surroundings.edge_hub_env.get(SERVICES[0].listen));
        let Some(usual) = usual.and_then(|text| text.parse::<SocketAddr>().ok()) else { continue };
        let addresses = addresses(service, hub, usual);
        let Some(first) = addresses.first().filter(|_| addresses != [usual]) else { continue };
        let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        changed.edge_hub_env.insert(service.listen.to_owned(), text.join(","));
        if let Some(gateway) = service.gateway {
            changed.module_env.insert(gateway.to_owned(), first.port().to_string());
        }
        if service.port == MQTT && first.ip() != usual.ip() {
            changed.module_env.insert(GATEWAY_ADDRESS.to_owned(), first.ip().to_string());
        }
    }
    changed
}

fn addresses(service: &Service, hub: &ModuleConfig, usual: SocketAddr) -> Vec<SocketAddr> {
    let set = service.port_variables.iter().find_map(|name| {
        let found = hub.env.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.trim().parse::<u16>().ok())
    });
    let inside = set.unwrap_or(service.port);
    let is_usual_inside = inside == service.port && service.gateway.is_some();
    let bindings = bindings(&hub.create_options, inside);
    let address = |(ip, port): (Option<IpAddr>, u16)| match ip {
        Some(ip) => SocketAddr::new(ip, port),
        None if port == inside && is_usual_inside => usual,
        None => SocketAddr::new(usual.ip(), port),
    };
    let mut addresses: Vec<SocketAddr> = bindings.into_iter().map(address).collect();
    if addresses.is_empty() {
        addresses.push(match set {
            Some(port) if port != service.port => SocketAddr::new(usual.ip(), port),
            _ => usual,
        });
    }
    addresses.dedup();
    addresses.truncate(BINDINGS_MAX);
    addresses
}

/// Where a port is published: the address, if one is named that is not every one, and the port.
fn bindings(options: &Value, inside: u16) -> Vec<(Option<IpAddr>, u16)> {
    let find = |value: &Value, name: &str| -> Option<Value> {
        let found = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.clone())
    };
    let all = find(options, "HostConfig").and_then(|host| find(&host, "PortBindings"));
    let Some(all) = all else { return Vec::new() };
    let of_port = find(&all, &format!("{inside}/tcp")).or_else(|| find(&all, &inside.to_string()));
    let list = of_port.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    let binding = |binding: &Value| {
        let port = find(binding, "HostPort")?;
        let port = port.as_str().map(str::to_owned).unwrap_or_else(|| port.to_string());
        let ip = find(binding, "HostIp").and_then(|ip| ip.as_str()?.parse::<IpAddr>().ok());
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some((ip.filter(|ip| !ip.is_unspecified()), port))
    };
    list.iter().filter_map(binding).collect()
}

const MQTT: u16 = 8883;
/// MQTT first: its address is the gateway's.
const SERVICES: [Service; 4] = [
    Service {
        listen: "FARSHORE_EDGE_LISTEN",
        gateway: Some(GATEWAY_MQTT_PORT),
        port_variables: &[],
        port: MQTT,
    },
    Service {
        listen: "FARSHORE_EDGE_LISTEN_AMQP",
        gateway: Some(GATEWAY_AMQP_PORT),
        port_variables: &["amqpSettings__port"],
        port: 5671,
    },
    Service {
        listen: "FARSHORE_EDGE_LISTEN_HTTPS",
        gateway: Some(GATEWAY_HTTPS_PORT),
        port_variables: &["httpSettings__port"],
        port: 443,
    },
    Service {
        listen: "FARSHORE_EDGE_LISTEN_METRICS",
        gateway: None,
        port_variables: &["Metrics__Listener__Port", "httpSettings__metrics_port"],
        port: 9600,
    },
];
/// Sockets for one port; more is a mistake.
const BINDINGS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The variables that differ from the usual ones, of the edge hub and of modules.
    fn changed(options: &str, env: Value) -> Vec<String> {
        let mut surroundings = crate::test_surroundings();
        for (name, address) in [
            ("FARSHORE_EDGE_LISTEN", "127.0.0.2:8883"),
            ("FARSHORE_EDGE_LISTEN_AMQP", "127.0.0.2:5671"),
            ("FARSHORE_EDGE_LISTEN_HTTPS", "127.0.0.2:41443"),
        ] {
            surroundings.edge_hub_env.insert(name.into(), address.into());
        }
        let config = config(options, env);
        let after = published(&surroundings, &config);
        let new = |before: &std::collections::BTreeMap<String, String>,
                   after: &std::collections::BTreeMap<String, String>| {
            let new = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
            new.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let mut all = new(&surroundings.edge_hub_env, &after.edge_hub_env);
        all.extend(new(&surroundings.module_env, &after.module_env));
        all
    }

    fn config(options: &str, env: Value) -> AgentConfig {
        let properties = json!({
            "schemaVersion": "1.1", "runtime": {"type": "docker"},
            "systemModules": {"edgeHub": {
                "type": "docker", "status": "running", "env": env,
                "settings": {"image": "hub:1", "createOptions": options},
            }},
        });
        AgentConfig::parse(properties.as_object().unwrap()).unwrap()
    }

    #[test]
    fn the_usual_manifest_changes_nothing() {
        let usual = r#"{"HostConfig":{"PortBindings":{"8883/tcp":[{"HostPort":"8883"}],
            "5671/tcp":[{"HostPort":"5671"}],"443/tcp":[{"HostIp":"0.0.0.0","HostPort":"443"}]}}}"#;
        for options in ["", "{}", usual] {
            assert_eq!(changed(options, json!({})), Vec::<String>::new());
        }
    }

    #[test]
    fn other_ports_and_addresses_are_listened_on_and_told() {
        let options = r#"{"HostConfig":{"portbindings":{
            "8883/tcp":[{"HostIp":"127.0.0.5","HostPort":"8884"},{"HostPort":"8885"}],
            "9600/tcp":[{"HostPort":"9601"}]}}}"#;
        assert_eq!(
            changed(options, json!({})),
            [
                "FARSHORE_EDGE_LISTEN=127.0.0.5:8884,127.0.0.2:8885",
                "FARSHORE_EDGE_LISTEN_METRICS=127.0.0.2:9601",
                "FARSHORE_GATEWAY_ADDRESS=127.0.0.5",
                "FARSHORE_GATEWAY_MQTT_PORT=8884",
            ]
        );
    }

    #[test]
    fn a_port_that_a_variable_moves_is_found_under_its_new_number() {
        let env = json!({"amqpsettings__port": {"value": "5672"}, "httpSettings__port": {"value": "8443"}});
        let options = r#"{"HostConfig":{"PortBindings":{"5672/tcp":[{"HostPort":"15672"}]}}}"#;
        assert_eq!(
            changed(options, env),
            [
                "FARSHORE_EDGE_LISTEN_AMQP=127.0.0.2:15672",
                "FARSHORE_EDGE_LISTEN_HTTPS=127.0.0.2:8443",
                "FARSHORE_GATEWAY_AMQP_PORT=15672",
                "FARSHORE_GATEWAY_HTTPS_PORT=8443",
            ]
        );
    }

    #[test]
    fn in_an_engine_the_engine_publishes() {
        let options = r#"{"HostConfig":{"PortBindings":{"8883/tcp":[{"HostPort":"8884"}]}}}"#;
        let surroundings = crate::test_surroundings();
        let after = published(&surroundings, &config(options, json!({})));
        assert_eq!(after.edge_hub_env, surroundings.edge_hub_env);
        assert_eq!(after.module_env, surroundings.module_env);
    }
}
