//! What the container engine says about itself and about modules' containers.
//!
//! Three read-only questions over its socket, answered by any engine that the runtime takes. It is
//! not `containers::DockerRuntime`: connecting that makes the modules' network, and a check changes
//! nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use host::http::{Client, HttpError, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

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
}

/// A module's container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// Its environment.
    pub(super) env: BTreeMap<String, String>,
    /// What is mounted into it.
    pub(super) mounts: Vec<Mount>,
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
        }))
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
        let parsed = serde_json::from_slice(&answer.body);
        parsed.map(Some).map_err(|error| {
            vec![
                format!("container engine answered something unexpected to {path}"),
                error.to_string(),
            ]
        })
    }
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
    api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    logging_driver: Option<String>,
    https_proxy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    config: InspectedConfig,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    env: Option<Vec<String>>,
}

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
