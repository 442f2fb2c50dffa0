//! The one writer of the database: a thread that takes what waits in a bounded queue, runs it in
//! one transaction, commits once and answers all.
//!
//! Each operation runs in a savepoint of its own, so that one that fails leaves no trace and does
//! not touch the others. When the disk refuses, the whole group is rolled back and everybody hears
//! it; the next group tries again. A commit that fails for another reason than a full disk may
//! still be found by a recovery: its outcome is unknown.
//!
//! A durable commit costs one sync (0.2 to 1 ms on an SSD, 10 ms on an SD card), an operation
//! 10 to 50 us: under load the groups grow until the thread, not the disk, is the bound.

mod group;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::outbox::Marks;
use crate::StoreError;
use crate::error::Result;

pub(super) use group::Group;

/// The handle to the thread. Dropping it ends the thread after what is queued.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Command>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `directory` is named when the disk refuses.
    pub(super) fn start(
        connection: Connection,
        marks: Arc<Marks>,
        directory: PathBuf,
    ) -> std::io::Result<Self> {
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(connection, commands, &marks, &directory.display().to_string()))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs an operation; resolves when it is durable, or has failed and left no trace. Waits
    /// while the queue is full.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_then(operation, |_| ()).await
    }

    /// The same; `then` runs on the writer's thread after the commit and before the answer, also
    /// when nobody waits for that any more. This is how memory follows the database in order.
    pub(super) async fn write_then<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        self.submit(Isolation::Savepoint, operation, then).await
    }

    /// For twin writes, which only change the group's twins and are refused before they do.
    pub(super) async fn write_twins<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(Isolation::None, operation, |_| ()).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        isolation: Isolation,
        operation: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = Job { isolation, operation: Some(operation), outcome: None, then, answer };
        let stopped = || StoreError::Unavailable("the store's writer has stopped; restart".into());
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Box::new(job)).await.map_err(|_| stopped())?;
        let lost = |_| StoreError::UnknownOutcome("the store's writer has stopped".into());
        answered.await.map_err(lost)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("store writer panicked");
        }
    }
}

/// Something to do for somebody who waits.
trait Command: Send {
    fn isolation(&self) -> Isolation;
    /// Does it, within the group's transaction.
    fn run(&mut self, group: &mut Group<'_>) -> Result<(), Failed>;
    /// Answers, after the commit or instead of it.
    fn finish(self: Box<Self>, group: &Result<(), GroupError>);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Savepoint,
    None,
}

/// An operation failed.
enum Failed {
    /// It alone.
    Alone,
    /// And nothing else can succeed now.
    Everything(GroupError),
}

/// Why a group was not committed.
#[derive(Debug, Clone)]
enum GroupError {
    /// Nothing was written.
    Unavailable(String),
    /// A recovery may find it.
    Unknown(String),
}

impl GroupError {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Unavailable(why),
            other => Self::Unavailable(other.to_string()),
        }
    }

    fn to_error(&self) -> StoreError {
        match self {
            Self::Unavailable(why) => StoreError::Unavailable(why.clone()),
            Self::Unknown(why) => StoreError::UnknownOutcome(why.clone()),
        }
    }
}

