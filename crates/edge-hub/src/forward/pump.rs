//! The pump to the hub: reads its queues in order, sends over each sender's own line, and lets a
//! queue forget what the hub has acknowledged.
//!
//! What to do is `queue.rs`' decision; here it is done (`pump/steps.rs`), and what comes of it is
//! noted (`pump/outcomes.rs`). A pump sleeps while there is nothing to do, and wakes at once when a
//! message comes, an acknowledgement comes or a line changes.
//!
//! Cost: whatever was acknowledged meanwhile is taken at once, and then it is looked once at what to
//! send next; so the more there is to do, the less each message costs.

mod outcomes;
mod steps;

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use client::device::{ConnectionState, Outcome, Outcomes};
use host::clock::Mono;
use host::signals::Shutdown;
use journal::{Entry, From, ReadError, Reader, StreamId};
use model::IdentityId;
use tokio::sync::{mpsc, watch};

use super::Lane;
use super::lane::{self, Closed};
use super::queue::{self, Line, Look, Progress, Window};
use crate::core::Core;
use outcomes::{Flights, Seen};

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
    in_flight: Flights,
    /// Where clients tell what came of a sending.
    outcomes: Outcomes,
    seen: Seen,
    /// The store refuses; when to try again.
    rest_until: Option<Mono>,
    /// When all was looked at last; none: something has happened for which all has to be.
    looked: Option<Mono>,
}

struct OpenLane {
    priority: u32,
    stream: StreamId,
    reader: Reader,
    window: Window,
}

/// Runs until the shutdown, or until the journal is closed.
pub(super) async fn run(
    core: Arc<Core>,
    kind: Kind,
    mut new_lanes: mpsc::Receiver<Lane>,
    shutdown: Shutdown,
) {
    let lines = core.upstream.watch();
    let (outcomes, mut told) = Outcomes::channel();
    let mut pump = Pump {
        core,
        kind,
        lanes: Vec::new(),
        in_flight: Flights::default(),
        outcomes,
        seen: Seen::default(),
        rest_until: None,
        looked: None,
    };
    tokio::select! {
        () = pump.work(&mut new_lanes, lines, &mut told) => {}
        () = shutdown.wait() => {}
    }
    pump.wind_down(&mut told).await;
}

impl Pump {
    async fn work(
        &mut self,
        new_lanes: &mut mpsc::Receiver<Lane>,
        mut lines: watch::Receiver<u64>,
        told: &mut mpsc::UnboundedReceiver<Outcome>,
    ) {
        let mut came = Vec::new();
        loop {
            lines.borrow_and_update();
            self.act().await;
            let deadline = self.deadline();
            let core = Arc::clone(&self.core);
            tokio::select! {
                biased;
                Some(lane) = new_lanes.recv() => self.open(lane),
                Ok(()) = lines.changed() => self.looked = None,
                _ = told.recv_many(&mut came, OUTCOMES_MAX) => self.settle_all(&mut came).await,
                (index, read) = next_batch(&mut self.lanes) => {
                    if self.take(index, read).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(&core, deadline) => {
                    self.rest_until = None;
                    self.looked = None;
                }
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
        let now = self.core.clock.now();
        if self.rest_until.is_some_and(|until| now < until) {
            return;
        }
        let is_due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_AT_ALL);
        let mut look = if is_due { Look::All } else { Look::Waiting };
        loop {
            if look == Look::All {
                self.looked = Some(now);
            }
            let mut recalled = false;
            for index in 0..self.lanes.len() {
                let steps = self.plan(index, look);
                recalled |= self.execute(index, steps).await;
                self.trim(index);
            }
            if !recalled {
                return;
            }
            look = Look::All;
        }
    }

    fn plan(&mut self, index: usize, look: Look) -> Vec<queue::Step> {
        let now = self.core.store_time.now();
        // In hand meanwhile, because the lines are asked of the rest of the pump.
        let mut lanes = std::mem::take(&mut self.lanes);
        let window = &mut lanes[index].window;
        let is_full = !window.has_room();
        let steps = window.plan(look, now, |sender, entered| self.line(sender, entered, is_full));
        self.lanes = lanes;
        steps
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
        let acknowledged = self.seen.acknowledged(sender);
        let others_acknowledged = self.seen.others_acknowledged(sender);
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
    async fn wind_down(&mut self, told: &mut mpsc::UnboundedReceiver<Outcome>) {
        let core = Arc::clone(&self.core);
        let mut came = Vec::new();
        let rest = async {
            while !self.in_flight.is_empty() {
                told.recv_many(&mut came, OUTCOMES_MAX).await;
                self.settle_all(&mut came).await;
            }
        };
        let _ = core.clock.timeout(WIND_DOWN_LIMIT, rest).await;
    }
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
const READ_MAX: usize = 128;
/// Their bytes.
const READ_BYTES_MAX: usize = 128 * 1024;
/// Outcomes taken at once.
const OUTCOMES_MAX: usize = 1024;
/// What is under way is looked at so often at most, unless a line changes: whether its sender's turn
/// is over is a matter of seconds.
const LOOK_AT_ALL: Duration = Duration::from_millis(200);
/// A full disk does not get free at once.
const STORE_AGAIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Also what keeps a message that is past its time, and in flight, from being looked at in a loop.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(500);
const WIND_DOWN_LIMIT: Duration = Duration::from_secs(2);
