//! The sensor at work: one loop that sends, listens and obeys.
//!
//! The walk makes one step per interval and waits for the acknowledgement of its message before
//! the next interval begins, as the original does; twin changes, methods and control messages are
//! taken meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use client::device::{
    ClientEvent, DeviceClient, DeviceTwin, Events, MethodCall, SendError, SendHandle, TwinError,
};
use client::dial::chain;
use host::clock::{Clock, Mono};
use host::signals::Shutdown;
use model::message::Message;
use model::twin::Object;

use crate::body::{body, message};
use crate::console::{Level, Log};
use crate::control;
use crate::settings::Settings;
use crate::twin::Control;
use crate::walk::Walk;

/// A sending that waits for its acknowledgement.
type Sending = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;
/// A twin request that waits for its answer.
type Asking = Pin<Box<dyn Future<Output = TwinOutcome> + Send>>;

enum TwinOutcome {
    Read(Result<DeviceTwin, TwinError>),
    Reported(Result<Option<u64>, TwinError>),
}

pub(crate) struct Sensor {
    settings: Settings,
    client: DeviceClient,
    clock: Clock,
    walk: Walk,
    batch_id: String,
    control: Control,
    desired_version: u64,
    /// Messages acknowledged, and thereby the last sequence number.
    sent: u64,
    done: bool,
    /// When the next step is due; none while a message is on its way or the twin is unread.
    next_step_after: Option<Mono>,
    sending: Option<Sending>,
    asking: Option<Asking>,
    must_read: bool,
    must_report: bool,
    retry_after: Option<Mono>,
}

impl Sensor {
    pub(crate) fn new(settings: Settings, client: DeviceClient, clock: Clock) -> Self {
        let seed = settings.seed.unwrap_or_else(|| u64::from_le_bytes(host::entropy::bytes()));
        Self {
            walk: Walk::new(settings.ranges, seed),
            batch_id: host::entropy::uuid_v4().to_string(),
            control: Control::new(settings.message_delay),
            settings,
            client,
            clock,
            desired_version: 0,
            sent: 0,
            done: false,
            next_step_after: None,
            sending: None,
            asking: None,
            must_read: true,
            must_report: false,
            retry_after: None,
        }
    }

    /// Works until shutdown.
    pub(crate) async fn serve(
        &mut self,
        mut events: Events,
        log: &mut Log<'_>,
        shutdown: &Shutdown,
    ) {
        loop {
            self.ask();
            let (clock, next_step, retry_after) =
                (self.clock.clone(), self.next_step(), self.retry_after);
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                Some(event) = events.next() => self.handle(event, log),
                outcome = wait(&mut self.asking) => self.answered(outcome, log),
                sent = wait(&mut self.sending) => self.acknowledged(sent, log),
                () = sleep(&clock, next_step) => self.step(log),
                () = sleep(&clock, retry_after) => self.retry_after = None,
            }
        }
        if !self.done {
            log.write(
                Level::Info,
                format_args!("SendEvents has been canceled, sent {} messages.", self.sent),
            );
        }
    }

    /// Starts the twin request that is due. Only one is under way, so reports stay in order.
    fn ask(&mut self) {
        if self.asking.is_some() || self.retry_after.is_some() {
            return;
        }
        let client = self.client.clone();
        if std::mem::take(&mut self.must_read) {
            self.asking = Some(Box::pin(async move { TwinOutcome::Read(client.twin_get().await) }));
        } else if std::mem::take(&mut self.must_report) {
            let patch = self.control.reported();
            self.asking =
                Some(Box::pin(async move { TwinOutcome::Reported(client.report(&patch).await) }));
        }
    }

    fn answered(&mut self, outcome: TwinOutcome, log: &mut Log<'_>) {
        self.asking = None;
        match outcome {
            TwinOutcome::Read(Ok(twin)) => {
                if self.desired_version != twin.desired_version {
                    self.desired_version = twin.desired_version;
                    self.obey(log, |control| control.replace(&twin.desired));
                }
                // The first step follows the twin, which may say that there is none.
                if self.next_step_after.is_none() && self.sending.is_none() && !self.done {
                    self.begin(log);
                }
            }
            TwinOutcome::Read(Err(error)) => {
                self.must_read = true;
                self.retry_twin(&error, log);
            }
            TwinOutcome::Reported(Ok(version)) => {
                log.write(
                    Level::Debug,
                    format_args!(
                        "Reported properties have version {}.",
                        version.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
                    ),
                );
            }
            TwinOutcome::Reported(Err(error)) => {
                // A refusal would come again; the next change reports anew.
                self.must_report |= !matches!(error, TwinError::Refused { status: 400..=499, .. });
                self.retry_twin(&error, log);
            }
        }
    }

    fn retry_twin(&mut self, error: &TwinError, log: &mut Log<'_>) {
        log.write(Level::Warning, format_args!("Twin request failed: {}", chain(error)));
        self.retry_after = Some(self.clock.now() + TWIN_RETRY);
    }

    fn handle(&mut self, event: ClientEvent, log: &mut Log<'_>) {
        match event {
            // Changes of the time without a connection are only in the twin.
            ClientEvent::Connected { .. } => {
                self.must_read = true;
                self.retry_after = None;
            }
            ClientEvent::Disconnected { reason, permanent } => {
                let level = if permanent { Level::Error } else { Level::Warning };
                log.write(level, format_args!("Connection lost, trying again: {reason}"));
            }
            ClientEvent::Desired { patch, version } => self.desired(&patch, version, log),
            ClientEvent::Method(call) => self.method(call, log),
            ClientEvent::Input { input, delivery } => {
                let (message, settle) = delivery.split();
                self.input(&input, &message, log);
                settle.complete();
            }
            // Modules get no cloud-to-device messages.
            _ => {}
        }
    }

    fn desired(&mut self, patch: &Object, version: u64, log: &mut Log<'_>) {
        match version {
            seen if seen <= self.desired_version => {}
            next if next == self.desired_version + 1 => {
                self.desired_version = next;
                self.obey(log, |control| control.patch(patch));
            }
            // One is missing: only the whole twin tells.
            _ => self.must_read = true,
        }
    }

    /// Changes what is in force and reports it.
    fn obey(&mut self, log: &mut Log<'_>, change: impl FnOnce(&mut Control)) {
        let was_sending = self.control.send_data;
        change(&mut self.control);
        if was_sending && !self.control.send_data {
            log.write(
                Level::Info,
                "Sending data disabled. Change twin configuration to start sending again.",
            );
        }
        for error in self.control.error_texts() {
            log.write(Level::Error, format_args!("Desired property ignored: {error}"));
        }
        self.must_report = true;
    }

    fn method(&mut self, call: MethodCall, log: &mut Log<'_>) {
        if call.name != METHOD_RESET {
            log.write(Level::Warning, format_args!("Unknown direct method {:?}.", call.name));
            call.not_implemented();
            return;
        }
        log.write(Level::Info, "Received direct method call to reset temperature sensor...");
        self.walk.reset();
        call.reply(STATUS_OK, Bytes::new());
    }

    fn input(&mut self, input: &str, message: &Message, log: &mut Log<'_>) {
        if input != control::INPUT {
            log.write(Level::Warning, format_args!("Message on unknown input {input:?} ignored."));
            return;
        }
        let text: String =
            String::from_utf8_lossy(&message.body).chars().take(SHOWN_LENGTH_MAX).collect();
        log.write(Level::Info, format_args!("Received message Body: [{text}]"));
        match control::parse(&message.body) {
            Ok(commands) => {
                for _ in commands.iter().filter(|command| **command == control::Command::Reset) {
                    log.write(Level::Info, "Resetting temperature sensor..");
                    self.walk.reset();
                }
            }
            Err(error) => {
                log.write(Level::Error, format_args!("Failed to read control command: {error}"));
            }
        }
    }
}

