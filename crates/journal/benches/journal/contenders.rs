//! The four contenders, each under the same load.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use host::disk::Disk;
use journal::{Journal, Record, Retention, Settings};
use tokio::sync::{mpsc, oneshot};

/// Writers, record size, how long.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) writers: usize,
    pub(crate) record_bytes: usize,
    pub(crate) duration: Duration,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Of processor time, all threads together, the writers' loops included.
    pub(crate) cpu_seconds: f64,
    /// Seconds from append to acknowledgement, sorted.
    pub(crate) latencies: Vec<f64>,
    pub(crate) syncs: u64,
}

impl Figures {
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    pub(crate) fn quantile(&self, percent: f64) -> f64 {
        let index = (self.latencies.len() as f64 * percent / 100.0) as usize;
        self.latencies.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn cpu_a_record(&self) -> f64 {
        self.cpu_seconds / self.latencies.len() as f64
    }

    pub(crate) fn records_a_sync(&self) -> f64 {
        self.latencies.len() as f64 / self.syncs as f64
    }

    /// Adds another round.
    pub(crate) fn add(&mut self, round: Self) {
        self.seconds += round.seconds;
        self.cpu_seconds += round.cpu_seconds;
        self.syncs += round.syncs;
        self.latencies.extend(round.latencies);
        self.latencies.sort_by(f64::total_cmp);
    }
}

/// A contender that is set up: runs the load once.
pub(crate) type Contender = Box<dyn FnMut(&Load) -> Figures>;

/// Sets a contender up in a directory.
pub(crate) type SetUp = fn(&Path) -> Contender;

pub(crate) const ALL: [(&str, SetUp); 4] =
    [("bare", bare), ("journal", journal), ("sqlite", sqlite), ("fjall", fjall)];

/// What the disk does when nobody gets in its way.
fn bare(dir: &Path) -> Contender {
    let size = 64 << 20;
    let file = Disk::real().create(&dir.join("file")).unwrap();
    file.write_zeros(0, size).unwrap();
    file.sync_data().unwrap();
    let mut at = 0;
    Box::new(move |load| {
        let clock = Clock::system();
        let batch = vec![7; load.writers * load.record_bytes];
        let mut figures = Figures::default();
        let (began, cpu_began) = (clock.now(), cpu());
        while clock.now() - began < load.duration {
            if at + batch.len() as u64 > size {
                at = 0;
            }
            let asked = clock.now();
            file.write_at(&batch, at).unwrap();
            file.sync_data().unwrap();
            let latency = (clock.now() - asked).as_secs_f64();
            figures.latencies.extend(std::iter::repeat_n(latency, load.writers));
            figures.syncs += 1;
            at += batch.len() as u64;
        }
        figures.seconds = (clock.now() - began).as_secs_f64();
        figures.cpu_seconds = cpu() - cpu_began;
        figures
    })
}

fn journal(dir: &Path) -> Contender {
    let clock = Clock::system();
    // Four partitions that keep so much that segments are recycled.
    let retention = Retention { bytes: Some(64 << 20), age: None };
    let settings = Settings { retention, ..Settings::default() };
    let (journal, _) = Journal::open(dir, settings, clock.clone()).unwrap();
    let streams: Vec<_> =
        (0..4).map(|n| journal.stream(&format!("partition-{n}")).unwrap()).collect();
    Box::new(move |load| {
        let groups_before = journal.info().groups;
        let body = Bytes::from(vec![7; load.record_bytes]);
        let figures = closed_loop(load, |writer| {
            let journal = journal.clone();
            let (stream, clock, body) = (streams[writer % 4], clock.clone(), body.clone());
            move || {
                let record = Record { stream, enqueued: clock.wall(), body: body.clone() };
                let receipt = journal.append(vec![record]).unwrap();
                async move { receipt.wait().await.unwrap() }
            }
        });
        Figures { syncs: journal.info().groups - groups_before, ..figures }
    })
}

fn sqlite(dir: &Path) -> Contender {
    let connection = rusqlite::Connection::open(dir.join("db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection
        .execute_batch("CREATE TABLE records (n INTEGER PRIMARY KEY, time INTEGER, body BLOB)")
        .unwrap();
    by_batches(move |bodies| {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let insert = "INSERT INTO records (time, body) VALUES (?, ?)";
            let mut statement = connection.prepare_cached(insert).unwrap();
            for body in bodies {
                statement.execute((1, &body[..])).unwrap();
            }
        }
        connection.execute_batch("COMMIT").unwrap();
    })
}

fn fjall(dir: &Path) -> Contender {
    let database = fjall::Database::builder(dir).open().unwrap();
    let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
    let mut next = 0_u64;
    by_batches(move |bodies| {
        let mut batch = database.batch();
        for body in bodies {
            batch.insert(&records, next.to_be_bytes(), &body[..]);
            next += 1;
        }
        batch.commit().unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    })
}

/// Group commit for those that have none: a thread that takes all who wait.
fn by_batches(mut store: impl FnMut(&[Bytes]) + Send + 'static) -> Contender {
    // More than there are ever writers.
    let (sender, mut receiver) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(4096);
    let syncs = Arc::new(AtomicU64::new(0));
    let counted = syncs.clone();
    std::thread::spawn(move || {
        while let Some(first) = receiver.blocking_recv() {
            let mut waiting = vec![first];
            while let Ok(next) = receiver.try_recv() {
                waiting.push(next);
            }
            let bodies: Vec<_> = waiting.iter().map(|(body, _)| body.clone()).collect();
            store(&bodies);
            counted.fetch_add(1, Ordering::Relaxed);
            for (_, acknowledge) in waiting {
                let _ = acknowledge.send(());
            }
        }
    });
    Box::new(move |load| {
        let syncs_before = syncs.load(Ordering::Relaxed);
        let body = Bytes::from(vec![7; load.record_bytes]);
        let figures = closed_loop(load, |_| {
            let (sender, body) = (sender.clone(), body.clone());
            move || {
                let (acknowledge, acknowledged) = oneshot::channel();
                sender.try_send((body.clone(), acknowledge)).unwrap();
                async move { acknowledged.await.unwrap() }
            }
        });
        Figures { syncs: syncs.load(Ordering::Relaxed) - syncs_before, ..figures }
    })
}

/// Writers on one thread, each with one record under way.
fn closed_loop<F, W>(load: &Load, make: impl Fn(usize) -> F) -> Figures
where
    F: FnMut() -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let clock = Clock::system();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (began, cpu_began) = (clock.now(), cpu());
    let writers: Vec<_> = (0..load.writers)
        .map(|writer| {
            let mut append = make(writer);
            let (clock, duration) = (clock.clone(), load.duration);
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                let mut now = clock.now();
                while now - began < duration {
                    append().await;
                    let acknowledged = clock.now();
                    latencies.push((acknowledged - now).as_secs_f64());
                    now = acknowledged;
                }
                latencies
            })
        })
        .collect();
    let latencies = runtime.block_on(futures_of(writers)).concat();
    Figures {
        seconds: (clock.now() - began).as_secs_f64(),
        cpu_seconds: cpu() - cpu_began,
        latencies,
        syncs: 0,
    }
}

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn futures_of<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}
