//! The pump to the hub: reads its queues in order, sends over each sender's own line, and lets a
//! queue forget what the hub has acknowledged.
//!
//! What to do is `queue.rs`' decision; here it is done. A pump sleeps while there is nothing to do,
//! and wakes at once when a message comes, an acknowledgement comes or a line changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use client::device::{ConnectionState, SendError, SendHandle};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use host::clock::Mono;
use host::signals::Shutdown;
use journal::{Entry, From, ReadError, Reader, StreamId};
use model::IdentityId;
use model::message::{Message, SystemProperty};
use tokio::sync::{mpsc, watch};

use super::lane::{self, Closed};
use super::queue::{self, Line, Progress, Step, Window};
use super::record::Record;
use super::{Lane, ParkError, record};
use crate::core::Core;
use crate::counters::{Delivered, Dropped};
use crate::routing::{Endpoint, Queue};

/// Whose messages a pump sends.
pub(super) enum Kind {
    /// Everybody's.
    Main,
    /// Those of a sender that was parked.
    Parked {
        sender: IdentityId,
        /// No more lanes will come; dropped it would look like the end.
        _lanes: mpsc::Sender<Lane>,
    },
}

/// A pump at work.
struct Pump {
    core: Arc<Core>,
    kind: Kind,
    /// By priority, best first.
    lanes: Vec<OpenLane>,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Sent> + Send>>>,
    /// When the hub last acknowledged something, by sender.
    acknowledged: HashMap<IdentityId, Mono>,
    /// Whose message the hub acknowledged last, and the last one of somebody else.
    last: [Option<(IdentityId, Mono)>; 2],
    /// The store refuses; when to try again.
    rest_until: Option<Mono>,
}

struct OpenLane {
    priority: u32,
    stream: StreamId,
    reader: Reader,
    window: Window,
}

/// What came of a sending.
struct Sent {
    stream: StreamId,
    sequence: u64,
    attempt: u32,
    sender: IdentityId,
    line: u64,
    result: Result<(), SendError>,
}

/// Runs until the shutdown, or until the journal is closed.
pub(super) async fn run(
    core: Arc<Core>,
    kind: Kind,
    mut new_lanes: mpsc::Receiver<Lane>,
    shutdown: Shutdown,
) {
    let lines = core.upstream.watch();
    let mut pump = Pump {
        core,
        kind,
        lanes: Vec::new(),
        in_flight: FuturesUnordered::new(),
        acknowledged: HashMap::new(),
        last: [None, None],
        rest_until: None,
    };
    tokio::select! {
        () = pump.work(&mut new_lanes, lines) => {}
        () = shutdown.wait() => {}
    }
    pump.wind_down().await;
}

impl Pump {
    async fn work(
        &mut self,
        new_lanes: &mut mpsc::Receiver<Lane>,
        mut lines: watch::Receiver<u64>,
    ) {
        loop {
            lines.borrow_and_update();
            self.act().await;
            let deadline = self.deadline();
            let core = Arc::clone(&self.core);
            tokio::select! {
                biased;
                Some(lane) = new_lanes.recv() => self.open(lane),
                Some(sent) = self.in_flight.next() => self.settle(sent).await,
                (index, read) = next_batch(&mut self.lanes) => {
                    if self.take(index, read).await.is_err() {
                        return;
                    }
                }
                Ok(()) = lines.changed() => {}
                () = sleep_until(&core, deadline) => self.rest_until = None,
            }
        }
    }

    fn open(&mut self, lane: Lane) {
        if self.lanes.iter().any(|open| open.stream == lane.stream) {
            return;
        }
        let journal = &self.core.journal;
        let (info, reader) =
            (journal.stream_info(lane.stream), journal.reader(lane.stream, From::Oldest));
        let (Ok(info), Ok(reader)) = (info, reader) else { return };
        let window = Window::new(info.oldest);
        let Lane { priority, stream } = lane;
        self.lanes.push(OpenLane { priority, stream, reader, window });
        self.lanes.sort_by_key(|lane| lane.priority);
    }

