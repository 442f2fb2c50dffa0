//! Image garbage collection: images that this runtime brought and that nothing needs any more.
//!
//! What was pulled or used is recorded ([`uses`]), what may go is decided by a pure function
//! ([`plan`]), when by [`schedule`]; here it is observed and carried out. At the times of
//! `[image_garbage_collection]` what has been unused for long goes; between them, while the disk is
//! nearly full, whatever has been unused for an hour goes until there is room again. Images that
//! the record doesn't know are somebody else's. Specification: `edge-runtime.md` §1.7.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;
mod uses;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containers::{ImageReference, ImageRemoval, LocalImage, RuntimeError, SharedRuntime};
use host::clock::Clock;
use host::fs::{self, FsError, Space};
use host::signals::Shutdown;
use tokio::sync::watch;

use crate::config::GarbageCollection;
use crate::modules::image_reference;
use plan::{Facts, is_pressed, is_relieved, plan};
use schedule::Schedule;
use uses::Uses;

/// What collecting depends on.
pub(crate) struct Settings {
    pub(crate) collection: GarbageCollection,
    /// The record of uses.
    pub(crate) file: PathBuf,
    /// Stands for `$upstream` in an image's name.
    pub(crate) upstream: String,
    /// Images of the deployment in force and of the last good one; none until they are known.
    pub(crate) deployed: watch::Receiver<Option<BTreeSet<String>>>,
}

/// The images.
pub(crate) struct Images {
    settings: Settings,
    runtime: SharedRuntime,
    clock: Clock,
    uses: Arc<Uses>,
}

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// It is time.
    Due,
    /// The disk is nearly full.
    Pressure,
    /// Only to see what is in use.
    Watch,
}

impl Images {
    /// Reads the record.
    pub(crate) fn open(
        settings: Settings,
        runtime: SharedRuntime,
        clock: Clock,
    ) -> Result<Self, FsError> {
        let uses = Arc::new(Uses::open(&settings.file)?);
        Ok(Self { settings, runtime, clock, uses })
    }

