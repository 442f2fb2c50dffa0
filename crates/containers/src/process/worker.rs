//! The loop of one module: owns its process, takes commands, records runs.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use host::clock::{Clock, Mono};
use host::process::{Child, Exit, Program};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::files::{Places, Run, StoredModule};
use super::leftovers::MARK;
use super::log::Log;
use super::output;
use crate::{
    Catalogue, LogSource, ModuleEvent, ModuleEventKind, ModuleName, Resolved, RuntimeError,
};

/// What all workers of a runtime share.
pub(super) struct Shared {
    pub(super) places: Places,
    pub(super) catalogue: Catalogue,
    pub(super) user: Option<(u32, u32)>,
    pub(super) clock: Clock,
    pub(super) events: broadcast::Sender<ModuleEvent>,
    /// Held by the workers too: another runtime begins when all have ended.
    pub(super) _lock: host::fs::FileLock,
}

/// What a module can be told. The reply comes when it is done.
pub(super) enum Command {
    Start { reply: Reply },
    Stop { grace: Duration, reply: Reply },
    Contains { pid: i32, reply: oneshot::Sender<bool> },
}

pub(super) type Reply = oneshot::Sender<Result<(), RuntimeError>>;

/// The loop's own.
pub(super) struct Worker {
    pub(super) name: ModuleName,
    pub(super) stored: Arc<StoredModule>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Arc<Log>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) run: watch::Sender<Run>,
}

/// A process with what copies its output.
struct Running {
    child: Child,
    outputs: JoinSet<()>,
    stopping: Option<Stopping>,
}

/// A process that was asked to end.
struct Stopping {
    kill_at: Mono,
    replies: Vec<Reply>,
    /// Who wants it started again afterwards.
    then_start: Vec<Reply>,
}

enum Happened {
    Command(Option<Command>),
    Ended(std::io::Result<Exit>),
    GraceOver,
}

impl Worker {
    /// Runs until nobody can send commands any more; then the process is killed.
    pub(super) async fn work(mut self) {
        let mut running: Option<Running> = None;
        loop {
            match self.next(running.as_mut()).await {
                Happened::Command(None) => {
                    if let Some(mut running) = running.take() {
                        running.child.kill();
                        let exit = running.child.wait().await;
                        self.ended(running, exit).await;
                    }
                    return;
                }
                Happened::Command(Some(command)) => self.obey(command, &mut running).await,
                Happened::Ended(exit) => {
                    let Some(ended) = running.take() else { continue };
                    for reply in self.ended(ended, exit).await {
                        self.obey(Command::Start { reply }, &mut running).await;
                    }
                }
                Happened::GraceOver => {
                    if let Some(running) = &mut running {
                        tracing::warn!(module = %self.name, "module did not stop in time and is killed");
                        running.child.kill();
                        running
                            .stopping
                            .iter_mut()
                            .for_each(|stopping| stopping.kill_at = far(&self.shared.clock));
                    }
                }
            }
        }
    }

