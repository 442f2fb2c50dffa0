//! Pulls that go on beside everything else: one per image, whoever asks for it.
//!
//! An agent that wants something else gives a pull up, and often wants the same image again a moment
//! later, with other settings. An engine throws away what an interrupted pull has brought. So a pull
//! that nobody waits for goes on for a while, and whoever asks for the same image joins it.

use std::sync::Arc;
use std::time::Duration;

use containers::{ImageReference, ModuleName, PullProgress, RegistryAuth, SharedRuntime};
use host::clock::{Clock, Mono};
use host::http::StatusCode;
use iot_proto::management;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::http::Refusal;
use crate::images::Images;

/// The pulls under way.
#[derive(Clone)]
pub(crate) struct Pulls {
    runtime: SharedRuntime,
    images: Arc<Images>,
    clock: Clock,
    running: Arc<Mutex<Vec<Pull>>>,
}

struct Pull {
    image: ImageReference,
    auth: Option<RegistryAuth>,
    /// Who waits for it; once for each call.
    waiting: Vec<ModuleName>,
    progress: PullProgress,
    end: End,
}

type Outcome = Result<(), Arc<Refusal>>;
type End = watch::Sender<Option<Outcome>>;

/// A pull's entry among those under way; however the pull ends, it goes with this.
struct Entry {
    running: Arc<Mutex<Vec<Pull>>>,
    end: End,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().retain(|pull| !pull.end.same_channel(&self.end));
    }
}

impl Entry {
    fn change(&self, change: impl FnOnce(&mut Pull)) {
        let mut running = self.running.lock();
        if let Some(pull) = running.iter_mut().find(|pull| pull.end.same_channel(&self.end)) {
            change(pull);
        }
    }
}

/// Somebody who waits for a pull.
struct Waiting {
    module: ModuleName,
    running: Arc<Mutex<Vec<Pull>>>,
    end: watch::Receiver<Option<Outcome>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        let ours = |pull: &&mut Pull| pull.end.subscribe().same_channel(&self.end);
        if let Some(pull) = running.iter_mut().find(ours)
            && let Some(at) = pull.waiting.iter().position(|module| *module == self.module)
        {
            pull.waiting.swap_remove(at);
        }
    }
}

impl Pulls {
    pub(crate) fn new(runtime: SharedRuntime, images: Arc<Images>, clock: Clock) -> Self {
        Self { runtime, images, clock, running: Arc::default() }
    }

    /// Waits until the module's image is here. May be dropped.
    pub(crate) async fn pull(
        &self,
        module: &ModuleName,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> Outcome {
        let mut waiting = self.join(module, image, auth);
        let outcome = waiting.end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        // A pull that ends without a word was given up, and nobody waited for it then.
        outcome.unwrap_or_else(|| {
            let message = "pull ended early; try again";
            Err(Arc::new(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)))
        })
    }

    /// The pulls under way, and how far they are.
    pub(crate) fn list(&self) -> management::Pulls {
        let running = self.running.lock();
        let pulls = running.iter().map(|pull| {
            let mut modules: Vec<String> = pull.waiting.iter().map(ToString::to_string).collect();
            modules.sort();
            modules.dedup();
            management::Pull {
                image: pull.image.to_string(),
                modules,
                layers: pull.progress.layers,
                layers_done: pull.progress.layers_done,
                bytes: pull.progress.bytes,
                bytes_done: pull.progress.bytes_done,
            }
        });
        management::Pulls { pulls: pulls.collect() }
    }

    /// Joins the pull of this image with these credentials, or begins it.
    fn join(
        &self,
        module: &ModuleName,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> Waiting {
        let mut running = self.running.lock();
        let same = |pull: &&mut Pull| pull.image == *image && pull.auth.as_ref() == auth;
        let waiting =
            |end| Waiting { module: module.clone(), running: Arc::clone(&self.running), end };
        if let Some(pull) = running.iter_mut().find(same) {
            pull.waiting.push(module.clone());
            return waiting(pull.end.subscribe());
        }
        let (end, receiver) = watch::channel(None);
        let (image, auth) = (image.clone(), auth.cloned());
        running.push(Pull {
            image: image.clone(),
            auth: auth.clone(),
            waiting: vec![module.clone()],
            progress: PullProgress::default(),
            end: end.clone(),
        });
        drop(running);
        let entry = Entry { running: Arc::clone(&self.running), end };
        tokio::spawn(self.clone().run(image, auth, entry));
        waiting(receiver)
    }

    async fn run(self, image: ImageReference, auth: Option<RegistryAuth>, entry: Entry) {
        let told_at = Mutex::new(self.clock.now());
        let watcher = |progress| {
            entry.change(|pull| pull.progress = progress);
            self.tell(&image, progress, &told_at);
        };
        let outcome = tokio::select! {
            outcome = self.runtime.pull_watched(&image, auth.as_ref(), &watcher) => {
                Some(outcome.map_err(|error| Arc::new(Refusal::from(error))))
            }
            () = self.abandoned(&entry.end) => {
                tracing::info!(%image, "nobody wants this image any more: its pull is given up");
                None
            }
        };
        if matches!(outcome, Some(Ok(()))) {
            self.images.used(&image).await;
        }
        // Taken out before it is told, so that whoever asks from now on begins anew.
        let end = entry.end.clone();
        drop(entry);
        if outcome.is_some() {
            end.send_replace(outcome);
        }
    }

    /// Says how far it is, but not all the time.
    fn tell(&self, image: &ImageReference, progress: PullProgress, told_at: &Mutex<Mono>) {
        let mut told_at = told_at.lock();
        let now = self.clock.now();
        if now - *told_at < TELL_EVERY {
            return;
        }
        *told_at = now;
        let PullProgress { layers, layers_done, bytes, bytes_done } = progress;
        tracing::info!(%image, bytes_done, bytes, layers_done, layers, "pulling an image");
    }

    /// Returns when nobody has waited for a while.
    async fn abandoned(&self, end: &End) {
        loop {
            end.closed().await;
            self.clock.sleep(ABANDONED_AFTER).await;
            if end.is_closed() {
                return;
            }
        }
    }
}

/// Longer than an agent takes from one deployment to the next that corrects it.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// How often the log says how far a pull is; quick ones are not worth a line.
const TELL_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