struct Job<T, Operation, Then> {
    isolation: Isolation,
    operation: Option<Operation>,
    outcome: Option<Result<T>>,
    then: Then,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, Operation, Then> Command for Job<T, Operation, Then>
where
    T: Send + 'static,
    Operation: FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    Then: FnOnce(&T) + Send + 'static,
{
    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn run(&mut self, group: &mut Group<'_>) -> Result<(), Failed> {
        let Some(operation) = self.operation.take() else {
            return Ok(());
        };
        match operation(group) {
            Ok(value) => {
                self.outcome = Some(Ok(value));
                Ok(())
            }
            Err(StoreError::Unavailable(why)) => {
                Err(Failed::Everything(GroupError::Unavailable(why)))
            }
            Err(error) => {
                self.outcome = Some(Err(error));
                Err(Failed::Alone)
            }
        }
    }

    fn finish(self: Box<Self>, group: &Result<(), GroupError>) {
        let Self { outcome, then, answer, .. } = *self;
        let outcome = match (group, outcome) {
            (_, Some(Err(error))) => Err(error),
            (Ok(()), Some(Ok(value))) => {
                then(&value);
                Ok(value)
            }
            (Err(error), _) => Err(error.to_error()),
            (Ok(()), None) => Err(StoreError::Unavailable("the operation did not run".into())),
        };
        // Whoever asked may have gone away.
        let _ = answer.send(outcome);
    }
}

/// The thread's life.
fn run(
    connection: Connection,
    mut commands: mpsc::Receiver<Box<dyn Command>>,
    marks: &Marks,
    directory: &str,
) {
    let mut waiting = Vec::with_capacity(GROUP_MAX);
    let mut refusing = false;
    while let Some(first) = commands.blocking_recv() {
        waiting.push(first);
        while waiting.len() < GROUP_MAX
            && let Ok(next) = commands.try_recv()
        {
            waiting.push(next);
        }
        let outcome = run_group(&connection, &mut waiting, marks).map_err(|error| match error {
            GroupError::Unavailable(why) => GroupError::Unavailable(format!("{directory}: {why}")),
            GroupError::Unknown(why) => GroupError::Unknown(format!("{directory}: {why}")),
        });
        // Told once, not for every group of a disk that stays full.
        match &outcome {
            Err(error) if !refusing => {
                tracing::error!(error = %error.to_error(), "store refuses writes");
            }
            Ok(()) if refusing => tracing::info!("store takes writes again"),
            _ => {}
        }
        refusing = outcome.is_err();
        for command in waiting.drain(..) {
            command.finish(&outcome);
        }
    }
}

fn run_group(
    connection: &Connection,
    commands: &mut [Box<dyn Command>],
    marks: &Marks,
) -> Result<(), GroupError> {
    execute(connection, "BEGIN IMMEDIATE").map_err(unavailable)?;
    let mut group = Group::new(connection, marks);
    let outcome = run_commands(&mut group, commands).and_then(|()| commit(connection));
    match &outcome {
        Ok(()) => marks.committed(group.last_event()),
        Err(_) if connection.is_autocommit() => {} // SQLite has rolled back by itself.
        Err(_) => {
            if let Err(error) = execute(connection, "ROLLBACK") {
                tracing::error!(%error, "store cannot roll back");
            }
        }
    }
    outcome
}

fn run_commands(
    group: &mut Group<'_>,
    commands: &mut [Box<dyn Command>],
) -> Result<(), GroupError> {
    for command in commands {
        let outcome = match command.isolation() {
            Isolation::None => command.run(group),
            Isolation::Savepoint => run_isolated(group, command.as_mut())?,
        };
        if let Err(Failed::Everything(error)) = outcome {
            return Err(error);
        }
    }
    group.flush_twins().map_err(GroupError::of)
}

fn run_isolated(
    group: &mut Group<'_>,
    command: &mut dyn Command,
) -> Result<Result<(), Failed>, GroupError> {
    // What the operation reads must be in the database.
    group.flush_twins().map_err(GroupError::of)?;
    let connection = group.connection();
    let before = group.last_event();
    execute(connection, "SAVEPOINT operation").map_err(unavailable)?;
    let outcome = command.run(group);
    if outcome.is_err() {
        if connection.is_autocommit() {
            // SQLite has given up the whole transaction, as it does when the disk is full.
            return Err(match outcome {
                Err(Failed::Everything(error)) => error,
                _ => GroupError::Unavailable("the database gave up the transaction".into()),
            });
        }
        execute(connection, "ROLLBACK TO operation").map_err(unavailable)?;
        group.forget_events_after(before);
    }
    execute(connection, "RELEASE operation").map_err(unavailable)?;
    Ok(outcome)
}

fn commit(connection: &Connection) -> Result<(), GroupError> {
    execute(connection, "COMMIT").map_err(|error| match error.sqlite_error_code() {
        // The part of the log that makes the commit could not be written.
        Some(ErrorCode::DiskFull) => unavailable(error),
        _ => GroupError::Unknown(error.to_string()),
    })
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn unavailable(error: rusqlite::Error) -> GroupError {
    GroupError::of(error.into())
}

/// Operations that may wait for the writer; whoever comes then waits too.
const QUEUE_MAX: usize = 1024;
/// Operations in one transaction.
const GROUP_MAX: usize = 512;

#[cfg(test)]
mod tests;