    /// Puts what was read in the window.
    async fn take(
        &mut self,
        index: usize,
        read: Result<Vec<Entry>, ReadError>,
    ) -> Result<(), Closed> {
        let now = self.core.clock.now();
        let OpenLane { reader, window, .. } = &mut self.lanes[index];
        let messages = lane::messages(reader, read, &self.core.counters, &self.core.clock).await?;
        for read in messages {
            window.push(read, now);
        }
        window.skip_to(reader.position());
        Ok(())
    }

    /// Does all that can be done now.
    async fn act(&mut self) {
        if self.rest_until.is_some_and(|until| self.core.clock.now() < until) {
            return;
        }
        loop {
            let mut recalled = false;
            for index in 0..self.lanes.len() {
                let steps = self.plan(index);
                recalled |= self.execute(index, steps).await;
                self.trim(index);
            }
            if !recalled {
                return;
            }
        }
    }

    fn plan(&self, index: usize) -> Vec<Step> {
        let now = self.core.store_time.now();
        let window = &self.lanes[index].window;
        let is_full = !window.has_room();
        window.plan(now, |sender, entered| self.line(sender, entered, is_full))
    }

    /// How a sender's line stands.
    fn line(&self, sender: &IdentityId, entered: Mono, is_full: bool) -> Line {
        let core = &self.core;
        let main = matches!(self.kind, Kind::Main);
        if main && core.forward.is_parked(core, sender) {
            return Line::Blocked("earlier messages of this sender wait".into());
        }
        let hub_since = core.upstream.connected_since();
        let Some(handle) = core.upstream.line(core, sender) else { return Line::Away };
        let acknowledged = self.acknowledged.get(sender).copied();
        let mut others = self.last.iter().flatten().filter(|(id, _)| id != sender);
        let others_acknowledged = others.next().map(|(_, at)| *at);
        let progress = Progress { entered, hub_since, acknowledged, others_acknowledged, is_full };
        let stalled = queue::is_stalled(core.clock.now(), &progress);
        match handle.state {
            ConnectionState::Refused { reason, .. } if main && hub_since.is_some() => {
                Line::Blocked(reason)
            }
            _ if main && stalled => {
                Line::Blocked("the hub does not acknowledge its messages".into())
            }
            ConnectionState::Connected => Line::Open,
            _ => Line::Away,
        }
    }

