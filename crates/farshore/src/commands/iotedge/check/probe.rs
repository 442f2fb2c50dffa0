//! Whether containers reach the hub: this very program, in its own image, looks from within one.
//!
//! [`from_containers`] runs one on the engine's default network and one on the modules' network, each
//! for as long as its question takes, and removes them. Inside, [`run`] makes the same connections as
//! the check makes from the machine (`facts/hub.rs`), and prints what came of them. Instead of the
//! original's diagnostics image (`edge-runtime.md` §6.3).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use client::Dial;
use client::dial::Proxy;
use client::environment::{
    UPSTREAM_ADDRESS, UPSTREAM_AMQP_PORT, UPSTREAM_HTTPS_PORT, UPSTREAM_MQTT_PORT,
};
use edge_daemon::Config;
use host::clock::Clock;
use host::tls::ClientTls;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::docker::{Container, Docker};
use super::facts::hub::{self, Dials};
use super::facts::{Hub, Seen};
use crate::commands::Failure;
use crate::commands::iotedge::failure::words;
use crate::output::print_line;

/// How the hub is reached from within containers.
pub(super) struct FromContainers {
    /// On the network of containers that ask for none.
    pub(super) default: Seen<Hub>,
    /// On the network of the modules.
    pub(super) modules: Seen<Hub>,
}

/// What a container is asked.
#[derive(Serialize, Deserialize)]
struct Question {
    host: String,
    address: Option<String>,
    mqtt: u16,
    amqp: u16,
    https: u16,
    /// CAs to trust besides the machine's, PEM.
    trust: Vec<String>,
}

/// What it answers: nothing where all is well, else a message and its causes.
#[derive(Serialize, Deserialize)]
struct Answer {
    mqtt: Option<Vec<String>>,
    amqp: Option<Vec<String>>,
    https: Option<Vec<String>>,
}

/// Asks from within containers; none when the engine does not have the program's image (yet).
pub(super) async fn from_containers(
    config: &Config,
    dials: &Dials,
    trust: Vec<String>,
    edge_hub: Option<&Container>,
) -> Option<FromContainers> {
    let image = crate::compose::engine::edge_hub_image();
    let docker = match Docker::new(&config.engine.uri) {
        Ok(docker) => docker,
        Err(texts) => return Some(both(&texts)),
    };
    match docker.image(&image).await {
        Ok(None) => return None,
        Ok(Some(_)) => {}
        Err(texts) => return Some(both(&texts)),
    }
    let question = json!(question(dials, trust, edge_hub)).to_string();
    if question.len() > QUESTION_BYTES_MAX {
        let text = format!("trust_bundle_cert has more than {QUESTION_BYTES_MAX} bytes");
        return Some(both(&[text]));
    }
    let mut env = vec![format!("{QUESTION}={question}")];
    for (name, value) in &config.agent.env {
        if ["https_proxy", "no_proxy"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
            env.push(format!("{name}={value}"));
        }
    }
    let ask = |network: &str| {
        let body = container(&image, &env, network);
        let docker = &docker;
        async move { docker.output_of(&body, LIMIT).await.and_then(|text| read(&text)) }
    };
    let (default, modules) = tokio::join!(ask("default"), ask(&config.engine.network.name));
    Some(FromContainers { default, modules })
}

fn both(texts: &[String]) -> FromContainers {
    FromContainers { default: Err(texts.to_vec()), modules: Err(texts.to_vec()) }
}

/// Where the hub is for containers: as the edge hub was told, for the machine's own addresses are not
/// theirs.
fn question(dials: &Dials, trust: Vec<String>, edge_hub: Option<&Container>) -> Question {
    let told = |variable: &str| edge_hub.and_then(|container| container.env.get(variable).cloned());
    let port = |variable: &str, dial: &Dial| {
        told(variable).and_then(|text| text.parse().ok()).unwrap_or(dial.port)
    };
    Question {
        host: dials.https.host.clone(),
        address: told(UPSTREAM_ADDRESS).or_else(|| dials.https.address.clone()),
        mqtt: port(UPSTREAM_MQTT_PORT, &dials.mqtt),
        amqp: port(UPSTREAM_AMQP_PORT, &dials.amqp),
        https: port(UPSTREAM_HTTPS_PORT, &dials.https),
        trust,
    }
}

