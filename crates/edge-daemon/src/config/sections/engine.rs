//! `[moby_runtime]`: the container engine and the modules' network.

use containers::{AddressRange, NetworkSettings};
use toml::de::DeValue;

use crate::config::EngineConfig;
use crate::config::reader::{Found, Section};

pub(super) fn section(root: &mut Section<'_, '_>) -> EngineConfig {
    let mut engine = EngineConfig {
        uri: DEFAULT_URI.to_owned(),
        network: NetworkSettings::default(),
        is_explicit: false,
    };
    let Some(mut section) = root.section("moby_runtime") else { return engine };
    engine.is_explicit = true;
    match section.string("uri") {
        Some(found) if super::socket(found.value).is_some() => engine.uri = found.value.to_owned(),
        Some(found) => {
            section.wrong(&found, "is not a unix socket; write unix:///var/run/docker.sock");
        }
        None if section.has("uri") => {}
        None => section.lacks("uri", "is missing: write uri = \"unix:///var/run/docker.sock\""),
    }
    match section.any("network") {
        Some(found) => {
            if let Some(network) = network(&section, &found) {
                engine.network = network;
            }
        }
        None => section.lacks("network", "is missing: write network = \"azure-iot-edge\""),
    }
    section.note("content_trust", "has no effect: no engine checks it any more");
    section.finish();
    engine
}

fn network(parent: &Section<'_, '_>, found: &Found<&DeValue<'_>>) -> Option<NetworkSettings> {
    let table = match found.value {
        DeValue::String(name) => return named(parent, found, name),
        DeValue::Table(table) => Found { value: table, line: found.line, key: found.key.clone() },
        _ => {
            parent.wrong(found, "is neither a name nor a table with a name");
            return None;
        }
    };
    let mut section = parent.inner("network", &table);
    let name = section.string("name");
    let mut settings = match &name {
        Some(name) => named(&section, name, name.value),
        None => {
            section.lacks("name", "is missing");
            None
        }
    };
    let ipv6 = section.boolean("ipv6").is_some_and(|found| found.value);
    let ranges = ranges(&mut section);
    section.finish();
    if let Some(settings) = &mut settings {
        settings.ipv6 = ipv6;
        settings.ranges = ranges;
    }
    settings
}

fn named<T>(section: &Section<'_, '_>, found: &Found<T>, name: &str) -> Option<NetworkSettings> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits) {
        return Some(NetworkSettings { name: name.to_owned(), ..NetworkSettings::default() });
    }
    section.wrong(found, "is not a network's name: letters, digits, '_', '.' and '-'");
    None
}

fn ranges(section: &mut Section<'_, '_>) -> Vec<AddressRange> {
    let Some(mut ipam) = section.section("ipam") else { return Vec::new() };
    let mut ranges = Vec::new();
    if let Some(found) = ipam.any("config") {
        match found.value.as_array() {
            Some(entries) if entries.len() <= RANGES_MAX => {
                for entry in entries {
                    ranges.extend(range(&ipam, &found, entry.get_ref()));
                }
            }
            _ => ipam.wrong(&found, "is not a list of up to 16 tables"),
        }
    }
    ipam.finish();
    ranges
}

fn range(
    ipam: &Section<'_, '_>,
    found: &Found<&DeValue<'_>>,
    entry: &DeValue<'_>,
) -> Option<AddressRange> {
    let Some(table) = entry.as_table() else {
        ipam.wrong(found, "holds something that is no table");
        return None;
    };
    let table = Found { value: table, line: found.line, key: found.key.clone() };
    let mut section = ipam.inner("config", &table);
    let mut text = |key| section.string(key).map(|found| found.value.to_owned());
    let range = AddressRange {
        gateway: text("gateway"),
        subnet: text("subnet"),
        ip_range: text("ip_range"),
    };
    section.finish();
    Some(range)
}

const DEFAULT_URI: &str = "unix:///var/run/docker.sock";
const RANGES_MAX: usize = 16;
