//! The pump to one input of a module: one message after the other, each until the module has it.
//!
//! The module acknowledges by PUBACK, or by an outcome over AMQP; without one in time, or when its
//! connection ends, the same message is delivered again. While the module is away, does not listen or
//! gives no credit, messages wait.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use gateway::backend::Settlement;
use host::signals::Shutdown;
use iot_proto::topic::TopicSet;
use jiff::Timestamp;
use journal::{Entry, From, ReadError, Reader, StreamId};
use model::message::{Message, SystemProperty};
use model::{IdentityId, ModuleId};
use tokio::sync::{mpsc, watch};

use super::Lane;
use super::lane::{self, Closed, READ_AGAIN, Read};
use super::record::{self, Record};
use crate::core::Core;
use crate::counters::{Dropped, Way};
use crate::routing::{Endpoint, Queue};

struct Pump {
    core: Arc<Core>,
    receiver: IdentityId,
    input: String,
    topics: TopicSet,
    /// By priority, best first.
    lanes: Vec<OpenLane>,
}

struct OpenLane {
    priority: u32,
    stream: StreamId,
    reader: Reader,
    /// Read and not delivered.
    waiting: VecDeque<Read>,
}

/// Runs until the shutdown, or until the journal is closed.
pub(super) async fn run(
    core: Arc<Core>,
    module: ModuleId,
    input: String,
    mut new_lanes: mpsc::Receiver<Lane>,
    shutdown: Shutdown,
) {
    let receiver = IdentityId::module(core.edge.clone(), module);
    let topics = TopicSet::new(receiver.clone());
    let mut pump = Pump { core, receiver, input, topics, lanes: Vec::new() };
    tokio::select! {
        _ = pump.work(&mut new_lanes) => {}
        () = shutdown.wait() => {}
    }
}

impl Pump {
    async fn work(&mut self, new_lanes: &mut mpsc::Receiver<Lane>) -> Result<(), Closed> {
        let mut sessions = self.core.sessions.watch();
        loop {
            while let Ok(lane) = new_lanes.try_recv() {
                self.open(lane);
            }
            let next = tokio::select! {
                biased;
                next = next(&mut self.lanes) => next,
                Some(lane) = new_lanes.recv() => {
                    self.open(lane);
                    continue;
                }
            };
            match next {
                (index, Some(read)) => self.take(index, read).await?,
                (index, None) => self.deliver(index, &mut sessions).await,
            }
        }
    }

    fn open(&mut self, lane: Lane) {
        if self.lanes.iter().any(|open| open.stream == lane.stream) {
            return;
        }
        let Ok(reader) = self.core.journal.reader(lane.stream, From::Oldest) else { return };
        let Lane { priority, stream } = lane;
        self.lanes.push(OpenLane { priority, stream, reader, waiting: VecDeque::new() });
        self.lanes.sort_by_key(|lane| lane.priority);
    }

    async fn take(
        &mut self,
        index: usize,
        read: Result<Vec<Entry>, ReadError>,
    ) -> Result<(), Closed> {
        let OpenLane { reader, waiting, .. } = &mut self.lanes[index];
        let messages = lane::messages(reader, read, &self.core.counters, &self.core.clock).await?;
        waiting.extend(messages);
        Ok(())
    }

    /// Delivers the first message of a lane, or lets it expire; then the queue forgets it.
    async fn deliver(&mut self, index: usize, sessions: &mut watch::Receiver<u64>) {
        let Some(waiting) = self.lanes[index].waiting.front() else { return };
        let message = input_message(&waiting.record);
        let delivered = match self.topics.module_input(&self.input, &message).len() {
            bytes if bytes > TOPIC_BYTES_MAX => {
                self.bury(self.lanes[index].priority, waiting).await
            }
            _ => self.hand_over(self.lanes[index].priority, waiting, message, sessions).await,
        };
        if !delivered {
            return;
        }
        let lane = &mut self.lanes[index];
        let Some(done) = lane.waiting.pop_front() else { return };
        // Fails only for streams of another journal.
        let _ = self.core.journal.trim(lane.stream, done.sequence + 1);
    }

