//! Getting images, and looking at those that are there.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use host::clock::Clock;
use http::HeaderValue;

use super::DockerRuntime;
use super::engine::Engine;
use super::progress::Layers;
use crate::{ImageReference, RegistryAuth, RuntimeError, Watcher};

impl DockerRuntime {
    /// Pulls an image, or makes sure that the built-in one is there.
    pub(super) async fn pull_image(
        &self,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
        watcher: Watcher<'_>,
    ) -> Result<(), RuntimeError> {
        let Some(builtin) = self.builtin(image) else {
            return pull(&self.engine, image, auth, &self.clock, watcher).await;
        };
        let reference = builtin.image.to_string();
        match self.inspect_image(&reference).await? {
            Some(_) => Ok(()),
            None => Err(RuntimeError::ImageUnavailable {
                image: image.to_string(),
                what: format!(
                    "is built in as {reference}, which the engine has lost: restart the edge runtime"
                ),
            }),
        }
    }

    pub(super) async fn inspect_image(
        &self,
        reference: &str,
    ) -> Result<Option<ImageInspect>, RuntimeError> {
        inspect_image(&self.engine, reference).await
    }

    /// Whether the image is the one that the spec pins.
    pub(super) async fn check_digest(
        &self,
        image: &str,
        digest: &str,
        is_builtin: bool,
    ) -> Result<(), RuntimeError> {
        let unavailable =
            |what| Err(RuntimeError::ImageUnavailable { image: image.to_owned(), what });
        if is_builtin {
            return unavailable(format!(
                "is built in and cannot have digest {digest}: leave the digest out, or take the name out of the catalogue"
            ));
        }
        let found = self.inspect_image(image).await?.unwrap_or_default();
        let has_digest = found
            .repo_digests
            .unwrap_or_default()
            .iter()
            .any(|known| known.ends_with(&format!("@{digest}")));
        if has_digest || found.id.as_deref() == Some(digest) {
            Ok(())
        } else {
            unavailable(format!(
                "does not have digest {digest}: pull it again or correct the digest"
            ))
        }
    }
}

/// An image of the engine, `None` when it has no such.
pub(crate) async fn inspect_image(
    engine: &Engine,
    reference: &str,
) -> Result<Option<ImageInspect>, RuntimeError> {
    match engine.docker().inspect_image(reference).await.map_err(|source| engine.error(source)) {
        Ok(found) => Ok(Some(found)),
        Err(RuntimeError::Engine { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn pull(
    engine: &Engine,
    image: &ImageReference,
    auth: Option<&RegistryAuth>,
    clock: &Clock,
    watcher: Watcher<'_>,
) -> Result<(), RuntimeError> {
    // One field holds tag or digest; a digest is the stronger of both.
    let version = image.digest().or(image.tag()).unwrap_or_default();
    let options =
        CreateImageOptionsBuilder::new().from_image(image.repository()).tag(version).build();
    let docker = match auth {
        Some(auth) => engine.with_header("X-Registry-Auth", auth_header(auth)?),
        None => engine.docker().clone(),
    };
    let mut steps = Box::pin(docker.create_image(Some(options), None, None));
    let mut layers = Layers::default();
    loop {
        let Ok(step) = clock.timeout(PULL_SILENCE_MAX, steps.next()).await else {
            let silence = PULL_SILENCE_MAX.as_secs();
            return Err(RuntimeError::EngineProtocol {
                what: format!("the pull of {image} made no progress for {silence} s"),
                source: None,
            });
        };
        match step {
            None => return Ok(()),
            Some(Ok(step)) => watcher(layers.take(&step)),
            Some(Err(source)) => return Err(refusal(image, engine.error(source))),
        }
    }
}

/// Tells a registry that says no from one that is away or does not get through: the one stays so
/// until somebody changes the manifest or the image, the other is worth waiting for. Engines give
/// both the status 500 once an answer has begun, so only their words tell.
fn refusal(image: &ImageReference, error: RuntimeError) -> RuntimeError {
    match error {
        RuntimeError::Engine { status, message } if is_refusal(status, &message) => {
            RuntimeError::ImageUnavailable {
                image: image.to_string(),
                what: format!("the pull is refused: {message}"),
            }
        }
        error => error,
    }
}

fn is_refusal(status: u16, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    matches!(status, 400 | 401 | 403 | 404) || REFUSALS.iter().any(|words| message.contains(words))
}

/// URL-safe base64 of JSON (`edge-runtime.md` §1.6).
fn auth_header(auth: &RegistryAuth) -> Result<HeaderValue, RuntimeError> {
    let fields: HashMap<&str, &str> = [
        ("username", auth.username.as_str()),
        ("password", auth.password.as_str()),
        ("serveraddress", auth.server_address.as_str()),
    ]
    .into();
    let json = serde_json::json!(fields).to_string();
    let text = base64::prelude::BASE64_URL_SAFE.encode(json);
    let mut value = HeaderValue::try_from(text).map_err(|source| RuntimeError::EngineProtocol {
        what: "registry credentials do not fit into a header".to_owned(),
        source: Some(Box::new(source)),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Engines report progress several times a second while bytes flow; a stalled
/// registry connection is given up by them after minutes.
const PULL_SILENCE_MAX: Duration = Duration::from_secs(300);

/// Words by which Docker, containerd and podman say that a registry has answered and does not give
/// the image, or that this machine cannot hold it.
const REFUSALS: [&str; 14] = [
    "manifest unknown",
    "name unknown",
    "repository name not known",
    "repository does not exist",
    "not found",
    "access denied",
    "access to the resource is denied",
    "authorization failed",
    "unauthorized",
    "authentication required",
    "incorrect username or password",
    "no basic auth credentials",
    "no matching manifest",
    "no space left on device",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_says_no_is_told_from_one_that_is_away() {
        for (status, message, expected) in [
            (404, "manifest for r.test/a:9 not found: manifest unknown: manifest unknown", true),
            (
                404,
                "pull access denied for a, repository does not exist or may require 'docker login'",
                true,
            ),
            (500, "unauthorized: authentication required", true),
            (500, "Head \"https://r.test/v2/a/manifests/1\": no basic auth credentials", true),
            (500, "no matching manifest for linux/arm64/v8 in the manifest list entries", true),
            (500, "failed to register layer: write /x: no space left on device", true),
            (500, "failed to resolve reference \"r.test/a:1\": r.test/a:1: not found", true),
            (
                500,
                "Get \"https://r.test/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
                false,
            ),
            (500, "Get \"https://r.test/v2/\": dial tcp: lookup r.test: no such host", false),
            (
                500,
                "Get \"https://r.test/v2/\": net/http: request canceled (Client.Timeout exceeded)",
                false,
            ),
            (500, "received unexpected HTTP status: 503 Service Unavailable", false),
            (500, "toomanyrequests: You have reached your pull rate limit", false),
            (500, "unexpected EOF", false),
        ] {
            assert_eq!(is_refusal(status, message), expected, "{message}");
            let image: ImageReference = "r.test/a:1".parse().unwrap();
            let error = refusal(&image, RuntimeError::Engine { status, message: message.into() });
            assert_eq!(matches!(error, RuntimeError::ImageUnavailable { .. }), expected);
        }
    }
}
