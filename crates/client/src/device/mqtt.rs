//! MQTT 3.1.1: topics, packets, and a reconnect for each new token.

mod open;
mod session;

use std::time::Duration;

use bytes::BytesMut;
use mqtt::client::{ClientConnection, Event};

use super::link::Machine;

pub(super) use open::open;

impl Machine for ClientConnection {
    type Event = Event;

    fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
        self.handle_input(now, input);
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.handle_timeout(now);
    }

    fn wants_input(&self) -> bool {
        self.wants_input()
    }

    fn wants_resume(&self) -> bool {
        self.wants_resume()
    }

    fn output(&mut self) -> &[u8] {
        ClientConnection::output(self)
    }

    fn advance_output(&mut self, count: usize) {
        self.advance_output(count);
    }

    fn close(&mut self, _now: Duration) {
        self.disconnect();
    }
}
