//! Timers as a table of values: when each fires, nothing that runs by itself.

use std::time::Duration;

/// What can be waited for; each at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The peer's open.
    Open,
    /// The peer's first attach.
    Attach,
    /// The peer's close.
    Close,
    /// The peer's silence.
    Idle,
    /// A frame of ours, so that the peer knows that we are alive.
    Heartbeat,
}

/// When each [`Timer`] fires.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Open, then attach, then close: there is one at a time.
    deadline: Option<(Timer, Duration)>,
    idle: Option<Duration>,
    heartbeat: Option<Duration>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        match timer {
            Timer::Open | Timer::Attach | Timer::Close => self.deadline = Some((timer, at)),
            Timer::Idle => self.idle = Some(at),
            Timer::Heartbeat => self.heartbeat = Some(at),
        }
    }

    /// What was waited for came: open or attach.
    pub(super) fn stop_deadline(&mut self) {
        self.deadline = None;
    }

    pub(super) fn stop_all(&mut self) {
        *self = Timers::default();
    }

    /// When the first one fires.
    pub(super) fn next(&self) -> Option<Duration> {
        [self.deadline.map(|(_, at)| at), self.idle, self.heartbeat].into_iter().flatten().min()
    }

    /// Takes one timer that has fired out of the table.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<Timer> {
        if let Some((timer, _)) = self.deadline.take_if(|(_, at)| *at <= now) {
            return Some(timer);
        }
        if self.idle.take_if(|at| *at <= now).is_some() {
            return Some(Timer::Idle);
        }
        self.heartbeat.take_if(|at| *at <= now).map(|_| Timer::Heartbeat)
    }
}
