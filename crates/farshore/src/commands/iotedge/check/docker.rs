//! What the container engine says about itself and about modules' containers.
//!
//! Questions over its socket, answered by any engine that the runtime takes. It is not
//! `containers::DockerRuntime`: connecting that makes the modules' network, and a check changes
//! nothing that lasts. Containers that look from within are removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use host::http::{Client, HttpError, Request};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::failure::words;

/// An engine that answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Engine {
    /// Its version.
    pub(super) version: String,
    /// The log driver of containers that ask for none.
    pub(super) log_driver: Option<String>,
    /// The proxy through which it pulls images.
    pub(super) https_proxy: Option<String>,
    /// How layers are kept, such as `overlay2`.
    pub(super) storage_driver: Option<String>,
    /// `1` or `2`.
    pub(super) cgroup_version: Option<String>,
    /// The machine's architecture, as images name it.
    pub(super) architecture: Option<String>,
    /// Where images and volumes lie.
    pub(super) root: Option<PathBuf>,
}

/// A module's container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// Its environment.
    pub(super) env: BTreeMap<String, String>,
    /// What is mounted into it.
    pub(super) mounts: Vec<Mount>,
    /// The image that it was made from, by its id.
    pub(super) image_id: String,
    /// When it was started last.
    pub(super) started: Option<Timestamp>,
    /// Its addresses in the engine's networks.
    pub(super) addresses: Vec<String>,
    /// What it may do on the machine, and how its log is kept.
    pub(super) host: HostConfig,
}

/// What a container may do on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    /// Its bound of memory in bytes; 0: none.
    pub(super) memory: u64,
    pub(super) privileged: bool,
    pub(super) network_mode: String,
    pub(super) pid_mode: String,
    pub(super) dns: Option<Vec<String>>,
    pub(super) log_config: LogConfig,
}

/// How its log is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct LogConfig {
    pub(super) r#type: String,
    pub(super) config: Option<BTreeMap<String, String>>,
}

/// An image of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    /// Its architecture.
    pub(super) architecture: String,
    /// Bytes of its layers.
    pub(super) size: u64,
}

/// Something that is mounted into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mount {
    /// `bind`, `volume`, `tmpfs`.
    pub(super) r#type: String,
    /// Where on the machine.
    pub(super) source: String,
    /// Where in the container.
    pub(super) destination: String,
}

/// A connection to the engine.
pub(super) struct Docker {
    client: Client,
}

