//! The agent's line to the hub: brings desired properties and method calls, takes reports
//! (er §4.2, 4.7).
//!
//! The whole twin is read after every connect and once an hour; patches in between are merged only
//! when none is missing. Reports go out as differences to what the twin is known to hold, one at a
//! time, always the newest. Nothing is kept here that matters: what is wanted is `desired.rs`, what
//! is said is `report.rs`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use client::device::{ClientEvent, DeviceClient, DeviceTwin, Events, MethodCall, TwinError};
use host::clock::{Clock, Mono};
use host::signals::Shutdown;
use model::twin::Object;
use tokio::sync::{mpsc, watch};

use crate::desired::{Desired, Patched, merge};
use crate::error::chain;
use crate::metrics::Counters;
use crate::report::diff;
use crate::settings::Timing;

/// What the hub brought.
#[derive(Debug)]
pub(crate) enum News {
    /// The desired properties as they are now.
    Desired(Desired),
    /// A direct method.
    Method(MethodCall),
    /// Whether the hub is reached.
    Connected(bool),
}

/// The line's end.
pub(crate) struct Line {
    client: DeviceClient,
    events: Events,
    news: mpsc::Sender<News>,
    report: watch::Receiver<Object>,
    clock: Clock,
    timing: Timing,
    /// The desired properties as far as they are known.
    desired: Option<Desired>,
    /// The reported properties that the twin holds, when they are known for sure.
    reported: Option<Object>,
    /// A report that the hub refused; it is not sent again.
    refused: Option<Object>,
    is_connected: bool,
    /// When the whole twin is to be read.
    read_at: Mono,
    read_failures: u32,
    counters: Option<Counters>,
    reading: Option<Reading>,
    sending: Option<Sending>,
}

type Reading = Pin<Box<dyn Future<Output = Result<DeviceTwin, TwinError>> + Send>>;
type Sending = Pin<Box<dyn Future<Output = (Object, Result<Option<u64>, TwinError>)> + Send>>;

impl Line {
    pub(crate) fn new(
        (client, events): (DeviceClient, Events),
        news: mpsc::Sender<News>,
        report: watch::Receiver<Object>,
        clock: Clock,
        timing: Timing,
    ) -> Self {
        let read_at = clock.now();
        Self {
            client,
            events,
            news,
            report,
            clock,
            timing,
            desired: None,
            reported: None,
            refused: None,
            is_connected: false,
            read_at,
            read_failures: 0,
            counters: None,
            reading: None,
            sending: None,
        }
    }

    /// Counts what it does.
    pub(crate) fn counting(self, counters: Counters) -> Self {
        Self { counters: Some(counters), ..self }
    }