    /// Takes the steps; true when some have to be planned anew.
    async fn execute(&mut self, index: usize, steps: Vec<Step>) -> bool {
        let mut recalled = false;
        // A sender whose line takes no more now keeps its order by taking none of the later ones.
        let mut stuck = HashSet::new();
        let mut parked: BTreeMap<IdentityId, (Arc<str>, Vec<u64>)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Send { sequence, attempt } => {
                    self.send(index, sequence, attempt, &mut stuck).await;
                }
                Step::Park { sequence, reason } => {
                    if let Some(slot) = self.lanes[index].window.slot(sequence) {
                        let sender = slot.record.sender.clone();
                        parked.entry(sender).or_insert((reason, Vec::new())).1.push(sequence);
                    }
                }
                Step::Expire { sequence } => self.expire(index, sequence),
                Step::Recall { sender } => {
                    self.core.upstream.close(&sender);
                    self.recall(&sender);
                    recalled = true;
                }
            }
        }
        for (sender, (reason, sequences)) in parked {
            self.park(index, &sender, &reason, &sequences).await;
        }
        recalled
    }

    fn recall(&mut self, sender: &IdentityId) {
        for lane in &mut self.lanes {
            lane.window.recall(sender);
        }
    }

    async fn send(
        &mut self,
        index: usize,
        sequence: u64,
        attempt: u32,
        stuck: &mut HashSet<IdentityId>,
    ) {
        let lane = &self.lanes[index];
        let Some(slot) = lane.window.slot(sequence) else { return };
        let sender = slot.record.sender.clone();
        if stuck.contains(&sender) {
            return;
        }
        let handle = self.core.upstream.line(&self.core, &sender);
        let Some(handle) = handle.filter(|h| h.state == ConnectionState::Connected) else {
            stuck.insert(sender);
            return;
        };
        // Waits only when the line's own queue is full; then it is this sender's turn later.
        match handle.client.send(upstream_message(&slot.record.message)).now_or_never() {
            Some(Ok(sent)) => {
                let (stream, line) = (lane.stream, handle.number);
                self.core.upstream.sent(&sender, line);
                self.in_flight
                    .push(Box::pin(outcome(sent, stream, sequence, attempt, sender, line)));
                self.lanes[index].window.sent(sequence, self.core.clock.now());
            }
            None | Some(Err(SendError::Closed)) => drop(stuck.insert(sender)),
            Some(Err(error)) => self.bury(index, sequence, &sender, &error).await,
        }
    }

    /// A message that no further attempt would bring to the hub.
    async fn bury(&mut self, index: usize, sequence: u64, sender: &IdentityId, error: &SendError) {
        let reason = host::logs::chain(error);
        tracing::error!(%sender, reason, "message can never be sent; it is kept with the dead letters");
        let queue = Queue { priority: self.lanes[index].priority, endpoint: Endpoint::Upstream };
        let body = self.body(index, sequence);
        let buried = self.core.forward.bury(&self.core, &queue, &reason, &body).await;
        self.moved(index, &[sequence], buried);
    }

    /// The message as it lies in another queue: with what is left of its time.
    fn body(&self, index: usize, sequence: u64) -> bytes::Bytes {
        let Some(slot) = self.lanes[index].window.slot(sequence) else {
            return bytes::Bytes::new();
        };
        let left = slot.expires.map(|expires| {
            let left = expires.duration_since(self.core.store_time.now());
            Duration::try_from(left).unwrap_or(Duration::ZERO)
        });
        record::encode(&slot.record.sender, left, &slot.record.message)
    }

    async fn park(&mut self, index: usize, sender: &IdentityId, reason: &str, sequences: &[u64]) {
        let bodies = sequences.iter().map(|sequence| self.body(index, *sequence)).collect();
        tracing::warn!(%sender, reason, messages = sequences.len(), "messages wait in the sender's own queue");
        let parked = self.core.forward.park(&self.core, sender, bodies, reason).await;
        self.moved(index, sequences, parked);
    }

    /// Messages lie in another queue now, or could not be moved and stay.
    fn moved(&mut self, index: usize, sequences: &[u64], result: Result<(), ParkError>) {
        match result {
            Ok(()) => {
                for sequence in sequences {
                    self.lanes[index].window.finish(*sequence);
                }
            }
            Err(error) => {
                tracing::error!(error = %host::logs::chain(&error), "messages stay where they are");
                self.rest_until = Some(self.core.clock.now() + STORE_AGAIN);
            }
        }
    }

    fn expire(&mut self, index: usize, sequence: u64) {
        let window = &mut self.lanes[index].window;
        if let Some(slot) = window.slot(sequence) {
            let Record { sender, message, .. } = &slot.record;
            tracing::debug!(%sender, sequence, "message is past its time to live");
            self.core.counters.dropped(Dropped::Expired, sender, message);
        }
        window.expire(sequence);
    }

    /// The hub has a message, refuses it for good, or its line is lost.
    async fn settle(&mut self, sent: Sent) {
        let Sent { stream, sequence, attempt, sender, line, result } = sent;
        self.core.upstream.settled(&sender, line);
        let Some(index) = self.lanes.iter().position(|lane| lane.stream == stream) else { return };
        match result {
            Ok(()) => {
                self.count_delivered(index, sequence);
                self.lanes[index].window.finish(sequence);
                self.trim(index);
                self.note_acknowledged(sender);
            }
            Err(SendError::Closed) => {
                if self.lanes[index].window.failed(sequence, attempt) {
                    self.core.counters.retried(&sender, "SendMessage");
                    self.recall(&sender);
                }
            }
            Err(error) => {
                self.bury(index, sequence, &sender, &error).await;
                // Where there is no room for it, it is tried again.
                if self.lanes[index].window.failed(sequence, attempt) {
                    self.recall(&sender);
                }
                self.trim(index);
            }
        }
    }

    fn count_delivered(&self, index: usize, sequence: u64) {
        let Some(slot) = self.lanes[index].window.slot(sequence) else { return };
        if slot.is_finished() {
            return;
        }
        let clock = &self.core.clock;
        let since_taken = self.core.store_time.now().duration_since(slot.taken);
        self.core.counters.delivered(&Delivered {
            sender: &slot.record.sender,
            message: &slot.record.message,
            to: "upstream",
            input: "",
            priority: self.lanes[index].priority,
            sending: clock.now() - slot.handed_over,
            since_taken: Duration::try_from(since_taken).unwrap_or_default(),
        });
    }

    fn note_acknowledged(&mut self, sender: IdentityId) {
        if self.acknowledged.len() >= SENDERS_NOTED_MAX {
            // The others' stalls are measured from when their messages were read.
            self.acknowledged.clear();
        }
        let now = self.core.clock.now();
        if self.last[0].as_ref().is_some_and(|(id, _)| *id != sender) {
            self.last.swap(0, 1);
        }
        self.last[0] = Some((sender.clone(), now));
        self.acknowledged.insert(sender, now);
    }

    /// Lets the queue forget what is finished.
    fn trim(&self, index: usize) {
        let lane = &self.lanes[index];
        let before = self.core.journal.stream_info(lane.stream).map_or(0, |info| info.oldest);
        let checkpoint = lane.window.checkpoint();
        if checkpoint <= before {
            return;
        }
        // Fails only for streams of another journal.
        let _ = self.core.journal.trim(lane.stream, checkpoint);
        if let Kind::Parked { sender, .. } = &self.kind {
            self.core.forward.report_parked(&self.core, sender, None);
        }
    }

    /// When to look again though nothing happens: lives end, senders stall.
    fn deadline(&self) -> Option<Mono> {
        if self.rest_until.is_some() {
            return self.rest_until;
        }
        let waits = self.lanes.iter().any(|lane| !lane.window.is_empty());
        let now = self.core.store_time.now();
        let lives = self.lanes.iter().filter_map(|lane| lane.window.next_expiry());
        let left = lives.min().map(|expires| expires.duration_since(now));
        let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(LOOK_EVERY);
        waits.then(|| self.core.clock.now() + left.clamp(LOOK_AGAIN_MIN, LOOK_EVERY))
    }

    /// Waits a moment for acknowledgements, so that less comes twice after the restart.
    async fn wind_down(&mut self) {
        let core = Arc::clone(&self.core);
        let rest = async {
            while let Some(sent) = self.in_flight.next().await {
                self.settle(sent).await;
            }
        };
        let _ = core.clock.timeout(WIND_DOWN_LIMIT, rest).await;
    }
}

