//! Pulls that go on beside everything else: one per image, whoever asks for it.
//!
//! An agent that wants something else gives a pull up, and often wants the same image again a moment
//! later, with other settings. An engine throws away what an interrupted pull has brought. So a pull
//! that nobody waits for goes on for a while, and whoever asks for the same image joins it.

use std::sync::Arc;
use std::time::Duration;

use containers::{ImageReference, RegistryAuth, SharedRuntime};
use host::clock::Clock;
use host::http::StatusCode;
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
    end: watch::Sender<Option<Result<(), Arc<Refusal>>>>,
}

impl Pulls {
    pub(crate) fn new(runtime: SharedRuntime, images: Arc<Images>, clock: Clock) -> Self {
        Self { runtime, images, clock, running: Arc::default() }
    }

    /// Waits until the image is here. May be dropped.
    pub(crate) async fn pull(
        &self,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> Result<(), Arc<Refusal>> {
        let mut end = self.join(image, auth);
        let outcome = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        // A pull that ends without a word was given up, and nobody waited for it then.
        outcome.unwrap_or_else(|| {
            let message = "pull ended early; try again";
            Err(Arc::new(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)))
        })
    }

    /// Joins the pull of this image with these credentials, or begins it.
    fn join(
        &self,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> watch::Receiver<Option<Result<(), Arc<Refusal>>>> {
        let mut running = self.running.lock();
        let same = |pull: &&Pull| pull.image == *image && pull.auth.as_ref() == auth;
        if let Some(pull) = running.iter().find(same) {
            return pull.end.subscribe();
        }
        let (end, receiver) = watch::channel(None);
        let (image, auth) = (image.clone(), auth.cloned());
        running.push(Pull { image: image.clone(), auth: auth.clone(), end: end.clone() });
        drop(running);
        tokio::spawn(self.clone().run(image, auth, end));
        receiver
    }

    async fn run(
        self,
        image: ImageReference,
        auth: Option<RegistryAuth>,
        end: watch::Sender<Option<Result<(), Arc<Refusal>>>>,
    ) {
        let outcome = tokio::select! {
            outcome = self.runtime.pull(&image, auth.as_ref()) => {
                Some(outcome.map_err(|error| Arc::new(Refusal::from(error))))
            }
            () = self.abandoned(&end) => {
                tracing::info!(%image, "nobody wants this image any more: its pull is given up");
                None
            }
        };
        if matches!(outcome, Some(Ok(()))) {
            self.images.used(&image).await;
        }
        // Taken out before it is told, so that whoever asks from now on begins anew.
        self.running.lock().retain(|pull| !pull.end.same_channel(&end));
        if outcome.is_some() {
            end.send_replace(outcome);
        }
    }

    /// Returns when nobody has waited for a while.
    async fn abandoned(&self, end: &watch::Sender<Option<Result<(), Arc<Refusal>>>>) {
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
