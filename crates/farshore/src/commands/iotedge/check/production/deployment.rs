//! Rows about what is deployed: modules, their images and their rights.

use client::device::Transport;
use iot_proto::management::ModuleDetails;
use model::ImageReference;
use serde_json::Value;

use super::Finding;
use super::device::NO_CONFIG;
use super::numbers::size_words;
use crate::commands::iotedge::check::facts::Facts;
use crate::commands::iotedge::check::facts::production::Production;
use crate::compose::engine::is_builtin;

/// `prod-upstream-consistent`: `config.toml`, the agent and the edge hub name the same.
pub(super) fn upstream(facts: &Facts, _: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown(NO_CONFIG) };
    let own = config.agent.upstream_protocol();
    for name in ["edgeAgent", "edgeHub"] {
        if let Some(other) = named_protocol(facts, name)
            && other != own
        {
            return Finding::fail(
                format!(
                    "UpstreamProtocol is {other} in {name} and {own} in [agent.env] of config.toml"
                ),
                format!(
                    "set UpstreamProtocol = \"{own}\" in {name}'s env in the deployment, or {other} in config.toml, \
                         then: sudo iotedge config apply"
                ),
            );
        }
    }
    Finding::pass(format!("all speak {own} to the hub"))
}

fn named_protocol(facts: &Facts, module: &str) -> Option<Transport> {
    variable(facts, module, "UpstreamProtocol")?.parse().ok()
}

/// A variable of a module: of its container, else as the daemon shows it.
fn variable<'f>(facts: &'f Facts, module: &str, name: &str) -> Option<&'f str> {
    if let Some(container) = facts.containers.get(module) {
        let found = container.env.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        return found.map(|(_, value)| value.as_str());
    }
    let env = &facts.module(module)?.config.env;
    let found = env.iter().find(|variable| variable.key.eq_ignore_ascii_case(name));
    found.map(|variable| variable.value.as_str())
}

/// `prod-upstream-deployment`: the protocol that the deployment ends up with gets through.
pub(super) fn upstream_works(facts: &Facts, _: &Production) -> Finding {
    let (Ok(config), Some(hub)) = (&facts.config, &facts.hub) else {
        return Finding::unknown(NO_CONFIG);
    };
    let used = named_protocol(facts, "edgeHub").unwrap_or(config.agent.upstream_protocol());
    let seen = match used {
        Transport::Amqp => hub.amqp.clone(),
        Transport::Mqtt => hub.mqtt.clone(),
        _ => hub.https.clone().map(drop),
    };
    match seen {
        Ok(()) => Finding::pass(format!("the deployment's protocol, {used}, gets through")),
        Err(texts) => Finding::fail(
            format!(
                "the deployment's protocol is {used}, and that does not get through: {}",
                texts.join("; ")
            ),
            "set UpstreamProtocol = \"AmqpWs\" in [agent.env] of config.toml and in edgeHub's env, \
             then: sudo iotedge config apply",
        ),
    }
}

/// `prod-images`.
pub(super) fn images(facts: &Facts, production: &Production) -> Finding {
    let machine =
        facts.engine.as_ref().and_then(|engine| engine.as_ref().ok()?.architecture.as_deref());
    for (module, image) in &production.images {
        if let (Ok(Some(image)), Some(machine)) = (image, machine)
            && image.architecture != machine
        {
            return Finding::fail(
                format!(
                    "{module}'s image is for {}, this machine is {machine}",
                    image.architecture
                ),
                format!("name an image for {machine} in the deployment"),
            );
        }
    }
    let modules = match modules(facts) {
        Ok(modules) => modules,
        Err(finding) => return finding,
    };
    for (module, image) in &modules {
        if image.tag().is_some_and(|tag| tag.contains("debug")) {
            return Finding::warn(
                format!("{} runs the debug image {image}", module.name),
                "name the image without debug in the deployment",
            );
        }
    }
    Finding::pass(format!(
        "{} module(s) run images for this machine, none for debugging",
        modules.len()
    ))
}

