//! Checks of the container engine and of its settings.

use serde_json::Value;

use super::configuration::WELL_FORMED;
use super::docker::{Container, LogConfig};
use super::facts::Facts;
use super::report::Outcome;

/// The id that others are skipped by when the engine does not answer.
pub(super) const URI: &str = "container-engine-uri";

/// `container-engine-uri`.
pub(super) fn uri(facts: &Facts) -> Outcome {
    if facts.modules_are_processes() == Some(true) {
        return Outcome::ignored(PROCESSES);
    }
    match &facts.engine {
        None => Outcome::Skipped(WELL_FORMED),
        Some(Ok(_)) => Outcome::Ok,
        Some(Err(texts)) => Outcome::Error(texts.clone()),
    }
}

/// `container-engine-dns`: modules use the engine's name servers.
pub(super) fn dns(facts: &Facts) -> Outcome {
    let settings = match settings(facts) {
        Ok(settings) => settings,
        Err(outcome) => return outcome,
    };
    let each_has_own = each_container(facts, |container| {
        container.host.dns.as_ref().is_some_and(|servers| !servers.is_empty())
    });
    match settings.and_then(|settings| settings.get("dns")) {
        Some(Value::Array(servers)) if !servers.is_empty() => Outcome::Ok,
        _ if each_has_own => Outcome::Ok,
        _ => Outcome::warning(
            "Container engine is not configured with DNS server setting, which may impact connectivity to IoT Hub.\n\
             Name the servers in \"dns\" of the engine's settings file, and restart the engine.",
        ),
    }
}

/// Whether there are modules and all are as they should be, by their createOptions.
fn each_container(facts: &Facts, is_good: impl Fn(&Container) -> bool) -> bool {
    !facts.containers.is_empty() && facts.containers.values().all(is_good)
}

/// `container-engine-ipv6`: a network with IPv6 needs an engine with IPv6.
pub(super) fn ipv6(facts: &Facts) -> Outcome {
    let Ok(config) = &facts.config else { return Outcome::Skipped(WELL_FORMED) };
    if !config.engine.network.ipv6 {
        return Outcome::ignored("the modules' network is configured without IPv6");
    }
    let settings = match settings(facts) {
        Ok(settings) => settings,
        Err(outcome) => return outcome,
    };
    match settings.and_then(|settings| settings.get("ipv6")) {
        Some(Value::Bool(true)) => Outcome::Ok,
        _ => Outcome::error(
            "moby_runtime.network in config.toml asks for IPv6, but the container engine is not configured for it; \
             set \"ipv6\": true in the engine's settings file, and restart the engine",
        ),
    }
}

/// `container-engine-logrotate`: logs of modules must not fill the disk.
pub(super) fn log_rotation(facts: &Facts) -> Outcome {
    let settings = match settings(facts) {
        Ok(settings) => settings,
        Err(outcome) => return outcome,
    };
    let named = settings.and_then(|settings| settings.get("log-driver")).and_then(Value::as_str);
    // The driver may be given on the engine's command line instead.
    let in_effect =
        facts.engine.as_ref().and_then(|engine| engine.as_ref().ok()?.log_driver.as_deref());
    let rotates_by_itself = |driver: &str| ROTATING_DRIVERS.contains(&driver);
    if named.or(in_effect).is_some_and(rotates_by_itself) {
        return Outcome::Ok;
    }
    let options = settings.and_then(|settings| settings.get("log-opts"));
    let is_set = |name: &str| options.and_then(|options| options.get(name)).is_some();
    if is_set("max-file") && is_set("max-size") {
        return Outcome::Ok;
    }
    let rotates = |container: &Container| {
        let LogConfig { r#type, config } = &container.host.log_config;
        let has = |name: &str| config.as_ref().is_some_and(|config| config.contains_key(name));
        rotates_by_itself(r#type) || r#type == "none" || (has("max-file") && has("max-size"))
    };
    if each_container(facts, rotates) {
        return Outcome::Ok;
    }
    Outcome::warning(
        "Container engine is not configured to rotate module logs which may cause it run out of disk space.\n\
         Set \"log-driver\": \"local\" in the engine's settings file, or max-size and max-file in its log-opts; \
         then restart the engine.",
    )
}

/// `proxy-settings`: what the agent is told and what the engine pulls through.
pub(super) fn proxy(facts: &Facts) -> Outcome {
    let Ok(config) = &facts.config else { return Outcome::Skipped(WELL_FORMED) };
    let told = config.agent.env.iter().find(|(name, _)| name.eq_ignore_ascii_case("https_proxy"));
    let told = told.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
    if facts.modules_are_processes() == Some(true) {
        return Outcome::ignored(PROCESSES);
    }
    let engine = match &facts.engine {
        Some(Ok(engine)) => engine.https_proxy.as_deref(),
        _ => return Outcome::Skipped(URI),
    };
    if told == engine {
        return Outcome::Ok;
    }
    let words = |proxy: Option<&str>| proxy.map_or("none".to_owned(), without_password);
    Outcome::warning(format!(
        "https_proxy is {} in [agent.env] of config.toml and {} in the container engine; set both to the same",
        words(told),
        words(engine)
    ))
}

/// The engine's settings file, or the outcome of all who need it.
fn settings(facts: &Facts) -> Result<Option<&Value>, Outcome> {
    if facts.modules_are_processes() == Some(true) {
        return Err(Outcome::ignored(PROCESSES));
    }
    match (&facts.engine, &facts.engine_settings) {
        (None, _) => Err(Outcome::Skipped(WELL_FORMED)),
        (Some(Err(_)), _) => Err(Outcome::Skipped(URI)),
        (Some(Ok(_)), Ok(settings)) => Ok(settings.as_ref()),
        (Some(Ok(_)), Err(texts)) => Err(Outcome::Error(texts.clone())),
    }
}

/// `http://user:password@proxy` without what nobody else is to read.
fn without_password(proxy: &str) -> String {
    match (proxy.split_once("://"), proxy.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => proxy.to_owned(),
    }
}

/// Drivers that bound their files without being told (`tools.md` §0).
const ROTATING_DRIVERS: [&str; 2] = ["local", "journald"];
/// Why the engine does not matter.
pub(super) const PROCESSES: &str = "modules run as processes, without a container engine";
