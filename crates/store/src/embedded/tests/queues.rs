//! Cloud-to-device queues, their feedback, and twins against a model: random steps, crashes and
//! openings between them. What the store gives out must be what the model says, exactly; a message
//! that ended never comes again; each end is told once, if its sender asked for it; the versions of
//! a twin count every change and never go back.
//!
//! `FARSHORE_QUEUE_STEPS` makes it longer, `FARSHORE_QUEUE_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::feedback::{Ack, Outcome};
use model::id::Precondition;
use model::identity::{Authentication, DeviceIdentity, Status};
use model::message::{Message, SystemProperty};
use model::twin::TwinChange;
use model::{DeviceId, Etag, GenerationId};
use uuid::Uuid;

use super::*;
use crate::StoreError;
use crate::cloud_to_device::Settlement;
use crate::feedback::Rules;
use crate::twins::{Mutation, TwinWrite};

const STEPS: u64 = 4000;
const PENDING_MAX: usize = 6;
const DELIVERIES_MAX: u32 = 3;
const LOCK: Duration = Duration::from_secs(60);
const ACKS: [&str; 4] = ["none", "positive", "negative", "full"];

#[tokio::test]
async fn queues_do_what_the_model_says() {
    let number = |name| host::env::var(name).unwrap().map(|text| text.parse().unwrap());
    let steps: u64 = number("FARSHORE_QUEUE_STEPS").unwrap_or(STEPS);
    let seed: u64 =
        number("FARSHORE_QUEUE_SEED").unwrap_or_else(|| u64::from_le_bytes(host::entropy::bytes()));
    // Shown when the test fails.
    println!("FARSHORE_QUEUE_SEED={seed}");
    let mut run = Run::new(seed).await;
    for step in 0..steps {
        run.step(step).await;
    }
    run.finish().await;
    println!("{:?}", run.seen);
    for (what, count) in &run.seen {
        assert!(steps < STEPS || *count > 0, "{what} never happened");
    }
}

/// A message as the model has it.
struct Queued {
    id: String,
    expires: Timestamp,
    deliveries: u32,
    lock: Option<(Uuid, Timestamp)>,
    ack: Ack,
}

/// What a device has.
#[derive(Default)]
struct Queue {
    generation: u64,
    next: u64,
    messages: BTreeMap<u64, Queued>,
    twin: Versions,
}

#[derive(Debug, Default, PartialEq)]
struct Versions {
    whole: u64,
    desired: u64,
    reported: u64,
}