/// The original does not send the output's name upstream (T-OUTPUT-LOST).
fn upstream_message(message: &Message) -> Message {
    let mut message = message.clone();
    message.system.retain(|(property, _)| *property != SystemProperty::OutputName);
    message
}

async fn outcome(
    sent: SendHandle,
    stream: StreamId,
    sequence: u64,
    attempt: u32,
    sender: IdentityId,
    line: u64,
) -> Sent {
    Sent { stream, sequence, attempt, sender, line, result: sent.await }
}

async fn sleep_until(core: &Core, deadline: Option<Mono>) {
    match deadline {
        Some(deadline) => core.clock.sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Reads from the best lane that has something and room for it.
async fn next_batch(lanes: &mut [OpenLane]) -> (usize, Result<Vec<Entry>, ReadError>) {
    let mut reads: Vec<_> = lanes
        .iter_mut()
        .enumerate()
        .filter(|(_, lane)| lane.window.has_room())
        .map(|(index, lane)| (index, Box::pin(lane.reader.next_batch(READ_MAX, READ_BYTES_MAX))))
        .collect();
    poll_fn(|cx| {
        for (index, read) in &mut reads {
            if let Poll::Ready(entries) = read.as_mut().poll(cx) {
                return Poll::Ready((*index, entries));
            }
        }
        Poll::Pending
    })
    .await
}

/// Messages read at once.
const READ_MAX: usize = 32;
/// Their bytes.
const READ_BYTES_MAX: usize = 128 * 1024;
/// A full disk does not get free at once.
const STORE_AGAIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Also what keeps a message that is past its time, and in flight, from being looked at in a loop.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(500);
const WIND_DOWN_LIMIT: Duration = Duration::from_secs(2);
/// Senders whose last acknowledgement is remembered.
const SENDERS_NOTED_MAX: usize = 1024;