    /// True when the module has it, or its time is over.
    async fn hand_over(
        &self,
        priority: u32,
        waiting: &Read,
        message: Message,
        sessions: &mut watch::Receiver<u64>,
    ) -> bool {
        let core = &self.core;
        let mut pause = ABANDONED_MIN;
        loop {
            if self.is_over(waiting.expires) {
                let Record { sender, message, .. } = &waiting.record;
                core.counters.dropped(Dropped::Expired, sender, message);
                tracing::debug!(receiver = %self.receiver, "message is past its time to live");
                return true;
            }
            sessions.borrow_and_update();
            let link = core.sessions.link(&self.receiver, |subscriptions| subscriptions.inputs);
            let delivery = link.and_then(|link| link.deliver_input(&self.input, message.clone()));
            if let Some(mut delivery) = delivery {
                let begun = core.clock.now();
                let limit = core.forward.acknowledge_limit;
                let settled = core.clock.timeout(limit, &mut delivery.settled).await;
                match settled {
                    Ok(Ok(Settlement::Complete | Settlement::Reject)) => {
                        self.count_delivered(priority, waiting, core.clock.now() - begun);
                        return true;
                    }
                    // It listens, but not to this input, or it wants the message later.
                    Ok(Ok(Settlement::Abandon)) => {
                        let look = self.look_again(waiting.expires).min(pause);
                        pause = (pause * 2).min(LOOK_EVERY);
                        tokio::select! {
                            _ = sessions.changed() => {}
                            () = core.clock.sleep(look) => {}
                        }
                        continue;
                    }
                    // The connection is gone, or the module is slow: again.
                    Ok(Err(_)) | Err(_) => {
                        core.counters.retried(&waiting.record.sender, "SendMessageToModule");
                        continue;
                    }
                }
            }
            let look = self.look_again(waiting.expires);
            tokio::select! {
                _ = sessions.changed() => {}
                () = core.clock.sleep(look) => {}
            }
        }
    }

    fn count_delivered(&self, priority: u32, waiting: &Read, sending: Duration) {
        let since_taken = self.core.store_time.now().duration_since(waiting.taken);
        let Record { sender, message, .. } = &waiting.record;
        let way = Way {
            sender,
            output: message.system(SystemProperty::OutputName).unwrap_or_default(),
            to: &self.receiver.to_string(),
            input: &self.input,
            priority,
        };
        let since_taken = Duration::try_from(since_taken).unwrap_or_default();
        self.core.counters.delivery(&way).count(sending, since_taken);
    }

    fn is_over(&self, expires: Option<Timestamp>) -> bool {
        expires.is_some_and(|expires| expires <= self.core.store_time.now())
    }

    fn look_again(&self, expires: Option<Timestamp>) -> Duration {
        let left = expires.map(|expires| expires.duration_since(self.core.store_time.now()));
        let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(LOOK_EVERY);
        left.clamp(LOOK_AGAIN_MIN, LOOK_EVERY)
    }

    /// Its properties do not fit in a topic, so it can never be delivered.
    async fn bury(&self, priority: u32, waiting: &Read) -> bool {
        let record = &waiting.record;
        let reason = "message properties do not fit in a topic";
        tracing::error!(sender = %record.sender, receiver = %self.receiver, reason, "message is kept with the dead letters");
        let body = record::encode(&record.sender, record.time_to_live, &record.message);
        let Some(module) = self.receiver.module.clone() else { return false };
        let endpoint = Endpoint::Input { module, input: self.input.clone() };
        let queue = Queue { priority, endpoint };
        match self.core.forward.bury(&self.core, &queue, reason, &body).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(error = %host::logs::chain(&error), "cannot store a dead letter");
                self.core.clock.sleep(READ_AGAIN).await;
                false
            }
        }
    }
}

/// The message as the module gets it: with its sender, without the output's name (er §5.10). What
/// `$edgeHub` itself sends says already on whose behalf (er §5.2, twin changes).
fn input_message(record: &Record) -> Message {
    let mut message = record.message.clone();
    let hidden = [SystemProperty::OutputName, SystemProperty::InterfaceId];
    message.system.retain(|(property, _)| !hidden.contains(property));
    let sender = &record.sender;
    if sender.module.as_ref().is_some_and(ModuleId::is_edge_hub) {
        return message;
    }
    let mut system = vec![(SystemProperty::ConnectionDeviceId, sender.device.to_string())];
    if let Some(module) = &sender.module {
        system.push((SystemProperty::ConnectionModuleId, module.to_string()));
    }
    system.append(&mut message.system);
    message.system = system;
    message
}

/// The best lane with a message: one in memory, or, of a better lane, one that can be read now.
async fn next(lanes: &mut [OpenLane]) -> (usize, Option<Result<Vec<Entry>, ReadError>>) {
    let in_memory = lanes.iter().position(|lane| !lane.waiting.is_empty());
    let better = in_memory.unwrap_or(lanes.len());
    let mut reads: Vec<_> = lanes
        .iter_mut()
        .take(better)
        .map(|lane| Box::pin(lane.reader.next_batch(READ_MAX, READ_BYTES_MAX)))
        .collect();
    poll_fn(|cx| {
        for (index, read) in reads.iter_mut().enumerate() {
            if let Poll::Ready(entries) = read.as_mut().poll(cx) {
                return Poll::Ready((index, Some(entries)));
            }
        }
        in_memory.map_or(Poll::Pending, |index| Poll::Ready((index, None)))
    })
    .await
}

/// MQTT's length of a topic.
const TOPIC_BYTES_MAX: usize = 65_535;
/// Messages read at once.
const READ_MAX: usize = 8;
/// Their bytes.
const READ_BYTES_MAX: usize = 64 * 1024;
const LOOK_EVERY: Duration = Duration::from_secs(60);
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(100);
/// The wait after a message was given back; it doubles, as the original's (er §5.3).
const ABANDONED_MIN: Duration = Duration::from_secs(1);