/// The modules besides the agent with their images.
fn modules(facts: &Facts) -> Result<Vec<(&ModuleDetails, ImageReference)>, Finding> {
    let Ok(daemon) = &facts.daemon else { return Err(Finding::unknown(NO_DAEMON)) };
    let others = daemon.modules.iter().filter(|module| module.name != "edgeAgent");
    let with_image = others.filter_map(|module| {
        let text = module.config.settings.get("image")?.as_str()?;
        Some((module, text.parse().ok()?))
    });
    let modules: Vec<_> = with_image.collect();
    match modules.is_empty() {
        true => Err(Finding::unknown("nothing is deployed yet")),
        false => Ok(modules),
    }
}

/// `prod-twin-size`. What shows here is a part of the twin, so it can only be too much.
pub(super) fn twin_size(facts: &Facts, _: &Production) -> Finding {
    let Ok(daemon) = &facts.daemon else { return Finding::unknown(NO_DAEMON) };
    let modules = &daemon.modules;
    if modules.len() > MODULES_MAX + SYSTEM_MODULES {
        return Finding::fail(
            format!(
                "{} modules are deployed; a deployment has at most {MODULES_MAX}",
                modules.len()
            ),
            "spread them over more devices",
        );
    }
    let size = |module: &ModuleDetails| {
        let env: usize = module
            .config
            .env
            .iter()
            .map(|variable| variable.key.len() + variable.value.len())
            .sum();
        let image = module.config.settings.get("image").and_then(Value::as_str).unwrap_or_default();
        let options =
            module.config.settings.get("createOptions").map(|options| options.to_string().len());
        MODULE_BYTES + module.name.len() + image.len() + env + options.unwrap_or_default()
    };
    let least = modules.iter().map(size).sum::<usize>();
    let text = format!(
        "{} modules take at least {} of {} of $edgeAgent's desired properties",
        modules.len(),
        size_words(least as u64),
        size_words(TWIN_BYTES_MAX as u64)
    );
    match least * 4 >= TWIN_BYTES_MAX * 3 {
        true => Finding::warn(text, "shorten env and createOptions in the deployment"),
        false => Finding::pass(text),
    }
}

/// `prod-module-updates`.
pub(super) fn module_updates(facts: &Facts, _: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown(NO_CONFIG) };
    let told = variable(facts, "edgeAgent", "ModuleUpdateMode")
        .or_else(|| config.agent.variable("ModuleUpdateMode"));
    match told {
        Some(mode) if mode.eq_ignore_ascii_case("WaitForAllPulls") => {
            Finding::pass("all images of a deployment are pulled before a module is touched")
        }
        mode => Finding::warn(
            format!(
                "ModuleUpdateMode is {}: modules are replaced one by one while others are still pulled",
                mode.unwrap_or("not set")
            ),
            "set ModuleUpdateMode = \"WaitForAllPulls\" in [agent.env] of config.toml, then: sudo iotedge config apply",
        ),
    }
}

/// `prod-image-tags`.
pub(super) fn tags(facts: &Facts, _: &Production) -> Finding {
    let modules = match modules(facts) {
        Ok(modules) => modules,
        Err(finding) => return finding,
    };
    for (module, image) in &modules {
        if image.digest().is_none() && image.tag().is_none_or(|tag| tag == "latest") {
            return Finding::fail(
                format!("{} runs {image}, whose tag moves from version to version", module.name),
                "name a tag of one build, or a digest, in the deployment",
            );
        }
    }
    Finding::pass("every image has a tag of its own or a digest")
}

/// `prod-volumes-orphaned`.
pub(super) fn volumes(_: &Facts, production: &Production) -> Finding {
    match &production.volumes_unused {
        None => Finding::unknown("no container engine tells of volumes"),
        Some(Err(texts)) => Finding::unknown(texts.join("; ")),
        Some(Ok(volumes)) if volumes.is_empty() => Finding::pass("every volume is used"),
        Some(Ok(volumes)) => {
            let shown: Vec<&str> = volumes.iter().take(SHOWN_MAX).map(String::as_str).collect();
            let rest = volumes.len().saturating_sub(SHOWN_MAX);
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            Finding::warn(
                format!(
                    "no container uses {} volume(s): {}{more}",
                    volumes.len(),
                    shown.join(", ")
                ),
                format!("docker volume rm {}", shown.join(" ")),
            )
        }
    }
}