impl Docker {
    /// The engine at `unix:///path`.
    pub(super) fn new(uri: &str) -> Result<Self, Vec<String>> {
        match uri.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Self { client: Client::unix(path) }),
            None => Err(vec![format!(
                "moby_runtime.uri {uri:?} is not a unix socket; write unix:///var/run/docker.sock"
            )]),
        }
    }

    /// What it says about itself.
    pub(super) async fn engine(&self) -> Result<Engine, Vec<String>> {
        let version: Version = self.ask("/version").await?;
        if older(&version.api_version) {
            return Err(vec![format!(
                "container engine speaks API {}; update it to one that speaks {}.{} or newer",
                version.api_version, API_VERSION_MIN.0, API_VERSION_MIN.1
            )]);
        }
        let info: Info = self.ask("/info").await?;
        Ok(Engine {
            version: version.version,
            log_driver: info.logging_driver.filter(|text| !text.is_empty()),
            https_proxy: info.https_proxy.filter(|text| !text.is_empty()),
            storage_driver: info.driver,
            cgroup_version: info.cgroup_version,
            architecture: version.arch,
            root: info.docker_root_dir,
        })
    }

    /// A container; none when there is none of this name.
    pub(super) async fn container(&self, name: &str) -> Result<Option<Container>, Vec<String>> {
        let path = format!("/containers/{}/json", iot_proto::percent::encode(name));
        let found: Option<Inspected> = self.ask_for(&path).await?;
        Ok(found.map(|found| Container {
            env: found
                .config
                .env
                .unwrap_or_default()
                .iter()
                .filter_map(|entry| entry.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            mounts: found.mounts,
            image_id: found.image,
            started: found.state.started_at.and_then(|text| text.parse().ok()),
            addresses: found
                .network_settings
                .networks
                .into_values()
                .map(|network| network.ip_address)
                .filter(|address| !address.is_empty())
                .collect(),
            host: found.host_config,
        }))
    }

    /// An image by its id; none when it is gone.
    pub(super) async fn image(&self, id: &str) -> Result<Option<Image>, Vec<String>> {
        self.ask_for(&format!("/images/{}/json", iot_proto::percent::encode(id))).await
    }

    /// Names of volumes that no container uses.
    pub(super) async fn unused_volumes(&self) -> Result<Vec<String>, Vec<String>> {
        let filters = iot_proto::percent::encode(r#"{"dangling":["true"]}"#);
        let found: Volumes = self.ask(&format!("/volumes?filters={filters}")).await?;
        let volumes = found.volumes.unwrap_or_default();
        Ok(volumes.into_iter().map(|volume| volume.name).collect())
    }

    /// Bytes of memory that a container takes; none when it is not there.
    pub(super) async fn memory_used(&self, name: &str) -> Result<Option<u64>, Vec<String>> {
        let name = iot_proto::percent::encode(name);
        let path = format!("/containers/{name}/stats?stream=false&one-shot=true");
        let found: Option<Stats> = self.ask_for(&path).await?;
        Ok(found.and_then(|stats| stats.memory_stats.usage))
    }

    /// Runs a container to its end, within a limit, and gives what it printed. It is removed, whatever
    /// happens; one that an earlier check left behind when it was killed, too.
    pub(super) async fn output_of(
        &self,
        body: &Value,
        limit: Duration,
    ) -> Result<String, Vec<String>> {
        self.remove_left().await?;
        let create = Request::post("/containers/create").json(body.to_string());
        let created: Created = parse("/containers/create", &self.send(create).await?)?;
        let path = format!("/containers/{}", created.id);
        let output = async {
            self.send(Request::post(format!("{path}/start"))).await?;
            self.send(Request::post(format!("{path}/wait")).deadline(limit)).await?;
            self.send(Request::get(format!("{path}/logs?stdout=true&stderr=true"))).await
        };
        let output = output.await;
        let removed = self.send(Request::delete(format!("{path}?force=true"))).await;
        let output = output?;
        removed?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    async fn remove_left(&self) -> Result<(), Vec<String>> {
        let filters = json!({ "label": [LABEL_CHECK], "status": ["created", "exited"] });
        let filters = iot_proto::percent::encode(&filters.to_string()).to_string();
        let old: Vec<Listed> =
            self.ask(&format!("/containers/json?all=true&filters={filters}")).await?;
        let now = host::clock::Clock::system().wall().as_second();
        for left in old.into_iter().filter(|left| now - left.created > LEFT_SECONDS) {
            self.send(Request::delete(format!("/containers/{}?force=true", left.id))).await?;
        }
        Ok(())
    }

    /// A request that is to succeed.
    async fn send(&self, request: Request) -> Result<Bytes, Vec<String>> {
        let request = request.response_bytes_max(ANSWER_BYTES_MAX);
        let answer = self.client.send(request).await.map_err(unreachable)?;
        if answer.status.is_success() || answer.status.as_u16() == 304 {
            return Ok(answer.body);
        }
        let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
        let said = said.map(|said| said.message).unwrap_or_default();
        Err(vec![format!("container engine answered {}: {said}", answer.status.as_u16())])
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Vec<String>> {
        let found = self.ask_for(path).await?;
        found.ok_or_else(|| vec![format!("container engine does not know {path}")])
    }

    async fn ask_for<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Vec<String>> {
        let request = Request::get(path).deadline(DEADLINE).response_bytes_max(ANSWER_BYTES_MAX);
        let answer = self.client.send(request).await.map_err(unreachable)?;
        match answer.status.as_u16() {
            404 => return Ok(None),
            200 => {}
            status => return Err(vec![format!("container engine answered {status} to {path}")]),
        }
        parse(path, &answer.body).map(Some)
    }
}

fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, Vec<String>> {
    serde_json::from_slice(body).map_err(|error| {
        vec![format!("container engine answered something unexpected to {path}"), error.to_string()]
    })
}

fn unreachable(error: HttpError) -> Vec<String> {
    let text =
        "cannot reach the container engine; is it running, and may this user use its socket?";
    let mut texts = vec![text.to_owned()];
    texts.extend(words(error));
    texts
}

fn older(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < API_VERSION_MIN,
        _ => true,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    version: String,
    arch: Option<String>,
    api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    logging_driver: Option<String>,
    https_proxy: Option<String>,
    driver: Option<String>,
    cgroup_version: Option<String>,
    docker_root_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    config: InspectedConfig,
    #[serde(default)]
    mounts: Vec<Mount>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    state: InspectedState,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    network_settings: InspectedNetworks,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedState {
    started_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedNetworks {
    networks: BTreeMap<String, InspectedNetwork>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InspectedNetwork {
    #[serde(rename = "IPAddress")]
    ip_address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    created: i64,
}

#[derive(Deserialize)]
struct Said {
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
}

#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    memory_stats: MemoryStats,
}

#[derive(Default, Deserialize)]
struct MemoryStats {
    usage: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    env: Option<Vec<String>>,
}

/// By which the containers of a check are known.
pub(super) const LABEL_CHECK: &str = "farshore.check";
/// After this long, a check that made a container is no more.
const LEFT_SECONDS: i64 = 600;

/// What the runtime needs (`edge-runtime.md` §1.6).
const API_VERSION_MIN: (u32, u32) = (1, 41);
/// An engine that takes longer to say who it is is not functional.
const DEADLINE: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_must_speak_the_runtimes_api() {
        for (version, is_older) in [
            ("1.40", true),
            ("1.41", false),
            ("1.54", false),
            ("2.0", false),
            ("x", true),
            ("1", true),
        ] {
            assert_eq!(older(version), is_older, "{version}");
        }
    }

    #[test]
    fn only_unix_sockets_are_asked() {
        assert!(Docker::new("unix:///var/run/docker.sock").is_ok());
        assert!(Docker::new("http://localhost:2375").is_err());
    }
}