    /// Records that an image was pulled, or that a module was made of it. A use that cannot be
    /// recorded is logged: the image stays longer then.
    pub(crate) async fn used(&self, image: &ImageReference) {
        match self.runtime.image_id(image).await {
            Ok(Some(id)) => self.record_name(id, image.to_string()).await,
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%image, error, "cannot record the use of an image");
            }
        }
    }

    /// Collects until `stop`.
    pub(crate) async fn keep(self: Arc<Self>, stop: Shutdown) {
        let mut schedule =
            Schedule::new(self.settings.collection, schedule::local_zone(), self.clock.wall());
        let work = async {
            loop {
                if let Err(error) = self.look(&mut schedule).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "cannot look after the images; trying again");
                }
                self.clock.sleep(LOOK_EVERY).await;
            }
        };
        // Whatever is dropped in the middle is done at the next look.
        tokio::select! {
            () = work => {}
            () = stop.wait() => {}
        }
    }

    async fn look(&self, schedule: &mut Schedule) -> Result<(), RuntimeError> {
        if !self.clock.wall_is_trusted() {
            return Ok(());
        }
        let now = self.clock.wall();
        let data_root = self.runtime.info().await?.data_root;
        let space = || space(data_root.as_deref());
        let occasion = match schedule.is_due(now) {
            _ if space().is_some_and(is_pressed) => Occasion::Pressure,
            true => Occasion::Due,
            false => Occasion::Watch,
        };
        if self.collect(occasion, space).await? && schedule.is_due(now) {
            schedule.done(now);
        }
        Ok(())
    }

    /// One pass: observe, plan, execute. False when it was cut short by a new deployment.
    async fn collect(
        &self,
        occasion: Occasion,
        space: impl Fn() -> Option<Space>,
    ) -> Result<bool, RuntimeError> {
        let mut deployed = self.settings.deployed.clone();
        let names = deployed.borrow_and_update().clone();
        let is_known = names.is_some();
        let kept = self.ids(names.unwrap_or_default()).await?;
        let images = self.runtime.images().await?;
        let (uses, names) = (self.uses.all(), self.uses.names());
        let plan = plan(&Facts {
            images: &images,
            uses: &uses,
            names: &names,
            deployed: &kept,
            now: self.clock.wall(),
            age: match occasion {
                Occasion::Pressure => self.settings.collection.age.min(PRESSURE_AGE),
                Occasion::Due | Occasion::Watch => self.settings.collection.age,
            },
        });
        self.record(plan.used, plan.gone).await;
        if !is_known || occasion == Occasion::Watch {
            // What is due waits until the deployments are known.
            return Ok(is_known);
        }
        for image in plan.remove {
            // An image of the new deployment may be among them.
            if deployed.has_changed().unwrap_or_default() {
                return Ok(false);
            }
            self.remove(image, occasion).await?;
            if occasion == Occasion::Pressure && space().is_none_or(is_relieved) {
                break;
            }
        }
        Ok(true)
    }

    async fn remove(&self, image: &LocalImage, occasion: Occasion) -> Result<(), RuntimeError> {
        let (id, names, bytes) = (&image.id, image.names.join(" "), image.size_bytes);
        match self.let_go(image).await? {
            ImageRemoval::Removed => {
                let is_pressed = occasion == Occasion::Pressure;
                tracing::info!(id, names, bytes, is_pressed, "removed an unused image");
                self.record(Vec::new(), vec![id.clone()]).await;
            }
            ImageRemoval::InUse { message } => {
                tracing::debug!(id, names, message, "an unused image is needed by something else");
            }
        }
        Ok(())
    }

    /// An image of several names goes with the last of them, never by force.
    async fn let_go(&self, image: &LocalImage) -> Result<ImageRemoval, RuntimeError> {
        if image.names.len() < 2 {
            return self.runtime.remove_image(&image.id).await;
        }
        for name in &image.names {
            // A name that has meanwhile come to mean another image is that image's.
            let means = match name.parse() {
                Ok(reference) => self.runtime.image_id(&reference).await?,
                Err(_) => None,
            };
            if means.as_ref() != Some(&image.id) {
                continue;
            }
            if let kept @ ImageRemoval::InUse { .. } = self.runtime.remove_image(name).await? {
                return Ok(kept);
            }
        }
        Ok(ImageRemoval::Removed)
    }

    /// The ids of those images that are here.
    async fn ids(&self, names: BTreeSet<String>) -> Result<BTreeSet<String>, RuntimeError> {
        let mut ids = BTreeSet::new();
        for name in names {
            // The agent has parsed it; what cannot be read cannot be here.
            let Ok(image) = image_reference(&name, &self.settings.upstream) else { continue };
            ids.extend(self.runtime.image_id(&image).await?);
        }
        Ok(ids)
    }

    async fn record_name(&self, id: String, name: String) {
        let now = self.clock.wall();
        if !self.uses.is_news(&id, &name, now) {
            return;
        }
        let uses = Arc::clone(&self.uses);
        written(move || uses.record_name(&id, &name, now)).await;
    }

    async fn record(&self, used: Vec<String>, gone: Vec<String>) {
        if used.is_empty() && gone.is_empty() {
            return;
        }
        let (uses, now) = (Arc::clone(&self.uses), self.clock.wall());
        written(move || uses.record(&used, &gone, now)).await;
    }
}

/// Writes the record.
async fn written(write: impl FnOnce() -> Result<(), FsError> + Send + 'static) {
    // A task that did not end belongs to a runtime that is ending.
    if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "cannot record uses of images");
    }
}

/// The engine's disk, when it is one of this machine.
fn space(data_root: Option<&str>) -> Option<Space> {
    fs::space(Path::new(data_root?)).ok()
}

/// Often enough to make room before a disk that fills by logs or messages is full.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// How long an image must have been unused while the disk is nearly full: longer than from a pull
/// to the module that needs it.
const PRESSURE_AGE: Duration = Duration::from_secs(3600);