struct Run {
    random: Random,
    directory: TempDir,
    clock: Clock,
    stores: Option<Stores>,
    queues: BTreeMap<&'static str, Queue>,
    generations: u64,
    messages: u64,
    /// Ends that are to be told, with their device; removed when their feedback is completed.
    untold: HashMap<String, (Outcome, &'static str)>,
    /// Feedback messages that are locked: the lock, its end, the records.
    feedback: Vec<(Uuid, Timestamp, Vec<String>)>,
    /// Locks that are lost or settled.
    dead_locks: Vec<(&'static str, Uuid)>,
    /// How often each thing happened.
    seen: BTreeMap<&'static str, u64>,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
        let (stores, _) = open_in(&directory, &clock).unwrap();
        let mut run = Self {
            random: Random(seed),
            directory,
            clock,
            stores: Some(stores),
            queues: BTreeMap::new(),
            generations: 0,
            messages: 0,
            untold: HashMap::new(),
            feedback: Vec::new(),
            dead_locks: Vec::new(),
            seen: BTreeMap::new(),
        };
        for id in ["d", "e", "f"] {
            run.register(id).await;
        }
        run
    }

    fn stores(&self) -> Stores {
        self.stores.clone().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    fn saw(&mut self, what: &'static str, happened: bool) {
        *self.seen.entry(what).or_default() += u64::from(happened);
    }

    async fn step(&mut self, step: u64) {
        let id = ["d", "e", "f"][self.random.below(3) as usize];
        match self.random.below(100) {
            0..30 => self.send(id).await,
            30..50 => self.lock(id).await,
            50..70 => self.settle(id).await,
            70..74 => self.settle_in_vain().await,
            74..82 => self.clock.advance(Duration::from_secs(self.random.below(45))),
            82..86 => self.sweep().await,
            86..88 => self.purge(id).await,
            88..89 => self.unlock_all(id).await,
            89..92 => self.lock_feedback().await,
            92..95 => self.settle_feedback().await,
            95..97 => self.write_twin(id).await,
            97 => self.replace_device(id).await,
            _ if step.is_multiple_of(2) => self.crash(),
            _ => self.reopen(),
        }
        self.check_twin(id).await;
        let pending = self.stores().cloud_to_device.pending(&device(id)).await.unwrap();
        assert_eq!(pending, self.queues[id].messages.len() as u64);
    }

    async fn send(&mut self, id: &'static str) {
        self.expire(id);
        self.messages += 1;
        let ack = ACKS[self.random.below(4) as usize];
        let name = format!("{id}-{}", self.messages);
        let message = Message::from_body(name.clone())
            .with_system(SystemProperty::MessageId, name.as_str())
            .with_system(SystemProperty::Ack, ack);
        let (now, expires) = (self.now(), self.now() + self.random.seconds(20, 400));
        let queues = self.stores().cloud_to_device;
        let sent = queues.enqueue(&device(id), message, expires, now, PENDING_MAX).await;
        let queue = self.queues.get_mut(id).unwrap();
        let full = queue.messages.len() >= PENDING_MAX;
        match sent {
            Err(StoreError::Full { limit: PENDING_MAX, .. }) => assert!(full),
            sent => {
                assert_eq!((sent.unwrap(), full), (queue.next, false));
                let (ack, lock) = (Ack::parse(Some(ack)), None);
                let queued = Queued { id: name, expires, deliveries: 0, lock, ack };
                queue.messages.insert(queue.next, queued);
                queue.next += 1;
            }
        }
        self.saw("a full queue", full);
    }

    async fn lock(&mut self, id: &'static str) {
        // The model does the same, also when the store sees from afar that there is nothing.
        let (now, limit) = (self.now(), 1 + self.random.below(4) as usize);
        let queues = self.stores().cloud_to_device;
        let locked = queues.lock(&device(id), limit, LOCK, DELIVERIES_MAX, now).await.unwrap();
        self.expire(id);
        self.exhaust(id);
        let until = now + SignedDuration::try_from(LOCK).unwrap();
        let mut expected = Vec::new();
        let mut lost = Vec::new();
        let queue = self.queues.get_mut(id).unwrap();
        let waiting = queue.messages.iter_mut().filter(|(_, message)| message.waits(now));
        for ((sequence, message), locked) in waiting.take(limit).zip(&locked) {
            expected.push((*sequence, message.id.clone(), message.deliveries));
            lost.extend(message.lock.take().map(|(lock, _)| (id, lock)));
            message.deliveries += 1;
            message.lock = Some((locked.lock, until));
        }
        let got: Vec<_> = locked
            .iter()
            .map(|m| {
                (m.sequence, String::from_utf8(m.message.body.to_vec()).unwrap(), m.delivery_count)
            })
            .collect();
        assert_eq!(got, expected);
        let waiting = queue.messages.values().filter(|message| message.waits(now)).count();
        assert!(got.len() == limit || waiting == 0, "{waiting} messages were held back");
        let generation = GenerationId::from_number(queue.generation);
        assert!(locked.iter().all(|message| message.generation == generation));
        self.dead_locks.extend(lost);
        self.saw("a redelivery", got.iter().any(|(.., deliveries)| *deliveries > 0));
    }

    async fn settle(&mut self, id: &'static str) {
        let now = self.now();
        let outcome = self.random.settlement();
        let queue = self.queues.get_mut(id).unwrap();
        let locked: Vec<_> =
            queue.messages.iter().filter_map(|(n, m)| Some((*n, m.lock?))).collect();
        let Some((sequence, (lock, until))) = self.random.one_of(&locked) else {
            return;
        };
        let queues = self.stores().cloud_to_device;
        let settled = queues.settle(&device(id), lock, outcome, now).await;
        if until <= now {
            assert!(matches!(settled, Err(StoreError::NotFound)), "a lost lock settled a message");
            return self.saw("a lost lock", true);
        }
        settled.unwrap();
        self.dead_locks.push((id, lock));
        match outcome {
            Settlement::Complete => self.end(id, sequence, Outcome::Success),
            Settlement::Reject => self.end(id, sequence, Outcome::Rejected),
            Settlement::Abandon => {
                let queue = self.queues.get_mut(id).unwrap();
                queue.messages.get_mut(&sequence).unwrap().lock = None;
            }
        }
    }

    /// A lock that was settled or lost settles nothing.
    async fn settle_in_vain(&mut self) {
        if let Some((id, lock)) = self.random.one_of(&self.dead_locks) {
            let (queues, outcome) = (self.stores().cloud_to_device, self.random.settlement());
            let settled = queues.settle(&device(id), lock, outcome, self.now()).await;
            assert!(matches!(settled, Err(StoreError::NotFound)), "{outcome:?} by a dead lock");
        }
    }

    async fn sweep(&mut self) {
        let now = self.now();
        let woken = self.stores().cloud_to_device.sweep(DELIVERIES_MAX, now).await.unwrap();
        let mut expected = Vec::new();
        for id in ["d", "e", "f"] {
            self.expire(id);
            self.exhaust(id);
            let mut freed = false;
            for message in self.queues.get_mut(id).unwrap().messages.values_mut() {
                if let Some((lock, _)) = message.lock.take_if(|(_, until)| *until <= now) {
                    self.dead_locks.push((id, lock));
                    freed = true;
                }
            }
            expected.extend(freed.then(|| device(id)));
        }
        assert_eq!(woken, expected);
    }

    async fn purge(&mut self, id: &'static str) {
        let purged = self.stores().cloud_to_device.purge(&device(id), self.now()).await.unwrap();
        self.expire(id);
        let all: Vec<u64> = self.queues[id].messages.keys().copied().collect();
        assert_eq!(purged, all.len() as u64);
        for sequence in all {
            self.end(id, sequence, Outcome::Purged);
        }
    }

    async fn unlock_all(&mut self, id: &'static str) {
        self.stores().cloud_to_device.unlock_all(&device(id), self.now()).await.unwrap();
        for message in self.queues.get_mut(id).unwrap().messages.values_mut() {
            self.dead_locks.extend(message.lock.take().map(|(lock, _)| (id, lock)));
        }
    }

    async fn lock_feedback(&mut self) {
        let now = self.now();
        let locked = self.stores().feedback.lock_feedback(2, rules(), now).await.unwrap();
        for message in locked {
            let held: BTreeSet<&String> = self
                .feedback
                .iter()
                .filter(|(_, until, _)| *until > now)
                .flat_map(|(.., ids)| ids)
                .collect();
            let ids: Vec<_> =
                message.records.iter().map(|record| record.message_id.clone()).collect();
            for record in &message.records {
                let untold = self.untold.get(&record.message_id).map(|(outcome, _)| *outcome);
                assert_eq!(untold, Some(record.outcome), "{} is told again", record.message_id);
                assert!(!held.contains(&record.message_id), "{} is told twice", record.message_id);
            }
            let until = now + SignedDuration::try_from(LOCK).unwrap();
            self.feedback.push((message.lock, until, ids));
            self.saw("feedback again", message.delivery_count > 0);
        }
    }

    async fn settle_feedback(&mut self) {
        if self.feedback.is_empty() {
            return;
        }
        let index = self.random.below(self.feedback.len() as u64) as usize;
        let (lock, until, ids) = self.feedback.swap_remove(index);
        let outcome = self.random.settlement();
        let settled = self.stores().feedback.settle_feedback(lock, outcome, self.now()).await;
        if until <= self.now() {
            assert!(matches!(settled, Err(StoreError::NotFound)));
            return self.saw("a lost feedback lock", true);
        }
        settled.unwrap();
        if outcome != Settlement::Abandon {
            for id in ids {
                // Those of a device that was deleted meanwhile are gone already.
                self.untold.remove(&id);
            }
        }
    }

    async fn write_twin(&mut self, id: &'static str) {
        let value = self.random.below(5);
        let object = serde_json::json!({ "a": { "b": value } }).as_object().unwrap().clone();
        let reports = self.random.below(2) == 0;
        let mutation = match reports {
            true => Mutation::Report(object, None),
            false => Mutation::Patch(TwinChange { tags: None, desired: Some(object) }, None),
        };
        let write = TwinWrite { id: id.parse().unwrap(), mutation, now: self.now() };
        self.stores().twins.write(vec![write]).await.remove(0).unwrap();
        let versions = &mut self.queues.get_mut(id).unwrap().twin;
        versions.whole += 1;
        *(if reports { &mut versions.reported } else { &mut versions.desired }) += 1;
    }

    async fn check_twin(&mut self, id: &'static str) {
        let twin = self.stores().twins.twin(&id.parse().unwrap()).await.unwrap().unwrap().twin;
        let (desired, reported) = (twin.desired.version, twin.reported.version);
        assert_eq!(Versions { whole: twin.version, desired, reported }, self.queues[id].twin);
    }

    async fn replace_device(&mut self, id: &'static str) {
        let registry = self.stores().registry;
        registry.delete_device(&device(id), Precondition::None, Vec::new()).await.unwrap();
        self.untold.retain(|_, (_, owner)| *owner != id);
        let queue = self.queues.remove(id).unwrap();
        let locks = queue.messages.values().filter_map(|message| message.lock);
        self.dead_locks.extend(locks.map(|(lock, _)| (id, lock)));
        self.register(id).await;
    }

    async fn register(&mut self, id: &'static str) {
        self.generations += 1;
        let identity = DeviceIdentity {
            id: device(id),
            generation: GenerationId::from_number(self.generations),
            etag: Etag(0),
            status: Status::Enabled,
            status_reason: None,
            status_updated: None,
            authentication: Authentication::None,
            edge: false,
            scope: None,
            parent_scopes: Vec::new(),
        };
        let registry = self.stores().registry;
        registry.put_device(identity, Vec::new(), Precondition::Absent, Vec::new()).await.unwrap();
        let twin = Versions { whole: 2, desired: 1, reported: 1 };
        let queue = Queue { generation: self.generations, next: 1, twin, ..Queue::default() };
        self.queues.insert(id, queue);
    }

    /// The process is killed: what lies on the disk at this moment is all that is left.
    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        reopen::copy_files(self.directory.path(), copy.path());
        self.stores = None;
        self.directory = copy;
        self.open();
        self.saw("a crash", true);
    }

    fn reopen(&mut self) {
        self.stores = None;
        self.open();
        self.saw("an orderly end", true);
    }

    /// Devices' locks ended with their connections; those of feedback go on.
    fn open(&mut self) {
        self.stores = Some(open_in(&self.directory, &self.clock).unwrap().0);
        for (id, queue) in &mut self.queues {
            for message in queue.messages.values_mut() {
                self.dead_locks.extend(message.lock.take().map(|(lock, _)| (*id, lock)));
            }
        }
    }

    /// Everything that is untold is told now, and nothing else.
    async fn finish(&mut self) {
        for id in ["d", "e", "f"] {
            self.purge(id).await;
        }
        self.clock.advance(LOCK);
        let now = self.now();
        let mut told = BTreeMap::new();
        loop {
            let locked = self.stores().feedback.lock_feedback(16, rules(), now).await.unwrap();
            if locked.is_empty() {
                break;
            }
            for message in locked {
                let complete = Settlement::Complete;
                let feedback = self.stores().feedback;
                feedback.settle_feedback(message.lock, complete, now).await.unwrap();
                for record in message.records {
                    let before = told.insert(record.message_id.clone(), record.outcome);
                    assert_eq!(before, None, "{} is told twice", record.message_id);
                }
            }
        }
        let untold = self.untold.iter().map(|(id, (outcome, _))| (id.clone(), *outcome));
        assert_eq!(told, untold.collect());
    }

    fn expire(&mut self, id: &'static str) {
        let now = self.now();
        self.end_all(id, Outcome::Expired, |message| message.expires <= now);
    }

    fn exhaust(&mut self, id: &'static str) {
        let now = self.now();
        let dead = |message: &Queued| message.deliveries >= DELIVERIES_MAX && message.waits(now);
        self.end_all(id, Outcome::DeliveryCountExceeded, dead);
    }

    fn end_all(&mut self, id: &'static str, outcome: Outcome, dead: impl Fn(&Queued) -> bool) {
        let messages = self.queues[id].messages.iter();
        let dead: Vec<u64> =
            messages.filter(|(_, message)| dead(message)).map(|(sequence, _)| *sequence).collect();
        for sequence in dead {
            self.end(id, sequence, outcome);
        }
    }

    fn end(&mut self, id: &'static str, sequence: u64, outcome: Outcome) {
        let message = self.queues.get_mut(id).unwrap().messages.remove(&sequence).unwrap();
        self.dead_locks.extend(message.lock.map(|(lock, _)| (id, lock)));
        if message.ack.wants(outcome) {
            let before = self.untold.insert(message.id, (outcome, id));
            assert_eq!(before, None);
        }
        let what = match outcome {
            Outcome::Success => "success",
            Outcome::Expired => "an expiry",
            Outcome::DeliveryCountExceeded => "too many deliveries",
            Outcome::Rejected => "a rejection",
            Outcome::Purged => "a purge",
        };
        self.saw(what, true);
    }
}

impl Queued {
    fn waits(&self, now: Timestamp) -> bool {
        self.lock.is_none_or(|(_, until)| until <= now)
    }
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn seconds(&mut self, least: u64, most: u64) -> SignedDuration {
        SignedDuration::from_secs((least + self.below(most - least)) as i64)
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[self.below(items.len() as u64) as usize])
    }

    fn settlement(&mut self) -> Settlement {
        [Settlement::Complete, Settlement::Abandon, Settlement::Reject][self.below(3) as usize]
    }
}

fn device(id: &str) -> DeviceId {
    id.parse().unwrap()
}

/// Feedback neither ages nor is dropped here: that is the conformance suite's.
fn rules() -> Rules {
    Rules {
        records_max: 4,
        gathering: Duration::from_secs(15),
        ttl: Duration::from_secs(1 << 30),
        lock: LOCK,
        deliveries_max: u32::MAX,
    }
}