    async fn next(&mut self, running: Option<&mut Running>) -> Happened {
        let kill_at = running
            .as_ref()
            .and_then(|running| running.stopping.as_ref())
            .map(|stopping| stopping.kill_at);
        let clock = &self.shared.clock;
        let ended = async {
            match running {
                Some(running) => running.child.wait().await,
                None => pending().await,
            }
        };
        let grace_over = async {
            match kill_at {
                Some(kill_at) => clock.sleep_until(kill_at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            // An end counts before a command, so that a start after it starts.
            biased;
            exit = ended => Happened::Ended(exit),
            command = self.commands.recv() => Happened::Command(command),
            () = grace_over => Happened::GraceOver,
        }
    }

    async fn obey(&mut self, command: Command, running: &mut Option<Running>) {
        match (command, running.as_mut()) {
            (Command::Contains { pid, reply }, running) => {
                let contains =
                    running.is_some_and(|running| running.child.is_self_or_descendant(pid));
                // Whoever does not wait for the answer does not need it.
                let _ = reply.send(contains);
            }
            (Command::Start { reply }, None) => {
                let started = self.start().await;
                let result = started.map(|started| *running = Some(started));
                let _ = reply.send(result);
            }
            (Command::Start { reply }, Some(running)) => match &mut running.stopping {
                Some(stopping) => stopping.then_start.push(reply),
                None => drop(reply.send(Ok(()))),
            },
            (Command::Stop { reply, .. }, None) => drop(reply.send(Ok(()))),
            (Command::Stop { grace, reply }, Some(running)) => self.stop(running, grace, reply),
        }
    }

    fn stop(&self, running: &mut Running, grace: Duration, reply: Reply) {
        let kill_at = self.shared.clock.now() + grace;
        match &mut running.stopping {
            // Asked again: the earlier time counts.
            Some(stopping) => {
                stopping.kill_at = stopping.kill_at.min(kill_at);
                stopping.replies.push(reply);
            }
            None => {
                if let Err(error) = running.child.terminate() {
                    tracing::warn!(module = %self.name, %error, "cannot ask the module to stop");
                }
                running.stopping =
                    Some(Stopping { kill_at, replies: vec![reply], then_start: Vec::new() });
            }
        }
    }

    async fn start(&mut self) -> Result<Running, RuntimeError> {
        let started = self.spawn().await;
        let run = match &started {
            Ok(running) => Run {
                pid: u32::try_from(running.child.pid()).ok(),
                started_at: Some(self.shared.clock.wall()),
                ..Run::default()
            },
            Err(error) => Run {
                // As shells say it for a program that cannot be run.
                exit_code: Some(EXIT_NOT_STARTED),
                finished_at: Some(self.shared.clock.wall()),
                failure: Some(chain(error)),
                ..Run::default()
            },
        };
        self.record(run);
        if started.is_ok() {
            self.tell(ModuleEventKind::Started);
        }
        started
    }

    async fn spawn(&self) -> Result<Running, RuntimeError> {
        let shared = &self.shared;
        let image = self.stored.image()?;
        let Resolved::Builtin(builtin) = shared.catalogue.resolve(&image) else {
            return Err(not_in_catalogue(&image.to_string()));
        };
        let data = shared.places.create_data(&self.name, shared.user)?;
        let directory = data.display().to_string();
        let mut env: BTreeMap<String, String> =
            [("HOME".to_owned(), directory.clone()), ("PATH".to_owned(), PATH.to_owned())].into();
        env.extend(self.stored.env.clone());
        env.insert(MARK.to_owned(), directory);
        let program = Program {
            args: self.stored.cmd.clone().unwrap_or_else(|| builtin.args.clone()),
            env: env.into_iter().collect(),
            cwd: Some(data),
            user: shared.user,
            ..Program::new(&builtin.program)
        };
        let mut child = program.spawn().await.map_err(|error| RuntimeError::System {
            what: error.to_string(),
            source: error.source,
        })?;
        let mut outputs = JoinSet::new();
        self.log.set_open(true);
        if let Some(stdout) = child.take_stdout() {
            outputs.spawn(output::record(
                stdout,
                LogSource::Stdout,
                self.log.clone(),
                shared.clock.clone(),
            ));
        }
        if let Some(stderr) = child.take_stderr() {
            outputs.spawn(output::record(
                stderr,
                LogSource::Stderr,
                self.log.clone(),
                shared.clock.clone(),
            ));
        }
        Ok(Running { child, outputs, stopping: None })
    }

    /// Records the end and answers those who wait for it; gives those who want
    /// it started again.
    async fn ended(&mut self, mut running: Running, exit: std::io::Result<Exit>) -> Vec<Reply> {
        // Its group is dead, but a process that left the group may hold the pipe.
        let drained = async { while running.outputs.join_next().await.is_some() {} };
        if self.shared.clock.timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            running.outputs.abort_all();
        }
        self.log.set_open(false);
        let (code, failure) = match exit {
            Ok(exit) => (i64::from(exit.code()), None),
            Err(error) => (EXIT_UNKNOWN, Some(format!("its end could not be observed: {error}"))),
        };
        let started_at = self.run.borrow().started_at;
        let finished_at = Some(self.shared.clock.wall());
        self.record(Run { pid: None, exit_code: Some(code), started_at, finished_at, failure });
        self.tell(ModuleEventKind::Ended);
        let Some(stopping) = running.stopping else {
            return Vec::new();
        };
        for reply in stopping.replies {
            let _ = reply.send(Ok(()));
        }
        stopping.then_start
    }

    fn record(&self, run: Run) {
        if let Err(error) = self.shared.places.write_run(&self.name, &run) {
            // Known until the daemon ends; then the module counts as killed.
            tracing::error!(module = %self.name, error = chain(&error), "cannot record a module's run");
        }
        self.run.send_replace(run);
    }

    fn tell(&self, kind: ModuleEventKind) {
        // Nobody has to listen.
        let _ = self.shared.events.send(ModuleEvent { name: self.name.clone(), kind });
    }
}

/// The error for an image that no program is known for.
pub(super) fn not_in_catalogue(image: &str) -> RuntimeError {
    RuntimeError::ImageUnavailable {
        image: image.to_owned(),
        what: "is not in the local catalogue, so it cannot run as a process: \
               install a container engine (Docker or podman), or name a program for it in the catalogue"
            .to_owned(),
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Later than anything that is waited for.
fn far(clock: &Clock) -> Mono {
    clock.now() + Duration::from_secs(365 * 24 * 60 * 60)
}

const EXIT_NOT_STARTED: i64 = 127;
const EXIT_UNKNOWN: i64 = 255;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
