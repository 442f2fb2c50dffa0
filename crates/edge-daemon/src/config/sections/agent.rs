//! `[agent]`: the agent is part of the daemon; its environment is inherited by modules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use client::device::Transport;
use client::dial::Proxy;
use client::dial::proxy::{ProxyAddressError, VARIABLE as PROXY_VARIABLE};

use super::shape;
use crate::config::AgentConfig;
use crate::config::reader::Section;

pub(super) fn section(root: &mut Section<'_, '_>) -> AgentConfig {
    let mut agent = AgentConfig { image: DEFAULT_IMAGE.to_owned(), env: BTreeMap::new() };
    let Some(mut section) = root.section("agent") else { return agent };
    for (key, only) in [("name", "edgeAgent"), ("type", "docker")] {
        if let Some(found) = section.string(key)
            && found.value != only
        {
            section.wrong(&found, format!("must be \"{only}\""));
        }
    }
    if let Some(found) = section.string("imagePullPolicy")
        && !["on-create", "never"].contains(&found.value)
    {
        section.wrong(&found, "is not one of \"on-create\", \"never\"");
    }
    if let Some(mut config) = section.section("config") {
        if let Some(found) = config.string("image") {
            agent.image = found.value.to_owned();
            if !agent.image.starts_with(KNOWN_IMAGE) {
                config.remark(&found, "has no effect: the agent is part of the daemon");
            }
        }
        for key in ["createOptions", "digest", "auth"] {
            config.note(key, "has no effect: the agent is part of the daemon and has no container");
        }
        shape::look(&mut config, shape::AGENT_CONFIG);
        config.finish();
    }
    if let Some(env) = section.section("env") {
        agent.env = environment(env);
    }
    section.finish();
    agent
}

fn environment(section: Section<'_, '_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let path = section.named("");
    let mut wrong: Vec<(_, Cow<'static, str>)> = Vec::new();
    // `entries` takes the section, so that its problems are reported by hand.
    let reporter = section.reporter();
    for mut found in section.entries() {
        found.key = format!("{path}{}", found.key);
        let name = found.key.get(path.len()..).unwrap_or_default().to_owned();
        match found.value.as_str() {
            // Without the value: it may hold a password.
            Some(value) if let Some(error) = proxy_error(&name, value) => {
                wrong.push((found, format!("cannot be used: {error}").into()));
            }
            Some(value) if is_protocol(&name) && value.parse::<Transport>().is_err() => {
                let what = format!(
                    "is {value:?}; write \"Amqp\", \"AmqpWs\", \"Mqtt\" or \"MqttWs\", or remove it"
                );
                wrong.push((found, what.into()));
            }
            Some(value) if is_variable(&name) && !value.contains('\0') => {
                env.insert(name, value.to_owned());
            }
            Some(_) => wrong.push((found, "is not the name of a variable".into())),
            None => wrong.push((found, "is not a quoted string".into())),
        }
    }
    for (found, what) in wrong {
        reporter.problem(found.line, &found.key, what);
    }
    env
}

/// The original reads its environment without regard to case.
fn is_protocol(name: &str) -> bool {
    name.eq_ignore_ascii_case("UpstreamProtocol")
}

fn proxy_error(name: &str, value: &str) -> Option<ProxyAddressError> {
    let names_one = name.eq_ignore_ascii_case(PROXY_VARIABLE) && !value.trim().is_empty();
    if names_one { Proxy::parse(value).err() } else { None }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

const DEFAULT_IMAGE: &str = "mcr.microsoft.com/azureiotedge-agent:1.6";
/// Manifests and templates name it; our own agent takes its place (`DESIGN.md` §6).
const KNOWN_IMAGE: &str = "mcr.microsoft.com/azureiotedge-agent";
