//! Timers as a table of values: when each fires, nothing that runs by itself.

use std::time::Duration;

/// What can be waited for; each at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Server: the CONNECT; client: the CONNACK.
    Handshake,
    /// Server: the client's silence; client: the next look whether to ping.
    KeepAlive,
    /// Client: any packet after a PINGREQ.
    PingResponse,
}

/// When each [`Timer`] fires.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    handshake: Option<Duration>,
    keep_alive: Option<Duration>,
    ping_response: Option<Duration>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Duration) {
        *self.slot(timer) = Some(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Timers::default();
    }

    pub(crate) fn is_set(&mut self, timer: Timer) -> bool {
        self.slot(timer).is_some()
    }

    /// When the first one fires.
    pub(crate) fn next(&self) -> Option<Duration> {
        [self.handshake, self.keep_alive, self.ping_response].into_iter().flatten().min()
    }

    /// Takes one timer that has fired out of the table.
    pub(crate) fn pop_expired(&mut self, now: Duration) -> Option<Timer> {
        [Timer::Handshake, Timer::PingResponse, Timer::KeepAlive]
            .into_iter()
            .find(|&timer| self.slot(timer).take_if(|at| *at <= now).is_some())
    }

    fn slot(&mut self, timer: Timer) -> &mut Option<Duration> {
        match timer {
            Timer::Handshake => &mut self.handshake,
            Timer::KeepAlive => &mut self.keep_alive,
            Timer::PingResponse => &mut self.ping_response,
        }
    }
}