/// A container without any rights, that sees the machine's CAs.
fn container(image: &str, env: &[String], network: &str) -> serde_json::Value {
    let roots = Path::new(ROOTS);
    let binds = match host::fs::exists(roots) {
        Ok(true) => vec![format!("{ROOTS}:{ROOTS}:ro")],
        _ => Vec::new(),
    };
    json!({
        "Image": image,
        "Cmd": ["iotedge", COMMAND],
        "Env": env,
        "User": "13623:13623",
        // A log without frames.
        "Tty": true,
        "Labels": { super::docker::LABEL_CHECK: "1" },
        "HostConfig": {
            "NetworkMode": network,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": true,
            "Binds": binds,
        },
    })
}

fn read(text: &str) -> Seen<Hub> {
    let answer: Option<Answer> = text.lines().find_map(|line| serde_json::from_str(line).ok());
    let Some(answer) = answer else {
        let said: String = text.chars().take(SHOWN_CHARS).collect();
        return Err(vec![format!("the container did not look: {said}")]);
    };
    let way = |texts: Option<Vec<String>>| texts.map_or(Ok(()), Err);
    Ok(Hub {
        mqtt: way(answer.mqtt),
        amqp: way(answer.amqp),
        https: way(answer.https).map(|()| None),
    })
}

/// `iotedge check-connect`: what is done inside of the container.
pub(in super::super) async fn run() -> Result<(), Failure> {
    let env: BTreeMap<String, String> = host::env::vars().into_iter().collect();
    let asked = env.get(QUESTION).map(String::as_str).unwrap_or_default();
    let asked: Question = serde_json::from_str(asked).map_err(|_| {
        Failure::new(crate::commands::USAGE, "this command is run by iotedge check, in a container")
    })?;
    let answer = match look(&asked, &env).await {
        Ok(hub) => Answer { mqtt: hub.mqtt.err(), amqp: hub.amqp.err(), https: hub.https.err() },
        Err(texts) => {
            Answer { mqtt: Some(texts.clone()), amqp: Some(texts.clone()), https: Some(texts) }
        }
    };
    print_line(&json!(answer))
}

async fn look(asked: &Question, env: &BTreeMap<String, String>) -> Seen<Hub> {
    let texts: Vec<&str> = asked.trust.iter().map(String::as_str).collect();
    let given = ClientTls::new(&texts).map_err(words)?;
    let tls = given.clone().with_system_roots().unwrap_or(given);
    let proxy = Proxy::from_env(env).map_err(words)?;
    let dial = |port| Dial::new(asked.host.as_str(), port).at(asked.address.clone());
    let dials = Dials {
        mqtt: dial(asked.mqtt),
        amqp: dial(asked.amqp),
        // As in the original, what is no HTTPS goes without the proxy.
        https: dial(asked.https).through(proxy.as_ref()),
    };
    Ok(hub::reach(&dials, &tls, &Clock::system()).await)
}

/// The hidden command.
const COMMAND: &str = "check-connect";
const QUESTION: &str = "FARSHORE_CHECK_CONNECT";
/// One variable of a program may have 128 KiB.
const QUESTION_BYTES_MAX: usize = 120 * 1024;
/// Each connection has its own limit, of 15 seconds; the rest is the engine's.
const LIMIT: Duration = Duration::from_secs(60);
/// Where this machine keeps the CAs that it trusts.
const ROOTS: &str = "/etc/ssl/certs";
const SHOWN_CHARS: usize = 300;