/// Sending.
impl Sensor {
    /// The first step, at once.
    fn begin(&mut self, log: &mut Log<'_>) {
        self.next_step_after = Some(self.clock.now());
        self.finish_if_done(log);
        if !self.done {
            self.step(log);
        }
    }

    /// When the next step is due: a changed interval counts at once.
    fn next_step(&self) -> Option<Mono> {
        let due = |since: Mono| since + self.control.send_interval.max(INTERVAL_MIN);
        self.next_step_after.filter(|_| self.sending.is_none() && !self.done).map(due)
    }

    fn step(&mut self, log: &mut Log<'_>) {
        self.walk.step();
        self.next_step_after = Some(self.clock.now());
        if !self.control.send_data {
            return;
        }
        let number = self.sent + 1;
        let body = body(&self.walk.read(), self.clock.wall());
        log.write(Level::Info, format_args!("Sending message: {number}, Body: [{body}]"));
        let message = message(&body, number, &self.batch_id);
        let client = self.client.clone();
        self.sending = Some(Box::pin(async move {
            let handle: SendHandle = client.send(message).await?;
            handle.await
        }));
    }

    fn acknowledged(&mut self, sent: Result<(), SendError>, log: &mut Log<'_>) {
        self.sending = None;
        self.next_step_after = Some(self.clock.now());
        match sent {
            Ok(()) => self.sent += 1,
            Err(error) => {
                log.write(Level::Error, format_args!("Message was not sent: {}", chain(&error)));
            }
        }
        self.finish_if_done(log);
    }

    fn finish_if_done(&mut self, log: &mut Log<'_>) {
        if !self.settings.message_count.allows_more_than(self.sent) {
            self.done = true;
            log.write(Level::Info, format_args!("Done sending {} messages", self.sent));
        }
    }
}

/// Waits for what is under way; for ever when nothing is.
async fn wait<T>(work: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Sleeps until then; for ever when there is no then.
async fn sleep(clock: &Clock, until: Option<Mono>) {
    match until {
        Some(until) => clock.sleep_until(until).await,
        None => std::future::pending().await,
    }
}

const METHOD_RESET: &str = "reset";
const STATUS_OK: i32 = 200;
/// An interval of 0 sends as fast as acknowledgements come; while sending is off it must not spin.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Pause after a failed twin request.
const TWIN_RETRY: Duration = Duration::from_secs(5);
/// What the log shows of a message: a line should stay one.
const SHOWN_LENGTH_MAX: usize = 1000;