    /// Serves until `shutdown`; then sends the last report, if that is quick, and says goodbye.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            self.begin();
            tokio::select! {
                event = self.events.next() => match event {
                    Some(event) => self.event(event).await,
                    None => return,
                },
                twin = under_way(&mut self.reading) => self.twin_read(twin).await,
                (patch, result) = under_way(&mut self.sending) => self.report_sent(patch, result),
                // Fails when the agent has ended; then shutdown follows.
                _ = self.report.changed() => {}
                () = self.clock.sleep_until(self.read_at), if self.may_read() => {}
                () = shutdown.wait() => {}
            }
        }
        let (clock, limit) = (self.clock.clone(), self.timing.farewell);
        if clock.timeout(limit, self.finish()).await.is_err() {
            tracing::warn!("the hub did not take the last report in time");
        }
        let _ = clock.timeout(limit, self.client.close()).await;
    }

    /// Begins what can be begun.
    fn begin(&mut self) {
        if self.may_read() && self.clock.now() >= self.read_at {
            let client = self.client.clone();
            self.reading = Some(Box::pin(async move { client.twin_get().await }));
        }
        if self.sending.is_none()
            && self.is_connected
            && let Some(patch) = self.next_patch()
        {
            let client = self.client.clone();
            self.sending = Some(Box::pin(async move {
                let result = client.report(&patch).await;
                (patch, result)
            }));
        }
    }

    fn may_read(&self) -> bool {
        self.is_connected && self.reading.is_none()
    }

    /// What the twin does not say yet. Until the twin was read, it is not known what it says.
    fn next_patch(&mut self) -> Option<Object> {
        let reported = self.reported.as_ref()?;
        let newest = self.report.borrow_and_update();
        if newest.is_empty() || self.refused.as_ref() == Some(&*newest) {
            return None;
        }
        let patch = diff(reported, &newest);
        if patch.is_empty() { None } else { Some(patch) }
    }

    async fn event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected { .. } => {
                tracing::info!("edge agent connected to the hub");
                self.is_connected = true;
                // Patches were missed, and nobody knows whether a report arrived.
                (self.reported, self.reading) = (None, None);
                (self.read_at, self.read_failures) = (self.clock.now(), 0);
                self.tell(News::Connected(true)).await;
            }
            ClientEvent::Disconnected { reason, permanent } => {
                if permanent {
                    tracing::error!(%reason, "hub refuses the edge agent; trying again");
                } else {
                    tracing::warn!(%reason, "edge agent lost the hub; trying again");
                }
                self.is_connected = false;
                self.tell(News::Connected(false)).await;
            }
            ClientEvent::Desired { patch, version } => self.patch(&patch, version).await,
            ClientEvent::Method(call) => self.tell(News::Method(call)).await,
            // Nobody sends messages to the agent; unsettled, they expire with the hub.
            _ => {}
        }
    }

    async fn patch(&mut self, patch: &Object, version: u64) {
        // A twin that is being read may be older or newer than the patch.
        let outcome = match (&mut self.desired, &self.reading) {
            (Some(desired), None) => desired.patch(patch, version),
            _ => Patched::Gap,
        };
        match (outcome, &self.desired) {
            (Patched::Merged, Some(desired)) => {
                let news = News::Desired(desired.clone());
                self.tell(news).await;
            }
            (Patched::Known, _) => {}
            (Patched::Gap | Patched::Merged, _) => {
                self.reading = None;
                self.read_at = self.clock.now();
            }
        }
    }

    async fn twin_read(&mut self, twin: Result<DeviceTwin, TwinError>) {
        let now = self.clock.now();
        if let Some(counters) = &self.counters {
            counters.synced(twin.is_ok());
        }
        match twin {
            Ok(twin) => {
                self.read_failures = 0;
                self.read_at = now + self.timing.refresh_every;
                if self.sending.is_none() {
                    self.reported = Some(twin.reported);
                }
                let desired = Desired { version: twin.desired_version, properties: twin.desired };
                if self.desired.as_ref() != Some(&desired) {
                    self.desired = Some(desired.clone());
                    self.tell(News::Desired(desired)).await;
                }
            }
            Err(error) => {
                let wait = READ_RETRY_FIRST.saturating_mul(1 << self.read_failures.min(8));
                self.read_failures = self.read_failures.saturating_add(1);
                self.read_at = now + wait.min(READ_RETRY_LONGEST);
                tracing::warn!(error = chain(&error), "cannot read the edge agent's twin");
            }
        }
    }

    fn report_sent(&mut self, patch: Object, result: Result<Option<u64>, TwinError>) {
        match (result, &mut self.reported) {
            (Ok(_), Some(reported)) => merge(reported, &patch),
            // The line was new in between: read what the twin holds now.
            (Ok(_), None) => self.read_at = self.clock.now(),
            (Err(error @ TwinError::Refused { .. }), _) => {
                // The same again would be refused again; the next change may pass.
                tracing::error!(error = chain(&error), "hub refuses the edge agent's report");
                self.refused = Some(self.report.borrow().clone());
            }
            (Err(error), _) => {
                tracing::warn!(error = chain(&error), "edge agent's report may be lost");
                self.reported = None;
                self.read_at = self.clock.now() + READ_RETRY_FIRST;
            }
        }
    }

    async fn tell(&mut self, news: News) {
        // Fails when the agent has ended; then nobody wants news.
        let _ = self.news.send(news).await;
    }

    /// Sends what is left to be said.
    async fn finish(&mut self) {
        loop {
            if self.sending.is_none() && (!self.is_connected || self.next_patch().is_none()) {
                return;
            }
            self.begin();
            tokio::select! {
                event = self.events.next() => match event {
                    None | Some(ClientEvent::Disconnected { .. }) => return,
                    // Whoever calls a method now hears that nobody answers it.
                    Some(_) => {}
                },
                (patch, result) = under_way(&mut self.sending) => {
                    let failed = result.is_err();
                    self.report_sent(patch, result);
                    if failed {
                        return;
                    }
                }
            }
        }
    }
}

/// Waits for what is under way and takes it out; for ever when there is nothing.
async fn under_way<T>(slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match slot {
        Some(future) => {
            let output = future.await;
            *slot = None;
            output
        }
        None => std::future::pending().await,
    }
}

/// Waits between attempts to read the twin (er §4.2).
const READ_RETRY_FIRST: Duration = Duration::from_secs(2);
const READ_RETRY_LONGEST: Duration = Duration::from_secs(60);
