//! The images that the engine has, and removing one.
//!
//! Nothing is ever forced: the engine itself refuses to remove what a container is made of, what
//! other images are made of and what has several names.

use std::collections::BTreeSet;

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};

use super::DockerRuntime;
use crate::{ImageReference, ImageRemoval, LocalImage, RuntimeError};

impl DockerRuntime {
    pub(super) async fn all_images(&self) -> Result<Vec<LocalImage>, RuntimeError> {
        let images = ListImagesOptionsBuilder::new().all(false).build();
        let images = self.engine.docker().list_images(Some(images)).await;
        let images = images.map_err(|source| self.engine.error(source))?;
        // After the images: one that was put to use in between counts as used.
        let containers = self.engine.all_containers().await?;
        let used: BTreeSet<String> = containers
            .into_iter()
            .filter_map(|container| container.image_id)
            .map(|id| full(&id))
            .collect();
        let mut builtin = BTreeSet::new();
        for reference in self.catalogue.images() {
            if let Some(found) = self.inspect_image(&reference.to_string()).await? {
                builtin.extend(found.id.as_deref().map(full));
            }
        }
        let images = images.into_iter().map(|image| {
            let id = full(&image.id);
            LocalImage {
                is_used: used.contains(&id),
                is_builtin: builtin.contains(&id),
                names: image.repo_tags.into_iter().filter(|name| name != UNTAGGED).collect(),
                size_bytes: u64::try_from(image.size).unwrap_or_default(),
                id,
            }
        });
        Ok(images.collect())
    }

    pub(super) async fn id_of_image(
        &self,
        image: &ImageReference,
    ) -> Result<Option<String>, RuntimeError> {
        let image = self.builtin(image).map_or(image, |builtin| &builtin.image);
        Ok(self
            .inspect_image(&image.to_string())
            .await?
            .and_then(|found| found.id)
            .as_deref()
            .map(full))
    }

    pub(super) async fn remove_one_image(&self, id: &str) -> Result<ImageRemoval, RuntimeError> {
        let options = RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
        let docker = self.engine.docker();
        match docker.remove_image(id, Some(options), None).await {
            Ok(_) => Ok(ImageRemoval::Removed),
            Err(source) => match self.engine.error(source) {
                // Somebody else was faster.
                RuntimeError::Engine { status: 404, .. } => Ok(ImageRemoval::Removed),
                RuntimeError::Engine { status: 409, message } => {
                    Ok(ImageRemoval::InUse { message })
                }
                error => Err(error),
            },
        }
    }
}

/// The id with its algorithm, which some engines leave out in some answers.
fn full(id: &str) -> String {
    if id.contains(':') { id.to_owned() } else { format!("sha256:{id}") }
}

/// How engines show that an image has no name.
const UNTAGGED: &str = "<none>:<none>";