/// `prod-own-registry`: whoever else's registry may be away or drop a version.
pub(super) fn own_registry(facts: &Facts, _: &Production) -> Finding {
    let modules = match modules(facts) {
        Ok(modules) => modules,
        Err(finding) => return finding,
    };
    for (module, image) in &modules {
        let registry = image.registry().unwrap_or("docker.io");
        if !is_builtin(image.repository()) && PUBLIC.iter().any(|public| registry.ends_with(public))
        {
            return Finding::warn(
                format!(
                    "{}'s image {image} comes from the public registry {registry}",
                    module.name
                ),
                format!(
                    "docker pull {image} && docker tag {image} <your registry>/… && docker push <your registry>/…"
                ),
            );
        }
    }
    Finding::pass(
        "no image comes from a public registry; the runtime's own are part of this program",
    )
}

/// `prod-ci`. Whether there are pipelines does not show here; what they should have found does.
pub(super) fn pipeline(facts: &Facts, _: &Production) -> Finding {
    let Ok(daemon) = &facts.daemon else { return Finding::unknown(NO_DAEMON) };
    let is_bad = |module: &&ModuleDetails| {
        ["failed", "dead", "unhealthy"].contains(&module.status.runtime_status.status.as_str())
    };
    if let Some(module) = daemon.modules.iter().find(is_bad) {
        let status = &module.status.runtime_status.status;
        return Finding::fail(
            format!("{} is {status}: a test before the deployment would have told", module.name),
            format!("iotedge logs {}", module.name),
        );
    }
    match daemon.info.additional.get("deployment_pipeline").and_then(Value::as_str) {
        Some(pipeline) => {
            Finding::pass(format!("deployments come from {pipeline}, and every module runs"))
        }
        None => Finding::unknown_but(
            "every module runs, but whether deployments are tested does not show here",
            "name the pipeline: deployment_pipeline = \"<where>\" in the file of additional_info in config.toml",
        ),
    }
}

/// `prod-elevated`.
pub(super) fn elevated(facts: &Facts, _: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown(NO_CONFIG) };
    if facts.modules_are_processes() == Some(true) {
        return Finding::fail(
            "modules run as processes with the daemon's rights",
            "sudo apt-get install moby-engine",
        );
    }
    if !matches!(facts.engine, Some(Ok(_))) {
        return Finding::unknown("no container engine tells what containers may do");
    }
    let (mut grave, mut unbound) = (Vec::new(), Vec::new());
    for (name, container) in &facts.containers {
        let host = &container.host;
        let binds = |path: &str| {
            container.mounts.iter().any(|mount| mount.r#type == "bind" && mount.source == path)
        };
        for (is_so, what) in [
            (host.privileged, "is privileged"),
            (host.network_mode == "host", "has the machine's network"),
            (host.pid_mode == "host", "sees the machine's processes"),
            (binds("/"), "has the machine's whole file system"),
            (binds("/var/run/docker.sock") || binds("/run/docker.sock"), "has the engine's socket"),
        ] {
            if is_so {
                grave.push(format!("{name} {what}"));
            }
        }
        if host.memory == 0 {
            unbound.push(name.as_str());
        }
    }
    if !grave.is_empty() {
        return Finding::fail(
            grave.join("; "),
            "set allow_elevated_docker_permissions = false in config.toml, then: sudo iotedge config apply",
        );
    }
    if config.allow_elevated_docker_permissions {
        return Finding::warn(
            "a deployment may ask for any right over this machine",
            "set allow_elevated_docker_permissions = false in config.toml, then: sudo iotedge config apply",
        );
    }
    if !unbound.is_empty() {
        return Finding::warn(
            format!("no bound of memory: {}", unbound.join(", ")),
            "set HostConfig.Memory in their createOptions in the deployment",
        );
    }
    Finding::pass("no module has rights over the machine, and each has a bound of memory")
}

const NO_DAEMON: &str = "the daemon does not answer";
/// As the hub bounds them (`edge-runtime.md` §7.2).
const MODULES_MAX: usize = 50;
const SYSTEM_MODULES: usize = 2;
const TWIN_BYTES_MAX: usize = 32 * 1024;
/// The keys that every module has in a manifest.
const MODULE_BYTES: usize = 130;
const SHOWN_MAX: usize = 10;
/// Registries that anybody may pull from.
const PUBLIC: [&str; 6] =
    ["docker.io", "mcr.microsoft.com", "ghcr.io", "quay.io", "gcr.io", "public.ecr.aws"];
