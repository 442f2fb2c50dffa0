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
use crate::{ImageReference, RegistryAuth, RuntimeError};

impl DockerRuntime {
    /// Pulls an image, or makes sure that the built-in one is there.
    pub(super) async fn pull_image(
        &self,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> Result<(), RuntimeError> {
        let Some(builtin) = self.builtin(image) else {
            return pull(&self.engine, image, auth, &self.clock).await;
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
) -> Result<(), RuntimeError> {
    // One field holds tag or digest; a digest is the stronger of both.
    let version = image.digest().or(image.tag()).unwrap_or_default();
    let options =
        CreateImageOptionsBuilder::new().from_image(image.repository()).tag(version).build();
    let docker = match auth {
        Some(auth) => engine.with_header("X-Registry-Auth", auth_header(auth)?),
        None => engine.docker().clone(),
    };
    let mut progress = Box::pin(docker.create_image(Some(options), None, None));
    loop {
        let Ok(step) = clock.timeout(PULL_SILENCE_MAX, progress.next()).await else {
            return Err(RuntimeError::ImageUnavailable {
                image: image.to_string(),
                what: format!("the pull made no progress for {} s", PULL_SILENCE_MAX.as_secs()),
            });
        };
        match step {
            None => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(source)) => return Err(engine.error(source)),
        }
    }
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
